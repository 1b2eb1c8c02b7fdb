"""The ledger: what was read, kept, held out and dropped, by source and reason. It always balances.

For every source, in documents and in characters:

    read = kept + held_out + sum(dropped) (+ corrected, in characters)

Read and dropped documents are counted with the text as it was read; kept and held-out ones with their corrected
text; `corrected` is what the corrections took from the latter. A record that could not be read has no characters;
its bytes are those of the record. The labels of parallel documents ("English: …") are not counted.

Samples are drawn at random: those documents whose ids have the least keyed hashes, so the same ones whatever the
order in which parts of a ledger are added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from diglot.base.files import read_json
from diglot.base.format import printable, share, words

SAMPLES = 5
LOST_SHARE = 0.5  # of a source: more than this is said at once
UNKNOWN_LANGUAGE = "und"  # ISO 639-2: undetermined


@dataclass
class Counts:
    """Documents, their characters and their UTF-8 bytes."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0

    def add(self, documents: int, characters: int, bytes: int) -> None:
        """Count more."""
        self.documents += int(documents)
        self.characters += int(characters)
        self.bytes += int(bytes)


class Sample(NamedTuple):
    """A document, as evidence; `key` decides which are shown."""

    key: int
    id: str
    excerpt: str
    detail: str


@dataclass
class SourceLedger:
    """The account of one source; `origin`: who wrote it, where nobody did by nature (`made`)."""

    language: str
    domain: str
    origin: str = "natural"
    read: Counts = field(default_factory=Counts)
    kept: Counts = field(default_factory=Counts)
    held_out: Counts = field(default_factory=Counts)
    dropped: dict[str, Counts] = field(default_factory=dict)
    corrected: dict[str, Counts] = field(default_factory=dict)
    unconditional: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    kept_samples: list[Sample] = field(default_factory=list)

    def drop(self, reason: str, documents: int, characters: int, bytes: int) -> None:
        """Count dropped documents."""
        self.dropped.setdefault(reason, Counts()).add(documents, characters, bytes)

    def sample(self, reason: str, samples: list[Sample]) -> None:
        """Show these dropped documents, or others of the same reason if they come before them."""
        self.samples[reason] = least([*self.samples.get(reason, []), *samples])

    def add(self, part: dict[str, Any]) -> None:
        """Add the account of a shard, as `as_json` of another ledger has it."""
        self.read.add(**part["read"])
        for reason, counts in part["dropped"].items():
            self.drop(reason, **counts)
        for reason, samples in part["samples"].items():
            self.sample(reason, [Sample(*sample) for sample in samples])
        for rule, number in part["unconditional"].items():
            self.unconditional[rule] = self.unconditional.get(rule, 0) + number

    def check(self, name: str) -> None:
        """Make sure that the account balances.

        Raises:
            AssertionError: it does not; a fault of this program.
        """
        dropped = self.dropped.values()
        documents = self.kept.documents + self.held_out.documents + sum(c.documents for c in dropped)
        characters = self.kept.characters + self.held_out.characters + sum(c.characters for c in dropped)
        characters += sum(c.characters for c in self.corrected.values())
        if (documents, characters) != (self.read.documents, self.read.characters):
            raise AssertionError(
                f"the ledger of source {name!r} does not balance: {self.read.documents} documents "
                f"({self.read.characters} characters) read, {documents} ({characters}) accounted for"
            )

    def as_part(self) -> dict[str, Any]:
        """The account of a shard, for `add`."""
        return asdict(self)

    def as_json(self) -> dict[str, Any]:
        """For `ledger.json`; reasons in alphabetical order.

        `unconditional` says how many documents each rule breaks, whatever other rules they break as well.
        """
        fields = asdict(self)
        if self.origin == "natural":  # what most is goes without saying
            del fields["origin"]
        for key in ("dropped", "corrected", "unconditional", "samples"):
            fields[key] = dict(sorted(fields[key].items()))
        for counts in fields["corrected"].values():
            del counts["bytes"]
        fields["samples"] = {reason: _shown(samples) for reason, samples in fields["samples"].items()}
        fields["kept_samples"] = _shown(fields["kept_samples"])
        return fields


def read_ledger(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of an artifact's `ledger.json` by source."""
    return read_json(folder / "ledger.json")["sources"]


def dropped_documents(ledgers: Iterable[SourceLedger]) -> dict[str, int]:
    """The documents that were dropped of all sources, by reason, the commonest first."""
    counts = Counter[str]()
    for ledger in ledgers:
        counts.update({reason: dropped.documents for reason, dropped in ledger.dropped.items()})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def lost(source: str, read: int, dropped: Mapping[str, int]) -> str | None:
    """What to say of a source that loses more than half of its documents, with the main reason; None of any other."""
    number = sum(dropped.values())
    if number <= LOST_SHARE * read:
        return None
    reason = max(dropped, key=lambda reason: dropped[reason])
    return (
        f"{source}: {number:,} of {read:,} documents are dropped ({share(number, read)}), "
        f"{dropped[reason]:,} of them as {words(reason)}"
    )


def least(samples: list[Sample]) -> list[Sample]:
    """The samples with the least keys."""
    return sorted(samples)[:SAMPLES]


def _shown(samples: list[Sample]) -> list[dict[str, str]]:
    return [{"id": sample[1], "excerpt": sample[2], "detail": printable(sample[3])} for sample in samples]
