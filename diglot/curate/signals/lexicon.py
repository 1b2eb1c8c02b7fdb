"""Lists of words as tables that the kernels look bare words up in.

An entry is cut into bare words as text is: "Don't" is `dont`; in Chinese, Japanese and Thai it is segmented. Banned
entries of several words are found as a sequence (RedPajama-v2 does so). Stop words of several words, which the
Vietnamese list has, are left out: a single word is looked up.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diglot.base.errors import UserError
from diglot.base.files import parse_json
from diglot.text.hash_table import empty_keys, enter, find
from diglot.text.languages import base_code
from diglot.text.unicode import HASH_SEED, absorb, finish, kernel

SLOTS_A_KEY = 4  # most words that are looked up are on no list: an empty slot ends the search
STOP, GOPHER, BANNED, LOREM, IPSUM, JAVASCRIPT = (1 << bit for bit in range(6))


class WordLists(NamedTuple):
    """Lists of words of a language; a signal whose list is None is not measured (NaN).

    Attributes:
        stop_words: of the language, as `stopwordsiso.stopwords` has them.
        banned_words: words and sequences of words, as a file of LDNOOBW has them, one a line.
        gopher_stop_words: Gopher's eight (`GOPHER_STOP_WORDS`) where the text is English.
    """

    stop_words: tuple[str, ...] | None = None
    banned_words: tuple[str, ...] | None = None
    gopher_stop_words: tuple[str, ...] | None = None


GOPHER_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


class Lexicon(NamedTuple):
    """Hash tables of bare words and of sequences (text/hash_table.py).

    Attributes:
        keys: uint64 [slots], hashes of bare words; 0 is an empty slot.
        flags: int64 [slots], which lists a word is on; `BANNED`: a banned sequence begins with it.
        stamps: int64 [slots], the document that a word was last found in.
        sequences: uint64 [slots], hashes of banned sequences of bare words.
        longest: words of the longest of them.
    """

    keys: np.ndarray
    flags: np.ndarray
    stamps: np.ndarray
    sequences: np.ndarray
    longest: int


def make_lexicon(singles: Iterable[tuple[int, int]], sequences: Iterable[tuple[int, ...]]) -> Lexicon:
    """Make the tables.

    Args:
        singles: hashes of bare words, with their flags; the flags of equal ones are joined.
        sequences: hashes of the bare words of each banned entry.
    """
    flags: dict[int, int] = {}
    for hashed, flag in singles:
        flags[hashed] = flags.get(hashed, 0) | flag
    entries = sorted({sequence for sequence in sequences if sequence})
    for sequence in entries:
        flags[sequence[0]] = flags.get(sequence[0], 0) | BANNED
    keys, sequence_keys = empty_keys(len(flags), SLOTS_A_KEY), empty_keys(len(entries), SLOTS_A_KEY)
    values = np.zeros(len(keys), np.int64)
    values[enter(np.array(list(flags), np.uint64), keys)] = list(flags.values())
    enter(np.array([_hash_sequence(sequence) for sequence in entries], np.uint64), sequence_keys)
    longest = max(map(len, entries), default=0)
    return Lexicon(keys, values, np.full(len(keys), -1, np.int64), sequence_keys, longest)


def _hash_sequence(sequence: tuple[int, ...]) -> int:
    state = HASH_SEED
    for hashed in sequence:
        state = np.uint64(absorb(state, np.uint64(hashed)))  # a kernel's result is a Python int
    return int(finish(state))


@kernel
def count_banned(lexicon, bare, num_words):
    """The number of places where a banned sequence begins, counted once for each length of sequence there.

    bare uint64 [num_words].
    """
    banned = 0
    for place in range(num_words):
        if bare[place] == 0:
            continue
        slot = find(lexicon.keys, bare[place])
        if slot < 0 or not lexicon.flags[slot] & BANNED:
            continue
        state, taken, at = HASH_SEED, 0, place
        while at < num_words and taken < lexicon.longest:
            if bare[at] != 0:
                state = absorb(state, bare[at])
                taken += 1
                banned += find(lexicon.sequences, finish(state)) >= 0
            at += 1
    return banned


@functools.cache
def word_lists(language: str, banned: str | None) -> WordLists:
    """The lists of a language.

    Args:
        language: its code.
        banned: a JSONL file with a language and its words in each line (`{"lang": "en", "words": […]}`), or a folder
            with a file for each language, named by its code, with an entry in each line (LDNOOBW's own form).

    Raises:
        UserError: the banned words cannot be read.
    """
    import stopwordsiso  # start-up: it reads all its lists

    code = base_code(language)
    return WordLists(
        stop_words=tuple(sorted(stopwordsiso.stopwords(code))) if stopwordsiso.has_lang(code) else None,
        banned_words=_banned_words(Path(banned).expanduser()).get(code) if banned else None,
        gopher_stop_words=GOPHER_STOP_WORDS if code == "en" else None,
    )


@functools.cache
def _banned_words(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if 2 <= len(file.name) <= 3]
            return {file.name: tuple(filter(None, file.read_text("utf-8").split("\n"))) for file in files}
        lines = [parse_json(line) for line in path.read_bytes().split(b"\n") if line.strip()]
        if wrong := [line for line in lines if not _is_word_list(line)]:
            raise ValueError(f"no language (lang) and list of words (words): {json.dumps(wrong[0])[:80]}")
        return {line["lang"]: tuple(line["words"]) for line in lines}
    except (OSError, ValueError) as error:
        raise UserError(
            f"banned_words: {path} cannot be read ({error}); give a JSONL file with lang and words in each line, or a "
            "folder with a file for each language"
        ) from error


def _is_word_list(line: Any) -> bool:
    given = line if isinstance(line, dict) else {}
    lists = isinstance(given.get("lang"), str) and isinstance(given.get("words"), list)
    return lists and all(isinstance(word, str) for word in given["words"])
