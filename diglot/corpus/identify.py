"""Language identification: py3langid's model (140 languages, in its wheel), walked by our own kernel.

The model is langid.py's: a finite automaton over bytes finds features, and naive Bayes weighs them (Lui and Baldwin
2012; retrained in py3langid). A document's score is taken over its first 1000 bytes or so, and softened by the
square root of its length, as py3langid does, so that short texts get low confidence. Text without small letters is
lower-cased, like py3langid's (here only A to Z); its normalisation to NFC is left out.

    "The cat sat on the mat …"  en 0.99
    "Hi."                       en 0.2: too short to tell

What a source is held to (`verdicts`): text identified as another language with the wanted confidence is in the
`wrong_language`; text that is not identified as the right one with that confidence has `low_confidence`. Near
relatives (Indonesian and Malay, …: see `languages.RELATIVES`) count as one language and their probabilities are
added. Under 200 bytes a low score means little: a short text is dropped only as being in the wrong language.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from diglot.corpus.characters import kernel, text_buffers
from diglot.corpus.languages import accepted_codes, base_code

LOOK_AT_BYTES = 1000
SHORT_BYTES = 200
RIGHT, WRONG_LANGUAGE, LOW_CONFIDENCE = range(3)


class Model(NamedTuple):
    """The automaton and the weights.

    Attributes:
        codes: language codes [languages].
        next_state, row_start, feature_of: the automaton; feature -1 is none.
        weights: float32 [features, columns]; prior: float32 [columns].
        code_of: int64 [columns], the language of each column (Serbian has two).
    """

    codes: list[str]
    next_state: np.ndarray
    row_start: np.ndarray
    feature_of: np.ndarray
    weights: np.ndarray
    prior: np.ndarray
    code_of: np.ndarray


class Identified(NamedTuple):
    """What texts were identified as.

    Attributes:
        language: int64 [documents], index into `load_model().codes`, -1 where nothing was recognised.
        confidence: float64 [documents], probability of that language.
        accepted: float64 [documents], probability of the language that was expected and its relatives.
    """

    language: np.ndarray
    confidence: np.ndarray
    accepted: np.ndarray


@functools.cache
def load_model() -> Model:
    """The model of py3langid's wheel."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    source = LanguageIdentifier.from_model_file(MODEL_FILE)
    codes = list(dict.fromkeys(source.nb_classes))
    return Model(
        codes=codes,
        next_state=np.asarray(source.tk_nextmove, np.int32),
        row_start=np.asarray(source.tk_row, np.int64) << 8,
        feature_of=np.asarray(source.tk_output, np.int32),
        weights=np.ascontiguousarray(source.nb_ptc, np.float32),
        prior=np.asarray(source.nb_pc, np.float32),
        code_of=np.array([codes.index(code) for code in source.nb_classes], np.int64),
    )


def is_identifiable(language: str) -> bool:
    """Whether the model knows a language or one that counts as the same."""
    return bool(accepted_codes(language) & set(load_model().codes))


def identify(texts: pa.Array, language: str = "en") -> Identified:
    """Identify the language of texts.

    Args:
        texts: `large_string` array [documents].
        language: the language that is expected, for `accepted`.
    """
    model = load_model()
    data, offsets = text_buffers(texts)
    expected = np.array([code in accepted_codes(language) for code in model.codes])
    result = Identified(np.full(len(texts), -1, np.int64), np.zeros(len(texts)), np.zeros(len(texts)))
    _identify_all(
        data, offsets, model.next_state, model.row_start, model.feature_of, model.weights, model.prior,
        model.code_of, expected, result.language, result.confidence, result.accepted,
    )  # fmt: skip
    return result


def differs(identified: Identified, language: str) -> np.ndarray:
    """Which texts were identified as another language than one and its relatives (bool [documents])."""
    same = np.array([*(code in accepted_codes(language) for code in load_model().codes), True])
    return ~same[identified.language]


def verdicts(texts: pa.Array, identified: Identified, language: str, min_confidence: float) -> np.ndarray:
    """Whether texts pass as texts of a language: `RIGHT`, `WRONG_LANGUAGE` or `LOW_CONFIDENCE` (int64 [documents])."""
    _, offsets = text_buffers(texts)
    wrong = differs(identified, language) & (identified.confidence >= min_confidence)
    low = ~wrong & (np.diff(offsets) >= SHORT_BYTES) & (identified.accepted < min_confidence)
    return np.where(wrong, WRONG_LANGUAGE, np.where(low, LOW_CONFIDENCE, RIGHT))


def describe(identified: Identified, document: int, language: str) -> str:
    """One document's identification in words."""
    place = int(identified.language[document])
    if place < 0:
        return f"no language recognised (wanted {base_code(language)})"
    confidence = float(identified.confidence[document])
    return f"{load_model().codes[place]} {confidence:.2f}, {base_code(language)} {float(identified.accepted[document]):.2f}"


@kernel
def _identify_all(
    data, offsets, next_state, row_start, feature_of, weights, prior, code_of, expected,
    language, confidence, accepted,
):  # fmt: skip
    num_columns = weights.shape[1]
    counts = np.zeros(weights.shape[0], np.int32)
    features = np.empty(LOOK_AT_BYTES, np.int32)
    scores = np.empty(num_columns, np.float32)
    by_code = np.empty(len(expected))
    for document in range(len(offsets) - 1):
        start, end = offsets[document], min(offsets[document + 1], offsets[document] + LOOK_AT_BYTES)
        if end < offsets[document + 1]:
            while end > start and (data[end] & 0xC0) == 0x80:  # not within a character
                end -= 1
        case = 32 if _is_all_capitals(data, start, end) else 0
        number = _walk(data, start, end, case, next_state, row_start, feature_of, counts, features)
        if number == 0:
            continue
        scores[:] = prior
        for i in range(number):
            weight = np.float32(np.log1p(np.float32(counts[features[i]])))
            counts[features[i]] = 0
            row = weights[features[i]]
            for column in range(num_columns):
                scores[column] += weight * row[column]
        temperature = np.sqrt(end - start)
        highest = scores.max()
        by_code[:] = 0.0
        for column in range(num_columns):
            by_code[code_of[column]] += np.exp((scores[column] - highest) / temperature)
        by_code /= by_code.sum()
        language[document] = by_code.argmax()
        confidence[document] = by_code.max()
        accepted[document] = by_code[expected].sum()


@kernel
def _is_all_capitals(data, start, end):
    """Whether a text has no small ASCII letters."""
    for at in range(start, end):  # noqa: SIM110 (numba compiles no generators)
        if 97 <= data[at] <= 122:
            return False
    return True


@kernel
def _walk(data, start, end, case, next_state, row_start, feature_of, counts, features):
    """Run the automaton over bytes, adding `case` to capitals, and count features; returns how many it found."""
    state = number = 0
    for at in range(start, end):
        byte = np.int64(data[at])
        if 65 <= byte <= 90:
            byte += case
        state = next_state[row_start[state] + byte]
        feature = feature_of[state]
        if feature >= 0:
            if counts[feature] == 0:
                features[number] = feature
                number += 1
            counts[feature] += 1
    return number
