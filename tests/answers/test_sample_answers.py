"""The stage sample: of a model in process and of a server; what is read, counted, resumed."""

import json
import random
from collections import Counter

import pytest
import tiny_model
from answering import QUESTIONS, artifact, read
from transformers import BloomConfig, BloomForCausalLM

from diglot.align.messages import Refused
from diglot.answers.prompts import read_prompt
from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.endpoint.client import Journal
from diglot.load import Where, check
from diglot.recipe.answers import Sample
from diglot.recipe.endpoint import Endpoint

ANSWER = {"role": "assistant", "content": "Bread."}
FOLLOWING = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "ماذا يبيع الخباز؟"},
    {"role": "assistant", "content": "الخبز."},
    {"role": "user", "content": "والحداد؟"},
]


def settings(prompts, **given):
    fields = {"temperature": 1.5, "max_new_tokens": 20, "sources": {"mine": {"path": str(prompts), "language": "ar"}}}
    return Sample.model_validate({"from": {"model": "model"}, **fields, **given})


def by_server(server, prompts, **given):
    endpoint = Endpoint(url=server.url, model="tiny", concurrency=4, retries=0)
    return settings(prompts, **{"from": {}, "endpoint": endpoint, **given})


@pytest.fixture
def of_model(model_folder):
    return {"model": [artifact(model_folder, "model", "base")]}


def test_answers_of_a_model(stage, prompts, of_model):
    made = stage("drawn", settings(prompts, answers=6), of_model)
    rows = read(made.path / "samples.jsonl")
    assert [row["prompt"] for row in rows] == [[{"role": "user", "content": question}] for question in QUESTIONS]
    assert all(len(row["answers"]) <= 6 and set(row["answers"][0]) == {"text", "finish_reason"} for row in rows)
    facts = made.summary
    assert (facts.documents.read, facts.documents.kept, facts.model) == (3, 3, "base")
    assert sum(facts.ends["ar"].values()) == 18
    assert facts.answers == sum(len(row["answers"]) for row in rows) == 18 - facts.ends["ar"].get("empty", 0)
    ends = Counter(answer["finish_reason"] for row in rows for answer in row["answers"])
    assert ends == {name: count for name, count in facts.ends["ar"].items() if name != "empty"}
    counts = facts.consistency["ar"]
    latin = sum(answer["text"].isascii() for row in rows for answer in row["answers"])
    assert counts.right + counts.wrong + counts.untold == facts.answers
    assert counts.wrong >= latin - counts.untold > 0
    ledger = json.loads((made.path / "ledger.json").read_text())["sources"]["mine"]
    assert ledger["read"]["documents"] == ledger["kept"]["documents"] == 3


def test_a_family_whose_positions_lie_in_the_mask_is_refused(stage, prompts, tmp_path):
    folder = tmp_path / "bloom"
    folder.mkdir()
    tiny_model.save_tokenizer(folder)
    config = BloomConfig(
        hidden_size=32, n_layer=2, n_head=2, vocab_size=464, initializer_range=0.3, bos_token_id=1, eos_token_id=2
    )
    BloomForCausalLM(config).save_pretrained(folder)
    with pytest.raises(UserError, match=r"base: its family cannot .* serve it with `diglot serve`"):
        stage("drawn", settings(prompts), {"model": [artifact(folder, "model", "base")]})


def test_a_round_and_an_epoch_draw_anew_and_nothing_else_does(stage, prompts, of_model):
    first = read(stage("first", settings(prompts, answers=3), of_model).path / "samples.jsonl")
    other = read(stage("other", settings(prompts, answers=3, batch_size=2), of_model).path / "samples.jsonl")
    assert other == first
    second = read(stage("second", settings(prompts, answers=3, round=2), of_model).path / "samples.jsonl")
    assert [row["prompt"] for row in second] == [row["prompt"] for row in first]
    assert second != first
    twice = read(stage("twice", settings(prompts, answers=3, epochs=2), of_model).path / "samples.jsonl")
    assert twice[:3] == first
    assert [row["id"] for row in twice[3:]] == [f"{row['id']}#2" for row in first]
    assert [row["answers"] for row in twice[3:]] != [row["answers"] for row in first]
    more = read(stage("more", settings(prompts, answers=5), of_model).path / "samples.jsonl")
    assert all(row["answers"][:2] == fewer["answers"][:2] for row, fewer in zip(more, first, strict=True))


