"""FLOPs, throughput, days, cost and energy of training stages on a cluster, and whether they fit.

Model FLOPs a token are those of model/flops.py; MFU is these FLOPs over the device's peak.

    tokens/s/device = MFU × peak / FLOPs a token        days = tokens / (tokens/s/device × devices) / 86,400

Training steps are counted; evaluations, checkpoints and disk stand beside them (beside.py). Restarts and waiting come on
top: PolyLM reports 29 days where its own throughput gives 24.7, and two months in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from diglot.base.devices import Cluster
from diglot.base.errors import UserError
from diglot.base.format import gibibytes
from diglot.model.decoder import DecoderConfig
from diglot.model.flops import flops_per_token
from diglot.plan.beside import Beside, held_out_sources, of_training
from diglot.plan.execution import Execution
from diglot.plan.follow import Known, Reads, follow
from diglot.plan.memory import Memory, memory
from diglot.plan.states import parameters
from diglot.recipe import Recipe
from diglot.recipe.common import at_step
from diglot.recipe.train import Train, Training
from diglot.train.foreign import check_foreign
from diglot.train.schedule import phase_steps

# A model's shape, how it is trained, sequences of a step on a device, and the cluster: tokens/s, None if not to be had.
Measure = Callable[[DecoderConfig, Execution, int, Cluster], float | None]
MAX_DEVICES = 4096  # that the search for a sharding that fits goes to
SMALL = 40e6  # parameters below which published MFUs say little: launches and overheads take the time
PUE = 1.2  # power usage effectiveness of a data centre; Jean Zay's, as in BLOOM's account (Luccioni et al. 2022)


@dataclass(frozen=True)
class Assumptions:
    """What the plan takes as given.

    Attributes:
        mfu: model FLOPs utilisation; the device's published one if None.
        tokens_per_second: a device, instead of an MFU.
        price: of a device-hour, in any currency.
        pue: energy of the data centre over that of its devices.
        watts: of a device; its power limit if None.
    """

    mfu: float | None = None
    tokens_per_second: float | None = None
    price: float | None = None
    pue: float = PUE
    watts: float | None = None


@dataclass(frozen=True)
class Speed:
    """Throughput of a device, and the MFU that is the same thing.

    Attributes:
        tokens_per_second: of training.
        mfu: model FLOPs utilisation.
        origin: either of them is given, throughput is measured, or the MFU is the device's.
    """

    tokens_per_second: float
    mfu: float
    origin: Literal["given", "measured", "device"]


@dataclass(frozen=True)
class StagePlan:
    """What one train stage takes; bytes and FLOP/s are a device's.

    Attributes:
        name: the stage.
        objective: `lm`, `sft` or `dpo`.
        model: what it trains, such as `polylm-13b`.
        config: that model's shape.
        parameters: by part; see `states.parameters`.
        tokens: that the stage reads, padding included.
        flops_per_token: model FLOPs.
        execution: how it runs.
        memory: with and without the margin, by category.
        other_memory: the same with activation checkpointing the other way round.
        whole_loss: bytes that a loss over all logits at once would hold.
        capacity: bytes there are.
        mfu: assumed, or what the given throughput means.
        tokens_per_second: of a device.
        seconds: of training alone.
        device_hours: devices × hours.
        cost: None without a price.
        energy_kwh: of the devices, times the PUE.
        verdict: whether it fits, and if not, what would.
        notes: what to know about this stage.
        beside: what it takes beside its steps.
        measured: the throughput is that of its model on this machine.
    """

    name: str
    objective: str
    model: str
    config: DecoderConfig
    parameters: dict[str, int]
    tokens: int
    flops_per_token: float
    execution: Execution
    memory: Memory
    other_memory: Memory
    whole_loss: float
    capacity: float
    mfu: float
    tokens_per_second: float
    seconds: float
    device_hours: float
    cost: float | None
    energy_kwh: float
    verdict: str
    notes: tuple[str, ...]
    beside: Beside
    measured: bool = False

    @property
    def fits(self) -> bool:
        """Whether memory suffices."""
        return self.memory.total <= self.capacity

    @property
    def flops(self) -> float:
        """Model FLOPs of the stage."""
        return self.flops_per_token * self.tokens

    @property
    def days(self) -> float:
        """Days of training alone."""
        return self.seconds / 86_400


# --- the plan -------------------------------------------------------------------------------------------------


def plan_recipe(
    recipe: Recipe,
    reads: Reads,
    where: Callable[..., str],
    cluster: Cluster,
    assumptions: Assumptions | None = None,
    measure: Measure | None = None,
    known: dict[str, Known] | None = None,
) -> list[StagePlan]:
    """Plan every stage of a recipe that trains, in running order.

    Args:
        recipe: a checked recipe.
        reads: its graph.
        where: names the place of a key in it.
        cluster: what it would run on.
        assumptions: throughput and prices; published throughput and none if absent.
        measure: finds out the throughput of a model, where the cluster is at hand and none is given.
        known: what `follow` says of the recipe, for who has asked: it reads tokenizers of imported models.

    Raises:
        UserError: no train stage, a model that cannot be found out, or a layout that cannot be.
    """
    known = known or follow(recipe, reads, where)
    plans = []
    for name, inputs in reads.items():
        stage = recipe.stages[name]
        if isinstance(stage, Training):
            try:
                model = known[at_step(inputs["model"][0])[0]]
                sources = held_out_sources(stage, inputs["tokens"], reads, recipe)
                plans.append(plan_stage(name, stage, model, cluster, assumptions or Assumptions(), sources, measure))
            except UserError as error:
                raise UserError(f"{where('stages', name)}: {error}") from error
    if not plans:
        raise UserError(f"{recipe.name}: there is nothing to plan: no stage has `do: train`")
    return plans


def plan_stage(
    name: str,
    stage: Training,
    model: Known,
    cluster: Cluster,
    assumptions: Assumptions,
    sources: int = 1,
    measure: Measure | None = None,
) -> StagePlan:
    """Plan one stage that trains; a sweep as all its runs together.

    Args:
        name: the stage's.
        stage: its settings.
        model: what it trains.
        cluster: what it would run on.
        assumptions: throughput and prices.
        sources: that it evaluates.
        measure: see `plan_recipe`.

    Raises:
        UserError: sequences longer than the model's positions, or a layout that cannot be.
    """
    config = model.shape()
    if stage.sequence_length > config.max_positions:
        raise UserError(
            f"sequence_length is {stage.sequence_length}, but the model has {config.max_positions} positions"
        )
    execution = lay_out(stage, model, cluster)
    speed = _speed(stage, config, execution, cluster, assumptions, measure)
    return _planned(name, stage, model, cluster, assumptions, execution, speed, sources)


def _speed(
    stage: Training,
    config: DecoderConfig,
    execution: Execution,
    cluster: Cluster,
    assumptions: Assumptions,
    measure: Measure | None,
) -> Speed:
    """What is given, else throughput as measured, else the device's MFU; the other of the two follows."""
    peak = cluster.device.peak(stage.precision)
    per_token = _flops_per_token(config, stage)
    if given := assumptions.tokens_per_second:
        return Speed(given, given * per_token / peak, "given")
    if mfu := assumptions.mfu:
        return Speed(mfu * peak / per_token, mfu, "given")
    share = math.ceil(stage.batch_size / execution.data_parallel)
    if measure and (found := measure(config, execution, share, cluster)):
        return Speed(found, found * per_token / peak, "measured")
    mfu = cluster.device.mfu
    return Speed(mfu * peak / per_token, mfu, "device")


