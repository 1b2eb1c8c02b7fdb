"""Conversations and preference pairs in the common forms, read into OpenAI messages.

Conversations:

    {"messages": [{"role": "user", "content": …}, …]}                         OpenAI
    {"conversations": [{"from": "human" | "gpt" | "system", "value": …}, …]}  ShareGPT
    {"instruction", "input"?, "output", "system"?, "history"?}                Alpaca; no input: null, "", "noinput"
    {"instruction", "instances": [{"input", "output"}]}                       self-instruct's seed tasks
    {"prompt", "response"}                                                    strings, or lists of turns (LIMA)

An answer may say whether it is to be learnt (`train: false`, `weight: 0`), and then does so when it is written:
`{"role": "assistant", "content": …, "train": false}`. Calls of tools are OpenAI's (`tool_calls`) or LLaMA-Factory's
(`function_call` and `observation`), the tools of a record stand in `tools`, and their results are messages of role `tool`.

Pairs:

    {"prompt", "chosen", "rejected"}                       strings or messages
    {"chosen", "rejected"}                                 whole conversations: messages, or HH-RLHF's transcripts
    {"prompt", "chosen", "rejected"}                       a question beside whole conversations that hold it
    {"conversations" | "messages", "chosen", "rejected"}   LLaMA-Factory
    {"instruction", "input"?, "chosen", "rejected"}        Alpaca
    {"instruction", "output_1", "output_2", "preference"}  AlpacaEval: 1 or 2; others are ties

A `system` message beside any of them (`system_prompt`, `system_message`) is the first message of the prompt, and
`history` stands before the question. What cannot be used is refused with a reason, for the ledger, and so are messages
that hold more than text and calls (thoughts in a field of their own), and pairs with tools. White space around a content is
removed.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

Message = dict[str, Any]

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "ipython": "tool",
}
FOLLOWS = {
    "": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user", "tool"), "tool": ("tool", "assistant"),
}  # fmt: skip
SYSTEM_FIELDS = ("system", "system_prompt", "system_message")
LEARNT = (
    "weight",
    "train",
    "loss",
)  # of a message: 0 or false where its words are not to be learnt, 1 or true where they are
MORE_THAN_TEXT = ("reasoning_content",)
NO_INPUT = {"noinput", "<noinput>"}  # MultiAlpaca and self-instruct leave such words behind
# Arabic's short vowels, nunation, shadda, sukun and dagger alif, and Hebrew's points; the letters that carry them.
VOWEL_MARKS = re.compile("[\u064b-\u0652\u0670\u05b0-\u05bc\u05c1\u05c2\u05c7]")
WITH_MARKS = re.compile("[\u0621-\u063a\u0641-\u064a\u0671-\u06d3\u05d0-\u05ea]")
TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")  # HH-RLHF


class Refused(Exception):
    """A record that cannot be used.

    Attributes:
        reason: name for the ledger.
        detail: what exactly was wrong.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Pair(NamedTuple):
    """A preference: the messages of the prompt, and two continuations."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


def read_conversation(record: dict[str, Any], max_characters: int) -> list[Message]:
    """Read one conversation.

    Args:
        record: in any of the forms above.
        max_characters: of all contents together.

    Returns:
        Messages: an optional system message, then user and assistant in turn, an answer last; results of tools stand between
        two messages of the assistant.

    Raises:
        Refused: unknown_form, unknown_role, not_text, more_than_text, two_system_messages, roles_out_of_order, no_answer,
            empty_prompt, empty_answer, empty_result, several_instances, turns_differ, labelled_bad, bad_tool_call, too_long.
    """
    messages = _conversation(record)
    check_conversation(messages, max_characters)
    return messages


def read_pair(record: dict[str, Any], max_characters: int) -> Pair:
    """Read one preference pair.

    Args:
        record: in any of the forms above.
        max_characters: of the prompt and either answer together.

    Returns:
        The pair: prompt + chosen and prompt + rejected are whole conversations.

    Raises:
        Refused: as `read_conversation`, and not_a_pair, tie, prompts_differ, same_answers, tools_in_pair.
    """
    pair = _pair(record)
    if any("tool_calls" in message or message["role"] == "tool" for part in pair for message in part):
        raise Refused("tools_in_pair", "a pair with calls of tools or their results")
    if pair.prompt[-1]["role"] != "user":
        raise Refused("roles_out_of_order", "the prompt does not end with the user's message")
    for answer in (pair.chosen, pair.rejected):
        check_conversation(pair.prompt + answer, max_characters)
    if pair.chosen == pair.rejected:
        raise Refused("same_answers", pair.chosen[-1]["content"])
    return pair


def check_conversation(messages: list[Message], max_characters: int) -> None:
    """Refuse a conversation that a model cannot learn from.

    Raises:
        Refused: roles_out_of_order, no_answer, empty_prompt, empty_answer, empty_result, labelled_bad, too_long.
    """
    roles = [message["role"] for message in messages]
    if any(role not in FOLLOWS[before] for before, role in zip(["", *roles], roles)):
        raise Refused("roles_out_of_order", " ".join(roles))
    if roles[-1:] != ["assistant"]:
        raise Refused("no_answer", " ".join(roles))
    for message in messages:
        if not message["content"] and "tool_calls" not in message:
            reason = {"assistant": "empty_answer", "tool": "empty_result"}.get(message["role"], "empty_prompt")
            raise Refused(reason, " ".join(roles))
    if all(message.get("train") is False for message in messages if message["role"] == "assistant"):
        raise Refused("labelled_bad", "every answer says that it is not to be learnt")
    calls = (json.dumps(message["tool_calls"]) for message in messages if "tool_calls" in message)
    characters = sum(len(message["content"]) for message in messages) + sum(map(len, calls))
    if characters > max_characters:
        raise Refused("too_long", f"{characters} characters, more than {max_characters}")


def read_tools(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools that a record describes, as JSON schemas in a list or as its JSON; none where it has none.

    Raises:
        Refused: bad_tools.
    """
    tools = record.get("tools") or []
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else []
        except json.JSONDecodeError as error:
            raise Refused("bad_tools", f"tools are no JSON: {error}") from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Refused("bad_tools", "tools are not a list of objects")
    return tools


