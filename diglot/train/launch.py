"""Many processes, one run: what torchrun or srun has started, who does what, and how signals end it.

    torchrun --nproc-per-node 8 -m -- diglot run recipe.yaml       one machine (`--`: torchrun would take --run for its own)
    srun --ntasks-per-node 8 diglot run recipe.yaml                a Slurm job, one task a device

All processes enter the same command. The first one walks the recipe alone; the others follow: they wait until a train
stage begins, do that stage together with the first one, and wait again. So everything but training is the code of one
process, and only the first one writes artifacts.

    first                      the others
    curate, tokenize, …        wait
    train: tell them   ──────► the same function with the same settings and folders
    evaluate, report           wait
    end: exit code     ──────► leave with it

What they tell each other goes through torch's key-value store (JSON, by numbered keys), and so does an error: a process
that fails writes why, and those that waited for it in vain say so instead of a message about sockets. All folders
must be on a disk that all processes see.

Without a launcher there is one process, and only the signals are its own. torch is imported where there are several
processes: the command line passes here, and torch takes a second.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.notice import say_at_once
from diglot.base.screen import say
from diglot.base.summaries.summary import Summary
from diglot.recipe import STAGES
from diglot.recipe.common import Stage

if TYPE_CHECKING:
    from torch.distributed import Store

# How long a process waits for another one before it gives up. The others wait while the first one writes a model.
TIMEOUT = "DIGLOT_TIMEOUT_SECONDS"
TIMEOUT_SECONDS = 1800
# How long a process that fails waits for the others to fail likewise, before it ends alone.
GRACE_SECONDS = 5
POLL_SECONDS = 0.25
TASK, LEAVE, LEFT, FAILED = "diglot/task", "diglot/leave", "diglot/left", "diglot/failed"


class Processes:
    """The processes of a launcher, and this one's place among them.

    Attributes:
        rank: number of this process.
        world: how many there are.
    """

    def __init__(self, rank: int, world: int) -> None:
        """Find the others.

        Raises:
            UserError: they can't be found.
        """
        import torch  # start-up: one process without a launcher needs neither
        import torch.distributed as dist

        self.rank, self.world, self.tasks = rank, world, 0
        seconds = float(os.environ.get(TIMEOUT, TIMEOUT_SECONDS))
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpu else "gloo",
                rank=rank,
                world_size=world,
                timeout=datetime.timedelta(seconds=seconds),
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"process {rank} of {world}: cannot meet the others at {os.environ.get('MASTER_ADDR')}:"
                f"{os.environ.get('MASTER_PORT')}: {error}"
            ) from error
        self.store: Store = dist.distributed_c10d._get_default_store()

    def end(self) -> None:
        """Give back what the processes share; after an error it could wait for those that are gone."""
        import torch.distributed as dist  # start-up: as above

        dist.destroy_process_group()

    # --- the first process ------------------------------------------------------------------------------------

    def begin(self, task: dict[str, Any]) -> None:
        """Tell the others what to do."""
        self.store.set(f"{TASK}/{self.tasks}", json.dumps(task))
        self.tasks += 1

    def dismiss(self, code: int) -> None:
        """Tell the others to leave with an exit code, and wait a little until they have heard it."""
        self.store.set(LEAVE, str(code))
        end = time.monotonic() + GRACE_SECONDS
        while self.store.add(LEFT, 0) < self.world - 1 and time.monotonic() < end:
            time.sleep(0.05)

    # --- the others -------------------------------------------------------------------------------------------

    def follow(self) -> int:
        """Do what the first process says until it says leave; returns the exit code."""
        while (code := self._left()) is None:
            if self._is_set(f"{TASK}/{self.tasks}", POLL_SECONDS):
                task = json.loads(self.store.get(f"{TASK}/{self.tasks}"))
                self.tasks += 1
                try:
                    _do(task)
                except (Exception, KeyboardInterrupt) as error:
                    return self._fail(error)
        self.store.add(LEFT, 1)
        self.end()
        return code

    def _left(self) -> int | None:
        return int(self.store.get(LEAVE)) if self.store.check([LEAVE]) else None

    def _fail(self, error: BaseException) -> int:
        """End after an error: quietly where the first process ends too, of the same cause; else say why."""
        text = str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))
        waited = isinstance(error, UserError) and is_lost(error.__cause__)
        if not waited and not isinstance(error, KeyboardInterrupt):
            with contextlib.suppress(RuntimeError):
                self.store.set(FAILED, f"process {self.rank}: {text.strip().rpartition(chr(10))[2]}")
        with contextlib.suppress(RuntimeError):  # the store ended with the first process
            if self._is_set(LEAVE, GRACE_SECONDS) and isinstance(error, (UserError, KeyboardInterrupt)):
                code = self._left()
                self.store.add(LEFT, 1)
                return code or 0
        say(f"error: process {self.rank} of {self.world}: {text}", error=True)
        return 2 if isinstance(error, UserError) else 1

    def _is_set(self, key: str, seconds: float) -> bool:
        """Whether a key is set by then. Asked now and then: the store's own waiting logs a warning when it ends."""
        end = time.monotonic() + seconds
        while not (found := self.store.check([key])) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return found

    def failure(self) -> str | None:
        """What a process that failed has said."""
        return self.store.get(FAILED).decode() if self.store.check([FAILED]) else None


