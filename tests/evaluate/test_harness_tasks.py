"""Tasks in the harness's YAML: scores and items as its own `hf` model gives them, on tasks of all four kinds."""

import json

import pytest
import tiny_model
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from test_engine import read, run

from diglot.base.errors import UserError
from diglot.evaluate.harness_tasks import language_of

ROWS = [
    {"who": who, "town": town, "trades": list(tiny_model.TRADES.values()), "label": number, "text": text}
    for number, who in enumerate(tiny_model.TRADES)
    for town, text in zip(tiny_model.TOWNS, tiny_model.ENGLISH[3 * number :])
]
CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "The {{who}} of {{town}} sells",
    "doc_to_choice": "{{trades}}",
    "doc_to_target": "label",
}
METRICS = [
    {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "acc_bytes")
]
TASKS = {
    "choice_en": {**CHOICE, "metric_list": METRICS},
    # PolyLM's and the harness's XNLI: nothing stands before, and the whole sentence is scored.
    "whole_sentence": {
        **CHOICE,
        "doc_to_text": "",
        "doc_to_choice": "{{['The ' + who + ' sells, right? Yes, ' + town, 'The ' + who + ' sells, right? No, ' + town]}}",
        "doc_to_target": "{{label % 2}}",
        "metric_list": METRICS[:1],
    },
    "last_words": {
        "output_type": "loglikelihood",
        "doc_to_text": "The {{who}} of {{town}}",
        "doc_to_target": " sells {{trades[label]}}.",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "rolling": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"},
    "written": {
        "output_type": "generate_until",
        "doc_to_text": "The {{who}} of {{town}}",
        "doc_to_target": "sells {{trades[label]}}.",
        "generation_kwargs": {"until": ["\n", "<|end|>"], "max_gen_toks": 10, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        # Answers read in two ways: both must be kept.
        "filter_list": [
            {"name": "whole", "filter": [{"function": "take_first"}]},
            {
                "name": "word",
                "filter": [{"function": "regex", "regex_pattern": "sells (\\w+)"}, {"function": "take_first"}],
            },
        ],
    },
}
GROUP = {
    "group": "trades",
    "task": ["choice_en", "whole_sentence"],
    "aggregate_metric_list": [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}],
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    for split, rows in (("train", ROWS[::2]), ("test", ROWS)):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "test")}
    data = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "training_split": "train",
        "test_split": "test",
    }
    for name, task in TASKS.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **data, **task}))
    (folder / "group.yaml").write_text(json.dumps(GROUP))
    return folder


def theirs(folder, tasks, names, add_bos=None, **settings):
    pytest.importorskip("accelerate", reason="the harness's own adapter needs accelerate (extra dev)")
    from lm_eval.models.huggingface import HFLM

    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    model = HFLM(pretrained=str(folder), batch_size=4, device="cpu", dtype="float32", add_bos_token=add_bos)
    return simple_evaluate(model, tasks=names, task_manager=manager, bootstrap_iters=0, **settings)


def agree(folder, tasks, tmp_path, context, names, ours_settings, **their_settings):
    """Run the tasks here and there, and compare every item and every score."""
    expected = theirs(folder, tasks, names, **their_settings)
    asked = [{"task": name, **ours_settings} for name in names]
    settings = {"include_path": str(tasks), "lm_eval_tasks": asked}
    scores, output = run(folder, tmp_path, context, settings)
    for name, samples in expected["samples"].items():
        rows = read(output / "items" / f"{name}.jsonl")
        assert len(rows) == len(samples)
        for row, sample in zip(rows, samples):
            assert row["arguments"] == [[str(part) for part in of] for of in sample["arguments"]]
            for ours, of in zip(row["responses"], sample["resps"]):
                if isinstance(ours, list):
                    assert ours[0] == pytest.approx(of[0][0], abs=2e-3)
                    assert ours[1] == of[0][1]
                else:
                    assert ours == (pytest.approx(of[0], abs=2e-3) if isinstance(ours, float) else of[0])
            assert row["metrics"].keys() == {*sample["metrics"]}
        for key, value in expected["results"][name].items():
            metric, comma, way = key.partition(",")
            if comma and "_stderr" not in metric:
                kept = scores.tasks[name].metrics[metric if way == "none" else key].value
                assert kept == pytest.approx(value, rel=1e-4)
    return scores, expected


def test_all_kinds_of_tasks_agree_item_by_item(learnt_folder, tasks, tmp_path, context):
    scores, expected = agree(learnt_folder, tasks, tmp_path, context, ["trades", "last_words", "written"], {})
    assert scores.groups["trades"].tasks == ["choice_en", "whole_sentence"]
    assert scores.groups["trades"].metrics["acc"].value == pytest.approx(expected["groups"]["trades"]["acc,none"])
    assert (scores.tasks["choice_en"].language, scores.tasks["written"].language) == ("en", "")
    assert {"exact_match,whole", "exact_match,word"} == scores.tasks["written"].metrics.keys()


def test_whole_texts_agree_where_the_harness_does_not_double_the_first_token(learnt_folder, tasks, tmp_path, context):
    # It lets the tokenizer add one, puts another before it, and has the second predicted after the first.
    agree(learnt_folder, tasks, tmp_path, context, ["rolling"], {}, add_bos=False)


@pytest.mark.full
def test_a_real_model_agrees_item_by_item(models, tasks, tmp_path, context):
    scores, _ = agree(models / "smollm2-135m", tasks, tmp_path, context, ["trades", *list(TASKS)[2:]], {})
    assert scores.tasks["rolling"].metrics["bits_per_byte"].value < 4


@pytest.mark.parametrize("turns", [pytest.param(False, marks=pytest.mark.full), True])
def test_examples_and_chats_agree_item_by_item(learnt_folder, tasks, tmp_path, context, turns):
    ours = {"shots": 2, "chat": turns, "shots_as_turns": turns, "limit": 5}
    more = {"num_fewshot": 2, "apply_chat_template": turns, "fewshot_as_multiturn": turns, "limit": 5}
    # No answers are written: the harness writes on behind the end of a message, as it knows the end of a text only.
    names = ["choice_en", *(() if turns else ("last_words",))]
    scores, _ = agree(learnt_folder, tasks, tmp_path, context, names, ours, **more)
    assert (scores.tasks["choice_en"].shots, scores.tasks["choice_en"].items) == (2, 5)


def test_tasks_that_run_code_are_refused(learnt_folder, tasks, tmp_path, context):
    folder = tmp_path / "unsafe"
    folder.mkdir()
    task = json.loads((tasks / "written.yaml").read_text()) | {"task": "code", "unsafe_code": True}
    (folder / "code.yaml").write_text(json.dumps(task))
    with pytest.raises(UserError, match="code runs code that the model wrote"):
        run(learnt_folder, tmp_path, context, {"include_path": str(folder), "lm_eval_tasks": ["code"]})


@pytest.mark.parametrize(
    ("name", "data", "language"),
    [("xnli_ar", "ar", "ar"), ("belebele_arb_Arab", "arb_Arab", "ar"), ("mmlu_law", "law", ""), ("hellaswag", None, ""),
     ("arabicmmlu_civics", "Civics", "ar"), ("mgsm_direct_zh", "zh", "zh")],
)  # fmt: skip
def test_the_language_of_a_task_is_in_its_name(name, data, language):
    assert language_of(name, data) == language
