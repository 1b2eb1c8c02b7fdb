"""Languages are told apart as py3langid does or better, in scripts of their own and in mixed text, and by fastText."""

import json
import string
import subprocess
import unicodedata
from unicodedata import is_normalized

import numpy as np
import pyarrow as pa
import pytest
from corpus_files import ARABIC, ENGLISH, SPANISH, sentences
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.text.language_id import (
    LOW_CONFIDENCE,
    NUM_WINDOWS,
    RIGHT,
    WINDOW_BYTES,
    WRONG_LANGUAGE,
    in_plain_forms,
    load_identifier,
)
from diglot.text.languages import NAMES, accepted_codes, codes_of_labels

IDENTIFIER = load_identifier()
NTREX = {
    "eng": "en", "arb": "ar", "deu": "de", "spa": "es", "fra": "fr", "ita": "it", "por": "pt", "por-BR": "pt",
    "jpn": "ja", "vie": "vi", "ind": "id", "pol": "pl", "nld": "nl", "tur": "tr", "tha": "th", "heb": "he",
    "kor": "ko", "rus": "ru", "zho-CN": "zh",
}  # fmt: skip


def array_of(*texts):
    return pa.array(texts, pa.large_string())


def codes_of(*texts, identifier=IDENTIFIER):
    found = identifier.identify(array_of(*texts), ["en"])
    return [identifier.codes[place] if place >= 0 else None for place in found.language]


def judged(texts, expected, cut_offs, identifier=IDENTIFIER):
    array = array_of(*texts)
    verdicts, chosen = identifier.verdicts(array, identifier.identify(array, expected), expected, cut_offs)
    return list(zip(verdicts.tolist(), [expected[place] for place in chosen], strict=True))


def records(file):
    content = subprocess.run(["zstd", "-dc", file], capture_output=True, check=True).stdout
    return [json.loads(line) for line in content.split(b"\n") if line]


def lingua(data):
    return [(r["lang"], r["text"]) for r in records(data / "eval" / "lid_lingua" / "sentences75.jsonl.zst")]


# --- the model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def py3langid():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def test_agrees_with_py3langid(data, py3langid):
    """Same label and confidence where the automaton decides: on scripts of several languages, up to 1200 bytes."""
    own_script = {"th", "he", "ko", "el", "ka", "hy", "ta", "te", "gu", "pa", "ja", "zh"}
    texts = [text for language, text in lingua(data)[::37] if language not in own_script]
    texts = [t for t in texts if len(t.encode()) <= 1200 and not t.isupper() and is_normalized("NFC", t)]
    assert len(texts) > 300
    found = IDENTIFIER.identify(array_of(*texts), ["en"])
    expected = [py3langid.classify(text) for text in texts]
    same = [IDENTIFIER.codes[p] == label for p, (label, _) in zip(found.language, expected, strict=True)]
    assert np.mean(same) > 0.998
    close = [abs(c - p) < 2e-3 for c, (_, p) in zip(found.confidence, expected, strict=True)]
    assert np.mean(close) > 0.998


@pytest.mark.slow
def test_no_language_is_told_worse_than_by_py3langid(data, py3langid):
    labelled = [(NTREX[key], text) for row in records(data / "eval" / "ntrex" / "multiway18.jsonl.zst")[::4]
                for key, text in row.items() if key in NTREX]  # fmt: skip
    labelled += lingua(data)[::7]
    ours = codes_of(*(text for _, text in labelled))
    right: dict[str, list[int]] = {}
    for (language, text), code in zip(labelled, ours, strict=True):
        counts = right.setdefault(language, [0, 0])
        counts[0] += code == language
        counts[1] += py3langid.classify(text)[0] == language
    worse = {language: counts for language, counts in right.items() if counts[0] < counts[1]}
    assert not worse
    assert sum(ours for ours, _ in right.values()) > sum(theirs for _, theirs in right.values())


# --- scripts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("th", "แมวนั่งบนเสื่อ และ Python 3 is not a cat"),
        ("he", "החתול יושב על המחצלת"),
        ("ko", "고양이가 매트 위에 앉아 있다"),
        ("el", "Η γάτα κάθεται στο χαλάκι"),
        ("ja", "猫がマットの上に座っている。"),
        ("ja", "データベースサーバー"),
        ("zh", "我国西药制剂出口继续维持稳定增长，主要出口市场包括亚洲、非洲。"),
        ("zh", "凤林镇公所曾将此地规划为林荣森林公园，花东纵谷国家风景区成立后重新规划"),
        ("zh", "這個城市的の商店很多，人們喜歡在晚上逛街，吃各種各樣的小吃和水果，看電影聽音樂。"),
        ("yue", "佢哋喺度做緊乜嘢？我唔知呀，你去問吓啲人啦，嗰個係我嘅朋友，佢而家唔喺屋企。"),
        ("ka", "კატა ზის ხალიჩაზე"),
        ("hy", "Կատուն նստած է գորգի վրա"),
    ],
)
def test_scripts_tell_languages(language, text):
    assert codes_of(text) == [language]


