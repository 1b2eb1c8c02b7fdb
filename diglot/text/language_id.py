"""Language identification: py3langid's model (139 languages, in its wheel), or a fastText model that the user brings.

**Built in.** The model is langid.py's: a finite automaton over bytes finds features, and naive Bayes weighs them (Lui
and Baldwin 2012; retrained in py3langid). Our own kernel walks it. The score is softened by the square root of the
text's length, as py3langid does, so that short texts get low confidence. Text without small letters is lower-cased
(A to Z only), and its normalisation to NFC is left out.

Where a script tells the language (Thai, Hebrew, Hangul, Greek, …; kana for Japanese, Han without kana for Chinese),
the automaton is not asked if most of the text is in that script. That is faster, and for Chinese it is better: the
model takes one sentence of Mandarin in twenty for Wu, which hardly anyone writes; its Wu counts as Chinese here.
Text in Han characters with those that only Cantonese has (嘅, 咗, 喺, …) is left to the model.

    "The cat sat on the mat …"  en 0.99
    "Hi."                       en 0.2: too short to tell
    "แมวนั่งบนเสื่อ"               th 1.0: no other language has the script

**Compatibility forms.** Text in presentation forms of Arabic or Hebrew, in full-width or mathematical letters (as old PDFs
and vain nicknames have it) is identified by what it normalises to (NFKC). The text itself is not changed.

    "ﺍﻟﺨﺒﺎﺯ ﻳﺨﺒﺰ ﺍﻟﺨﺒﺰ"          ar, as "الخباز يخبز الخبز"

**Windows.** Of a text of more than 1200 bytes three windows of 400 bytes are looked at: the beginning, the middle and
the end. Probabilities are means over the windows in which anything was recognised: a text half in one language and
half in another has 0.33 to 0.67 for each, so it is seldom accepted at a cut of 0.6, and one odd window alone (a
bibliography, a menu) drops nothing.

**fastText.** `load_identifier("lid.176.bin")`, or GlotLID's `model.bin`: same windows, same rules; labels such as
`__label__arb_Arab` become our codes (`ar`; `ar-Latn` in a script that is not the language's usual one).

What a source is held to (`verdicts`): text identified as another language with the wanted confidence is in the
`wrong_language`; text that is not identified as the right one with that confidence has `low_confidence`. Near
relatives (Indonesian and Malay, …: see `languages.RELATIVES`) count as one language and their probabilities are
added, unless the source wants both of them. Under 200 bytes a low score means little: a short text of a source with
one language is dropped only as being in the wrong language; of a source with several, if none of them comes first.
"""

from __future__ import annotations

import functools
import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from diglot.base.errors import UserError
from diglot.text.forms import NUM_WINDOWS, WINDOW_BYTES, in_plain_forms, window_of
from diglot.text.languages import accepted_codes, base_code, codes_of_labels
from diglot.text.unicode import LETTER, character_tables, decode, kernel, text_buffers

WEIGHT_UNITS = 512  # exact: the wheel has float16, and half the memory is a third of the time
SHORT_BYTES = 200
RIGHT, WRONG_LANGUAGE, LOW_CONFIDENCE = range(3)

FASTTEXT_BEST = 20  # labels asked for by window; the rest has next to no probability
FASTTEXT_BATCH = 4096

