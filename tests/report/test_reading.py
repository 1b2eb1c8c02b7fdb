"""Reading a run: logs that were cut off or resumed, and where in the pipeline every model stands."""

import json
from pathlib import Path

import pytest

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.report.reading import Run, read_json, read_training, token_offsets


def by_name(artifacts: list[Artifact], name: str) -> Artifact:
    return next(artifact for artifact in artifacts if artifact.stage == name)


def test_a_cut_off_last_line_is_left_out_and_counted(artifacts: list[Artifact]) -> None:
    artifact = by_name(artifacts, "base")
    whole = read_training(artifact)
    assert (len(whole.steps), whole.unreadable) == (400, 0)
    log = artifact.path / "logs" / "metrics.jsonl"
    lines = [line for line in log.read_text().split("\n") if '"step"' in line and '"evaluation"' not in line]
    log.write_text("\n".join(lines[:300]) + "\n" + lines[300][:40])
    cut = read_training(artifact)
    assert (len(cut.steps), cut.unreadable) == (300, 1)


def test_after_a_resume_the_later_record_of_a_step_counts(artifacts: list[Artifact]) -> None:
    artifact = by_name(artifacts, "base")
    log = artifact.path / "logs" / "metrics.jsonl"
    again = json.dumps({"type": "step", "step": 400, "phase": "all", "loss": 9.0, "tokens": 400 * 4096})
    log.write_text(log.read_text() + again + "\n")
    steps = read_training(artifact).steps
    assert [record["step"] for record in steps] == list(range(1, 401))
    assert steps[-1]["loss"] == 9.0


def test_phases_cover_all_steps_once(artifacts: list[Artifact]) -> None:
    training = read_training(by_name(artifacts, "continued"))
    assert [name for name, _, _ in training.phases] == ["stable", "decay"]
    covered = [step for _, first, last in training.phases for step in range(first, last + 1)]
    assert covered == [record["step"] for record in training.steps]


def test_tokens_add_up_along_the_pipeline_and_branches_begin_at_their_checkpoint(artifacts: list[Artifact]) -> None:
    starts = token_offsets(Run(artifacts))
    step = 4096
    assert starts["base"] == 0
    assert starts["expanded"] == starts["continued"] == 400 * step
    assert starts["branch"] == 1100 * step
    assert starts["merged"] == starts["sft"] == 1250 * step  # the longest of the merged
    assert starts["evaluate-base"] == 400 * step
    assert starts["evaluate-aligned"] == (1250 + 150 + 80) * step


def test_a_log_that_is_absent_gives_no_steps_and_a_broken_file_is_named(artifacts: list[Artifact]) -> None:
    artifact = by_name(artifacts, "base")
    (artifact.path / "logs" / "metrics.jsonl").unlink()
    assert read_training(artifact).steps == []
    corpus = by_name(artifacts, "corpus")
    assert read_json(corpus, "nothing.json") is None
    Path(corpus.path / "ledger.json").write_text('{"sources": ')
    with pytest.raises(UserError, match=r"ledger\.json.*'corpus'"):
        read_json(corpus, "ledger.json")