ISOLATED = {
    unicodedata.normalize("NFKC", chr(code)): chr(code)
    for code in range(0xFEFC, 0xFE7F, -1)
    if unicodedata.name(chr(code), "")
}
FULL_WIDTH = {letter: chr(ord(letter) + 0xFEE0) for letter in string.ascii_letters}
BOLD = {letter: chr(0x1D400 + place) for place, letter in enumerate(string.ascii_uppercase + string.ascii_lowercase)}


@pytest.mark.parametrize(
    ("language", "text", "forms"), [("ar", ARABIC, ISOLATED), ("en", ENGLISH, FULL_WIDTH), ("es", SPANISH, BOLD)]
)
@pytest.mark.parametrize("times", [1, 20])
def test_compatibility_forms_are_identified_by_what_they_stand_for(language, text, forms, times):
    """As old PDFs have Arabic, and some pages Latin letters: one text in one window, and one in three."""
    plain = sentences(text, 1, times)
    odd = "".join(forms.get(character, character) for character in plain)
    assert odd != plain
    found, expected = (IDENTIFIER.identify(array_of(each, "The cat sat."), [language]) for each in (odd, plain))
    assert IDENTIFIER.codes[found.language[0]] == language
    assert found.confidence[0] >= expected.confidence[0] - 0.05
    assert found.language[1] == expected.language[1]


def test_text_with_few_forms_is_left_as_it_is():
    texts = array_of(
        "ﷺ " + "الخباز يخبز الخبز في السوق " * 4, "日本語のＡ、そして「漢字」（かな）と「仮名」を書く。" * 3, "plain"
    )
    assert in_plain_forms(texts) is texts


def test_a_few_letters_of_a_script_say_nothing():
    english = sentences(ENGLISH, 4)
    assert codes_of(english + " Ω α 北京 かな", "The sum is Σ x over all x in the set that was given") == ["en"] * 2


# --- windows --------------------------------------------------------------------------------------------------


def test_the_windows_never_split_a_character():
    long = sentences(ARABIC, 3, 60)
    assert len(long.encode()) > NUM_WINDOWS * WINDOW_BYTES
    assert codes_of(*("x" * shift + long for shift in range(4))) == ["ar"] * 4


@examples(60)
@given(st.lists(st.text(max_size=30).map(lambda text: text * 50), min_size=1, max_size=5))
def test_any_text_is_identified_and_alone_as_among_others(texts):
    together = IDENTIFIER.identify(array_of(*texts), ["en", "ar"])
    assert ((together.confidence >= 0) & (together.confidence < 1 + 1e-6)).all()
    assert (together.accepted.sum(axis=1) < 1 + 1e-6).all()
    for place, text in enumerate(texts):
        alone = IDENTIFIER.identify(array_of("before", text).slice(1), ["en", "ar"])
        assert [column[0].tolist() for column in alone] == [column[place].tolist() for column in together]


def test_a_text_half_in_another_language_is_not_accepted_and_one_odd_window_is():
    english, arabic = sentences(ENGLISH, 1, 60), sentences(ARABIC, 2, 40)
    third = len(english.encode()) // 3
    half = english + "\n" + english[: len(arabic.encode()) - third] + "\n" + arabic + arabic
    odd = english * 3 + "\n" + arabic[:700]
    found = IDENTIFIER.identify(array_of(half, odd), ["en", "ar"])
    assert found.accepted[0].max() < 0.7
    assert found.accepted[0].sum() > 0.95
    assert judged([odd], ["en"], [0.6]) == [(RIGHT, "en")]
    mixed = english[:2000] + "\n" + arabic * 3
    assert judged([mixed], ["en"], [0.6])[0][0] != RIGHT


# --- verdicts -------------------------------------------------------------------------------------------------


def test_verdicts_of_one_language():
    english, arabic, spanish = (sentences(words, 1) for words in (ENGLISH, ARABIC, SPANISH))
    cases = {
        english: RIGHT,
        arabic: WRONG_LANGUAGE,
        spanish: WRONG_LANGUAGE,
        "Hi.": RIGHT,
        "!!! 123": RIGHT,
        "مرحبا بكم في المدينة القديمة": WRONG_LANGUAGE,
        "": RIGHT,
        "7 + 8 = 15 " * 50: LOW_CONFIDENCE,
    }
    assert [verdict for verdict, _ in judged(cases, ["en"], [0.6])] == list(cases.values())
    assert judged([arabic], ["ar"], [0.6]) == [(RIGHT, "ar")]
    assert {verdict for verdict, _ in judged(cases, ["en"], [0.0])} == {RIGHT}