# Scripts of one language each (of those that the model knows), by code points.
_SCRIPTS = {
    "th": [(0x0E01, 0x0E3A), (0x0E40, 0x0E4E)], "lo": [(0x0E80, 0x0EFF)], "he": [(0x0591, 0x05EF)],
    "ko": [(0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3)], "el": [(0x0370, 0x03E1)],
    "ka": [(0x10A0, 0x10FF), (0x1C90, 0x1CBF)], "hy": [(0x0531, 0x0588)], "km": [(0x1780, 0x17DD)],
    "my": [(0x1000, 0x109F)], "ta": [(0x0B80, 0x0BFF)], "te": [(0x0C00, 0x0C7F)], "kn": [(0x0C80, 0x0CFF)],
    "ml": [(0x0D00, 0x0D7F)], "gu": [(0x0A80, 0x0AFF)], "pa": [(0x0A00, 0x0A7F)], "or": [(0x0B00, 0x0B7F)],
    "si": [(0x0D80, 0x0DFF)], "ja": [(0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0xFF66, 0xFF9D)],
    "zh": [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)],
}  # fmt: skip
_CANTONESE_CHARACTERS = "嘅咗喺嚟冇啲佢哋唔嗰嘢噉乜嗮啱嗌攞揾瞓諗氹"
_NO_SCRIPT, _AMBIGUOUS, _CANTONESE, _FIRST_SCRIPT = range(4)
_SCRIPT_BYTES = 15  # five characters; fewer tell nothing (the Ω of a formula)
_HAN_BYTES = 30  # a name or a title in Han alone may be Japanese
_SCRIPT_SHARE = 0.5  # of the bytes of letters: names and terms in Latin letters stand in any text
_KANA_SHARE, _FOREIGN_KANA_SHARE = (0.2, 0.02)  # of kana and Han: Japanese has 0.4 to 0.7, Chinese quotes a name
_CANTONESE_SHARE = 0.01  # of Han: written Cantonese has 0.05 to 0.2 of these


class Model(NamedTuple):
    """The automaton, the weights and the scripts.

    Attributes:
        codes: language codes [languages].
        moves: int64, the automaton: at a state's row and a byte, the next state's row in the upper half, and the
            feature found plus one (0 is none) in the lower.
        first_row: int, of the state to begin in.
        weights: int16 [features, columns], in units of 1/512; prior: float32 [columns].
        factors: float32 [bytes of a text + 1], what a feature's weights count for by how often it occurs.
        code_of: int64 [columns], the language of each column (Serbian has two).
        script_of: uint8 [code points], what it says: `_NO_SCRIPT`, …, or `_FIRST_SCRIPT` + number of a script.
        code_of_script: int64 [scripts], its language; the last two are Japanese (kana) and Chinese (Han).
    """

    codes: list[str]
    moves: np.ndarray
    first_row: int
    weights: np.ndarray
    prior: np.ndarray
    factors: np.ndarray
    code_of: np.ndarray
    script_of: np.ndarray
    code_of_script: np.ndarray


class Identified(NamedTuple):
    """What texts were identified as.

    Attributes:
        language: int64 [documents], index into the identifier's `codes`, -1 where nothing was recognised.
        confidence: float64 [documents], probability of that language.
        accepted: float64 [documents, expected languages], probability of each language that was expected, with its
            relatives.
    """

    language: np.ndarray
    confidence: np.ndarray
    accepted: np.ndarray


