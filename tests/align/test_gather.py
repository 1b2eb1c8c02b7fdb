"""The two gathering stages: every record accounted for, the split by prompt, the files as the contract says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diglot.align import instructions, preferences
from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.summaries.corpus import DocumentCounts
from diglot.recipe.align import GatherInstructions, GatherPreferences

Records = list[dict[str, Any]]


def conversation(number: int, language: str = "en") -> dict[str, Any]:
    return {
        "language": language,
        "messages": [
            {"role": "user", "content": f"Question {number}?"},
            {"role": "assistant", "content": f"Answer {number}, in {language}."},
        ],
    }


def write(file: Path, records: list) -> str:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(file)


def read(file: Path) -> Records:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture
def gather(tmp_path: Path, context: Context) -> Callable[..., tuple[dict, Records, Records, dict]]:
    """Runs a gathering stage: summary, train, heldout, ledger."""

    def run(kind: str, sources: dict, inputs: Inputs | None = None, **settings: Any) -> tuple:
        classes = {"instructions": (GatherInstructions, instructions), "preferences": (GatherPreferences, preferences)}
        schema, module = classes[kind]
        output = tmp_path / f"output{len(list(tmp_path.glob('output*')))}"
        output.mkdir()
        checked = schema.model_validate({"do": f"gather-{kind}", "sources": sources, **settings})
        summary = module.run(checked, inputs or Inputs({}), output, context)
        assert not list(context.scratch.iterdir())
        ledger = json.loads((output / "ledger.json").read_text(encoding="utf-8"))
        return summary, read(output / "train.jsonl"), read(output / "heldout.jsonl"), ledger

    return run


def test_every_record_is_accounted_for(gather: Callable, tmp_path: Path) -> None:
    bad = [{"text": "x"}, {"instruction": "a", "output": ""}, conversation(3), conversation(5, "ar"), "no object"]
    surrogate = {"instruction": "\ud800", "output": "b", "id": "\ud800"}
    path = write(tmp_path / "data.jsonl", [conversation(n) for n in range(50)] + [*bad, surrogate])
    summary, train, heldout, ledger = gather(
        "instructions", {"english": {"path": path, "language": "en"}}, held_out=0.1
    )
    reasons = {
        "unknown_form": 1,
        "empty_answer": 1,
        "duplicate": 1,
        "other_language": 1,
        "invalid_json": 1,
        "invalid_unicode": 1,
    }
    assert summary.dropped == reasons
    assert summary.documents == DocumentCounts(read=56, kept=45, held_out=5, dropped=6)
    assert (len(train), len(heldout)) == (45, 5)
    entry = ledger["sources"]["english"]
    for measure in ("documents", "characters", "bytes"):
        parts = [entry["kept"], entry["held_out"], *entry["dropped"].values()]
        assert entry["read"][measure] == sum(part[measure] for part in parts)
    assert set(entry["samples"]) == set(reasons)
    assert entry["samples"]["unknown_form"][0] == {
        "id": "english/data.jsonl:51",
        "excerpt": "x",
        "detail": "fields: text",
    }
    written = {record["id"]: record for record in train + heldout}
    assert written["english/data.jsonl:1"] == {
        "id": "english/data.jsonl:1",
        "source": "english",
        "language": "en",
        "messages": conversation(0)["messages"],
    }
    assert len(written) == 50


def test_a_file_of_two_languages_is_shared_by_two_sources(gather: Callable, tmp_path: Path) -> None:
    records = [conversation(n, language) for n in range(10) for language in ("en", "ar")]
    path = write(tmp_path / "data.jsonl", records)
    sources = {name: {"path": path, "language": name} for name in ("en", "ar")}
    summary, train, _, _ = gather("instructions", sources, held_out=0.0)
    assert summary.languages["ar"].documents == summary.languages["en"].documents == 10
    assert all(record["language"] == record["source"] for record in train)


def test_a_held_out_file_is_held_out_as_it_is(gather: Callable, tmp_path: Path) -> None:
    given = write(tmp_path / "heldout.jsonl", [conversation(n) for n in range(5)])
    path = write(tmp_path / "train.jsonl", [conversation(n) for n in range(3, 10)])
    source = {"path": path, "language": "en", "held_out_path": given}
    summary, train, heldout, _ = gather("instructions", {"chat": source}, held_out=0.5)
    assert [record["messages"] for record in heldout] == [conversation(n)["messages"] for n in range(5)]
    assert [record["messages"] for record in train] == [conversation(n)["messages"] for n in range(5, 10)]
    assert summary.dropped == {"duplicate": 2}


def test_a_prompt_of_a_held_out_file_is_not_trained_on(gather: Callable, tmp_path: Path) -> None:
    given = write(tmp_path / "heldout.jsonl", [{"instruction": "Q1", "output": "held out"}])
    path = write(tmp_path / "train.jsonl", [{"instruction": q, "output": "answer"} for q in ("Q1", "Q2", "Q3")])
    source = {"path": path, "language": "en", "held_out_path": given}
    summary, train, _, _ = gather("instructions", {"chat": source})
    assert summary.dropped == {"prompt_held_out": 1}
    assert [record["messages"][0]["content"] for record in train] == ["Q2", "Q3"]


def pair(prompt: int, answer: int) -> dict[str, Any]:
    return {"prompt": f"Question {prompt}?", "chosen": f"Good {answer}.", "rejected": f"Bad {answer}."}


def test_prompts_never_straddle_the_split_even_between_sources(gather: Callable, tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", [pair(n % 40, n) for n in range(200)])
    second = write(tmp_path / "second.jsonl", [pair(n, 1000 + n) for n in range(20, 60)])
    sources = {name: {"path": path, "language": "en"} for name, path in (("a", first), ("b", second))}
    summary, train, heldout, _ = gather("preferences", sources, held_out=0.2)
    prompts = [{record["prompt"][0]["content"] for record in side} for side in (train, heldout)]
    assert not prompts[0] & prompts[1]
    held_out = {name: sum(record["source"] == name for record in heldout) for name in sources}
    assert held_out == {"a": 40, "b": 8}
    documents = summary.documents
    assert documents.read == documents.kept + documents.held_out + documents.dropped == 240
    assert set(train[0]) == {"id", "source", "language", "prompt", "chosen", "rejected"}


def test_no_more_than_max_held_out_are_held_out(gather: Callable, tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", [pair(n % 30, n) for n in range(90)])
    source = {"path": path, "language": "en"}
    _, train, heldout, _ = gather("preferences", {"a": source}, held_out=0.5, max_held_out=10)
    assert (len(train), len(heldout)) == (81, 9)  # three prompts of three pairs


def test_repeated_ids_are_told_apart_and_the_limit_is_kept(gather: Callable, tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", [{**conversation(n), "id": "same"} for n in range(9)])
    source = {"path": path, "language": "en", "limit": 3}
    _, train, _, ledger = gather("instructions", {"chat": source}, held_out=0.0)
    assert [record["id"] for record in train] == ["same", "same#2", "same#3"]
    assert ledger["sources"]["chat"]["read"]["documents"] == 3


def test_paths_start_from_the_artifact_where_the_stage_has_one(gather: Callable, tmp_path: Path) -> None:
    (tmp_path / "world" / "instructions").mkdir(parents=True)
    write(tmp_path / "world" / "instructions" / "train.jsonl", [conversation(n) for n in range(4)])
    text = Artifact(tmp_path / "world", "world", "text", "world", "", "", {}, {}, {}, {})
    source = {"path": "instructions/train.jsonl", "language": "en"}
    summary, *_ = gather("instructions", {"chat": source}, Inputs({"text": [text]}), held_out=0.0)
    assert summary.documents.kept == 4


def test_a_source_of_which_nothing_can_be_used_is_an_error(gather: Callable, tmp_path: Path) -> None:
    kto = [{**conversation(n), "label": True} for n in range(3)]
    source = {"path": write(tmp_path / "kto.jsonl", kto), "language": "en"}
    with pytest.raises(UserError, match=r"'pairs'.*3 records: 3 not_a_pair.*single answer"):
        gather("preferences", {"pairs": source})
    with pytest.raises(UserError, match="no file or folder"):
        gather("instructions", {"pairs": {"path": str(tmp_path / "missing.jsonl"), "language": "en"}})


def test_the_same_settings_give_the_same_bytes(gather: Callable, tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", [conversation(n) for n in range(100)])
    sources = {"chat": {"path": path, "language": "en"}}
    runs = [gather("instructions", sources, held_out=0.2) for _ in range(2)]
    assert runs[0] == runs[1]
    other = gather("instructions", sources, held_out=0.2, seed=1)
    assert other[2] != runs[0][2]


@pytest.mark.parametrize(
    ("kind", "file", "least"),
    [
        ("instructions", "instruct/alpaca_en_12k.jsonl.zst", 11_000),
        ("instructions", "instruct/cidar_keywords_ar.jsonl.zst", 300),
        ("instructions", "instruct/lima_vi.jsonl.zst", 900),
        ("instructions", "instruct/oasst_fr_top1.jsonl.zst", 230),
        ("instructions", "instruct/seed_tasks/ru.jsonl", 130),
        ("preferences", "preference/hh_rlhf_harmless_base_test.jsonl.zst", 2000),
        ("preferences", "preference/dpo_zh_demo.jsonl.zst", 270),
        ("preferences", "preference/alpaca_eval_claude-2_gpt4.jsonl.zst", 700),
    ],
)
def test_real_data_are_nearly_all_understood(gather: Callable, data: Path, kind: str, file: str, least: int) -> None:
    summary, train, _, _ = gather(kind, {"real": {"path": str(data / file), "language": "en"}})
    assert summary.documents.kept + summary.documents.held_out >= least
    answers = [record["messages"][-1] if kind == "instructions" else record["chosen"][-1] for record in train]
    assert all(answer["role"] == "assistant" and answer["content"].strip() for answer in answers)
