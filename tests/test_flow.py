"""The flow: graph, states, whole artifacts, locks."""

import io
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Command, diglot
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from summaries import EMPTY_WORLD, trained

from diglot import flow
from diglot.base.artifact import FORMAT, content_hash, read_artifact, writing
from diglot.base.errors import UserError
from diglot.load import Where, check, load_recipe
from diglot.recipe import Recipe

WHERE = Where("recipe.yaml")


def recipe(stages: dict, **fields) -> Recipe:
    return check(Recipe, {"name": "test", "stages": stages, **fields}, WHERE)


def world(**changes) -> dict:
    counts = {
        "documents": {"en": 20, "ar": 20},
        "people": 40,
        "pairs": 5,
        "instructions": 5,
        "preferences": 5,
        "items": 4,
    }
    return {"do": "world", **counts, **changes}


def curate(**changes) -> dict:
    return {
        "do": "curate",
        "from": "world",
        "sources": {"english": {"path": "text/en.jsonl", "language": "en"}},
        **changes,
    }


def test_order_follows_from_not_the_file() -> None:
    names = list(flow.graph(recipe({"corpus": curate(), "world": world()}), WHERE))
    assert names == ["world", "corpus"]


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ({"corpus": curate(**{"from": "wrold"}), "world": world()}, "did you mean 'world'"),
        ({"a": {"do": "merge", "from": ["b"]}, "b": {"do": "merge", "from": ["a"]}}, "a → b → a"),
        ({"world": world(), "t": {"do": "train-tokenizer", "from": "world"}}, "'world' makes a text, but a corpus"),
        ({"world": world(), "t": {"do": "train-tokenizer"}}, "needs corpus"),
        ({"world": world(), "t": {"do": "encode", "from": "world"}}, "name the role"),
        ({"world": world(), "t": {"do": "encode", "from": {"text": "world"}}}, "has no input 'text'"),
    ],
)
def test_graph_errors(stages: dict, says: str) -> None:
    with pytest.raises(UserError) as error:
        flow.graph(recipe(stages), WHERE)
    assert says in str(error.value)


@given(
    st.permutations(["a", "b", "c", "d", "e"]), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6)
)
def test_every_order_has_inputs_first(names: list[str], edges: list[tuple[int, int]]) -> None:
    stages: dict = {name: {"do": "merge", "from": []} for name in names}
    for later, earlier in edges:
        if later > earlier:
            stages["abcde"[later]]["from"].append("abcde"[earlier])
    stages |= {"t": {"do": "train-tokenizer", "from": "w"}, "w": curate(**{"from": "x"}), "x": world()}
    for name in names:
        stages[name]["from"] = list(dict.fromkeys(stages[name]["from"])) or ["m"]
    stages["m"] = {"do": "new-model", "from": "t", "preset": "tiny"}
    order = list(flow.graph(recipe(stages), WHERE))
    assert sorted(order) == sorted(stages)
    for name, reads in flow.graph(recipe(stages), WHERE).items():
        assert all(order.index(other) < order.index(name) for others in reads.values() for other in others)


def states(given: Recipe, folder: Path) -> dict[str, tuple[str, str]]:
    return {step.name: (step.state, step.why) for step in flow.plan(given, folder, WHERE)}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """A run of two stages: the world and a second world, so that states can be watched without training."""
    folder = tmp_path_factory.mktemp("run")
    stages = {"world": world(), "other": world(seed=1)}
    flow.run(recipe(stages), folder, WHERE)
    return stages, folder


def test_a_second_run_does_nothing(small_run: tuple[dict, Path]) -> None:
    stages, folder = small_run
    assert set(states(recipe(stages), folder).values()) == {("done", "")}
    before = {name: (folder / name / "artifact.json").stat().st_mtime_ns for name in stages}
    flow.run(recipe(stages), folder, WHERE)
    assert before == {name: (folder / name / "artifact.json").stat().st_mtime_ns for name in stages}


def test_what_changed_is_named(small_run: tuple[dict, Path]) -> None:
    stages, folder = small_run
    changed = {**stages, "world": world(people=41)}
    assert states(recipe(changed), folder) == {"world": ("stale", "people: 40 → 41"), "other": ("done", "")}
    assert states(recipe(stages, seed=9), folder)["other"] == ("stale", "seed 0 → 9")


