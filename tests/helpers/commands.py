"""Diglot's command line in processes of its own that start at once: forked from one that has imported everything.

Importing takes four seconds, longer than most commands of the tests. They are real processes all the same: they can
be killed, and write to the files of a shell. The start from a shell is tested in test_pipeline.py and test_layout.py.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from diglot.recipe import STAGES

_FORKS = multiprocessing.get_context("forkserver")
_STAGES = {settings.function.partition(":")[0] for settings in STAGES.values()}
# What commands and stages import by themselves, and the dearest of what their functions import when they run.
_LATE = ["diglot.cli", "diglot.flow", "diglot.terminal", "transformers.models.auto.configuration_auto", "lm_eval.tasks"]
_FORKS.set_forkserver_preload([*_LATE, *sorted(_STAGES)])


def fork(work: Callable[..., None], *given: object) -> ForkServerProcess:
    """Start a function in a process that has imported the stages."""
    process = _FORKS.Process(target=work, args=given)
    process.start()
    return process


class Command:
    """`diglot ARGUMENTS` under way, with the test's variables of environment and those given."""

    def __init__(self, *arguments: str | Path, cwd: Path | None = None, **variables: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        for name in ("stdout", "stderr"):
            Path(self._folder.name, name).touch()
        environment = {**os.environ, "COLUMNS": "100", **variables}
        words = [str(argument) for argument in arguments]
        self.process = fork(_command, words, str(cwd or Path.cwd()), environment, self._folder.name)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def running(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        """As `kill -9` does, and wait for the end."""
        self.process.kill()
        self.process.join()

    def end(self, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Wait for the end; the exit code and what was printed."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running after {timeout} seconds"
        printed = (Path(self._folder.name, name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess("diglot", self.process.exitcode, *printed)


def diglot(*arguments: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `diglot ARGUMENTS` to its end; no command may print a traceback."""
    done = Command(*arguments, cwd=cwd, **variables).end()
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _command(arguments: list[str], cwd: str, environment: dict[str, str], folder: str) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_APPEND), number)
    sys.argv = ["diglot", *arguments]
    from diglot.cli import main

    main()