def _planned(
    name: str,
    stage: Training,
    model: Known,
    cluster: Cluster,
    assumptions: Assumptions,
    execution: Execution,
    speed: Speed,
    sources: int,
) -> StagePlan:
    config, device, tokens = model.shape(), cluster.device, stage.num_runs * stage.tokens
    # Cores of a machine share its memory; other devices have their own.
    capacity = device.memory * (cluster.devices if device.one_process else 1)
    ranks = execution.data_parallel
    # Where the batch does not divide, some ranks wait in the last round.
    busy = stage.batch_size / (ranks * math.ceil(stage.batch_size / ranks))
    tokens_per_second = speed.tokens_per_second * cluster.devices * busy
    seconds = tokens / tokens_per_second
    hours = seconds / 3600 * cluster.devices
    held = memory(config, execution)
    other = replace(execution, activation_checkpointing=not execution.activation_checkpointing)
    return StagePlan(
        name=name,
        objective=stage.objective,
        model=model.origin,
        config=config,
        parameters=parameters(config),
        tokens=tokens,
        flops_per_token=_flops_per_token(config, stage),
        execution=execution,
        memory=held,
        other_memory=memory(config, other),
        whole_loss=memory(config, replace(execution, loss="whole")).peak - held.peak,
        capacity=capacity,
        mfu=speed.mfu,
        tokens_per_second=speed.tokens_per_second,
        seconds=seconds,
        device_hours=hours,
        cost=None if assumptions.price is None else hours * assumptions.price,
        energy_kwh=hours * (assumptions.watts or device.watts) / 1000 * assumptions.pue,
        verdict=judge(config, execution, cluster, capacity),
        notes=(*model.assumed, *_notes(stage, execution, cluster, busy, held.offloaded), *_doubts(speed, config)),
        beside=of_training(stage, config, execution, sources, tokens_per_second),
        measured=speed.origin == "measured",
    )


