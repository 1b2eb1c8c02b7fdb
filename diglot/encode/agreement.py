r"""Which characters `gigatoken` and `tokenizers` take for something else: a self-test over all of Unicode.

Both cut text into words by a pattern (`\p{L}`, `\s`, …) before they join bytes, and each knows the Unicode of its own day:
to the one U+1AEB is a mark, to the other it is not assigned yet. Most such characters have the same ids nevertheless, in
most texts; before a line end or a comma they may not. So it is not ids of the real vocabulary that are compared, but
where words end: both cut every character in several surroundings with the tokenizer's own normalizer and pattern, and
with a vocabulary in which whatever stands side by side in a word is joined.

    a᫫a.᫫1᫫ ᫫⏎     gigatoken  a᫫ │ a . …      tokenizers  a │ ᫫ a …

It takes a second or two, and is remembered in the user's cache folder by the versions of both libraries and what
the tokenizer does to text before its vocabulary.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tokenizers
from numpy.typing import NDArray

from diglot.base.files import write_json
from diglot.tokenizer.byte_letters import BYTE_LETTERS, letters_of
from diglot.tokenizer.folder import is_byte_level

SURROUNDINGS = "a{0}a.{0}1{0} {0}\n"  # letters, punctuation, digits, spaces and line ends, on either side
BESIDE = "a.1 \n"
TOGETHER = 32  # characters in one text: texts cost more than what stands in them
# Where Unicode has no gaps: ideographs and Hangul syllables that are older than both libraries.
UNIFORM = ((0x3400, 0x4DB5), (0x4E00, 0x9FEF), (0xAC00, 0xD7A3), (0x20000, 0x2A6D6))
LAST, TAGS = 0x33480, (0xE0000, 0xE0200)  # above and between: not assigned, or private
SAMPLED = 97  # of such code points and uniform ones, every so many is tried

Ids = tuple[NDArray[np.uint32], NDArray[np.int64]]


def differing_characters(
    specification: dict[str, Any], engine: Callable[[dict[str, Any]], Callable[[pa.Array], Ids]]
) -> str:
    """The characters at which the engine's words end elsewhere than the library's.

    Args:
        specification: tokenizer.json.
        engine: makes the engine of a tokenizer.json.
    """
    # Where a vocabulary is not of bytes (Gemma's), the tokenizer is compared as it is: its words are cut at spaces alone.
    probe = _probe(specification) if is_byte_level(specification.get("decoder")) else _without_special(specification)
    versions = [importlib.metadata.version(name) for name in ("gigatoken", "tokenizers")]
    key = json.dumps([versions, SURROUNDINGS, probe])
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "diglot"
    memory = home / f"characters-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    with suppress(OSError, ValueError, TypeError):  # not there, or not ours
        return "".join(chr(code) for first, last in json.loads(memory.read_bytes()) for code in range(first, last + 1))
    library = tokenizers.Tokenizer.from_str(json.dumps(probe))
    try:
        found = _compare(engine(probe), library)
    except RuntimeError:  # an engine that does not take the probe is trusted with nothing
        found = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    with suppress(OSError):  # a home that cannot be written to
        home.mkdir(parents=True, exist_ok=True)
        write_json(memory, list(ranges(found)), indent=None)
    return found


def ranges(characters: str) -> Iterator[tuple[int, int]]:
    """The code points of characters, as first and last of each run."""
    codes = sorted(map(ord, characters))
    for _, run in itertools.groupby(enumerate(codes), lambda item: item[1] - item[0]):
        numbers = [code for _, code in run]
        yield numbers[0], numbers[-1]


def _probe(specification: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer with a vocabulary that shows where words end: every byte joins what `SURROUNDINGS` put beside it."""
    vocabulary = {letter: number for number, letter in enumerate(BYTE_LETTERS)}
    beside = letters_of(BESIDE.encode())
    pairs = dict.fromkeys(pair for one in beside for other in BYTE_LETTERS for pair in ((one, other), (other, one)))
    vocabulary |= {left + right: number for number, (left, right) in enumerate(pairs, start=len(vocabulary))}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [list(pair) for pair in pairs]}
    kept = {name: specification.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")}
    return {"version": "1.0", "added_tokens": [], "post_processor": None, **kept, "model": model}


def _without_special(specification: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer without its special tokens, which are plain text in encoding."""
    added = [token for token in specification.get("added_tokens", []) if not token["special"]]
    return {**specification, "added_tokens": added, "post_processor": None}


def _codes() -> list[int]:
    """Code points to try."""
    uniform = np.zeros(0x110000, bool)
    for first, last in UNIFORM:
        uniform[first : last + 1] = True
    uniform[LAST:] = True
    uniform[slice(*TAGS)] = False
    tried = ~uniform | (np.arange(len(uniform)) % SAMPLED == 0)
    tried[0xD800:0xE000] = False
    return np.flatnonzero(tried).tolist()


def _compare(engine: Callable[[pa.Array], Ids], library: tokenizers.Tokenizer) -> str:
    """The characters that are cut differently: many in a text first, then those of texts that differ, one by one."""
    texts = [SURROUNDINGS.format(chr(code)) for code in _codes()]
    groups = [texts[at : at + TOGETHER] for at in range(0, len(texts), TOGETHER)]
    suspected = itertools.compress(groups, _differ(engine, library, ["".join(group) for group in groups]))
    alone = [text for group in suspected for text in group]
    return "".join(text[1] for text in itertools.compress(alone, _differ(engine, library, alone)))


def _differ(engine: Callable[[pa.Array], Ids], library: tokenizers.Tokenizer, texts: list[str]) -> list[bool]:
    """Of each text, whether its ids differ."""
    ids, offsets = engine(pa.array(texts, pa.large_string()))
    truth = library.encode_batch_fast(texts, add_special_tokens=False)
    spans = zip(itertools.pairwise(offsets.tolist()), truth, strict=True)
    return [ids[begin:end].tolist() != encoding.ids for (begin, end), encoding in spans]
