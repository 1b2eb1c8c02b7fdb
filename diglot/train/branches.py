"""Branches: the models that a run keeps on its way, and runs that go on from them.

    trunk/
    ├── model.safetensors …     after the last step
    ├── continue/               with `export_optimizer`: what a run needs to go on from here
    │   ├── optimizer.safetensors    moments, by the name of their parameter
    │   └── run.json                 the run so far: seed, phases and steps, sources, sizes
    ├── adapter/                with `adapter`: what was merged, as peft has it (adapter_files.py)
    └── steps/400/              the model after 400 steps (`exports`, `export_every`), a folder like the stage's own

A branch reads such a folder (`from: {model: trunk@400}`) and never writes there, so the trunk and all its other
branches stay as they are. What it takes over is its setting `continues`:

    weights      the weights; a new optimizer, and the data in an order of its own
    optimizer    the optimizer's state as well: no new warm-up of the moments; still a data order of its own
    run          the place in the data as well: what the trunk has read comes again only when everything else was

With `run`, trunk and branch together are one run: weights, moments and batches equal, bit for bit on the same mesh,
those of one stage whose phases are the trunk's (cut at the step of the branch) and then the branch's. Not taken over
are the guard's memory of earlier losses and the numbers of the steps in metrics.jsonl, which start again at 1.
Parameters that the trunk did not train start with fresh moments.

A model is kept before the checkpoint of its step is written, so a run that is killed and goes on has all its models.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from diglot.base.artifact import STEPS
from diglot.base.errors import UserError
from diglot.base.files import remove, write_json
from diglot.model.causal import CausalModel
from diglot.model.weights import EXPANSION, StoredWeights, write_file
from diglot.recipe.train import Train
from diglot.tokens.mixture import PhasePlan, cut
from diglot.train.adapter_files import save_adapter
from diglot.train.freezing import read_expansion
from diglot.train.mesh import Mesh
from diglot.train.parts import local, part_of, whole
from diglot.train.record import CONTINUE, RECORD, RunRecord, nothing_to_continue

MOMENTS, ADAPTER = "optimizer.safetensors", "adapter"


# --- going on from a run --------------------------------------------------------------------------------------


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, settings: Train) -> None:
    """Fill the optimizer's state with that of the run that made the model in a folder.

    Every process reads what belongs to its part of a sharded parameter. Parameters that the run did not train keep
    their fresh state.

    Raises:
        UserError: there is no state, or it is of another optimizer, or of parameters of another shape.
    """
    file = folder / CONTINUE / MOMENTS
    if not file.is_file():
        raise nothing_to_continue(folder, settings)
    stored = StoredWeights(file.parent, file.name)
    for name, state in optimizer_state(model, optimizer):
        found = {key.rpartition("|")[2]: key for key in stored.shapes() if key.rpartition("|")[0] == name}
        if found and set(found) != set(state):
            raise UserError(
                f"{file}: holds {', '.join(sorted(found))} of {name}, but this stage's optimizer has "
                f"{', '.join(sorted(state))}; use the optimizer that the run began with, or continues: weights"
            )
        for key, stored_name in found.items():
            value, target = stored.tensor(stored_name), state[key]
            if value.shape != target.shape:
                raise UserError(f"{file}: {stored_name} has the shape {tuple(value.shape)}, the model's {tuple(target.shape)}")  # fmt: skip
            with torch.no_grad():
                local(target).copy_(part_of(value, target))


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The state of every parameter that has one, in the order of names."""
    for name, parameter in sorted(model.named_parameters(), key=lambda item: item[0]):
        if state := optimizer.state.get(parameter):
            yield name, {key: value for key, value in state.items() if isinstance(value, Tensor)}


# --- keeping models -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exports:
    """Keeps the models of a run: those on the way in its scratch folder, in the end all in its artifact.

    Attributes:
        settings: of the stage.
        source: the folder of the model that the run started from; its tokenizer is handed on.
        scratch: survives a killed try.
        mesh: the processes; the first one writes, the others gather what they hold.
        record: the run as planned, for `run.json`.
    """

    settings: Train
    source: Path
    scratch: Path
    mesh: Mesh
    record: RunRecord

    def due(self, step: int) -> bool:
        """Whether the model after this many steps is kept beside the last one."""
        return step in self.settings.kept_steps()[:-1]

    def has_kept(self, step: int) -> bool:
        """Whether all models that are kept up to a step are there."""
        return all(
            (self.scratch / STEPS / str(kept)).is_dir() for kept in self.settings.kept_steps()[:-1] if kept <= step
        )

    def keep(self, model: CausalModel, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Write the model after a step, whole or not at all."""
        final, partial = self.scratch / STEPS / str(step), self.scratch / STEPS / "partial"
        if self.mesh.is_first:
            for folder in (final, partial):
                remove(folder)
        self.write(partial, model, optimizer, step)
        if self.mesh.is_first:
            partial.rename(final)

    def finish(self, model: CausalModel, optimizer: torch.optim.Optimizer, output: Path) -> None:
        """Write the last model, and the kept ones beside it."""
        self.write(output, model, optimizer, self.settings.steps)
        for step in self.settings.kept_steps()[:-1] if self.mesh.is_first else ():
            kept = self.scratch / STEPS / str(step)
            shutil.copytree(kept, output / STEPS / str(step), copy_function=_link_or_copy)

    def write(self, folder: Path, model: CausalModel, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Write a model's folder, with what a run needs to go on from it where that is asked for."""
        self.mesh.save(model, folder, self.source)
        if self.mesh.is_first and (self.source / EXPANSION).is_file():
            shutil.copyfile(self.source / EXPANSION, folder / EXPANSION)
        if self.settings.adapter is not None:
            rows = read_expansion(self.source, model.config).new_rows
            save_adapter(model, self.settings.adapter, rows, folder / ADAPTER, self.mesh)
        if self.settings.export_optimizer:
            save_optimizer(model, optimizer, folder / CONTINUE / MOMENTS, self.mesh)
        if self.settings.export_optimizer and self.mesh.is_first:
            record = asdict(replace(self.record, phases=self.phases_until(step)))
            write_json(folder / CONTINUE / RECORD, record, sort_keys=True)

    def phases_until(self, step: int) -> tuple[PhasePlan, ...]:
        """The phases that are done after a step of this stage, with those of the run that it continues."""
        before = sum(phase.done for phase in self.record.phases) - self.settings.steps
        return cut(self.record.phases, before + step)


def save_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, file: Path, mesh: Mesh) -> None:
    """Write the optimizer's state as safetensors, one tensor at a time; names are PARAMETER|KEY."""
    tensors = {
        f"{name}|{key}": tensor for name, state in optimizer_state(model, optimizer) for key, tensor in state.items()
    }

    def write(tensor: Callable[[str], Tensor]) -> None:
        file.parent.mkdir()
        write_file(file, sorted(tensors), tensors, tensor)

    mesh.stream(sorted(tensors), lambda name: whole(tensors[name]), write)


def _link_or_copy(source: str, target: str) -> None:
    """The kept models stay where they are until the artifact is whole, without taking their space twice."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
