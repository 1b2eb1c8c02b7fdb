"""What training a quality model needs beside the model: reference documents, some of them kept apart, and measures.

Documents are chosen by keyed hashes of their ids, so that the choice depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.summaries.quality import Separation
from diglot.read.corpus import Split, read_documents
from diglot.text.hashing import hash_names, keyed

_APART = 10  # of documents alone, at most one in so many is held back


def languages_of(corpora: Sequence[Artifact], wanted: Sequence[str] | None) -> list[str]:
    """The languages of some corpora, sorted, or those wanted.

    Raises:
        UserError: a wanted language is in none of them, or they hold no document at all.
    """
    found: set[str] = set()
    for batch in read_documents(corpora, "documents", ["language"]):
        found.update(batch["language"].unique().to_pylist())
    missing = sorted(set(wanted or []) - found)
    if missing or not found:
        names = ", ".join(artifact.stage for artifact in corpora)
        what = f"no document in {', '.join(missing)}" if missing else "no document"
        raise UserError(f"there is {what} in {names} (languages: {', '.join(sorted(found)) or 'none'})")
    return sorted(wanted or found)


def documents(corpora: Sequence[Artifact], language: str, split: Split = "documents") -> Iterator[pa.RecordBatch]:
    """The `id` and `text` of a language's documents, but for parallel ones."""
    return read_documents(corpora, split, ["id", "text"], language=language, parallel=False)


def choose(corpora: Sequence[Artifact], language: str, splits: Sequence[Split], number: int, key: str) -> pa.Table:
    """The documents of a language with the least keyed hashes: `id`, `text`, at most `number`."""
    best: pa.Table | None = None
    for split in splits:
        for batch in documents(corpora, language, split):
            table = pa.table(batch).append_column("hash", pa.array(keyed(key, hash_names(batch["id"]))))
            best = table if best is None else pa.concat_tables([best, table])
            if len(best) > number:
                best = best.take(pa.array(_least(best, number)))
    if best is None:
        return pa.table({name: pa.array([], pa.large_string()) for name in ("id", "text")})
    return best.take(pa.array(_least(best, number))).select(["id", "text"]).combine_chunks()


def _least(table: pa.Table, number: int) -> np.ndarray:
    return np.argsort(table["hash"].to_numpy(), kind="stable")[:number]


def hold_apart(corpora: Sequence[Artifact], language: str, number: int, key: str) -> tuple[pa.Table, np.ndarray]:
    """Documents to measure on: those that were held out, or else some that are held back.

    Returns:
        The documents, and the hashes of the ids that must not be trained on (sorted; empty for held-out ones).
    """
    held_out = choose(corpora, language, ["heldout"], number, key)
    if len(held_out):
        return held_out, np.zeros(0, np.uint64)
    total = sum(len(batch) for batch in documents(corpora, language))
    number = min(number, total // _APART)
    held_back = choose(corpora, language, ["documents"], number, key)
    return held_back, np.sort(hash_names(column(held_back, "id")))


def training_texts(corpora: Sequence[Artifact], language: str, apart: np.ndarray) -> Iterator[pa.Array]:
    """The texts of a language to train on, in batches."""
    for batch in documents(corpora, language):
        texts = batch["text"]
        if len(apart):
            texts = texts.filter(pa.array(~np.isin(hash_names(batch["id"]), apart)))
        if len(texts):
            yield texts


def column(table: pa.Table, name: str) -> pa.Array:
    """A column of a table as one array."""
    chunks = table[name].combine_chunks()
    return pa.concat_arrays(chunks.chunks) if isinstance(chunks, pa.ChunkedArray) else chunks


def separation(good: np.ndarray, bad: np.ndarray) -> Separation | None:
    """How well a score tells good documents from bad ones; good ones should have the higher score.

    Returns:
        The area under the curve, and what the threshold with the best F1 of keeping good documents gives; None without
        documents.
    """
    good, bad = np.sort(good[~np.isnan(good)]), np.sort(bad[~np.isnan(bad)])
    if not len(good) or not len(bad):
        return None
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    thresholds = np.unique(good)
    kept_good = len(good) - np.searchsorted(good, thresholds, "left")
    kept_bad = len(bad) - np.searchsorted(bad, thresholds, "left")
    best = int(np.argmax(2 * kept_good / (kept_good + kept_bad + len(good))))
    return Separation(
        auc=round(float(below.sum() / (2 * len(good) * len(bad))), 4),
        threshold=float(f"{thresholds[best]:.6g}"),
        precision=round(float(kept_good[best] / (kept_good[best] + kept_bad[best])), 4),
        recall=round(float(kept_good[best] / len(good)), 4),
        good=len(good),
        bad=len(bad),
    )
