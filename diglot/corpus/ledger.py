"""The ledger: what was read, kept, held out and dropped, by source and reason. It always balances.

For every source, in documents and in characters:

    read = kept + held_out + sum(dropped) (+ corrected, in characters)

Read and dropped documents are counted with the text as it was read; kept and held-out ones with their corrected
text; `corrected` is what the corrections took from the latter. A record that could not be read has no characters;
its bytes are those of the record. The labels of parallel documents ("English: …") are not counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SAMPLES = 5
EXCERPT = 200


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


@dataclass
class Sample:
    """A dropped document, as evidence."""

    id: str
    excerpt: str
    detail: str


@dataclass
class SourceLedger:
    """The account of one source."""

    language: str
    domain: str
    read: Counts = field(default_factory=Counts)
    kept: Counts = field(default_factory=Counts)
    held_out: Counts = field(default_factory=Counts)
    dropped: dict[str, Counts] = field(default_factory=dict)
    corrected: dict[str, Counts] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def drop(self, reason: str, documents: int, characters: int, bytes: int) -> None:
        """Count dropped documents."""
        self.dropped.setdefault(reason, Counts()).add(documents, characters, bytes)

    def sample(self, reason: str, samples: list[Sample]) -> None:
        """Keep the first few dropped documents of each reason."""
        held = self.samples.setdefault(reason, [])
        held.extend(samples[: SAMPLES - len(held)])

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

    def as_json(self) -> dict[str, Any]:
        """For `ledger.json`; reasons in alphabetical order."""
        fields = asdict(self)
        for key in ("dropped", "corrected", "samples"):
            fields[key] = dict(sorted(fields[key].items()))
        for counts in fields["corrected"].values():
            del counts["bytes"]
        return fields


def excerpt(text: str) -> str:
    """The beginning of a text, at most 200 characters."""
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
