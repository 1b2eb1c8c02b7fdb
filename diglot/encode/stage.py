"""The stage `encode`: documents, conversations and preference pairs become memory-mapped tokens.

Text is encoded in chunks, on several threads, and written straight into `.npy` files, so memory stays bounded by a
few chunks whatever the size of the corpus, and threads change nothing. What encodes it (`encoder.py`) is first compared
with the `tokenizers` library on texts of every source. Special tokens never come from text: a web page that says "</s>"
or "<|user|>" is encoded as those characters.
"""

from __future__ import annotations

import array
import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from tokenizers import Tokenizer

from diglot.base.artifact import Context, Inputs, hash_file
from diglot.base.errors import UserError
from diglot.base.executor import open_executor
from diglot.base.files import write_json
from diglot.base.summaries.tokenizer import DocumentFrame, EncodedCounts, EncodedSource, EncoderUsed, TokensSummary
from diglot.encode.conversations import Conversations
from diglot.encode.encoder import Encoder
from diglot.encode.origins import SPLITS, Encoded, Origin, find_sources
from diglot.encode.unspelled import Unspelled
from diglot.read.corpus import document_files, read_documents, read_schema
from diglot.recipe.encode import Encode
from diglot.text.unicode import text_buffers
from diglot.tokenizer.chat import load_chat
from diglot.tokenizer.folder import load_tokenizer, tokenizer_hash, tokenizer_size
from diglot.tokenizer.framing import find_framing, special_ids
from diglot.tokens.shards import INDEX, Split, sum_groups

CHUNK_BYTES = 1_000_000  # of text that a thread has in memory at a time
CHECKED = 200  # documents at a source's beginning whose ids are checked, and as many spread over it
CHECKED_SHARE = 0.01  # of a source's bytes, in characters: the library is slow
LEAST_CHECKED, MOST_CHECKED = 100_000, 2_000_000  # characters of a source


class EncodedTexts(NamedTuple):
    """Documents of a chunk of text.

    Attributes:
        names: their ids, an Arrow array.
        tokens: all their tokens, one document after the other, each between BOS and EOS.
        lengths: int64 [documents], tokens of each.
        bytes: int64 [documents], UTF-8 bytes of each.
        columns: the corpus's columns that are kept, by name.
        unspelled: how often the text holds what has no token.
    """

    names: pa.Array
    tokens: np.ndarray
    lengths: np.ndarray
    bytes: np.ndarray
    columns: dict[str, pa.Array]
    unspelled: int


class NpyFile:
    """A flat `.npy` file that is appended to; its header, written again at the end, has room to grow."""

    def __init__(self, file: Path, dtype: np.dtype):
        self.dtype, self.size = dtype, 0
        self._stream = file.open("wb")
        self._write_header()

    def _write_header(self) -> None:
        header = {"shape": (self.size,), "fortran_order": False, "descr": np.lib.format.dtype_to_descr(self.dtype)}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def append(self, values: list[int] | array.array | np.ndarray) -> None:
        """Write values after those written before."""
        self._stream.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.size += len(values)

    def __enter__(self) -> NpyFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.seek(0)
        self._write_header()
        self._stream.close()


class ShardWriter:
    """Writes the files of one split of one source; see shards.py for what they are."""

    def __init__(self, folder: Path, origin: Origin, split: Split, dtype: np.dtype, keep: list[str]):
        self.prefix = f"{folder}/{origin.name}.{split}"
        self.has_targets = origin.form != "text"
        self.offsets = array.array("q", [0])
        self.bytes = array.array("q")
        self._open = ExitStack()
        self._tokens = self._open.enter_context(NpyFile(self._file("tokens.npy"), dtype))
        if self.has_targets:
            self._targets = self._open.enter_context(NpyFile(self._file("targets.npy"), np.dtype(np.uint8)))
        self._columns = {
            name: self._open.enter_context(NpyFile(self._file(f"column.{name}.npy"), np.dtype(np.float32)))
            for name in keep
        }
        schema = pa.schema([("id", pa.string())])
        self._ids = self._open.enter_context(
            parquet.ParquetWriter(self._file("ids.parquet"), schema, compression="zstd")
        )

    def _file(self, suffix: str) -> Path:
        return Path(f"{self.prefix}.{suffix}")

    def append_texts(self, texts: EncodedTexts) -> None:
        """Write documents of text after those written before."""
        ends = self._tokens.size + np.cumsum(texts.lengths)
        self._tokens.append(texts.tokens)
        self.offsets.frombytes(ends.tobytes())
        self.bytes.frombytes(texts.bytes.tobytes())
        for name, file in self._columns.items():
            file.append(texts.columns[name].cast(pa.float32()).fill_null(np.nan).to_numpy(zero_copy_only=False))
        self._ids.write_table(pa.table({"id": texts.names.cast(pa.string())}))

    def append(self, documents: list[Encoded]) -> None:
        """Write documents after those written before."""
        for document in documents:
            self._tokens.append(document.ids)
            if document.targets is not None:
                self._targets.append(document.targets)
            self.offsets.append(self._tokens.size)
            self.bytes.append(document.bytes)
        self._ids.write_table(pa.table({"id": pa.array([document.id for document in documents], pa.string())}))

    def close(self) -> dict[str, Any]:
        """Finish the files; returns the split's entry in the index."""
        self._open.close()
        for name, values in (("offsets", self.offsets), ("bytes", self.bytes)):
            with NpyFile(self._file(f"{name}.npy"), np.dtype(np.int64)) as file:
                file.append(values)
        if not self.has_targets:
            with NpyFile(self._file("groups.npy"), np.dtype(np.int64)) as file:
                file.append(sum_groups(np.asarray(self.offsets)))
        parts = ["tokens.npy", "offsets.npy", "bytes.npy", *(["targets.npy"] if self.has_targets else [])]
        parts += [f"column.{name}.npy" for name in self._columns]
        hashes = " ".join(hash_file(self._file(part)) for part in parts)
        return {
            "documents": len(self.bytes),
            "tokens": self._tokens.size,
            "bytes": sum(self.bytes),
            "content": hashlib.sha256(hashes.encode()).hexdigest()[:32],
        }


