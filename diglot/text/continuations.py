"""Choice items made of plain documents: which words come next? For evaluation, and for what training measures on its way.

They need no annotation, their chance level is a quarter, and they rise early in training: they carry a signal at sizes at
which exam questions do not. All four choices are of the same length in words and of the same language, so that neither
length nor script gives the answer away. Not for languages that are written without spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

PROMPT_WORDS, CHOICE_WORDS, NUM_CHOICES = 30, 8, 4


def continuations(documents: Sequence[tuple[str, str]], random: Random) -> list[dict[str, Any]]:
    """An item of every document that is long enough: `id`, `prompt`, `choices` and `answer`.

    Args:
        documents: id and text of each, all of one language.
        random: draws the wrong choices, from the others' words at the same place, and where the right one stands.
    """
    cut = [(id, text.split()) for id, text in documents]
    cut = [(id, words) for id, words in cut if len(words) >= PROMPT_WORDS + CHOICE_WORDS]
    made: list[dict[str, Any]] = []
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
