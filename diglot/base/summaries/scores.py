"""Summaries of evaluations and of the report."""

from __future__ import annotations

from dataclasses import dataclass, field

from diglot.base.summaries.summary import Record, Summary


@dataclass(frozen=True)
class BitsPerByte(Record):
    """Bits per byte of held-out text, with the standard error over documents (None of a single one)."""

    value: float
    standard_error: float | None
    documents: int
    bytes: int
    tokens: int


@dataclass(frozen=True)
class Metric(Record):
    """A number and its standard error, where it is known."""

    value: float
    standard_error: float | None = None


@dataclass(frozen=True)
class TaskScore(Record):
    """What a model scored in a task.

    Attributes:
        language: ISO 639 code; none where a task of the harness does not say it.
        kind: `choice` or `generation`.
        metric: the headline of `metrics`.
        metrics: all that were computed: shares in 0..1, chrF and BLEU in 0..100.
        chance: what guessing scores: any of the choices; or, where answers are written, the reference of another item.
            0 where it is not known.
        items: measured.
        contexts_cut: items whose context was too long and lost its beginning.
        shots, chat: how the items were put; None: as the harness does.
        origin: whether the items were written in the language (`native`) or `translated` into it; empty: not known.
    """

    language: str
    kind: str
    metric: str
    metrics: dict[str, Metric]
    chance: float
    items: int
    contexts_cut: int | None = None
    shots: int | None = None
    chat: bool | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        """Make sure that there is a headline.

        Raises:
            ValueError: there is none, in a manifest of somebody else's.
        """
        if self.metric not in self.metrics:
            raise ValueError(f"the headline {self.metric!r} is not among the metrics")

    @property
    def score(self) -> Metric:
        """The headline."""
        return self.metrics[self.metric]


@dataclass(frozen=True)
class GroupScore(Record):
    """An average over tasks.

    Attributes:
        tasks: that it is over, or other groups.
        metrics: by name.
    """

    tasks: list[str]
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class PreferenceScore(Record):
    """How a model ranks held-out pairs of a source.

    Attributes:
        language: or languages, with hyphens between them.
        accuracy: share of pairs whose chosen answer is the likelier one; a tie counts half. With standard error.
        accuracy_per_token: the same by the mean over tokens.
        margin: mean log-probability of the chosen minus the rejected answer, in nats. With standard error.
        pairs: measured; `too_long` ones do not fit into the model's context.
    """

    language: str
    accuracy: Metric
    accuracy_per_token: float
    margin: Metric
    pairs: int
    too_long: int


@dataclass(frozen=True)
class ScoresSummary(Summary, of=("scores",)):
    """Everything that was measured of a model; bits per byte by language (of parallel text by source)."""

    headline = ("bits", "scores", "preferred")

    bits_per_byte: dict[str, BitsPerByte] = field(default_factory=dict)
    tasks: dict[str, TaskScore] = field(default_factory=dict)
    groups: dict[str, GroupScore] = field(default_factory=dict)
    preferences: dict[str, PreferenceScore] = field(default_factory=dict)

    @property
    def bits(self) -> dict[str, float]:
        """Bits per byte alone."""
        return {name: of.value for name, of in self.bits_per_byte.items()}

    @property
    def scores(self) -> dict[str, float]:
        """The headline of every task."""
        return {name: round(of.score.value, 3) for name, of in self.tasks.items()}

    @property
    def preferred(self) -> dict[str, float]:
        """The share of pairs whose chosen answer is the likelier one."""
        return {name: round(of.accuracy.value, 3) for name, of in self.preferences.items()}


@dataclass(frozen=True)
class ReportSummary(Summary, of=("report",)):
    """The page: its file, its size, the sections that it has, and the finding of the first."""

    headline = ("bytes",)

    file: str
    bytes: int
    sections: list[str]
    finding: str
