"""The record of a run: what a later run needs to know to go on from it, beside weights and moments (see branches.py).

Nothing here needs torch: `diglot data` asks for the data order of a run that goes on from another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.recipe.train import Training
from diglot.tokens.mixture import PhasePlan
from diglot.tokens.order import Skipped
from diglot.tokens.shards import TokenSource

CONTINUE, RECORD = "continue", "run.json"


@dataclass(frozen=True)
class RunRecord:
    """A run, as far as another goes on from it.

    Attributes:
        seed: of its data order.
        phases: what it has done; a phase that was left in its middle says where.
        sources: content hash of each source that it read.
        sizes: what a step was: `objective`, `batch_size`, `sequence_length`, `document_weights`.
        skipped: positions in the data order that the guard has skipped.
    """

    seed: int
    phases: tuple[PhasePlan, ...]
    sources: dict[str, str]
    sizes: dict[str, Any]
    skipped: Skipped = ()


def read_record(folder: Path, settings: Training) -> RunRecord:
    """The run that made the model in a folder, which a stage is to continue.

    Raises:
        UserError: the folder has no record of a run, or that run's steps were of another size.
    """
    file = folder / CONTINUE / RECORD
    if not file.is_file():
        raise nothing_to_continue(folder, settings)
    try:
        stored = read_json(file)
        phases = tuple(PhasePlan(**phase) for phase in stored["phases"])
        skipped = tuple((int(first), int(end)) for first, end in stored["skipped"])
        record = RunRecord(int(stored["seed"]), phases, dict(stored["sources"]), dict(stored["sizes"]), skipped)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not the record of a run: {error!r}") from error
    for name, value in step_sizes(settings).items():
        if record.sizes.get(name) != value:
            raise UserError(f"continues: run needs the same {name} as before: {record.sizes.get(name)}, not {value}")
    return record


def nothing_to_continue(folder: Path, settings: Training) -> UserError:
    """What to say where a model's folder holds nothing but the model."""
    return UserError(
        f"continues: {settings.continues} needs the optimizer's state, and {folder} has none: set "
        "export_optimizer: true in the train stage that makes this model, or continues: weights here"
    )


def step_sizes(settings: Training) -> dict[str, Any]:
    """What a step of a run is; it cannot change within one run."""
    names = {"objective", "batch_size", "sequence_length", "document_weights"}
    return settings.model_dump(mode="json", include=names)


def check_sources(record: RunRecord, sources: Mapping[str, TokenSource]) -> None:
    """Refuse to go on with other data than the run began with.

    Raises:
        UserError: a source is not what it was.
    """
    for name, content in record.sources.items():
        if name not in sources or sources[name].content != content:
            raise UserError(
                f"continues: run: the tokens of source {name!r} are not those that the run began with; give the same "
                "tokens stage, or set continues: optimizer"
            )