def test_a_run_goes_on_where_its_journal_ends(stage, prompts, of_model, tmp_path):
    """At any byte: what is there is kept, the same comes out."""
    whole = stage("whole", settings(prompts, answers=4, batch_size=4), of_model)
    journal = tmp_path / "scratches" / "whole" / "answers.jsonl"
    content = journal.read_bytes()
    for number, cut in enumerate(random.Random(0).sample(range(len(content)), 3)):
        place = tmp_path / "scratches" / f"cut{number}"
        place.mkdir()
        (place / "answers.jsonl").write_bytes(content[:cut])
        again = stage(f"cut{number}", settings(prompts, answers=4, batch_size=4), of_model)
        assert content_hash(again.path) == content_hash(whole.path)
        with Journal(place / "answers.jsonl") as found:
            assert len(found) == 12


def test_answers_of_a_server(server, stage, prompts):
    made = stage("asked", by_server(server, prompts, answers=3, epochs=2), {})
    bodies = [request["body"] for request in server.requests]
    assert len(bodies) == made.summary.answers == 18
    assert len({body["seed"] for body in bodies}) == 18
    assert {(body["temperature"], body["top_p"], body["max_tokens"]) for body in bodies} == {(1.5, 0.9, 20)}
    rows = read(made.path / "samples.jsonl")
    assert all(len({answer["text"] for answer in row["answers"]}) == 3 for row in rows)
    assert made.summary.tokens["completion"] > 0
    again = stage("again", by_server(server, prompts, answers=3, epochs=2), {}, scratch="asked")
    assert len(server.requests) == 18  # nothing is asked twice
    assert content_hash(again.path) == content_hash(made.path)


