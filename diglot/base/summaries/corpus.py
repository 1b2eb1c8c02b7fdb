"""The summary of a corpus, of instructions and of preferences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Self

from diglot.base.ledger import UNKNOWN_LANGUAGE, Counts, SourceLedger, dropped_documents, lost
from diglot.base.summaries.summary import Record, Summary


@dataclass(frozen=True)
class DocumentCounts(Record):
    """What became of documents."""

    read: int
    kept: int
    held_out: int
    dropped: int


@dataclass(frozen=True)
class SourceSummary(Record):
    """What became of the documents of one source; characters and bytes are of those kept, `reasons` of those dropped."""

    language: str
    domain: str
    read: int
    kept: int
    held_out: int
    dropped: int
    characters: int
    bytes: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class EvaluationSets(Record):
    """What documents were compared with: records of evaluation sets, the texts in them, and those too short to tell."""

    items: int
    texts: int
    too_short: int


@dataclass(frozen=True)
class Lengths(Record):
    """How many words messages have.

    Attributes:
        messages: how many there are.
        words: of all together.
        median: words of a message.
        histogram: messages of 2^k to 2^(k+1) - 1 words, k from 0; those without any stand with those of one.
    """

    messages: int
    words: int
    median: float
    histogram: list[int]


@dataclass(frozen=True)
class ConversationStatistics(Record):
    """The conversations or pairs of one source that were kept for training.

    Attributes:
        language: of the source.
        conversations: how many, or pairs.
        turns: how many have so many messages of the user.
        prompts: words of these.
        responses: words of the assistant's, of pairs in the chosen answer and the prompt.
        rejected: words of the assistant's in rejected answers.
    """

    language: str
    conversations: int
    turns: dict[str, int]
    prompts: Lengths | None = None
    responses: Lengths | None = None
    rejected: Lengths | None = None


@dataclass(frozen=True)
class CorpusSummary(Summary, of=("corpus", "instructions", "preferences")):
    """Documents, conversations or pairs, split into training and held-out ones.

    Attributes:
        documents: in all.
        dropped: by reason, the commonest first.
        languages: documents, characters and bytes that were kept for training.
        sources: by name.
        evaluation_sets: what was kept out of it.
        statistics: of conversations and pairs, by source.
    """

    headline: ClassVar[tuple[str, ...]] = ("documents", "dropped")

    documents: DocumentCounts
    dropped: dict[str, int]
    languages: dict[str, Counts]
    sources: dict[str, SourceSummary]
    evaluation_sets: EvaluationSets | None = None
    statistics: dict[str, ConversationStatistics] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """The sources that lose most of their documents, and why."""
        said = []
        for name, source in self.sources.items():
            parts = [source]
            if source.language == UNKNOWN_LANGUAGE:  # what is in no language that is wanted; the others are parts of it
                parts += [other for part, other in self.sources.items() if part.startswith(f"{name}-")]
            reasons = Counter[str]()
            for part in parts:
                reasons.update(part.reasons)
            said.append(lost(name, sum(part.read for part in parts), reasons))
        return [text for text in said if text]

    @classmethod
    def of_ledgers(
        cls,
        ledgers: Mapping[str, SourceLedger],
        evaluation_sets: EvaluationSets | None = None,
        statistics: Mapping[str, ConversationStatistics] | None = None,
    ) -> Self:
        """What the accounts of all sources say together."""
        sources, languages = {}, dict[str, Counts]()
        for name, ledger in ledgers.items():
            kept, reasons = ledger.kept, dropped_documents([ledger])
            sources[name] = SourceSummary(
                ledger.language, ledger.domain, ledger.read.documents, kept.documents, ledger.held_out.documents,
                sum(reasons.values()), kept.characters, kept.bytes, reasons,
            )  # fmt: skip
            if kept.documents:
                languages.setdefault(ledger.language, Counts()).add(**vars(kept))
        names = [each.name for each in fields(DocumentCounts)]
        documents = DocumentCounts(*(sum(getattr(source, name) for source in sources.values()) for name in names))
        dropped = dropped_documents(ledgers.values())
        return cls(documents, dropped, languages, sources, evaluation_sets, dict(statistics or {}))


@dataclass(frozen=True)
class Round(Record):
    """What came of a round of self-instruct.

    Attributes:
        prompts: that were asked.
        refused: of them, without an answer.
        tasks: that stood in the answers, whole or not.
        rejected: tasks that were not taken, by reason.
        revised: tasks whose input was taken away, since the instruction holds it.
        kept: tasks that joined the pool.
    """

    prompts: int
    refused: int
    tasks: int
    rejected: dict[str, int]
    revised: int
    kept: int


@dataclass(frozen=True)
class SelfInstructSummary(CorpusSummary, of=("self-instruct",)):
    """Tasks that a model wrote.

    Attributes:
        rounds: by language, in order.
        requests: to the model.
        tokens: of prompts and completions.
        cost: in the currency of the endpoint's prices.
        model: that wrote them.
        server: its address, and what it said of the model.
    """

    headline: ClassVar[tuple[str, ...]] = ("documents", "requests", "tokens", "cost")

    rounds: dict[str, list[Round]] = field(default_factory=dict)
    requests: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    cost: float = 0.0
    model: str = ""
    server: dict[str, str] = field(default_factory=dict)
