"""Benchmarks: items in the papers' formats, made of real files where there are some; metrics, averages and tables."""

import json

import pytest
from lm_eval.tasks.xcopa import utils as xcopa
from rouge_score import rouge_scorer
from test_engine import read, run

from diglot.base.errors import UserError
from diglot.base.summaries.scores import Metric, TaskScore
from diglot.evaluate import benchmarks
from diglot.evaluate.benchmarks import OURS, group_scores, read_benchmarks, write_tables
from diglot.evaluate.items import build_contexts, read_lines
from diglot.evaluate.metrics import f1, rouge
from diglot.recipe.evaluate import Benchmarks


def take(data, *names, **settings):
    return read_benchmarks(Benchmarks(path=str(data / "eval"), names=list(names), **settings))[0]


def first(data, name):
    taken = take(data, name)[0]
    item = taken.items[0]
    return item["prompt"], item.get("choices", item.get("references")), item.get("answer")


def test_understanding_is_put_as_in_the_tables_of_polylm(data):
    row = read_lines(data / "eval/xnli/en.test.jsonl.zst")[0][1]
    prompt, choices, answer = first(data, "xnli-en")
    assert prompt == f"{row['premise']}, right?"
    assert choices == [f"{word}, {row['hypothesis']}" for word in ("Yes", "Also", "No")]
    assert ("entailment", "neutral", "contradiction")[answer] == row["gold_label"]
    row = read_lines(data / "eval/pawsx/de.test.jsonl.zst")[0][1]
    prompt, choices, answer = first(data, "pawsx-de")
    assert (prompt, choices) == (f"{row['sentence1']}, richtig?", [f"{w}, {row['sentence2']}" for w in ("Nein", "Ja")])
    assert answer == row["label"]
    prompt, choices, answer = first(data, "xwinograd-en")
    assert prompt == "The city councilmen refused the demonstrators a permit because"
    assert choices == ["The city councilmen feared violence.", "the demonstrators feared violence."]
    assert answer == 0


@pytest.mark.parametrize("language", ["et", "it", "th", "zh"])
def test_xcopa_is_the_harness_s(data, language):
    to_text = getattr(xcopa, f"doc_to_text_{language}")
    taken = take(data, f"xcopa-{language}")[0]
    rows = [row for _, row in read_lines(data / f"eval/xcopa/{language}.test.jsonl")]
    for item, row in zip(taken.items, rows, strict=True):
        assert (item["prompt"], item["choices"]) == (to_text(row), xcopa.doc_to_choice(row))
        assert item["answer"] == row["label"]


def test_written_answers_are_asked_for_as_in_the_tables(data):
    prompt, references, _ = first(data, "wmt20-en-de")
    assert prompt.endswith(" Translate this sentence from English to German.")
    assert len(references) == 1
    prompt, references, _ = first(data, "tydiqa-train-en")
    assert prompt.startswith(
        "Read the context and answer the question in one or a few words in English.\nContext (English): "
    )
    assert prompt.endswith("Question: When was quantum field theory developed?\nAnswer:")
    assert references == ["1920s"]
    taken = take(data, "mtg-title-ar")[0]
    assert (taken.task.metric, taken.task.shots, taken.origin) == ("rouge", 1, "native")


@pytest.mark.full
def test_every_benchmark_reads_its_files(data):
    known = benchmarks._load(OURS)
    without = {"tydiqa", "mtg-story"}  # the answers are kept back; there is no such file
    for name in known.keys() - without - {"ntrex", "xnli", "exams"}:
        taken, absent = read_benchmarks(Benchmarks(path=str(data / "eval"), names=[name]))
        assert len(taken) + len(absent) == len(known[name].variants)
        assert all(each.items and each.origin in ("native", "translated") for each in taken)


def test_data_that_are_not_there_are_named(data):
    with pytest.raises(UserError, match="this file is a blind test set"):
        take(data, "tydiqa-te")
    with pytest.raises(UserError, match=r"mtg-title-fr: no data: there is no .*title\.fr"):
        take(data, "mtg-title-fr")
    with pytest.raises(UserError, match="no 'xnlu'; there are acva, aexams"):
        take(data, "xnlu")


def test_no_is_no_in_arabic(data):
    """The harness's Arabic XNLI says the word for a number."""
    taken = take(data, "xnli-ar")[0]
    assert [choice.split(",")[0] for choice in taken.items[0]["choices"]] == ["نعم", "أيضًا", "لا"]


def test_examples_come_from_the_development_split_or_from_other_items(data, random_model):
    apart, others = take(data, "acva", shots=2)[0], take(data, "wmt20-de-en", shots=2)[0]
    assert {id(item) for item in apart.pool}.isdisjoint(map(id, apart.items))
    assert others.pool is None
    for taken in (apart, others):
        pool = taken.pool or taken.items
        contexts = build_contexts(taken.items, taken.task, random_model, 20, "seed", taken.pool)
        for item, context in zip(taken.items, contexts):
            examples = context.split("\n\n")[:-1]
            assert len(examples) == 2
            assert context.endswith("\n\n" + item["prompt"])
            own = [other["prompt"] for other in pool if other is not item]
            assert all(any(example.startswith(prompt) for prompt in own) for example in examples)
            if taken.pool is None:
                assert not any(example.startswith(item["prompt"]) for example in examples)
        assert contexts == build_contexts(taken.items, taken.task, random_model, 20, "seed", taken.pool)
        assert contexts != build_contexts(taken.items, taken.task, random_model, 20, "other", taken.pool)