_processes: Processes | None = None  # of this process, as torch's default process group is


def launched() -> tuple[int, int] | None:
    """Number of this process and how many there are, as torchrun or srun says; None where there is one.

    A Slurm script outside of srun is one process, though it sees the number of tasks.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1 and "SLURM_STEP_NUM_TASKS" in os.environ and "SLURM_PROCID" in os.environ:
        world = int(os.environ["SLURM_STEP_NUM_TASKS"])
        if world > 1:
            _environment_from_slurm()
    return (int(os.environ["RANK"]), world) if world > 1 else None


def _environment_from_slurm() -> None:
    """What torchrun would have set. The first node of the step is where processes meet, at a port of the job's own."""
    given = os.environ
    given.setdefault("RANK", given["SLURM_PROCID"])
    given.setdefault("LOCAL_RANK", given.get("SLURM_LOCALID", "0"))
    given["WORLD_SIZE"] = given["SLURM_STEP_NUM_TASKS"]
    given.setdefault("MASTER_PORT", str(20000 + int(given.get("SLURM_JOB_ID", 0)) % 20000))
    if "MASTER_ADDR" not in given:
        nodes = given.get("SLURM_STEP_NODELIST", "localhost")
        if "[" in nodes or "," in nodes:
            listed = subprocess.run(  # noqa: S603  (Slurm's own list of its nodes)
                ["scontrol", "show", "hostnames", nodes],  # noqa: S607
                capture_output=True,
                text=True,
                check=True,
            )
            nodes = listed.stdout.split("\n")[0]
        given["MASTER_ADDR"] = nodes


@contextlib.contextmanager
def processes() -> Iterator[None]:
    """The first process, or the only one, goes on; the others follow here, and then leave.

    The exit code of the first process (of the SystemExit that passes here) becomes that of the others.
    """
    global _processes
    place = launched()
    if place is None:
        yield
        return
    _processes = Processes(*place)
    if place[0] > 0:
        try:
            sys.exit(_processes.follow())  # does not come back: the rest is the first process's alone
        except RuntimeError as error:
            sys.exit(f"error: process {place[0]} of {place[1]}: the first process ended ({error})")
        except KeyboardInterrupt:
            sys.exit(130)
    code = 1
    try:
        yield
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
        raise
    finally:
        # What this process said comes before what the others say as they leave.
        sys.stdout.flush()
        sys.stderr.flush()
        _processes.dismiss(code)
        if code == 0:
            _processes.end()


def together(settings: Stage, inputs: Inputs, output: Path, context: Context) -> None:
    """On the first process: let the others do the same stage; summaries stay here, as no stage reads those of its inputs."""
    if _processes is not None and _processes.rank == 0:
        by_role = {
            role: [vars(each) | {"path": str(each.path), "summary": None} for each in inputs.many(role)]
            for role in inputs.by_role
        }
        _processes.begin(
            {
                "settings": settings.model_dump(mode="json", by_alias=True),
                "inputs": by_role,
                "output": str(output),
                "context": {
                    "name": context.name,
                    "seed": context.seed,
                    "scratch": str(context.scratch),
                    "fingerprint": context.fingerprint,
                },
            }
        )


def _do(task: dict[str, Any]) -> None:
    settings = STAGES[task["settings"]["do"]].model_validate_json(json.dumps(task["settings"]))
    module, _, name = settings.function.partition(":")
    run = getattr(importlib.import_module(module), name)
    by_role = {
        role: [Artifact(**fields | {"path": Path(fields["path"]), "summary": Summary()}) for fields in artifacts]
        for role, artifacts in task["inputs"].items()
    }
    context = Context(**task["context"] | {"scratch": Path(task["context"]["scratch"])})
    run(settings, Inputs(by_role), Path(task["output"]), context)


def threads(workers: int) -> int:
    """Threads for this process: its share of what the machine has."""
    return max(1, workers // int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("SLURM_NTASKS_PER_NODE", 1))))


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns an error about a lost connection into one that says which process was lost, and what to do.

    Raises:
        UserError: another process ended, or did not answer in time.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        said = None
        with contextlib.suppress(RuntimeError):  # the store is gone too
            time.sleep(1)
            said = _processes.failure() if _processes else None
        raise UserError(
            f"{said or 'another process ended, or did not answer in time (its own last words stand above, if it had any)'}"
            ". The same command goes on from the newest checkpoint."
        ) from error


def is_lost(error: BaseException | None) -> bool:
    """Whether an error says that another process did not answer."""
    text = str(error)
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset", "Timed out waiting", "Broken pipe")
    return isinstance(error, RuntimeError) and any(word in text for word in words)


# --- signals --------------------------------------------------------------------------------------------------

STOPPING = "stopping: finishing the step and saving a checkpoint; once more ends at once"


@contextlib.contextmanager
def stopping_at_signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `stop`: the step in hand is finished and a checkpoint saved. A second one kills."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        stop.set()
        if _processes is None or _processes.rank == 0:
            say_at_once(STOPPING)
        signal.signal(number, before[number] or signal.SIG_DFL)

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
