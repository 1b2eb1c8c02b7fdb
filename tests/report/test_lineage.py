"""The lineage of models: parents, steps and merges, in the terminal and on the page."""

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console
from small_run import ATTACK

from diglot.base.artifact import Artifact
from diglot.flow import Step, plan
from diglot.load import Where, check
from diglot.recipe import Recipe
from diglot.report.lineage import Member, lanes, lineage, lineage_tree, members_of, picture, tokens_behind
from diglot.report.page import render
from diglot.report.reading import Run, token_offsets
from diglot.terminal import members

BRANCHES = [
    Member("start", "new-model", ()),
    Member("trunk", "train", (("start", None),), steps=800, tokens=8000),
    Member("one", "train", (("trunk", 400),), steps=100, tokens=1000),
    Member("two", "train", (("trunk", 600),), steps=100, tokens=1000),
    Member("merged", "merge", (("one", None), ("two", None)), base="trunk@400", about="ties"),
    Member("trunk-two", "train", (("trunk", None),), steps=200, tokens=2000, about="continues the run"),
    Member("sft", "train", (("merged", None),), steps=10, tokens=100, done=False),
]


def shown(found: list[Member]) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(lineage_tree(found))
    return console.export_text()


def test_the_tree_by_hand() -> None:
    assert shown(BRANCHES) == (
        "models\n"
        "└── start new-model\n"
        "    └── trunk train · 800 steps, 8,000 tokens\n"
        "        ├── @400 one train · 100 steps, 1,000 tokens (5,000 in all)\n"
        "        │   └── merged merge (ties) of one and two · base trunk@400\n"
        "        │       └── sft train · 10 steps, 100 tokens (7,100 in all) · to do\n"
        "        ├── @600 two train · 100 steps, 1,000 tokens (7,000 in all)\n"
        "        │   └── → merged\n"
        "        └── trunk-two train · 200 steps, 2,000 tokens · continues the run (10,000 in all)\n"
    )


def test_tokens_count_from_the_step_of_a_branch() -> None:
    assert tokens_behind(BRANCHES) == {
        **{"start": 0, "trunk": 8000, "one": 5000, "two": 7000, "merged": 7000},
        **{"trunk-two": 10000, "sft": 7100},
    }


def test_the_trunk_keeps_its_lane_and_branches_get_their_own() -> None:
    found = lanes(BRANCHES)
    assert found["start"] == found["trunk"] == found["trunk-two"] == 0
    assert len({found["trunk"], found["one"], found["two"]}) == 3
    assert found["merged"] == found["sft"] == found["one"]


def test_lines_in_one_lane_do_not_overlap() -> None:
    """What is made later from the trunk goes around the branches drawn between."""
    later = Member("averaged", "merge", (("trunk", None),), about="linear, last 3")
    found = [*BRANCHES, later]
    lane, row = lanes(found), {member.stage: row for row, member in enumerate(found)}
    spans = [(lane[member.stage], row[member.parents[0][0]], row[member.stage]) for member in found if member.parents]
    for number, (own_lane, first, last) in enumerate(spans):
        for other_lane, other_first, other_last in spans[:number]:
            assert own_lane != other_lane or first >= other_last or last <= other_first
    assert lane["averaged"] == 3


def test_a_branch_leaves_its_trunks_line_at_its_step() -> None:
    drawn = picture(BRANCHES)
    y = {row[0].text: dot[1] for row, dot in zip(drawn["table"].rows, drawn["dots"], strict=True)}
    marks = {mark["label"]: mark["y"] for mark in drawn["marks"]}
    assert marks["trunk@400"] == pytest.approx((y["start"] + y["trunk"]) / 2, abs=0.1)
    assert marks["trunk@600"] == pytest.approx(y["start"] + 0.75 * (y["trunk"] - y["start"]), abs=0.1)
    assert len(drawn["lines"]) == 7  # one a parent
    for line in drawn["lines"]:
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", line["path"])]
        assert all(0 <= x <= drawn["width"] for x in numbers[0::2])
        assert all(0 <= y <= drawn["height"] for y in numbers[1::2])
    assert [line["joins"] for line in drawn["lines"]].count(True) == 2


