"""Settings of a training from the fullest to the leanest, and which of them fits one card.

A rung says what is trained and in which type it lies in memory; it changes what comes out. A way says how it is computed:
activation checkpointing and smaller micro-batches change nothing but time. So the advice is the first rung that fits in some
way, in the first way that does. Rungs that a stage's other settings, or its model, refuse are left out, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from diglot.base.devices import Cluster
from diglot.base.errors import UserError
from diglot.base.format import excerpt, gibibytes
from diglot.plan.estimate import lay_out
from diglot.plan.follow import Known
from diglot.plan.memory import Memory, memory
from diglot.recipe.train import Training

FULL: dict[str, Any] = {"adapter": None, "weights": "float32", "moments": "float32", "offload": False}
BFLOAT16 = {"precision": "bfloat16", "weights": "bfloat16"}
ADAPTER = {"rank": 64}  # the default's, for a stage that has none
# What is trained, from the fullest to the leanest on the card; the CPU's memory comes last, for it is the slowest by far.
RUNGS: dict[str, dict[str, Any]] = {
    "in full": FULL,
    "in full, moments of 8 bits": {**FULL, "moments": "8-bit"},
    "in full, bfloat16 weights, moments of 8 bits": {**FULL, **BFLOAT16, "moments": "8-bit"},
    "an adapter, bfloat16 weights": {**FULL, **BFLOAT16, "adapter": ADAPTER},
    "an adapter, weights of four bits": {**FULL, "precision": "bfloat16", "weights": "nf4", "adapter": ADAPTER},
    "in full, from the CPU's memory": {**FULL, "offload": True},
}
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "checkpointing": {"activation_checkpointing": True},
    "and micro-batch 1": {"activation_checkpointing": True, "micro_batch_size": 1},
}


@dataclass(frozen=True)
class Tried:
    """One way of one rung.

    Attributes:
        rung: a key of RUNGS.
        way: a key of WAYS.
        changes: settings that differ from the recipe's.
        memory: that it takes; None where it is refused.
        fits: whether the card has it.
        refused: the reason.
    """

    rung: str
    way: str
    changes: dict[str, Any]
    memory: Memory | None = None
    fits: bool = False
    refused: str = ""


def ladder(stage: Training, model: Known, cluster: Cluster, capacity: float) -> list[Tried]:
    """Every rung in every way, for a stage on one card.

    Args:
        stage: its settings.
        model: what it trains.
        cluster: one device.
        capacity: its bytes.
    """
    found = []
    for rung, wanted in RUNGS.items():
        if cluster.device.one_process and wanted["offload"]:
            continue  # there is no other memory
        if wanted["adapter"] is not None and stage.adapter is not None:
            wanted = wanted | {"adapter": stage.adapter.model_dump()}
        for way, how in WAYS.items():
            changes = dict(_changes(stage, wanted | how))
            try:
                settings = stage.model_dump(by_alias=True) | changes
                execution = lay_out(type(stage).model_validate(settings), model, cluster)
            except (ValidationError, UserError) as error:
                found.append(Tried(rung, way, changes, refused=excerpt(_reason(error), 160)))
                continue
            held = memory(model.shape(), execution)
            found.append(Tried(rung, way, changes, held, held.total <= capacity))
    return found


def _changes(stage: Training, wanted: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in wanted.items():
        present = getattr(stage, name)
        present = present.model_dump() if name == "adapter" and present is not None else present
        if value != present:
            yield name, value


def _reason(error: ValidationError | UserError) -> str:
    return str(error) if isinstance(error, UserError) else error.errors()[0]["msg"].removeprefix("Value error, ")


def choice(tried: Sequence[Tried]) -> Tried | None:
    """The fullest that fits, in the way that costs least time; None where nothing fits."""
    return next((each for each in tried if each.fits), None)


def advice(name: str, tried: Sequence[Tried], capacity: float) -> str:
    """One line: the fullest setting that fits, and the overrides to type."""
    chosen = choice(tried)
    if chosen is None:
        least = min((each for each in tried if each.memory), key=lambda each: each.memory.total if each.memory else 0.0)
        assert least.memory is not None
        return (
            f"nothing fits: the leanest ({least.rung}, {least.way}) takes {gibibytes(least.memory.total)} GiB of "
            f"{gibibytes(capacity)} GiB"
        )
    assert chosen.memory is not None
    line = f"{chosen.rung}, {gibibytes(chosen.memory.total)} GiB of {gibibytes(capacity)} GiB"
    if chosen.memory.offloaded:
        line += f" and {gibibytes(chosen.memory.offloaded)} GiB of the CPU's"
    words = overrides(name, chosen.changes)
    return f"{line}: {' '.join(words) if words else 'nothing to change'}"


def overrides(name: str, changes: dict[str, Any]) -> list[str]:
    """The words to type after `diglot run RECIPE` that set a stage's settings so."""
    return [f"{name}.{key}={_written(value)}" for key, value in changes.items()]


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "'{" + ", ".join(f"{key}: {_written(each)}" for key, each in value.items() if each is not None) + "}'"
    return value if isinstance(value, str) else json.dumps(value)
