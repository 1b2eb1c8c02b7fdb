"""What `gather-instructions` and `gather-preferences` share: read, check, count, split, write.

Two passes keep memory bounded. The first reads every record, refuses what cannot be used, drops exact duplicates,
and writes the rest to a scratch file, remembering a hash of each record's prompt. The second splits that file into
`train.jsonl` and `heldout.jsonl`. The split goes by prompt: all records of a source with one prompt are on one
side, and a training record whose prompt is held out by another source, or by a held-out file, is dropped.
`ledger.json` has the corpus's form, and balances: read = kept + held out + dropped, source by source.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from diglot.align.messages import Message, Refused
from diglot.align.screen import Decontaminator, LanguageCheck, NearDuplicates
from diglot.align.statistics import measure
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json
from diglot.base.format import excerpt
from diglot.base.ledger import Sample, SourceLedger
from diglot.base.randomness import key_hash
from diglot.base.summaries.corpus import CorpusSummary
from diglot.read.files import Broken, read_records
from diglot.recipe.align import ChatSource, GatherInstructions, GatherPreferences

Ledger = dict[str, SourceLedger]
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z]+)?")
Read = Callable[[dict[str, Any], int], dict[str, Any]]
Parts = Callable[[dict[str, Any]], list[Message]]


class Reading(NamedTuple):
    """How records of a kind are read.

    Attributes:
        read: a record and the most characters in, the fields to write out; raises Refused.
        prompt: the messages that the split goes by, from those fields.
        asked: those by which near repetitions are found.
        in_language: those that are to be in the source's language.
        every: all of them.
    """

    read: Read
    prompt: Parts
    asked: Parts
    in_language: Parts
    every: Parts


class Size(NamedTuple):
    """Of one record: itself, and the characters and UTF-8 bytes of all its strings."""

    documents: int
    characters: int
    bytes: int


class Accepted(NamedTuple):
    """What is remembered of a record between the passes; its text waits in the scratch file."""

    source: str
    prompt: bytes
    size: Size
    is_held_out: bool


def gather(
    settings: GatherInstructions | GatherPreferences, inputs: Inputs, output: Path, context: Context, reading: Reading
) -> CorpusSummary:
    """Fill the artifact.

    Args:
        settings: the stage's.
        inputs: the artifact that relative paths start from, if the stage has one.
        output: the empty folder.
        context: of the stage.
        reading: how its records are read.

    Returns:
        The summary.

    Raises:
        UserError: a path cannot be read, or nothing of a source can be used.
    """
    text = inputs.maybe("text")
    ledger = {name: SourceLedger(source.language, source.domain) for name, source in settings.sources.items()}
    waiting = context.scratch / "gathered.jsonl"
    base = text.path if text else None
    screen = Screen(settings, base, context)
    accepted = list(_accept(settings, base, waiting, ledger, context, reading, screen))
    # Prompts are held out, not records: all of a source's records with one prompt are on one side.
    held_out = _choose_held_out(settings, accepted, f"{context.seed}/{settings.seed}")
    _split(settings, accepted, held_out, waiting, output, ledger)
    waiting.unlink()
    for name, entry in ledger.items():
        entry.check(name)  # read = kept + held out + dropped, or this program is at fault
        refuse_empty(name, entry)
    sources = {name: entry.as_json() for name, entry in ledger.items()}
    write_json(output / "ledger.json", {"sources": sources})
    return CorpusSummary.of_ledgers(ledger, screen.decontaminator.evaluation_sets, measure(output))


class Screen:
    """What is kept out, as the settings say, after a record was read."""

    def __init__(self, settings: GatherInstructions | GatherPreferences, base: Path | None, context: Context):
        languages = {source.language for source in settings.sources.values()}
        self.decontaminator = Decontaminator(settings.decontamination, base, context)
        self._languages = LanguageCheck(settings.check_language, languages)
        self._earlier = NearDuplicates(settings.near_duplicates) if settings.near_duplicates else None

    def check(self, id_: str, fields: dict[str, Any], language: str, reading: Reading) -> None:
        """Refuse what is not to be kept.

        Raises:
            Refused: wrong_language, contaminated, near_duplicate.
        """
        self._languages.check(reading.in_language(fields), language)
        self.decontaminator.check(message["content"] for message in reading.every(fields))
        if self._earlier is not None:  # last: what is dropped for another reason has no repetitions
            self._earlier.check(id_, "\n".join(message["content"] for message in reading.asked(fields)))


def _accept(
    settings: GatherInstructions | GatherPreferences,
    base: Path | None,
    waiting: Path,
    ledger: Ledger,
    context: Context,
    reading: Reading,
    screen: Screen,
) -> Iterator[Accepted]:
    """First pass: what can be used goes to the scratch file, once. Held-out files come first, and so win."""
    seen: set[bytes] = set()
    with waiting.open("w", encoding="utf-8", newline="\n") as stream:
        for is_held_out in (True, False):
            for name, source in settings.sources.items():
                paths = source.held_out_path if is_held_out else source.path
                if paths is None:
                    continue
                limit = None if is_held_out else source.limit  # a file of held-out data is used as it is
                for id_, record, size in _records(name, source, paths, base, limit, ledger, context):
                    try:
                        _check_language(record, source.language)
                        fields = reading.read(record, settings.max_characters)
                        header = {"id": id_, "source": name, "language": source.language}
                        line = line_of({**header, **fields})
                        # Equal after reading: two forms of one conversation are duplicates too.
                        content = digest(fields)
                        if content in seen:
                            raise Refused("duplicate")
                        screen.check(id_, fields, source.language, reading)
                    except Refused as refused:
                        drop(ledger[name], refused, size, id_, "\n".join(strings(record)))
                        continue
                    seen.add(content)
                    stream.write(line + "\n")
                    yield Accepted(name, digest(reading.prompt(fields)), size, is_held_out)


def drop(entry: SourceLedger, refused: Refused, size: Size, id_: str, text: str) -> None:
    """Count a record that cannot be used, with a sample of it."""
    entry.drop(refused.reason, *size)
    sample = [encodable(part) for part in (id_, excerpt(text), excerpt(refused.detail))]
    entry.sample(refused.reason, [Sample(entry.dropped[refused.reason].documents, *sample)])


def refuse(entry: SourceLedger, refused: Refused, size: Size, id_: str, text: str) -> None:
    """Count a record that is read and dropped at once."""
    entry.read.add(*size)
    drop(entry, refused, size, id_, text)


def refuse_broken(entry: SourceLedger, record: Broken, id_: str) -> None:
    """Count a record that could not be read: it has no characters, and the bytes of its place in the file."""
    refuse(entry, Refused(record.reason, record.detail), Size(1, 0, record.size), id_, record.excerpt)


def encodable(text: str) -> str:
    """JSON can spell half of a surrogate pair, which UTF-8 cannot."""
    return text.encode(errors="replace").decode()


def line_of(fields: dict[str, Any]) -> str:
    """A record as a line of JSON.

    Raises:
        Refused: it holds half of a surrogate pair, which JSON can spell and UTF-8 cannot.
    """
    line = json.dumps(fields, ensure_ascii=False)
    if encodable(line) != line:
        raise Refused("invalid_unicode", "half of a surrogate pair")
    return line


def _records(
    name: str,
    source: ChatSource,
    paths: str | list[str],
    base: Path | None,
    limit: int | None,
    ledger: Ledger,
    context: Context,
) -> Iterator[tuple[str, dict[str, Any], Size]]:
    """The readable records of a source with their ids, which are unique within it; all are counted as read."""
    ids: Counter[str] = Counter()
    records = read_records(paths, stage=context.name, source=name, base=base, limit=limit, how=source)
    for number, record in enumerate(records, start=1):
        if number % 1000 == 0:
            context.progress(number, limit, "records", name)
        place = f"{name}/{record.file}:{record.line}"
        if isinstance(record, Broken):
            refuse_broken(ledger[name], record, place)
            continue
        size = size_of(record.value)
        ledger[name].read.add(*size)
        given = record.value.get("id")
        id_ = given if isinstance(given, str) and given else place
        ids[id_] += 1
        yield (f"{id_}#{ids[id_]}" if ids[id_] > 1 else id_), record.value, size


def _check_language(record: dict[str, Any], language: str) -> None:
    """A file may hold several languages, each record saying which: a source takes its own."""
    given = record.get("language")
    if isinstance(given, str) and LANGUAGE_CODE.fullmatch(given) and given != language:
        raise Refused("other_language", f"language is {given}, the source's is {language}")


def strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def size_of(record: Any) -> Size:
    """The size of a JSON value that is one record."""
    characters = num_bytes = 0
    for text in strings(record):
        characters += len(text)
        num_bytes += len(text.encode(errors="replace"))
    return Size(1, characters, num_bytes)


def digest(value: Any) -> bytes:
    """A hash of a JSON value, whatever the order of its keys."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).digest()


