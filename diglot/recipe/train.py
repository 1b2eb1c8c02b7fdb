"""Settings of the stages that make, import, expand and merge models, and of training."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from diglot.recipe.common import Column, Count, Momentum, Name, Role, Seed, Settings, Share, Stage

MOST_EXPORTS = 10_000  # each is a whole model on the disk

EVALUATION_SHARE = 0.05  # of a training's time: what its evaluations take at most, unless `evaluate_tokens` is given
MOST_EVALUATION_TOKENS = 50_000  # a source: its bits per byte then scatter by about a percent
INDICATOR_SHARE = (
    0.02  # of a training's time, within EVALUATION_SHARE: what indicators take, unless `indicator_tokens` is given
)
FORWARD_PASSES = 3  # that a training step is worth: one forward, and a backward pass of twice the products


class DocumentWeight(Settings):
    """How often documents of a source are read: once a pass, or more or less often by a column that `encode` kept."""

    column: Column = Field(
        description="Of the corpus, kept with `keep` of the encode stage.", examples=["cluster_size"]
    )
    by: Literal["quantile", "log", "value"] = Field(
        "quantile",
        description="quantile: from low for the least number to high for the largest, by rank; log: 1 + ln(number) "
        "(cluster sizes, after FineWeb2's rehydration, 2506.20920); value: the number itself.",
    )
    low: Annotated[float, Field(ge=0, le=16)] = Field(0.5, description="No weight is below.")
    high: Annotated[float, Field(gt=0, le=16)] = Field(2.0, description="No weight is above.")

    @model_validator(mode="after")
    def _in_order(self) -> DocumentWeight:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        return self


class Phase(Settings):
    """A part of a training with one mixture, one learning-rate shape, and one choice of what is trained."""

    renamed: ClassVar[dict[str, str]] = {"rates": "learning_rate_multipliers"}

    name: Name = Field(description="In metrics and in the report, and for overrides: stage.phases.NAME.key=value.")
    share: Share = Field(1.0, description="Share of the stage's steps; the shares of all phases add up to 1.")
    mixture: dict[Name, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="Share of training tokens by source; by size if absent."
    )
    max_epochs: dict[Name, Annotated[float, Field(gt=0)]] = Field(
        {},
        description="Times that a source (or each of a language) is read at most when the phase ends, earlier phases "
        "included; what is left of its share goes to the others. Up to 4 are nearly as good as new text (2305.16264).",
    )
    ramp: bool = Field(False, description="Move from the mixture before to this one over the phase.")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(None, description="Peak; the stage's if absent.")
    warmup: Share = Field(0.0, description="Share of the phase's steps spent warming up from `warmup_from`.")
    warmup_steps: Annotated[int, Field(ge=0)] | None = Field(
        None, description="The same in steps: a constant phase that is alone can then be given more steps and goes on."
    )
    shape: Literal["constant", "cosine", "linear", "one-minus-sqrt", "continue"] = Field(
        "constant",
        description="Of the learning rate after the warm-up; continue: the curve of the phase before goes on over this one.",
    )
    final: Share = Field(0.1, description="Learning rate at the end over the peak; PolyLM 3.2: 10%.")
    trains: Literal["all", "embeddings", "new-rows", "new-layers", "new-rows-and-layers"] = Field(
        "all",
        description="What moves; all else stays bit for bit. embeddings: with the output weight; new-rows: the rows "
        "of new tokens in both (EEVE, 2402.14714); new-layers: the layers that expand added (Kuwain, 2504.15120).",
    )
    learning_rate_multipliers: dict[
        Literal["embeddings", "output", "matrices", "vectors"], Annotated[float, Field(ge=0)]
    ] = Field({}, description="Learning rate of a group of parameters over the phase's; 0 freezes it.")

    @model_validator(mode="after")
    def _a_curve_of_its_own(self) -> Phase:
        if self.shape == "continue":
            for name in ("learning_rate", "warmup", "warmup_steps", "final"):
                # Not `model_fields_set`: the other processes of a launcher get all settings, defaults too.
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} would do nothing: the curve of the phase before goes on")
        return self

    @model_validator(mode="after")
    def _one_warm_up(self) -> Phase:
        if self.warmup and self.warmup_steps is not None:
            raise ValueError("warmup and warmup_steps say the same thing; leave one out")
        return self

    @model_validator(mode="after")
    def _multipliers_of_what_is_trained(self) -> Phase:
        tables, layers = {"embeddings", "output"}, {"matrices", "vectors"}
        frozen = {"embeddings": layers, "new-rows": layers, "new-layers": tables}.get(self.trains, set())
        if idle := sorted(frozen & set(self.learning_rate_multipliers)):
            raise ValueError(f"learning_rate_multipliers.{idle[0]} would do nothing: the phase trains {self.trains}")
        return self


class Parallel(Settings):
    """How the processes of a launcher (torchrun, srun) share one model; what is left over shards it (FSDP2)."""

    tensor: Count = Field(
        1, description="Processes that each layer is cut into: tensor and sequence parallel; PolyLM: 8."
    )
    context: Count = Field(
        1, description="Processes that share the tokens of every row, for long documents; Llama 3 (2407.21783)."
    )
    replicas: Count = Field(1, description="Whole copies of the shards (hybrid sharding).")


class Adapter(Settings):
    """Small matrices beside the layers' own, which stay as they are (LoRA, 2106.09685); merged when the model is written.

    New rows (see `trains`) are trained in full beside it.
    """

    kind: Literal["lora", "rslora", "dora"] = Field(
        "lora", description="rslora: scaled by √rank (2312.03732); dora: with a magnitude a row (2402.09353)."
    )
    rank: Count = Field(64, description="Of the product of the two matrices; QLoRA (2305.14314).", examples=["16"])
    alpha: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="The product counts alpha / rank times (rslora: alpha / √rank). If absent 2 × rank (2405.09673); "
        "rslora: 16 (2312.03732).",
    )
    targets: Literal["all", "attention", "feed-forward"] = Field(
        "all", description="Which of the layers' matrices have one; all do best (QLoRA, 2305.14314)."
    )

    @property
    def scaled_by(self) -> float:
        """Alpha, as given or by default."""
        return self.alpha or (16.0 if self.kind == "rslora" else 2.0 * self.rank)


class Preference(Settings):
    """What DPO's loss is, and how far the model may go from its reference; see diglot/train/preference.py."""

    loss: Literal["sigmoid", "robust", "hinge", "ipo"] = Field(
        "sigmoid",
        description="sigmoid: DPO's own (2305.18290); robust: for labels of which `label_smoothing` are wrong "
        "(2403.00409); hinge: SLiC's (2305.10425); ipo: 2310.12036.",
    )
    beta: Annotated[float, Field(gt=0)] = Field(
        0.1,
        description="What a nat of margin counts: the lower, the further from the reference. 2305.18290, section 6.",
    )
    final_beta: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Beta at the last step; it goes there evenly from the first. As at the first if absent."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="Share of pairs whose answers are taken to be the wrong way round: sigmoid and robust."
    )
    length_normalized: bool = Field(
        False, description="Margins of log-probabilities per token, not of sums: for ipo as its authors did; Tülu 3."
    )
    sft_weight: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Weight of the chosen answer's loss per token beside the pair's; RPO (2404.19733): 1."
    )
    kl_weight: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Weight of a penalty: half the square of what a token's log-probability moved from the reference, "
        "mean over the pair's tokens.",
    )
    final_kl_weight: Annotated[float, Field(ge=0)] | None = Field(
        None, description="That weight at the last step, as with beta."
    )
    kl_limit: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Nats per token that the model may move from its reference on held-out pairs of a language.",
        examples=["0.1"],
    )
    beyond_limit: Literal["warn", "stop"] = Field(
        "warn", description="What is done where it has moved further: say so once a language, or end the run."
    )

    @model_validator(mode="after")
    def _all_of_it_counts(self) -> Preference:
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            raise ValueError(f"label_smoothing would do nothing: the loss is {self.loss}; take sigmoid or robust")
        if self.loss == "robust" and not self.label_smoothing:
            raise ValueError("robust without label_smoothing is sigmoid: give the share of labels that are wrong")
        if self.beyond_limit == "stop" and self.kl_limit is None:
            raise ValueError("beyond_limit would do nothing: give kl_limit")
        return self

    @property
    def is_constant(self) -> bool:
        """Whether no number of it depends on how many steps there are."""
        return self.final_beta is None and self.final_kl_weight is None

    def beta_at(self, done: float) -> float:
        """Beta where a share of the steps is done, 0 at the first and 1 at the last."""
        return self.beta if self.final_beta is None else self.beta + (self.final_beta - self.beta) * done

    def kl_weight_at(self, done: float) -> float:
        """The weight of the KL penalty, likewise."""
        final = self.kl_weight if self.final_kl_weight is None else self.final_kl_weight
        return self.kl_weight + (final - self.kl_weight) * done


