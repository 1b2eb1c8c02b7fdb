"""The stage: bits per byte, tasks and preferences of a model folder, and what it refuses."""

import json
import math
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import sacrebleu
import tiny_model
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from diglot.base.artifact import Artifact, Inputs
from diglot.base.errors import UserError
from diglot.base.intervals import jackknife_error
from diglot.base.summaries.scores import Metric
from diglot.evaluate import engine, harness_tasks
from diglot.evaluate.bits import bits_per_byte, cut, read_held_out
from diglot.evaluate.metrics import ratio_without_each
from diglot.evaluate.preferences import read_pairs, score_pairs, within
from diglot.recipe.evaluate import Evaluate
from diglot.report.matched import measured_items
from diglot.report.results import results


def artifact(path, kind) -> Artifact:
    return Artifact(path, path.name, kind, "test", "", "", {}, {}, {}, {})


def write_lines(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def document(id, text, language="en", domain="web", source="english") -> dict:
    return {"id": id, "text": text, "language": language, "domain": domain, "source": source, "origin": "natural"}


@pytest.fixture
def corpus(tmp_path) -> Artifact:
    rows = {
        "english": [document(str(n), text) for n, text in enumerate(tiny_model.ENGLISH)],
        "arabic": [document(str(n), text, "ar", source="arabic") for n, text in enumerate(tiny_model.ARABIC)],
        "pairs": [document("p", "English: bread\nArabic: خبز", "en-ar", "parallel", "pairs")],
    }
    (tmp_path / "corpus" / "heldout").mkdir(parents=True)
    for source, documents in rows.items():
        file = tmp_path / "corpus" / "heldout" / f"{source}-00000.parquet"
        parquet.write_table(pa.Table.from_pylist(documents), file)
    return artifact(tmp_path / "corpus", "corpus")


def pair(id, right, wrong, source="flaws") -> dict:
    return {
        "id": id,
        "source": source,
        "language": "en",
        "prompt": tiny_model.conversation(right)[:1],
        "chosen": [{"role": "assistant", "content": right}],
        "rejected": [{"role": "assistant", "content": wrong}],
    }


@pytest.fixture
def preferences(tmp_path) -> Artifact:
    right, wrong = tiny_model.ENGLISH, tiny_model.ENGLISH[3:] + tiny_model.ENGLISH[:3]
    write_lines(
        tmp_path / "preferences" / "heldout.jsonl", [pair(str(n), *sides) for n, sides in enumerate(zip(right, wrong))]
    )
    return artifact(tmp_path / "preferences", "preferences")


@pytest.fixture
def items(tmp_path) -> Artifact:
    trades = list(tiny_model.TRADES.items())
    write_lines(
        tmp_path / "items" / "tasks" / "cloze.en.jsonl",
        [
            {
                "id": f"{who}",
                "prompt": f"The {who} of Lorem sells",
                "choices": [what for _, what in trades],
                "answer": n,
            }
            for n, (who, _) in enumerate(trades)
        ],
    )
    write_lines(
        tmp_path / "items" / "tasks" / "answers.en.jsonl",
        [{"prompt": tiny_model.conversation(text)[0]["content"], "reference": text} for text in tiny_model.ENGLISH[:5]],
    )
    return artifact(tmp_path / "items", "text")


TASKS = {
    "cloze-en": {"path": "tasks/cloze.en.jsonl", "language": "en"},
    "answers-en": {
        "path": "tasks/answers.en.jsonl",
        "language": "en",
        "kind": "generation",
        "chat": True,
        "max_new_tokens": 30,
    },
}


def run(folder, tmp_path, context, settings=None, name="scores", **roles):
    output = tmp_path / name
    output.mkdir()
    by_role = {"model": [artifact(folder, "model")], **{role: [a] for role, a in roles.items()}}
    settings = Evaluate.model_validate({"tasks": TASKS if "items" in roles else {}, **(settings or {})})
    return engine.run(settings, Inputs(by_role), output, context), output


def read(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def test_the_whole_stage(learnt_folder, tmp_path, context, corpus, preferences, items):
    scores, output = run(learnt_folder, tmp_path, context, corpus=corpus, preferences=preferences, items=items)
    assert json.loads((output / "scores.json").read_text()) == scores.as_json()
    assert set(scores.bits_per_byte) == {"en", "ar", "pairs"}
    assert scores.bits["en"] < 0.5 < scores.bits["pairs"]
    cloze, answers = scores.tasks["cloze-en"], scores.tasks["answers-en"]
    assert (cloze.metric, cloze.score.value, cloze.chance, cloze.items) == ("acc", 1, 0.25, 4)
    assert (answers.metric, answers.score.value, answers.items) == ("chrf", 100, 5)
    others = [*tiny_model.ENGLISH[1:5], tiny_model.ENGLISH[0]]
    assert answers.chance == pytest.approx(sacrebleu.corpus_chrf(others, [tiny_model.ENGLISH[:5]]).score, abs=1e-5)
    assert answers.metrics["exact_match"].value == answers.metrics["language_consistency"].value == 1
    assert answers.score.standard_error == 0
    assert scores.preferences["flaws"].accuracy.value == 1
    assert scores.preferences["flaws"].margin.value > 1
    lines = read(output / "items" / "cloze-en.jsonl")
    assert [line["id"] for line in lines] == list(tiny_model.TRADES)
    assert all(line["context"][0] == 1 and line["context"].count(1) == 1 for line in lines)
    best = [max(line["choices"], key=lambda choice: choice["log_likelihood"])["text"] for line in lines]
    assert best == list(tiny_model.TRADES.values())
    generated = read(output / "items" / "answers-en.jsonl")
    assert [line["generation"] for line in generated] == tiny_model.ENGLISH[:5]
    question = generated[0]["prompt"]
    assert generated[0]["input"] == f"<s><|user|>{question}<|end|><|assistant|>"
    assert generated[0]["context"][-1] == 6  # <|assistant|>
    assert len(read(output / "pairs.jsonl")) == len(tiny_model.ENGLISH)
    assert len(read(output / "documents.jsonl")) == len(tiny_model.ENGLISH + tiny_model.ARABIC) + 1


def test_answers_in_another_language_than_the_references_are_counted(learnt_folder, tmp_path, context) -> None:
    questions = [tiny_model.conversation(sentence)[0]["content"] for sentence in tiny_model.ENGLISH[:4]]
    asked = [{"prompt": question, "reference": tiny_model.ARABIC[0]} for question in questions]
    task = {"items": asked, "language": "ar", "kind": "generation", "chat": True, "max_new_tokens": 30}
    scores, output = run(learnt_folder, tmp_path, context, {"tasks": {"wrong": task}})
    assert scores.tasks["wrong"].metrics["language_consistency"] == Metric(0.0, 0.0)
    assert [line["in_language"] for line in read(output / "items" / "wrong.jsonl")] == [False] * 4


def test_every_score_without_each_of_its_items_lies_beside_the_scores(
    learnt_folder, tmp_path, context, corpus, preferences, items
):
    scores, output = run(learnt_folder, tmp_path, context, corpus=corpus, preferences=preferences, items=items)
    without = json.loads((output / "without.json").read_text())
    assert set(without) == {"task", "bits", "preference", "margin"}
    documents = [row for row in read(output / "documents.jsonl") if row["group"] == "en"]
    rest = documents[1:]
    expected = sum(row["bits"] for row in rest) / sum(row["bytes"] for row in rest)
    assert without["bits"]["en"]["without"][0] == pytest.approx(expected)
    assert jackknife_error(without["bits"]["en"]["without"]) == pytest.approx(
        scores.bits_per_byte["en"].standard_error, abs=1e-6
    )
    assert without["task"]["cloze-en"]["without"] == [1.0] * 4
    assert without["task"]["answers-en"]["without"] == [100.0] * 5
    assert len(without["margin"]["flaws"]["without"]) == scores.preferences["flaws"].pairs
    # The hash tells other items: the same task with fewer of them.
    _, fewer = run(learnt_folder, tmp_path, context, {"limit": 3}, name="fewer", items=items)
    assert (
        json.loads((fewer / "without.json").read_text())["task"]["cloze-en"]["items"]
        != without["task"]["cloze-en"]["items"]
    )


def test_the_same_bytes_twice_and_with_any_batch_size(learnt_folder, tmp_path, context, corpus, preferences, items):
    roles = {"corpus": corpus, "preferences": preferences, "items": items}
    first, one = run(learnt_folder, tmp_path, context, name="one", **roles)
    _, two = run(learnt_folder, tmp_path, context, name="two", **roles)
    for file in sorted(one.rglob("*.json*")):
        assert file.read_bytes() == (two / file.relative_to(one)).read_bytes()
    other, _ = run(learnt_folder, tmp_path, context, {"batch_size": 3}, name="three", **roles)
    for name in TASKS:
        for metric, score in first.tasks[name].metrics.items():
            assert asdict(other.tasks[name].metrics[metric]) == pytest.approx(asdict(score))
    for measure in ("accuracy", "margin"):
        again, once = (asdict(getattr(scores.preferences["flaws"], measure)) for scores in (other, first))
        assert again == pytest.approx(once, abs=1e-4)


def test_the_limit_is_on_items(learnt_folder, tmp_path, context, preferences, items):
    scores, output = run(learnt_folder, tmp_path, context, {"limit": 2}, preferences=preferences, items=items)
    assert [task.items for task in scores.tasks.values()] == [2, 2]
    assert scores.preferences["flaws"].pairs == 2
    assert len(read(output / "items" / "cloze-en.jsonl")) == 2


# --- bits per byte --------------------------------------------------------------------------------------------


def nats_by_hand(folder, ids) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        return float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss) * (len(ids) - 1)


def test_bits_of_one_document_by_hand(random_folder, random_model):
    text = "The baker sells الخبز."
    found, rows = bits_per_byte(random_model, [document("a", text)], lambda done, total: None)
    ids = random_model.encode(text, add_special_tokens=True)
    expected = nats_by_hand(random_folder, ids) / math.log(2) / len(text.encode())
    assert found["en"].value == pytest.approx(expected, abs=1e-4)
    assert found["en"].standard_error is None
    assert (found["en"].documents, found["en"].bytes) == (1, len(text.encode()))
    assert rows[0]["tokens"] == len(ids) - 1


def test_a_long_document_is_cut_into_windows(random_folder, random_model):
    text = "\n".join(tiny_model.ENGLISH * 3)
    ids = random_model.encode(text, add_special_tokens=True)
    assert len(ids) > 3 * 64
    found, _ = bits_per_byte(random_model, [document("a", text)], lambda done, total: None)
    nats = sum(nats_by_hand(random_folder, ids[start : start + 65]) for start in range(0, len(ids) - 1, 64))
    assert found["en"].value == pytest.approx(nats / math.log(2) / len(text.encode()), abs=1e-3)


def test_languages_weigh_documents_by_bytes_and_parallel_text_stands_alone(random_model, corpus):
    documents = read_held_out(corpus, 100, "seed")
    assert len(documents) == len(tiny_model.ENGLISH + tiny_model.ARABIC) + 1
    found, rows = bits_per_byte(random_model, documents, lambda done, total: None)
    english = [row for row in rows if row["group"] == "en"]
    bits, sizes = [row["bits"] for row in english], [row["bytes"] for row in english]
    assert found["en"].value == pytest.approx(sum(bits) / sum(sizes))
    assert found["en"].standard_error == pytest.approx(jackknife_error(ratio_without_each(bits, sizes)))
    assert set(found) == {"ar", "en", "pairs"}


def test_the_sample_of_documents_depends_on_seed_only(corpus):
    ids = [(d["source"], d["id"]) for d in read_held_out(corpus, 2, "seed")]
    assert ids == [(d["source"], d["id"]) for d in read_held_out(corpus, 2, "seed")]
    assert len(ids) == 5  # two of the two larger sources, one of the third
    assert ids != [(d["source"], d["id"]) for d in read_held_out(corpus, 2, "another")]


def test_a_corpus_without_held_out_documents(tmp_path):
    (tmp_path / "heldout").mkdir()
    with pytest.raises(UserError, match="holds out no documents"):
        read_held_out(artifact(tmp_path, "corpus"), 10, "seed")


# --- preferences ----------------------------------------------------------------------------------------------


def test_margins_by_hand(random_folder, random_model, preferences):
    pairs = read_pairs(preferences)
    summaries, rows = score_pairs(random_model, pairs, None, lambda done, total: None)
    margins = [row["chosen"]["log_likelihood"] - row["rejected"]["log_likelihood"] for row in rows]
    assert summaries["flaws"].margin.value == pytest.approx(sum(margins) / len(margins))
    assert summaries["flaws"].accuracy.value == sum(margin > 0 for margin in margins) / len(margins)
    first = pairs[0]
    prompt, _ = random_model.encode_chat(first["prompt"], add_generation_prompt=True)
    whole, _ = random_model.encode_chat([*first["prompt"], *first["chosen"]])
    expected = nats_by_hand(random_folder, prompt) - nats_by_hand(random_folder, whole)
    assert rows[0]["chosen"]["log_likelihood"] == pytest.approx(expected, abs=1e-3)
    assert rows[0]["chosen"]["tokens"] == len(whole) - len(prompt)
    assert whole[-1] == 7  # <|end|> is part of the answer


def test_equal_answers_count_half(random_model):
    same = pair("a", "The baker of Lorem sells bread.", "The baker of Lorem sells bread.")
    summaries, _ = score_pairs(random_model, [same], None, lambda done, total: None)
    assert summaries["flaws"].accuracy.value == 0.5
    assert summaries["flaws"].margin.value == 0


def test_pairs_too_long_are_counted_and_none_left_is_an_error(random_model):
    short, long = pair("a", "The baker of Lorem sells bread.", "x"), pair("b", "y", "z " * 60)
    summaries, rows = score_pairs(random_model, [short, long], None, lambda done, total: None)
    assert (summaries["flaws"].pairs, summaries["flaws"].too_long, len(rows)) == (1, 1, 1)
    with pytest.raises(UserError, match="none of 1 held-out preference pairs fits into the 64 tokens"):
        score_pairs(random_model, [long], None, lambda done, total: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": []}, "heldout.jsonl:1: chosen: must be a list of messages"),
        ({"prompt": "text"}, "heldout.jsonl:1: prompt: must be a list of messages"),
        ({"rejected": [{"role": "user", "content": "x"}]}, "heldout.jsonl:1: rejected: an answer is the assistant's"),
        ({"prompt": [{"role": "user"}]}, "heldout.jsonl:1: prompt"),
    ],
)
def test_malformed_pairs_are_named_by_file_and_line(tmp_path, change, message):
    write_lines(tmp_path / "heldout.jsonl", [{**pair("a", "x", "y"), **change}])
    with pytest.raises(UserError, match=message):
        read_pairs(artifact(tmp_path, "preferences"))


