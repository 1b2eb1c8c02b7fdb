"""A run folder from somebody else does no harm, and our own does not call done what is not."""

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from commands import diglot
from summaries import trained
from test_flow import WHERE, curate, recipe, states, world

from diglot import flow
from diglot.base.artifact import MANIFEST, SHAPING, Inputs, read_artifact, versions, writing
from diglot.base.errors import UserError
from diglot.base.hashes import MEMORY, FileHashes
from diglot.base.summaries.text import TranslationSummary
from diglot.runs import check_model

STAGES = {"world": world(), "corpus": curate(rules={"limits": {"min_words": 3, "min_characters": 10}})}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the world and a corpus of it, by its command."""
    folder = tmp_path_factory.mktemp("trust")
    (folder / "recipe.yaml").write_text(json.dumps({"name": "trust", "stages": STAGES}))
    done = diglot("run", folder / "recipe.yaml", "--run", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def seen(folder: Path) -> dict[str, tuple]:
    """All that lies in a folder: times, sizes, and what is a link."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_size, path.is_symlink())
        for path in folder.rglob("*")
    }


# --- links ----------------------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Files of the user's, outside the run."""
    (tmp_path / "mine" / "corpus").mkdir(parents=True)
    (tmp_path / "mine" / "letter").write_text("dear")
    (tmp_path / "mine" / "corpus" / "letter").write_text("dear")
    return tmp_path / "mine"


@pytest.mark.parametrize("name", [".lock", MEMORY, "recipe.json", ".partial", ".partial/corpus", ".partial/corpus.old"])
def test_a_run_follows_no_link(run: Path, mine: Path, name: str) -> None:
    before = seen(mine)
    link = run / name
    link.parent.mkdir(exist_ok=True)
    if link.is_dir():
        link.rmdir()
    link.unlink(missing_ok=True)
    link.symlink_to(mine / "letter" if name in (".lock", MEMORY, "recipe.json") else mine)
    changed = recipe({**STAGES, "corpus": curate(held_out=0.5, rules=STAGES["corpus"]["rules"])})
    if name == ".lock":
        with pytest.raises(UserError, match=r"\.lock: something else lies where Diglot has a plain file"):
            flow.run(changed, run, WHERE)
    else:
        flow.run(changed, run, WHERE)
        assert states(changed, run)["corpus"][0] == "done"
    assert seen(mine) == before


@pytest.mark.parametrize("name", ["", "SCRATCH", "SCRATCH/checkpoints", "SCRATCH/journal.jsonl", "old"])
def test_a_scratch_folder_with_a_link_in_it_is_refused(run: Path, mine: Path, name: str) -> None:
    before, changed = seen(mine), recipe({**STAGES, "world": world(seed=3)})
    step = flow.plan(changed, run, WHERE)[0]
    name = name.replace("SCRATCH", f"world-{step.fingerprint[:12]}").replace("old", "world-0123456789ab")
    link = run / ".scratch" / name
    if not name:
        link.rmdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(mine / "letter" if name.endswith("jsonl") else mine)
    with pytest.raises(UserError, match="something else lies where Diglot has a plain file or folder"):
        flow.run(changed, run, WHERE)
    assert seen(mine) == before


def test_a_stage_folder_that_is_a_link_is_replaced(run: Path, mine: Path) -> None:
    before = seen(mine)
    (run / "world").rename(run / "elsewhere")
    (run / "world").symlink_to(run / "elsewhere")
    flow.run(recipe({"world": world(seed=3)}), run, WHERE)
    assert not (run / "world").is_symlink()
    assert read_artifact(run / "elsewhere").settings["seed"] == 0
    (run / "other").symlink_to(run / "nothing")
    flow.run(recipe({"world": world(seed=3), "other": world(seed=4)}), run, WHERE)
    assert seen(mine) == before


def test_looking_writes_nothing(run: Path) -> None:
    (run / MEMORY).unlink(missing_ok=True)
    (run / "recipe.yaml").write_text((run / "recipe.json").read_text())
    before = seen(run)
    for words in (["show", run], ["show", run, "--verify"], ["run", run / "recipe.yaml", "--run", run, "--dry-run"]):
        done = diglot(*words)
        assert done.returncode == 0, done.stderr
        assert seen(run) == before


# --- damage ---------------------------------------------------------------------------------------------------


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_flipped_bit_is_found_before_the_next_stage_reads_it(run: Path) -> None:
    flip(run / "world" / "text" / "en.jsonl")
    changed = recipe({**STAGES, "corpus": curate(held_out=0.5)})
    with pytest.raises(UserError) as error:
        flow.run(changed, run, WHERE)
    assert f"stage 'corpus': {run}/world is not as it was written: text/en.jsonl was changed" in str(error.value)
    assert f"rm -r {run}/world && diglot run {run}/recipe.json --run {run}" in str(error.value)


