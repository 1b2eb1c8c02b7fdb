"""The record of a run: `metrics.jsonl`, one line a step, an evaluation and a rollback. It is the truth; figures read it.

TensorBoard gets a copy beside it (`tensorboard/`), where the extra `tensorboard` is installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FILE, MIRROR = "metrics.jsonl", "tensorboard"


class Metrics:
    """Appends to the metrics of a run. On resume, what was written after the checkpoint is taken back."""

    def __init__(
        self, folder: Path | None, resume_at: int = 0, rollbacks: Sequence[dict[str, Any]] = ()
    ) -> None:
        """Open the file and keep the lines of the first `resume_at` steps only.

        Args:
            folder: where the files are; None writes nothing.
            resume_at: steps done.
            rollbacks: the guard's; their lines are written anew, each after the step that it went back to.
        """
        self.mirror: SummaryWriter | None = None
        if folder is None:
            self.stream = open(os.devnull, "w")  # noqa: PTH123, SIM115  (not a file of ours)
            return
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE
        kept = [line for line in read_metrics(file) if line["step"] <= resume_at] if resume_at else []
        lines = [line for line in kept if line["type"] != "rollback"]
        lines += [
            {"type": "rollback", **each, "step": each["to"], "after": each["step"]} for each in rollbacks
        ]
        temporary = file.with_suffix(".tmp")
        lines.sort(key=lambda line: line["step"])
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
        self.stream = file.open("a", buffering=1, encoding="utf-8")
        self.mirror = open_mirror(folder / MIRROR, resume_at)

    def write(self, kind: str, **values: Any) -> None:
        """Add a line."""
        self.stream.write(json.dumps({"type": kind, **values}, ensure_ascii=False) + "\n")
        if self.mirror is not None:
            for name, value in numbers(values):
                self.mirror.add_scalar(f"{kind}/{name}", value, values["step"])

    def close(self) -> None:
        """Close the files."""
        self.stream.close()
        if self.mirror is not None:
            self.mirror.close()


def open_mirror(folder: Path, resume_at: int) -> SummaryWriter | None:
    """A writer for TensorBoard, which will not show what was written after `resume_at`; None without the extra."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=resume_at + 1)


def numbers(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a line, with names like `losses/arabic`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{above}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield above + name, float(value)


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line cut off by a kill is left out."""
    lines = []
    if file.is_file():
        for text in file.read_text(encoding="utf-8").split("\n"):
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
    return lines