def _flops_per_token(config: DecoderConfig, stage: Training) -> float:
    """Model FLOPs of a token of a step; DPO's pass before the first step, one forward, is counted as if all were new."""
    return flops_per_token(config, stage.sequence_length) * (4 / 3 if stage.objective == "dpo" else 1)


def lay_out(stage: Training, model: Known, cluster: Cluster) -> Execution:
    """How a stage would run.

    Raises:
        UserError: devices, heads or shards that `parallel` does not divide, or what training refuses of such a model.
    """
    config, parallel, devices = model.shape(), stage.parallel, 1 if cluster.device.one_process else cluster.devices
    if refusal := _refuse_cut(config, parallel.tensor, devices):
        raise UserError(f"parallel.tensor is {parallel.tensor}: {refusal}")
    if model.foreign is not None:
        check_foreign(model.foreign, stage, parallel, devices)
    if stage.weights == "nf4" and (devices > 1 or stage.offload):  # as train/mesh.py
        raise UserError("weights: nf4 is for one device without offload: such weights are not cut")
    # Tensor parallel innermost, then context and replicas; what is left shards the model.
    left = devices // parallel.tensor
    if left % (parallel.context * parallel.replicas):
        raise UserError(
            f"parallel.context is {parallel.context} and parallel.replicas {parallel.replicas}: {devices} devices, of "
            f"which {parallel.tensor} share a layer, cannot be divided so"
        )
    ranks = left // parallel.context
    # The largest share of a batch decides the time; without a micro-batch of its own it is taken in one.
    share = math.ceil(stage.batch_size / ranks)
    micro, adapter = min(stage.micro_batch_size or share, share), stage.adapter
    return Execution(
        data_parallel=ranks,
        tensor_parallel=parallel.tensor,
        context_parallel=parallel.context,
        replicas=parallel.replicas,
        micro_batch_size=micro,
        sequence_length=stage.sequence_length,
        precision=stage.precision,
        activation_checkpointing=stage.activation_checkpointing,
        float32_residual=stage.float32_residual,
        optimizer=stage.optimizer,
        accumulates=share > micro,
        reference=stage.objective == "dpo",
        packed=True,
        sharded=devices > 1 or stage.offload,
        weights=stage.weights,
        moments=stage.moments,
        adapter_rank=adapter.rank if adapter else 0,
        adapter_kind=adapter.kind if adapter else "lora",
        adapter_targets=adapter.targets if adapter else "all",
        new_rows=model.new_rows,
        new_layers=model.new_layers,
        phases=_phases(stage),
        keeps_moments=stage.continues != "weights" or (isinstance(stage, Train) and stage.export_optimizer),
        offload=stage.offload,
        host=cluster.device.one_process,
        copies=cluster.device.one_process and stage.asynchronous_checkpoints and stage.steps >= stage.checkpoint_every,
    )


def _phases(stage: Training) -> tuple[tuple[str, ...], ...]:
    """What each phase that has steps trains, and which groups of parameters a multiplier of 0 freezes; each said once."""
    found: list[tuple[str, ...]] = []
    for phase, steps in zip(stage.phases, phase_steps(stage.phases, stage.steps)):
        frozen = sorted(name for name, multiplier in phase.learning_rate_multipliers.items() if multiplier == 0)
        if steps and (phase.trains, *frozen) not in found[-1:]:
            found.append((phase.trains, *frozen))
    return tuple(found)


def _refuse_cut(config: DecoderConfig, tensor_parallel: int, devices: int) -> str | None:
    if devices % tensor_parallel:
        return f"{devices} devices cannot be divided by it"
    if tensor_parallel > 1 and config.query_key_norm == "projection":
        return "the model's norms are over the queries of all heads at once (OLMo 2 and 3)"
    for what in ("num_heads", "num_key_value_heads", "intermediate_size"):
        if getattr(config, what) % tensor_parallel:
            return f"the model's {what} ({getattr(config, what)}) cannot be divided by it"
    return None


