"""Seed tasks in another language: what is asked for, what stays as it is, and what is dropped, against a real server."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chat_server import Server, translated

from diglot.align.seeds import read_seed_tasks
from diglot.align.translate_seeds import run
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.summaries.text import SeedTasksSummary
from diglot.recipe.align import TranslateSeedTasks
from diglot.recipe.endpoint import Endpoint

LETTER = (
    "Dear friends,\n\nthe garden opens on Sunday in the morning. Bring a plant for the beds, or a cake for the table."
)
TASKS = [
    {"id": "letter", "kind": "writing", "instruction": "Write a short letter about a garden.", "output": LETTER},
    {"id": "sum", "instruction": "How much is this?", "input": "2 + 3", "output": "5", "is_classification": True},
    {
        "id": "code",
        "instruction": "Explain this line of code in a sentence.",
        "input": "  print('Hello!')",
        "output": "It greets the one who runs it.",
        "keep": ["input"],
    },
    {
        "id": "rhyme",
        "instruction": "Rhyme on this.",
        "input": "light",
        "output": "night",
        "only": ["en"],
        "reason": "rhymes",
    },
    {"id": "again", "instruction": "How much is this?", "input": "3 + 4", "output": "7"},
]
RULES = [
    {"word": "once", "times": 1, "do": "english"},
    {"word": "cut", "times": 9, "do": "cut off"},
    {"word": "refused", "times": 9, "do": "refuse"},
    {"word": "copied", "times": 9, "do": "copy"},
    {"word": "carried", "times": 9, "do": "chatter"},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    server = Server(tmp_path_factory.mktemp("server"), rules=RULES)
    yield server
    server.stop()


def translate(folder: Path, server: Server, tasks: list[dict[str, Any]], name: str = "out", **settings: Any):
    file, output, scratch = folder / "tasks.jsonl", folder / name, folder / "scratch"
    file.write_text("\n".join(map(json.dumps, tasks)))
    output.mkdir()
    scratch.mkdir(exist_ok=True)
    given = {"path": str(file), "target_language": "ar", **settings}
    stage = TranslateSeedTasks(endpoint=Endpoint(url=server.url, model="tiny", concurrency=4), **given)
    summary = run(stage, Inputs({}), output, Context(name="seeds", seed=1, scratch=scratch))
    dropped = [json.loads(line) for line in (output / "dropped.jsonl").read_text().splitlines()]
    return summary, read_seed_tasks(output / "seed_tasks.jsonl"), dropped


def test_all_but_kept_parts_and_numbers_is_translated_and_what_makes_no_sense_elsewhere_is_left_out(
    tmp_path: Path, server: Server
) -> None:
    before = len(server.requests)
    summary, tasks, dropped = translate(tmp_path, server, TASKS)
    sources = [task for task in TASKS if "only" not in task]
    assert [task.id for task in tasks] == [task["id"] for task in sources]
    for task, source in zip(tasks, sources, strict=True):
        kept = {"input"} if task.id in ("sum", "code", "again") else set()
        kept |= {"output"} if task.id in ("sum", "again") else set()
        for part in ("instruction", "input", "output"):
            text = source.get(part, "")
            assert getattr(task, part) == (text if part in kept or not text else translated(text))
        assert (task.is_classification, task.kind) == (source.get("is_classification", False), source.get("kind", ""))
    assert dropped == [{"id": "rhyme", "part": "", "reason": "only_some_languages", "detail": "rhymes"}]
    # Equal texts share a request, and the prompt says which part it is and between which languages.
    asked = server.requests[before:]
    assert Counter(request["text"] for request in asked) == Counter(
        {TASKS[0]["instruction"], LETTER, TASKS[1]["instruction"], TASKS[2]["instruction"], TASKS[2]["output"]}
    )
    prompts = [request["body"]["messages"][-1]["content"].partition("\n\n")[0] for request in asked]
    assert Counter(part for prompt in prompts for part in ("instruction", "output") if f"the {part} of" in prompt) == {
        "instruction": 3,
        "output": 2,
    }
    assert all("from English to Arabic" in prompt for prompt in prompts)
    assert isinstance(summary, SeedTasksSummary)
    assert (summary.tasks, summary.read, summary.dropped, summary.requests) == (4, 5, {"only_some_languages": 1}, 5)


def test_a_killed_run_goes_on_without_asking_again(tmp_path: Path, server: Server) -> None:
    translate(tmp_path, server, TASKS, "first")
    before = len(server.requests)
    translate(tmp_path, server, TASKS, "second")
    assert len(server.requests) == before
    files = ("seed_tasks.jsonl", "dropped.jsonl")
    assert all((tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes() for file in files)


def test_what_does_not_pass_is_asked_for_again_and_then_dropped_whole_by_its_reason(
    tmp_path: Path, server: Server
) -> None:
    def task(word: str) -> dict[str, str]:
        long = f"This text of a few more words is {word} when the server is asked to say it in another language."
        return {"id": word, "instruction": "What is this about?", "output": long}

    words = ["once", "cut", "refused", "copied", "carried", "good"]
    summary, tasks, dropped = translate(tmp_path, server, [task(word) for word in words])
    assert [task.id for task in tasks] == ["once", "good"]
    # The first answer to `once` was in English.
    assert [one.output for one in tasks] == [translated(task(word)["output"]) for word in ("once", "good")]
    assert {one["id"]: (one["part"], one["reason"]) for one in dropped} == {
        "cut": ("output", "cut_off"),
        "refused": ("output", "refused"),
        "copied": ("output", "untranslated"),
        "carried": ("output", "length_ratio"),
    }
    assert summary.dropped == {"cut_off": 1, "refused": 1, "untranslated": 1, "length_ratio": 1}


def test_a_path_may_begin_in_the_home_folder(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    summary, _, _ = translate(tmp_path, server, TASKS, path="~/tasks.jsonl")
    assert summary.read == len(TASKS)


def test_what_cannot_work_is_said(tmp_path: Path, server: Server) -> None:
    refused = [{"id": "a", "instruction": "This one will be refused by the server.", "output": "5"}]
    with pytest.raises(UserError, match=r"not one of 1 tasks .* \(such as a, instruction: refused"):
        translate(tmp_path, server, refused, "none")
    for settings, said in [
        ({"target_language": "en"}, "target_language: is the language of the tasks"),
        ({"target_language": "qq"}, "the built-in identifier does not know 'qq'"),
        ({"prompt": "Translate {text} and {more}"}, r"prompt: has \{more\}, \{text\}"),
        ({"path": str(tmp_path / "nowhere.jsonl")}, r"nowhere\.jsonl: the seed tasks cannot be read"),
        ({"path": None, "source_language": "sw"}, "seed tasks: there are none in 'sw'"),
    ]:
        with pytest.raises(UserError, match=said):
            translate(tmp_path, server, TASKS, f"refused-{len(list(tmp_path.iterdir()))}", **settings)
