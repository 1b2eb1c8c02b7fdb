"""Checkpoints: torch.distributed.checkpoint folders, written while training goes on, whole or not at all.

    checkpoints/
    ├── step-00000200/
    │   ├── __0_0.distcp …      what process 0 holds of weights, moments, random state and the guard's memory
    │   ├── index.json          which tensor lies where, so that any other mesh can read it
    │   └── checkpoint.json     written last: step, facts, and size and hash of every other file
    └── step-00000300/

Saving copies the state to the CPU's memory (into the same buffers each time, pinned where there is a GPU); training
goes on as soon as that is done. A thread of each process does the rest: write and sync the files, hash what lies on
the disk, gather the hashes; then the first process writes `checkpoint.json` and renames the folder `partial` to its
name. What the threads say to each other goes through a process group of their own, so nothing here waits for the
training's collectives, nor they for it. A checkpoint is complete without the main thread's help: a kill loses what
is in flight at that moment and nothing else. One is in flight at most: the next save waits for it.

    checkpoints = Checkpoints(folder, settings, mesh)
    if path := checkpoints.newest(report=print):            # verified; damaged ones are reported
        stored = checkpoints.load(path, model, optimizer, guard, facts)
    with checkpoints:                                        # leaving waits for what is in flight
        checkpoints.save(step, model, optimizer, guard, facts)

The data order needs no state: it is a function of the step. Kept are the newest `keep_checkpoints`, and every
`keep_checkpoint_every`-th step for good; a folder is renamed before it is removed, so no half of it is ever listed.

Reading them runs no code, whoever wrote them (checkpoint_files.py). The hashes have no key: they find damage, and say
nothing of who wrote a checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from diglot.base.artifact import fingerprint, hash_file
from diglot.base.errors import UserError
from diglot.base.files import read_json, remove, write_json
from diglot.base.format import megabytes
from diglot.recipe.train import Train
from diglot.train.checkpoint_files import INDEX, Planner, Reader, Writer
from diglot.train.mesh import Mesh

FACTS, PARTIAL, REMOVED = "checkpoint.json", "partial", "removed"
# One process without a process group is what we mean.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")

T = TypeVar("T")


class Checkpoints:
    """The checkpoints of a run. All processes make one, and call its methods in the same order.

    Attributes:
        folder: where they lie, on a disk that all processes see.
        settings: `checkpoint_every` is the loop's; what is kept, and whether training goes on meanwhile, is ours.
        mesh: the processes; each writes what it holds, the first one finishes the folder.
    """

    def __init__(self, folder: Path, settings: Train, mesh: Mesh) -> None:
        """Take over a folder: what a killed run left half written or half removed is cleared."""
        self.folder, self.settings, self.mesh = folder, settings, mesh
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        gpu = mesh.device.type == "cuda"
        self._stager = DefaultStager(StagingOptions(gpu, False, False, gpu))
        self._group = dist.new_group(backend="gloo") if mesh.world > 1 else None
        self._first(self._clear)

    def __enter__(self) -> Checkpoints:
        """Nothing is done here; leaving waits."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for what is in flight: after an error too, but then a second one is not raised over the first."""
        if error is None:
            self.wait()
        elif isinstance(error, Exception) and self._thread:
            self._thread.join()

    # --- saving -----------------------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        guard: dict[str, Tensor],
        facts: dict[str, Any],
    ) -> None:
        """Save the state after a step; returns as soon as training may change it.

        Args:
            step: steps done.
            model: the model.
            optimizer: its optimizer.
            guard: small tensors, the same on all processes.
            facts: what `checkpoint.json` says of it; JSON-able, the same on all processes.

        Raises:
            UserError: the checkpoint before, or with `asynchronous_checkpoints: false` this one, could not be written.
        """
        self.wait()
        state = _state(model, optimizer, guard)
        if self.settings.asynchronous_checkpoints:
            with _unfilled():
                state = cast(dict[str, Any], self._stager.stage(state))
        # A daemon: a process that is told to end does not wait for a disk, or for others that are gone.
        self._thread = threading.Thread(target=self._work, args=(state, step, facts), daemon=True, name="checkpoint")
        self._thread.start()
        if not self.settings.asynchronous_checkpoints:
            self.wait()

    def wait(self) -> None:
        """Wait until the checkpoint in flight, if any, is whole.

        Raises:
            UserError: it could not be written; those before it are intact.
        """
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._error:
            error, self._error = self._error, None
            raise error

    @property
    def failed(self) -> bool:
        """Whether the checkpoint in flight has failed; `wait` says how. Not at the same moment on all processes."""
        return self._error is not None

    def _work(self, state: dict[str, Any], step: int, facts: dict[str, Any]) -> None:
        """The thread: write, hash, finish; what goes wrong is kept for the main thread."""
        try:
            self._write(state, step, facts)
        except BaseException as error:
            self._error = error
            if self.mesh.is_first:
                remove(self.folder / PARTIAL)
            self._error = self._explained(error, step)

    def _write(self, state: dict[str, Any], step: int, facts: dict[str, Any]) -> None:
        partial = self.folder / PARTIAL
        alone = self._group is None
        dcp.save(state, storage_writer=Writer(partial), process_group=self._group, no_dist=alone)
        mine = sorted(partial.glob(f"__{self.mesh.rank}_*"))
        if self.mesh.is_first:
            mine.append(partial / INDEX)
        hashed = self._together(lambda: {file.name: [file.stat().st_size, hash_file(file)] for file in mine})
        files = {name: found for each in hashed for name, found in each.items()}
        description = {"step": step, **facts, "files": files}
        self._first(lambda: self._finish(step, description))

    def _finish(self, step: int, description: dict[str, Any]) -> None:
        """Of the first process: make the folder a checkpoint, and remove those that are not kept."""
        partial, final = self.folder / PARTIAL, self._path(step)
        write_json(partial / FACTS, {**description, "check": fingerprint(description)}, durable=True)
        _sync_folder(partial)
        if final.exists():
            self._remove(final)
        partial.rename(final)
        _sync_folder(self.folder)
        for old in self._finished()[: -self.settings.keep_checkpoints]:
            for_good = self.settings.keep_checkpoint_every
            if not (for_good and step_of(old) % for_good == 0):
                self._remove(old)

    def _explained(self, error: BaseException, step: int) -> BaseException:
        causes = [error]
        if isinstance(error, CheckpointException):
            causes = [each for each, _ in error.failures.values()]
        if not (trouble := [each for each in causes if isinstance(each, OSError)]):
            return error
        free = shutil.disk_usage(self.folder).free / 1e6
        older = self._finished()
        intact = f"{older[-1].name}, the newest whole one, is intact" if older else "there is none yet"
        explained = UserError(
            f"{self.folder}: the checkpoint of step {step} could not be written: {trouble[0]} ({megabytes(free)} are free "
            f"there); {intact}. Make room there, or lower keep_checkpoints; then the same command goes on"
        )
        explained.__cause__ = trouble[0]
        return explained

    # --- what is there ----------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there when the one in flight is whole, ascending."""
        self.wait()
        return [step_of(path) for path in self._finished()]

    def newest(
        self,
        usable: Callable[[dict[str, Any]], bool] = lambda stored: True,
        report: Callable[[str], None] = lambda text: None,
    ) -> Path | None:
        """The newest usable checkpoint, every file of it verified; None where there is none.

        The processes share the work: file i is read by process i modulo their number. Damaged checkpoints are left
        out, and removed when an older one is found whole.

        Args:
            usable: told what `checkpoint.json` says, whether to take it.
            report: called, on the first process, with what is damaged and how.

        Raises:
            UserError: there are checkpoints, but all are damaged.
        """
        self.wait()
        damaged: list[Path] = []
        said: list[str] = []
        for path in reversed(self._together(self._finished)[0]):
            found = self._together(functools.partial(self._inspect, path, usable))
            problems = [problem for _, problem in found if problem]
            if problems:
                damaged.append(path)
                said.append(f"{path}: {problems[0]}")
                if self.mesh.is_first:
                    report(f"damaged checkpoint left out: {said[-1]}")
            elif all(wanted for wanted, _ in found):
                self._first(lambda: self._remove(*damaged))
                return path
        if damaged:
            raise UserError(
                f"no whole checkpoint is left: {'; '.join(said)}. Put the damaged files back from a copy, or delete "
                f"{self.folder} to begin this stage again"
            )
        return None

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints of later steps: the run goes on another way from here."""
        self.wait()
        self._first(lambda: self._remove(*(path for path in reversed(self._finished()) if step_of(path) > step)))

    def _inspect(self, path: Path, usable: Callable[[dict[str, Any]], bool]) -> tuple[bool, str | None]:
        """Whether a checkpoint is wanted, and what is wrong with this process's share of its files."""
        try:
            stored = _read(path)
        except UserError as error:
            return False, str(error).removeprefix(f"{path}: ")
        if INDEX not in stored["files"]:
            return False, "was written by an older version of Diglot"
        if not usable(_facts(stored)):
            return False, None
        for name, (size, digest) in list(stored["files"].items())[self.mesh.rank :: self.mesh.world]:
            if problem := _problem(path / name, size, digest):
                return True, f"{name} {problem}"
        return True, None

    # --- loading ----------------------------------------------------------------------------------------------

    def load(
        self,
        path: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        guard: dict[str, Tensor],
        facts: dict[str, Any],
    ) -> dict[str, Any]:
        """Put a checkpoint's state into a model, its optimizer and the guard, whatever mesh it was saved on.

        The files are not verified here: take a path from `newest`.

        Args:
            path: of the checkpoint.
            model: filled.
            optimizer: filled; it must have the moments of the checkpoint's phase already.
            guard: its tensors are filled.
            facts: what the checkpoint must say of itself (plan and tokenizer hashes).

        Returns:
            What `checkpoint.json` says: `step`, and the facts that were given to `save`.

        Raises:
            UserError: the checkpoint belongs to another plan or tokenizer, or holds other tensors.
        """
        stored = _facts(_read(path))
        for key, value in facts.items():
            if stored.get(key) != value:
                raise UserError(f"{path}: the checkpoint's {key} is {stored.get(key)}, but this run's is {value}")
        # Every process reads what it holds, whatever mesh wrote it.
        state = _state(model, optimizer, guard)
        reader, alone = Reader(path), self._group is None
        try:
            dcp.load(state, storage_reader=reader, planner=Planner(), process_group=self._group, no_dist=alone)
        except CheckpointException as error:
            causes = "; ".join(sorted({str(each) for each, _ in error.failures.values()}))
            raise UserError(
                f"{path}: does not fit this run's model and optimizer: {causes}. Delete {self.folder} to begin this "
                "stage again"
            ) from error
        torch.set_rng_state(state["random"])
        return stored

    # --- help -------------------------------------------------------------------------------------------------

    def _together(self, work: Callable[[], T]) -> list[T]:
        """What the work gives on each process; where it fails on one, it fails on all of them."""
        mine: tuple[Any, Exception | None]
        try:
            mine = (work(), None)
        except Exception as error:
            mine = (None, error)
        every: list[tuple[Any, Exception | None]] = [mine] * self.mesh.world
        if self._group is not None:
            dist.all_gather_object(every, mine, group=self._group)
        for _, failure in every:
            if failure is not None:
                raise failure
        return [result for result, _ in every]

    def _first(self, work: Callable[[], None]) -> None:
        """Let the first process do something, and the others wait for it."""
        self._together(work if self.mesh.is_first else lambda: None)

    def _finished(self) -> list[Path]:
        paths = [path for path in self.folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)]
        return sorted(paths, key=step_of)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _clear(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (PARTIAL, REMOVED):
            remove(self.folder / name)

    def _remove(self, *paths: Path) -> None:
        for path in paths:
            path.rename(self.folder / REMOVED)
            remove(self.folder / REMOVED)


@contextlib.contextmanager
def _unfilled() -> Iterator[None]:
    """Deterministic algorithms fill all new memory; here it is written at once, and filling would double the time."""
    before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = before  # type: ignore[attr-defined]


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, guard: dict[str, Tensor]) -> dict[str, Any]:
    """What a checkpoint holds, as the tensors themselves: loading writes into them.

    Weights that the optimizer does not have are those of the model that the run began with.
    """
    moved = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    weights = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter in moved}
    held = optimizer.state
    moments = {name: held[parameter] for name, parameter in model.named_parameters() if parameter in held}
    return {"model": weights, "optimizer": {"state": moments}, "random": torch.get_rng_state(), "guard": guard}


def _read(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        UserError: it is damaged.
    """
    try:
        stored = read_json(path / FACTS, "an older checkpoint is taken")
        check = stored.pop("check")
    except (OSError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: {FACTS} cannot be read ({error})") from error
    if check != fingerprint(stored) or stored["step"] != step_of(path):
        raise UserError(f"{path}: {FACTS} is not as it was written")
    return stored


def _facts(stored: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stored.items() if key != "files"}


def _problem(file: Path, size: int, digest: str) -> str | None:
    try:
        found = file.stat().st_size
        if found != size:
            return f"has {found:,} bytes, not {size:,}"
        return None if hash_file(file) == digest else "is not as it was written (its hash differs)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error})"


def step_of(path: Path) -> int:
    """The steps done, of a checkpoint's folder."""
    return int(path.name.removeprefix("step-"))


def _sync_folder(folder: Path) -> None:
    """A file's name lasts only when its folder is synced."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
