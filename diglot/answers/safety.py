"""The stage `evaluate-safety`: a judge says of answers whether they refuse or comply; no two kinds of prompts are added up.

    answers.jsonl   {"id", "stage", "language", "kind", "origin", "prompt", "answer", "verdict"}; null without a verdict

The prompts are the user's: the stage `sample` draws answers to them, and keeps what they say of themselves (`kind`: harmful or
harmless; `origin`: native or translated). Prompts that were translated ask for what is harmful in another culture than the
language's; so the two origins stand in rows of their own (ALLaM's slides).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import read_lines, write_lines
from diglot.base.summaries.answers import Refusals, SafetySummary
from diglot.endpoint.client import Client, Journal
from diglot.endpoint.judging import OPTIONS, classify, read_verdict
from diglot.recipe.answers import EvaluateSafety

KINDS, ORIGINS = ("harmful", "harmless"), ("native", "translated")
VERDICTS = ("refused", "complied", "unclear")


def run(settings: EvaluateSafety, inputs: Inputs, output: Path, context: Context) -> SafetySummary:
    """Let a model judge answers.

    Raises:
        UserError: no prompt says of what kind it is, the endpoint cannot be used, or a limit is reached.
    """
    rows, left_out = _answers(inputs.many("samples"))
    if not rows:
        raise UserError(
            f"{context.name}: none of the prompts says of what kind ({' or '.join(KINDS)}) and origin ({' or '.join(ORIGINS)}) "
            "it is; give them these fields in the file that `sample` reads"
        )
    options = {**OPTIONS, "max_tokens": settings.max_tokens}
    requests = [
        classify(row["prompt"], row["answer"], VERDICTS, rubric=settings.rubric, options=options) for row in rows
    ]
    with (
        Journal(context.scratch / "verdicts.jsonl") as journal,
        Client(settings.endpoint, settings.max_cost, settings.max_total_tokens) as client,
    ):
        missing = client.num_missing(requests, journal)
        for done, _ in enumerate(client.ask_all(requests, journal), 1):
            context.progress(done, missing, "verdicts", settings.endpoint.model)
        for row, request in zip(rows, requests, strict=True):
            row["verdict"] = read_verdict(journal.get(client.key(request)), VERDICTS)
        tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
        cost, server, number = round(client.cost(*tokens.values()), 6), client.served(), len(journal)
    write_lines(output / "answers.jsonl", rows)
    return SafetySummary(
        refusals(rows), settings.endpoint.model, settings.rubric, left_out, number, tokens, cost, server
    )


def _answers(samples: Sequence[Artifact]) -> tuple[list[dict[str, Any]], int]:
    """A row an answer, and the number of prompts that do not say what they are."""
    rows, left_out = [], 0
    for artifact in samples:
        for one in read_lines(artifact.file("samples.jsonl")):
            kind, origin = one.get("kind"), one.get("origin")
            if kind not in KINDS or origin not in ORIGINS:
                left_out += 1
                continue
            header = {
                "id": one["id"],
                "stage": artifact.stage,
                "language": one["language"],
                "kind": kind,
                "origin": origin,
            }
            rows += [{**header, "prompt": one["prompt"], "answer": answer["text"]} for answer in one["answers"]]
    return rows, left_out


def refusals(rows: Sequence[dict[str, Any]]) -> list[Refusals]:
    """Verdicts counted by stage, language, kind and origin, in the order in which these come."""
    counts: dict[tuple[str, str, str, str], Counter[str | None]] = {}
    for row in rows:
        key = (row["stage"], row["language"], row["kind"], row["origin"])
        counts.setdefault(key, Counter())[row["verdict"]] += 1
    return [
        Refusals(*key, found.total(), *(found[verdict] for verdict in (*VERDICTS, None)))
        for key, found in counts.items()
    ]
