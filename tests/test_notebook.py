"""The Python interface: runs as tables, single stages, and an import that costs nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import small_run
import tiny_model
from summaries import EMPTY_CORPUS

import diglot
from diglot import flow
from diglot.base.artifact import MANIFEST
from diglot.base.errors import UserError
from diglot.load import load_recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run folder with every file that the report reads, of the quickstart's stages."""
    folder = tmp_path_factory.mktemp("runs") / "quickstart"
    small_run.write_run(folder)
    recipe, _ = load_recipe(ROOT / "recipes" / "quickstart.yaml")
    flow._remember(recipe, folder)
    return folder


@pytest.fixture(scope="module")
def run(folder) -> diglot.Run:
    return diglot.open_run(folder)


def test_the_import_waits_for_nothing():
    code = (
        "import sys, diglot; assert 'open_run' in dir(diglot);"
        "print(sorted({'torch', 'pyarrow', 'transformers', 'pydantic', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'opne_run'"):
        getattr(diglot, "opne_run")  # noqa: B009  (what a slip of the hand asks for)


def test_stages_and_summaries(run):
    table = run.stages()
    assert table.column("stage").to_pylist() == [step.name for step in run.steps]
    assert set(run) == {step.name for step in run.steps if (step.folder / MANIFEST).is_file()}
    made = dict(zip(table.column("stage").to_pylist(), table.column("seconds").to_pylist(), strict=True))
    assert all((made[name] is not None) == (name in run) for name in made)
    assert run.summary("corpus") == json.loads((run.folder / "corpus" / MANIFEST).read_text())["summary"]
    with pytest.raises(UserError, match="no stage 'nothing' is made; there are: "):
        run["nothing"]


def test_scores_are_all_that_was_measured(run):
    rows = run.scores().to_pylist()
    for name, artifact in run.items():
        if artifact.kind != "scores":
            continue
        mine = {(row["measure"], row["name"], row["metric"]): row for row in rows if row["stage"] == name}
        told = artifact.summary
        several = [*told.tasks.values(), *told.groups.values()]
        numbers = len(told.bits_per_byte) + sum(len(each.metrics) for each in several) + 2 * len(told.preferences)
        assert len(mine) == numbers > 0
        for task, scored in told.tasks.items():
            row = mine["task", task, scored.metric]
            assert (row["value"], row["standard_error"], row["items"]) == (
                scored.score.value, scored.score.standard_error, scored.items,
            )  # fmt: skip
            assert row["language"] == scored.language
    assert {"stage", "value"} <= set(run.scores().to_pandas().columns)


def test_metrics_are_the_log(run):
    stage = next(name for name, artifact in run.items() if artifact.do == "train")
    lines = [json.loads(line) for line in (run.folder / stage / "logs/metrics.jsonl").read_text().split("\n") if line]
    steps = [line for line in lines if line["type"] == "step"]
    table = run.metrics(stage)
    assert table.num_rows == len(steps) > 0
    assert table.column("loss").to_pylist() == [line["loss"] for line in steps]
    source = next(iter(steps[0]["losses"]))
    assert table.column(f"losses.{source}").to_pylist() == [line["losses"].get(source) for line in steps]
    assert run.metrics(stage, "evaluation").num_rows == sum(line["type"] == "evaluation" for line in lines)
    with pytest.raises(UserError, match="only train stages have a log"):
        run.metrics("corpus")


def test_a_corpus_as_arrow(tmp_path):
    """As curation writes it: a folder of Parquet files under a manifest."""
    writer = small_run.Writer(tmp_path)
    writer.write("corpus", "curate", "corpus", {}, EMPTY_CORPUS)
    for split, numbers in (("documents", range(5)), ("heldout", range(5, 7))):
        (tmp_path / "corpus" / split).mkdir()
        table = pa.table({
            "id": [f"d{n}" for n in numbers], "text": [f"text {n}" for n in numbers],
            "source": ["web"] * len(numbers), "language": [("en", "ar")[n % 2] for n in numbers],
            "domain": ["web"] * len(numbers),
        })  # fmt: skip
        pa.parquet.write_table(table, tmp_path / "corpus" / split / "web-00000.parquet")
    recipe = {
        "name": "mine",
        "stages": {"corpus": {"do": "curate", "sources": {"web": {"path": "gone", "language": "en"}}}},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    run = diglot.open_run(tmp_path)
    assert run.documents().column("id").to_pylist() == ["d0", "d1", "d2", "d3", "d4"]
    assert run.documents(language="ar", columns=["text"]).to_pydict() == {"text": ["text 1", "text 3"]}
    assert run.documents("corpus", "heldout").num_rows == 2
    assert run.documents(source="none").num_rows == 0
    with pytest.raises(UserError, match="there are: none"):
        run.metrics()


def test_a_stage_by_itself(tmp_path):
    chats = [{"messages": tiny_model.conversation(text)} for text in tiny_model.ENGLISH]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    sources = {"mine": {"path": str(tmp_path / "chats.jsonl"), "language": "en"}}
    made = diglot.run_stage("gather-instructions", tmp_path / "out", sources=sources, held_out=0.2)
    assert made.path == tmp_path / "out"
    assert len((tmp_path / "out/train.jsonl").read_text().split("\n")) - 1 == 10
    again = diglot.run_stage("gather-instructions", tmp_path / "out", sources=sources, held_out=0.2)
    assert again.provenance == made.provenance  # nothing was done


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("gather", {}, "there is no kind of stage 'gather'; there are: world, curate"),
        ("train", {"steps": 3}, "train needs model, tokens"),
        ("world", {"inputs": {"model": "x"}}, "world reads no 'model'; it reads: nothing"),
        ("world", {"peeple": 3}, r"run_stage\('world'\): peeple: unknown key; did you mean 'people'"),
    ],
)
def test_what_cannot_be_run(tmp_path, kind, more, message):
    with pytest.raises(UserError, match=message):
        diglot.run_stage(kind, tmp_path / "out", **more)


def test_what_the_page_shows_is_there(run):
    page = (ROOT / "docs" / "python.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        compile(block, "python.md", "exec")
    for name in re.findall(r"run\.(\w+)\(", page):
        assert callable(getattr(run, name))
    for name in re.findall(r"diglot\.(\w+)\(", page):
        assert name in diglot.__all__


def test_a_model(tmp_path):
    tiny_model.save_tokenizer(tmp_path / "m")
    tiny_model.save_model(tmp_path / "m")
    model = diglot.load_model(tmp_path / "m")
    assert model.generate([model.encode("The", True)], 4)[0].text