# --- what is refused ------------------------------------------------------------------------------------------


def test_nothing_to_measure(learnt_folder, tmp_path, context):
    with pytest.raises(UserError, match="nothing to measure"):
        run(learnt_folder, tmp_path, context)


def test_items_outside_the_artifact(learnt_folder, tmp_path, context, items):
    task = {**TASKS["cloze-en"], "path": "../corpus/secret.jsonl"}
    with pytest.raises(UserError, match="outside the artifact"):
        run(learnt_folder, tmp_path, context, {"tasks": {"x": task}}, items=items)


def test_harness_tasks_without_a_network_or_with_a_wrong_name(learnt_folder, tmp_path, context, monkeypatch):
    # The full index of the harness's tasks takes half a minute; one task of its kind shows the same.
    folder = tmp_path / "harness"
    write_lines(folder / "data.jsonl", [{"q": "The baker of Lorem sells", "c": ["bread", "iron"], "a": 0}] * 3)
    config = {
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{c}}",
        "doc_to_target": "{{a}}",
        "test_split": "test",
    }
    here = {
        **config,
        "task": "here",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "data.jsonl")}},
    }
    gone = {**config, "task": "gone", "dataset_path": "diglot-tests/there-is-no-such-data-set"}
    (folder / "here.yaml").write_text(json.dumps(here))
    (folder / "gone.yaml").write_text(json.dumps(gone))
    manager = harness_tasks.TaskManager
    monkeypatch.setattr(harness_tasks, "TaskManager", lambda **given: manager(**given | {"include_defaults": False}))
    scores, output = run(
        learnt_folder, tmp_path, context, {"lm_eval_tasks": ["here"], "include_path": str(folder)}, name="here"
    )
    assert scores.tasks["here"].score.value == 1
    assert scores.tasks["here"].chance == 0.5
    assert read(output / "items" / "here.jsonl")[0]["context"][0] == 1
    with pytest.raises(UserError, match=r"cannot be loaded .* come from the Hugging Face hub"):
        run(learnt_folder, tmp_path, context, {"lm_eval_tasks": ["gone"], "include_path": str(folder)}, name="gone")
    with pytest.raises(UserError, match="'missing' is not a registered task"):
        run(
            learnt_folder,
            tmp_path,
            context,
            {"lm_eval_tasks": ["missing"], "include_path": str(folder)},
            name="missing",
        )


