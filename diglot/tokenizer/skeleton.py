r"""What a chat template writes around the contents of messages, whatever these are.

A template is asked once for each order of roles, with marks for contents, and what stands between the marks is the skeleton:

    ChatML, user · assistant               <|im_start|>user⏎ · <|im_end|>⏎<|im_start|>assistant⏎ · <|im_end|>⏎
    Llama-2, system · user · assistant     <s>[INST] <<SYS>>⏎ · ⏎<</SYS>>⏎⏎ · [/INST]  ·  </s>

So formats need no description here, and where a template puts what (Llama-2 a system message into a question) is its own affair.
Around each mark stand spaces, by which it is seen whether the template removes those of that content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from diglot.tokenizer.template import Template
from diglot.tokenizer.thoughts import EMPTY

LEFT, RIGHT = "\t\n", "\n\t"  # no template writes these itself; `trim` takes them
LEFT_JSON = json.dumps(LEFT)[1:-1]  # as a template has them that writes a content as JSON


class Differs(Exception):
    """Where a template is no chat format, or differs from one."""


class Slot(NamedTuple):
    """The place of one message in a template's text.

    Attributes:
        number: of the message.
        before: the template's text between the content before (or the beginning) and this one.
        lstrip, rstrip: whether it removes spaces at the beginning of the content, and at its end.
        is_json: whether it writes the content within a JSON string (Llama-3.1 the results of tools).
    """

    number: int
    before: str
    lstrip: bool
    rstrip: bool
    is_json: bool = False

    def stripped(self, content: str) -> str:
        """The content as the template writes it."""
        if self.is_json:
            return json.dumps(content, ensure_ascii=False)[1:-1]
        content = content.lstrip() if self.lstrip else content
        return content.rstrip() if self.rstrip else content


class Skeleton(NamedTuple):
    """A conversation without its contents: the slots in the text's order, and what stands behind the last one."""

    slots: tuple[Slot, ...]
    closing: str


def read_skeleton(
    template: Template,
    roles: Sequence[str],
    add_generation_prompt: bool,
    fills: bool,
    tools: Sequence[Mapping[str, Any]] = (),
) -> Skeleton:
    """Ask a template for the skeleton of an order of roles.

    Args:
        template: of the folder.
        roles: of the messages, in order.
        add_generation_prompt: end in what stands before an answer.
        fills: it writes empty thoughts before answers without any; these belong to the content (thoughts.py).
        tools: that are described to the model.

    Raises:
        Differs: it leaves out a content, or writes one twice.
        TemplateFailure: it does not take such messages.
    """
    marks = [f"\ue000{number}\ue001" for number in range(len(roles))]
    messages = [{"role": role, "content": f"{LEFT}{mark}{RIGHT}"} for role, mark in zip(roles, marks, strict=True)]
    text = template.render(messages, add_generation_prompt, tools)
    for number, mark in enumerate(marks):
        if text.count(mark) != 1:
            raise Differs(f"the template writes message {number} ({roles[number]}) {text.count(mark)} times")
    slots, end = [], 0
    # In the text's order, which need not be that of the messages.
    for number in sorted(range(len(marks)), key=lambda number: text.index(marks[number])):
        start = text.index(marks[number])
        before, behind = text[end:start], start + len(marks[number])
        is_json = before.endswith(LEFT_JSON)
        if is_json:
            slots.append(Slot(number, before.removesuffix(LEFT_JSON), False, False, is_json=True))
            end = behind + len(LEFT_JSON)
            continue
        has_left, has_right = before.endswith(LEFT), text.startswith(RIGHT, behind)
        before = before.removesuffix(LEFT)
        before = before.removesuffix(EMPTY) if fills and roles[number] == "assistant" else before
        slots.append(Slot(number, before, not has_left, not has_right))
        end = behind + len(RIGHT) * has_right
    return Skeleton(tuple(slots), text[end:])