def test_turns_are_kept_up_to_the_last_question(server, stage, tmp_path):
    file = tmp_path / "turns.jsonl"
    file.write_text(json.dumps({"id": "x", "messages": [*FOLLOWING, {"role": "assistant", "content": "الحديد."}]}))
    [row] = read(stage("asked", by_server(server, file, answers=1), {}).path / "samples.jsonl")
    assert row["prompt"] == FOLLOWING == server.requests[0]["body"]["messages"]
    assert (row["id"], row["source"], row["language"], row["epoch"]) == ("x", "mine", "ar", 1)


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        ({"prompt": "Hello"}, ["Hello"]),
        ({"prompt": FOLLOWING}, FOLLOWING),
        ({"messages": FOLLOWING}, FOLLOWING),
        ({"messages": [*FOLLOWING, ANSWER]}, FOLLOWING),
        ({"conversations": [{"from": "human", "value": "Hello"}]}, ["Hello"]),
        ({"instruction": "Add.", "input": "1, 2"}, ["Add.\n\n1, 2"]),
        ({"instruction": "Add.", "input": "", "output": "3"}, ["Add."]),
        ({"prompt": ["One?", "Two?"], "response": ["1", "2"]}, ["One?", "…", "Two?"]),
        ({"prompt": "Hello", "system": "Be brief.", "response": "Hi"}, ["Be brief.", "Hello"]),
    ],
)
def test_prompts_in_all_forms(record, prompt):
    found = read_prompt(record, 1000)
    assert found == prompt or [message["content"] for message in found] == prompt
    assert found[-1]["role"] == "user"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "Hello"}, "unknown_form"),
        ({"prompt": ""}, "empty_prompt"),
        ({"prompt": 7}, "not_text"),
        ({"messages": []}, "unknown_form"),
        ({"messages": FOLLOWING, "tools": [{"type": "function"}]}, "tools"),
        ({"messages": [ANSWER, ANSWER]}, "roles_out_of_order"),
        ({"prompt": "x" * 1001}, "too_long"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_reason(record, reason):
    with pytest.raises(Refused) as refused:
        read_prompt(record, 1000)
    assert refused.value.reason == reason


def test_what_is_left_out_is_counted(serve, stage, tmp_path):
    rows = [
        {"prompt": "ما هذا؟\n\nbad"}, {"prompt": "ما ذاك؟\n\nempty"}, {"prompt": "ما هذا؟\n\nbad"}, {"text": "x"},
        {"prompt": "Who?", "language": "en"}, {"prompt": "من؟\n\nlong"}, {"prompt": "أين؟\n\nfine"},
    ]  # fmt: skip
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    rules = [
        {"word": "bad", "times": 9, "do": "refuse"},
        {"word": "empty", "times": 9, "do": "nothing"},
        {"word": "long", "times": 9, "do": "cut off"},
    ]
    made = stage("asked", by_server(serve(rules=rules), file, answers=2), {})
    assert made.summary.dropped == {
        "no_answer": 2, "duplicate": 1, "unknown_form": 1, "other_language": 1, "invalid_json": 1,
    }  # fmt: skip
    assert made.summary.ends == {"ar": {"refused": 2, "empty": 2, "length": 2, "stop": 2}}
    assert (made.summary.documents.read, made.summary.documents.kept) == (8, 2)
    endings = [[answer["finish_reason"] for answer in row["answers"]] for row in read(made.path / "samples.jsonl")]
    assert endings == [["length", "length"], ["stop", "stop"]]


def test_a_smaller_limit_draws_some_of_what_a_larger_one_does(server, stage, tmp_path):
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Question\n\n{number}?"}) + "\n" for number in range(30)))
    found = []
    for limit in (5, 10):
        made = stage(f"drawn{limit}", by_server(server, file, answers=1, limit=limit, round=limit), {})
        assert made.summary.dropped == {"over_limit": 30 - limit}
        found.append({row["id"] for row in read(made.path / "samples.jsonl")})
    assert len(found[0]) == 5
    assert found[0] < found[1]


def test_prompts_without_room_for_an_answer_are_dropped(stage, tmp_path, of_model):
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": "من؟"}) + "\n" + json.dumps({"prompt": "من؟ " * 60}) + "\n")
    made = stage("drawn", settings(file, answers=1), of_model)
    assert made.summary.dropped == {"too_long": 1}
    with pytest.raises(UserError, match="leaves no room for a prompt"):
        stage("none", settings(file, max_new_tokens=128), of_model)


def test_the_conversations_of_artifacts_are_prompts(server, stage, tmp_path):
    folder = tmp_path / "gathered"
    folder.mkdir()
    header = {"source": "chat", "language": "ar"}
    rows = [{"id": str(n), **header, "messages": [{"role": "user", "content": f"س\n\n{n}"}, ANSWER]} for n in range(4)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    (folder / "heldout.jsonl").write_text(json.dumps(rows[3]) + "\n")
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    pair = {
        "id": "p",
        "source": "pairs",
        "language": "ar",
        "prompt": FOLLOWING,
        "chosen": [ANSWER],
        "rejected": [ANSWER],
    }
    (pairs / "train.jsonl").write_text(json.dumps(pair) + "\n")
    (pairs / "heldout.jsonl").write_text("")
    inputs = {
        "instructions": [artifact(folder, "instructions", "i")],
        "preferences": [artifact(pairs, "preferences", "p")],
    }
    from_ = {"instructions": "i", "preferences": "p"}
    made = stage("asked", by_server(server, "", answers=1, sources={}, **{"from": from_}), inputs)
    assert [row["id"] for row in read(made.path / "samples.jsonl")] == ["0", "1", "2", "p"]
    held = stage("held", by_server(server, "", answers=1, sources={}, part="heldout", **{"from": from_}), inputs)
    assert [row["id"] for row in read(held.path / "samples.jsonl")] == ["3"]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, "endpoint: give either an endpoint or a `model`"),
        ({"from": {"model": "m"}}, "sources: there are no prompts"),
        ({"from": {"model": "m", "instructions": "i"}, "temperature": 0}, "temperature: at 0"),
        ({"from": {"model": "m", "instructions": "i"}, "max_cost": 1}, "max_cost: would do nothing"),
        (
            {"from": {"model": "m", "instructions": "i"}, "endpoint": {"url": "http://x", "model": "y"}},
            "give either an endpoint",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(given, wrong):
    found = check(Sample, {"do": "sample", **given}, Where("x"))
    assert any(wrong in f"{key}: {text}" for key, text in found.impossible())
