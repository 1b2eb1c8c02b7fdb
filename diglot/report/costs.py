"""What a run cost: time and energy of every stage, and what `diglot plan` would have said beforehand.

Energy is what the machine's counters said (base/energy.py), else time × power, with the power and its source named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from diglot.base.artifact import Artifact
from diglot.base.devices import DEVICES, Cluster, Device, device_called
from diglot.base.errors import UserError
from diglot.base.format import join
from diglot.base.summaries.model import ModelSummary
from diglot.recipe.train import Train

CORE = DEVICES["cpu"]
JOULES = 3.6e6  # of a kilowatt hour
SAME_SIZE = 0.02  # by how much parameters may differ where sizes say all of a model's shape


@dataclass(frozen=True)
class Energy:
    """Kilowatt hours by stage, and where they come from, in words."""

    kilowatt_hours: dict[str, float]
    source: str

    @property
    def total(self) -> float:
        """Of all stages."""
        return sum(self.kilowatt_hours.values())


def energy_of(artifacts: Sequence[Artifact]) -> Energy:
    """The energy of every stage whose time is known."""
    used, measured, assumed = dict[str, float](), list[str](), dict[str, None]()
    for artifact in artifacts:
        seconds, found = artifact.provenance.get("seconds"), artifact.provenance.get("energy")
        if found:
            used[artifact.stage] = found["joules"] / JOULES
            measured += found["from"]
        elif seconds:
            watts, words = _power(artifact.provenance)
            used[artifact.stage] = seconds * watts / JOULES
            assumed[words] = None
    sources = []
    if measured:
        names = join(dict.fromkeys(measured))
        sources.append(f"measured by {names}, with all that ran on the machine meanwhile")
    if assumed:
        sources.append(f"{'elsewhere ' if measured else ''}assumed, not measured: the time × {join(assumed)}, all busy")
    return Energy(used, "; ".join(sources))


def _power(provenance: dict[str, Any]) -> tuple[float, str]:
    """What a machine is assumed to draw, and in words."""
    cores = provenance.get("cores") or 1
    watts, words = cores * CORE.watts, f"{cores} cores at {CORE.watts:g} W each (a cloud machine's share)"
    gpus = _gpus(provenance)
    for device in dict.fromkeys(gpus):
        watts += gpus.count(device) * device.watts
        words += f" and {gpus.count(device)} × {device.title} at {device.watts:g} W (its power limit)"
    return watts, words


def _gpus(provenance: dict[str, Any]) -> list[Device]:
    """The known GPUs of a machine."""
    known = [device_called(each["title"], each["memory"]) for each in provenance.get("accelerators") or []]
    return [device for device in known if device is not None]


def planned(artifact: Artifact) -> tuple[float, str] | None:
    """Seconds of training that `diglot plan` gives a train stage on the machine that it ran on, and that machine's name.

    Returns:
        None where the stage's settings, its model or its machine are not those that a plan is made for.
    """
    # start-up: the plan imports torch, and `diglot show` imports this room.
    from diglot.model.decoder import DecoderConfig
    from diglot.plan.estimate import Assumptions, plan_stage
    from diglot.plan.follow import Known
    from diglot.plan.states import parameters

    about = artifact.summary
    gpus, cores = _gpus(artifact.provenance), artifact.provenance.get("cores")
    if not isinstance(about, ModelSummary) or not (gpus or cores):
        return None
    cluster = Cluster(gpus[0], 1, len(gpus)) if gpus else Cluster(CORE, 1, int(cores or 1))
    try:
        stage = Train.model_validate({**artifact.settings, "from": {"model": "model", "tokens": "tokens"}})
        config = DecoderConfig(**vars(about.shape))
        # Sizes alone do not tell a gated feed-forward layer from a plain one; its parameters do.
        if abs(parameters(config)["total"] / about.parameters - 1) > SAME_SIZE:
            return None
        known = Known(config.vocabulary_size, config, about.architecture)
        return plan_stage(artifact.stage, stage, known, cluster, Assumptions()).seconds, str(cluster)
    except (UserError, ValidationError, ZeroDivisionError):
        return None