def _choose_held_out(
    settings: GatherInstructions | GatherPreferences, accepted: list[Accepted], seed: str
) -> dict[str, set[bytes]]:
    """The prompts that each source holds out; a keyed hash ranks them, so sources that share prompts agree."""
    held_out: dict[str, set[bytes]] = {name: set() for name in settings.sources}
    prompts: dict[str, Counter[bytes]] = {name: Counter() for name in settings.sources}
    for record in accepted:
        if record.is_held_out:
            held_out[record.source].add(record.prompt)
        else:
            prompts[record.source][record.prompt] += 1
    for name, source in settings.sources.items():
        if source.held_out_path is not None:
            continue
        room = min(settings.max_held_out, int(settings.held_out * prompts[name].total()))
        for prompt in sorted(prompts[name], key=lambda prompt: key_hash(f"{seed}/{prompt.hex()}")):
            if prompts[name][prompt] <= room:
                held_out[name].add(prompt)
                room -= prompts[name][prompt]
            if not room:
                break
    return held_out


def _split(
    settings: GatherInstructions | GatherPreferences,
    accepted: list[Accepted],
    held_out: dict[str, set[bytes]],
    waiting: Path,
    output: Path,
    ledger: Ledger,
) -> None:
    """Second pass: the scratch file's records go to training, are held out, or are dropped."""
    # A prompt that one source holds out must not be trained on from another.
    everywhere = set().union(*held_out.values())
    with (
        waiting.open(encoding="utf-8", newline="\n") as lines,
        (output / "train.jsonl").open("w", encoding="utf-8", newline="\n") as train,
        (output / "heldout.jsonl").open("w", encoding="utf-8", newline="\n") as heldout,
    ):
        for record, line in zip(accepted, lines, strict=True):
            entry = ledger[record.source]
            # A source with held-out data of its own keeps all the rest for training.
            is_split = settings.sources[record.source].held_out_path is None
            if record.is_held_out or (is_split and record.prompt in held_out[record.source]):
                entry.held_out.add(*record.size)
                heldout.write(line)
            elif record.prompt in everywhere:
                fields = json.loads(line)
                refused = Refused("prompt_held_out", "held-out data have the same prompt")
                drop(entry, refused, record.size, fields["id"], "\n".join(strings(fields)))
            else:
                entry.kept.add(*record.size)
                train.write(line)


def refuse_empty(name: str, entry: SourceLedger) -> None:
    """Refuse a source of which nothing is left, with the main reasons."""
    if entry.kept.documents:
        return
    reasons = sorted(entry.dropped.items(), key=lambda item: -item[1].documents)
    told = ", ".join(f"{counts.documents:,} {reason}" for reason, counts in reasons[:3])
    sample = next((samples[0].detail for samples in entry.samples.values()), "")
    raise UserError(
        f"source {name!r}: nothing to train on among {entry.read.documents:,} records: "
        f"{told or 'all are held out'}" + (f" (for example: {sample})" if sample else "")
    )
