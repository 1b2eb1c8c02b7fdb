"""Corrections and rules on lines, against plain Python that says the same."""

import json
import os
import re
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from diglot.curate.clean.line_rules import LINE_RULES
from diglot.curate.clean.lines import CHUNK, CORRECTIONS, LineRule, correct
from diglot.text.unicode import UNSPACED, character_tables, text_array

DATA = Path(os.environ.get("DIGLOT_DATA", Path(__file__).parents[2] / "../shared/data"))
LONG = "x" * 101


def array(texts: list[str]) -> pa.Array:
    return text_array([text.encode() for text in texts])


def corrected(text: str) -> str:
    return correct(array([text])).texts[0].as_py()


# --- the oracle -----------------------------------------------------------------------------------------------

HIDDEN_WORDS = [
    (0xE00, 0x109F),
    (0x1780, 0x17FF),
    (0x1950, 0x1AAF),
    (0x1B00, 0x1BFF),
    (0xA980, 0xAADF),
    (0x11700, 0x1174F),
]
INVISIBLE = {0x00AD, 0x180E, 0x200B, 0x2060, 0x2061, 0x2062, 0x2063, 0x2064, 0xFEFF}
BEGINNING = re.compile(r"https://|http://|www\.", re.IGNORECASE | re.ASCII)
WINDOWS = set("€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ")
CLASSES, _ = character_tables()


def is_control(c: str) -> bool:
    return unicodedata.category(c) == "Cc" and c not in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85"


def is_invisible(c: str) -> bool:
    return ord(c) in INVISIBLE or (is_control(c) and c < "\x80")


def is_space(c: str) -> bool:
    return c.isspace() and not is_invisible(c)


def hides_words(c: str) -> bool:
    return any(low <= ord(c) <= high for low, high in HIDDEN_WORDS)


def goes(c: str, previous: str, following: str) -> bool:
    """The neighbours are "\\0" where there are none."""
    if c in "\u200c\u200d":
        shapes = following >= "\u0590" and (following.isalpha() or unicodedata.category(following)[0] == "M")
        return previous < "\u0590" and not shapes
    if c in "\u200b\u2060":
        return not (hides_words(previous) or hides_words(following))
    if c == "\u180e":
        return not any("\u1800" <= side <= "\u18af" for side in (previous, following))
    if "\u2061" <= c <= "\u2064":
        return previous == "\0" or following <= " " or following.isspace()
    return is_invisible(c)


def is_broken(c: str) -> bool:
    code = ord(c)
    private = 0xE000 <= code <= 0xF8FF or code >= 0xF0000
    control = is_control(c) and code > 0x7F
    return private or control or 0xFDD0 <= code <= 0xFDEF or 0xFFFD <= code <= 0xFFFF or code & 0xFFFE == 0xFFFE


def url_length(word: str, at: int, previous: str) -> int:
    found = BEGINNING.match(word, at)
    if not found or (previous.isascii() and previous.isalnum()):
        return 0
    stop = found.end()
    while stop < len(word) and not (is_invisible(word[stop]) or word[stop] >= "\u2e80" or word[stop] in '"()<>[]{|}'):
        stop += 1
    body = word[found.end() : stop].rstrip("!,.:;?")
    return found.end() - at + len(body) if body else 0


def look_at_word(word: str, after: str = "") -> tuple[str, int, int, int]:
    """What stays of a word; characters in URLs, invisible, and invisible or broken; `after` follows it."""
    kept, previous, at = "", "\0", 0
    urls = invisible = broken = mojibake = 0
    while at < len(word):
        length = url_length(word, at, previous)
        if length:
            urls += length
            at += length
            previous = "\0"
            continue
        c = word[at]
        if mojibake == 0 and "\u00c2" <= c <= "\u00f4":
            wanted = 1 if c < "\u00e0" else 2 if c < "\u00f0" else 3
            tail = (word + after)[at + 1 : at + 1 + wanted]
            if len(tail) == wanted and all("\x80" <= t <= "\xbf" or t in WINDOWS for t in tail):
                mojibake = wanted + 1
        is_gone = goes(c, previous, (word + after)[at + 1 : at + 2] or "\0")
        broken += mojibake > 0 or is_gone or is_broken(c)
        mojibake = max(mojibake - 1, 0)
        if is_gone:
            invisible += 1
        else:
            kept += c
            previous = c
        at += 1
    return kept, urls, invisible, broken


