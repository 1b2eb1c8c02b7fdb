"""What is done to one shard of a source: correct, identify, measure, filter, sign.

A shard is a stretch of a source of at most 32 MB of text. All that is done here looks at single documents, so shards
may be worked on in any order and at the same time; what must compare documents (deduplication) gets the survivors'
hashes. Survivors wait in the scratch folder as Parquet, so memory holds a few shards and the hashes, never a corpus.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diglot.corpus.characters import text_array
from diglot.corpus.dedup import Signatures, sign
from diglot.corpus.identify import RIGHT, Identified, describe, differs, identify, load_model, verdicts
from diglot.corpus.languages import is_unspaced, language_name
from diglot.corpus.ledger import SAMPLES, Counts, Sample, excerpt
from diglot.corpus.lines import CORRECTIONS, Corrected, correct
from diglot.corpus.rules import (
    SIGNALS,
    Rule,
    first_broken,
    histogram,
    reasons_in_order,
    rules_for,
)
from diglot.corpus.signals import measure
from diglot.recipe import Curate, Source

SHARD_BYTES = 32_000_000
SHARD_DOCUMENTS = 100_000
SIZES = ("read_characters", "read_bytes", "characters", "bytes", *CORRECTIONS)


@dataclass
class Shard:
    """Documents as they were read.

    Attributes:
        number: position among the source's shards.
        ids: their ids, unique in the corpus.
        texts: UTF-8.
        targets: parallel data: the texts in the target language; else empty.
    """

    number: int
    ids: list[str]
    texts: list[bytes]
    targets: list[bytes]


@dataclass
class Survivors:
    """What is known of the documents that passed all rules, in their order.

    Attributes:
        signatures: for deduplication.
        held_out_keys: uint64 [documents], keyed hashes of the ids.
        sizes: int64 [documents, len(SIZES)].
    """

    signatures: Signatures
    held_out_keys: np.ndarray
    sizes: np.ndarray


@dataclass
class Measured:
    """The outcome of a shard.

    Attributes:
        file: where the survivors are: Parquet with id, text and the signals.
        read: what was read, in all.
        dropped: by reason.
        samples: the first few dropped documents by reason.
        histograms: by signal: int64 [2, bins], documents kept and dropped.
        identified: documents identified as another language than theirs, by language.
        survivors: the rest.
    """

    file: Path
    read: Counts
    dropped: dict[str, Counts]
    samples: dict[str, list[Sample]]
    histograms: dict[str, np.ndarray]
    identified: Counter[str]
    survivors: Survivors


@dataclass
class Sides:
    """A shard's texts after correction, and how their languages were judged.

    Attributes:
        corrected: the texts; of parallel data, the source's texts, and the target's behind them.
        judged: how each was identified, with the language it was held to.
        verdicts: int64 [documents], of the first side that does not pass.
        confidence: float64 [documents], the lower of the two.
    """

    corrected: list[Corrected]
    judged: list[tuple[Identified, str]]
    verdicts: np.ndarray
    confidence: np.ndarray


def process(shard: Shard, source: Source, settings: Curate, seed: str, file: Path) -> Measured:
    """Do to a shard all that looks at single documents, and leave the survivors in `file`.

    Args:
        shard: the documents.
        source: where they come from.
        settings: of the stage.
        seed: key of the held-out split.
        file: the Parquet file to write.
    """
    parallel = source.target_language is not None
    sides = _correct_and_identify(shard, source, settings)
    whole = _joined([side.texts for side in sides.corrected])
    read_characters = sum(side.characters for side in sides.corrected)
    signals = np.column_stack([
        measure(whole),
        sum(side.urls for side in sides.corrected) / np.maximum(read_characters, 1),
        sum(side.broken for side in sides.corrected) / np.maximum(read_characters, 1),
        sides.confidence,
    ])  # fmt: skip
    rules = rules_for(settings.rules, unspaced=is_unspaced(source.language), parallel=parallel)
    names = ["empty_text", "untranslated", *reasons_in_order(rules)]
    reasons = first_broken(rules, signals, sides.verdicts) + 2
    reasons[reasons == 1] = -1
    if parallel:
        left, right = (side.texts.to_numpy(zero_copy_only=False) for side in sides.corrected)
        reasons[left == right] = 1
    for side in sides.corrected:
        reasons[np.diff(_offsets(side.texts)) == 0] = 0

    sizes = _sizes(shard, sides.corrected)
    passed = np.flatnonzero(reasons < 0)
    texts = _rendered(shard, sides.corrected, source)
    _write_survivors(file, shard.ids, texts, signals, passed)
    return Measured(
        file=file,
        read=Counts(len(shard.ids), int(sizes[:, 0].sum()), int(sizes[:, 1].sum())),
        dropped=_count_dropped(names, reasons, sizes),
        samples=_samples(shard, names, reasons, rules, signals, sides),
        histograms=_histograms(signals, reasons < 0),
        identified=_other_languages(sides),
        survivors=_sign_survivors(shard, whole, source, settings, seed, sizes, passed),
    )


def _correct_and_identify(shard: Shard, source: Source, settings: Curate) -> Sides:
    languages = [(shard.texts, source.language)]
    if source.target_language is not None:
        languages.append((shard.targets, source.target_language))
    corrected, judged = [], []
    worst = np.zeros(len(shard.ids), np.int64)
    confidence = np.ones(len(shard.ids))
    for texts, language in languages:
        side = correct(text_array(texts), settings.corrections)
        identified = identify(side.texts, language)
        if settings.language_confidence > 0:
            verdict = verdicts(side.texts, identified, language, settings.language_confidence)
            worst = np.where(worst == RIGHT, verdict, worst)
        confidence = np.minimum(confidence, identified.accepted)
        corrected.append(side)
        judged.append((identified, language))
    return Sides(corrected, judged, worst, confidence)


def _joined(texts: list[pa.Array]) -> pa.Array:
    """The texts to measure and to compare: of a pair, both sides, whatever the direction it is written in."""
    if len(texts) == 1:
        return texts[0]
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*texts, pa.scalar("\n", pa.large_string()))


def _rendered(shard: Shard, corrected: list[Corrected], source: Source) -> pa.Array:
    """The texts as they are stored: pairs become bilingual documents, half of them in each direction.

    `Arabic: …` stands above `English: …` where a hash of the id is odd.
    """
    if source.target_language is None:
        return corrected[0].texts
    labels = [language_name(source.language), language_name(source.target_language)]
    documents = []
    for document, pair in enumerate(zip(*(side.texts.to_pylist() for side in corrected), strict=True)):
        lines = [f"{label}: {text}" for label, text in zip(labels, pair, strict=True)]
        documents.append("\n".join(lines[:: -1 if keyed_hash("direction", shard.ids[document]) % 2 else 1]))
    return pa.array(documents, pa.large_string())


def keyed_hash(key: str, name: str) -> int:
    """A 64-bit hash of a name that depends on a key."""
    return int.from_bytes(hashlib.blake2b(f"{key}/{name}".encode(), digest_size=8).digest(), "little")


def _offsets(texts: pa.Array) -> np.ndarray:
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]


def _sizes(shard: Shard, corrected: list[Corrected]) -> np.ndarray:
    """Characters and bytes of each document as read and as corrected, and what each correction took (`SIZES`)."""
    columns = np.zeros((len(shard.ids), len(SIZES)), np.int64)
    for side, texts in zip(corrected, [shard.texts, shard.targets], strict=False):
        columns[:, 0] += side.characters
        columns[:, 1] += np.fromiter(map(len, texts), np.int64, len(texts))
        columns[:, 2] += side.characters - side.removed.sum(axis=1)
        columns[:, 3] += np.diff(_offsets(side.texts))
        columns[:, 4:] += side.removed
    return columns


def _write_survivors(
    file: Path, ids: list[str], texts: pa.Array, signals: np.ndarray, passed: np.ndarray
) -> None:
    columns = {"id": pa.array([ids[i] for i in passed], pa.string()), "text": texts.take(pa.array(passed))}
    for place, name in enumerate(SIGNALS):
        columns[name] = pa.array(signals[passed, place].astype(np.float32))
    pq.write_table(pa.table(columns), file, compression="lz4")


def _count_dropped(names: list[str], reasons: np.ndarray, sizes: np.ndarray) -> dict[str, Counts]:
    counts = {}
    for place in np.unique(reasons[reasons >= 0]):
        chosen = reasons == place
        counts[names[place]] = Counts(
            int(chosen.sum()), int(sizes[chosen, 0].sum()), int(sizes[chosen, 1].sum())
        )
    return counts


def _samples(
    shard: Shard, names: list[str], reasons: np.ndarray, rules: list[Rule], signals: np.ndarray, sides: Sides
) -> dict[str, list[Sample]]:
    """The first few dropped documents of each reason, with what was wrong with them."""
    by_name = {rule.name: rule for rule in rules}
    samples: dict[str, list[Sample]] = {}
    for place in np.unique(reasons[reasons >= 0]):
        name = names[place]
        for document in np.flatnonzero(reasons == place)[:SAMPLES]:
            detail = ""
            if name in by_name:
                value = signals[document, SIGNALS.index(by_name[name].signal)]
                detail = by_name[name].describe(float(value))
            elif name in ("wrong_language", "low_confidence"):
                described = (describe(found, document, language) for found, language in sides.judged)
                detail = "; ".join(described)
            parts = [shard.texts[document], *(shard.targets[document : document + 1])]
            text = "\n".join(part[:1000].decode(errors="ignore") for part in parts)
            samples.setdefault(name, []).append(Sample(shard.ids[document], excerpt(text), detail))
    return samples


def _histograms(signals: np.ndarray, passed: np.ndarray) -> dict[str, np.ndarray]:
    return {
        name: np.stack([histogram(name, signals[passed, place]), histogram(name, signals[~passed, place])])
        for place, name in enumerate(SIGNALS)
    }


def _other_languages(sides: Sides) -> Counter[str]:
    """The languages that documents were identified as where it is another than theirs, however unsure."""
    codes = load_model().codes
    found = [""] * len(sides.verdicts)
    for identified, language in sides.judged:
        for document in np.flatnonzero(differs(identified, language)):
            code = codes[identified.language[document]]
            found[document] += f" + {code}" if found[document] else code
    return Counter(filter(None, found))


def _sign_survivors(
    shard: Shard,
    whole: pa.Array,
    source: Source,
    settings: Curate,
    seed: str,
    sizes: np.ndarray,
    passed: np.ndarray,
) -> Survivors:
    wanted = settings.deduplication
    by_characters = is_unspaced(source.language) or is_unspaced(source.target_language)
    permutations = wanted.permutations if wanted.minhash else 0
    signatures = sign(whole.take(pa.array(passed)), permutations, wanted.shingle, by_characters)
    keys = np.array([keyed_hash(seed, shard.ids[i]) for i in passed], np.uint64)
    return Survivors(signatures, keys, sizes[passed])