def test_verdicts_of_several_languages():
    english, arabic, spanish = (sentences(words, 1) for words in (ENGLISH, ARABIC, SPANISH))
    texts = [english, arabic, spanish, "مرحبا بكم في المدينة القديمة", "7 + 8 = 15", "7 + 8 = 15 " * 50]
    assert judged(texts, ["ar", "en"], [0.6, 0.6])[:4] == [
        (RIGHT, "en"), (RIGHT, "ar"), (WRONG_LANGUAGE, judged([spanish], ["ar", "en"], [0.6, 0.6])[0][1]), (RIGHT, "ar"),
    ]  # fmt: skip
    assert [verdict for verdict, _ in judged(texts, ["ar", "en"], [0.6, 0.6])[4:]] == [LOW_CONFIDENCE] * 2
    strict = judged([english, arabic], ["ar", "en"], [0.6, 1.1])
    assert strict == [(LOW_CONFIDENCE, "en"), (RIGHT, "ar")]


def test_relatives_count_as_one_language_unless_both_are_expected():
    malay = "Kerajaan negeri itu telah mengumumkan bahawa beliau akan membantu rakyat yang terjejas. " * 4
    array = array_of(malay)
    for language in ("id", "ms"):
        found = IDENTIFIER.identify(array, [language])
        assert found.accepted[0, 0] >= found.confidence[0]
        assert judged([malay], [language], [0.6]) == [(RIGHT, language)]
    apart = IDENTIFIER.identify(array, ["id", "ms"])
    assert apart.accepted[0, 1] > apart.accepted[0, 0] > 0
    assert apart.accepted[0].sum() == pytest.approx(IDENTIFIER.identify(array, ["id"]).accepted[0, 0])
    assert accepted_codes("ar-EG") >= {"ar", "arz"}


def test_a_verdict_is_said_in_words():
    array = array_of(sentences(SPANISH, 1), "123")
    found = IDENTIFIER.identify(array, ["en", "ar"])
    assert IDENTIFIER.describe(found, 0, ["en", "ar"]).startswith("es ")
    assert IDENTIFIER.differs(found, ["en", "ar"]).tolist()[0]
    assert not IDENTIFIER.differs(found, ["es"]).tolist()[0]


@pytest.mark.parametrize(
    "language",
    [*"ar de en es fr he id it ja ko nl pl pt ru th tr vi zh".split(), "nb", "zh-Hant"],  # noqa: SIM905
)
def test_the_languages_of_polylm_are_known(language):
    assert IDENTIFIER.knows(language)
    assert language.split("-")[0] in NAMES


def test_an_unknown_language_is_not_known():
    assert not IDENTIFIER.knows("qqq")


# --- fastText -------------------------------------------------------------------------------------------------


