"""Follows one document from a raw file to a model's logits, in a small real run, and counts what it passes.

python docs/make_walk.py            writes docs/walk.md
python docs/make_walk.py --count    prints the count alone (with PYTHONPATH=TREE: of another state of the tree)
"""

import contextlib
import io
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from code_lines import classes, code_lines
from walk_trace import BATCH, PACKAGE, SHARED, Trace, following, kernels_within

DOCS = Path(__file__).resolve().parent
FOLLOWED = "en-17"  # its id in the invented world
TRACED = ("corpus", "tokens", "train")
COMPARING = ("exact_duplicate", "near_duplicate", "duplicate_url")  # reasons of what had passed the rules


@dataclass
class Walk:
    """What a document passes.

    Attributes:
        files: functions that ran, by file below the package.
        shared: the same, of what every stage shares: base/, settings, the command line.
        carriers: classes whose instances hold texts, ids, tokens or batches.
        annotations: classes whose instances hold a number or an array for each document, but nothing of it.
    """

    files: dict[str, list[str]]
    shared: dict[str, list[str]]
    carriers: list[str]
    annotations: list[str]

    @property
    def lines(self) -> int:
        """Code lines of the walk's files."""
        return sum(code_lines(PACKAGE / file) for file in self.files)


def command(*arguments: str) -> str:
    """Runs `diglot` in this process; returns what it printed."""
    from diglot.cli import main

    printed = io.StringIO()
    sys.argv = ["diglot", *arguments]
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main()
    return printed.getvalue()


def follow(folder: Path, trace: Trace) -> None:
    """Runs docs/walk.yaml twice, and the second time traces the stages that carry the document.

    What is made once (modules imported, kernels compiled) is made by the first run, and so is no part of the walk.
    """
    for run, traced in ((folder / "first", False), (folder / "run", True)):
        for before, stage in (("world", "corpus"), ("tokenizer", "tokens"), ("model", "train")):
            arguments = ["run", str(DOCS / "walk.yaml"), "--run", str(run), "--until"]
            command(*arguments, before)
            watching = following(trace, BATCH if stage == "train" else ()) if traced else contextlib.nullcontext()
            with watching:
                printed = command(*arguments, stage)
            if not (run / stage / "artifact.json").exists():
                raise SystemExit(f"make_walk: the stage {stage} did not run: {printed}")


def sizes(folder: Path) -> tuple[set[str], set[str]]:
    """Numbers of documents (as read, as passed, as kept) and of tokens that arrays on the walk are as long as."""
    documents: set[int] = set()
    for source in json.loads((folder / "corpus" / "artifact.json").read_text())["summary"]["sources"].values():
        compared = sum(count for reason, count in source["reasons"].items() if reason in COMPARING)
        documents |= {source["read"], source["kept"], source["kept"] + source["held_out"] + compared}
    tokens = {np.load(file, mmap_mode="r").shape[0] for file in (folder / "tokens").glob("*.tokens.npy")}
    return set(map(str, documents)), set(map(str, tokens))


def count(folder: Path, trace: Trace) -> Walk:
    """What the trace of a run amounts to."""
    files: dict[str, list[str]] = {}
    shared: dict[str, list[str]] = {}
    for name, function in sorted(kernels_within(trace.functions)):
        file = Path(name).relative_to(PACKAGE)
        place = shared if len(file.parts) == 1 or file.parts[0] in SHARED else files
        place.setdefault(str(file), []).append(function)
    documents, tokens = sizes(folder)
    batch = "3×61"
    carriers, annotations = [], []
    for name, held in sorted(trace.held.items()):
        strings = {f"strings {number}" for number in documents}
        if held & ({"text"} | strings | tokens) or any(shape.startswith(batch) for shape in held):
            carriers.append(name)
        elif held & documents or any(shape.split("×")[0] in documents for shape in held):
            annotations.append(name)
    return Walk(files, shared, carriers, annotations)


def show(walk: Walk) -> str:
    """The count, for the terminal."""
    lines = [
        f"{code_lines(PACKAGE / file):5}  {file}  ({len(functions)} functions)"
        for file, functions in walk.files.items()
    ]
    lines += ["", "carriers:", *(f"  {name}" for name in walk.carriers)]
    lines += ["", "a number for each document:", *(f"  {name}" for name in walk.annotations)]
    lines += ["", "shared by all stages, not counted:", *(f"  {file}" for file in walk.shared)]
    defined = sum(len(classes(PACKAGE / file)) for file in walk.files)
    lines += ["", f"{len(walk.files)} files, {walk.lines} code lines, {defined} classes defined in them, "
              f"{len(walk.carriers)} carriers"]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        trace = Trace(FOLLOWED)
        follow(Path(temporary), trace)
        print(show(count(Path(temporary) / "run", trace)))
