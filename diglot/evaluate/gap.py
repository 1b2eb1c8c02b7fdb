"""Two models on the same held-out documents: how many bits each needs for every one of them.

The documents are chosen and cut as bits per byte of `evaluate` are (`bits.py`): by their ids and bytes, so that models with any
tokenizers are measured on the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diglot.base.artifact import Artifact
from diglot.evaluate.bits import bits_per_byte, cut, read_held_out
from diglot.evaluate.language_model import LanguageModel

Row = dict[str, Any]


def documents_of(corpora: Sequence[Artifact], max_documents: int, max_bytes: int, seed: str) -> list[dict[str, str]]:
    """The held-out documents of corpora that models are measured on.

    Args:
        corpora: made by curate.
        max_documents: a source, at most.
        max_bytes: a source; a document of more than a twentieth is cut.
        seed: which ones.

    Raises:
        UserError: a corpus holds nothing out.
    """
    documents = [document for corpus in corpora for document in read_held_out(corpus, max_documents, seed)]
    return [document for document in cut(documents, max_bytes, seed) if document["text"]]


def measure(
    models: Mapping[str, Path],
    documents: list[dict[str, str]],
    batch_size: int,
    report: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[Row]:
    """Bits of every document by model; one model is in memory at a time.

    Args:
        models: their folders by name.
        documents: from `documents_of`.
        batch_size: sequences in memory at a time.
        report: told the model, and windows done and in all.

    Returns:
        The documents, each with its `bytes` and `bits` by model.

    Raises:
        UserError: a folder holds no model that can be loaded.
    """
    rows: list[Row] = [{**document, "bits": {}} for document in documents]
    for name, folder in models.items():
        model = LanguageModel.load(folder, batch_size)
        _, found = bits_per_byte(model, documents, functools.partial(report, name))
        for row, own in zip(rows, found, strict=True):
            row["bits"][name], row["bytes"] = own["bits"], own["bytes"]
        del model
    return rows