# --- metrics --------------------------------------------------------------------------------------------------


def test_rouge_is_the_library_s_and_reads_other_scripts():
    texts = ("the cat sat on the mat today", "a cat lay on the mat")
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    expected = [score.fmeasure for score in scorer.score(*texts[::-1]).values()]
    assert rouge(texts[0], [texts[1]], "en") == pytest.approx(100 * sum(expected) / 3)
    assert rouge("القط على السجادة", ["القط على السجادة"], "ar") == 100
    assert rouge("猫在垫子上", ["狗在垫子上"], "zh") == pytest.approx(100 * (4 / 5 + 3 / 4 + 4 / 5) / 3)
    assert rouge("x", ["y", "x z"], "en") == pytest.approx(100 * (2 / 3 + 0 + 2 / 3) / 3)


def test_f1_is_over_words_and_the_best_of_the_references():
    assert f1("The Panthers' defense.", ["panthers defense"], "en") == pytest.approx(2 * 2 / (3 + 2))
    assert f1("308", ["300", "308 points"], "en") == pytest.approx(2 / 3)
    assert f1("", ["x"], "en") == 0
    assert f1("北京市", ["北京"], "zh") == pytest.approx(4 / 5)


# --- the whole ------------------------------------------------------------------------------------------------


def score(value, error):
    return TaskScore("en", "choice", "acc", {"acc": Metric(value, error)}, 0.5, 10, shots=0)


def test_tables_have_two_blocks_each_with_its_average(tmp_path, data):
    taken = take(data, "xcopa-it", "xcopa-id", "xcopa-sw")
    scores = {"xcopa-it": score(0.5, 0.03), "xcopa-id": score(0.7, 0.04), "xcopa-sw": score(0.5, 0.03)}
    groups = group_scores(taken, scores, ["en", "it", "id"])
    assert groups["xcopa/trained"].metrics["acc"] == Metric(pytest.approx(0.6), pytest.approx(0.025))
    assert groups["xcopa"].metrics["acc"].value == pytest.approx(1.7 / 3)
    assert groups["xcopa/unseen"].tasks == ["xcopa-sw"]
    write_tables(tmp_path / "tables.md", taken, ["none of Latin"], scores, ["it", "id"])
    lines = (tmp_path / "tables.md").read_text().split("\n")
    assert lines[2] == "acc, 0 shots, translated"
    assert lines[4] == "| it | id | **average** (trained) | sw | **average** (unseen) |"
    assert lines[6] == "| 50.0 | 70.0 | **60.0** | 50.0 | **50.0** |"
    assert "* none of Latin" in lines


def test_benchmarks_run_in_the_stage(learnt_folder, tmp_path, context, data):
    settings = {
        "benchmarks": {
            "path": str(data / "eval"),
            "names": ["xcopa-it", "acva", "wmt20-de-en"],
            "trained": ["it"],
            "shots": 0,
            "max_new_tokens": 8,
        },
        "limit": 4,
    }
    scores, output = run(learnt_folder, tmp_path, context, settings)
    assert {name: (task.metric, task.items, task.origin) for name, task in scores.tasks.items()} == {
        "xcopa-it": ("acc", 4, "translated"),
        "acva-ar": ("acc", 4, "native"),
        "wmt20-de-en": ("bleu", 4, "native"),
    }
    assert scores.groups["xcopa/trained"].metrics["acc"].value == scores.tasks["xcopa-it"].score.value
    row = read(output / "items" / "xcopa-it.jsonl")[0]
    assert {"log_likelihood", "tokens", "characters", "bytes"} < row["choices"][0].keys()
    assert {"acc", "acc_norm", "acc_bytes", "acc_token"} < row.keys()
    for name, size in (("acc_bytes", "bytes"), ("acc_token", "tokens")):
        likeliest = max(range(2), key=lambda n: row["choices"][n]["log_likelihood"] / row["choices"][n][size])
        assert row[name] == float(likeliest == row["answer"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "{{nothing}}"}, r"rows\.jsonl:1: does not fit the benchmark: 'nothing' is undefined"),
        ({"answer": "7"}, "answer 7 of 2 choices"),
        ({"choices": "''.__class__"}, r"rows\.jsonl:1: does not fit"),
        ({"kind": "essay"}, r"mine\.yaml: mine\.kind: Input should be 'choice' or 'generation'"),
    ],
)
def test_a_benchmark_of_one_s_own_and_what_is_wrong_with_it(tmp_path, change, message):
    mine = {
        "source": "me",
        "origin": "native",
        "path": ["rows.jsonl"],
        "prompt": "{{q}}",
        "choices": "[a, b]",
        "variants": {"en": {}},
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps({"q": "Is it?", "a": "yes", "b": "no"}) + "\n")
    file = tmp_path / "mine.yaml"
    settings = Benchmarks(path=str(tmp_path), names=["mine"], file=str(file))
    file.write_text(json.dumps({"mine": mine}))
    assert read_benchmarks(settings)[0][0].items == [
        {"id": "1", "prompt": "Is it?", "choices": ["yes", "no"], "answer": 0}
    ]
    file.write_text(json.dumps({"mine": mine | change}))
    with pytest.raises(UserError, match=message):
        read_benchmarks(settings)
