"""The stage `make-parallel`: documents of parallel text from sentence pairs.

Parallel data helps as text to train on (PolyLM 3.1; ALLaM's mixtures). Consecutive pairs with the same `doc` are joined
up to `characters`, each side under the name of its language, as `curate` writes pairs:

    lines                        blocks
    English: Good morning.       English: Good morning.
    Arabic: صباح الخير.          How are you?
    English: How are you?        Arabic: صباح الخير.
    Arabic: كيف حالك؟            كيف حالك؟

Half of the documents begin with the source language, half with the target language, and of `mixed` half have either
form; both are chosen by keyed hashes of the document's id. The documents of a source go to `SOURCE.jsonl`: `id`, `text`,
`language`, `target_language`, `domain`, `doc` (null: none), `pairs` (how many), and the two sides, `src` and `tgt`.

`ledger.json` counts pairs (its `documents` are pairs, and its characters those of both sides):

    read = kept + dropped: empty_text · missing_text · untranslated (both sides equal) · length_ratio · what could
    not be read (`read`)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json
from diglot.base.format import excerpt
from diglot.base.ledger import Sample, SourceLedger, dropped_documents, least
from diglot.base.randomness import key_hash
from diglot.base.summaries.text import PairsSummary
from diglot.read.files import Broken, Record, read_records
from diglot.recipe.source import Source
from diglot.recipe.translate import MakeParallel
from diglot.text.languages import language_name
from diglot.text.parallel import lengths_differ


class Pair(NamedTuple):
    """Two texts that say the same.

    Attributes:
        place: file and line, for samples.
        group: the document they belong to; None: to none.
        source, target: the texts, without white space around them.
    """

    place: str
    group: str | None
    source: str
    target: str


class Refusal(NamedTuple):
    """A record that is no pair to train on: why, and its size."""

    place: str
    reason: str
    detail: str
    excerpt: str
    characters: int
    bytes: int


def run(settings: MakeParallel, inputs: Inputs, output: Path, context: Context) -> PairsSummary:
    """Make parallel documents.

    Raises:
        UserError: a source is not of pairs, cannot be read, or has not one usable pair.
    """
    text = inputs.maybe("text")
    base = text.path if text else None
    ledgers: dict[str, SourceLedger] = {}
    documents: dict[str, int] = {}
    for name, source in settings.sources.items():
        if source.language is None or source.target_language is None:
            raise UserError(f"source {name!r}: pairs have a language and a target_language; give both")
        ledgers[name] = SourceLedger(source.language, source.domain)
        documents[name] = 0
        pairs = _accepted(name, source, settings, ledgers[name], base, context)
        with (output / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n") as stream:
            # Pairs come one by one and leave in groups: no more than a document is held.
            for group in grouped(pairs, settings.characters):
                documents[name] += 1
                record = _document(f"{name}/{documents[name]}", group, source, settings, context)
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        if not documents[name]:
            raise UserError(_nothing_left(name, ledgers[name], source, context))
        ledgers[name].check(name)  # read = kept + dropped, or this program is at fault
    entries = {name: ledger.as_json() for name, ledger in ledgers.items()}
    write_json(output / "ledger.json", {"sources": entries})
    return PairsSummary(
        documents=sum(documents.values()),
        pairs=sum(ledger.kept.documents for ledger in ledgers.values()),
        characters=sum(ledger.kept.characters for ledger in ledgers.values()),
        dropped=dropped_documents(ledgers.values()),
        sources=documents,
    )


# --- reading --------------------------------------------------------------------------------------------------


def _accepted(
    name: str, source: Source, settings: MakeParallel, ledger: SourceLedger, base: Path | None, context: Context
) -> Iterator[Pair]:
    """The usable pairs of a source, in order; the others are counted."""
    key = f"{context.seed}/{settings.seed}/samples"
    records = read_records(source.path, stage=context.name, source=name, base=base, limit=source.limit, how=source)
    for number, record in enumerate(records, 1):
        found = pair_of(record, source, settings.group)
        shown = Sample(key_hash(f"{key}/{name}/{number}"), f"{name}/{found.place}", "", getattr(found, "detail", ""))
        if isinstance(found, Refusal):
            ledger.read.add(1, found.characters, found.bytes)
            ledger.drop(found.reason, 1, found.characters, found.bytes)
            ledger.sample(found.reason, [shown._replace(excerpt=excerpt(found.excerpt))])
        else:
            both = f"{found.source}\n{found.target}"
            size = (1, len(both) - 1, len(both.encode()) - 1)
            ledger.read.add(*size)
            ledger.kept.add(*size)
            ledger.kept_samples = least([*ledger.kept_samples, shown._replace(excerpt=excerpt(both))])
            yield found
        if number % 1000 == 0:
            context.progress(number, None, "pairs", name)


def pair_of(record: Record | Broken, source: Source, group: str | None) -> Pair | Refusal:
    """The pair in a record, or why there is none."""
    place = f"{record.file}:{record.line}"
    if isinstance(record, Broken):
        return Refusal(place, record.reason, record.detail, record.excerpt, 0, record.size)
    names = source.text_fields()
    texts = [record.value.get(name) for name in names]
    shown = json.dumps(record.value, ensure_ascii=True, default=str)
    for name, text in zip(names, texts, strict=True):
        if not isinstance(text, str):
            held = f"holds {type(text).__name__}" if name in record.value else "is not there"
            detail = f"field {name!r} {held} (fields: {', '.join(sorted(map(str, record.value)))})"
            return Refusal(place, "missing_text", detail, shown, 0, len(shown))
        # JSON can spell half of a surrogate pair, which no file of UTF-8 can hold.
        if any("\ud800" <= character <= "\udfff" for character in text):
            return Refusal(place, "invalid_utf8", f"field {name!r} has lone surrogates", shown, 0, len(shown))
    left, right = (str(text).strip() for text in texts)
    size = (len(left) + len(right), len(left.encode()) + len(right.encode()))
    if not left or not right:
        return Refusal(place, "empty_text", "", f"{left}\n{right}", *size)
    if left == right:
        return Refusal(place, "untranslated", "both texts are equal", left, *size)
    if lengths_differ(left, right):
        detail = f"{len(left):,} and {len(right):,} characters"
        return Refusal(place, "length_ratio", detail, f"{left}\n{right}", *size)
    value = record.value.get(group) if group else None
    # A pair whose group is not known is a document of its own; True is an int, and no name.
    known = isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
    return Pair(place, str(value) if known else None, left, right)


def _nothing_left(name: str, ledger: SourceLedger, source: Source, context: Context) -> str:
    reasons = sorted(ledger.dropped.items(), key=lambda item: (-item[1].documents, item[0]))
    listed = ", ".join(f"{counts.documents:,} × {reason}" for reason, counts in reasons)
    sample = ledger.samples[reasons[0][0]][0]
    return (
        f"source {name!r}: of {ledger.read.documents:,} pairs none is usable ({listed}; {sample.id}: "
        f"{sample.detail or sample.excerpt!r}); say which fields hold the texts: {context.name}.sources.{name}.text="
        f"{source.text or 'src'} and .target_text={source.target_text}"
    )


# --- documents ------------------------------------------------------------------------------------------------


def grouped(pairs: Iterator[Pair], characters: int) -> Iterator[list[Pair]]:
    """Consecutive pairs of the same group, up to about so many characters in all; at least one pair."""
    group: list[Pair] = []
    size = 0
    for pair in pairs:
        length = len(pair.source) + len(pair.target)
        apart = pair.group is None or not group or group[-1].group != pair.group
        if group and (apart or size + length > characters):
            yield group
            group, size = [], 0
        group.append(pair)
        size += length
    if group:
        yield group


def _document(id_: str, group: list[Pair], source: Source, settings: MakeParallel, context: Context) -> dict[str, Any]:
    key = f"{context.seed}/{settings.seed}"
    form = settings.form
    if form == "mixed":
        form = ("lines", "blocks")[key_hash(f"{key}/form/{id_}") % 2]
    sides = [
        (language_name(str(source.language)), [pair.source for pair in group]),
        (language_name(str(source.target_language)), [pair.target for pair in group]),
    ]
    if key_hash(f"{key}/direction/{id_}") % 2:
        sides.reverse()
    return {
        "id": id_,
        "text": rendered(sides, form),
        "language": source.language,
        "target_language": source.target_language,
        "domain": source.domain,
        "doc": group[0].group,
        "pairs": len(group),
        "src": "\n".join(pair.source for pair in group),
        "tgt": "\n".join(pair.target for pair in group),
    }


def rendered(sides: list[tuple[str, list[str]]], form: str) -> str:
    """A document of pairs as text.

    Args:
        sides: the name of a language and its texts, twice; the first stands first.
        form: lines or blocks.
    """
    if form == "blocks":
        return "\n".join(f"{name}: " + "\n".join(texts) for name, texts in sides)
    (first, left), (second, right) = sides
    return "\n".join(f"{first}: {one}\n{second}: {other}" for one, other in zip(left, right, strict=True))