# --- what it costs --------------------------------------------------------------------------------------------


@given(
    texts=st.lists(st.text(st.sampled_from("aب語😀"), min_size=1, max_size=400), min_size=1, max_size=60),
    max_bytes=st.integers(1, 3000),
)
@examples(60)
def test_bits_per_byte_read_so_much_text_and_no_more(texts, max_bytes):
    documents = [{"id": str(n), "text": text, "source": "ab"[n % 2]} for n, text in enumerate(texts)]
    found = cut(documents, max_bytes, "seed")
    longest = max(1, max_bytes // 20)
    for source in {document["source"] for document in documents}:
        sizes = [len(document["text"].encode()) for document in found if document["source"] == source]
        assert sum(sizes) < max_bytes + longest
        assert max(sizes) <= longest
    places = [int(document["id"]) for document in found]
    assert places == sorted(places)
    assert all(texts[place].startswith(document["text"]) for place, document in zip(places, found))
    if sum(min(len(text.encode()), longest) for text in texts) < max_bytes:
        assert len(found) == len(texts)


@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=150), max_bytes=st.integers(1, 20_000))
@examples(40)
def test_pairs_are_taken_within_their_bytes_but_for_fifty(sizes, max_bytes):
    def text(role, size):
        return [{"role": role, "content": "ب" * size}]

    pairs = [
        {"source": "ab"[n % 2], "prompt": text("user", size), "chosen": text("assistant", 1), "rejected": text("assistant", 2)}
        for n, size in enumerate(sizes)
    ]  # fmt: skip
    found = within(pairs, max_bytes)
    for source in {pair["source"] for pair in pairs}:
        given = [pair for pair in pairs if pair["source"] == source]
        taken = [pair for pair in found if pair["source"] == source]
        assert taken == given[: len(taken)]
        size = sum(2 * 2 * len(pair["prompt"][0]["content"]) + 6 for pair in taken)
        assert len(taken) >= min(50, len(given))
        assert len(taken) == len(given) or size >= max_bytes
        assert len(taken) <= 50 or size < max_bytes + 2 * 2 * 200 + 6


def test_what_is_logged_can_be_compared_item_by_item(
    random_folder, learnt_folder, corpus, preferences, items, tmp_path, context
) -> None:
    """Every score but chrF is the mean of the items that stand in the logs, and they are the same for two models."""
    found = {}
    for name, folder in (("random", random_folder), ("learnt", learnt_folder)):
        summary, output = run(folder, tmp_path, context, name=name, corpus=corpus, preferences=preferences, items=items)
        scores = Artifact(output, name, "scores", "evaluate", "", "", {}, {}, summary, {})
        found[name] = {result: measured_items(scores, result) for result in results(summary)}
    assert not next(of for result, of in found["random"].items() if result.name == "answers-en")
    matched = {one.name: (mine.keys() == yours.keys(), len(mine)) for (one, mine), yours in zip(found["random"].items(), found["learnt"].values()) if one.name != "answers-en"}  # fmt: skip
    assert matched == {"cloze-en": (True, 4), "bits per byte": (True, 1), "flaws": (True, 12)}
