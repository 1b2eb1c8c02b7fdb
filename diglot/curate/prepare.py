"""From the records of a shard to `Documents`: what has a text, and what is broken."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from diglot.base.format import excerpt
from diglot.base.ledger import UNKNOWN_LANGUAGE
from diglot.base.randomness import key_hash
from diglot.curate.documents import Documents
from diglot.read.files import Broken, RawShard, Record
from diglot.read.records import field_of
from diglot.recipe.source import Source


def part_name(source: str, settings: Source, language: str) -> str:
    """What the documents of a source in a language are called together."""
    return f"{source}-{language}" if settings.languages else source


def domain_of(source: Source) -> str:
    """The domain of a source; pairs are `parallel`."""
    return "parallel" if source.target_language else source.domain


def languages_of(source: Source) -> list[str]:
    """The language of a source, or all it is sorted by."""
    return source.languages or [source.language or UNKNOWN_LANGUAGE]


def prepare(raw: RawShard, name: str, source: Source, number: int) -> tuple[Documents, Documents]:
    """Make documents of a shard's records.

    Args:
        raw: the records.
        name: of their source.
        source: says which fields hold what.
        number: of the shard (`Documents.number`).

    Returns:
        Those that have a text, and the broken ones, which have a reason and an excerpt for a text.
    """
    fields = source.text_fields()
    checked = [record if isinstance(record, Broken) else _with_text(record, fields) for record in raw.records or []]
    try:
        usable = _documents_of(checked, name, source, number)
    except UnicodeEncodeError:  # rare, so looked for only then: encoding all texts once more takes 2% of the stage
        checked = [
            record if isinstance(record, Broken) else _encodable(record, source.url, fields) for record in checked
        ]
        usable = _documents_of(checked, name, source, number)
    return usable, _broken_of(checked, name, source)


def _documents_of(records: list[Record | Broken], name: str, source: Source, number: int) -> Documents:
    """The good records.

    Raises:
        UnicodeEncodeError: one holds half of a surrogate pair, which JSON can spell and UTF-8 cannot.
    """
    good = [record for record in records if isinstance(record, Record)]
    urls = [record.value.get(source.url) for record in good]
    strings = pa.large_string()
    titles = pa.array([_title_of(record, source.title) for record in good], strings) if source.title else None
    expected = [languages_of(source)]
    if source.target_language:
        expected.append([source.target_language])
    return Documents.of_texts(
        name,
        expected,
        number,
        ids=pa.array([_id_of(name, record) for record in good], strings),
        urls=pa.array([url if isinstance(url, str) and url else None for url in urls], strings),
        titles=titles,
        read=[pa.array([field_of(record.value, field) for record in good], strings) for field in source.text_fields()],
    )


def _broken_of(records: list[Record | Broken], name: str, source: Source) -> Documents:
    """The broken records: without characters, with the bytes of the record."""
    broken = [record for record in records if isinstance(record, Broken)]
    strings = pa.large_string()
    ids = [f"{name}/{record.file}:{record.line}" for record in broken]
    documents = Documents.of_texts(
        name,
        [[UNKNOWN_LANGUAGE] if source.languages else languages_of(source)],
        0,
        ids=pa.array(ids, strings),
        urls=pa.nulls(len(broken), strings),
        read=[pa.array([record.excerpt for record in broken], strings)],
    )
    documents.sample_keys = np.array([key_hash(f"sample/{place}") for place in ids], np.uint64)
    documents.bytes = np.array([record.size for record in broken], np.int64)
    documents.reasons = list(dict.fromkeys(record.reason for record in broken))
    documents.reason = np.array([documents.reasons.index(record.reason) for record in broken], np.int64)
    documents.details = np.array([record.detail for record in broken], object)
    return documents


def _with_text(record: Record, fields: Sequence[str]) -> Record | Broken:
    """The record, if all of its fields hold texts."""
    for name in fields:
        value = field_of(record.value, name)
        if not isinstance(value, str):
            absent = value is None and name not in record.value
            held = f"no field {name!r}" if absent else f"field {name!r} holds {type(value).__name__}"
            detail = f"{held} (fields: {', '.join(sorted(map(str, record.value)))})"
            shown = json.dumps(record.value, ensure_ascii=True, default=str)
            return Broken(record.file, record.line, "missing_text", detail, excerpt(shown), len(shown))
    return record


def _encodable(record: Record, url_field: str, fields: Sequence[str]) -> Record | Broken:
    """The record, if its texts are free of lone surrogates; without its address, if only that is not."""
    for name in fields:
        text = field_of(record.value, name)
        if (shown := text.encode(errors="replace").decode()) != text:
            detail = f"field {name!r} holds half of a surrogate pair"
            return Broken(record.file, record.line, "invalid_utf8", detail, excerpt(shown), len(text))
    url = record.value.get(url_field)
    if isinstance(url, str) and url.encode(errors="replace").decode() != url:
        return record._replace(value={**record.value, url_field: None})
    return record


def _title_of(record: Record, field: str) -> str | None:
    """The record's title; none where it is no text, or holds half of a surrogate pair."""
    title = field_of(record.value, field)
    return title if isinstance(title, str) and title.encode(errors="replace").decode() == title else None


def _id_of(name: str, record: Record) -> str:
    """The record's own id, or its place."""
    own = record.value.get("id")
    return own if isinstance(own, str) and own and own.isprintable() else f"{name}/{record.file}:{record.line}"
