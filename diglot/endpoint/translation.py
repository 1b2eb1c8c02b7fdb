"""Judging what a model server wrote: its language, and of translations what the server says of them and their length."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.endpoint.client import Completion
from diglot.recipe.translate import Translating
from diglot.text.language_id import LOW_CONFIDENCE, SHORT_BYTES, WRONG_LANGUAGE, load_identifier
from diglot.text.parallel import lengths_differ

COPY_CHARACTERS = 30  # shorter texts, such as names, may well be the same in both languages
RETRY_TEMPERATURE = 0.5  # the same request at temperature 0 has the same answer


class Failure(NamedTuple):
    """Why a text has no translation."""

    reason: str
    detail: str


def check_settings(settings: Translating) -> None:
    """Refuse what cannot be asked for, or not be checked.

    Raises:
        UserError: a setting is impossible, or the language of the answers is not known to the identifier.
    """
    for key, wrong in settings.impossible():
        raise UserError(f"{key}: {wrong}")
    check_known("target_language", settings.target_language, settings.language_confidence)


def check_known(key: str, language: str, confidence: float) -> None:
    """Refuse a language that `check_language` could not tell.

    Args:
        key: of the setting that names it.
        language: of the answers.
        confidence: of the identifier, at least; 0: nothing is checked.

    Raises:
        UserError: the identifier does not know it.
    """
    if confidence > 0 and not load_identifier().knows(language):
        raise UserError(
            f"{key}: the built-in identifier does not know {language!r}; correct it, or set language_confidence: 0 to "
            "take the answers in whatever language they are"
        )


def judge(source: str, answer: Completion | None) -> str | Failure:
    """A translation without white space around it, as far as can be said without knowing languages.

    Args:
        source: what was to be translated.
        answer: the server's; None: it refused.

    Returns:
        The text, or a Failure: refused, cut_off, empty_answer, untranslated (the source again), length_ratio.
    """
    if answer is None or answer.finish_reason == "content_filter":
        return Failure("refused", "the server did not answer this" if answer is None else "content_filter")
    text = answer.text.strip()
    if answer.finish_reason == "length":
        return Failure(
            "cut_off", f"after {answer.completion_tokens} tokens (max_tokens, max_characters): …{text[-60:]}"
        )
    if not text:
        return Failure("empty_answer", "")
    if len(source) >= COPY_CHARACTERS and " ".join(text.split()) == " ".join(source.split()):
        return Failure("untranslated", "the answer is the source")
    if lengths_differ(source, text):
        return Failure("length_ratio", f"{len(source):,} characters became {len(text):,}: {excerpt(text[:120])}")
    return text


def check_language(texts: list[str], asked_in: str, wanted_language: str, confidence: float) -> list[Failure | None]:
    """What is wrong with the language of answers: wrong_language, low_confidence; None: nothing.

    Short ones fail only if they are in the language that the model was given, where one that goes astray stays: of real
    translations under 200 bytes up to 2% (Japanese) are identified as a third language, a neighbour mostly.

    Args:
        texts: the answers.
        asked_in: the language of what was translated, or of the prompt.
        wanted_language: what they should be in.
        confidence: of the identifier, at least; 0: nothing is checked.
    """
    if confidence == 0 or not texts:
        return [None] * len(texts)
    array, wanted, identifier = pa.array(texts, pa.large_string()), [wanted_language], load_identifier()
    identified = identifier.identify(array, wanted)
    verdicts, _ = identifier.verdicts(array, identified, wanted, [confidence])
    foreign = identifier.differs(identified, [asked_in])
    reasons = {WRONG_LANGUAGE: "wrong_language", LOW_CONFIDENCE: "low_confidence"}
    failures: list[Failure | None] = [None] * len(texts)
    for place in np.flatnonzero(verdicts).tolist():
        # A short text fails only where it is in the language of what was asked.
        if len(texts[place].encode()) >= SHORT_BYTES or not foreign[place]:
            details = identifier.describe(identified, place, wanted)
            failures[place] = Failure(reasons[int(verdicts[place])], details)
    return failures