def plain(messages: list[Message]) -> list[Message]:
    """Messages without marks on what is to be learnt: what was said."""
    return [{key: value for key, value in message.items() if key != "train"} for message in messages]


def refuse_vocalised(messages: list[Message], limit: float | None) -> None:
    """Refuse a conversation whose answers have more vowel marks a letter than `limit`; None: no limit.

    Raises:
        Refused: vowel_marks.
    """
    if limit is None:
        return
    text = "".join(message["content"] for message in messages if message["role"] == "assistant")
    letters = len(WITH_MARKS.findall(text))
    marks = len(VOWEL_MARKS.findall(text)) / max(1, letters)
    if marks > limit:
        raise Refused("vowel_marks", f"{marks:.2f} a letter, more than {limit:g}")


def _conversation(record: dict[str, Any]) -> list[Message]:
    if record.get("label") is False:
        raise Refused("labelled_bad", "label is false: an answer not to be learnt (KTO)")
    for key in ("messages", "conversations"):
        if key in record:
            return _with_system(record, _marked(_messages(record[key]), record[key]))
    if "instruction" in record and "instances" in record:
        instances = record["instances"]
        if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
            raise Refused("several_instances", "a seed task with other than one instance")
        answer = _message("assistant", instances[0].get("output"))
        return _with_system(record, [*_instruction({**record, **instances[0]}), answer])
    if "instruction" in record and "output" in record:
        return _with_system(record, [*_instruction(record), _message("assistant", record["output"])])
    if "prompt" in record and "response" in record:
        return _with_system(record, _turns(record["prompt"], record["response"], _history(record)))
    raise Refused("unknown_form", f"fields: {', '.join(record)}")


def _marked(messages: list[Message], given: list[dict[str, Any]]) -> list[Message]:
    """Messages whose answers say whether they are to be learnt, where they did: OpenAI's weight, axolotl's train."""
    marked = []
    for message, item in zip(messages, given, strict=True):
        marks = [bool(item[name]) for name in LEARNT if item.get(name) in (0, 1)]  # False and True too
        marked.append({**message, "train": all(marks)} if marks and message["role"] == "assistant" else message)
    return marked


