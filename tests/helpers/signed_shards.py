"""Documents as curate leaves them on disk for deduplication, and a plain Python account of their similarity."""

import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa

from diglot.curate.documents import SignedShard
from diglot.text.minhash import band_keys, sign
from diglot.text.unicode import text_array

PERMUTATIONS, BANDS, ROWS, SHINGLE, CHARACTERS = 128, 14, 9, 5, 13


def bare(character: str) -> str:
    """The character in lower case; nothing for punctuation and symbols, a space for whitespace."""
    if character.isspace():
        return " "
    if unicodedata.category(character)[0] in "PS" or unicodedata.category(character) in ("Cc", "Cf"):
        return ""
    lowered = character.lower()
    return lowered if len(lowered) == 1 else character


def plain_shingles(text: str, by_characters: bool = False) -> set:
    """The set of word 5-grams, or character 13-grams, of a text."""
    words = "".join(map(bare, text)).split()
    units = list("".join(words)) if by_characters else words
    size = min(CHARACTERS if by_characters else SHINGLE, len(units))
    return {tuple(units[i : i + size]) for i in range(len(units) - size + 1)} if units else set()


def plain_jaccard(one: str, other: str, by_characters: bool = False) -> float:
    """Their Jaccard similarity, by Python sets."""
    a, b = plain_shingles(one, by_characters), plain_shingles(other, by_characters)
    return len(a & b) / len(a | b) if a & b else 0.0


def write_shards(
    folder: Path, texts: list[str], rows: int = 1000, group: int = 0, by_characters: bool = False, first: int = 0
) -> list[SignedShard]:
    """Sign documents and write them as shards of so many."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for begin in range(0, len(texts), rows):
        batch = text_array([text.encode() for text in texts[begin : begin + rows]])
        hashes, signatures = sign(batch, PERMUTATIONS, SHINGLE, by_characters)
        path, language = folder / f"{first + begin:07}.arrow", "zh" if by_characters else "en"
        shard = SignedShard(path, len(batch), "s", "s", (language,), first + begin, group)
        write_columns(path, {"text": batch, "hash": pa.array(hashes)})
        np.save(shard.signatures, signatures)
        np.save(shard.bands, band_keys(signatures, BANDS, ROWS))
        shards.append(shard)
    return shards


def write_columns(path: Path, columns: dict) -> None:
    """Write an Arrow file of one batch."""
    batch = pa.record_batch(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as out:
        out.write_batch(batch)


def all_alive(folder: Path, documents: int) -> Path:
    """The file that says that all documents take part."""
    np.save(folder / "alive.npy", np.ones(documents, bool))
    return folder / "alive.npy"