class GuardSettings(Settings):
    """What is done about spikes of the loss and the gradient; see diglot/train/guard.py."""

    renamed: ClassVar[dict[str, str]] = {"pass_over": "skip_data"}

    deviations: Annotated[float, Field(gt=0)] = Field(
        6.0, description="A step this far above the mean of the window is skipped; OLMo-core."
    )
    window: Annotated[int, Field(ge=4)] = Field(128, description="Steps of the statistics; OLMo-core.")
    rollback_after: Annotated[int, Field(ge=2)] = Field(
        3, description="So many skips within a quarter of a window: back to an older checkpoint."
    )
    skip_data: Count = Field(
        100,
        description="Steps' data that a rollback skips, twice as many each further time; PaLM (2204.02311): 200-500.",
    )
    max_rollbacks: Annotated[int, Field(ge=0)] = Field(3, description="Then the run stops.")


class Training(Stage):
    """What all stages that train a model share: one loop for language modelling, fine-tuning and preferences."""

    renamed: ClassVar[dict[str, str]] = {"beta": "preference.beta"}
    reads: ClassVar[dict[str, Role]] = {"model": Role(("model",)), "tokens": Role(("tokens",), many=True)}
    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset(
        {
            "checkpoint_every",
            "keep_checkpoints",
            "keep_checkpoint_every",
            "asynchronous_checkpoints",
            "parallel",
            "activation_checkpointing",
            "offload",
        }
    )

    objective: Literal["lm", "sft", "dpo"] = Field(
        "lm", description="lm: all tokens; sft: the answers of conversations; dpo: preference pairs (2305.18290)."
    )
    steps: Count = Field(description="Updates of the weights.", examples=["1000"])
    phases: list[Phase] = Field(
        [Phase(name="all")],
        description="What is read and trained, one after the other.",
        examples=[
            "[{name: stable, share: 0.8, mixture: {english: 0.3, arabic: 0.7}}, {name: decay, share: 0.2, shape: linear}]"
        ],
    )
    batch_size: Count = Field(512, description="Sequences a step; PolyLM 3.2 (1.7B).")
    micro_batch_size: Count | None = Field(None, description="Sequences in memory at a time; the batch if absent.")
    sequence_length: Count = Field(2048, description="Tokens a sequence; PolyLM 3.2.")
    document_weights: dict[Name, DocumentWeight] = Field(
        {},
        description="How often documents are read, by source or language; each once a pass if absent.",
        examples=["{ar: {column: cluster_size, by: log}}"],
    )
    warmup_from: Annotated[float, Field(ge=0)] = Field(1e-7, description="PolyLM 3.2.")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon: for the layers' matrices, at AdamW's rates (Moonlight, 2502.16982); AdamW for the rest.",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.1, description="PolyLM 3.2.")
    betas: tuple[Momentum, Momentum] = Field((0.9, 0.95), description="PolyLM 3.2.", strict=False)
    epsilon: Annotated[float, Field(gt=0)] = Field(1e-8, description="PolyLM's released scripts.")
    gradient_clip: Annotated[float, Field(gt=0)] = Field(1.0, description="PolyLM 3.2.")
    preference: Preference = Field(
        Preference(), description="The loss of preference pairs.", examples=["{loss: ipo, length_normalized: true}"]
    )
    z_loss: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Coefficient of log²Z, beside the cross-entropy: logits don't drift. PaLM (2204.02311): 1e-4. "
        "Logged losses are without.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of products and gathered weights; sums over processes are float32."
    )
    adapter: Adapter | None = Field(
        None,
        description="Train small matrices beside the model's own, for little memory; the whole model if absent.",
        examples=["{rank: 64, targets: all}"],
    )
    weights: Literal["float32", "bfloat16", "nf4"] = Field(
        "float32",
        description="As they lie in memory. bfloat16: half of it, rounded at random so that small updates count "
        "(2010.06192). nf4: four bits (QLoRA, 2305.14314), of layers that only an adapter changes. With an adapter, what "
        "is trained stays float32.",
    )
    moments: Literal["float32", "8-bit"] = Field(
        "float32", description="Of AdamW. 8-bit: a quarter of the memory, scaled in blocks of 256 (2110.02861)."
    )
    offload: bool = Field(
        False,
        description="Weights, gradients and moments lie in the CPU's memory and come to the GPU layer by layer (FSDP2).",
    )
    float32_residual: bool = Field(
        False,
        description="Under bfloat16, keep the residual stream and attention in float32: ended PolyLM's loss spikes (3.3).",
    )
    float8: bool = Field(
        False,
        description="Layers' products in float8 under bfloat16: GPUs from compute capability 8.9 on, with torchao.",
    )
    compile: bool = Field(
        False,
        description="torch.compile of the layers: the first step takes a minute, and rounding changes; needs a C++ compiler.",
    )
    parallel: Parallel = Field(Parallel(), description="How many processes share the model.")
    activation_checkpointing: bool = Field(
        False, description="Keep only the layers' inputs and compute the rest twice: less memory, a third more time."
    )
    guard: GuardSettings = Field(GuardSettings(), description="What is done about spikes.")
    evaluate_every: Count = Field(100, description="Steps between evaluations on held-out text.")
    evaluate_tokens: Count | None = Field(
        None,
        description="Held-out tokens a source in each evaluation. If absent as many as keep all evaluations within 5% of "
        "the training's time, indicators included, 50,000 at most. A longer document than a tenth of them is cut.",
    )
    indicator_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Tokens, padding included, that each evaluation reads for its indicators: cloze and use of context, by "
        "language (docs/indicators.md); not of dpo. If absent as many as take 2% of the training's time; 0: none.",
    )
    checkpoint_every: Count = Field(100, description="Steps between checkpoints.")
    keep_checkpoints: Count = Field(2, description="The newest that are kept; older checkpoints are removed.")
    keep_checkpoint_every: Count | None = Field(
        None, description="Checkpoints of multiples of so many steps are kept until the stage is done."
    )
    asynchronous_checkpoints: bool = Field(
        True, description="Train on while a checkpoint is written; takes CPU memory for a copy of weights and moments."
    )
    continues: Literal["weights", "optimizer", "run"] = Field(
        "weights",
        description="What is taken over from the train stage that made the model: its weights; the optimizer's state "
        "too; or the whole run: its place in the data as well, so that both stages together are one run.",
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _phases_fill_the_steps(self) -> Training:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the phases add up to {total:g}, not to 1")
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError("two phases have the same name")
        if self.phases[0].shape == "continue":
            raise ValueError(f"phase {names[0]!r} is the first: there is no curve to continue")
        if self.phases[0].ramp and self.continues != "run":
            raise ValueError(f"phase {names[0]!r} is the first: there is no mixture to ramp from")
        if self.batch_size % (self.micro_batch_size or self.batch_size):
            raise ValueError("batch_size must be a multiple of micro_batch_size")
        return self

    @model_validator(mode="after")
    def _settings_of_the_precision(self) -> Training:
        for name in ("float32_residual", "float8"):
            if getattr(self, name) and self.precision == "float32":
                raise ValueError(f"{name} would do nothing: precision is float32; set precision: bfloat16")
        if self.float8 and self.parallel.tensor > 1:
            raise ValueError("float8 is for parallel.tensor 1: matrices that are cut were not tried in float8")
        if self.compile and self.parallel.tensor > 1:
            raise ValueError(
                "compile is for parallel.tensor 1: torch fails on what tensor parallel passes between compiled pieces"
            )
        if self.z_loss and self.objective == "dpo":
            raise ValueError("z_loss is for lm and sft: dpo's loss has no Z")
        if self.preference != Preference() and self.objective != "dpo":
            raise ValueError(f"preference would do nothing: the objective is {self.objective}, not dpo")
        return self

    @model_validator(mode="after")
    def _low_memory(self) -> Training:
        if self.weights != "float32" and self.precision == "float32":
            raise ValueError(f"weights: {self.weights} needs precision: bfloat16, the type that its products take")
        if self.weights == "nf4" and self.adapter is None:
            raise ValueError("weights: nf4 needs an adapter: weights of four bits cannot be trained themselves")
        if self.moments == "8-bit" and self.parallel.tensor > 1:
            raise ValueError("moments: 8-bit is for parallel.tensor 1: its blocks lie along the rows of whole matrices")
        if self.moments == "8-bit" and self.continues != "weights":
            raise ValueError("moments: 8-bit is for continues: weights; such moments are not kept with a model")
        for name, usual in (("weights", "float32"), ("moments", "float32"), ("adapter", None)):
            given = getattr(self, name)
            if given != usual and self.optimizer == "muon":
                raise ValueError(f"{name} is for optimizer: adamw; Muon was not tried with it")
            if given not in (usual, "8-bit") and self.float8:
                raise ValueError(f"{name} was not tried with float8; leave one of them out")
        return self

    @model_validator(mode="after")
    def _what_an_adapter_allows(self) -> Training:
        if self.adapter is None:
            return self
        if self.parallel.tensor > 1:
            raise ValueError("adapter is for parallel.tensor 1: its matrices are not cut by heads")
        if self.compile:
            raise ValueError("adapter was not tried with compile; leave one of them out")
        # What was merged cannot be taken apart again.
        if self.continues != "weights":
            raise ValueError(f"continues: {self.continues} has no optimizer's state to go on from under an adapter")
        # A phase of layers or whole tables would train weights that lie in the type of what stays.
        for phase in self.phases:
            if phase.trains not in ("all", "new-rows"):
                raise ValueError(
                    f"phase {phase.name!r} trains {phase.trains}: with an adapter a phase trains all (the adapter, and "
                    "new rows where there are some) or new-rows"
                )
        return self

    @model_validator(mode="after")
    def _rows_that_are_cut(self) -> Training:
        pieces = 2 * self.parallel.context
        if pieces > 2 and self.objective == "dpo":
            raise ValueError("parallel.context is for lm and sft: dpo needs a pair's answers whole")
        if pieces > 2 and self.sequence_length % pieces:
            raise ValueError(
                f"sequence_length ({self.sequence_length}) is not a multiple of {pieces}: parallel.context "
                f"{self.parallel.context} cuts rows into so many pieces"
            )
        return self

    @model_validator(mode="after")
    def _pairs_are_not_continued(self) -> Training:
        if self.continues == "run" and self.objective == "dpo":
            raise ValueError("continues: run is not for dpo: it compares with the model that a run began with")
        return self

    @property
    def num_runs(self) -> int:
        """Trainings of the model: a sweep has one a learning rate."""
        return 1

    @property
    def tokens(self) -> int:
        """That a run reads, padding included."""
        return self.steps * self.batch_size * self.sequence_length

    @property
    def num_evaluations(self) -> int:
        """Evaluations on held-out text: before the first step, every `evaluate_every` steps, and after the last one."""
        return 1 + math.ceil(self.steps / self.evaluate_every)

    def tokens_an_evaluation(self, num_sources: int) -> int:
        """Held-out tokens that each evaluation reads of each of so many sources."""
        if self.evaluate_tokens is not None:
            return self.evaluate_tokens
        share = EVALUATION_SHARE - (INDICATOR_SHARE if self.tokens_of_indicators else 0)
        each = share * FORWARD_PASSES * self.tokens / self.num_evaluations / max(1, num_sources)
        return max(1, min(MOST_EVALUATION_TOKENS, int(each)))

    @property
    def tokens_of_indicators(self) -> int:
        """Tokens that each evaluation reads for its indicators, at most."""
        if self.objective == "dpo":
            return 0
        if self.indicator_tokens is not None:
            return self.indicator_tokens
        return int(INDICATOR_SHARE * FORWARD_PASSES * self.tokens / self.num_evaluations)

    def refuses(self, role: str, other: Stage, step: int | None) -> str | None:
        """A continued run needs the optimizer's state, and steps of the same size."""
        if role != "model" or self.continues == "weights":
            return None
        if not isinstance(other, Train):
            return f"continues: {self.continues} needs the model of a train stage; this one is made by {other.do}"
        if not other.export_optimizer:
            return f"continues: {self.continues} needs the optimizer's state: set export_optimizer: true there"
        if self.continues == "run":
            for name in ("objective", "batch_size", "sequence_length", "document_weights"):
                if getattr(self, name) != getattr(other, name):
                    return f"continues: run needs the same {name} in both stages"
        return None


class Train(Training):
    """Train a model: one loop for language modelling, supervised fine-tuning and preferences (DPO)."""

    makes: ClassVar[str] = "model"
    function: ClassVar[str] = "diglot.train.loop:run"
    position: ClassVar[int] = 90
    version: ClassVar[int] = 5

    do: Literal["train"] = "train"
    learning_rate: Annotated[float, Field(gt=0)] = Field(3e-5, description="ALLaM, learning-rate slides.")
    rewarm_steps: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Steps of warm-up after every resume (ALLaM, slides). Above 0, a run that was killed does not end as "
        "one that was not.",
    )
    export_every: Count | None = Field(
        None, description="Keep the model every so many steps, for others to read as STAGE@STEP."
    )
    exports: list[Count] = Field([], description="More steps at which the model is kept.", examples=["[500, 900]"])
    export_optimizer: bool = Field(
        False, description="Keep the optimizer's state with each kept model, for stages that continue it."
    )

    @model_validator(mode="after")
    def _exports_within_the_steps(self) -> Train:
        if self.export_optimizer and self.adapter is not None:
            raise ValueError("export_optimizer is not for an adapter: it is merged when the model is written")
        if self.export_optimizer and self.moments == "8-bit":
            raise ValueError("export_optimizer is for moments: float32")
        if self.export_every and self.steps // self.export_every > MOST_EXPORTS:
            raise ValueError(
                f"export_every {self.export_every:,} would keep {self.steps // self.export_every:,} models of "
                f"{self.steps:,} steps; at most {MOST_EXPORTS:,} are kept: raise export_every"
            )
        if beyond := [step for step in self.exports if step > self.steps]:
            raise ValueError(f"exports: step {beyond[0]} is beyond the stage's {self.steps} steps")
        return self

    def goes_on_from(self, earlier: dict[str, Any]) -> bool:
        """Only more steps of one constant phase: data, learning rates and what moves are those of the fewer steps.

        A phase's share of warm-up, its fall and its caps of epochs depend on how many steps there are.
        """
        phase, steps = self.phases[0], earlier.get("steps")
        is_trunk = phase.shape == "constant" and not (phase.warmup or phase.max_epochs or phase.ramp)
        is_trunk = is_trunk and len(self.phases) == 1 and self.preference.is_constant
        is_longer = isinstance(steps, int) and steps < self.steps
        return is_trunk and is_longer and {**earlier, "steps": self.steps} == self.semantic()

    def kept_steps(self) -> list[int]:
        """The steps whose models can be read as STAGE@STEP, in rising order; the last is the stage's own model."""
        regular = range(self.export_every, self.steps, self.export_every) if self.export_every else []
        return sorted({*regular, *self.exports, self.steps})


