"""A train stage in a process of its own, for the tests that kill it: kills_work.py MODEL TOKENS FOLDER SETTINGS

Under a launcher's variables (RANK, WORLD_SIZE, …) it is one of several processes, as `diglot run` is.
"""

import os
import sys
from pathlib import Path

from tiny_run import artifact, settings, train

from diglot.base.artifact import Inputs
from diglot.train import launch


def work(model: str, tokens: str, folder: str, text: str) -> None:
    (Path(folder) / f"process-{os.environ.get('RANK', 0)}").write_text(str(os.getpid()))
    with launch.processes():
        inputs = Inputs({"model": [artifact(Path(model), "model")], "tokens": [artifact(Path(tokens), "tokens")]})
        train(inputs, Path(folder), type(settings()).model_validate_json(text))


def logged(environment: dict[str, str], *given: str) -> None:
    """The same in a process that was forked: what it prints goes to a file."""
    os.environ.update(environment)
    log = os.open(Path(given[2]) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    work(*given)


if __name__ == "__main__":
    work(*sys.argv[1:])
