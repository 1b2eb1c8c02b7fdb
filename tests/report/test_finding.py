"""The finding in words: what was learnt, kept, lost, not moved; never kinder than the numbers."""

import dataclasses

import pytest
from small_run import by_stage, with_scores

from diglot.base.artifact import Artifact
from diglot.base.summaries.scores import Metric, TaskScore
from diglot.report.comparisons import before_and_after, headline_comparisons, losses, new_languages
from diglot.report.finding import finding_of
from diglot.report.results import scores_of

CHOICES = ("cloze-ar", "facts-ar", "transfer-ar")


def finding(artifacts: list[Artifact]) -> str:
    first, last = before_and_after(artifacts)
    assert last
    rows = headline_comparisons(artifacts, first, last)
    return finding_of(rows, new_languages(artifacts), losses(artifacts, first, last))


def changed(artifacts: list[Artifact], stage: str, **tasks: TaskScore | tuple[float, float]) -> list[Artifact]:
    """Other values and standard errors of tasks at a stage, by the task's name with underscores."""
    there = dict(scores_of(by_stage(artifacts, stage)).tasks)
    for key, new in tasks.items():
        name = key.replace("_", "-")
        old = there[name]
        there[name] = (
            new if isinstance(new, TaskScore) else dataclasses.replace(old, metrics={old.metric: Metric(*new)})
        )
    return with_scores(artifacts, stage, tasks=there)


def test_all_tasks_beyond_chance_and_noise_are_a_language_learnt(artifacts: list[Artifact]) -> None:
    text = finding(artifacts)
    assert text.startswith("Arabic was learnt: cloze-ar 26% → 76% (chance 25%)")
    assert "English was kept: cloze-en 86% → 84% (−2 points ±7)" in text


def test_answers_that_are_garbage_are_not_learnt(artifacts: list[Artifact]) -> None:
    some = changed(artifacts, "evaluate-base", translation_en_ar=(0.1, 0.02))
    text = finding(changed(some, "evaluate-aligned", translation_en_ar=(4.2, 0.3)))
    assert text.startswith("Arabic was learnt in part, on 3 of 4 tasks: ")
    assert "Not learnt: translation-en-ar 0.1 → 4.2 (floor 10.0)." in text


def test_a_gain_that_ends_at_chance_is_not_learnt(artifacts: list[Artifact]) -> None:
    low, high = (dict.fromkeys([name.replace("-", "_") for name in CHOICES], (value, 0.025)) for value in (0.12, 0.27))
    some = changed(artifacts, "evaluate-base", **low, translation_en_ar=(5.0, 0.3))
    text = finding(changed(some, "evaluate-aligned", **high, translation_en_ar=(6.5, 0.3)))
    assert text.startswith("Arabic was not learnt: no task is both better than before and beyond chance.")
    assert (
        "Its text became likelier: bits per byte 2.600 → 0.700 and preference accuracy 50% → 81% (chance 50%)." in text
    )
    assert "Not learnt: cloze-ar 12% → 27% (chance 25%), facts-ar" in text


def test_what_fell_and_what_did_not_move_is_listed(artifacts: list[Artifact]) -> None:
    bits = scores_of(by_stage(artifacts, "evaluate-base")).bits_per_byte
    some = with_scores(artifacts, "evaluate-aligned", bits_per_byte=bits)
    some = changed(some, "evaluate-base", facts_ar=(0.5, 0.03))
    text = finding(changed(some, "evaluate-aligned", facts_ar=(0.3, 0.03)))
    assert "Not moved: bits per byte 2.600 → 2.600." in text
    assert "Worse: facts-ar 50% → 30% (chance 25%)." in text


def test_without_a_task_nothing_is_called_learnt(artifacts: list[Artifact]) -> None:
    for stage in ("evaluate-base", "evaluate-expanded", "evaluate-aligned"):
        artifacts = with_scores(artifacts, stage, tasks={})
    text = finding(artifacts)
    assert text.startswith("No task measured whether Arabic was learnt: bits per byte 2.600 → 0.700")
    assert "English text: bits per byte 0.620 → 0.640 (+0.020 ±0.028)." in text
    assert "kept" not in text


def test_one_evaluation_claims_no_change(artifacts: list[Artifact]) -> None:
    alone = [artifact for artifact in artifacts if artifact.kind != "scores" or artifact.stage == "evaluate-aligned"]
    text = finding(alone)
    assert "Arabic was measured once: cloze-ar 76% ±6 (chance 25%)" in text
    assert "learnt" not in text


def test_a_loss_since_the_best_stage_is_said_though_the_language_was_kept(artifacts: list[Artifact]) -> None:
    bits = scores_of(by_stage(artifacts, "evaluate-expanded")).bits_per_byte
    best = dataclasses.replace(bits["en"], value=0.400, standard_error=0.001)
    text = finding(with_scores(artifacts, "evaluate-expanded", bits_per_byte={**bits, "en": best}))
    assert "English was kept" in text
    assert "English was better at evaluate-expanded: bits per byte 0.400 → 0.640." in text


def test_a_language_that_the_tokenizer_knew_can_be_gained(artifacts: list[Artifact]) -> None:
    plain = [artifact for artifact in artifacts if artifact.do != "extend-tokenizer"]
    assert "Arabic gained: cloze-ar 26% → 76% (chance 25%)" in finding(plain)


def test_a_task_of_the_base_language_that_stayed_at_chance_is_listed(artifacts: list[Artifact]) -> None:
    some = changed(artifacts, "evaluate-base", transfer_en=(0.23, 0.03))
    text = finding(changed(some, "evaluate-aligned", transfer_en=(0.31, 0.04)))
    assert "English was kept: cloze-en 86% → 84%" in text
    assert "Neither known before nor gained: transfer-en 23% → 31% (chance 25%)." in text


@pytest.mark.parametrize("error", [None, 0.2])
def test_what_cannot_be_judged_is_said(artifacts: list[Artifact], error: float | None) -> None:
    some = changed(artifacts, "evaluate-aligned", cloze_ar=(0.5, error))  # type: ignore[arg-type]
    text = finding(some)
    assert f"{'Not judged' if error is None else 'Not learnt'}: cloze-ar 26% → 50% (chance 25%)." in text
