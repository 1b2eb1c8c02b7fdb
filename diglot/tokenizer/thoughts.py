r"""Thoughts: what a chat template makes of `<think>…</think>` in an answer.

Templates of models that think before they answer write the thoughts of an answer only while it is the latest:

    written     user  q1   assistant  <think>⏎t1⏎</think>⏎⏎a1
    and later   user  q1   assistant  a1   user  q2   assistant  <think>⏎t2⏎</think>⏎⏎a2

So a model never reads earlier thoughts, and must not be trained as if it did. What a template does is learnt from it on
conversations with answers that a question follows (`earlier`), and on the last one (`latest`), where thoughts are only set
in lines of their own, and an answer without any may get empty ones (Qwen3: it was not thought about). Anything else that
a template does to its tags shows when a conversation that holds one is compared with the template's own text
(`Chat.difference`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from diglot.tokenizer.template import Template

CLOSING = re.compile(r"</\w+>")
END = "</think>"
EMPTY = f"<think>\n\n{END}\n\n"
PROBE = f"<think>Why?{END}\n\n Bread. "  # the spaces tell what is stripped

Rewrite = Callable[[str], str]


class Thoughts(NamedTuple):
    """How a template writes the content of an answer.

    Attributes:
        earlier: of one that a question follows.
        latest: of one that none follows.
        between: of one that results of tools follow, but no question.
        fills: an answer without thoughts gets empty ones while it is the latest.
        tags: closing tags in the template's text; in a content they may have a meaning.
    """

    earlier: Rewrite
    latest: Rewrite
    between: Rewrite
    fills: bool
    tags: re.Pattern[str] | None


def kept(content: str) -> str:
    """As it is."""
    return content


def dropped(content: str) -> str:
    """Without thoughts: Qwen3."""
    return content.rpartition(END)[2].lstrip("\n") if END in content else content


def cut(content: str) -> str:
    """Without thoughts, what follows untouched: DeepSeek-R1."""
    return content.rpartition(END)[2]


def stripped(content: str) -> str:
    """Without thoughts, and no spaces around what follows."""
    return content.rpartition(END)[2].strip() if END in content else content


def tidy(content: str) -> str:
    """Thoughts in lines of their own: Qwen3."""
    if END not in content:
        return content
    thought = content.partition(END)[0].rstrip("\n").rpartition("<think>")[2].strip("\n")
    answer = content.rpartition(END)[2].lstrip("\n")
    return f"<think>\n{thought}\n{END}\n\n{answer}"


def empty(content: str) -> str:
    """With empty thoughts where there are none: Qwen3."""
    return content if END in content else EMPTY + content.lstrip("\n")


def answer_of(text: str) -> str:
    """What is said after the thoughts."""
    return text.rpartition(END)[2].lstrip("\n") if END in text else text


def learn_thoughts(template: Template, before_answer: str) -> Thoughts:
    """Find out what a template does to thoughts; what is not known here is taken for untouched.

    Args:
        template: of the folder.
        before_answer: what stands before an answer in its format.

    Raises:
        TemplateFailure: it does not take such conversations.
    """
    user, answer = {"role": "user", "content": "What?"}, {"role": "assistant", "content": PROBE}
    tags = sorted(set(CLOSING.findall(template.text)))

    def first(rewrites: tuple[Rewrite, ...], rendering: str) -> Rewrite:
        return next((rewrite for rewrite in rewrites if before_answer + rewrite(PROBE) in rendering), kept)

    written = first((kept, tidy), template.render([user, answer], False))
    plain = template.render([user, {"role": "assistant", "content": "Bread."}], False)
    fills = before_answer + EMPTY + "Bread." in plain
    return Thoughts(
        first((kept, dropped, cut, stripped), template.render([user, answer, user], True)),
        (lambda content: empty(written(content))) if fills else written,
        written,
        fills,
        re.compile("|".join(map(re.escape, tags))) if tags else None,
    )
