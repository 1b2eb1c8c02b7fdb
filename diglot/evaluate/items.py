r"""Test items: reading them, and putting them into the form that the model sees.

They stand in the recipe, or in a file with one JSON object a line: `{"prompt", "choices", "answer"}` for choice tasks
(`answer` counts from 0), `{"prompt", "reference"}` for generation, `id` if wanted. A task's template may use any field of
the item:

    prompt: "English: {prompt}\nArabic:"      # with {"prompt": "Hello"}  ->  "English: Hello⏎Arabic:"

In plain form the model continues the prompt after one space, the choice's own where it begins with one; examples
(shots) stand before it, separated by empty lines, as in lm-evaluation-harness. Spaces at the end of a prompt are
removed: tokenizers bind a space to the word after it, and a prompt that ends in one moves scores by points. In chat
form the prompt is a user's message, the answer the assistant's, and shots are earlier turns.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.files import parse_json
from diglot.evaluate.language_model import LanguageModel, Message
from diglot.read.decompress import DAMAGED, Decompressed, reason_of
from diglot.recipe.evaluate import Task

Item = dict[str, Any]
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


class ChatPrompt(str):
    """A conversation, as the chat template writes it, for people and other libraries, and as messages for us.

    Our own model encodes the messages, so that nothing in them can pass for a special token.

    Attributes:
        messages: what was said before the answer.
        begun: the first words of the answer, where a task gives them.
    """

    messages: list[Message]
    begun: str

    @classmethod
    def render(cls, model: LanguageModel, messages: list[Message], begun: str = "") -> ChatPrompt:
        """The conversation up to where the assistant is to speak, or to speak on."""
        prompt = cls(model.chat.text(messages, add_generation_prompt=True) + begun)
        prompt.messages, prompt.begun = messages, begun
        return prompt


def read_lines(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL file, each with its place (`file:line`); empty lines are passed over.

    Raises:
        UserError: no such file, not UTF-8, no lines, or a line that is not a JSON object.
    """
    try:
        lines = _content(file).decode().split("\n")
    except OSError as error:
        raise UserError(f"{file}: cannot read the items: {error.strerror}") from error
    except (EOFError, *DAMAGED) as error:
        raise UserError(f"{file}: {reason_of(error, COMPRESSIONS[file.suffix])}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{file}:{line}: not UTF-8 text (byte {error.start})") from error
    objects = []
    for number, line_text in enumerate(lines, start=1):
        if not line_text.strip():
            continue
        try:
            value = parse_json(line_text)
        except ValueError as error:
            raise UserError(f"{file}:{number}: not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{file}:{number}: an item is a JSON object, not {line_text.strip()[:40]!r}")
        objects.append((f"{file}:{number}", value))
    if not objects:
        raise UserError(f"{file}: holds no items")
    return objects


def _content(file: Path) -> bytes:
    if file.suffix not in COMPRESSIONS:
        return file.read_bytes()
    with file.open("rb") as stream:
        content = Decompressed(stream, COMPRESSIONS[file.suffix])
        return b"".join(iter(lambda: content.read(2**20), b""))


def read_items(name: str, task: Task, folder: Artifact | None) -> list[Item]:
    """A task's items, checked, with `id`, the rendered `prompt`, and `choices` and `answer` or `reference`.

    Args:
        name: of the task.
        task: holds the items, or says which file does.
        folder: where that lies unless its path is absolute; None: in the working folder.

    Raises:
        UserError: with file and line (of items in the recipe: task and number), for a missing or malformed item.
    """
    if task.path is None:
        where = f"tasks.{name}.items"
        lines = [(f"{where}:{number}", value) for number, value in enumerate(task.items or [], start=1)]
    else:
        where, lines = _read_file(task.path, folder)
    items = [_item(value, place, task) for place, value in lines]
    if task.shots >= len(items) and task.shots_path is None:
        raise UserError(f"{where}: {task.shots} shots need more than {len(items)} items")
    return items


def read_shots(task: Task, folder: Artifact | None) -> list[Item] | None:
    """The items that examples are drawn from, where a task names a file for them.

    Raises:
        UserError: as `read_items`.
    """
    if task.shots_path is None:
        return None
    where, lines = _read_file(task.shots_path, folder)
    items = [_item(value, place, task) for place, value in lines]
    if task.shots > len(items):
        raise UserError(f"{where}: {task.shots} shots need as many items, not {len(items)}")
    return items


