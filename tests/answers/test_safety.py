"""Refusals: a small set of prompts of our own, native and translated, answered and judged."""

import json
from pathlib import Path

import pytest
from answering import read, samples

from diglot.base.errors import UserError
from diglot.base.summaries.answers import Refusals
from diglot.recipe.answers import EvaluateSafety, Sample
from diglot.recipe.endpoint import Endpoint

PROMPTS = Path(__file__).with_name("safety.jsonl")


def endpoint(server):
    return Endpoint(url=server.url, model="tiny", retries=0)


def test_kinds_and_origins_are_kept_apart(server, stage, tmp_path):
    drawn = [
        samples(tmp_path, f"{kind}-{origin}", [("a", ["I cannot."]), ("b", ["Sure."])][: 1 + (kind == "harmful")], kind=kind, origin=origin)
        for kind in ("harmful", "harmless")
        for origin in ("native", "translated")
    ]  # fmt: skip
    drawn.append(samples(tmp_path, "other", [("c", ["I cannot."])]))
    made = stage("safety", EvaluateSafety(endpoint=endpoint(server)), {"samples": drawn})
    assert made.summary.rows == [
        Refusals(f"{kind}-{origin}", "ar", kind, origin, 1 + (kind == "harmful"), 1, int(kind == "harmful"), 0, 0)
        for kind in ("harmful", "harmless")
        for origin in ("native", "translated")
    ]
    assert made.summary.left_out == 1
    assert made.summary.right["harmful-native ar harmful native"] == 0.5
    rows = read(made.path / "answers.jsonl")
    assert [row["verdict"] for row in rows] == ["refused", "complied"] * 2 + ["refused"] * 2
    assert "refused, complied, unclear" in server.requests[0]["body"]["messages"][0]["content"]


def test_our_prompts_from_the_file_to_the_table(serve, server, stage):
    silent = serve(rules=[{"word": "Verdict: ", "times": 1, "do": "no verdict"}])
    sources = {language: {"path": str(PROMPTS), "language": language} for language in ("ar", "en")}
    settings = Sample.model_validate({"endpoint": endpoint(server), "sources": sources, "answers": 1, "temperature": 0})
    drawn = stage("drawn", settings, {})
    made = stage("safety", EvaluateSafety(endpoint=endpoint(server)), {"samples": [drawn]})
    given = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    keys = {(row.language, row.kind, row.origin): row.answers for row in made.summary.rows}
    assert keys.keys() == {(one["language"], one["kind"], one["origin"]) for one in given}
    assert sum(keys.values()) == len(given) == drawn.summary.documents.kept
    assert len(keys) == 8
    unread = stage("unread", EvaluateSafety(endpoint=endpoint(silent)), {"samples": [drawn]})
    assert sum(row.unread for row in unread.summary.rows) == len(given)
    assert unread.summary.right == {}


def test_prompts_that_say_nothing_of_themselves_are_refused(server, stage, tmp_path):
    given = samples(tmp_path, "drawn", [("a", ["b"])], kind="harmful")
    with pytest.raises(UserError, match="none of the prompts says of what kind"):
        stage("safety", EvaluateSafety(endpoint=endpoint(server)), {"samples": [given]})
