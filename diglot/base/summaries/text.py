"""Summaries of text that stages make: the invented world, translations, parallel documents."""

from __future__ import annotations

from dataclasses import dataclass, field

from diglot.base.summaries.summary import Summary


@dataclass(frozen=True)
class WorldSummary(Summary, of=("world",)):
    """The invented world.

    Attributes:
        documents, characters: by language.
        faults: documents by language and the fault that was put in.
        pairs: by pair of languages.
        instructions, preferences: by side of the split.
        items: by task.
    """

    headline = ("documents", "pairs", "instructions", "preferences")

    documents: dict[str, int]
    characters: dict[str, int]
    faults: dict[str, dict[str, int]]
    pairs: dict[str, int]
    instructions: dict[str, int]
    preferences: dict[str, int]
    items: dict[str, int]


@dataclass(frozen=True)
class TranslationSummary(Summary, of=("translate",)):
    """Translated documents.

    Attributes:
        documents, paragraphs, characters, bytes: that came out.
        read: documents.
        dropped: documents by reason.
        requests: to the model.
        tokens: of prompts and completions.
        cost: in the currency of the endpoint's prices.
        model: that translated.
        server: its address, and what it said of the model.
        left_out: sources that were not translated, and why.
    """

    headline = ("documents", "read", "requests", "tokens", "cost")

    documents: int
    paragraphs: int
    characters: int
    bytes: int
    read: int
    dropped: dict[str, int]
    requests: int
    tokens: dict[str, int]
    cost: float
    model: str
    left_out: dict[str, str]
    server: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SeedTasksSummary(Summary, of=("translate-seed-tasks",)):
    """Translated seed tasks.

    Attributes:
        tasks: that came out.
        read: tasks.
        dropped: tasks by reason.
        requests: to the model.
        tokens: of prompts and completions.
        cost: in the currency of the endpoint's prices.
        model: that translated.
        server: its address, and what it said of the model.
    """

    headline = ("tasks", "read", "dropped", "requests", "tokens", "cost")

    tasks: int
    read: int
    dropped: dict[str, int]
    requests: int
    tokens: dict[str, int]
    cost: float
    model: str
    server: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PairsSummary(Summary, of=("make-parallel",)):
    """Parallel documents made of pairs: `sources` has the documents of each, `dropped` pairs by reason."""

    headline = ("documents", "pairs", "characters")

    documents: int
    pairs: int
    characters: int
    dropped: dict[str, int]
    sources: dict[str, int]
