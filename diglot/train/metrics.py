"""The record of a run: `metrics.jsonl`, one line a step and one an evaluation. It is the truth; figures read it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Metrics:
    """Appends to a metrics file. On resume, what was written after the checkpoint is taken back."""

    def __init__(self, file: Path | None, resume_at: int = 0):
        """Open the file and keep the lines of the first `resume_at` steps only; None writes nothing."""
        if file is None:
            self.stream = open(os.devnull, "w")  # noqa: PTH123, SIM115  (not a file of ours)
            return
        kept = [line for line in read_metrics(file) if line["step"] <= resume_at] if resume_at else []
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(file)
        self.stream = file.open("a", buffering=1)

    def write(self, kind: str, **values: Any) -> None:
        """Add a line."""
        self.stream.write(json.dumps({"type": kind, **values}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line cut off by a kill is left out."""
    lines = []
    if file.is_file():
        for text in file.read_text().split("\n"):
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
    return lines