def _notes(stage: Training, execution: Execution, cluster: Cluster, busy: float, offloaded: float) -> Iterator[str]:
    device = cluster.device
    if execution.reference:
        yield (
            "before the first step all pairs go through the model once, for the reference's log-probabilities: a third "
            "more FLOPs where the steps are one epoch; no second model is held"
        )
    if stage.adapter is not None:
        yield (
            "time is planned as of training in full; an adapter's step leaves out the gradients of what is frozen, up to a "
            "third of its products"
        )
    if execution.offload:
        yield f"offload: {gibibytes(offloaded)} GiB a process lie in the CPU's memory; the time to move them is not in the plan"
    if busy < 1:
        yield (
            f"batch_size {stage.batch_size} does not divide among {execution.data_parallel} data-parallel ranks: "
            f"{busy:.0%} of their time is used; more tensor parallel or a larger batch would use all"
        )
    if stage.precision == "float32" and device.bfloat16 > 2 * device.float32:
        yield (
            f"precision is float32, at 1/{device.bfloat16 / device.float32:.0f} of the device's bfloat16 peak; "
            "with precision=bfloat16 weights stay in float32 all the same"
        )
    if execution.tensor_parallel > cluster.devices_per_node:
        yield f"tensor parallel {execution.tensor_parallel} reaches across nodes, whose network will slow it down"


def _doubts(speed: Speed, config: DecoderConfig) -> Iterator[str]:
    if speed.mfu > 0.75 and speed.origin != "measured":
        yield f"an MFU of {speed.mfu:.0%} is more than was ever published for such training"
    if speed.origin == "device" and parameters(config)["total"] < SMALL:
        yield "the MFU was measured on larger models; one this small will reach a fraction of it, so give --mfu"


# --- the verdict ----------------------------------------------------------------------------------------------


def judge(config: DecoderConfig, execution: Execution, cluster: Cluster, capacity: float) -> str:
    """Whether it fits; where it does not, what would: fewer sequences, checkpointing, more devices."""
    needed = memory(config, execution).total
    if needed <= capacity:
        return f"fits: {gibibytes(needed)} GiB of {gibibytes(capacity)} GiB"
    remedies = []
    for ways in _changes(execution):
        for words, changed in ways:
            total = memory(config, changed).total
            if total <= capacity:
                remedies.append(f"fits with {words} ({gibibytes(total)} GiB)")
                break
    if not cluster.device.one_process and execution.weights != "nf4":
        remedies.append(_smallest_text(config, execution, cluster, capacity))
    return f"does not fit: {gibibytes(needed)} GiB of {gibibytes(capacity)} GiB; " + "; ".join(
        remedies or ["no way found"]
    )


def _changes(execution: Execution) -> Iterator[list[tuple[str, Execution]]]:
    """Ways to hold less on the same devices: fewer sequences; no copy of a checkpoint; and with activation checkpointing."""
    micro = execution.micro_batch_size
    smaller = [micro // 2**power for power in range(1, micro.bit_length())]
    less = [
        (f"micro_batch_size={size}", replace(execution, micro_batch_size=size, accumulates=True)) for size in smaller
    ]
    yield less
    if execution.copies:
        yield [("asynchronous_checkpoints=false", replace(execution, copies=False))]
    if not execution.activation_checkpointing:
        flag = "activation_checkpointing=true"
        ways = [(flag, execution), *((f"{flag} {words}", changed) for words, changed in less)]
        yield [(words, replace(changed, activation_checkpointing=True)) for words, changed in ways]


def _smallest_text(config: DecoderConfig, execution: Execution, cluster: Cluster, capacity: float) -> str:
    found = smallest_sharding(config, execution, cluster, capacity)
    words = "smallest sharding that fits"
    if found is None:
        least = replace(execution, activation_checkpointing=True, micro_batch_size=1)
        found = smallest_sharding(config, least, cluster, capacity)
        words += ", with activation_checkpointing=true micro_batch_size=1"
    if found is None:
        return f"no sharding over up to {MAX_DEVICES:,} devices fits, even with activation_checkpointing=true micro_batch_size=1"
    parts = [f"data parallel {found.data_parallel:,}", f"tensor parallel {found.tensor_parallel}"]
    if found.context_parallel > 1:
        parts.insert(1, f"context parallel {found.context_parallel}")
    return f"{words}: {found.ranks:,} devices ({' × '.join(parts)})"


def smallest_sharding(
    config: DecoderConfig, execution: Execution, cluster: Cluster, capacity: float
) -> Execution | None:
    """The fewest devices (context parallel times a power of two), then the least tensor parallel in a node, that fit."""
    # Recipes refuse tensor parallel beside an adapter and moments of 8 bits.
    whole = execution.adapter_rank or execution.moments == "8-bit"
    within = 1 if whole else max(8, cluster.devices_per_node)
    context = execution.context_parallel
    devices = context
    while devices <= MAX_DEVICES:
        cut = 1
        while cut <= min(devices // context, within):
            if not _refuse_cut(config, cut, devices):
                tried = replace(
                    execution,
                    data_parallel=devices // cut // context,
                    replicas=1,
                    tensor_parallel=cut,
                    sharded=devices > 1 or execution.offload,
                )
                if memory(config, tried).total <= capacity:
                    return tried
            cut *= 2
        devices *= 2
    return None