def test_a_disk_that_returns_other_bytes_is_found_by_verify(run: Path) -> None:
    """Size and times are as they were: the memory is made to believe so."""
    file = run / "world" / "text" / "en.jsonl"
    right = FileHashes(run / MEMORY).of(file)
    flip(file)
    status = file.stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    (run / MEMORY).write_text(json.dumps({str(file): [stamp, right]}))
    words = ["run", run / "recipe.json", "--run", run]
    assert diglot(*words).returncode == 0
    for command in ([*words, "--verify"], [*words, "--verify", "--dry-run"], ["show", run, "--verify"]):
        done = diglot(*command)
        assert done.returncode == 2
        assert "world is not as it was written: text/en.jsonl was changed" in done.stderr
    assert "damaged" in done.stdout


def test_a_crash_over_a_damaged_input_is_named(run: Path) -> None:
    """What no size and no time shows: the stage fails over it, and only then everything is hashed."""

    def read(*_: object) -> None:
        raise ValueError("not what I expected")

    source = read_artifact(run / "world")
    step = {each.name: each for each in flow.plan(recipe(STAGES), run, WHERE)}["corpus"]
    inputs, hashes = Inputs({"text": [source]}), FileHashes(run / MEMORY)
    with pytest.raises(ValueError, match="not what I expected"):
        flow._summary(read, step, inputs, run, None, hashes)
    flip(run / "world" / "text" / "en.jsonl")
    with pytest.raises(UserError, match="world is not as it was written"):
        flow._summary(read, step, inputs, run, None, hashes)


# --- done though it is not ------------------------------------------------------------------------------------


def test_the_order_of_sources_counts(tmp_path: Path) -> None:
    """Of equal documents the one of the first source is kept."""
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')

    def prints(*names: str) -> str:
        sources = {name: {"path": str(tmp_path / "a.jsonl"), "language": "en"} for name in names}
        return flow.plan(recipe({"corpus": {"do": "curate", "sources": sources}}), tmp_path, WHERE)[0].fingerprint

    assert prints("x", "y") == prints("x", "y") != prints("y", "x")


def test_the_order_of_keys_within_a_class_of_settings_does_not_count(tmp_path: Path) -> None:
    stages = [{"do": "world", "people": 40, "pairs": 5}, {"pairs": 5, "people": 40, "do": "world"}]
    one, two = (flow.plan(recipe({"world": stage}), tmp_path, WHERE)[0].fingerprint for stage in stages)
    assert one == two


def test_a_file_that_changes_while_a_stage_reads_it_is_said(tmp_path: Path) -> None:
    text = tmp_path / "a.jsonl"
    text.write_text("".join(json.dumps({"text": f"The baker number {n} bakes bread."}) + "\n" for n in range(50)))
    sources = {"english": {"path": str(text), "language": "en", "language_confidence": 0}}
    given = recipe({"corpus": {"do": "curate", "sources": sources, "rules": {"set": "none"}}})

    def add_a_line(step: flow.Step) -> None:
        with text.open("a") as stream:
            stream.write('{"text": "The last one."}\n')

    with pytest.raises(UserError, match=r"a\.jsonl was changed while the stage read it; run the same command again"):
        flow.run(given, tmp_path / "run", WHERE, started=add_a_line)
    assert states(given, tmp_path / "run")["corpus"][0] == "to do"
    flow.run(given, tmp_path / "run", WHERE)
    assert states(given, tmp_path / "run")["corpus"][0] == "done"


def test_other_versions_are_shown_and_nothing_is_made_again(run: Path) -> None:
    file = run / "world" / MANIFEST
    manifest = json.loads(file.read_text())
    manifest["provenance"]["versions"] = {"numpy": "1.0", "nothing-of-this-name": "2", "": "3"}
    file.write_text(json.dumps(manifest))
    assert states(recipe(STAGES), run)["world"] == (
        "done",
        f"made with numpy 1.0 (here {version('numpy')}), nothing-of-this-name 2 (here not installed),"
        "  3 (here not installed)",
    )
    assert "made with numpy 1.0" in " ".join(diglot("show", run).stdout.split())


