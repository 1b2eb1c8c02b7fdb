"""Which characters belong to a script, and what else stands among them."""

from collections import Counter

import pytest

from diglot.text.scripts import PAGE, characters_of, script_of, scripts_in

LATIN = frozenset({"LATIN"})


@pytest.mark.parametrize(
    ("script", "its_own", "others"),
    [
        ("ARABIC", "كگ،؟٣۳ـَﷺ", "a1\\> é«\u200f\u200d\ufeff—"),
        ("THAI", "กฺ๓฿ๆ", "ກ €"),
        ("CJK", "面〇。，（　々Ａ", "のあ한:,🙂“"),
        ("HANGUL", "한ㄱ", "面"),
        ("HIRAGANA", "の\u3099", "ノ面"),
        ("CYRILLIC", "жѣ\u0483", "zζ№"),
        ("DEVANAGARI", "क्।१", "ক₹"),
    ],
)
def test_characters_of_a_script(script, its_own, others):
    characters = characters_of(frozenset({script}), LATIN)
    assert [character for character in its_own if character not in characters] == []
    assert [character for character in others if character in characters] == []


def test_ascii_and_general_punctuation_are_of_no_script():
    every = characters_of(frozenset({"ARABIC", "THAI", "CJK", "HEBREW", "CYRILLIC"}), LATIN)
    assert every.isdisjoint(map(chr, [*range(0x100), *range(0x2000, 0x2E80)]))


def test_a_page_without_other_scripts_is_a_scripts_own_with_all_that_unicode_may_add():
    thai = characters_of(frozenset({"THAI"}), LATIN)
    assert {ord(character) // PAGE for character in thai} == {0xE00 // PAGE, 0xE40 // PAGE}
    assert len(thai) == 2 * PAGE
    with_greek = characters_of(frozenset({"COPTIC"}), frozenset({"GREEK"}))
    assert "ϣ" in with_greek
    assert "σ" not in with_greek


def test_a_text_is_written_in_what_makes_up_a_hundredth_of_its_letters():
    assert scripts_in(Counter({"ك": 90, "e": 10, "α": 1, "1": 500, "،": 50})) == {"ARABIC", "LATIN"}
    assert scripts_in(Counter("123 -")) == frozenset()
    assert script_of("\x07") == script_of("\U0010ffff") == ""
