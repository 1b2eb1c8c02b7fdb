"""Tasks that a model wrote: the prompt that asks for them, its answer read into tasks, and what is wrong with them.

A task is Alpaca's: instruction, input, output. The prompt (tasks.yaml) shows some and asks for more in the same form:

    4. Instruction: …
    4. Input:
    …                      <noinput> where the instruction says it all
    4. Output:
    …

What a model writes is data: whatever stands in a task, nobody here does what it says.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import yaml

from diglot.align.rouge import cut_words, rouge_l
from diglot.text.languages import language_name

MARK = re.compile(r"^[ \t>#*`]*(\d{1,3})[ \t]*[.):][ \t*]*(instruction|input|output)[ \t*]*[:：][ \t*]*", re.I | re.M)
FENCE = re.compile(r"^\s*```\w*|```\s*$|(?<=\n)[ \t]*(?:###|-{3,})\s*$")
# In the words of those who are asked for it, and of those who translate it, or a dash; but brackets, emoji and Morse code are
# inputs. What stands before the words is possessive: a model that writes signs without end would be read for minutes.
NO_INPUT = re.compile(
    r"[-–—_.…]{0,3}|<>|\"\"|''"
    r"|[\W_]*+(?:no\s*-?_?\s*inputs?|inoinput|n/?a|none|not (?:applicable|required|needed)"
    r"|لا (?:يوجد|توجد)(?: مدخلات?| إدخال)?|بدون (?:مدخلات?|إدخال)"
    r"|tidak ada(?: masukan| input)?|tanpa (?:masukan|input))[\W_]*",
    re.I,
)
LINK = re.compile(r"https?://|\bwww\.\w", re.I)


class Task(NamedTuple):
    """An instruction, what it is about (empty where the instruction says it all), and the answer."""

    instruction: str
    input: str
    output: str


class Rejected(NamedTuple):
    """What a model wrote and is not taken, and why."""

    reason: str
    text: str
    detail: str = ""


def read_tasks(answer: str, is_cut_off: bool) -> list[Task | Rejected]:
    """The tasks in a model's answer, in order.

    Args:
        answer: the text.
        is_cut_off: whether it ended because it was too long: its last task is not whole then (PolyLM 4.2).

    Returns:
        Tasks, and what is none: `format` (a part is missing, empty, there twice or out of order), `cut_off`. An answer without
        any sign of a task is one `format`.
    """
    marks = list(MARK.finditer(answer))
    if not marks:
        return [Rejected("format", answer, "no task in the answer")]
    # Marks of one task follow each other and have its number.
    groups: list[list[int]] = []
    for place, mark in enumerate(marks):
        is_first = mark[2].lower() == "instruction"
        if is_first or not groups or mark[1] != marks[groups[-1][0]][1]:
            groups.append([])
        groups[-1].append(place)
    ends = [mark.start() for mark in marks[1:]] + [len(answer)]
    found = [_task(answer, [marks[place] for place in group], [ends[place] for place in group]) for group in groups]
    if is_cut_off:
        last = answer[marks[groups[-1][0]].start() :]
        found[-1] = Rejected("cut_off", last, "the answer ended before the task did")
    return found


def _task(answer: str, marks: list[re.Match[str]], ends: list[int]) -> Task | Rejected:
    text = answer[marks[0].start() : ends[-1]]
    names = [mark[2].lower() for mark in marks]
    if names != ["instruction", "input", "output"]:
        return Rejected("format", text, f"has {', '.join(names)}")
    parts = [FENCE.sub("", answer[mark.end() : end]).strip() for mark, end in zip(marks, ends)]
    task = Task(parts[0], "" if NO_INPUT.fullmatch(parts[1]) else parts[1], parts[2])
    if not any(map(str.isalnum, task.instruction)) or NO_INPUT.fullmatch(task.instruction):
        return Rejected("format", text, "no instruction")
    return task if task.output else Rejected("format", text, "no output")


def check_task(task: Task, language: str, input_limit: float, max_characters: int) -> tuple[Task, bool] | Rejected:
    """Check a task by itself (PolyLM A.2).

    Args:
        task: as the model wrote it.
        language: what it should be in.
        input_limit: ROUGE-L of instruction and input above which the one only repeats the other.
        max_characters: of all three together.

    Returns:
        The task, and whether its input was taken away because the instruction holds it; or `link`, `too_long`,
        `input_repeated`.
    """
    whole = "\n".join(part for part in task if part)
    if link := LINK.search(whole):
        return Rejected("link", whole, whole[link.start() :][:80])
    if len(whole) > max_characters:
        return Rejected("too_long", whole, f"{len(whole):,} characters")
    if not task.input:
        return task, False
    if _plain(task.input) in _plain(task.instruction):
        return task._replace(input=""), True
    score = rouge_l(*cut_words([task.instruction, task.input], language))
    if score > input_limit:
        return Rejected("input_repeated", whole, f"ROUGE-L of instruction and input is {score:.2f}")
    return task, False


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


@functools.cache
def _prompts() -> dict[str, str]:
    text: dict[str, str] = yaml.safe_load(resources.files("diglot.align").joinpath("tasks.yaml").read_text("utf-8"))
    return text


def write_prompt(language: str, shown: Sequence[Task], count: int) -> str:
    """The prompt that asks for tasks.

    Args:
        language: what they should be in.
        shown: demonstrations.
        count: tasks in the prompt and its answer together.
    """
    prompts = _prompts()
    start = prompts["start"].format(language=language_name(language), count=count, shown=len(shown))
    examples = [prompts["task"].format(number=n, **_written(task)) for n, task in enumerate(shown, 1)]
    end = prompts["end"].format(language=language_name(language), left=count - len(shown), first=len(shown) + 1)
    return "\n".join([start, *examples, end])


def _written(task: Task) -> dict[str, str]:
    return {**task._asdict(), "input": task.input or "<noinput>"}
