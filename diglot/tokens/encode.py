"""The stage `encode`: documents, conversations and preference pairs become memory-mapped tokens.

Text is encoded in chunks and written straight into `.npy` files, so memory stays bounded by a chunk whatever the
size of the corpus. Special tokens never come from text: a web page that says "</s>" or "<|user|>" is encoded as
those characters.
"""

from __future__ import annotations

import array
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from tokenizers import Tokenizer

from diglot.artifact import Artifact, Context, Inputs, UserError, hash_file
from diglot.recipe import Encode
from diglot.tokenizer.chat import encode_chat
from diglot.tokenizer.measure import load_tokenizer, special_ids, tokenizer_hash
from diglot.tokens.shards import INDEX, Form, Split

SPLITS: dict[Split, str] = {"train": "documents", "heldout": "heldout"}  # and the corpus's folder
CHUNK_ROWS, CHUNK_CHARACTERS = 1000, 1_000_000  # what is in memory at a time


class Origin(NamedTuple):
    """A source to be encoded, and the artifact it is in."""

    name: str
    form: Form
    language: str
    domain: str
    artifact: Artifact


class Encoded(NamedTuple):
    """One document."""

    id: str
    ids: list[int]
    targets: list[int] | None
    bytes: int


class NpyFile:
    """A flat `.npy` file that is appended to; its header, written again at the end, has room to grow."""

    def __init__(self, file: Path, dtype: np.dtype):
        self.dtype, self.size = dtype, 0
        self._stream = file.open("wb")
        self._write_header()

    def _write_header(self) -> None:
        header = {
            "shape": (self.size,),
            "fortran_order": False,
            "descr": np.lib.format.dtype_to_descr(self.dtype),
        }
        np.lib.format.write_array_header_1_0(self._stream, header)

    def append(self, values: list[int] | array.array | np.ndarray) -> None:
        """Write values after those written before."""
        self._stream.write(np.asarray(values, dtype=self.dtype).tobytes())
        self.size += len(values)

    def __enter__(self) -> NpyFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.seek(0)
        self._write_header()
        self._stream.close()


class ShardWriter:
    """Writes the files of one split of one source; see shards.py for what they are."""

    def __init__(self, folder: Path, origin: Origin, split: Split, dtype: np.dtype):
        self.prefix = f"{folder}/{origin.name}.{split}"
        self.has_targets = origin.form != "text"
        self.offsets = array.array("q", [0])
        self.bytes = array.array("q")
        self._open = ExitStack()
        self._tokens = self._open.enter_context(NpyFile(self._file("tokens.npy"), dtype))
        if self.has_targets:
            self._targets = self._open.enter_context(NpyFile(self._file("targets.npy"), np.dtype(np.uint8)))
        schema = pa.schema([("id", pa.string())])
        self._ids = self._open.enter_context(
            parquet.ParquetWriter(self._file("ids.parquet"), schema, compression="zstd")
        )

    def _file(self, suffix: str) -> Path:
        return Path(f"{self.prefix}.{suffix}")

    def append(self, documents: list[Encoded]) -> None:
        """Write documents after those written before."""
        for document in documents:
            self._tokens.append(document.ids)
            if document.targets is not None:
                self._targets.append(document.targets)
            self.offsets.append(self._tokens.size)
            self.bytes.append(document.bytes)
        self._ids.write_table(
            pa.table({"id": pa.array([document.id for document in documents], pa.string())})
        )

    def close(self) -> dict[str, Any]:
        """Finish the files; returns the split's entry in the index."""
        self._open.close()
        for name, values in (("offsets", self.offsets), ("bytes", self.bytes)):
            with NpyFile(self._file(f"{name}.npy"), np.dtype(np.int64)) as file:
                file.append(values)
        parts = ["tokens.npy", "offsets.npy", "bytes.npy", *(["targets.npy"] if self.has_targets else [])]
        hashes = " ".join(hash_file(self._file(part)) for part in parts)
        return {
            "documents": len(self.bytes),
            "tokens": self._tokens.size,
            "bytes": sum(self.bytes),
            "content": hashlib.sha256(hashes.encode()).hexdigest()[:32],
        }