class Sweep(Training):
    """Try learning rates: a short run with each, as ALLaM did; which one gives the fewest bits per byte?"""

    makes: ClassVar[str] = "sweep"
    function: ClassVar[str] = "diglot.train.sweep:run"
    position: ClassVar[int] = 91
    version: ClassVar[int] = 5

    do: Literal["sweep"] = "sweep"
    learning_rates: list[Annotated[float, Field(gt=0)]] = Field(
        min_length=2,
        description="Peaks to try, one run each; every run reads the same data.",
        examples=[[1e-5, 3e-5, 1e-4]],
    )

    @model_validator(mode="after")
    def _one_run_a_rate(self) -> Sweep:
        if len(set(self.learning_rates)) < len(self.learning_rates):
            raise ValueError("learning_rates names a rate twice")
        for name in ("skip_data", "max_rollbacks"):
            if getattr(self.guard, name) != GuardSettings.model_fields[name].default:
                raise ValueError(
                    f"guard.{name} would do nothing: a rate that needs a rollback is too high, and its run ends"
                )
        for phase in self.phases:
            if phase.learning_rate is not None:
                raise ValueError(
                    f"phase {phase.name!r} has a learning_rate of its own, which no run would change; leave it out"
                )
        return self

    @property
    def num_runs(self) -> int:
        """One a learning rate."""
        return len(self.learning_rates)

    def at(self, rate: float) -> Train:
        """The train stage with one of the rates. A rate that the guard would roll back for is too high: it stops."""
        shared = {name: getattr(self, name) for name in Training.model_fields if name not in ("do", "from_")}
        guard = self.guard.model_copy(update={"max_rollbacks": 0})
        return Train(**{**shared, "from": self.from_, "learning_rate": rate, "guard": guard})