def test_the_lineage_of_a_finished_run(artifacts: list[Artifact]) -> None:
    found = {member.stage: member for member in members_of(Run(artifacts))}
    assert found["branch"].parents == (("continued", None),)
    assert found["merged"].parents == (("continued", None), ("branch", None))
    assert found["continued"].tokens == 700 * 4096
    section = lineage(Run(artifacts))
    assert section is not None
    assert "Branches left continued" in section.finding
    assert "merged joins continued and branch." in section.finding
    assert lineage(Run(artifacts[:1])) is None


def taken_at(artifacts: list[Artifact], stage: str, step: int) -> list[Artifact]:
    """The same run, had a stage read its model at a step."""

    def renamed(artifact: Artifact) -> Artifact:
        if artifact.stage != stage:
            return artifact
        stages = {
            role: {f"{name}@{step}" if role == "model" else name: made_by for name, made_by in names.items()}
            for role, names in artifact.inputs["stages"].items()
        }
        return replace(artifact, inputs={**artifact.inputs, "stages": stages})

    return [renamed(artifact) for artifact in artifacts]


def test_a_model_taken_at_a_step_begins_there(artifacts: list[Artifact]) -> None:
    run = Run(taken_at(artifacts, "branch", 300))
    assert {member.stage: member for member in members_of(run)}["branch"].parents == (("continued", 300),)
    starts = token_offsets(run)
    assert starts["branch"] == starts["continued"] + 300 * 4096
    assert starts["merged"] == starts["continued"] + 700 * 4096
    section = lineage(run)
    assert section is not None
    assert [mark["label"] for mark in section.data["marks"]] == ["continued@300"]
    assert "continued@300" in render("A run", [section])


def test_names_are_escaped(artifacts: list[Artifact]) -> None:
    run = Run([replace(artifact, stage=f"{artifact.stage}{ATTACK}[red]") for artifact in artifacts])
    section = lineage(run)
    assert section is not None
    assert ATTACK not in render("A run", [section])
    assert "[red]" in shown(members_of(run))


def test_the_lineage_is_known_before_anything_ran(tmp_path) -> None:
    train = {"do": "train", "steps": 800, "batch_size": 4, "sequence_length": 8}
    stages = {
        "world": {"do": "world"},
        "corpus": {"do": "curate", "from": "world", "sources": {"en": {"path": "text/en.jsonl", "language": "en"}}},
        "tokenizer": {"do": "train-tokenizer", "from": "corpus"},
        "tokens": {"do": "encode", "from": {"tokenizer": "tokenizer", "corpus": "corpus"}},
        "start": {"do": "new-model", "from": "tokenizer", "preset": "tiny"},
        "trunk": {**train, "from": {"model": "start", "tokens": "tokens"}, "exports": [400]},
        "one": {**train, "from": {"model": "trunk@400", "tokens": "tokens"}, "steps": 100},
        "merged": {"do": "merge", "from": {"models": ["one", "trunk"], "base": "trunk@400"}, "method": "dare"},
    }  # fmt: skip
    recipe = check(Recipe, {"name": "x", "stages": json.loads(json.dumps(stages))}, Where("x.yaml"))
    steps: list[Step] = plan(recipe, tmp_path, Where("x.yaml"))
    found = members(steps, {})
    assert [member.stage for member in found] == ["start", "trunk", "one", "merged"]
    assert found[2].parents == (("trunk", 400),)
    assert (found[3].parents, found[3].base) == ((("one", None), ("trunk", None)), "trunk@400")
    assert (found[2].steps, found[2].tokens) == (100, 3200)
    assert "merge (dare) of one and trunk · base trunk@400 · to do" in shown(found)