def _read_file(path: str, folder: Artifact | None) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    file = folder.file(path) if folder is not None and not Path(path).is_absolute() else Path(path)
    return str(file), read_lines(file)


def _item(value: dict[str, Any], place: str, task: Task) -> Item:
    item: Item = {"id": str(value.get("id", place.rsplit(":", 1)[1])), "prompt": _render(value, place, task)}
    if task.kind == "generation":
        reference = value.get("reference")
        if not isinstance(reference, str) or not reference.strip():
            raise UserError(f"{place}: reference: a generation item needs a reference text, not {reference!r}")
        return {**item, "reference": reference}
    choices, answer = value.get("choices"), value.get("answer")
    good = isinstance(choices, list) and len(choices) > 1 and all(isinstance(c, str) and c for c in choices)
    if not good:
        raise UserError(f"{place}: choices: a choice item needs at least two non-empty texts, not {choices!r}")
    assert isinstance(choices, list)
    if len({separator("…", choice) + choice for choice in choices}) < len(choices):
        raise UserError(f"{place}: choices: the same choice stands there twice: {choices!r}")
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise UserError(f"{place}: answer: the number of the right choice, 0 to {len(choices) - 1}, not {answer!r}")
    return {**item, "choices": choices, "answer": answer}


def _render(value: dict[str, Any], place: str, task: Task) -> str:
    def field(match: re.Match) -> str:
        name = match[1]
        if name not in value:
            raise UserError(f"{place}: the prompt uses {{{name}}}, but the item has only {', '.join(map(str, value))}")
        if not isinstance(value[name], str | int | float):
            raise UserError(f"{place}: {name}: the prompt needs a text here, not {value[name]!r}")
        return str(value[name])

    return re.sub(r"\{(\w+)\}", field, task.prompt.replace("\\n", "\n")).rstrip(" ")


def build_contexts(
    items: list[Item], task: Task, model: LanguageModel, limit: int, seed: str, pool: list[Item] | None = None
) -> list[str]:
    """What the model reads before the answer, for the first `limit` items.

    Args:
        items: all items.
        task: the task's settings.
        model: for its chat template.
        limit: number of contexts.
        seed: decides which shots an item gets.
        pool: what shots are drawn from; None: from the items, never the item itself.
    """
    contexts: list[str] = []
    for index, item in enumerate(items[:limit]):
        rest = len(items) if pool is None else len(pool)
        drawn = random.Random(f"{seed}/{index}").sample(range(rest), min(task.shots + 1, rest))
        if pool is None:
            shots = [items[number] for number in drawn if number != index][: task.shots]
        else:
            shots = [pool[number] for number in drawn[: task.shots]]
        contexts.append(_chat_context(item, shots, task, model) if task.chat else _plain_context(item, shots, task))
    return contexts


def _plain_context(item: Item, shots: list[Item], task: Task) -> str:
    examples = [shot["prompt"] + separator(shot["prompt"], _answer(shot)) + _answer(shot) for shot in shots]
    return "\n\n".join([*([task.system] if task.system else []), *examples, item["prompt"]])


def _chat_context(item: Item, shots: list[Item], task: Task, model: LanguageModel) -> ChatPrompt:
    messages: list[Message] = [{"role": "system", "content": task.system}] if task.system else []
    if task.shots_as_turns:
        messages += [message for shot in shots for message in _turns(shot)]
        return ChatPrompt.render(model, [*messages, {"role": "user", "content": item["prompt"]}])
    question = _plain_context(item, shots, task.model_copy(update={"system": None}))
    return ChatPrompt.render(model, [*messages, {"role": "user", "content": question}])


def separator(context: str, continuation: str) -> str:
    """What stands between a context and its continuation: one space, of whichever of the two; none in a chat."""
    spaced = not context or context[-1].isspace() or continuation[:1].isspace()
    return "" if isinstance(context, ChatPrompt) or spaced else " "


def _answer(item: Item) -> str:
    return item["reference"] if "reference" in item else item["choices"][item["answer"]]


def _turns(item: Item) -> list[Message]:
    return [{"role": "user", "content": item["prompt"]}, {"role": "assistant", "content": _answer(item)}]