def run(settings: Encode, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """Encode every source of the inputs.

    Raises:
        UserError: two inputs have a source of one name, `sources` names one that is not there, or a source has
            nothing to train on.
    """
    folder = inputs.one("tokenizer").path
    tokenizer = load_tokenizer(folder)
    special = special_ids(folder)
    vocabulary_size = tokenizer.get_vocab_size(with_added_tokens=True)
    dtype = np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)
    origins = find_sources(inputs, settings.sources)
    total = sum(_count_documents(origin, split) for origin in origins for split in SPLITS)
    sources: dict[str, dict[str, Any]] = {}
    done = 0
    for origin in origins:
        entry: dict[str, Any] = {
            "form": origin.form,
            "language": origin.language,
            "domain": origin.domain,
        }
        for split in SPLITS:
            writer = ShardWriter(output, origin, split, dtype)
            for chunk in encode_source(origin, split, tokenizer, special):
                writer.append(chunk)
                done += len(chunk) // (2 if origin.form == "pairs" else 1)
                context.progress(done, total, "documents", origin.name)
            entry[split] = writer.close()
        if not entry["train"]["documents"]:
            raise UserError(
                f"source {origin.name!r} of stage {origin.artifact.stage!r} has nothing to train on"
            )
        sources[origin.name] = entry
    index = {
        "tokenizer": tokenizer_hash(folder),
        "vocabulary_size": vocabulary_size,
        "dtype": dtype.name,
        "special": special,
        "sources": sources,
    }
    (output / INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return _summary(index)


def find_sources(inputs: Inputs, wanted: list[str] | None) -> list[Origin]:
    """The sources of all inputs, in the order of roles, artifacts and their ledgers.

    Raises:
        UserError: a name is there twice, or is wanted and not there.
    """
    found: dict[str, Origin] = {}
    roles: tuple[tuple[str, Form], ...] = (("corpus", "text"), ("tasks", "chat"), ("preferences", "pairs"))
    for role, form in roles:
        for artifact in inputs.many(role):
            ledger = json.loads(artifact.file("ledger.json").read_text(encoding="utf-8"))
            for name, entry in ledger["sources"].items():
                if role == "corpus" and not entry["kept"]["documents"]:
                    continue  # what is left of a source that was sorted by language
                if name in found and (wanted is None or name in wanted):
                    raise UserError(
                        f"source {name!r} is in both {found[name].artifact.stage!r} and {artifact.stage!r}; "
                        "mixtures go by name: give one of them another"
                    )
                found[name] = Origin(name, form, entry["language"], entry["domain"], artifact)
    missing = [name for name in wanted or [] if name not in found]
    if missing:
        raise UserError(f"sources: no {', '.join(missing)} in the inputs; there are {', '.join(found)}")
    if not found:
        raise UserError("encode: nothing to encode; give it a corpus, tasks or preferences in `from`")
    return [origin for name, origin in found.items() if wanted is None or name in wanted]


def _count_documents(origin: Origin, split: Split) -> int:
    ledger = json.loads(origin.artifact.file("ledger.json").read_text(encoding="utf-8"))
    entry = ledger["sources"][origin.name]
    return entry["kept" if split == "train" else "held_out"]["documents"]


def encode_source(
    origin: Origin, split: Split, tokenizer: Tokenizer, special: dict[str, int]
) -> Iterator[list[Encoded]]:
    """Encode one split of a source, a chunk at a time."""
    if origin.form == "text":
        for ids, texts in _text_chunks(origin, split):
            yield _encode_texts(ids, texts, tokenizer, special)
        return
    chunk: list[Encoded] = []
    for record in _json_records(origin, split):
        if origin.form == "chat":
            chunk.append(_encode_conversation(record["id"], record["messages"], tokenizer))
        else:
            for answer in ("chosen", "rejected"):
                messages = record["prompt"] + record[answer]
                chunk.append(_encode_conversation(record["id"], messages, tokenizer, record[answer]))
        if len(chunk) >= CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _text_chunks(origin: Origin, split: Split) -> Iterator[tuple[list[str], list[str]]]:
    pattern = re.compile(re.escape(origin.name) + r"-\d+\.parquet")  # `wiki` must not match `wiki-2-00000`
    folder = origin.artifact.file(SPLITS[split])
    for file in sorted(file for file in folder.glob("*.parquet") if pattern.fullmatch(file.name)):
        with parquet.ParquetFile(file) as documents:
            for batch in documents.iter_batches(CHUNK_ROWS, columns=["id", "text"]):
                ids, texts = batch.column("id").to_pylist(), batch.column("text").to_pylist()
                for chosen in _bounded(texts):
                    yield ids[chosen], texts[chosen]


def _bounded(texts: list[str]) -> Iterator[slice]:
    """Cut a list of texts where the characters exceed a chunk's."""
    start = size = 0
    for end, text in enumerate(texts, start=1):
        size += len(text)
        if size >= CHUNK_CHARACTERS or end == len(texts):
            yield slice(start, end)
            start, size = end, 0


def _encode_texts(
    ids: list[str], texts: list[str], tokenizer: Tokenizer, special: dict[str, int]
) -> list[Encoded]:
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [
        Encoded(id_, [special["bos"], *encoding.ids, special["eos"]], None, len(text.encode()))
        for id_, text, encoding in zip(ids, texts, encodings, strict=True)
    ]


def _json_records(origin: Origin, split: Split) -> Iterator[dict[str, Any]]:
    with origin.artifact.file(f"{split}.jsonl").open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            record = json.loads(line)
            if record["source"] == origin.name:
                yield record


def _encode_conversation(
    id_: str,
    messages: list[dict[str, str]],
    tokenizer: Tokenizer,
    predicted: list[dict[str, str]] | None = None,
) -> Encoded:
    """Encode a conversation; where only `predicted`, its last messages, are to be predicted, mask the others."""
    ids, targets = encode_chat(tokenizer, messages)
    if predicted is None:
        predicted = [message for message in messages if message["role"] == "assistant"]
    else:
        prompt, _ = encode_chat(tokenizer, messages[: -len(predicted)])
        targets = [0] * len(prompt) + targets[len(prompt) :]
    return Encoded(id_, ids, targets, sum(len(message["content"].encode()) for message in predicted))


def _summary(index: dict[str, Any]) -> dict[str, Any]:
    """Headline numbers: tokens by source, and by language for training."""
    languages: dict[str, int] = {}
    for entry in index["sources"].values():
        languages[entry["language"]] = languages.get(entry["language"], 0) + entry["train"]["tokens"]
    counts = ("documents", "tokens", "bytes")
    return {
        "tokenizer": index["tokenizer"],
        "vocabulary_size": index["vocabulary_size"],
        "tokens": sum(entry["train"]["tokens"] for entry in index["sources"].values()),
        "languages": languages,
        "sources": {
            name: {
                **{key: entry[key] for key in ("form", "language", "domain")},
                **{split: {count: entry[split][count] for count in counts} for split in SPLITS},
            }
            for name, entry in index["sources"].items()
        },
    }
