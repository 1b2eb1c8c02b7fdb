r"""Scripts: which characters are written in the same one, by their names in Unicode.

    ك  ARABIC LETTER KAF   ،  ARABIC COMMA   ٣  ARABIC-INDIC DIGIT THREE   →  ARABIC
    é  LATIN SMALL LETTER E WITH ACUTE                                      →  LATIN
    \  REVERSE SOLIDUS      U+200F  RIGHT-TO-LEFT MARK                       →  of no script

Python has no table of scripts; the first word of a name is one for every living script.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter

WRITTEN_IN = 0.01  # share of a text's letters: names and formulas in other scripts stand in any text
PAGE = 64  # code points that differ in the last byte of UTF-8 alone
_LAST = 0x33480  # nothing but tags, variation selectors and private use above
_CASED = ("Lu", "Ll", "Lt", "Lo")  # modifier letters (Lm) are named for what they do
# Ideographs have no script's name, forms for East Asian print are named for their width, Persian digits "extended".
_ALIASES = {"IDEOGRAPHIC": "CJK", "FULLWIDTH": "CJK", "HALFWIDTH": "CJK", "EXTENDED": "ARABIC"}


def script_of(character: str) -> str:
    """The first word of a character's name, which is its script where it has one; empty without a name."""
    word = unicodedata.name(character, "").replace("-", " ").partition(" ")[0]
    return _ALIASES.get(word, word)


def scripts_in(counts: Counter[str]) -> frozenset[str]:
    """The scripts that a text with so many of each character is written in (see `WRITTEN_IN`)."""
    letters: Counter[str] = Counter()
    for character, count in counts.items():
        if unicodedata.category(character) in _CASED:
            letters[script_of(character)] += count
    return frozenset(script for script, count in letters.items() if count >= WRITTEN_IN * letters.total())


@functools.lru_cache(8)
def characters_of(scripts: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    """All characters of some scripts.

    A page of 64 code points that holds some of them, and none of the `others`, is theirs as a whole: so are a
    currency's sign, a combining mark named for no script, and what Unicode may yet assign there. Byte-level
    tokenizers join the bytes that such a page begins with. Controls and invisible characters are nobody's.
    """
    found: set[str] = set()
    for first in [*range(0, 0xD800, PAGE), *range(0xE000, _LAST, PAGE)]:
        page = [chr(code) for code in range(first, first + PAGE)]
        named = [script_of(character) for character in page]
        if scripts.isdisjoint(named):
            continue
        if others.isdisjoint(named):
            found.update(character for character in page if unicodedata.category(character) not in ("Cc", "Cf"))
        found.update(character for character, script in zip(page, named, strict=True) if script in scripts)
    return frozenset(found)


def is_letter(character: str) -> bool:
    """Whether a character is a letter, or a mark on one."""
    return unicodedata.category(character)[0] in "LM"
