"""Reading items, rendering prompts, drawing shots."""

import json

import pytest
from pydantic import ValidationError

from diglot.base.errors import UserError
from diglot.evaluate.items import ChatPrompt, build_contexts, read_items, separator
from diglot.recipe.evaluate import Task

GOOD = {"id": "a", "prompt": "The baker sells", "choices": ["bread", "iron"], "answer": 0}


def write(tmp_path, *rows):
    file = tmp_path / "items.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def task(**settings) -> Task:
    return Task(**{"path": "items.jsonl", "language": "en", **settings})


def read(file, task):
    return read_items("facts", task.model_copy(update={"path": str(file)}), None)


def test_items_in_the_recipe_are_read_as_those_of_a_file(tmp_path):
    items = [GOOD, {"prompt": "The smith sells", "choices": ["bread", "iron"], "answer": 1}]
    there = Task(language="en", items=items)
    assert read_items("facts", there, None) == read(write(tmp_path, *items), task())
    with pytest.raises(UserError, match=r"tasks\.facts\.items:2: answer: the number of the right choice"):
        read_items("facts", Task(language="en", items=[GOOD, {**GOOD, "answer": 5}]), None)
    for both in ({}, {"items": items, "path": "x.jsonl"}):
        with pytest.raises(ValidationError, match="give either path or items"):
            Task(language="en", **both)


def test_templates_fill_in_fields_and_line_ends(tmp_path):
    file = write(tmp_path, {**GOOD, "town": "Lorem", "year": 7})
    items = read(file, task(prompt="{town} {year} {not a field} {{x}}\\nQ: {prompt}  ".replace("{{x}}", "{}")))
    assert items[0]["prompt"] == "Lorem 7 {not a field} {}\nQ: The baker sells"


def test_braces_in_an_item_are_not_a_template(tmp_path):
    items = read(write(tmp_path, {**GOOD, "prompt": "{answer} {nothing}"}), task())
    assert items[0]["prompt"] == "{answer} {nothing}"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{bad json", "items.jsonl:2: not valid JSON"),
        ("[1]", "items.jsonl:2: an item is a JSON object"),
        ('{"prompt": "\\ud800"}', "items.jsonl:2: not valid JSON: half of a surrogate pair"),
        ('{"a":' * 1000 + "1" + "}" * 1000, "items.jsonl:2: not valid JSON: nested more than"),
        ({"prompt": "x", "answer": 0}, "items.jsonl:2: choices: a choice item needs"),
        ({**GOOD, "choices": ["one"]}, "items.jsonl:2: choices"),
        ({**GOOD, "choices": ["one", ""]}, "items.jsonl:2: choices"),
        ({**GOOD, "choices": ["one", "one"]}, "twice"),
        ({**GOOD, "answer": 2}, "items.jsonl:2: answer: the number of the right choice, 0 to 1, not 2"),
        ({**GOOD, "answer": "0"}, "items.jsonl:2: answer"),
        ({**GOOD, "answer": True}, "items.jsonl:2: answer"),
        ({"choices": ["a", "b"], "answer": 0}, r"items.jsonl:2: the prompt uses \{prompt\}, but the item has"),
        ({**GOOD, "prompt": ["x"]}, "items.jsonl:2: prompt: the prompt needs a text"),
    ],
)
def test_malformed_items_are_named_by_file_and_line(tmp_path, row, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, GOOD, row), task())


def test_a_missing_file_bad_bytes_and_nothing_at_all(tmp_path):
    with pytest.raises(UserError, match="cannot read the items"):
        read(tmp_path / "absent.jsonl", task())
    (tmp_path / "bytes.jsonl").write_bytes(b'{"prompt": 1}\n\xff\n')
    with pytest.raises(UserError, match=r"bytes.jsonl:2: not UTF-8"):
        read(tmp_path / "bytes.jsonl", task())
    with pytest.raises(UserError, match="holds no items"):
        read(write(tmp_path, ""), task())
    with pytest.raises(UserError, match="reference"):
        read(write(tmp_path, {"prompt": "x"}), task(kind="generation"))
    with pytest.raises(UserError, match="2 shots need more than 2 items"):
        read(write(tmp_path, GOOD, GOOD), task(shots=2))


def test_line_separators_inside_a_text_do_not_end_a_line(tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text(json.dumps({**GOOD, "prompt": "a\u2028b\x85c"}, ensure_ascii=False) + "\n")
    assert read(file, task())[0]["prompt"] == "a\u2028b\x85c"


def rows(number):
    return [{**GOOD, "id": str(n), "prompt": f"prompt {n}", "choices": [f"right {n}", "wrong"]} for n in range(number)]


def test_shots_come_from_other_items_and_from_the_seed(tmp_path, random_model):
    settings = task(shots=3)
    items = read(write(tmp_path, *rows(6)), settings)
    contexts = build_contexts(items, settings, random_model, 6, "seed")
    assert contexts == build_contexts(items, settings, random_model, 6, "seed")
    assert contexts != build_contexts(items, settings, random_model, 6, "another")
    # How many items are run must not change what one item is shown.
    assert contexts[:2] == build_contexts(items, settings, random_model, 2, "seed")
    for number, context in enumerate(contexts):
        *shots, question = context.split("\n\n")
        assert question == f"prompt {number}"
        assert len(set(shots)) == 3
        assert all(shot.startswith("prompt ") and shot.replace("prompt", "right") for shot in shots)
        assert not any(shot.startswith(question) for shot in shots)
        assert all(shot == f"prompt {shot[7]} right {shot[7]}" for shot in shots)


def test_chat_contexts_are_messages_and_the_templates_text(tmp_path, random_model):
    settings = task(shots=1, chat=True)
    items = read(write(tmp_path, *rows(2)), settings)
    context = build_contexts(items, settings, random_model, 1, "seed")[0]
    assert isinstance(context, ChatPrompt)
    assert context == "<s><|user|>prompt 1<|end|><|assistant|>right 1<|end|><|user|>prompt 0<|end|><|assistant|>"
    assert [message["role"] for message in context.messages] == ["user", "assistant", "user"]
    assert separator(context, "x") == ""


def test_one_space_or_none_before_the_answer():
    assert separator("The baker sells", "bread") == " "
    assert separator("English: x\n", "y") == separator("", "y") == ""
    assert separator("The baker sells", " bread") == separator("The baker sells", "\nbread") == ""


def test_a_choice_with_its_own_space_is_the_choice_without(tmp_path, random_model):
    settings = task(shots=1)
    plain = [{"prompt": "The baker", "choices": ["sells", "bakes"], "answer": 1} for _ in range(2)]
    spaced = [{**row, "choices": [" sells", " bakes"]} for row in plain]
    contexts = []
    for rows_of in (plain, spaced):
        items = read(write(tmp_path, *rows_of), settings)
        contexts += [build_contexts(items, settings, random_model, 2, "seed")]
    assert contexts[0] == contexts[1]
    with pytest.raises(UserError, match="the same choice stands there twice"):
        read(write(tmp_path, {**plain[0], "choices": [" sells", "sells"]}), task())
