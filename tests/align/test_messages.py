"""Every common form is read into the same messages, and what cannot be used is refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.align.messages import Refused, plain, read_conversation, read_pair, read_tools

QUESTION, ANSWER, WORSE = "Who bakes bread?", "A baker bakes bread.", "Nobody knows."
SYSTEM = {"role": "system", "content": "Answer as a pirate."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
}


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [user(QUESTION), assistant(ANSWER)]},
        {"messages": [user(QUESTION), {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}]},
        {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]},
        {"instruction": QUESTION, "input": "", "output": ANSWER},
        {"instruction": QUESTION, "input": None, "output": ANSWER},
        {"instruction": QUESTION, "input": "noinput", "output": ANSWER},
        {"instruction": QUESTION, "input": "<noinput>", "output": ANSWER + "\n"},
        {"instruction": QUESTION, "output": ANSWER},
        {"instruction": QUESTION, "instances": [{"input": "", "output": ANSWER}], "id": "seed_task_0"},
        {"prompt": QUESTION, "response": ANSWER},
        {"prompt": [QUESTION], "response": ANSWER},
        {"prompt": QUESTION, "response": [ANSWER]},
        {"prompt": [user(QUESTION)], "response": ANSWER},
        {"messages": [user(QUESTION), assistant(ANSWER)], "label": True},
        {"messages": [{**user(QUESTION), "weight": 0}, {**assistant(ANSWER), "tool_calls": []}]},
    ],
)
def test_all_forms_of_a_conversation_agree(record: dict) -> None:
    assert read_conversation(record, 1000) == [user(QUESTION), assistant(ANSWER)]


def test_answers_say_whether_they_are_to_be_learnt() -> None:
    """OpenAI's weight, axolotl's train; what stands on other messages says nothing."""
    said = [user("a"), {**assistant("b"), "weight": 0}, {**user("c"), "train": True}, {**assistant("d"), "train": True}, user("e"), assistant("f")]  # fmt: skip
    unlearnt, learnt = {**assistant("b"), "train": False}, {**assistant("d"), "train": True}
    assert read_conversation({"messages": said}, 1000) == [user("a"), unlearnt, user("c"), learnt, user("e"), assistant("f")]  # fmt: skip
    assert plain([unlearnt, learnt]) == [assistant("b"), assistant("d")]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [user(QUESTION), {**CALL, "content": None}, {"role": "tool", "content": "x"}, assistant(ANSWER)]},
        {"messages": [user(QUESTION), {"role": "assistant", "function_call": CALL["tool_calls"][0]["function"]}, {"role": "function", "name": "f", "content": "x"}, assistant(ANSWER)]},
        {"conversations": [
            {"from": "human", "value": QUESTION},
            {"from": "function_call", "value": json.dumps({"name": "f", "arguments": {"a": 1}})},
            {"from": "observation", "value": "x"},
            {"from": "gpt", "value": ANSWER},
        ]},
    ],
)  # fmt: skip
def test_all_forms_of_a_call_of_a_tool_agree(record: dict) -> None:
    result = {"role": "tool", "content": "x"}
    assert read_conversation(record, 1000) == [user(QUESTION), CALL, result, assistant(ANSWER)]


def test_the_tools_of_a_record() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert read_tools({"tools": tools}) == read_tools({"tools": json.dumps(tools)}) == tools
    assert read_tools({}) == read_tools({"tools": None}) == read_tools({"tools": " "}) == []
    for bad in ("{", '{"a": 1}', [1]):
        with pytest.raises(Refused, match="bad_tools"):
            read_tools({"tools": bad})


def test_a_pair_with_tools_is_refused() -> None:
    with pytest.raises(Refused, match="tools_in_pair"):
        read_pair({"prompt": QUESTION, "chosen": [CALL], "rejected": WORSE}, 1000)


def test_an_input_goes_below_the_instruction_and_earlier_turns_before_it() -> None:
    record = {
        "system": "Be brief.",
        "history": [["Hello", "Hi"]],
        "instruction": "Translate",
        "input": "bread",
        "output": "خبز",
    }
    assert read_conversation(record, 1000) == [
        {"role": "system", "content": "Be brief."},
        user("Hello"),
        assistant("Hi"),
        user("Translate\n\nbread"),
        assistant("خبز"),
    ]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "only text"}, "unknown_form"),
        ({"messages": "no list"}, "unknown_form"),
        ({"messages": []}, "unknown_form"),
        ({"messages": ["no object"]}, "unknown_form"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown_role"),
        ({"messages": [user(QUESTION), {"role": "tool", "content": "x"}, assistant(ANSWER)]}, "roles_out_of_order"),
        ({"messages": [user(QUESTION), assistant(ANSWER), {"role": "tool", "content": "x"}]}, "no_answer"),
        ({"messages": [user(QUESTION), CALL, {"role": "tool", "content": ""}, assistant(ANSWER)]}, "empty_result"),
        ({"messages": [user(QUESTION), {"role": "assistant", "content": None}]}, "not_text"),
        ({"messages": [assistant(ANSWER), user(QUESTION)]}, "roles_out_of_order"),
        ({"messages": [user(QUESTION), user(QUESTION), assistant(ANSWER)]}, "roles_out_of_order"),
        ({"messages": [user(QUESTION)]}, "no_answer"),
        ({"messages": [{"role": "system", "content": "x"}]}, "no_answer"),
        ({"instruction": QUESTION, "output": " \n"}, "empty_answer"),
        ({"instruction": "", "output": ANSWER}, "empty_prompt"),
        ({"instruction": QUESTION, "output": "x" * 1000}, "too_long"),
        ({"instruction": QUESTION, "instances": []}, "several_instances"),
        ({"prompt": ["a", "b"], "response": ["c"]}, "turns_differ"),
        ({"messages": [user(QUESTION), assistant(WORSE)], "label": False}, "labelled_bad"),
        ({"system": "Be brief.", "messages": [SYSTEM, user(QUESTION), assistant(ANSWER)]}, "two_system_messages"),
        (
            {"messages": [user("a"), {**assistant("b"), "weight": 0}, user("c"), {**assistant("d"), "loss": False}]},
            "labelled_bad",
        ),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "train": False}]},
            "labelled_bad",
        ),
        ({"messages": [user(QUESTION), {**assistant(ANSWER), "tool_calls": [{"id": "1"}]}]}, "bad_tool_call"),
        (
            {"messages": [user(QUESTION), {**assistant(""), "function_call": {"name": "f", "arguments": "{"}}]},
            "bad_tool_call",
        ),
        ({"messages": [{**user(QUESTION), "tool_calls": CALL["tool_calls"]}, assistant(ANSWER)]}, "bad_tool_call"),
        ({"conversations": [{"from": "function_call", "value": "no JSON"}]}, "bad_tool_call"),
        ({"messages": [user(QUESTION), {**CALL, "tool_calls": CALL["tool_calls"] * 50}]}, "too_long"),
        ({"messages": [user(QUESTION), {**assistant(ANSWER), "reasoning_content": "Hm."}]}, "more_than_text"),
    ],
)
def test_a_conversation_that_cannot_be_used_is_refused(record: dict, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        read_conversation(record, 1000)
    assert refused.value.reason == reason


TRANSCRIPT = f"\n\nHuman: Hello\n\nAssistant: Hi\n\nHuman: {QUESTION}\n\nAssistant: "
HISTORY = [user("Hello"), assistant("Hi"), user(QUESTION)]
SHAREGPT = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}, {"from": "human", "value": QUESTION}]


@pytest.mark.parametrize(
    "record",
    [
        {"chosen": TRANSCRIPT + ANSWER, "rejected": TRANSCRIPT + WORSE},
        {"prompt": TRANSCRIPT.removesuffix("\n\nAssistant: "), "chosen": ANSWER, "rejected": WORSE},
        {"chosen": [*HISTORY, assistant(ANSWER)], "rejected": [*HISTORY, assistant(WORSE)]},
        {"prompt": HISTORY, "chosen": ANSWER, "rejected": WORSE},
        {"prompt": HISTORY, "chosen": [assistant(ANSWER)], "rejected": [assistant(WORSE)]},
        {"prompt": HISTORY, "chosen": [*HISTORY, assistant(ANSWER)], "rejected": [*HISTORY, assistant(WORSE)]},
        {
            "conversations": SHAREGPT,
            "chosen": {"from": "gpt", "value": ANSWER},
            "rejected": {"from": "gpt", "value": WORSE},
        },
        {"instruction": QUESTION, "history": [["Hello", "Hi"]], "chosen": ANSWER, "rejected": WORSE},
        {"prompt": QUESTION, "history": [["Hello", "Hi"]], "chosen": ANSWER, "rejected": WORSE},
        {"prompt": QUESTION, "chosen": TRANSCRIPT + ANSWER, "rejected": TRANSCRIPT + WORSE},
        {"prompt": QUESTION, "chosen": [*HISTORY, assistant(ANSWER)], "rejected": [*HISTORY, assistant(WORSE)]},
        {"prompt": "Hello", "chosen": [*HISTORY, assistant(ANSWER)], "rejected": [*HISTORY, assistant(WORSE)]},
        {"instruction": QUESTION, "chosen": [*HISTORY, assistant(ANSWER)], "rejected": [*HISTORY, assistant(WORSE)]},
    ],
)
def test_all_forms_of_a_pair_agree(record: dict) -> None:
    pair = read_pair(record, 1000)
    assert pair.prompt == HISTORY
    assert (pair.chosen, pair.rejected) == ([assistant(ANSWER)], [assistant(WORSE)])


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": SHAREGPT, "chosen": {"from": "gpt", "value": ANSWER}, "rejected": {"from": "gpt", "value": WORSE}},
        {"messages": HISTORY, "chosen": ANSWER, "rejected": WORSE},
        {"prompt": TRANSCRIPT.removesuffix("\n\nAssistant: "), "chosen": ANSWER, "rejected": WORSE},
        {"instruction": QUESTION, "history": [["Hello", "Hi"]], "chosen": ANSWER, "rejected": WORSE},
        {"chosen": [*HISTORY, assistant(ANSWER)], "rejected": [*HISTORY, assistant(WORSE)]},
        {"chosen": [SYSTEM, *HISTORY, assistant(ANSWER)], "rejected": [SYSTEM, *HISTORY, assistant(WORSE)]},
        {"prompt": QUESTION, "chosen": [*HISTORY, assistant(ANSWER)], "rejected": [*HISTORY, assistant(WORSE)]},
        {"prompt": [SYSTEM, *HISTORY], "chosen": [*HISTORY, assistant(ANSWER)], "rejected": [*HISTORY, assistant(WORSE)]},
        {"instruction": QUESTION, "history": [["Hello", "Hi"]], "output_1": ANSWER, "output_2": WORSE, "preference": 1},
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["system", "system_prompt"])
def test_the_records_own_system_message_is_kept_in_every_form_of_a_pair(record: dict, field: str) -> None:
    pair = read_pair({**record, field: SYSTEM["content"] + "\n"}, 1000)
    assert pair.prompt == [SYSTEM, *HISTORY]
    assert (pair.chosen, pair.rejected) == ([assistant(ANSWER)], [assistant(WORSE)])


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [user(QUESTION), assistant(ANSWER)]},
        {"messages": [SYSTEM, user(QUESTION), assistant(ANSWER)]},
        {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]},
        {"instruction": QUESTION, "output": ANSWER},
        {"instruction": QUESTION, "instances": [{"input": "", "output": ANSWER}]},
        {"prompt": QUESTION, "response": ANSWER},
        {"prompt": [user(QUESTION)], "response": ANSWER},
    ],
)
def test_the_records_own_system_message_is_kept_in_every_form_of_a_conversation(record: dict) -> None:
    assert read_conversation({**record, "system": SYSTEM["content"]}, 1000) == [
        SYSTEM,
        user(QUESTION),
        assistant(ANSWER),
    ]
    assert read_conversation({**record, "system": " "}, 1000)[-2:] == [user(QUESTION), assistant(ANSWER)]


def test_a_prompt_beside_whole_conversations_may_be_any_question_of_what_they_share() -> None:
    """chosen and rejected tell where they part; a system message of theirs belongs to the prompt."""
    start = [SYSTEM, *HISTORY, assistant(ANSWER), user("And cakes?")]
    record = {"prompt": QUESTION, "chosen": [*start, assistant("Also.")], "rejected": [*start, assistant("No.")]}
    pair = read_pair(record, 1000)
    assert pair == (start, [assistant("Also.")], [assistant("No.")])


@pytest.mark.parametrize("preference", [1, 2, 1.0, 2.0])
def test_alpaca_eval_says_which_output_is_better(preference: float) -> None:
    record = {"instruction": QUESTION, "output_1": "one", "output_2": "two", "preference": preference}
    pair = read_pair(record, 1000)
    assert pair.prompt == [user(QUESTION)]
    assert pair.chosen == [assistant("one" if preference == 1 else "two")]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [user(QUESTION), assistant(ANSWER)], "label": True}, "not_a_pair"),
        ({"instruction": QUESTION, "output_1": "one", "output_2": "two", "preference": None}, "tie"),
        ({"instruction": QUESTION, "output_1": "one", "output_2": "two", "preference": 1.5}, "tie"),
        ({"output_1": "one", "output_2": "two", "preference": 1}, "unknown_form"),
        ({"prompt": QUESTION, "chosen": ANSWER, "rejected": ANSWER}, "same_answers"),
        ({"prompt": QUESTION, "chosen": ANSWER, "rejected": ""}, "empty_answer"),
        ({"prompt": [*HISTORY, assistant(ANSWER)], "chosen": "a", "rejected": "b"}, "roles_out_of_order"),
        ({"prompt": HISTORY, "chosen": HISTORY, "rejected": WORSE}, "no_answer"),
        ({"chosen": ANSWER, "rejected": WORSE}, "unknown_form"),
        ({"chosen": TRANSCRIPT + "a", "rejected": "\n\nHuman: Other\n\nAssistant: b"}, "prompts_differ"),
        ({"prompt": QUESTION, "chosen": ANSWER, "rejected": "x" * 1000}, "too_long"),
        ({"instruction": QUESTION, "output": ANSWER}, "unknown_form"),
        ({"prompt": QUESTION, "chosen": 3, "rejected": WORSE}, "unknown_form"),
        ({"prompt": "Other", "chosen": [*HISTORY, assistant("a")], "rejected": [*HISTORY, assistant("b")]}, "prompts_differ"),
        ({"prompt": "Hello", "chosen": [user("Hello")], "rejected": [user("Hello")]}, "prompts_differ"),
        ({"system": "Be brief.", "prompt": [SYSTEM, user(QUESTION)], "chosen": "a", "rejected": "b"}, "two_system_messages"),
    ],
)  # fmt: skip
def test_a_pair_that_cannot_be_used_is_refused(record: dict, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        read_pair(record, 1000)
    assert refused.value.reason == reason


KEYS = [
    "messages",
    "conversations",
    "role",
    "from",
    "content",
    "value",
    "instruction",
    "input",
    "output",
    "instances",
    "history",
    "system",
    "system_prompt",
    "prompt",
    "response",
    "chosen",
    "rejected",
    "output_1",
    "output_2",
    "preference",
    "label",
    "text",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(record=st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6))
def test_whatever_the_record_it_is_read_or_refused(record: dict) -> None:
    """Nothing a file may hold ends in another exception; what is read is a whole conversation."""
    try:
        messages = read_conversation(record, 100)
    except Refused:
        pass
    else:
        assert messages[-1]["role"] == "assistant"
        assert all(isinstance(m["content"], str) and m["content"] for m in messages)
    try:
        pair = read_pair(record, 100)
    except Refused:
        return
    assert pair.chosen != pair.rejected


texts = st.text(min_size=1, max_size=20).map(str.strip).filter(bool)


@given(turns=st.lists(st.tuples(texts, texts), min_size=1, max_size=4), system=st.none() | texts)
def test_messages_are_read_back_as_they_were_written(turns: list[tuple[str, str]], system: str | None) -> None:
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages += [user(question), assistant(answer)]
    assert read_conversation({"messages": messages}, 1000) == messages
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    sharegpt = [{"from": names[message["role"]], "value": message["content"]} for message in messages]
    assert read_conversation({"conversations": sharegpt}, 1000) == messages
