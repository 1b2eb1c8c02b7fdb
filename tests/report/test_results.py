"""Results: what is read from scores, how it is worded, and what is beyond chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import by_stage

from diglot.base.artifact import Artifact
from diglot.report.results import Result, results, scores_of


def accuracy(value: float, error: float | None = 0.03) -> Result:
    return Result("task", "cloze", "ar", "acc", value, error, 0.25, 200)


def test_every_number_of_the_scores_becomes_one_result(artifacts: list[Artifact]) -> None:
    scores = scores_of(by_stage(artifacts, "evaluate-base"))
    found = results(scores)
    assert len(found) == len(scores.tasks) + len(scores.bits_per_byte) + 2 * len(scores.preferences)
    assert {r.value for r in found if r.kind == "bits"} == set(scores.bits.values())


def test_shares_are_percent_and_other_metrics_keep_their_unit() -> None:
    result = accuracy(0.7612)
    assert (result.text, result.error_text, result.chance_text) == ("76%", "±6", "25%")
    assert Result("task", "t", "ar", "chrf", 54.04, 1.0, 0.0).text == "54.0"
    assert Result("task", "t", "ar", "chrf", 54.04, 1.0, 0.0).chance_text == "–"
    assert Result("bits", "bits per byte", "ar", "bits/byte", 0.7).text == "0.700"


def test_a_score_is_known_where_its_interval_is_above_chance() -> None:
    assert accuracy(0.40).is_known  # 33.5% to 47%
    assert not accuracy(0.30).is_known  # 24.1% to 36.7%
    assert not accuracy(0.40, None).is_known
    # Two of two right are 34% to 100%; with a standard error of 0 they would be certain.
    assert Result("task", "t", "ar", "acc", 1.0, 0.0, 0.5, 2).interval == (
        pytest.approx(0.342, abs=1e-3),
        pytest.approx(1.0),
    )
    assert not Result("task", "t", "ar", "acc", 1.0, 0.0, 0.5, 2).is_known


def test_written_answers_are_known_above_chance_and_above_a_floor() -> None:
    def written(value: float, chance: float, metric: str = "chrf") -> Result:
        return Result("task", "answers", "ar", metric, value, value / 20, chance, 150, written=True)

    assert not written(4.2, 0.0).is_known  # answers were garbage: 4.2 is far above 0, and nothing
    assert not written(4.2, 1.0).is_known
    assert not written(20.0, 21.0).is_known  # as good as the answer to another question
    assert written(40.0, 21.0).is_known
    assert not written(0.04, 0.0, "exact_match").is_known  # the floor is in the metric's unit
    assert written(0.4, 0.0, "exact_match").is_known


def test_bits_are_known_below_those_of_equally_likely_bytes() -> None:
    assert Result("bits", "bits per byte", "ar", "bits/byte", 2.0, 0.1, None, 100).is_known
    assert not Result("bits", "bits per byte", "ar", "bits/byte", 16.457, 0.1, None, 100).is_known


def test_metrics_where_less_is_better_are_no_shares() -> None:
    for metric in ("word_perplexity", "bits_per_byte", "ter", "wer"):
        result = Result("task", "wikitext", "", metric, 12.0, 0.1)
        assert result.lower_is_better
        assert result.text == "12.0"
    for metric in ("acc", "f1", "inter_annotator"):
        assert not Result("task", "t", "", metric, 0.5).lower_is_better


@given(st.floats(0, 1), st.integers(2, 1000))
def test_shown_intervals_hold_their_value(value: float, items: int) -> None:
    low, high = accuracy(value).interval or (1, 0)
    assert low <= value <= high
    low, high = Result("bits", "bits per byte", "ar", "", value, 0.1, None, items).interval or (1, 0)
    assert low < value < high
