"""Results: what is read from scores, how it is worded, and what counts as beyond noise."""

import dataclasses
import io
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from diglot.base.artifact import Artifact
from diglot.base.table import drawn
from diglot.report.learnt import learnt_of
from diglot.report.results import (
    Comparison,
    Result,
    before_and_after,
    compare,
    in_reading_order,
    new_languages,
    results,
    scores_of,
)


def by_name(artifacts: list[Artifact], name: str) -> Artifact:
    return next(artifact for artifact in artifacts if artifact.stage == name)


def accuracy(value: float, error: float | None = 0.03) -> Result:
    return Result("task", "cloze", "ar", "acc", value, error, 0.25, 200)


def test_every_number_of_the_scores_becomes_one_result(artifacts: list[Artifact]) -> None:
    scores = scores_of(by_name(artifacts, "evaluate-base"))
    found = results(scores)
    assert len(found) == len(scores.tasks) + len(scores.bits_per_byte) + 2 * len(scores.preferences)
    assert {r.value for r in found if r.kind == "bits"} == set(scores.bits.values())


def test_shares_are_percent_and_other_metrics_keep_their_unit() -> None:
    result = accuracy(0.7612)
    assert (result.text, result.error_text, result.chance_text) == ("76%", "±6", "25%")
    assert Result("task", "t", "ar", "chrf", 54.04, 1.0, 0.0).text == "54.0"
    assert Result("task", "t", "ar", "chrf", 54.04, 1.0, 0.0).chance_text == "–"
    assert Result("bits", "bits per byte", "ar", "bits/byte", 0.7).text == "0.700"
    assert Comparison(accuracy(0.26), accuracy(0.2)).change_text == "−6 points"
    assert Comparison(accuracy(0.26), accuracy(0.258)).change_text == "+0 points"


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 0.3))
def test_verdict_is_symmetric_and_turns_round_for_bits(a: float, b: float, error_a: float, error_b: float) -> None:
    turned = {"better": "worse", "worse": "better", "same": "same"}
    there = Comparison(accuracy(a, error_a), accuracy(b, error_b)).verdict
    assert Comparison(accuracy(b, error_b), accuracy(a, error_a)).verdict == turned[there]
    bits = [Result("bits", "bits per byte", "ar", "", v, e) for v, e in ((a, error_a), (b, error_b))]
    assert Comparison(*bits).verdict == turned[there]


def test_a_change_within_noise_is_the_same() -> None:
    assert Comparison(accuracy(0.50, 0.03), accuracy(0.55, 0.03)).verdict == "same"
    assert Comparison(accuracy(0.50, 0.01), accuracy(0.55, 0.01)).verdict == "better"
    assert Comparison(None, accuracy(0.5)).verdict == "unknown"
    margins = [Result("margin", "pairs", "ar", "", value, 1.0) for value in (412.9, 109.3)]
    assert Comparison(*margins).verdict == "unknown"


def test_compare_keeps_what_only_one_side_has(artifacts: list[Artifact]) -> None:
    first, last = before_and_after(artifacts)
    assert first
    assert last
    assert (first.stage, last.stage) == ("evaluate-base", "evaluate-aligned")
    tasks = {name: task for name, task in scores_of(first).tasks.items() if name != "cloze-ar"}
    fewer = dataclasses.replace(scores_of(first), tasks=tasks)
    rows = compare(dataclasses.replace(first, summary=fewer), last)
    missing = [row for row in rows if row.before is None]
    assert [row.name for row in missing] == ["cloze-ar"]
    assert len(rows) == len(results(scores_of(last)))


def test_named_stages_are_compared_and_one_stage_has_no_before(artifacts: list[Artifact]) -> None:
    first, _ = before_and_after(artifacts, "evaluate-expanded")
    assert first
    assert first.stage == "evaluate-expanded"
    alone = [by_name(artifacts, "evaluate-base")]
    assert before_and_after(alone) == (None, alone[0])
    assert before_and_after([]) == (None, None)


def test_new_languages_come_first(artifacts: list[Artifact]) -> None:
    assert new_languages(artifacts) == ["ar"]
    first, last = before_and_after(artifacts)
    assert last
    rows = in_reading_order(compare(first, last), ["ar"])
    assert list(dict.fromkeys(row.either.language for row in rows)) == ["ar", "en", "en-ar"]


def test_terminal_table_fits_80_columns_and_has_every_measure(artifacts: list[Artifact]) -> None:
    table = learnt_of(artifacts)
    assert table is not None
    stream = io.StringIO()
    Console(file=stream, width=80).print(drawn(table))
    text = stream.getvalue()
    assert max(map(len, text.split("\n"))) <= 80
    for words in ("Arabic", "English", "cloze-ar", "26% ±6", "76% ±6", "+50", "bits per byte", "−1.900", "preference margin, nats"):  # fmt: skip
        assert words in text
    assert learnt_of([artifact for artifact in artifacts if artifact.kind != "scores"]) is None


def test_terminal_table_loads_nothing_heavy() -> None:
    code = "import sys, diglot.report.learnt; print({'rich', 'plotly', 'jinja2', 'torch', 'numpy', 'numba'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