def oracle(text: str) -> tuple[str, list[int], int, int]:
    """The corrected text, characters removed by kind, characters in URLs, invisible or broken ones."""
    result, removed, found = "", [0, 0, 0, 0], [0, 0]
    gaps: list[str] = []  # whitespace since the last word that stayed
    parts = split_parts(text)
    for part, after in zip(parts, [*parts[1:], ""], strict=False):
        if is_space(part[0]):
            gaps.append(part)
            continue
        kept, urls, invisible, broken = look_at_word(part, after)
        removed[0] += urls
        removed[3] += invisible
        found[0] += urls
        found[1] += broken
        unspaced = any(CLASSES[ord(c)] & UNSPACED for c in without_urls(part))
        if len(kept) > 100 and not unspaced:
            removed[1] += len(kept)
        elif kept:
            written = written_space(gaps, result[-1]) if result else ""
            removed[2] += sum(map(len, gaps)) - len(written)
            result += written + kept
            gaps = []
    removed[2] += sum(map(len, gaps))
    return result, removed, found[0], found[1]


def split_parts(text: str) -> list[str]:
    """Runs of whitespace and words, in turn."""
    parts: list[str] = []
    for c in text:
        if parts and is_space(parts[-1][0]) == is_space(c):
            parts[-1] += c
        else:
            parts.append(c)
    return parts


def without_urls(word: str) -> str:
    left, previous, at = "", "\0", 0
    while at < len(word):
        length = url_length(word, at, previous)
        if length:
            at, previous = at + length, "\0"
            continue
        if not goes(word[at], previous, word[at + 1 : at + 2] or "\0"):
            previous = word[at]
        left += word[at]
        at += 1
    return left


def written_space(gaps: list[str], before: str) -> str:
    """What stands for runs of whitespace between which words were taken out."""
    broken = [re.split("\r\n|[\n\v\f\r\x85\u2028\u2029]", gap) for gap in gaps]
    newlines = sum(len(lines) - 1 for lines in broken)
    if newlines:
        return "\n" * min(newlines, 3) + [lines[-1] for lines in broken if len(lines) > 1][-1]
    blanks = "".join(gaps)
    kept = blanks in ("\t", "\u3000", "\u1680") or (blanks == "\u202f" and "\u1800" <= before <= "\u18bf")
    return (blanks if kept else " ") if blanks else ""


# --- corrections ----------------------------------------------------------------------------------------------

