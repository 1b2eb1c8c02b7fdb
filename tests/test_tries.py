"""What a stage that was stopped left is gone on from where that is exact, else kept and named until the stage is whole."""

import json
from pathlib import Path

import pytest
from summaries import trained
from test_flow import WHERE, recipe, world

from diglot import flow
from diglot.base.artifact import read_artifact, writing
from diglot.recipe.train import Phase, Train
from diglot.step import Step, set_state
from diglot.tries import FILE, remove_tries, scratch_of, take_up, told

INPUTS = {"version": 2, "seed": 0, "files": {}, "stages": {"model": {"base": "m"}, "tokens": {"tokens": "t"}}}


def trunk(folder: Path, inputs: dict = INPUTS, **changes) -> Step:
    given = {"from": {"model": "base", "tokens": "tokens"}, "steps": 50, "phases": [Phase(name="all", warmup_steps=5)]}
    settings = Train(**{**given, **changes})
    step = Step("trunk", settings, settings.reads_from(), folder / "trunk", folder, made_from=inputs)
    step.fingerprint = flow.step_fingerprint(settings, inputs, step.reads)
    return step


def tried(step: Step, reached: int) -> Path:
    """A try that was stopped after some steps."""
    scratch = take_up(step)
    checkpoint = scratch / "checkpoints" / f"step-{reached:08d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_bytes(bytes(3_200_000))
    return scratch


def test_more_steps_of_a_trunk_take_its_try_up(tmp_path: Path) -> None:
    old = tried(trunk(tmp_path), 14)
    longer = trunk(tmp_path, steps=100)
    assert list(told(longer)) == ["trunk: goes on from 14 steps, 3 MB, made with steps: 50 → 100"]
    assert scratch_of(longer) != old
    scratch = take_up(longer)
    assert (scratch / "checkpoints/step-00000014/weights").is_file()
    assert not old.exists()
    assert json.loads((scratch / FILE).read_text())["semantic"]["steps"] == 100
    assert list(told(longer)) == []


def test_what_a_stage_made_before_is_named_with_its_steps(tmp_path: Path) -> None:
    step = trunk(tmp_path)
    made = {"stage": "trunk", "kind": "model", "do": "train", "settings": step.settings.settings(), "inputs": INPUTS}
    with writing(step.folder, fingerprint=step.fingerprint, **made) as unfinished:
        (unfinished.folder / "model.safetensors").write_bytes(bytes(5_000_000))
        unfinished.summary = trained(steps=50)
    longer, other = trunk(tmp_path, steps=100), trunk(tmp_path, epsilon=1e-7)
    for each in (longer, other):
        set_state(each)
    replaced = "trunk: what it made before, 50 steps, 5 MB, is replaced when this stage is whole"
    assert list(told(other)) == [replaced]
    assert list(told(longer)) == [
        f"{replaced}; to go on from it, leave this stage as it was and add one with continues: run"
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"learning_rate": 1e-3}, "learning_rate: 3e-05 → 0.001"),
        ({"steps": 40}, "steps: 50 → 40"),
        ({"steps": 100, "inputs": {**INPUTS, "seed": 1}}, "steps: 50 → 100; seed 0 → 1"),
        ({"steps": 100, "inputs": {**INPUTS, "stages": {"tokens": {"tokens": "t"}, "model": {"base": "other"}}}}, "input changed: base"),
    ],
)  # fmt: skip
def test_a_try_with_other_settings_stays_and_is_named_until_the_stage_is_whole(
    tmp_path: Path, changes: dict, why: str
) -> None:
    old = tried(trunk(tmp_path), 14)
    tried(other := trunk(tmp_path, **changes), 2)
    (text,) = told(other)
    assert text.startswith("trunk: 14 steps, 3 MB, of a try with other settings (")
    assert why in text
    assert text.endswith("): removed when this stage is whole")
    assert (old / "checkpoints/step-00000014/weights").is_file()
    assert take_up(trunk(tmp_path)) == old  # changed back
    remove_tries(other)
    assert not list((tmp_path / ".scratch").iterdir())


def test_a_try_of_its_own_comes_first_and_a_broken_one_is_only_named(tmp_path: Path) -> None:
    tried(trunk(tmp_path), 14)
    own = tried(trunk(tmp_path, steps=100, learning_rate=1e-3), 6)
    broken = tmp_path / ".scratch" / f"trunk-{'0' * 12}"
    broken.mkdir()
    (broken / FILE).write_text('{"do": "train", "semantic": [1], "settings": {}, "inputs": {}}')
    (tmp_path / ".scratch" / f"trunk-more-{'0' * 12}").mkdir()  # another stage's
    step = trunk(tmp_path, steps=100, learning_rate=1e-3)
    assert take_up(step) == own
    assert [text.partition(" of a try")[0] for text in told(step)] == [
        "trunk: what there is, 0 MB,",
        "trunk: 14 steps, 3 MB,",
    ]


def test_what_is_replaced_and_removed_is_said_while_it_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a stage that was done before, was begun anew with other settings, and is given others again."""
    flow.run(recipe({"world": world()}), tmp_path, WHERE)
    real = flow._function

    def killed(settings, who):
        def function(settings, inputs, output, context):
            (context.scratch / "journal").write_bytes(bytes(2_000_000))
            raise KeyboardInterrupt

        return function

    monkeypatch.setattr(flow, "_function", killed)
    for seed in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            flow.run(recipe({"world": world(seed=seed)}), tmp_path, WHERE)
    assert len(list((tmp_path / ".scratch").glob("world-*/journal"))) == 2
    assert read_artifact(tmp_path / "world").settings["seed"] == 0
    monkeypatch.setattr(flow, "_function", real)
    said: list[str] = []
    flow.run(recipe({"world": world(seed=2)}), tmp_path, WHERE, say=said.append)
    assert (
        said[0]
        == "world: what there is, 2 MB, of a try with other settings (seed: 1 → 2): removed when this stage is whole"
    )
    assert said[1].startswith("world: what it made before, ")
    assert not list((tmp_path / ".scratch").iterdir())
    assert read_artifact(tmp_path / "world").settings["seed"] == 2


STRANGE = [
    "null", "[]", "{}", "[" * 5000, '{"do": 1, "semantic": {}, "settings": {}, "inputs": {"stages": null}}',
    '{"do": "train", "semantic": {}, "settings": {"steps": "\\u001b[31m"}, "inputs": {"files": []}}',
    '{"do": "train", "semantic": {"steps": null}, "settings": {"a": 1}, "inputs": {}}',
]  # fmt: skip


@pytest.mark.parametrize("content", STRANGE)
def test_a_strange_try_of_somebody_else_is_only_named(tmp_path: Path, content: str) -> None:
    old = tried(trunk(tmp_path, epsilon=1e-7), 14)
    (old / FILE).write_text(content)
    step = trunk(tmp_path)
    (said,) = told(step)
    assert said.startswith("trunk: 14 steps, 3 MB, of a try with other settings")
    take_up(step)
    assert old.exists()
