"""Token sources: the flat, memory-mapped arrays that `encode` writes, one set a source and split.

    tokens.json                      what is there: tokenizer, special ids, and per source and split the counts
    wiki.train.tokens.npy            all ids of all documents, one after the other (uint16 or uint32)
    wiki.train.offsets.npy           int64 [documents + 1]: document d is tokens[offsets[d]:offsets[d + 1]]
    wiki.train.targets.npy           chat and pairs: 1 where a token is to be predicted
    wiki.train.bytes.npy             int64 [documents]: UTF-8 bytes that the predicted tokens stand for
    wiki.train.ids.parquet           the documents' ids
    wiki.train.groups.npy            text: int64 [groups], the tokens of each group of 4096 documents (epochs.py)
    wiki.train.column.NAME.npy       float32 [documents]: a column of the corpus that `keep` names, for weights

A text document is BOS + ids + EOS; a chat document is a conversation in the chat format; in form `pairs`,
documents 2j and 2j + 1 are the chosen and the rejected conversation of pair j.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.tokens.permutation import Permutation

INDEX = "tokens.json"
GROUP = 4096  # documents that are shuffled together; see epochs.py
Form = Literal["text", "chat", "pairs"]
Split = Literal["train", "heldout"]


@dataclass(frozen=True, eq=False)
class TokenSource:
    """One split of one source, memory-mapped.

    Attributes:
        name: the source's name in recipes and mixtures.
        form: `text`, `chat` or `pairs`.
        language: language code.
        domain: `web`, `parallel`, `chat`, …
        split: `train` or `heldout`.
        content: hash of the arrays, as `encode` took it.
        special: ids of the special tokens (`bos`, `eos`, `pad`, `end`, …).
        tokens: [tokens] uint16 or uint32.
        offsets: [documents + 1] int64.
        targets: [tokens] uint8, or None for text, where every token but a document's first is predicted.
        bytes: [documents] int64.
        ids_file: the Parquet file of document ids.
        columns: [documents] each: columns of the corpus that were kept.
        groups: [groups] tokens of each group of documents, or None where they are still to be summed.
        reference: [tokens] float32, of pairs that are trained on: the log-probability that the reference gave each
            predicted token, NaN where it was not asked yet; see diglot/train/reference.py.
    """

    name: str
    form: Form
    language: str
    domain: str
    split: Split
    content: str
    special: dict[str, int]
    tokens: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray | None
    bytes: np.ndarray
    ids_file: Path
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: np.ndarray | None = None
    reference: np.ndarray | None = None

    @property
    def num_documents(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_tokens(self) -> int:
        return int(self.offsets[-1])

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [documents]: tokens of each document."""
        return np.diff(self.offsets)

    def lengths_of(self, documents: np.ndarray) -> np.ndarray:
        """int64: tokens of some documents."""
        return self.offsets[documents + 1] - self.offsets[documents]

    @functools.cached_property
    def group_tokens(self) -> np.ndarray:
        """int64 [groups]: the tokens of each group of documents."""
        return sum_groups(self.offsets) if self.groups is None else self.groups

    @functools.cached_property
    def _ids(self) -> tuple[Any, np.ndarray]:
        import pyarrow.parquet as parquet  # start-up: training asks for no ids

        file = parquet.ParquetFile(self.ids_file)
        rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        return file, np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])

    def document_ids(self, documents: Sequence[int] | np.ndarray) -> list[str]:
        """The ids that documents have in the corpus, by their number here."""
        file, bounds = self._ids
        numbers = np.asarray(documents, dtype=np.int64)
        groups = np.searchsorted(bounds, numbers, side="right") - 1
        ids = np.empty(len(numbers), dtype=object)
        for group in np.unique(groups).tolist():
            here = np.flatnonzero(groups == group)
            column = file.read_row_group(group, columns=["id"]).column("id")
            ids[here] = column.take(numbers[here] - bounds[group]).to_pylist()
        return ids.tolist()

    def find_documents(self, document_id: str) -> list[int]:
        """The numbers of the documents that have an id; a pair's two have the same. Reads all ids."""
        import pyarrow.compute as compute  # start-up: training asks for no ids

        file, bounds = self._ids
        found: list[int] = []
        for group in range(len(bounds) - 1):
            column = file.read_row_group(group, columns=["id"]).column("id")
            places = np.flatnonzero(compute.equal(column, document_id).to_numpy())
            found += (places + bounds[group]).tolist()
        return found


def num_groups(num_documents: int) -> int:
    """How many groups so many documents make."""
    return -(-num_documents // GROUP)


def group_documents(num_documents: int, group: int) -> np.ndarray:
    """int64: the documents of a group, which are thrown together by chance, the same for every run."""
    places = np.arange(group * GROUP, min((group + 1) * GROUP, num_documents))
    return Permutation(num_documents, "groups").at(places)


def group_of(num_documents: int, document: int) -> int:
    """The group that a document is in."""
    return int(Permutation(num_documents, "groups").places(np.array([document]))[0]) // GROUP


def sum_groups(offsets: np.ndarray) -> np.ndarray:
    """int64 [groups]: the tokens of each group; `offsets` as in `TokenSource`."""
    number = len(offsets) - 1
    totals = np.empty(num_groups(number), dtype=np.int64)
    for group in range(len(totals)):
        documents = group_documents(number, group)
        totals[group] = (offsets[documents + 1] - offsets[documents]).sum()
    return totals


def open_tokens(folders: Sequence[Path], tokenizer_hash: str | None, split: Split = "train") -> dict[str, TokenSource]:
    """Open all sources of one split.

    Args:
        folders: token artifacts.
        tokenizer_hash: hash of the model's tokenizer; None skips the check.
        split: `train` or `heldout`; sources without documents in that split are left out.

    Returns:
        The sources by name, in the order of the folders and of each folder's index.

    Raises:
        UserError: a folder holds no tokens, another tokenizer made them, or two folders have a source of one name.
    """
    sources: dict[str, TokenSource] = {}
    for folder in folders:
        index = read_json(folder / INDEX)
        if tokenizer_hash is not None and index["tokenizer"] != tokenizer_hash:
            raise UserError(
                f"{folder}: these tokens were made with another tokenizer ({index['tokenizer']}) than the model's "
                f"({tokenizer_hash}); encode them again with the tokenizer that the model has"
            )
        for name, entry in index["sources"].items():
            if name in sources:
                raise UserError(f"{folder}: source {name!r} is also in another token artifact; rename one of them")
            if entry[split]["documents"]:
                sources[name] = _open_source(folder, name, entry, split, index["special"])
    return sources


def _open_source(folder: Path, name: str, entry: dict[str, Any], split: Split, special: dict[str, int]) -> TokenSource:
    def array(part: str) -> np.ndarray:
        return np.load(folder / f"{name}.{split}.{part}.npy", mmap_mode="r", allow_pickle=False)

    groups = folder / f"{name}.{split}.groups.npy"
    return TokenSource(
        name=name,
        form=entry["form"],
        language=entry["language"],
        domain=entry["domain"],
        split=split,
        content=entry[split]["content"],
        special=special,
        tokens=array("tokens"),
        offsets=np.asarray(array("offsets")),
        targets=None if entry["form"] == "text" else array("targets"),
        bytes=np.asarray(array("bytes")),
        ids_file=folder / f"{name}.{split}.ids.parquet",
        columns={column: np.asarray(array(f"column.{column}")) for column in entry.get("columns", [])},
        groups=np.asarray(array("groups")) if groups.is_file() else None,
    )