class Identifier:
    """Tells languages apart; made by `load_identifier`.

    Attributes:
        codes: the languages it knows.
    """

    codes: list[str]

    def identify(self, texts: pa.Array, expected: list[str]) -> Identified:
        """Identify the language of texts.

        Args:
            texts: `large_string` array [documents].
            expected: the languages that are expected, for `accepted`.
        """
        return self._identify(in_plain_forms(texts), expected)

    def _identify(self, texts: pa.Array, expected: list[str]) -> Identified:
        """The same for texts without compatibility forms."""
        raise NotImplementedError

    def knows(self, language: str) -> bool:
        """Whether it knows a language or one that counts as the same."""
        return bool(self._accepted([language]).any())

    def _accepted(self, expected: list[str]) -> np.ndarray:
        """Which codes count as which expected language (bool [expected, codes])."""
        accepted = np.zeros((len(expected), len(self.codes)), np.bool_)
        for row, language in enumerate(expected):
            others = {base_code(other) for place, other in enumerate(expected) if place != row}
            wanted = {language} if language in self.codes else set()
            wanted |= accepted_codes(language) - (others - {base_code(language)})
            accepted[row] = [code in wanted for code in self.codes]
        return accepted

    def differs(self, identified: Identified, expected: list[str]) -> np.ndarray:
        """Which texts were identified as none of the expected languages and their relatives (bool [documents])."""
        among = np.append(self._accepted(expected).any(axis=0), True)  # nothing recognised: -1, the last
        return ~among[identified.language]

    def verdicts(
        self, texts: pa.Array, identified: Identified, expected: list[str], cut_offs: list[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Whether texts pass as texts of one of the expected languages.

        Args:
            texts: `large_string` array [documents].
            identified: what `identify` returned for them and the same `expected`.
            expected: languages.
            cut_offs: the confidence that each must have; 0 takes any text.

        Returns:
            int64 [documents], `RIGHT`, `WRONG_LANGUAGE` or `LOW_CONFIDENCE`; and int64 [documents], the place in
            `expected` of the language that is meant.
        """
        _, offsets = text_buffers(texts)
        cuts = np.array(cut_offs, np.float64)
        chosen = identified.accepted.argmax(axis=1)
        accepted = identified.accepted[np.arange(len(chosen)), chosen]
        differs = self.differs(identified, expected)
        wrong = differs & (identified.confidence >= cuts.max()) & (cuts[chosen] > 0)
        low = ~wrong & (accepted < cuts[chosen])
        undecided = differs | (identified.language < 0) if len(expected) > 1 else False
        low &= (np.diff(offsets) >= SHORT_BYTES) | undecided
        return np.where(wrong, WRONG_LANGUAGE, np.where(low, LOW_CONFIDENCE, RIGHT)), chosen

    def describe(self, identified: Identified, document: int, expected: list[str]) -> str:
        """One document's identification in words: `es 0.98, en 0.01`."""
        place = int(identified.language[document])
        if place < 0:
            return f"no language recognised (wanted {', '.join(expected)})"
        wanted = zip(expected, identified.accepted[document], strict=True)
        found = f"{self.codes[place]} {float(identified.confidence[document]):.2f}"
        return ", ".join([found, *(f"{language} {float(value):.2f}" for language, value in wanted)])


@functools.cache
def load_identifier(model_file: str | None = None) -> Identifier:
    """The built-in identifier, or one with a fastText model.

    Args:
        model_file: `lid.176.bin`, `.ftz`, GlotLID's `model.bin`, or a model trained by oneself.

    Raises:
        UserError: the file cannot be read, is not a fastText classifier, or fastText is not installed.
    """
    return _FastText(model_file) if model_file else _BuiltIn()


# --- built in -------------------------------------------------------------------------------------------------


@functools.cache
def load_model() -> Model:
    """The model of py3langid's wheel."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # start-up: not where a fastText model is brought

    source = LanguageIdentifier.from_model_file(MODEL_FILE)
    weights = np.round(source.nb_ptc.astype(np.float32) * WEIGHT_UNITS).astype(np.int16)
    next_states, rows = np.asarray(source.tk_nextmove), np.asarray(source.tk_row, np.int64) << 8
    occurrences = np.arange(NUM_WINDOWS * WINDOW_BYTES + 1, dtype=np.float32)
    classes = ["zh" if code == "wuu" else code for code in source.nb_classes]
    codes = list(dict.fromkeys(classes))
    return Model(
        codes=codes,
        moves=(rows[next_states] << 32) | (np.asarray(source.tk_output, np.int64) + 1)[next_states],
        first_row=int(rows[0]),
        weights=np.ascontiguousarray(weights),
        prior=np.asarray(source.nb_pc, np.float32),
        factors=np.log1p(occurrences) / np.float32(WEIGHT_UNITS),
        code_of=np.array([codes.index(code) for code in classes], np.int64),
        script_of=_script_table(),
        code_of_script=np.array([codes.index(code) for code in _SCRIPTS], np.int64),
    )


def _script_table() -> np.ndarray:
    classes, _ = character_tables()
    scripts = np.where(classes & LETTER != 0, _AMBIGUOUS, _NO_SCRIPT).astype(np.uint8)
    for number, ranges in enumerate(_SCRIPTS.values(), _FIRST_SCRIPT):
        for low, high in ranges:
            scripts[low : high + 1] = number
    scripts[[ord(character) for character in _CANTONESE_CHARACTERS]] = _CANTONESE
    return scripts


class _BuiltIn(Identifier):
    def __init__(self) -> None:
        self.codes = load_model().codes

    def _identify(self, texts: pa.Array, expected: list[str]) -> Identified:
        data, offsets = text_buffers(texts)
        number = len(texts)
        found = Identified(np.full(number, -1, np.int64), np.zeros(number), np.zeros((number, len(expected))))
        _identify_all(data, offsets, *load_model()[1:], self._accepted(expected), *found)
        return found


@kernel
def _identify_all(
    data, offsets, moves, first_row, weights, prior, factors, code_of, script_of, code_of_script,
    expected, language, confidence, accepted,
):  # fmt: skip
    """Identify texts; writes into the last three.

    data uint8, offsets int64 [documents + 1]; the model's arrays as in `Model`; expected bool [expected, codes];
    language int64, confidence float64 [documents], accepted float64 [documents, expected], which come in as zeros.
    What it must agree with is py3langid itself (`test_agrees_with_py3langid`).
    """
    counts = np.zeros(weights.shape[0], np.uint16)
    features = np.empty(NUM_WINDOWS * WINDOW_BYTES, np.int32)
    scores = np.empty(weights.shape[1], np.float32)
    bytes_of_script = np.empty(_FIRST_SCRIPT + len(code_of_script), np.int64)
    by_code = np.empty(expected.shape[1])
    for document in range(len(offsets) - 1):
        windows, by_code[:] = 0, 0.0
        start, end = offsets[document], offsets[document + 1]
        number = 1 if end - start <= NUM_WINDOWS * WINDOW_BYTES else NUM_WINDOWS
        for window in range(number):
            first, last = start, end
            if number > 1:
                first, last = window_of(data, start, end, window)
            # A script that only one language has answers for the window, without the automaton.
            script = _telling_script(data, first, last, script_of, bytes_of_script)
            if script >= 0:
                by_code[code_of_script[script]] += 1.0
                windows += 1
            else:
                case = 32 if _is_all_capitals(data, first, last) else 0
                found = _walk(data, first, last, case, moves, first_row, counts, features)
                if found > 0:
                    scores[:] = prior
                    _weigh(features[:found], counts, weights, factors, scores)
                    _add_probabilities(scores, np.float32(np.sqrt(last - first)), code_of, by_code)
                    windows += 1
        if windows == 0:
            continue
        # The mean over windows: one odd window alone, such as a bibliography, decides nothing.
        by_code /= windows
        language[document] = by_code.argmax()
        confidence[document] = by_code.max()
        for row in range(len(expected)):
            for code in range(len(by_code)):
                if expected[row, code]:
                    accepted[document, row] += by_code[code]


@kernel
def _telling_script(data, start, end, script_of, bytes_of_script):
    """The number of the script that tells the language of a text, from 0, or -1.

    data uint8, script_of uint8 [code points]; bytes_of_script int64 [scripts] is room to count in.
    """
    bytes_of_script[:] = 0
    at = start
    while at < end:
        if data[at] < 0x80:
            bytes_of_script[script_of[data[at]]] += 1
            at += 1
            continue
        code, size = decode(data, at)
        bytes_of_script[script_of[code]] += size
        at += size
    letters = bytes_of_script[_AMBIGUOUS:].sum()
    cantonese, kana = bytes_of_script[_CANTONESE], bytes_of_script[-2]
    han = bytes_of_script[-1] + cantonese
    # Japanese has both, Chinese next to no kana; what lies between is left to the automaton.
    if kana + han >= _SCRIPT_BYTES and kana + han >= _SCRIPT_SHARE * letters:
        if kana >= _KANA_SHARE * (kana + han):
            return len(bytes_of_script) - _FIRST_SCRIPT - 2
        if han >= _HAN_BYTES and kana <= _FOREIGN_KANA_SHARE * han and cantonese <= _CANTONESE_SHARE * han:
            return len(bytes_of_script) - _FIRST_SCRIPT - 1
        return -1
    # At most one script can have half of the letters' bytes, so the first that does is the one.
    for script in range(_FIRST_SCRIPT, len(bytes_of_script) - 2):
        if bytes_of_script[script] >= max(_SCRIPT_BYTES, _SCRIPT_SHARE * letters):
            return script - _FIRST_SCRIPT
    return -1


@kernel
def _is_all_capitals(data, start, end):
    """Whether a text has no small ASCII letters. data uint8."""
    for at in range(start, end):
        if 97 <= data[at] <= 122:
            return False
    return True


@kernel
def _walk(data, start, end, case, moves, row, counts, features):
    """Run the automaton over bytes, adding `case` to capitals, and count features; returns how many it found.

    data uint8, moves int64; counts uint16 [features], zeros; features int32, room for those found.
    """
    number = 0
    for at in range(start, end):
        byte = np.int64(data[at])
        if 65 <= byte <= 90:
            byte += case
        move = moves[row + byte]
        row, feature = move >> 32, (move & 0xFFFFFFFF) - 1
        if feature >= 0:
            if counts[feature] == 0:
                features[number] = feature
                number += 1
            counts[feature] += 1
    return number


@kernel
def _weigh(features, counts, weights, factors, scores):
    """Add the weights of features to the scores, and set their counts back to zero.

    features int32 [found], counts uint16, weights int16 [features, columns], factors and scores float32.
    """
    for feature in features:
        factor = factors[counts[feature]]
        counts[feature] = 0
        row = weights[feature]
        for column in range(len(scores)):
            scores[column] += factor * np.float32(row[column])


@kernel
def _add_probabilities(scores, temperature, code_of, by_code):
    """Add the probabilities of the languages to `by_code`; the scores are used up.

    scores float32 and code_of int64 [columns], by_code float64 [codes].
    """
    highest, total = scores.max(), np.float32(0.0)
    for column in range(len(scores)):
        scores[column] = np.exp((scores[column] - highest) / temperature)
        total += scores[column]
    for column in range(len(scores)):
        by_code[code_of[column]] += scores[column] / total


# --- fastText -------------------------------------------------------------------------------------------------


class _FastText(Identifier):
    def __init__(self, model_file: str) -> None:
        self._model = _load_fasttext(Path(model_file).expanduser())
        labels = list(self._model.labels)
        names = codes_of_labels([label.removeprefix("__label__") for label in labels])
        self.codes = list(dict.fromkeys(names))
        self._code_of = {label: self.codes.index(name) for label, name in zip(labels, names, strict=True)}

    def _identify(self, texts: pa.Array, expected: list[str]) -> Identified:
        number = len(texts)
        found = Identified(np.full(number, -1, np.int64), np.zeros(number), np.zeros((number, len(expected))))
        accepted = self._accepted(expected)
        for start in range(0, number, FASTTEXT_BATCH):
            stop = min(start + FASTTEXT_BATCH, number)
            by_code = self._probabilities(texts.slice(start, stop - start))
            known = by_code.any(axis=1)
            found.language[start:stop] = np.where(known, by_code.argmax(axis=1), -1)
            found.confidence[start:stop] = by_code.max(axis=1)
            found.accepted[start:stop] = by_code @ accepted.T
        return found

    def _probabilities(self, texts: pa.Array) -> np.ndarray:
        """float64 [documents, codes], means over windows; zeros where there is no text."""
        data, offsets = text_buffers(texts)
        windows: list[str] = []
        owners: list[int] = []
        for document in range(len(texts)):
            start, end = int(offsets[document]), int(offsets[document + 1])
            long = end - start > NUM_WINDOWS * WINDOW_BYTES
            spans = [window_of(data, start, end, i) for i in range(NUM_WINDOWS)] if long else [(start, end)]
            for first, last in spans:
                text = " ".join(bytes(data[first:last]).decode().split())
                if text:
                    windows.append(text)
                    owners.append(document)
        result = np.zeros((len(texts), len(self.codes)))
        counts = np.bincount(np.array(owners, np.int64), minlength=len(texts))
        if windows:
            labels, values = self._model.predict(windows, k=min(FASTTEXT_BEST, len(self._code_of)))
            for owner, names, shares in zip(owners, labels, values, strict=True):
                for name, share in zip(names, shares, strict=True):
                    result[owner, self._code_of[name]] += share
        return np.minimum(result / np.maximum(counts, 1)[:, None], 1.0)  # fastText's exceed 1 by rounding


def _load_fasttext(file: Path) -> Any:
    try:
        known = is_fasttext(file)
    except OSError as error:
        raise UserError(f"language_model: cannot read {file}: {error.strerror}; give the path of a model") from error
    if not known:
        raise UserError(
            f"language_model: {file} is not a fastText model; give one such as lid.176.bin, lid.176.ftz, or GlotLID's "
            "model.bin"
        )
    if not is_whole(file):
        raise UserError(f"language_model: {file} was cut off, or has grown; download it again")
    try:
        import fasttext  # extra: language
    except ImportError as error:
        raise UserError("language_model: a fastText model needs fastText: pip install 'diglot[language]'") from error
    model = fasttext.load_model(str(file))
    try:
        model.predict(["text"])
    except ValueError as error:
        raise UserError(
            f"language_model: {file} holds word vectors, no classifier; give a model that was trained on labels"
        ) from error
    return model


MAGIC = 793712314


SETTINGS = 12 * 4 + 8


ENTRY_REST = 8 + 1  # count and type, behind the name and its 0


CENTROIDS = 256


def is_fasttext(file: Path) -> bool:
    """Whether a file begins as a fastText model does.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        return stream.read(4) == struct.pack("<i", MAGIC)


def is_whole(file: Path) -> bool:
    """Whether a fastText model ends where its sizes say."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _Reader(data).end_of_model() == len(data)
        except (struct.error, ValueError):  # cut off within a number, or no 0 behind a name
            return False


class _Reader:
    def __init__(self, data: mmap.mmap):
        self.data = data
        self.at = 8 + SETTINGS

    def take(self, form: str) -> tuple:
        """The next numbers."""
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def end_of_model(self) -> int:
        """Where the model ends."""
        entries, _, _, _, pruned = self.take("iiiqq")
        for _ in range(entries):
            end_of_name = self.data.find(b"\0", self.at)
            if end_of_name < 0:
                raise ValueError("a name has no end")
            self.at = end_of_name + 1 + ENTRY_REST
        self.at += 8 * max(pruned, 0)
        (quantized,) = self.take("?")
        self.skip_matrix(quantized)
        (output_too,) = self.take("?")
        self.skip_matrix(quantized and output_too)
        return self.at

    def skip_matrix(self, quantized: bool) -> None:
        """Skip a matrix of floats, or one of codes with its centroids."""
        with_norms = quantized and self.take("?")[0]
        rows, columns = self.take("qq")
        if not quantized:
            self.at += 4 * rows * columns
            return
        (codes,) = self.take("i")
        self.at += codes
        self.skip_centroids()
        if with_norms:
            self.at += rows
            self.skip_centroids()

    def skip_centroids(self) -> None:
        """Skip a product quantizer."""
        columns, _, _, _ = self.take("iiii")
        self.at += 4 * CENTROIDS * columns
