"""The stage self-instruct, against a server in a process of its own: what is taken, counted, resumed; nothing is lost."""

import json
import random
import time
from collections import Counter

import pytest
from chat_server import Server
from commands import Command, diglot

from diglot.align import self_instruct
from diglot.align.messages import read_conversation
from diglot.align.rouge import cut_words, rouge_l
from diglot.align.seeds import seed_tasks
from diglot.base.artifact import Context, Inputs, content_hash, read_artifact, writing
from diglot.base.errors import UserError
from diglot.base.summaries.text import SeedTasksSummary
from diglot.recipe.endpoint import Endpoint
from diglot.recipe.self_instruct import SelfInstruct

SEEDS = [
    ("اكتب رسالة قصيرة إلى صديقك عن رحلتك الأخيرة إلى الجبل.", "", "صديقي العزيز، كانت الرحلة جميلة جدا."),
    ("ما هي عاصمة مصر؟", "", "القاهرة."),
    ("رتب هذه الأعداد من الأصغر إلى الأكبر.", "7، 3، 9", "3، 7، 9"),
    ("صحح الخطأ في هذه الجملة.", "ذهبت الولد إلى المدرسة.", "ذهب الولد إلى المدرسة."),
]


@pytest.fixture
def seeds(tmp_path):
    file = tmp_path / "ar.jsonl"
    fields = [{"instruction": a, "input": b, "output": c} for a, b, c in SEEDS]
    file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in fields))
    return str(file)


def run(folder, server, seeds, name="made", scratch=None, **settings):
    output, scratch = folder / name, folder / (scratch or f"{name}.scratch")
    output.mkdir()
    scratch.mkdir(exist_ok=True)
    endpoint = Endpoint(url=server.url, model="tiny", concurrency=4, retries=0)
    given = {"languages": ["ar"], "rounds": 3, "first_prompts": 2, "prompts": 4, "held_out": 0.1} | settings
    stage = SelfInstruct(endpoint=endpoint, seed_tasks={"ar": seeds}, **given)
    context = Context(name="made", seed=1, scratch=scratch)
    return output, self_instruct.run(stage, Inputs({}), output, context)


def lines(file):
    return [json.loads(line) for line in file.read_text().split("\n") if line]


def test_rounds_fill_the_pool(serve, seeds, tmp_path):
    server = serve()
    output, summary = run(tmp_path, server, seeds)
    rounds = summary.rounds["ar"]
    assert [each.prompts for each in rounds] == [2, 4, 4]
    assert len(server.requests) == summary.requests == 10
    for each in rounds:
        assert each.tasks == 17 * each.prompts == each.kept + sum(each.rejected.values())
        for reason in ("link", "format", "wrong_language"):  # one of each is planted in every answer
            assert each.rejected[reason] == each.prompts
        for reason in ("input_repeated", "similar"):  # chance adds to those
            assert each.rejected[reason] >= each.prompts
        assert each.revised == each.prompts
    kept = sum(each.kept for each in rounds)
    tasks, train, heldout = (lines(output / name) for name in ("tasks/ar.jsonl", "train.jsonl", "heldout.jsonl"))
    assert len(tasks) == kept == len(train) + len(heldout)
    # What gather-instructions makes of the tasks.
    messages = {record["id"]: record["messages"] for record in [*train, *heldout]}
    assert messages == {task["id"]: read_conversation(task, 8000) for task in tasks}
    assert len(heldout) == int(0.1 * kept)
    assert {record["id"] for record in tasks} == {record["id"] for record in [*train, *heldout]}
    assert {(record["source"], record["origin"], record["kind"]) for record in train} == {
        ("self-instruct-ar", "made", "self-instruct")
    }
    for task in tasks:
        assert "http" not in task["output"]
        assert "noinput" not in task["input"]
    ledger = json.loads((output / "ledger.json").read_text())["sources"]["self-instruct-ar"]
    assert ledger["origin"] == "made"
    assert ledger["read"]["documents"] == 170


def test_no_two_instructions_are_alike(serve, seeds, tmp_path):
    output, _ = run(tmp_path, serve(), seeds, rounds=2, prompts=3)
    words = cut_words([task["instruction"] for task in lines(output / "tasks/ar.jsonl")], "ar")
    words += cut_words([seed[0] for seed in SEEDS], "ar")
    for place, first in enumerate(words):
        assert max((rouge_l(first, second) for second in words[:place]), default=0) < 0.7


def test_prompts_show_two_seeds_and_one_task_of_the_pool(serve, seeds, tmp_path):
    server = serve()
    output, _ = run(tmp_path, server, seeds)
    instructions = {task["instruction"]: task["round"] for task in lines(output / "tasks/ar.jsonl")}
    of_seeds = {seed[0] for seed in SEEDS}
    shown = [
        [line.partition("Instruction: ")[2] for line in text.split("\n") if "Instruction: " in line]
        for text in server.texts
    ]
    kinds = Counter((sum(one in of_seeds for one in each), sum(one in instructions for one in each)) for each in shown)
    assert kinds == {(3, 0): 2, (2, 1): 8}
    assert all(
        request["body"]["temperature"] == 1 and request["body"]["max_tokens"] == 3072 for request in server.requests
    )


def test_answers_that_never_come_are_counted(serve, seeds, tmp_path):
    server = serve(rules=[{"word": SEEDS[1][0], "times": 99, "do": "refuse"}])
    _, summary = run(tmp_path, server, seeds)
    refused = sum(SEEDS[1][0] in text for text in server.texts)
    assert sum(each.refused for each in summary.rounds["ar"]) == refused > 0