def train(folder, lines, **options):
    fasttext = pytest.importorskip("fasttext", reason="needs pip install 'diglot[language]'")
    file = folder / "train.txt"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    options = {"dim": 8, "minn": 1, "maxn": 3, "bucket": 2000, "thread": 1, "verbose": 0, **options}
    model = fasttext.train_supervised(str(file), **options)
    model.save_model(str(folder / "lid.bin"))
    return load_identifier(str(folder / "lid.bin"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    words = {"eng_Latn": ENGLISH, "arb_Arab": ARABIC, "spa_Latn": SPANISH}
    lines = [f"__label__{label} {sentences(words[label], n, 2)}" for n in range(150) for label in words]
    return train(tmp_path_factory.mktemp("lid"), [" ".join(line.split()) for line in lines], epoch=15)


def test_a_fasttext_model_is_used_like_the_built_in_one(small):
    assert sorted(small.codes) == ["ar", "en", "es"]
    english, arabic, spanish = (sentences(words, 900, 60) for words in (ENGLISH, ARABIC, SPANISH))
    assert codes_of(english, arabic, spanish, " \n", "", identifier=small) == ["en", "ar", "es", None, None]
    mixed = english[:2000] + arabic * 3
    verdicts = judged([english, arabic, spanish, mixed], ["en"], [0.6], small)
    assert [verdict for verdict, _ in verdicts][:3] == [RIGHT, WRONG_LANGUAGE, WRONG_LANGUAGE]
    assert verdicts[3][0] != RIGHT
    assert judged([spanish, arabic], ["ar", "es"], [0.6, 0.6], small) == [(RIGHT, "es"), (RIGHT, "ar")]
    assert not small.knows("th")


def test_many_texts_are_identified_as_each_alone(small, monkeypatch):
    monkeypatch.setattr("diglot.text.language_id.FASTTEXT_BATCH", 7)
    texts = [sentences((ENGLISH, ARABIC, SPANISH)[n % 3], n, n % 30) for n in range(40)]
    together = small.identify(array_of(*texts), ["en", "ar"])
    alone = [small.identify(array_of(text), ["en", "ar"]) for text in texts]
    assert together.language.tolist() == [found.language[0] for found in alone]
    assert np.array_equal(together.accepted, np.concatenate([found.accepted for found in alone]))


@pytest.mark.slow
def test_a_fasttext_model_of_real_sentences(tmp_path, data):
    wanted = ("ar", "de", "en", "es", "fr", "id", "ru", "tr", "vi", "zh")
    labelled = [(language, " ".join(text.split())) for language, text in lingua(data) if language in wanted]
    lines = [f"__label__{language} {text}" for language, text in labelled[::2]]
    identifier = train(tmp_path, lines, epoch=20, bucket=100_000, lr=0.5)
    found = codes_of(*(text for _, text in labelled[1::2]), identifier=identifier)
    right = [code == language for code, (language, _) in zip(found, labelled[1::2], strict=True)]
    assert np.mean(right) > 0.93


def test_labels_become_codes():
    labels = ["eng_Latn", "arb_Arab", "arb_Latn", "arz_Arab", "cmn_Hani", "zho_Hant", "zsm_Latn", "als_Latn", "srp_Cyrl",
              "srp_Latn", "ace_Arab", "ace_Latn", "aai_Latn", "ckb_Arab", "kor_Hang", "fil_Latn"]  # fmt: skip
    assert codes_of_labels(labels) == [
        "en", "ar", "ar-Latn", "arz", "zh", "zh", "ms", "sq", "sr", "sr-Latn", "ace-Arab", "ace", "aai", "ckb", "ko",
        "fil",
    ]  # fmt: skip
    assert codes_of_labels(["en", "zh", "als", "deu", "zzz"]) == ["en", "zh", "als", "de", "zzz"]


def test_what_is_no_model_is_refused(tmp_path):
    pytest.importorskip("fasttext", reason="needs pip install 'diglot[language]'")
    (tmp_path / "text.bin").write_text("no model")
    with pytest.raises(UserError, match="not a fastText model"):
        load_identifier(str(tmp_path / "text.bin"))
    with pytest.raises(UserError, match="cannot read"):
        load_identifier(str(tmp_path / "absent.bin"))
    with pytest.raises(UserError, match="cannot read"):
        load_identifier(str(tmp_path))


@pytest.mark.parametrize("quantized", [False, True])
def test_a_model_that_was_cut_off_is_refused(tmp_path, quantized):
    fasttext = pytest.importorskip("fasttext", reason="needs pip install 'diglot[language]'")
    text, whole, cut = tmp_path / "train.txt", tmp_path / "whole.ftz", tmp_path / "cut.ftz"
    text.write_text("".join(f"__label__{'en' if n % 2 else 'es'} {sentences(ENGLISH if n % 2 else SPANISH, n, 1)}\n"
                            for n in range(300)))  # fmt: skip
    model = fasttext.train_supervised(str(text), dim=8, minn=1, maxn=2, bucket=1000, thread=1, verbose=0)
    if quantized:
        model.quantize(str(text), qnorm=True, retrain=False, cutoff=400, thread=1)
    model.save_model(str(whole))
    assert sorted(load_identifier(str(whole)).codes) == ["en", "es"]
    content = whole.read_bytes()
    for size in (8, 60, 80, 100, 300, len(content) // 2, len(content) - 1, len(content) + 1):
        cut.write_bytes((content + b"\0")[:size])
        with pytest.raises(UserError, match="was cut off"):
            load_identifier(str(cut))


def test_a_fasttext_model_without_labels_is_refused(tmp_path):
    fasttext = pytest.importorskip("fasttext", reason="needs pip install 'diglot[language]'")
    (tmp_path / "text.txt").write_text(sentences(ENGLISH, 1, 200))
    fasttext.train_unsupervised(
        str(tmp_path / "text.txt"), dim=4, minCount=1, bucket=100, epoch=1, thread=1, verbose=0
    ).save_model(str(tmp_path / "vectors.bin"))
    with pytest.raises(UserError, match="classifier"):
        load_identifier(str(tmp_path / "vectors.bin"))
