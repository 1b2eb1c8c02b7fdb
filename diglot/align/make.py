"""The stage `make-instructions`: conversations from text that holds its own answers.

    translation    a side of a pair is asked for in the other's language   documents of parallel text
    headline       a text, and its title                                   documents whose source keeps titles
    lead           a title, and how its text begins                        the same
    continuation   the beginning of a text, and its next sentences         any documents
    question       passage and question, and the answer                    reading data (SQuAD's rows)

Instructions in a new language are few, and text is not. Nobody wrote these conversations, and all say so:

    train.jsonl, heldout.jsonl   {"id", "source", "language", "origin": "made", "kind", "asked_in", "messages"}
    ledger.json                  read, kept, held out and dropped, and why; `origin` is `made`

`language` is the answer's, `asked_in` that of the request's words (requests.yaml). A document gives one conversation at most:
which of the sources takes it, and in which words, is drawn by keyed hashes of its id. What is made of held-out documents is
held out, so bits per byte on them stay honest; requests that are there word for word too are dropped from training.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from diglot.align.gather import digest, line_of, refuse, refuse_empty, size_of
from diglot.align.material import Material, of_corpus, of_reading_data
from diglot.align.messages import Message, Refused, check_conversation, refuse_vocalised
from diglot.align.requests import Requests, load_requests
from diglot.align.screen import Decontaminator
from diglot.align.statistics import measure, num_words
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json
from diglot.base.ledger import SourceLedger
from diglot.base.summaries.corpus import CorpusSummary
from diglot.recipe.align import MadeSource, MakeInstructions

# Also of Arabic, Urdu, Chinese and Japanese; a full stop within 3.5 or a name ends nothing.
SENTENCE_END = re.compile(r"[.!?؟۔…]+[»”\"')\]]*(?=\s|\Z)|[。！？]|\n")


class Making(NamedTuple):
    """What all conversations are made by."""

    settings: MakeInstructions
    requests: Requests
    seed: str
    decontaminator: Decontaminator


def run(settings: MakeInstructions, inputs: Inputs, output: Path, context: Context) -> CorpusSummary:
    """Make conversations, check and count them.

    Raises:
        UserError: there are no words to ask in, reading data cannot be read, or nothing of a source can be used.
    """
    making = Making(
        settings,
        load_requests(),
        f"{context.seed}/{settings.seed}",
        Decontaminator(settings.decontamination, None, context),
    )
    for name, source in settings.sources.items():
        making.requests.check(name, source)
    ledger = {name: SourceLedger(one.language, "chat", origin="made") for name, one in settings.sources.items()}
    pools = of_corpus(settings, inputs.many("corpus"), making.seed, context)
    of_reading_data(settings, pools, ledger, making.seed, context)
    # Held-out ones first: what training must not ask is known then.
    asked = _write(
        making, {name: pool.held_out for name, pool in pools.items()}, output / "heldout.jsonl", ledger, None
    )
    _write(making, {name: pool.train for name, pool in pools.items()}, output / "train.jsonl", ledger, asked)
    for name, entry in ledger.items():
        entry.check(name)
        if not entry.read.documents:
            raise UserError(f"source {name!r}: {_missing(settings.sources[name])}")
        refuse_empty(name, entry)
    write_json(output / "ledger.json", {"sources": {name: entry.as_json() for name, entry in ledger.items()}})
    return CorpusSummary.of_ledgers(ledger, making.decontaminator.evaluation_sets, measure(output))


def _write(
    making: Making,
    drawn: dict[str, list[Material]],
    file: Path,
    ledger: dict[str, SourceLedger],
    held_out: set[bytes] | None,
) -> set[bytes]:
    """Write the conversations of one side of the split; returns what they ask.

    Args:
        making: how.
        drawn: texts by source.
        file: to write.
        ledger: counts.
        held_out: what training must not ask; None: this is the held-out side.
    """
    asked: set[bytes] = set()
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for name, materials in drawn.items():
            for material in materials:
                strings = [material.text, material.beside, material.answer]
                try:
                    fields = _conversation(making, name, material)
                    strings = [message["content"] for message in fields["messages"]]
                    question = digest(fields["messages"][:-1])
                    if held_out is not None and question in held_out:
                        raise Refused("prompt_held_out", "held-out data have the same prompt")
                    if question in asked:
                        raise Refused("duplicate")
                    line = line_of(fields)
                except Refused as refused:
                    refuse(ledger[name], refused, size_of(strings), material.id, "\n".join(strings))
                    continue
                asked.add(question)
                # What was made is what was read: a conversation has no form before this one.
                size = size_of(strings)
                ledger[name].read.add(*size)
                (ledger[name].kept if held_out is not None else ledger[name].held_out).add(*size)
                stream.write(line + "\n")
    return asked


def _conversation(making: Making, name: str, material: Material) -> dict[str, Any]:
    """The record of one conversation.

    Raises:
        Refused: too_short, too_long, vowel_marks, no_request, contaminated, or as `check_conversation`.
    """
    settings, source = making.settings, making.settings.sources[name]
    request = making.requests.draw(source, material, f"{making.seed}/request/{name}/{material.id}")
    room = settings.max_characters - len(request.words)
    values, answer = MAKERS[source.kind](material, room)
    # A question may have a word for an answer; a text of a word or two asks for nothing.
    told = [answer] if source.kind != "question" else []
    for text in [*told, *values.values()]:
        if num_words(text, source.language) < settings.min_words:
            raise Refused("too_short", f"{text!r} has fewer than {settings.min_words} words")
    messages: list[Message] = [
        {"role": "user", "content": request.words.format(**values, language=request.target)},
        {"role": "assistant", "content": answer},
    ]
    check_conversation(messages, settings.max_characters)
    refuse_vocalised(messages, settings.max_vowel_marks)
    making.decontaminator.check(message["content"] for message in messages)
    header = {"id": material.id, "source": name, "language": source.language, "origin": "made", "kind": source.kind}
    return {**header, "asked_in": request.language, "messages": messages}


def _missing(source: MadeSource) -> str:
    """What to do where there is no text to make a source of."""
    which = f"in {source.documents}" if source.documents else f"in {source.language}"
    if source.kind == "translation":
        return f"the corpus has no pairs with a side {which}; give it parallel text (target_language)"
    if source.kind in ("headline", "lead"):
        return f"the corpus has no documents with titles {which}; say which field holds them (`title`) in its source"
    return f"there are no documents {which}" if source.kind == "continuation" else "there is no question to use"


# --- one text, one conversation: what fills the request's words, and the answer ---------------------------------------


def _translation(material: Material, room: int) -> tuple[dict[str, str], str]:
    return {"text": material.text}, material.answer


def _headline(material: Material, room: int) -> tuple[dict[str, str], str]:
    text = _without(material.beside, material.text)
    return {"text": text[: _end(text, 100, room - len(material.beside))]}, material.beside


def _lead(material: Material, room: int) -> tuple[dict[str, str], str]:
    text = _without(material.beside, material.text)
    return {"title": material.beside}, text[: _end(text, 60, min(500, room - len(material.beside)))]


def _continuation(material: Material, room: int) -> tuple[dict[str, str], str]:
    text = material.text
    middle = _end(text, 100, min(room, len(text)) // 2)  # of a short text half is left to go on with
    rest = text[middle:].lstrip()
    return {"text": text[:middle].rstrip()}, rest[: _end(rest, 60, room // 2)].rstrip()


def _question(material: Material, room: int) -> tuple[dict[str, str], str]:
    return {"text": material.text, "question": material.beside}, material.answer


MAKERS = {
    "translation": _translation, "headline": _headline, "lead": _lead, "continuation": _continuation,
    "question": _question,
}  # fmt: skip


def _without(title: str, text: str) -> str:
    """A text whose first line is not its title once more."""
    return text[len(title) :].lstrip(" \n.:-") if text.startswith(title) else text


def _end(text: str, least: int, most: int) -> int:
    """Where the last sentence ends that lies within `most` characters.

    Raises:
        Refused: too_short, where none ends between `least` and `most`.
    """
    ends = [match.end() for match in SENTENCE_END.finditer(text, 0, most + 1) if least <= match.end() <= most]
    if not ends:
        raise Refused("too_short", f"no sentence ends between {least} and {most} characters")
    return ends[-1]
