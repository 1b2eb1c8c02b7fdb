"""A model as a judge: which of two answers is better, asked in both orders, and of which kind an answer is.

    forward, backward = compare(messages, "Cairo.", "Rome.")        # two requests: A and B change places
    outcome = settle(journal.get(client.key(forward)), journal.get(client.key(backward)))
    outcome.winner, outcome.how                                     # "first", "agreed"

    request = classify(messages, "I cannot help with that.", ("refused", "complied", "unclear"), rubric="safety")
    read_verdict(journal.get(client.key(request)), ("refused", "complied", "unclear"))   # "refused", or None

**Order.** Judges prefer a place (Zheng et al. 2306.05685, table 2). So each pair is asked for twice, and what is not said
twice is a tie (ibid., 3.4: "conservative").

**What is judged is data.** It stands between marks with a hash of all of it, which no answer can hold, so an answer that
pretends to end, or to be the judge's instructions, stays inside. A verdict is the last line of what the judge itself says.

**Strict reading.** `Verdict: A` on the last line, nothing behind it, and no other verdict on a line before; else the answer is
counted as unreadable, never guessed at.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, Literal, NamedTuple

import yaml

from diglot.base.errors import UserError
from diglot.base.randomness import key_hash
from diglot.endpoint.client import Completion, Request

PAIR = ("A", "B", "tie")
SCORES = tuple(map(str, range(1, 11)))  # MT-bench's
# Zheng et al.'s judge: FastChat's llm_judge asks at temperature 0 for 2,048 tokens.
OPTIONS: dict[str, Any] = {"temperature": 0.0, "max_tokens": 2048}
VERDICT = re.compile(r"[ \t>*_#`\"']*verdict[ \t*_`]*[:：][ \t*_`\"'\[]*(\w+)[ \t*_`\"'\].。]*", re.IGNORECASE)
UNFINISHED = ("length", "content_filter")  # why an answer ended that has no last line
SPEAKERS = {"system": "system message", "user": "user", "assistant": "assistant"}
Message = dict[str, str]
Winner = Literal["first", "second", "tie"]


class Outcome(NamedTuple):
    """What both orders say together.

    Attributes:
        winner: which answer is better.
        how: agreed (twice the same), disagreed, unreadable (an answer without one verdict), refused (the judge's server
            did not answer, or cut the answer off). All but the first are ties.
        forward, backward: the verdicts: A, B, tie or None.
    """

    winner: Winner
    how: Literal["agreed", "disagreed", "unreadable", "refused"]
    forward: str | None
    backward: str | None


@functools.cache
def _words() -> dict[str, Any]:
    text: dict[str, Any] = yaml.safe_load(
        resources.files("diglot.endpoint").joinpath("judging.yaml").read_text("utf-8")
    )
    return text


def rubrics() -> dict[str, str]:
    """The rubrics that come with the package, by name."""
    found: dict[str, str] = _words()["rubrics"]
    return found


def rubric_text(rubric: str) -> str:
    """A rubric by its name, or one's own words as they are.

    Raises:
        UserError: it is one word, and no name of ours.
    """
    text = rubrics().get(rubric, rubric).strip()
    if not re.search(r"\s", text):
        raise UserError(f"rubric: there is none called {text!r}; name one of {', '.join(rubrics())}, or write it out")
    return text


def compare(
    messages: Sequence[Message],
    first: str,
    second: str,
    *,
    rubric: str = "helpful",
    reference: str | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[Request, Request]:
    """The two requests for which of two answers is better: `first` as A and `second` as B, and the other way round.

    Args:
        messages: the conversation in OpenAI's form, the user's message last.
        first: an answer to it.
        second: another one.
        rubric: a name (`rubrics()`), or words that say what counts.
        reference: an answer that is right.
        options: of the request; OPTIONS if None.
    """
    mark = _mark(messages, *sorted((first, second)), reference or "")
    words = _draw("pair", mark)

    def request(a: str, b: str) -> Request:
        answers = {"first": _marked(mark, "answer A", a), "second": _marked(mark, "answer B", b)}
        return _request(words, mark, messages, rubric, reference, answers, options)

    return request(first, second), request(second, first)


def classify(
    messages: Sequence[Message],
    answer: str,
    choices: Sequence[str],
    *,
    rubric: str,
    reference: str | None = None,
    options: dict[str, Any] | None = None,
) -> Request:
    """The request for which of the choices one answer is: a kind of answer, or a score (SCORES).

    Args:
        messages: the conversation in OpenAI's form, the user's message last.
        answer: to it.
        choices: words, one of which the judge is to say.
        rubric: a name (`rubrics()`), or words that say what the choices mean.
        reference: an answer that is right.
        options: of the request; OPTIONS if None.
    """
    mark = _mark(messages, answer, reference or "")
    fields = {"answer": _marked(mark, "answer", answer), "choices": ", ".join(choices)}
    return _request(_draw("one", mark), mark, messages, rubric, reference, fields, options)


def read_verdict(answer: Completion | None, choices: Sequence[str] = PAIR) -> str | None:
    """The choice that a judge's answer ends in; None where it ends in none, says several, or was cut off."""
    if answer is None or answer.finish_reason in UNFINISHED:
        return None
    lines = [line for line in answer.text.splitlines() if line.strip()]
    said = [match[1].casefold() for line in lines if (match := VERDICT.fullmatch(line))]
    by_word = {choice.casefold(): choice for choice in choices}
    if not said or not VERDICT.fullmatch(lines[-1]) or len(set(said)) > 1:
        return None
    return by_word.get(said[-1])