def test_same_settings_same_content(small_run: tuple[dict, Path], tmp_path: Path) -> None:
    stages, folder = small_run
    flow.run(recipe(stages), tmp_path, WHERE)
    for name in stages:
        assert read_artifact(tmp_path / name).content == read_artifact(folder / name).content
    assert read_artifact(folder / "world").content != read_artifact(folder / "other").content


def test_files_from_outside_count_by_content(tmp_path: Path) -> None:
    text = tmp_path / "texts" / "a.jsonl"
    text.parent.mkdir()
    text.write_text('{"text": "one"}\n')
    stages = {"corpus": {"do": "curate", "sources": {"english": {"path": str(text.parent), "language": "en"}}}}
    run = tmp_path / "run"
    first = flow.plan(recipe(stages), run, WHERE)[0].fingerprint
    os.utime(text, ns=(1, 1))
    assert flow.plan(recipe(stages), run, WHERE)[0].fingerprint == first
    text.write_text('{"text": "two"}\n')
    assert flow.plan(recipe(stages), run, WHERE)[0].fingerprint != first


def test_a_missing_path_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "name: x\nstages:\n  corpus:\n    do: curate\n    sources:\n      english:\n        path: none\n        language: en\n"
    )
    loaded, where = load_recipe(file)
    with pytest.raises(UserError) as error:
        flow.plan(loaded, tmp_path / "run", where)
    assert f"{file}:7: stages.corpus.sources.english.path: no such file or folder: none" in str(error.value)
    (tmp_path / "empty").mkdir()
    file.write_text(file.read_text().replace("none", str(tmp_path / "empty")))
    loaded, where = load_recipe(file)
    with pytest.raises(UserError, match=f"no files in the folder: {tmp_path / 'empty'}"):
        flow.plan(loaded, tmp_path / "run", where)


def test_until_takes_what_it_needs(small_run: tuple[dict, Path]) -> None:
    stages, folder = small_run
    steps = flow.plan(recipe({**stages, "corpus": curate()}), folder, WHERE)
    assert [step.name for step in flow.wanted(steps, "corpus")] == ["world", "corpus"]
    with pytest.raises(UserError, match="no such stage"):
        flow.wanted(steps, "nothing")


# --- branches -------------------------------------------------------------------------------------------------


def trunk_and(**stages: dict) -> dict:
    """A trunk of 800 steps that keeps the models of every 200, and stages that read it."""
    pipeline: dict = {"x": world(), "w": curate(**{"from": "x"}), "t": {"do": "train-tokenizer", "from": "w"}}
    pipeline["k"] = {"do": "encode", "from": {"tokenizer": "t", "corpus": "w"}}
    pipeline["start"] = {"do": "new-model", "from": "t", "preset": "tiny"}
    trunk = {"model": "start", "tokens": "k"}
    pipeline["trunk"] = {"do": "train", "from": trunk, "steps": 800, "export_every": 200, "exports": [150]}
    return pipeline | stages


def branch(model: str, **changes) -> dict:
    return {"do": "train", "from": {"model": model, "tokens": "k"}, "steps": 10, **changes}


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ({"b": branch("trunk@300")}, "'trunk@300': 'trunk' keeps the models of the steps 150, 200, 400, 600, 800; to"),
        ({"b": branch("trunk@300")}, "set stages.trunk.exports"),
        ({"b": branch("trunk@")}, "'trunk@': 'trunk' keeps the models of"),
        ({"b": branch("trunk@last")}, "'trunk@last': 'trunk' keeps the models of"),
        ({"b": branch("start@200")}, "'start@200': 'start' is made by new-model; only train stages have steps"),
        ({"b": branch("trank@200")}, "no stage 'trank'; did you mean 'trunk'?"),
        ({"b": branch("trunk@200", continues="run")}, "continues: run needs the optimizer's state: set export_opt"),
        ({"b": branch("start", continues="optimizer")}, "needs the model of a train stage; this one is made by new"),
        ({"m": {"do": "merge", "from": "trunk", "last": 6}}, "it keeps only the models of steps 150, 200, 400, 600"),
        ({"m": {"do": "merge", "from": "start", "last": 2}}, "last takes the models that a train stage kept"),
    ],
)  # fmt: skip
def test_steps_that_cannot_be_read_are_named(stages: dict, says: str) -> None:
    with pytest.raises(UserError) as error:
        flow.graph(recipe(trunk_and(**stages)), WHERE)
    assert says in str(error.value)