def run(settings: Encode, inputs: Inputs, output: Path, context: Context) -> TokensSummary:
    """Encode every source of the inputs.

    Raises:
        UserError: two inputs have a source of one name, `sources` or `keep` name what is not there, or a source has
            nothing to train on; or there are conversations, and the tokenizer has no chat format known here.
    """
    folder = inputs.one("tokenizer").path
    tokenizer = load_tokenizer(folder)  # once: a large one takes a second
    framing = find_framing(folder, tokenizer, settings.document_start, settings.document_end)
    special = special_ids(folder, tokenizer, framing)
    vocabulary_size = tokenizer_size(tokenizer)
    # Two bytes a token where they are enough: the shards of a training are read from disk again and again.
    dtype = np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)
    origins = find_sources(inputs, settings.sources)
    said = [origin for origin in origins if origin.form != "text"]
    chat = load_chat(folder) if said else None
    conversations = {origin.name: Conversations(origin, chat, settings) for origin in said if chat}
    encoder = checked_encoder(folder, [origin for origin in origins if origin.form == "text"], tokenizer)
    total = sum(origin.documents[split] for origin in origins for split in SPLITS)
    loses, unspelled = Unspelled(tokenizer), Counter[str]()
    sources: dict[str, dict[str, Any]] = {}
    done = 0
    for origin in origins:
        entry: dict[str, Any] = {"form": origin.form, "language": origin.language, "domain": origin.domain}
        keep = list(dict.fromkeys(settings.keep)) if origin.form == "text" else []
        if keep:
            entry["columns"] = keep
        for split in SPLITS:
            writer = ShardWriter(output, origin, split, dtype, keep)
            if origin.form == "text":
                for texts in encode_texts(origin, split, keep, encoder, loses, special, dtype, context):
                    writer.append_texts(texts)
                    unspelled[origin.name] += texts.unspelled
                    done += len(texts.lengths)
                    context.progress(done, total, "documents", origin.name)
            else:
                for number, documents in conversations[origin.name].encode(split):
                    writer.append(documents)
                    done += number
                    context.progress(done, total, "documents", origin.name)
            # A shard is whole on disk before the next split begins; the index that names them comes last.
            entry[split] = writer.close()
        if not entry["train"]["documents"] and not (origin.form == "text" and entry["heldout"]["documents"]):
            told = "".join(f"; {text}" for each in conversations.values() for text in each.told())
            raise UserError(f"source {origin.name!r} of stage {origin.artifact.stage!r} has nothing to train on{told}")
        sources[origin.name] = entry
    index = {
        "tokenizer": tokenizer_hash(folder),
        "vocabulary_size": vocabulary_size,
        "dtype": dtype.name,
        "special": special,
        "sources": sources,
    }
    write_json(output / INDEX, index)
    for text in itertools.chain.from_iterable(each.told() for each in conversations.values()):
        context.say(text)
    if chat and chat.asks_for_date:
        context.say("the chat template writes today's date; conversations have the one that it has for want of a clock")
    used = EncoderUsed(encoder.engine, encoder.checked, encoder.difference)
    return _summary(index, conversations, used, DocumentFrame(*framing), +unspelled)


def checked_encoder(folder: Path, origins: list[Origin], tokenizer: Tokenizer | None = None) -> Encoder:
    """The encoder of a tokenizer, compared with the `tokenizers` library on texts of every source."""
    encoder = Encoder(folder, tokenizer)
    for origin in origins:
        encoder.check(texts_to_check(origin))
    return encoder


