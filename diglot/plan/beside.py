"""What a recipe takes beside its training steps: evaluations, within trainings and after them, and disk.

An evaluation is forward passes, each a third of a training step on as many tokens. Checkpoints hold the weights that are
trained, and moments; one more than are kept is on the disk while it is written. Test items of evaluations are in no plan: their
texts are not read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from diglot.base.devices import Cluster
from diglot.model.decoder import DecoderConfig
from diglot.model.flops import flops_per_token
from diglot.plan.execution import MASTER, Execution
from diglot.plan.follow import Known, Reads
from diglot.plan.states import parameters, states, trainable_shapes
from diglot.recipe import Recipe
from diglot.recipe.common import at_step
from diglot.recipe.evaluate import BYTES_A_TOKEN, MAX_BYTES, Evaluate
from diglot.recipe.train import FORWARD_PASSES, Train, Training

HELD_OUT = {"lm": ("corpus", "instructions"), "sft": ("corpus", "instructions"), "dpo": ("preferences",)}


@dataclass(frozen=True)
class Beside:
    """What a stage takes beside training steps.

    Attributes:
        evaluations: of its model on held-out text.
        sources: of that text.
        tokens: of each source in each evaluation, at most.
        seconds: of all evaluations.
        copy: bytes of the copy that training goes on beside while a checkpoint is written, in the CPU's memory of all
            nodes together; 0 where it waits instead, and where none is written.
        checkpoints: bytes on disk, at most at a time; gone when the stage is done.
        models: bytes on disk that stay.
    """

    evaluations: int = 0
    sources: int = 0
    tokens: int = 0
    seconds: float = 0.0
    copy: float = 0.0
    checkpoints: float = 0.0
    models: float = 0.0


def held_out_sources(stage: Training, tokens: list[str], reads: Reads, recipe: Recipe) -> int:
    """The sources that a training evaluates: those of what its token stages encode, in the forms that it can read."""
    encoded = [reads[at_step(name)[0]] for name in tokens]
    names = [name for roles in encoded for role in HELD_OUT[stage.objective] for name in roles.get(role, [])]
    return max(1, sum(recipe.stages[at_step(name)[0]].num_sources() for name in names))


def of_training(
    stage: Training, config: DecoderConfig, execution: Execution, sources: int, tokens_per_second: float
) -> Beside:
    """What a stage that trains takes beside its steps.

    Args:
        stage: its settings.
        config: the model's shape.
        execution: how it runs.
        sources: of held-out text.
        tokens_per_second: of its steps, on all devices.
    """
    evaluations = stage.num_runs * stage.num_evaluations
    tokens = stage.tokens_an_evaluation(sources)
    state = _checkpoint_bytes(config, execution)
    saved = stage.steps // stage.checkpoint_every
    kept = min(saved, stage.keep_checkpoints + 1)
    if stage.keep_checkpoint_every:
        kept += stage.steps // stage.keep_checkpoint_every
    # A model is written in the type of its weights; beside it lies the adapter that was merged, in float32.
    shapes = trainable_shapes(config, execution).items()
    weights = (MASTER if stage.weights == "float32" else 2) * parameters(config)["total"]
    weights += MASTER * sum(math.prod(shape) for name, shape in shapes if ".lora_" in name)
    models = 0.0
    if isinstance(stage, Train):
        models = len(stage.kept_steps()) * (state if stage.export_optimizer else weights)
    return Beside(
        evaluations=evaluations,
        sources=sources,
        tokens=tokens,
        seconds=evaluations * (sources * tokens + stage.tokens_of_indicators) / FORWARD_PASSES / tokens_per_second,
        copy=state if saved and stage.asynchronous_checkpoints else 0.0,
        checkpoints=kept * state,
        models=models,
    )


def _checkpoint_bytes(config: DecoderConfig, execution: Execution) -> float:
    """Bytes of the weights that are trained and of moments, of all processes together; the most of any phase."""
    whole = replace(execution, data_parallel=1, tensor_parallel=1, context_parallel=1, replicas=1)
    return max(held.moved + held.optimizer for held in states(config, whole))


def of_evaluations(
    recipe: Recipe, reads: Reads, known: dict[str, Known], cluster: Cluster, mfu: float
) -> dict[str, Beside]:
    """What each evaluation stage takes for held-out text and pairs, on one device (a machine's cores count as one)."""
    device, found = cluster.device, {}
    speed = mfu * device.peak("float32" if device.one_process else "bfloat16")
    speed *= cluster.devices if device.one_process else 1
    for name, roles in reads.items():
        stage = recipe.stages[name]
        if isinstance(stage, Evaluate):
            config = known[at_step(roles["model"][0])[0]].shape()
            read = [*roles.get("corpus", []), *roles.get("preferences", [])]
            sources = sum(recipe.stages[at_step(other)[0]].num_sources() for other in read)
            tokens = (stage.max_bytes or MAX_BYTES) // BYTES_A_TOKEN
            forward = flops_per_token(config, config.max_positions) / FORWARD_PASSES
            found[name] = Beside(min(sources, 1), sources, tokens, sources * tokens * forward / speed)
    return found