def test_a_step_is_refused_with_its_line(tmp_path: Path) -> None:
    import yaml

    file = tmp_path / "recipe.yaml"
    text = yaml.safe_dump({"name": "x", "stages": trunk_and()}, sort_keys=False)
    text += "  b:\n    do: train\n    from:\n      model: trunk@300\n      tokens: k\n    steps: 10\n"
    file.write_text(text)
    line = text.split("\n").index("      model: trunk@300") + 1
    loaded, where = load_recipe(file)
    with pytest.raises(UserError, match=f"^{file}:{line}: stages.b.from.model: 'trunk@300'"):
        flow.graph(loaded, where)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "ties"}, "method ties needs the model that all began from: base in `from`"),
        ({"from": {"models": ["a", "b"], "base": "c"}}, "method linear has no base"),
        ({"density": 0.5}, "density would do nothing"),
        ({"scale": 0.5}, "scale would do nothing"),
        ({"last": 3}, "last takes the models that one stage kept"),
    ],
)
def test_settings_of_a_merge_that_do_nothing_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        recipe({"m": {"do": "merge", "from": ["a", "b"], **changes}})


def test_a_run_cannot_continue_for_dpo_or_keep_what_it_does_not_reach() -> None:
    with pytest.raises(UserError, match="continues: run is not for dpo"):
        recipe({"b": branch("a", objective="dpo", continues="run")})
    with pytest.raises(UserError, match="step 20 is beyond the stage's 10 steps"):
        recipe({"b": branch("a", exports=[20])})


def test_branches_at_other_steps_are_other_stages(tmp_path: Path) -> None:
    """The trunk is the same whoever branches from it; a branch is another where it leaves at another step."""

    def prints(model: str) -> dict[str, str]:
        steps = flow.plan(recipe(trunk_and(b=branch(model))), tmp_path, WHERE)
        assert [step.name for step in flow.wanted(steps, "b")][-2:] == ["trunk", "b"]
        return {step.name: step.fingerprint for step in steps}

    found = [prints(model) for model in ("trunk@200", "trunk@400", "trunk")]
    assert len({each["b"] for each in found}) == 3
    assert len({each["trunk"] for each in found}) == 1


def test_what_a_step_stands_for(tmp_path: Path) -> None:
    """The kept model's folder; the last step is the stage's own artifact."""
    steps = {step.name: step for step in flow.plan(recipe(trunk_and()), tmp_path, WHERE)}
    fields = {"stage": "trunk", "kind": "model", "do": "train", "fingerprint": "f", "settings": {}, "inputs": {}}
    with writing(tmp_path / "trunk", **fields) as unfinished:
        unfinished.summary = trained()
        (unfinished.folder / "steps" / "200").mkdir(parents=True)
        (unfinished.folder / "steps" / "200" / "config.json").write_text("{}")
    kept = flow.read_named(steps, "trunk@200")
    assert (kept.path, kept.stage) == (tmp_path / "trunk" / "steps" / "200", "trunk@200")
    assert flow.read_named(steps, "trunk@800") == flow.read_named(steps, "trunk")
    assert flow.read_named(steps, "trunk").steps() == [200]


# --- whole or not at all --------------------------------------------------------------------------------------

FIELDS = {"stage": "s", "kind": "text", "do": "world", "fingerprint": "f", "settings": {}, "inputs": {}}


def test_a_failing_stage_leaves_the_old_artifact(tmp_path: Path) -> None:
    with writing(tmp_path / "a", **FIELDS) as unfinished:
        unfinished.summary = EMPTY_WORLD
        (unfinished.folder / "x").write_text("old")
    with pytest.raises(RuntimeError), writing(tmp_path / "a", **FIELDS) as unfinished:
        (unfinished.folder / "x").write_text("new")
        raise RuntimeError
    assert (tmp_path / "a" / "x").read_text() == "old"
    assert not list((tmp_path / ".partial").iterdir())


def test_a_full_disk_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no space left"), writing(tmp_path / "a", **FIELDS) as unfinished:
        (unfinished.folder / "x").write_text("half")
        raise OSError(28, "No space left on device")
    assert read_artifact(tmp_path / "a") is None


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "artifact.json").write_text("{")
    with pytest.raises(UserError, match=r"artifact\.json: not readable as JSON .*; delete .* and run again"):
        read_artifact(tmp_path)
    (tmp_path / "artifact.json").write_text(json.dumps({"format": FORMAT, "stages": "world"}))
    with pytest.raises(UserError, match="not a readable manifest"):
        read_artifact(tmp_path)