def texts_to_check(origin: Origin) -> list[str]:
    """The beginnings of a source's first documents and of some spread over it."""
    split = SPLITS["train" if origin.documents["train"] else "heldout"]
    files = [parquet.ParquetFile(file) for file in document_files([origin.artifact], split, origin.name)]
    groups = [(file, group) for file in files for group in range(file.num_row_groups)]
    spread = [groups[len(groups) * part // 4] for part in range(min(4, len(groups)))]
    texts: list[str] = []
    # CHECKED from the beginning, a quarter of that from each of four groups spread over the source.
    for (file, group), number in zip([*groups[:1], *spread], [CHECKED, *[CHECKED // 4] * 4], strict=False):
        column = file.read_row_group(group, columns=["text"]).column("text")
        step = max(1, len(column) // number) if texts else 1
        texts += column.take(list(range(0, len(column), step))[:number]).to_pylist()
    # Cut to a share of the source: the library that they are compared with is slow.
    size = sum(file.metadata.row_group(group).total_byte_size for file, group in groups)
    wanted = min(max(int(CHECKED_SHARE * size), LEAST_CHECKED), MOST_CHECKED)
    for file in files:
        file.close()
    return [text[: wanted // len(texts)] for text in texts]


def encode_texts(
    origin: Origin,
    split: Split,
    keep: list[str],
    encoder: Encoder,
    unspelled: Unspelled,
    special: dict[str, int],
    dtype: np.dtype,
    context: Context,
) -> Iterator[EncodedTexts]:
    """Encode one split of a source of text, a chunk at a time, on several threads."""
    encode = functools.partial(_encode_chunk, encoder=encoder, unspelled=unspelled, special=special, dtype=dtype)
    with open_executor("threads", context.workers, lambda: None) as executor:
        yield from executor.map(encode, _text_chunks(origin, split, keep))


def _encode_chunk(
    chunk: tuple[pa.Array, pa.Array, dict[str, pa.Array]],
    encoder: Encoder,
    unspelled: Unspelled,
    special: dict[str, int],
    dtype: np.dtype,
) -> EncodedTexts:
    names, texts, columns = chunk
    ids, offsets = encoder.encode_array(texts)
    # Two more tokens a document: BOS before its ids and EOS behind them; `inside` is where the ids go.
    ends = offsets + 2 * np.arange(len(offsets))
    tokens, inside = np.empty(ends[-1], dtype), np.ones(ends[-1], bool)
    for place, token in ((ends[:-1], special["bos"]), (ends[1:] - 1, special["eos"])):
        tokens[place], inside[place] = token, False
    tokens[inside] = ids
    lost = unspelled.count(texts, ids)
    return EncodedTexts(names, tokens, np.diff(ends), np.diff(text_buffers(texts)[1]), columns, lost)


def _text_chunks(
    origin: Origin, split: Split, keep: list[str]
) -> Iterator[tuple[pa.Array, pa.Array, dict[str, pa.Array]]]:
    """The ids, the texts (`large_string`) and the kept columns of documents.

    Raises:
        UserError: the corpus has no such column of numbers.
    """
    corpus, folder = [origin.artifact], SPLITS[split]
    schema = read_schema(corpus, folder, origin.name)
    if schema.names:  # a source may have nothing held out
        _check_columns(origin, schema, keep)
    for batch in read_documents(corpus, folder, ["id", "text", *keep], source=origin.name):
        for begin, end in _bounded(text_buffers(batch["text"])[1]):
            part = batch.slice(begin, end - begin)
            yield part["id"], part["text"], {name: part[name] for name in keep}


def _check_columns(origin: Origin, schema: pa.Schema, keep: list[str]) -> None:
    numbers = [
        column.name for column in schema if pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    ]
    if missing := [name for name in keep if name not in numbers]:
        raise UserError(
            f"keep: source {origin.name!r} of stage {origin.artifact.stage!r} has no column of numbers "
            f"{missing[0]!r}; it has {', '.join(numbers) or 'none'}"
        )


def _bounded(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut texts (by where they begin and end) where their bytes exceed a chunk's."""
    begin = 0
    while begin < len(offsets) - 1:
        end = int(np.searchsorted(offsets, offsets[begin] + CHUNK_BYTES))
        end = min(max(end, begin + 1), len(offsets) - 1)
        yield begin, end
        begin = end


def _summary(
    index: dict[str, Any],
    conversations: dict[str, Conversations],
    used: EncoderUsed,
    frame: DocumentFrame,
    unspelled: dict[str, int],
) -> TokensSummary:
    """Headline numbers: tokens by source, and by language for training."""
    languages: dict[str, int] = {}
    for entry in index["sources"].values():
        languages[entry["language"]] = languages.get(entry["language"], 0) + entry["train"]["tokens"]
    sources = {}
    for name, entry in index["sources"].items():
        train, heldout = (
            EncodedCounts(**{each.name: entry[split][each.name] for each in fields(EncodedCounts)}) for split in SPLITS
        )
        fitted = conversations[name].fitted if name in conversations else None
        sources[name] = EncodedSource(entry["form"], entry["language"], entry["domain"], train, heldout, fitted)
    total = sum(languages.values())
    return TokensSummary(
        index["tokenizer"], index["vocabulary_size"], total, languages, sources, used, frame, dict(unspelled)
    )
