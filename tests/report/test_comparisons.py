"""Comparisons: the interval of a change, what counts as beyond noise, baselines, and losses since the best stage."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import by_stage, with_scores

from diglot.base.artifact import Artifact
from diglot.base.summaries.scores import Metric
from diglot.report.comparisons import (
    Comparison,
    before_and_after,
    compare,
    headline_comparisons,
    in_reading_order,
    losses,
    new_languages,
)
from diglot.report.results import Result, results, scores_of


def accuracy(value: float, error: float | None = 0.03) -> Result:
    return Result("task", "cloze", "ar", "acc", value, error, 0.25, 200)


def test_changes_are_worded_with_their_sign() -> None:
    assert Comparison(accuracy(0.26), accuracy(0.2)).change_text == "−6 points"
    assert Comparison(accuracy(0.26), accuracy(0.258)).change_text == "+0 points"
    assert Comparison(accuracy(0.26), accuracy(0.2), 0.03).half_text == "±6"


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.3))
def test_verdict_is_symmetric_and_turns_round_for_bits(a: float, b: float, error: float) -> None:
    turned = {"better": "worse", "worse": "better", "same": "same"}
    there = Comparison(accuracy(a), accuracy(b), error).verdict
    assert Comparison(accuracy(b), accuracy(a), error).verdict == turned[there]
    bits = [Result("bits", "bits per byte", "ar", "", value, 0.1) for value in (a, b)]
    there = Comparison(bits[0], bits[1], error).verdict
    assert Comparison(bits[1], bits[0], error).verdict == turned[there]


def test_a_change_within_noise_is_the_same() -> None:
    assert Comparison(accuracy(0.50), accuracy(0.55), 0.04).verdict == "same"
    assert Comparison(accuracy(0.50), accuracy(0.55), 0.01).verdict == "better"
    assert Comparison(None, accuracy(0.5)).verdict == "unknown"


def test_what_has_no_interval_is_not_judged() -> None:
    assert Comparison(accuracy(0.2, None), accuracy(0.9, None)).verdict == "unknown"
    assert Comparison(accuracy(0.2, None), accuracy(0.9, None)).half_text == ""
    margins = [Result("margin", "pairs", "ar", "", value, 1.0) for value in (412.9, 109.3)]
    assert Comparison(margins[0], margins[1], 1.0).verdict == "unknown"


def test_four_of_150_items_that_turned_right_are_within_chance() -> None:
    change, items = 4 / 150, 150
    error = math.sqrt(change * (1 - change) / (items - 1))
    before, after = (Result("task", "t", "ar", "acc", value, 0.04, 0.25, items) for value in (0.5, 0.5 + change))
    assert change > 1.96 * error
    assert Comparison(before, after, error).verdict == "same"


def test_few_items_need_more() -> None:
    before, after = (Result("bits", "bits per byte", "ar", "", value, 0.1, None, 3) for value in (1.0, 0.7))
    assert Comparison(before, after, 0.1).verdict == "same"  # 3 standard errors; Student's needs 4.3
    many = [dataclasses.replace(result, items=300) for result in (before, after)]
    assert Comparison(many[0], many[1], 0.1).verdict == "better"


# --- items ----------------------------------------------------------------------------------------------------


def write_without(artifact: Artifact, values: list[float], items: str = "same") -> None:
    found = {"task": {"cloze-ar": {"items": items, "without": values}}}
    (artifact.path / "without.json").write_text(json.dumps(found))


def cloze(before: Artifact, after: Artifact) -> Comparison:
    return next(item for item in compare(before, after) if item.name == "cloze-ar")


def test_the_interval_of_a_change_is_of_differences_item_by_item(artifacts: list[Artifact]) -> None:
    first, last = by_stage(artifacts, "evaluate-base"), by_stage(artifacts, "evaluate-aligned")
    unpaired = cloze(first, last)
    errors = [scores_of(each).tasks["cloze-ar"].score.standard_error or 0 for each in (first, last)]
    assert (unpaired.error, unpaired.paired) == (pytest.approx(math.hypot(*errors)), False)
    # 200 items, each wrong before; now every second is right: the change is a mean of 100 ones and 100 zeros.
    write_without(first, [0.0] * 200)
    write_without(last, [(100 - right) / 199 for right in [1, 0] * 100])
    paired = cloze(first, last)
    assert paired.paired
    assert paired.error == pytest.approx(math.sqrt(0.25 / 199))
    # Items that are hard for both tell nothing of the change: it is the same for all, whatever their scores.
    write_without(first, [index / 1000 for index in range(200)])
    write_without(last, [index / 1000 + 0.5 for index in range(200)])
    assert cloze(first, last).error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("spoil", ["others", "fewer", "broken", "shape"])
def test_other_items_are_not_paired(artifacts: list[Artifact], spoil: str) -> None:
    first, last = by_stage(artifacts, "evaluate-base"), by_stage(artifacts, "evaluate-aligned")
    write_without(first, [0.1] * 200)
    write_without(last, [0.2] * (199 if spoil == "fewer" else 200), "others" if spoil == "others" else "same")
    if spoil == "broken":
        (last.path / "without.json").write_text(
            '{"task": {"cloze-ar": {"items": "same", "without": [0.1, null, "x"]}}}'
        )
    if spoil == "shape":
        (last.path / "without.json").write_text('{"task": ["cloze-ar"]}')
    assert not cloze(first, last).paired


# --- baselines and losses -------------------------------------------------------------------------------------


def with_bits(
    artifacts: list[Artifact], stage: str, language: str, value: float, error: float = 0.001
) -> list[Artifact]:
    bits = scores_of(by_stage(artifacts, stage)).bits_per_byte
    changed = dataclasses.replace(bits[language], value=value, standard_error=error)
    return with_scores(artifacts, stage, bits_per_byte={**bits, language: changed})


def bits_of(artifacts: list[Artifact], language: str) -> Comparison:
    first, last = before_and_after(artifacts)
    assert last
    rows = headline_comparisons(artifacts, first, last)
    return next(row for row in rows if row.either.kind == "bits" and row.either.language == language)


def test_bits_worse_than_uniform_bytes_are_no_baseline(artifacts: list[Artifact]) -> None:
    spoilt = with_bits(artifacts, "evaluate-base", "ar", 16.457)
    row = bits_of(spoilt, "ar")
    assert row.before
    assert (row.before.value, row.since) == (pytest.approx(2.505), "evaluate-expanded")
    assert bits_of(spoilt, "en").since == ""
    # Nor is the next stage one, where it is as bad: then there is none.
    row = bits_of(with_bits(spoilt, "evaluate-expanded", "ar", 9.0), "ar")
    assert (row.before, row.verdict) == (None, "unknown")


def test_a_loss_since_the_best_stage_is_found(artifacts: list[Artifact]) -> None:
    first, last = before_and_after(artifacts)
    assert last
    assert losses(artifacts, first, last) == []
    # English: 0.62 with the base, 0.5 in between, 0.64 at the end.
    better = with_bits(artifacts, "evaluate-expanded", "en", 0.5)
    first, last = before_and_after(better)
    assert last
    (lost,) = losses(better, first, last)
    assert (lost.since, lost.either.language, lost.verdict) == ("evaluate-expanded", "en", "worse")
    # A loss within noise is none.
    noisy = with_bits(artifacts, "evaluate-expanded", "en", 0.5, error=0.2)
    assert losses(noisy, first, last) == []


def test_a_score_that_was_at_chance_cannot_be_lost(artifacts: list[Artifact]) -> None:
    tasks = scores_of(by_stage(artifacts, "evaluate-aligned")).tasks
    low = dataclasses.replace(tasks["cloze-ar"], metrics={"acc": Metric(0.05, 0.015)})
    fallen = with_scores(artifacts, "evaluate-aligned", tasks={**tasks, "cloze-ar": low})
    first, last = before_and_after(fallen)
    assert last
    assert losses(fallen, first, last) == []


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
    alone = [by_stage(artifacts, "evaluate-base")]
    assert before_and_after(alone) == (None, alone[0])
    assert before_and_after([]) == (None, None)


def test_new_languages_come_first(artifacts: list[Artifact]) -> None:
    assert new_languages(artifacts) == ["ar"]
    first, last = before_and_after(artifacts)
    assert last
    rows = in_reading_order(compare(first, last), ["ar"])
    assert list(dict.fromkeys(row.either.language for row in rows)) == ["ar", "en", "en-ar"]
