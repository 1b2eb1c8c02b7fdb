"""Language consistency: whether answers are in the language in which they were asked for.

    asked (ar)               answered
    ما عاصمة مصر؟             عاصمة مصر هي القاهرة.                  right
    ما عاصمة مصر؟             The capital of Egypt is Cairo.          wrong: another language
    ما عاصمة مصر؟             Cairo                                   wrong: another script; no identifier needed
    What is 6 × 7?           42                                      None: it holds no letter
    Name the city.           Roma                                    None: too short to tell one Latin language from another

The share of right ones among those that can be told is the language consistency of a model. Questions that ask for another
language (translations) or for code belong into no such share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from diglot.text.language_id import RIGHT, load_identifier
from diglot.text.scripts import is_letter, scripts_in

CONFIDENCE = 0.6  # of the identifier, as for what is curated


def in_language(
    answers: Sequence[str], language: str, asked: Sequence[str] | None = None, confidence: float = CONFIDENCE
) -> list[bool | None]:
    """Whether each answer is in a language.

    Args:
        answers: texts.
        language: that they should be in; near relatives count as the same.
        asked: for each answer a text in that language (the question, or a reference answer), whose scripts it must share.
        confidence: with which an answer must be identified, at least.

    Returns:
        For each answer True, False, or None where it cannot be told: no letters, a language that is not known, or a short
        text which might be in another one of the same script.
    """
    identifier = load_identifier()
    texts, wanted = pa.array(answers, pa.large_string()), [language]
    known = identifier.knows(language)
    identified = identifier.identify(texts, wanted)
    verdicts, _ = identifier.verdicts(texts, identified, wanted, [confidence])
    differs = identifier.differs(identified, wanted)
    found: list[bool | None] = []
    for place, answer in enumerate(answers):
        # Before anything is identified: an answer without a letter of the question's scripts is in no language of theirs.
        scripts = scripts_in(Counter(answer))
        expected = scripts_in(Counter(asked[place])) if asked is not None else scripts
        if not any(map(is_letter, answer)):
            found.append(None)
        elif scripts and expected and scripts.isdisjoint(expected):
            found.append(False)
        elif not known:
            found.append(None)
        elif verdicts[place] != RIGHT:  # short texts are only ever WRONG_LANGUAGE, long ones may also be LOW_CONFIDENCE
            found.append(False)
        else:
            found.append(None if differs[place] else True)
    return found


def share_right(found: Sequence[bool | None]) -> float | None:
    """The share of right ones among those that could be told; None of none."""
    told = [one for one in found if one is not None]
    return sum(told) / len(told) if told else None
