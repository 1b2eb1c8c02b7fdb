import json
import subprocess

import numpy as np
import pytest
from corpus_files import ARABIC, ENGLISH, SPANISH, sentences

from diglot.corpus.characters import text_array
from diglot.corpus.identify import (
    LOW_CONFIDENCE,
    RIGHT,
    WRONG_LANGUAGE,
    identify,
    is_identifiable,
    load_model,
    verdicts,
)
from diglot.corpus.languages import NAMES, accepted_codes


def codes_of(texts, language="en"):
    found = identify(text_array([text.encode() for text in texts]), language)
    return [load_model().codes[i] if i >= 0 else None for i in found.language], found


def test_agrees_with_py3langid(data):
    """Same label, and same confidence, on clean text of up to 1000 bytes."""
    from unicodedata import is_normalized

    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    reference = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    lines = []
    for file in sorted((data / "eval" / "lid_lingua").iterdir())[:3]:
        tool = ["zstd", "-dc", file] if file.suffix == ".zst" else ["cat", file]
        lines += [
            json.loads(line) for line in subprocess.run(tool, capture_output=True).stdout.split(b"\n") if line
        ]
    texts = [line["text"] for line in lines[:: max(len(lines) // 1000, 1)]]
    texts = [t for t in texts if len(t.encode()) <= 1000 and not t.isupper() and is_normalized("NFC", t)]
    assert len(texts) > 300
    codes, found = codes_of(texts)
    expected = [reference.classify(text) for text in texts]
    same = [code == label for code, (label, _) in zip(codes, expected, strict=True) if code]
    assert np.mean(same) > 0.998
    close = [
        abs(c - p) < 1e-3 for code, c, (_, p) in zip(codes, found.confidence, expected, strict=True) if code
    ]
    assert np.mean(close) > 0.998


def test_verdicts():
    english, arabic, spanish = (sentences(words, 1) for words in (ENGLISH, ARABIC, SPANISH))
    texts = [
        english,
        arabic,
        spanish,
        "Hi.",
        "!!! 123",
        "مرحبا بكم في المدينة القديمة",
        "",
        "7 + 8 = 15 " * 50,
    ]
    array = text_array([text.encode() for text in texts])
    found = verdicts(array, identify(array, "en"), "en", 0.6).tolist()
    assert found == [
        RIGHT,
        WRONG_LANGUAGE,
        WRONG_LANGUAGE,
        RIGHT,
        RIGHT,
        WRONG_LANGUAGE,
        RIGHT,
        LOW_CONFIDENCE,
    ]
    assert verdicts(array, identify(array, "ar"), "ar", 0.6)[1] == RIGHT


def test_relatives_count_as_one_language():
    malay = "Kerajaan negeri itu telah mengumumkan bahawa beliau akan membantu rakyat yang terjejas. " * 4
    array = text_array([malay.encode()])
    for language in ("id", "ms"):
        found = identify(array, language)
        assert found.accepted[0] >= found.confidence[0]
        assert verdicts(array, found, language, 0.6)[0] == RIGHT
    assert accepted_codes("ar-EG") >= {"ar", "arz"}


def test_the_cut_never_splits_a_character_and_long_texts_are_fast_to_judge():
    texts = ["x" * shift + sentences(ARABIC, 3, 60) for shift in range(4)]
    assert codes_of(texts)[0] == ["ar"] * 4


@pytest.mark.parametrize(
    "language", ["en", "ar", "id", "zh", "ja", "th", "ko", "ru", "he", "vi", "nb", "zh-Hant"]
)
def test_the_languages_of_polylm_are_known(language):
    assert is_identifiable(language)
    assert language.split("-")[0] in NAMES


def test_an_unknown_language_is_not_identifiable():
    assert not is_identifiable("qqq")
