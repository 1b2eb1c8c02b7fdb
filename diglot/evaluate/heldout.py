"""Test items made from held-out text, for languages and data without a benchmark of their own.

    continuation-ar     the first words of a held-out document, then its own next words or those of three others
    translate-into-ar   a held-out pair, written as in training up to the second text, which is to be generated

How continuations are made: `diglot/text/continuations.py`. Languages written without spaces are left out.
"""

from __future__ import annotations

from random import Random

from diglot.evaluate.items import Item
from diglot.read.corpus import two_sides
from diglot.recipe.evaluate import Task
from diglot.text.continuations import continuations as make_continuations
from diglot.text.languages import is_unspaced

MAX_NEW_TOKENS = 96


def held_out_tasks(
    documents: list[dict[str, str]], continuations: int, translations: int, seed: str
) -> tuple[dict[str, Task], dict[str, list[Item]]]:
    """Tasks and their items from held-out documents.

    Args:
        documents: of all sources, with `id`, `text`, `language`, `source`, `domain`.
        continuations: items a language, at most.
        translations: items a direction, at most.
        seed: choices and their order come from it.
    """
    tasks: dict[str, Task] = {}
    items: dict[str, list[Item]] = {}
    plain = [document for document in documents if document["domain"] != "parallel"]
    languages = sorted({document["language"] for document in plain if not is_unspaced(document["language"])})
    for language in languages if continuations else []:
        texts = [(document["id"], document["text"]) for document in plain if document["language"] == language]
        made = make_continuations(texts, Random(f"{seed}/continuation/{language}"))[:continuations]
        if made:
            name = f"continuation-{language}"
            tasks[name], items[name] = Task(path="", language=language), made
    for document in documents if translations else []:
        pair = _pair(document["text"]) if document["domain"] == "parallel" else None
        if pair is None:
            continue
        prompt, language, reference = pair
        name = f"translate-into-{language}"
        tasks[name] = Task(path="", language=language, kind="generation", max_new_tokens=MAX_NEW_TOKENS)
        made = items.setdefault(name, [])
        if len(made) < translations:
            made.append({"id": document["id"], "prompt": prompt, "reference": reference})
    return tasks, items


def _pair(text: str) -> tuple[str, str, str] | None:
    """A bilingual document cut before its second text: prompt, language and reference; None if not of two lines."""
    sides = two_sides(text)
    if sides is None:
        return None
    language, reference = sides[1]
    return text[: -len(reference)].rstrip(" "), language, reference
