"""Test items made from held-out text, for languages and data without a benchmark of their own.

    continuation-ar     the first words of a held-out document, then its own next words or those of three others
    translate-into-ar   a held-out pair, written as in training up to the second text, which is to be generated

Continuations need no annotation, their chance level is a quarter, and they rise early in training: they carry a
signal at sizes at which exam questions do not. All four choices are of the same length in words and of the same
language, so that neither length nor script gives the answer away. Languages written without spaces are left out.
"""

from __future__ import annotations

from random import Random

from diglot.evaluate.items import Item
from diglot.read.corpus import two_sides
from diglot.recipe.evaluate import Task
from diglot.text.languages import is_unspaced

PROMPT_WORDS, CHOICE_WORDS, NUM_CHOICES = 30, 8, 4
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
        texts = [document for document in plain if document["language"] == language]
        made = _continuations(texts, Random(f"{seed}/continuation/{language}"))[:continuations]
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


def _continuations(documents: list[dict[str, str]], random: Random) -> list[Item]:
    cut = [(document["id"], document["text"].split()) for document in documents]
    cut = [(id, words) for id, words in cut if len(words) >= PROMPT_WORDS + CHOICE_WORDS]
    made: list[Item] = []
    # All four choices are equally long and of one language, so neither length nor script gives the answer away.
    for number, (id, words) in enumerate(cut):
        others = [" ".join(other[PROMPT_WORDS : PROMPT_WORDS + CHOICE_WORDS]) for _, other in cut]
        right = others.pop(number)
        wrong = sorted({text for text in others if text != right})
        if len(wrong) < NUM_CHOICES - 1:
            continue
        choices = random.sample(wrong, NUM_CHOICES - 1)
        answer = random.randrange(NUM_CHOICES)
        choices.insert(answer, right)
        made.append({"id": id, "prompt": " ".join(words[:PROMPT_WORDS]), "choices": choices, "answer": answer})
    return made
