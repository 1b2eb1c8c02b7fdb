"""Summaries of models, by what made them, and of sweeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from diglot.base.summaries.summary import Record, Summary


@dataclass(frozen=True)
class Shape(Record):
    """The sizes of a model, named as in `DecoderConfig`."""

    vocabulary_size: int
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_key_value_heads: int
    head_size: int
    max_positions: int
    tied_embeddings: bool


@dataclass(frozen=True)
class ModelSummary(Summary, of=("model",)):
    """A model: its architecture, its number of parameters, and its sizes."""

    headline: ClassVar[tuple[str, ...]] = ("parameters",)

    architecture: str
    parameters: int
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class NewModelSummary(ModelSummary, of=("new-model",)):
    """A model with random weights: the preset that its sizes come from."""

    preset: str


@dataclass(frozen=True)
class ImportedTokenizer(Record):
    """The tokenizer of an imported model.

    Attributes:
        named, written: its class there, if one was named, and here.
        dropped: special tokens that were named and have no id.
        difference: what transformers' AutoTokenizer makes of it otherwise; None where it gives the same ids.
        bytes_without_token: those of UTF-8 that it drops from text.
    """

    named: str | None
    written: str
    dropped: list[str]
    difference: str | None
    bytes_without_token: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Proof(Record):
    """What came of comparing an imported model's logits with transformers' (see diglot/model/proof.py).

    Attributes:
        tokens: of the probe; 0 where nothing was compared.
        difference: how far logits differ, in all tokens but the three that differ most.
        typical, largest: the same in half of the tokens, and in all.
        scale: the largest logit.
        documents: `packed`: several in a row; `alone`: each is run by itself.
        reason: why they run alone, or why nothing was compared.
    """

    tokens: int = 0
    difference: float = 0.0
    typical: float = 0.0
    largest: float = 0.0
    scale: float = 0.0
    documents: str = "packed"
    reason: str | None = None

    def __str__(self) -> str:
        """In a few words."""
        if not self.tokens:
            return "not compared with transformers'"
        return f"as transformers' to {self.difference:.1g} of {self.scale:.1f}"


@dataclass(frozen=True, kw_only=True)
class ImportedModel(ModelSummary, of=("import-model",)):
    """A model from elsewhere.

    Attributes:
        dtype: of its weights.
        tokenizer: what became of it.
        weights_passed_over: a second set of weights that was not read.
        keys_passed_over: of config.json, which transformers' class of the model ignores.
        proof: its logits beside transformers'.
    """

    headline = ("parameters", "logits")

    dtype: str
    tokenizer: ImportedTokenizer | None = None
    weights_passed_over: str | None = None
    keys_passed_over: list[str] = field(default_factory=list)
    proof: Proof | None = None

    @property
    def logits(self) -> str | None:
        """What the comparison of logits came to."""
        return None if self.proof is None else str(self.proof)

    def warnings(self) -> list[str]:
        """What was taken of two, and what of the tokenizer is not as it was."""
        told = []
        if self.weights_passed_over:
            told.append(
                f"weights are those of model.safetensors, as transformers takes them; {self.weights_passed_over} was not read"
            )
        if self.keys_passed_over:
            told.append(
                f"keys of config.json that transformers' class ignores were left out: {', '.join(self.keys_passed_over)}"
            )
        if self.proof is not None and self.proof.reason:
            what = (
                "documents are run one by one" if self.proof.tokens else "logits were not compared with transformers'"
            )
            told.append(f"{what}: {self.proof.reason}")
        if (tokenizer := self.tokenizer) is None:
            return told
        if tokenizer.named not in (None, tokenizer.written, "TokenizersBackend"):
            told.append(
                f"the tokenizer is called {tokenizer.written}: transformers' {tokenizer.named} cuts text otherwise than "
                "tokenizer.json says"
            )
        if tokenizer.difference:
            told.append(
                f"transformers' AutoTokenizer {tokenizer.difference} for models of this type, whatever is written: load the "
                "tokenizer with PreTrainedTokenizerFast.from_pretrained"
            )
        if tokenizer.dropped:
            told.append(f"special tokens without an id are left out: {', '.join(tokenizer.dropped)}")
        if missing := tokenizer.bytes_without_token:
            told.append(
                f"the tokenizer has no token for {len(missing)} bytes and drops them from text: "
                f"{' '.join(f'{byte:02X}' for byte in missing)}; extend-tokenizer adds them"
            )
        return told


@dataclass(frozen=True)
class RowNorms(Record):
    """Mean Euclidean norm of the rows of old and of new tokens; None where there are none."""

    old: float | None
    new: float | None


@dataclass(frozen=True)
class FocusFacts(Record):
    """What FOCUS learnt: tokens begun by similarity, old tokens that each is made of, and bytes of text that it read."""

    tokens_by_similarity: int
    similar_tokens_each: float
    bytes: int


@dataclass(frozen=True)
class DistillationFacts(Record):
    """What the distillation of new rows did: tokens, snippets of text, steps, and the loss at both ends."""

    tokens: int
    snippets: int
    steps: int
    loss_first_tenth: float
    loss_last_tenth: float


@dataclass(frozen=True, kw_only=True)
class ExpandedModel(ModelSummary, of=("expand",)):
    """A model with the vocabulary of an extended tokenizer.

    Attributes:
        rows_before, rows_after: of the embedding.
        new_tokens: of these `new_special_tokens`, and some that no old tokens spell.
        sub_tokens_per_new_token: old tokens that spell a new one, on average.
        initialization: of the new rows.
        new_layers: their places.
        norms: by `embedding` and, where it is not tied to it, `output`.
        focus, distillation: what the initialization of that name did.
    """

    headline = ("parameters", "rows_before", "rows_after", "new_tokens")

    rows_before: int
    rows_after: int
    new_tokens: int
    new_special_tokens: int
    new_tokens_without_spelling: int
    sub_tokens_per_new_token: float
    initialization: str
    new_layers: list[int]
    norms: dict[str, RowNorms]
    focus: FocusFacts | None = None
    distillation: DistillationFacts | None = None


@dataclass(frozen=True, kw_only=True)
class MergedModel(ModelSummary, of=("merge",)):
    """A model made of several.

    Attributes:
        method: of the merge.
        models: the weight of each.
        base: the model that all began from, for methods that need it.
        density: the share of changes that is kept, likewise.
        reordered_rows: of each model, rows of tokens that stood elsewhere.
    """

    headline = ("parameters", "models")

    method: str
    models: dict[str, float]
    base: str | None = None
    density: float | None = None
    reordered_rows: dict[str, int]


@dataclass(frozen=True)
class HeldoutScore(Record):
    """What training measured on a held-out source.

    Attributes:
        language: of the source.
        loss: nats per token, for pairs per pair.
        bits_per_byte: of text and chats; the rest is of pairs, means over them, see diglot/train/preference.py.
        accuracy: share whose chosen answer gained more over the reference; a tie is half.
        margin: by how many nats.
        chosen_log_probability, rejected_log_probability: of an answer, in nats.
        chosen_reward, rejected_reward: its gain over the reference, times beta.
        kl: estimate of how far the model is from the reference on these answers, nats per token.
    """

    language: str
    loss: float
    bits_per_byte: float | None = None
    accuracy: float | None = None
    margin: float | None = None
    chosen_log_probability: float | None = None
    rejected_log_probability: float | None = None
    chosen_reward: float | None = None
    rejected_reward: float | None = None
    kl: float | None = None


@dataclass(frozen=True)
class MixturePart(Record):
    """A source in a phase: shares of tokens asked for and realised, rows, tokens, epochs and packing efficiency."""

    planned: float
    realised: float
    rows: int
    tokens: int
    epochs: float
    packing_efficiency: float


@dataclass(frozen=True, kw_only=True)
class TrainedModel(ModelSummary, of=("train",)):
    """A model after training.

    Attributes:
        steps, tokens: trained.
        loss: of the last step; None if it was not finite.
        packing_efficiency: share of the rows' places that held tokens.
        tokens_per_second, mfu: means over steps.
        peak_memory_mb: of one process, since the stage began.
        bits_per_byte, bits_per_byte_before: of held-out text by language, after and before.
        sources, sources_before: held-out sources likewise.
        watch: by language, the indicators that are worth watching, the clearest first; see docs/indicators.md.
        mixture: by phase and source.
        dropped_as_too_long: documents longer than a sequence, by source, which were left out.
        documents: all there were, by source.
        skipped_steps: that the guard skipped.
        rollbacks: how often it went back.
        beyond_limit: languages in which it ended further from its reference than `preference.kl_limit`.
    """

    headline = ("steps", "tokens", "loss", "bits_per_byte", "tokens_per_second", "watch")

    steps: int
    tokens: int
    loss: float | None
    packing_efficiency: float
    tokens_per_second: float
    mfu: float
    peak_memory_mb: float
    bits_per_byte: dict[str, float] = field(default_factory=dict)
    bits_per_byte_before: dict[str, float] = field(default_factory=dict)
    sources: dict[str, HeldoutScore] = field(default_factory=dict)
    sources_before: dict[str, HeldoutScore] = field(default_factory=dict)
    watch: dict[str, list[str]] = field(default_factory=dict)
    mixture: dict[str, dict[str, MixturePart]]
    dropped_as_too_long: dict[str, int] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    skipped_steps: list[int] = field(default_factory=list)
    rollbacks: int = 0
    beyond_limit: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """That it went too far from its reference."""
        if not self.beyond_limit:
            return []
        return [
            f"the model ended further from its reference than preference.kl_limit in {', '.join(self.beyond_limit)}"
        ]


@dataclass(frozen=True)
class SweepRun(Record):
    """A run of a sweep.

    Attributes:
        learning_rate: its learning rate.
        diverged: it ended early, or is worse in the mean than the model that it began with.
        why: it ended early, in words; None if it did not.
        steps, tokens: that it went.
        loss: the mean of the last tenth of its steps; None if it ended early or was not finite.
        measure: what rates are compared by, `bits per byte` or `loss`.
        heldout: that measure by language (by source where there are only chats or pairs); `mean` of these; None: not finite.
        before: the same of the model that it began with.
        largest_gradient_norm, largest_spike_score: of all steps.
        skipped_steps: how many.
    """

    learning_rate: float
    diverged: bool
    why: str | None
    steps: int
    tokens: int
    loss: float | None
    measure: str
    heldout: dict[str, float | None]
    mean: float | None
    before: dict[str, float]
    largest_gradient_norm: float | None
    largest_spike_score: float | None
    skipped_steps: int


@dataclass(frozen=True)
class SweepSummary(Summary, of=("sweep",)):
    """A sweep: what rates are compared by, its runs in the order of the recipe, and the best rate (None: all diverged)."""

    headline = ("best_learning_rate", "heldout", "num_runs", "tokens")

    measure: str
    runs: list[SweepRun]
    best: float | None

    @property
    def best_learning_rate(self) -> float | None:
        """The rate whose run had the lowest mean on held-out text."""
        return self.best

    @property
    def heldout(self) -> dict[str, float | None]:
        """What the best run had on held-out text."""
        return next((run.heldout for run in self.runs if run.learning_rate == self.best), {})

    @property
    def num_runs(self) -> int:
        """How many rates were tried."""
        return len(self.runs)

    @property
    def tokens(self) -> int:
        """Of all runs together."""
        return sum(run.tokens for run in self.runs)