def _with_system(record: dict[str, Any], messages: list[Message]) -> list[Message]:
    """Messages behind the record's own system message, which may be the first of them already."""
    for field in SYSTEM_FIELDS:
        content = _text(record[field]) if record.get(field) else ""
        first = messages[0] if messages else None
        if not content or first == {"role": "system", "content": content}:
            continue
        if first and first["role"] == "system":
            raise Refused("two_system_messages", f"{field} is {content!r}, the first message {first['content']!r}")
        messages = [_message("system", content), *messages]
    return messages


def _history(record: dict[str, Any]) -> list[Message]:
    """Earlier turns, as Alpaca's forms have them."""
    messages = []
    for turn in record.get("history") or []:
        if not isinstance(turn, list) or len(turn) != 2:
            raise Refused("unknown_form", "history is not a list of [question, answer]")
        messages += [_message("user", turn[0]), _message("assistant", turn[1])]
    return messages


def _instruction(record: dict[str, Any]) -> list[Message]:
    """Alpaca's prompt: earlier turns, and the instruction with its input below."""
    prompt = _message("user", record["instruction"])
    given = record.get("input")
    if given is not None:
        text = _text(given)
        if text and text.lower() not in NO_INPUT:
            prompt["content"] = f"{prompt['content']}\n\n{text}".strip()
    return [*_history(record), prompt]


def _turns(prompt: Any, response: Any, history: list[Message]) -> list[Message]:
    """A prompt and its response, as strings or as lists of equal length; a prompt may also be messages."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
        return [*_messages(prompt), _message("assistant", response)]
    prompts = prompt if isinstance(prompt, list) else [prompt]
    responses = response if isinstance(response, list) else [response]
    if len(prompts) != len(responses):
        raise Refused("turns_differ", f"{len(prompts)} prompts, {len(responses)} responses")
    messages = history
    for question, answer in zip(prompts, responses, strict=True):
        messages += [_message("user", question), _message("assistant", answer)]
    return messages


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise Refused("unknown_form", "messages are not a list")
    return [_turn(item) for item in value]


def _turn(item: Any) -> Message:
    """One message, in OpenAI's or ShareGPT's form."""
    if not isinstance(item, dict):
        raise Refused("unknown_form", f"a message is {type(item).__name__}, not an object")
    role = item.get("role", item.get("from"))
    if not isinstance(role, str) or role not in ROLES:
        raise Refused("unknown_role", f"role {role!r}")
    for field in MORE_THAN_TEXT:
        if item.get(field):
            raise Refused("more_than_text", f"a message has {field}")
    content = item.get("content", item.get("value"))
    calls = content if role == "function_call" else item.get("tool_calls") or item.get("function_call")
    if not calls:
        return _message(ROLES[role], content)
    if ROLES[role] != "assistant":
        raise Refused("bad_tool_call", f"a message of role {role!r} calls tools")
    # Nothing beside a call is null in OpenAI's form; a call that is the content leaves no other.
    said = "" if content is None or role == "function_call" else content
    return {**_message("assistant", said), "tool_calls": _calls(calls)}


def _calls(given: Any) -> list[dict[str, Any]]:
    """Calls of tools in OpenAI's form, their arguments as an object, which templates write as they do.

    Raises:
        Refused: bad_tool_call.
    """
    if isinstance(given, str):
        given = _object(given)
    calls = []
    for call in given if isinstance(given, list) else [given]:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise Refused("bad_tool_call", "a call without the name of a function")
        arguments = function.get("arguments") or {}
        arguments = _object(arguments) if isinstance(arguments, str) else arguments
        if not isinstance(arguments, dict):
            raise Refused("bad_tool_call", f"arguments of {function['name']} are no object")
        calls.append({"type": "function", "function": {"name": function["name"], "arguments": arguments}})
    return calls


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused("bad_tool_call", f"a call is no JSON: {error}") from error


def _message(role: str, content: Any) -> Message:
    return {"role": role, "content": _text(content)}


def _text(content: Any) -> str:
    """A content as text: a string, or OpenAI's list of text parts."""
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise Refused("not_text", f"a content is {type(content).__name__}, not text")
    return content.strip()


def _pair(record: dict[str, Any]) -> Pair:
    pair = _judged(record) if "output_1" in record and "output_2" in record else _chosen(record)
    return pair._replace(prompt=_with_system(record, pair.prompt))


