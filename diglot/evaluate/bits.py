"""Bits per byte: how many bits a model needs for a byte of held-out text, comparable across tokenizers.

    bits per byte = nats of all tokens / ln 2 / UTF-8 bytes of the text

The beginning-of-text token comes first and is not predicted; the end-of-text token is not counted (it stands for no
bytes). Documents longer than the model's context are cut into windows as in training.
"""

from __future__ import annotations

import math
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.intervals import jackknife_error
from diglot.base.randomness import key_hash
from diglot.base.summaries.scores import BitsPerByte
from diglot.evaluate.language_model import LanguageModel, Report
from diglot.evaluate.metrics import ratio_without_each
from diglot.read.corpus import read_documents

FEWEST_DOCUMENTS = 20  # of a source, where they are long: the standard error is over documents
COLUMNS = ["id", "text", "language", "domain", "source"]


def read_held_out(corpus: Artifact, max_documents: int, seed: str) -> list[dict[str, str]]:
    """A sample of a corpus's held-out documents: up to `max_documents` a source, chosen by a hash of their ids.

    Raises:
        UserError: the corpus keeps nothing held out.
    """
    sources: dict[str, list[tuple[int, int]]] = {}
    rows = (row for batch in read_documents([corpus], "heldout", ["id", "source"]) for row in batch.to_pylist())
    for place, row in enumerate(rows):
        sources.setdefault(row["source"], []).append((key_hash(f"{seed}/{row['id']}"), place))
    if not sources:
        raise UserError(
            f"stage {corpus.stage!r} holds out no documents to measure bits per byte on: "
            "set held_out above 0 there, or leave the corpus out of this stage's `from`"
        )
    chosen = {place for listed in sources.values() for _, place in sorted(listed)[:max_documents]}
    documents = (row for batch in read_documents([corpus], "heldout", COLUMNS) for row in batch.to_pylist())
    return [document for place, document in enumerate(documents) if place in chosen]


def cut(documents: list[dict[str, str]], max_bytes: int, seed: str) -> list[dict[str, str]]:
    """The documents that bits per byte are measured on: of each source until there are so many bytes, long ones cut.

    What is measured depends on the text alone, so that models with any tokenizer are measured on the same bytes.

    Args:
        documents: from `read_held_out`.
        max_bytes: a source; none of its documents counts for more than a twentieth.
        seed: they are taken by a hash of their ids, as there.
    """
    longest = max(1, max_bytes // FEWEST_DOCUMENTS)
    room: dict[str, int] = {}
    chosen: dict[int, dict[str, str]] = {}
    for place in sorted(range(len(documents)), key=lambda place: key_hash(f"{seed}/{documents[place]['id']}")):
        document = documents[place]
        if room.setdefault(document["source"], max_bytes) <= 0:
            continue
        text = document["text"].encode()[:longest].decode(errors="ignore")  # without half a character
        room[document["source"]] -= len(text.encode())
        chosen[place] = {**document, "text": text}
    return [chosen[place] for place in sorted(chosen)]


def bits_per_byte(
    model: LanguageModel, documents: list[dict[str, str]], report: Report
) -> tuple[dict[str, BitsPerByte], list[dict[str, Any]]]:
    """Bits per byte by language; parallel text by source, as it belongs to no single language.

    Returns:
        The measurements by language; and bits, bytes and tokens of every document.
    """
    documents = [document for document in documents if document["text"]]
    # A long document is several windows; `owners` leads each window's score back to its document.
    windows, owners = [], []
    for number, document in enumerate(documents):
        for window in model.windows(model.encode(document["text"], add_special_tokens=False)):
            windows.append(window)
            owners.append(number)
    nats, tokens = [0.0] * len(documents), [0] * len(documents)
    for owner, score in zip(owners, model.score(windows, report)):
        nats[owner] -= score.log_likelihood
        tokens[owner] += score.num_tokens
    rows = [
        {
            "id": document["id"],
            "source": document["source"],
            "group": document["source" if document["domain"] == "parallel" else "language"],
            "bits": round(nats[number] / math.log(2), 3),
            "bytes": len(document["text"].encode()),
            "tokens": tokens[number],
        }
        for number, document in enumerate(documents)
    ]
    groups = sorted({str(row["group"]) for row in rows})
    return {group: _bits([row for row in rows if row["group"] == group]) for group in groups}, rows


def _bits(rows: list[dict[str, Any]]) -> BitsPerByte:
    bits, sizes = [row["bits"] for row in rows], [row["bytes"] for row in rows]
    return BitsPerByte(
        value=sum(bits) / sum(sizes),
        standard_error=jackknife_error(ratio_without_each(bits, sizes)),
        documents=len(rows),
        bytes=sum(sizes),
        tokens=sum(row["tokens"] for row in rows),
    )