def test_artifacts_of_an_older_version_are_named_and_made_anew(tmp_path: Path) -> None:
    """A manifest as it was before it said its format; all else in it is right."""
    given = recipe({"world": world()})
    flow.run(given, tmp_path, WHERE)
    file = tmp_path / "world" / "artifact.json"
    manifest = json.loads(file.read_text())
    assert manifest.pop("format") == FORMAT
    file.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"world: .* written by an older version of Diglot .*; run its recipe again"):
        read_artifact(tmp_path / "world")
    assert states(given, tmp_path) == {"world": ("stale", "written by an older version of Diglot")}
    assert "stale (written by an older version of Diglot)" in diglot("show", str(tmp_path)).stdout
    assert "written by an older version of Diglot" in diglot("show", str(tmp_path / "world")).stderr
    flow.run(given, tmp_path, WHERE)
    assert states(given, tmp_path) == {"world": ("done", "")}
    file.write_text(json.dumps({**manifest, "format": FORMAT + 1}))
    assert states(given, tmp_path) == {"world": ("stale", "written by a newer version of Diglot")}
    (tmp_path / "recipe.json").write_text('{"name": "test", "stages": {"tasks": {"do": "gather-tasks"}}}')
    assert "made by an older version of Diglot" in diglot("show", str(tmp_path)).stderr


@examples(30)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=20), max_size=5))
def test_content_hash_is_of_names_and_bytes(files: dict[str, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        for name in files:
            (Path(one) / name).write_bytes(files[name])
        for name in random.sample(sorted(files), len(files)):
            (Path(two) / name).write_bytes(files[name])
        (Path(two) / "logs").mkdir()
        (Path(two) / "logs" / "t").write_text("timings")
        assert content_hash(Path(one)) == content_hash(Path(two))
        (Path(two) / "d").write_bytes(b"")
        assert content_hash(Path(one)) != content_hash(Path(two))


def test_an_artifact_does_not_reach_outside(small_run: tuple[dict, Path]) -> None:
    artifact = read_artifact(small_run[1] / "world")
    with pytest.raises(UserError, match="outside the artifact"):
        artifact.file("..", "other", "artifact.json")


# --- locks ----------------------------------------------------------------------------------------------------


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from diglot.flow import locked\n"
        f"with locked(pathlib.Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"pid {holder.pid}"), flow.locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    with flow.locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


@pytest.mark.slow
def test_killed_data_stage_goes_on_to_the_same_content(small_run: tuple[dict, Path], tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    stages = {"world": world(documents={"en": 4000, "ar": 4000}, people=200)}
    file.write_text(json.dumps({"name": "killed", "stages": stages}))
    assert diglot("run", file, "--run", tmp_path / "whole").returncode == 0
    seconds = read_artifact(tmp_path / "whole" / "world").provenance["seconds"]
    for share in (0.2, 0.7):
        process = Command("run", file, "--run", tmp_path / "killed")
        while not (tmp_path / "killed" / ".partial" / "world").exists() and process.running():
            time.sleep(0.01)
        time.sleep(seconds * share)
        process.kill()
    assert diglot("run", file, "--run", tmp_path / "killed").returncode == 0
    whole, killed = (read_artifact(tmp_path / name / "world") for name in ("whole", "killed"))
    assert whole.content == killed.content


def test_a_folder_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not an artifact"):
        flow.run(recipe({"world": world()}), tmp_path, WHERE)
    assert (tmp_path / "world" / "thesis.txt").read_text() == "mine"


def test_the_order_of_inputs_counts(tmp_path: Path) -> None:
    def merge(names: list[str]) -> str:
        stages = {"x": world(), "w": curate(**{"from": "x"}), "t": {"do": "train-tokenizer", "from": "w"}}
        stages |= {name: {"do": "new-model", "from": "t", "preset": "tiny"} for name in ("a", "b")}
        stages["m"] = {"do": "merge", "from": names, "weights": [0.9, 0.1]}
        return {step.name: step.fingerprint for step in flow.plan(recipe(stages), tmp_path, WHERE)}["m"]

    assert merge(["a", "b"]) != merge(["b", "a"])


def test_what_people_write_is_not_markup(tmp_path: Path) -> None:
    from rich.console import Console

    from diglot.base.table import drawn
    from diglot.terminal import plan_table

    steps = flow.plan(recipe({"world": world()}), tmp_path, WHERE)
    steps[0].why = 'prompt: "[INST] {prompt} [/INST]"'
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(drawn(plan_table(steps)))
    assert "[/INST]" in console.export_text()