def test_an_answer_cut_off_loses_its_last_task(serve, seeds, tmp_path):
    server = serve(rules=[{"word": "", "times": 99, "do": "cut tasks"}])
    _, summary = run(tmp_path, server, seeds, rounds=1)
    [only] = summary.rounds["ar"]
    assert only.rejected["cut_off"] == only.prompts


def test_budgets_stop_and_go_on(serve, seeds, tmp_path):
    server = serve()
    with pytest.raises(UserError, match="is spent, and max_total_tokens is"):
        run(tmp_path, server, seeds, "first", scratch="kept", max_total_tokens=8000)
    before = len(server.requests)
    assert 0 < before < 10
    output, _ = run(tmp_path, server, seeds, "second", scratch="kept", max_total_tokens=10**9)
    assert len(server.requests) == 10
    whole, _ = run(tmp_path, serve("other"), seeds, "third")
    assert content_hash(output) == content_hash(whole)


def test_refusals(serve, seeds, tmp_path):
    server = serve()
    with pytest.raises(UserError, match="tasks_a_prompt"):
        run(tmp_path, server, seeds, "first", tasks_a_prompt=3)
    with pytest.raises(UserError, match="languages: 'ar' is there more than once"):
        run(tmp_path, server, seeds, "twice", languages=["ar", "ar"])
    with pytest.raises(UserError, match="languages: the built-in identifier does not know 'qq'"):
        run(tmp_path, server, seeds, "unknown", languages=["qq"])
    with pytest.raises(UserError, match="nowhere"):
        run(tmp_path, server, "nowhere.jsonl", "second")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.full)])
def test_killed_again_and_again_it_makes_the_same(serve, seeds, tmp_path, kills):
    """Client and server die in turn; what was answered and journalled is not asked again, and the result is the same."""
    options = [
        "--seed-tasks",
        f"{{ar: {seeds}}}",
        "--languages",
        "[ar]",
        "--rounds",
        "3",
        "--first-prompts",
        "4",
        "--prompts",
        "30",
    ]
    server = serve(delay=0.15)
    rng = random.Random(kills)

    def command(to):
        return ["self-instruct", *options, "--endpoint.url", server.url, "--endpoint.model", "tiny", "--endpoint.concurrency",
                "4", "--endpoint.retries", "0", "--out", str(to)]  # fmt: skip

    for number in range(kills):
        process = Command(*command(tmp_path / "made"))
        time.sleep(rng.uniform(0.5, 2.0))
        if number % 2:
            server.stop()
            server = Server(server.folder, delay=0.15, port=server.port)
        process.kill()
    diglot(*command(tmp_path / "made"))
    asked = Counter(json.dumps(request["body"], sort_keys=True) for request in server.requests)
    server.stop()
    whole = server = serve("other")
    diglot(*command(tmp_path / "whole"))
    assert content_hash(tmp_path / "made") == content_hash(tmp_path / "whole")
    wanted = Counter(json.dumps(request["body"], sort_keys=True) for request in whole.requests)
    assert asked.keys() == wanted.keys()
    # What was under way when one of the two died is asked once more.
    assert (asked - wanted).total() <= 4 * kills


def test_translated_seed_tasks_are_taken(serve, tmp_path):
    server, output = serve(), tmp_path / "made"
    folder = tmp_path / "seeds"
    with writing(
        folder, stage="seeds", kind="text", do="translate-seed-tasks", fingerprint="f" * 32, inputs={},
        settings={"target_language": "ar"},
    ) as unfinished:  # fmt: skip
        fields = [{"instruction": a, "input": b, "output": c} for a, b, c in SEEDS]
        lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in fields)
        (unfinished.folder / "seed_tasks.jsonl").write_text(lines)
        unfinished.summary = SeedTasksSummary(4, 4, {}, 9, {}, 0.0, "tiny")
    output.mkdir()
    (tmp_path / "scratch").mkdir()
    endpoint = Endpoint(url=server.url, model="tiny", retries=0)
    stage = SelfInstruct(endpoint=endpoint, languages=["ar", "id"], rounds=1, first_prompts=2, language_confidence=0)
    context = Context(name="made", seed=1, scratch=tmp_path / "scratch")
    self_instruct.run(stage, Inputs({"seeds": [read_artifact(folder)]}), output, context)
    assert SEEDS[2][0] in " ".join(server.texts)  # the translated ones, and ours in Indonesian
    assert any(seed.instruction in text for seed in seed_tasks("id") for text in server.texts)
    assert {file.stem for file in (output / "tasks").iterdir()} == {"ar", "id"}


def test_tasks_that_hold_an_evaluation_item_are_dropped(serve, seeds, tmp_path):
    server = serve()
    before, _ = run(tmp_path, server, seeds, rounds=1)
    task = max(lines(before / "tasks" / "ar.jsonl"), key=lambda task: len(task["instruction"].split()))
    assert len(task["instruction"].split()) >= 8
    (tmp_path / "eval.jsonl").write_text(json.dumps({"question": task["instruction"]}))
    after, summary = run(
        tmp_path, server, seeds, "after", rounds=1, decontamination={"path": str(tmp_path / "eval.jsonl")}
    )
    assert summary.dropped["contaminated"] >= 1
    assert summary.evaluation_sets.items == 1
    assert task["id"] not in {one["id"] for one in lines(after / "tasks" / "ar.jsonl")}