def _chosen(record: dict[str, Any]) -> Pair:
    if "chosen" not in record or "rejected" not in record:
        if "label" in record or "preference" in record:
            raise Refused("not_a_pair", "a single answer with a label")
        raise Refused("unknown_form", f"fields: {', '.join(record)}")
    given = next((record[key] for key in ("prompt", "conversations", "messages") if record.get(key)), None)
    if given is None and "instruction" not in record:
        return _split(_whole(record["chosen"]), _whole(record["rejected"]))
    if given is None:
        prompt = _instruction(record)
    else:
        prompt = [*_history(record), *_prompt(given)] if isinstance(given, str) else _prompt(given)
    return _with_prompt(prompt, _answer(record["chosen"]), _answer(record["rejected"]))


def _judged(record: dict[str, Any]) -> Pair:
    """AlpacaEval's annotations: `preference` says which output is better."""
    if "preference" not in record:
        raise Refused("unknown_form", f"fields: {', '.join(record)}")
    if record["preference"] not in (1, 2):
        raise Refused("tie", f"preference {record['preference']!r}")
    better, worse = ("output_1", "output_2") if record["preference"] == 1 else ("output_2", "output_1")
    if "instruction" not in record:
        raise Refused("unknown_form", f"fields: {', '.join(record)}")
    return Pair(_instruction(record), [_message("assistant", record[better])], [_message("assistant", record[worse])])


def _prompt(value: Any) -> list[Message]:
    if isinstance(value, str):
        return transcript(value) if TURN.match(value) else [_message("user", value)]
    return _messages(value)


def _whole(value: Any) -> list[Message]:
    """A whole conversation: messages, or a transcript."""
    if isinstance(value, str) and not TURN.match(value):
        raise Refused("unknown_form", "chosen and rejected are bare answers without a prompt")
    return transcript(value) if isinstance(value, str) else _messages(value)


def _answer(value: Any) -> list[Message]:
    """An answer: text, a message or messages; or the whole conversation that ends in it."""
    if isinstance(value, str):
        whole = value.lstrip().startswith("Human:") and "\n\nAssistant:" in value
        return transcript(value.strip()) if whole else [_message("assistant", value)]
    return _messages(value) if isinstance(value, list) else [_turn(value)]


def _with_prompt(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> Pair:
    """Answers to a prompt; they may repeat it (TRL's conversations do), or hold more of the conversation than it."""
    if chosen[0]["role"] != "assistant" != rejected[0]["role"]:
        return _shared(prompt, chosen, rejected)
    answers = (answer[len(prompt) :] if answer[: len(prompt)] == prompt else answer for answer in (chosen, rejected))
    return Pair(prompt, *answers)


def _shared(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> Pair:
    """Two whole conversations: up to where they part they are the prompt, and the one that is given is part of it."""
    together = 0
    while together < min(len(chosen), len(rejected)) - 1 and chosen[together] == rejected[together]:
        together += 1
    while together and chosen[together - 1]["role"] != "user":  # they part at a question: that is part of the answers
        together -= 1
    shared = chosen[:together]
    system = [message for message in prompt[:1] if message["role"] == "system"]
    asked = prompt[len(system) :]
    if not any(shared[at : at + len(asked)] == asked for at in range(together)):
        raise Refused("prompts_differ", "chosen and rejected do not share a beginning that holds the prompt")
    if shared[:1] != system and system:
        shared = system + shared
    return Pair(shared, chosen[together:], rejected[together:])


def _split(chosen: list[Message], rejected: list[Message]) -> Pair:
    """Two whole conversations that differ in their last answer only."""
    if chosen[:-1] != rejected[:-1]:
        raise Refused("prompts_differ", "the conversations differ before the last answer")
    return Pair(chosen[:-1], chosen[-1:], rejected[-1:])


def transcript(text: str) -> list[Message]:
    r"""Read HH-RLHF's form: "\n\nHuman: … \n\nAssistant: …".

    Raises:
        Refused: unknown_form, if the text does not begin with a turn.
    """
    pieces = TURN.split(text)
    if pieces[0].strip() or len(pieces) < 3:
        raise Refused("unknown_form", "not a transcript of Human: and Assistant:")
    roles = {"Human": "user", "Assistant": "assistant"}
    return [_message(roles[name], content) for name, content in zip(pieces[1::2], pieces[2::2], strict=True)]
