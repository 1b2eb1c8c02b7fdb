"""A shard from records to texts: what can be used of it, corrected, its language identified, sorted by language.

A source with one language is one part. A source with several (`languages: [ar, en]`) becomes parts called
`NAME-ar` and `NAME-en`; what is in none of them is dropped, and counted under the source's own name.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from diglot.base.format import excerpt
from diglot.base.ledger import UNKNOWN_LANGUAGE, Sample, SourceLedger, least
from diglot.base.randomness import key_hash
from diglot.curate.clean.lines import Corrected, correct
from diglot.curate.rules import LANGUAGE_REASONS, RuleSet
from diglot.curate.units import text_fields
from diglot.read.files import Broken, RawShard, Record
from diglot.read.records import field_of
from diglot.recipe.curate import Curate
from diglot.recipe.source import Source
from diglot.text.hashing import hash_names, keyed
from diglot.text.language_id import LOW_CONFIDENCE, RIGHT, WRONG_LANGUAGE, Identified, Identifier


class Texts(NamedTuple):
    """The usable records of a shard.

    Attributes:
        ids: `large_string` [documents].
        urls: `large_string` [documents], null where there is none.
        sides: `large_string` [documents], one array, or two of pairs.
    """

    ids: pa.Array
    urls: pa.Array
    sides: list[pa.Array]

    def take(self, rows: np.ndarray) -> Texts:
        """Some of the records."""
        chosen = pa.array(rows)
        return Texts(self.ids.take(chosen), self.urls.take(chosen), [side.take(chosen) for side in self.sides])


class Prepared(NamedTuple):
    """What became of a shard's records.

    Attributes:
        parts: the texts, by language.
        ledger: the account of the source itself, which holds what was broken or is in no wanted language.
        dropped: the ids of those, by reason.
        other_languages: how many documents were identified as each language that is not wanted, however unsure.
        missing: what was wrong with the first record without text.
    """

    parts: list[Part]
    ledger: SourceLedger
    dropped: dict[str, list[str]]
    other_languages: dict[str, int]
    missing: str | None


class Part(NamedTuple):
    """The documents of a shard that belong to one source and language.

    Attributes:
        source: its name in the recipe.
        name: the same, with the language where the source is sorted by language.
        languages: its language, or both of pairs.
        texts: as read.
        sides: as corrected.
        verdicts: int64 [documents], `RIGHT`, `WRONG_LANGUAGE` or `LOW_CONFIDENCE`.
        confidence: float64 [documents], of the language, the lesser of both of pairs.
        identified: what each side was identified as.
        rows: int64 [documents], places in `identified`.
    """

    source: str
    name: str
    languages: list[str]
    texts: Texts
    sides: list[Corrected]
    verdicts: np.ndarray
    confidence: np.ndarray
    identified: list[Identified]
    rows: np.ndarray


def part_name(source: str, settings: Source, language: str) -> str:
    """What the documents of a source in a language are called together."""
    return f"{source}-{language}" if settings.languages else source


def domain_of(source: Source) -> str:
    """The domain of a source; pairs are `parallel`."""
    return "parallel" if source.target_language else source.domain


def languages_of(source: Source) -> list[str]:
    """The language of a source, or all it is sorted by."""
    return source.languages or [source.language or UNKNOWN_LANGUAGE]


def prepare(raw: RawShard, name: str, settings: Curate, identifier: Identifier, rule_set: RuleSet) -> Prepared:
    """Make texts of a shard's records.

    Args:
        raw: the records.
        name: of their source.
        settings: of the stage.
        identifier: tells languages apart.
        rule_set: has the rules on lines.
    """
    source = settings.sources[name]
    ledger = SourceLedger(UNKNOWN_LANGUAGE if source.languages else languages_of(source)[0], domain_of(source))
    dropped: dict[str, list[str]] = {}
    texts, missing = _usable(raw, name, source, ledger, dropped)
    sides = [correct(side, settings.corrections) for side in texts.sides]
    expected = [languages_of(source)]
    if source.target_language:
        expected.append([source.target_language])
    identified = [identifier.identify(side.texts, languages) for side, languages in zip(sides, expected, strict=True)]
    if source.languages:
        verdicts, chosen = identifier.verdicts(
            sides[0].texts, identified[0], expected[0], cut_offs(settings, source, expected[0])
        )
        for verdict, reason in zip((WRONG_LANGUAGE, LOW_CONFIDENCE), LANGUAGE_REASONS, strict=True):
            rows = np.flatnonzero(verdicts == verdict)
            if len(rows):
                dropped[reason] = texts.take(rows).ids.to_pylist()
                _drop_foreign(reason, rows, texts, sides[0], identifier, identified[0], expected[0], ledger)
        chosen = np.where(verdicts == RIGHT, chosen, -1)
        parts = _by_language(name, source, texts, sides[0], identified[0], chosen)
    else:
        verdicts, confidence = _judge_sides(settings, source, identifier, sides, identified, expected)
        languages = [languages[0] for languages in expected]
        rows = np.arange(len(texts.ids))
        parts = [Part(name, name, languages, texts, sides, verdicts, confidence, identified, rows)]
    parts = [_without_bad_lines(part, rule_set) for part in parts]
    return Prepared(parts, ledger, dropped, _other_languages(identifier, identified, expected), missing)


# --- records --------------------------------------------------------------------------------------------------


def _usable(
    raw: RawShard, name: str, source: Source, ledger: SourceLedger, dropped: dict[str, list[str]]
) -> tuple[Texts, str | None]:
    fields = text_fields(source)
    checked = [record if isinstance(record, Broken) else _with_text(record, fields) for record in raw.records or []]
    try:
        texts = _texts_of(checked, name, source.url, fields)
    except UnicodeEncodeError:  # rare, so looked for only then: encoding all texts once more takes 2% of the stage
        checked = [
            record if isinstance(record, Broken) else _encodable(record, source.url, fields) for record in checked
        ]
        texts = _texts_of(checked, name, source.url, fields)
    missing = None
    for broken in checked:
        if isinstance(broken, Broken):
            if broken.reason == "missing_text" and missing is None:
                missing = f"{broken.file}, line {broken.line}: {broken.detail}"
            _drop_broken(name, broken, ledger, dropped)
    return texts, missing


def _texts_of(records: list[Record | Broken], name: str, url_field: str, fields: list[str]) -> Texts:
    """The texts of the good records.

    Raises:
        UnicodeEncodeError: one holds half of a surrogate pair, which JSON can spell and UTF-8 cannot.
    """
    good = [record for record in records if isinstance(record, Record)]
    urls = [record.value.get(url_field) for record in good]
    strings = pa.large_string()
    return Texts(
        ids=pa.array([_id_of(name, record) for record in good], strings),
        urls=pa.array([url if isinstance(url, str) and url else None for url in urls], strings),
        sides=[pa.array([field_of(record.value, field) for record in good], strings) for field in fields],
    )


def _with_text(record: Record, fields: list[str]) -> Record | Broken:
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


def _encodable(record: Record, url_field: str, fields: list[str]) -> Record | Broken:
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


def _id_of(name: str, record: Record) -> str:
    """The record's own id, or its place."""
    own = record.value.get("id")
    return own if isinstance(own, str) and own and own.isprintable() else f"{name}/{record.file}:{record.line}"


