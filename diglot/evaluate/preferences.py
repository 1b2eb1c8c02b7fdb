"""Held-out preference pairs: how often, and by how much, a model prefers the chosen answer.

log p of an answer is the sum over its tokens, with the one that ends it (`<|end|>`), after the conversation in the
chat format: the quantity that DPO moves. The margin is log p(chosen) - log p(rejected) in nats. Sums favour short
answers, so the per-token accuracy stands beside it. Pairs longer than the model's context are left out, as in
training, and counted.
"""

from __future__ import annotations

from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.intervals import jackknife_error
from diglot.base.summaries.scores import Metric, PreferenceScore
from diglot.evaluate.items import read_lines
from diglot.evaluate.language_model import LanguageModel, Message, Report, Request, Score
from diglot.evaluate.metrics import mean, mean_without_each

Pair = dict[str, Any]
FEWEST_PAIRS = 50  # of a source, where there are so many: of fewer an accuracy has a standard error above 7 points


def read_pairs(preferences: Artifact) -> list[Pair]:
    """The held-out pairs of an artifact; `source` is the artifact's stage where a pair names none.

    Raises:
        UserError: with file and line, for a missing or malformed pair.
    """
    pairs = []
    for place, value in read_lines(preferences.file("heldout.jsonl")):
        for key in ("prompt", "chosen", "rejected"):
            _check_messages(value.get(key), f"{place}: {key}", answer=key != "prompt")
        pairs.append({"id": place.rsplit(":", 1)[1], "source": preferences.stage, "language": None, **value})
    return pairs


def _check_messages(messages: Any, place: str, answer: bool) -> None:
    for message in messages if isinstance(messages, list) and messages else [None]:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            given = repr(messages)[:80]
            raise UserError(f"{place}: must be a list of messages, each with role and content, not {given}")
        if answer and message["role"] != "assistant":
            raise UserError(f"{place}: an answer is the assistant's, not the {message['role']}'s")


def answer_request(model: LanguageModel, prompt: list[Message], answer: list[Message]) -> Request:
    """The token ids of an answer after its prompt, both in the chat format."""
    ids, targets = model.encode_chat([*prompt, *answer])
    context, _ = model.encode_chat(prompt, add_generation_prompt=True)
    assert ids[: len(context)] == context, "the chat format must continue a prompt, not rewrite it"
    # The last token that is predicted ends the answer; ChatML puts a line break behind it.
    end = max(position for position, target in enumerate(targets) if target)
    return Request(context, ids[len(context) : end + 1])


def within(pairs: list[Pair], max_bytes: int) -> list[Pair]:
    """The first pairs of each source, in their order, until a model reads so many bytes of text; some in any case."""
    read: dict[str, int] = {}
    number: dict[str, int] = {}
    chosen = []
    for pair in pairs:
        source = pair["source"]
        if read.get(source, 0) >= max_bytes and number[source] >= FEWEST_PAIRS:
            continue
        # The prompt is read with both answers.
        messages = [*pair["prompt"], *pair["chosen"], *pair["prompt"], *pair["rejected"]]
        size = sum(len(message["content"].encode()) for message in messages)
        read[source], number[source] = read.get(source, 0) + size, number.get(source, 0) + 1
        chosen.append(pair)
    return chosen


def score_pairs(
    model: LanguageModel, pairs: list[Pair], limit: int | None, report: Report
) -> tuple[dict[str, PreferenceScore], list[dict[str, Any]]]:
    """Accuracy and margin by source.

    Args:
        model: the model to be measured.
        pairs: from `read_pairs`.
        limit: pairs a source at most; the first ones.
        report: told about the answers scored.

    Returns:
        By source: accuracy (a tie counts half) and per-token accuracy, margin in nats with its standard error,
        pairs, and pairs too long; and the same per pair.

    Raises:
        UserError: no pair of a source fits into the model's context.
    """
    by_source: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_source.setdefault(pair["source"], []).append(pair)
    chosen_pairs = [pair for source in by_source for pair in by_source[source][:limit]]
    requests = [
        [answer_request(model, pair["prompt"], pair[side]) for side in ("chosen", "rejected")] for pair in chosen_pairs
    ]
    # Both answers must fit whole: a cut prompt would change what is compared.
    fits = [
        all(len(side.context) + len(side.continuation) <= model.max_length + 1 for side in sides) for sides in requests
    ]
    scores = model.score([side for sides, fit in zip(requests, fits) if fit for side in sides], report)
    kept = [pair for pair, fit in zip(chosen_pairs, fits) if fit]
    rows = [_row(pair, *scores[2 * number : 2 * number + 2]) for number, pair in enumerate(kept)]
    summaries = {}
    for source in by_source:
        too_long = sum(not fit for pair, fit in zip(chosen_pairs, fits) if pair["source"] == source)
        summaries[source] = _score([row for row in rows if row["source"] == source], too_long, model)
    return summaries, rows


def _row(pair: Pair, chosen: Score, rejected: Score) -> dict[str, Any]:
    return {
        "id": pair["id"],
        "source": pair["source"],
        "language": pair["language"],
        "prompt": pair["prompt"],
        "context": chosen.context,
        "chosen": _answer(pair["chosen"], chosen),
        "rejected": _answer(pair["rejected"], rejected),
    }


def _answer(messages: list[Message], score: Score) -> dict[str, Any]:
    return {"messages": messages, "log_likelihood": round(score.log_likelihood, 4), "tokens": score.num_tokens}


def _score(rows: list[dict[str, Any]], too_long: int, model: LanguageModel) -> PreferenceScore:
    if not rows:
        raise UserError(
            f"none of {too_long} held-out preference pairs fits into the {model.max_length} tokens that "
            f"{model.folder} can attend to"
        )
    right, margins = judgements(rows)
    per_token = [
        row["chosen"]["log_likelihood"] / row["chosen"]["tokens"]
        - row["rejected"]["log_likelihood"] / row["rejected"]["tokens"]
        for row in rows
    ]
    languages = sorted({row["language"] for row in rows if row["language"]})
    return PreferenceScore(
        language="-".join(languages) or rows[0]["source"],
        accuracy=Metric(mean(right), jackknife_error(mean_without_each(right))),
        accuracy_per_token=mean([(margin > 0) + 0.5 * (margin == 0) for margin in per_token]),
        margin=Metric(mean(margins), jackknife_error(mean_without_each(margins))),
        pairs=len(rows),
        too_long=too_long,
    )


def judgements(rows: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Of every pair, whether the chosen answer is the likelier one (a tie is a half), and by how many nats."""
    margins = [row["chosen"]["log_likelihood"] - row["rejected"]["log_likelihood"] for row in rows]
    return [(margin > 0) + 0.5 * (margin == 0) for margin in margins], margins