def test_a_module_of_another_package_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage made is not lost over it: versions are asked for when its work is done."""
    monkeypatch.setitem(SHAPING, "json", "nothing-of-this-name")
    assert "json" not in versions()
    assert "diglot" in versions()


def test_another_server_is_shown_and_nothing_is_translated_again(tmp_path: Path) -> None:
    def stages(url: str) -> dict:
        endpoint = {"url": f"http://{url}/v1", "model": "tiny"}
        corpus = {"do": "curate", "sources": {"en": {"path": __file__, "language": "en"}}}
        return {
            "corpus": corpus,
            "done": {"do": "translate", "from": "corpus", "endpoint": endpoint, "target_language": "ar"},
        }

    step = flow.plan(recipe(stages("a")), tmp_path, WHERE)[1]
    fields = {"stage": "done", "kind": "text", "do": "translate", "fingerprint": step.fingerprint}
    with writing(step.folder, **fields, settings=step.settings.settings(), inputs=step.made_from) as unfinished:
        counts = {"documents": 0, "paragraphs": 0, "characters": 0, "bytes": 0, "read": 0, "requests": 0, "cost": 0.0}
        unfinished.summary = TranslationSummary(**counts, dropped={}, tokens={}, model="tiny", left_out={})
    assert states(recipe(stages("a")), tmp_path)["done"] == ("done", "")
    assert states(recipe(stages("b")), tmp_path)["done"] == ("done", 'endpoint.url: "http://a/v1" → "http://b/v1"')


# --- the commands of stages -----------------------------------------------------------------------------------


def test_commands_of_stages_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    """Each keeps its lock and what it works on apart; the message names the option that there is."""
    words = ["--documents", "{en: 20, ar: 20}", "--people", "40", "--pairs", "5", "--instructions", "5"]
    words += ["--preferences", "5", "--items", "4"]
    with flow.locked(tmp_path / ".one.diglot"):
        other = diglot("world", "--out", tmp_path / "other", *words)
        assert other.returncode == 0, other.stderr
        one = diglot("world", "--out", tmp_path / "one", *words)
    assert one.returncode == 2
    assert f"{tmp_path}/.one.diglot is in use by another diglot (pid {os.getpid()})" in one.stderr
    assert "or give another folder with --out" in one.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".one.diglot", ".other.diglot", "other"]
    assert "is done" in diglot("world", "--out", tmp_path / "other", *words).stdout


# --- chat -----------------------------------------------------------------------------------------------------


def test_a_damaged_model_is_not_talked_to(tmp_path: Path) -> None:
    fields = {"stage": "m", "kind": "model", "do": "train", "fingerprint": "f", "settings": {}, "inputs": {}}
    with writing(tmp_path / "m", **fields) as unfinished:
        unfinished.summary = trained()
        for place in (unfinished.folder, unfinished.folder / "steps" / "2"):
            place.mkdir(parents=True, exist_ok=True)
            (place / "config.json").write_text("{}")
    for place in (tmp_path / "m", tmp_path / "m" / "steps" / "2"):
        check_model(place)
        (place / "config.json").write_text("{ }")
        with pytest.raises(UserError, match=r"is not as it was written: config\.json was changed"):
            check_model(place)
        (place / "config.json").write_text("{}")
    check_model(tmp_path)  # nobody's
    check_model(tmp_path / "m" / "steps" / "best")  # somebody's own copy there


# --- strange manifests ----------------------------------------------------------------------------------------

TASK = {"language": "en", "kind": "choice", "metric": "acc", "chance": 0.25, "items": 1}


def _scores(**summary: object) -> dict[str, object]:
    return {"do": "evaluate", "kind": "scores", "summary": summary}


STRANGE = {
    "null": {"settings": None},
    "list": {"inputs": []},
    "no seconds": {"provenance": {}},
    "null seconds": {"provenance": {"seconds": None}},
    "seconds in words": {"provenance": {"seconds": "12"}},
    "recipe": {"provenance": {"recipe": {"name": 1}}},
    "endless": {"provenance": {"seconds": float("inf")}},
    "numbers": {"settings": {"seed": 10**400}},
    "stages": {"inputs": {"stages": {"text": None}}},
    "files": {"inputs": {"files": None}},
    "surrogate": {"settings": {"people": "\ud800"}},
    "surrogate name": {"stage": "\ud800"},
    "escape": {"settings": {"people": "\x1b]0;owned\x07\x9b31m"}},
    "deep": {"settings": json.loads('{"a":' * 200 + "1" + "}" * 200)},
    "summary": {"summary": None},
    "unknown": {"more": 1},
    "no score": _scores(tasks={"x": {**TASK, "metrics": {}}}),
    "no number": _scores(tasks={"x": {**TASK, "metrics": {"acc": {"value": float("nan")}}}}),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_show_names_what_is_strange_in_a_manifest(run: Path, strange: str) -> None:
    file = run / "world" / MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), "fingerprint": "other", **STRANGE[strange]}))
    done = diglot("show", run)
    assert done.returncode in (0, 2)
    assert ("stale" in done.stdout) if done.returncode == 0 else (f"{file}: not " in done.stderr)
    assert not any(each in done.stdout + done.stderr for each in "\x1b\x07\x9b")


@pytest.mark.parametrize("name", ["recipe.json", MEMORY, "world", f"world/{MANIFEST}"])
@pytest.mark.parametrize("kind", ["pipe", "circle", "deep", "large"])
def test_show_ends_whatever_lies_there(run: Path, name: str, kind: str) -> None:
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "deep":
        path.write_text("[" * 100_000)
    else:
        with path.open("wb") as stream:
            stream.truncate(300_000_000)  # of zeros that take no room
    done = diglot("show", run)
    assert done.returncode in (0, 2)
    assert done.returncode == 0 or "error: " in done.stderr
