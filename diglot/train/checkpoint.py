"""Checkpoints: torch.distributed.checkpoint folders, written whole or not at all.

    checkpoints/
    ├── step-00000200/      .metadata, __0_0.distcp, checkpoint.json (written last)
    └── step-00000300/

A checkpoint holds weights, optimizer state and random state; `checkpoint.json` says which step, which plan and which
tokenizer it belongs to. The data order needs no state: it is a function of the step. A folder is filled under
another name and renamed when it is whole, so the newest `step-*` folder is always one to go on from.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from diglot.artifact import UserError
from diglot.train.mesh import Mesh

FACTS = "checkpoint.json"


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    weights, moments = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": moments, "random": torch.get_rng_state()}


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    facts: dict[str, str],
    keep: int,
    mesh: Mesh,
) -> Path:
    """Write a checkpoint of the state after `step` steps, then remove all but the newest `keep`.

    Args:
        folder: where the checkpoints of a run lie.
        model: the model.
        optimizer: its optimizer.
        step: steps done.
        facts: what must be the same to go on from here (plan and tokenizer hashes).
        keep: checkpoints to keep.
        mesh: the processes; each writes what it holds, the first one finishes the folder.
    """
    final, partial = folder / f"step-{step:08d}", folder / "partial"
    if mesh.is_first:
        shutil.rmtree(partial, ignore_errors=True)
    mesh.barrier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process without a process group is what we mean
        dcp.save(_state(model, optimizer), checkpoint_id=partial, no_dist=mesh.world == 1)
    if mesh.is_first:
        _finish(folder, partial, final, step, facts, keep)
    mesh.barrier()
    return final


def _finish(folder: Path, partial: Path, final: Path, step: int, facts: dict[str, str], keep: int) -> None:
    with (partial / FACTS).open("w") as stream:
        json.dump({"step": step, **facts}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def list_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / FACTS).is_file())


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, str], mesh: Mesh
) -> int:
    """Put a checkpoint's state into a model and its optimizer; returns the steps done.

    Raises:
        UserError: the checkpoint belongs to another plan or tokenizer.
    """
    stored = json.loads((path / FACTS).read_text())
    for key, value in facts.items():
        if stored.get(key) != value:
            raise UserError(f"{path}: the checkpoint's {key} is {stored.get(key)}, but this run's is {value}")
    state = _state(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(state, checkpoint_id=path, no_dist=mesh.world == 1)
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    torch.set_rng_state(state["random"])
    return stored["step"]