def settle(forward: Completion | None, backward: Completion | None) -> Outcome:
    """What the answers to both requests of `compare` say; None for one that the server refused."""
    verdicts = read_verdict(forward), read_verdict(backward)
    if any(answer is None or answer.finish_reason in UNFINISHED for answer in (forward, backward)):
        return Outcome("tie", "refused", *verdicts)
    if None in verdicts:
        return Outcome("tie", "unreadable", *verdicts)
    winners: dict[tuple[str | None, str | None], Winner] = {
        ("A", "B"): "first",
        ("B", "A"): "second",
        ("tie", "tie"): "tie",
    }
    if (winner := winners.get(verdicts)) is None:
        return Outcome("tie", "disagreed", *verdicts)
    return Outcome(winner, "agreed", *verdicts)


class Agreement(NamedTuple):
    """How a judge's verdicts of pairs fell.

    Attributes:
        pairs: by how they were settled (`Outcome.how`).
        readable: pairs with a verdict in both orders.
        agreed: of them, the share with the same verdict twice: the judge's agreement with itself; None of none.
        first_place: of the verdicts that name a winner, the share that name A, the first; 0.5 without a preference for
            a place; None of none.
    """

    pairs: dict[str, int]
    readable: int
    agreed: float | None
    first_place: float | None


def agreement(outcomes: Iterable[Outcome]) -> Agreement:
    """A judge's agreement with itself when the answers change places, and its preference for one."""
    pairs: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for outcome in outcomes:
        pairs[outcome.how] += 1
        places.update(verdict for verdict in (outcome.forward, outcome.backward) if verdict)
    readable, named = pairs["agreed"] + pairs["disagreed"], places["A"] + places["B"]
    return Agreement(
        {how: count for how, count in pairs.most_common() if count},
        readable,
        pairs["agreed"] / readable if readable else None,
        places["A"] / named if named else None,
    )


# --- the question ---------------------------------------------------------------------------------------------


def _request(
    words: str,
    mark: str,
    messages: Sequence[Message],
    rubric: str,
    reference: str | None,
    fields: dict[str, str],
    options: dict[str, Any] | None,
) -> Request:
    text = words.format(
        rubric=rubric_text(rubric),
        marks=_words()["marks"].strip().format(mark=mark),
        conversation=_marked(mark, "conversation", _spoken(messages)),
        reference=_marked(mark, "reference answer", reference) + "\n\n" if reference else "",
        **fields,
    )
    return Request([{"role": "user", "content": text.strip()}], OPTIONS if options is None else options)


def _mark(messages: Sequence[Message], *texts: str) -> str:
    """Eight hex digits that no text judged with it holds: nobody can write the hash of what they write."""
    return f"{key_hash(repr(([(m['role'], m['content']) for m in messages], texts))):016x}"[:8]


def _draw(kind: str, mark: str) -> str:
    words: list[str] = _words()[kind]
    return words[key_hash(f"{kind}/{mark}") % len(words)]


def _marked(mark: str, what: str, text: str) -> str:
    return f"<<{mark} {what}>>\n{text.strip()}\n<<{mark} end>>"


def _spoken(messages: Sequence[Message]) -> str:
    """A conversation as it is shown; a single question stands alone."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"[{SPEAKERS.get(m['role'], m['role'])}]\n{m['content'].strip()}" for m in messages)