# What a script or a formula means depends on a character that is not seen; nothing of it is changed.
NEEDED = [
    "می\u200cخواهم نامه\u200cای",  # Persian: one word, two letters apart
    "\u200dه ه\u200d اول\u200cاً",  # Arabic letters that join to nothing, at the beginning too
    "کی\u200cا یہ\u200c",  # Urdu
    "क्\u200dष क्\u200cष র\u200d্য ক\u200c্ষ",  # Hindi and Bengali: half letters, ligatures asked for and refused
    "ශ්\u200dරී ලංකා ක්\u200dෂ",  # Sinhala: the joiner makes the conjunct
    "ക\u200dഷ നന്\u200d ಕ್\u200cಷ",  # Malayalam's old chillus, Kannada
    "👩\u200d🚀 ❤\ufe0f\u200d🔥 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 1\ufe0f\u20e3",  # emoji
    "ការ\u200bងារ កម្ពុជា\u200b។",  # Khmer: zero-width spaces are between its words
    "แมว\u200bนั่ง ตา\u2060กลม",  # Thai: a word ends, or does not
    "မြန်မာ\u200bစာ ພາສາ\u200bລາວ",  # Burmese, Lao
    "ᠮᠣᠩᠭᠣᠯ ᠬᠠᠷ\u180eᠠ ᠭᠡᠷ\u202fᠦᠨ ᠠ\u180b",  # Mongolian: separator, narrow space before a suffix, variant
    "ᚁᚂ\u1680ᚃᚄ",  # Ogham's space is drawn
    "\u202b\u2067אב\u2069\u202c \u061cعربي\u200e \u2066abc\u2069",  # direction
    "f\u2061(x) 2\u2062x A\u2063B 3\u2064½",  # formulas: applied to, times, and, plus
    "葛\U000e0100城 \u3164 한\u1160 x\u034fy",  # variants of ideographs, fillers, grapheme joiner
    "ﻣﺮﺣﺒﺎ ﷲ ﬁ Ａ １ ｶﾞ ㎏ ① Å",  # compatibility forms
    "שָׁל\u05bfוֹם Việt e\u0323\u0302",  # marks in another order than NFC's
]
CASES = [
    ("Visit https://x.org/a  now\u200b!\n\n\n\n\nBye", "Visit now!\n\n\nBye"),
    ("see www.example.com/a?b=c, or HTTP://X.org.", "see , or ."),
    ("[link](https://x.org/a_(b)) here", "[link]((b)) here"),
    ("http:// is no URL, nor is xhttp://a.b", "http:// is no URL, nor is xhttp://a.b"),
    ("请看http://a.cn/b，谢谢", "请看，谢谢"),
    ("http://aawsat.com/الرئيس-هادي خبر", "خبر"),
    (f"a {LONG} b", "a b"),
    (f"a\n{LONG}\nb", "a\n\nb"),
    ("字" * 300, "字" * 300),
    ("x" * 100, "x" * 100),
    ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
    ("  def f():\n    return  1  \n\n", "def f():\n    return 1"),
    ("a\tb\t\tc\u00a0d\u3000e", "a\tb c d\u3000e"),
    ("soft\u00adhyphen \ufeffmark \x00zero\x7f", "softhyphen mark zero"),
    ("می\u200cخواهم a\u200cb क्\u200dष 👩\u200d👩", "می\u200cخواهم ab क्\u200dष 👩\u200d👩"),
    ("\u200fعربي\u200e", "\u200fعربي\u200e"),
    *((text, text) for text in NEEDED),
    ("a\u200bb \u200bc d\u2060e \u2062 x\u2064 \u180ef", "ab c de  x f".replace("  ", " ")),
    ("don\u0092t a\x1fb c\x1e\nd", "don\u0092t a b c\nd"),
    ("l\u2019homme\u202f!", "l\u2019homme !"),
    ("", ""),
    (" \n\t ", ""),
    ("cafe\u0301", "cafe\u0301"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_corrections(text, expected):
    assert corrected(text) == expected


CLEAN = "It has words and more of them, in two\nor three lines.\n\nAnd another."
pieces = (
    st.text(max_size=12)
    | st.text("ab hw.\n", max_size=40)
    | st.sampled_from(["http://a.b/c", "www.x.y", LONG, "\n\n\n\n", "  ", "\u200b", "Ø§Ù„", "\ufffd", "\u200c", CLEAN])
    | st.sampled_from(["\u180e", "\u2060", "\u2062", "\u202f", "ᠠ", "ក", "\x1e", "\u0092", "\u1680", *NEEDED])
    | st.sampled_from(
        ["“quoted” – and…", "déjà", "ngôn ngữ", "اللغة العربية", "\u00a0", "字字", "\r\n", "\t", "htt", "ww"]
    )
)
texts = st.lists(pieces, max_size=12).map("".join)


@given(st.lists(texts, max_size=4))
@example(["a\r\n\r\n\r\n\r\n b", "\r", "\u200d"])
@example([f"a \n\t{LONG}  b", f"  {LONG}\n {LONG} b", f"a  {LONG} b\t"])
@examples(200)
def test_corrections_are_those_of_plain_python(given_texts):
    result = correct(array(given_texts))
    for place, text in enumerate(given_texts):
        new, removed, urls, broken = oracle(text)
        assert result.texts[place].as_py() == new
        assert result.removed[place].tolist() == [*removed, 0, 0, 0, 0, 0]
        assert (result.characters[place], result.urls[place], result.broken[place]) == (len(text), urls, broken)


def test_every_character_within_clean_text():
    """Whatever a clean stretch is skipped by, no character that needs a closer look is skipped with it."""
    codes = [*range(1, 0x3100), *range(0xD7F0, 0xD800), *range(0xE000, 0xE010), *range(0xF8F0, 0x10010)]
    codes += [0x1F469, 0x1FFFE, 0xE0001, 0xF0000, 0x10FFFD]
    for before, after in (("w ", " w"), ("w", "w"), ("é", "é")):
        given_texts = [f"{CLEAN} {before}{chr(code)}{after} {CLEAN}" for code in codes]
        result = correct(array(given_texts)).texts.to_pylist()
        for text, new in zip(given_texts, result, strict=True):
            at = len(CLEAN) + 1
            middle = oracle("a " + text[at : -len(CLEAN) - 1] + " b")[0][2:-2]
            assert new == f"{CLEAN} {middle} {CLEAN}".replace("  ", " "), ascii(text[at:-at])


def test_words_may_be_long_across_chunks():
    for length in (CHUNK - 1, CHUNK, 2 * CHUNK - 1, 99, 100):
        text = f"{'a b ' * 20}{'x' * length} {'a b ' * 20}end"
        assert corrected(text) == text
    assert corrected(f"{'a b ' * 20}{'x' * 101} {'a b ' * 20}end") == f"{'a b ' * 40}end"


@given(st.lists(texts, max_size=4))
@examples(100)
def test_characters_are_conserved(given_texts):
    result = correct(array(given_texts), line_rules=ALL_LINE_RULES)
    for text, new, read, removed in zip(
        given_texts, result.texts.to_pylist(), result.characters, result.removed, strict=True
    ):
        assert read == len(text)
        assert len(new) == len(text) - removed.sum()
        assert (removed >= 0).all()
        assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t\v\f\x85\x1c" for c in new)
        assert "\n\n\n\n" not in new
        assert not any(line.endswith((" ", "\t")) for line in new.split("\n"))


@given(st.lists(st.text("abc ابت字.,!(", min_size=1, max_size=20).map(str.strip).filter(bool), max_size=8))
def test_ordinary_text_is_left_as_it_is(lines):
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert corrected(text) == text


def test_a_slice_of_an_array_is_corrected_like_the_whole():
    given_texts = array(["a  b", "see http://x.y now", CLEAN, "c\u200b"])
    whole, part = correct(given_texts), correct(given_texts.slice(1, 2))
    assert part.texts.to_pylist() == whole.texts.to_pylist()[1:3]
    assert part.removed.tolist() == whole.removed.tolist()[1:3]
    assert correct(given_texts.slice(4)).texts.to_pylist() == []


def test_without_corrections_the_counts_are_the_same():
    given_texts = text_array([b"see http://a.b/c and\xef\xbf\xbd so on   "])
    plain, changed = correct(given_texts, corrections=False), correct(given_texts)
    assert plain.texts == given_texts
    assert plain.removed.sum() == 0
    assert plain.urls == changed.urls == len("http://a.b/c")
    assert plain.broken == changed.broken == 1


@pytest.mark.parametrize("wrong", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", ["اللغة العربية جميلة جدا", "“Où est l’école?” – là-bas", "Привет, как дела"])
def test_mojibake_counts_as_broken(text, wrong):
    mojibake = text.encode().decode(wrong, errors="replace")
    ours = correct(text_array([mojibake.encode(), text.encode()])).broken
    assert ours[0] > 0.15 * len(mojibake)
    assert ours[1] == 0


def test_kinds_are_counted_where_they_belong():
    result = correct(array([f"a  b http://a.b {LONG} \u200b"]))
    counts = dict(zip(CORRECTIONS, result.removed[0].tolist(), strict=True))
    assert counts == {"urls": 10, "long_words": 101, "whitespace": 4, "invisible": 1} | dict.fromkeys(LINE_RULES, 0)


def test_real_text_is_corrected_as_plain_python_does():
    files = sorted(DATA.glob("raw_text/*/ms_support.jsonl.zst")) + sorted(DATA.glob("raw_web/*/*.zst"))[:4]
    if not files:
        pytest.skip(f"no real text in {DATA}; set DIGLOT_DATA")
    for file in files:
        lines = pa.input_stream(file, compression="zstd").read(400_000).split(b"\n")[:-1][:12]
        records = [json.loads(line) for line in lines]
        given_texts = [record.get("text") or record.get("html") or "" for record in records]
        result = correct(array(given_texts))
        for place, text in enumerate(given_texts):
            new, removed, urls, broken = oracle(text)
            assert result.texts[place].as_py() == new, file
            assert result.removed[place].tolist()[:4] == removed
            assert (result.urls[place], result.broken[place]) == (urls, broken)


# --- rules on lines -------------------------------------------------------------------------------------------

ALL_LINE_RULES = (
    LineRule("line_end"), LineRule("line_words", 3), LineRule("line_word_length", 20),
    LineRule("line_javascript"), LineRule("line_policy"),
)  # fmt: skip
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def c4_keeps(line: str, rules: dict[str, float]) -> str | None:
    """The rule that an English line breaks, in the words of C4's code (TensorFlow Datasets, c4_utils)."""
    line = line.strip()
    if "line_end" in rules and (not line.endswith((".", "?", "!", '"', "”")) or line.endswith("...")):
        return "line_end"
    if len(line.split()) < rules.get("line_words", 0):
        return "line_words"
    if any(len(word) > rules.get("line_word_length", 1e9) for word in line.split()):
        return "line_word_length"
    if "line_javascript" in rules and "javascript" in line.lower():
        return "line_javascript"
    if "line_policy" in rules and any(phrase in line.lower() for phrase in POLICY):
        return "line_policy"
    return None


LINES = [
    "The cat sat on the mat.", "Menu", "Is it so?", "It goes on and on...", 'He said "no"', "We use cookies, as you see.",
    "Please enable JavaScript in your browser.", "Two words.", "", "Our Privacy Policy is here!", f"A word {'y' * 30} is long.",
]  # fmt: skip
ORDERED = sorted(ALL_LINE_RULES, key=lambda rule: LINE_RULES.index(rule.name))


@given(
    st.lists(st.sampled_from(LINES) | st.text("ab .!?\"'J", max_size=30), max_size=10),
    st.sets(st.sampled_from(ALL_LINE_RULES), min_size=1),
)
@examples(200)
def test_lines_go_by_c4s_rules(lines, rules):
    text = "\n".join(lines)
    result = correct(array([text]), False, tuple(sorted(rules)))
    limits = {rule.name: rule.limit for rule in rules}
    broken = [c4_keeps(line, limits) if line.strip() else None for line in lines]
    left = [line for line in result.texts[0].as_py().split("\n") if line.strip()]
    wanted = [line for line, rule in zip(lines, broken, strict=True) if line.strip() and rule is None]
    assert [line.strip() for line in left] == [line.strip() for line in wanted]
    taken = dict(zip(CORRECTIONS, result.removed[0].tolist(), strict=True))
    for name in LINE_RULES:
        gone = [line for line, rule in zip(lines, broken, strict=True) if rule == name]
        assert taken[name] >= sum(map(len, gone))
        assert (taken[name] > 0) == bool(gone)
    assert len(text) == len(result.texts[0].as_py()) + sum(taken.values())
    again = correct(result.texts, False, tuple(rules))
    assert again.texts == result.texts


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Menu\n\nThe cat sat on the mat.\n\nWe use cookies.", "The cat sat on the mat."),
        ("One is here.\n\nMenu\n\nTwo is here.", "One is here.\n\nTwo is here."),
        ("One is here.\nMenu\nTwo is here.\n", "One is here.\nTwo is here.\n"),
        ("One is here.\n\n\nTwo is here.\n\n", "One is here.\n\n\nTwo is here.\n\n"),
        ("Menu\n \nHome", ""),
        ("我们今天去公园。\n菜单", "我们今天去公园。"),
        ("هل هذا صحيح؟\nالقائمة", "هل هذا صحيح؟"),
    ],
)
def test_lines_that_are_taken_out(text, left):
    assert correct(array([text]), False, ALL_LINE_RULES).texts[0].as_py() == left


def test_no_line_rules_no_change():
    given_texts = array(LINES)
    assert correct(given_texts, False, ()).texts is given_texts