def _drop_broken(name: str, broken: Broken, ledger: SourceLedger, dropped: dict[str, list[str]]) -> None:
    ledger.read.add(1, 0, broken.size)
    ledger.drop(broken.reason, 1, 0, broken.size)
    place = f"{name}/{broken.file}:{broken.line}"
    dropped.setdefault(broken.reason, []).append(place)
    ledger.sample(broken.reason, [Sample(key_hash(f"sample/{place}"), place, broken.excerpt, broken.detail)])


# --- languages ------------------------------------------------------------------------------------------------


def _judge_sides(
    settings: Curate, source: Source, identifier: Identifier, sides: list[Corrected], identified: list[Identified],
    expected: list[list[str]],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The worst verdict, and the least confidence, of all sides."""
    worst = np.zeros(len(sides[0].texts), np.int64)
    confidence = np.ones(len(sides[0].texts))
    for side, found, languages in zip(sides, identified, expected, strict=True):
        confidence = np.minimum(confidence, found.accepted[:, 0])
        verdict = identifier.verdicts(side.texts, found, languages, cut_offs(settings, source, languages))[0]
        worst = np.where(worst == RIGHT, verdict, worst)
    return worst, confidence


def cut_offs(settings: Curate, source: Source, languages: list[str]) -> list[float]:
    """The confidence each language must be identified with."""
    if source.language_confidence is not None:
        return [source.language_confidence] * len(languages)
    return [settings.language_confidence_of.get(language, settings.language_confidence) for language in languages]


def _by_language(
    name: str, source: Source, texts: Texts, side: Corrected, identified: Identified, chosen: np.ndarray
) -> list[Part]:
    """The documents in each of the source's languages; `chosen` has the place of each document's, or -1."""
    parts = []
    for place, language in enumerate(languages_of(source)):
        rows = np.flatnonzero(chosen == place)
        right = np.full(len(rows), RIGHT)
        confidence = identified.accepted[rows, place]
        part = Part(
            name, part_name(name, source, language), [language], texts.take(rows), [_take(side, rows)], right,
            confidence, [identified], rows,
        )  # fmt: skip
        parts.append(part)
    return parts


def _drop_foreign(
    reason: str, rows: np.ndarray, texts: Texts, side: Corrected, identifier: Identifier, identified: Identified,
    languages: list[str], ledger: SourceLedger,
) -> None:  # fmt: skip
    numbers = (len(rows), int(side.characters[rows].sum()), int(byte_lengths(texts.sides[0])[rows].sum()))
    ledger.read.add(*numbers)
    ledger.drop(reason, *numbers)
    shown = texts.take(rows)
    keys = keyed("sample", hash_names(shown.ids))
    samples = []
    for place in np.argsort(keys, kind="stable")[:10]:
        detail = identifier.describe(identified, int(rows[place]), languages)
        samples.append(Sample(int(keys[place]), shown.ids[place].as_py(), sample_text(shown, place), detail))
    ledger.sample(reason, least(samples))


def _other_languages(identifier: Identifier, identified: list[Identified], expected: list[list[str]]) -> dict[str, int]:
    """The languages that documents were identified as where it is none of those expected, however unsure."""
    found: dict[str, int] = {}
    differing = [identifier.differs(side, languages) for side, languages in zip(identified, expected, strict=True)]
    for document in np.flatnonzero(np.any(differing, axis=0)):
        codes = [
            identifier.codes[side.language[document]]
            for side, differs in zip(identified, differing, strict=True)
            if differs[document]
        ]
        name = " + ".join(codes)
        found[name] = found.get(name, 0) + 1
    return found


# --- lines ----------------------------------------------------------------------------------------------------


def _without_bad_lines(part: Part, rule_set: RuleSet) -> Part:
    """Apply the rule set's line rules for the part's language."""
    if len(part.sides) > 1 or not rule_set.line_rules(part.languages[0]):
        return part
    side = part.sides[0]
    again = correct(side.texts, False, rule_set.line_rules(part.languages[0]))
    return part._replace(sides=[side._replace(texts=again.texts, removed=side.removed + again.removed)])


def _take(side: Corrected, rows: np.ndarray) -> Corrected:
    return Corrected(*(
        column.take(pa.array(rows)) if isinstance(column, pa.Array) else column[rows] for column in side
    ))  # fmt: skip


def byte_lengths(texts: pa.Array) -> np.ndarray:
    """Bytes of each text of a `large_string` array (int64 [documents])."""
    return np.diff(np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1])


def sample_text(texts: Texts, document: int) -> str:
    """The beginning of a document as it was read."""
    return excerpt("\n".join(side[int(document)].as_py()[:1000] for side in texts.sides))
