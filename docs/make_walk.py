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
from typing import Any

import numpy as np
from code_lines import classes, code_lines
from walk_stops import Stops
from walk_trace import BATCH, PACKAGE, SHARED, Trace, following, kernels_within

DOCS = Path(__file__).resolve().parent
BATCH_SHAPE, FLAT_BATCH = ["3", "61"], "183"  # of docs/walk.yaml's batches
COMPARING = ("exact_duplicate", "same_url", "near_duplicate")  # reasons of what had passed the rules


@dataclass
class Walk:
    """What a document passes.

    Attributes:
        files: functions that ran, by file below the package, of files in which some function had the document in hand.
        beside: files of which functions ran that never had it.
        shared: files of what every stage shares: base/, settings, the command line.
        carriers: classes whose instances hold texts, ids, tokens or batches.
        annotations: classes whose instances hold a number or an array for each document, but nothing of it.
    """

    files: dict[str, list[str]]
    beside: list[str]
    shared: list[str]
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


def run_stages(folder: Path, traces: dict[str, Trace]) -> None:
    """Runs docs/walk.yaml, with a trace of the stages that are named."""
    for stage in ("world", "corpus", "tokenizer", "tokens", "model", "train"):
        trace = traces.get(stage)
        watching = following(trace, BATCH if stage == "train" else ()) if trace else contextlib.nullcontext()
        with watching:
            printed = command("run", str(DOCS / "walk.yaml"), "--run", str(folder), "--until", stage)
        if not (folder / stage / "artifact.json").exists():
            raise SystemExit(f"make_walk: the stage {stage} did not run: {printed}")


def whole_document(folder: Path) -> str:
    """The id of the English document of which the first batch of the training holds most, from its beginning.

    This first run also imports all modules and compiles all kernels, which so are no part of the walk.
    """
    found: list[tuple[int, str]] = []

    def look(frame: Any, batch: Any) -> None:
        for source, document_id, _, first, end in frame.f_locals["self"].documents(0):
            if source == "english" and first == 0:
                found.append((end, document_id))

    run_stages(folder, {"train": Trace("", {"tokens/order.py:Order.batch": look})})
    return max(found)[1]


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
    documents, tokens = sizes(folder)
    whole = {"text", *tokens, *(f"strings {number}" for number in documents)}

    def has_document(held: set[str]) -> bool:
        return bool(held & whole) or any(shape.split("×", 2)[:2] == BATCH_SHAPE for shape in held)

    def has_rows(held: set[str]) -> bool:
        return any(shape.split("×")[0] in (*documents, FLAT_BATCH) for shape in held)

    ran: dict[str, list[str]] = {}
    carrying: set[str] = set()
    kernels = kernels_within(trace.functions)
    for key in sorted(kernels | trace.functions):
        file = str(Path(key[0]).relative_to(PACKAGE))
        ran.setdefault(file, []).append(key[1])
        held = trace.touched.get(key, set())
        if key in kernels or has_document(held) or has_rows(held):
            carrying.add(file)
    shared = {file for file in ran if "/" not in file or file.split("/")[0] in SHARED}
    carriers = [name for name, held in sorted(trace.held.items()) if has_document(held)]
    return Walk(
        files={file: functions for file, functions in ran.items() if file in carrying - shared},
        beside=[file for file in ran if file not in carrying | shared],
        shared=[file for file in ran if file in shared],
        carriers=carriers,
        annotations=[name for name, held in sorted(trace.held.items()) if name not in carriers and has_rows(held)],
    )


def show(walk: Walk) -> str:
    """The count, for the terminal."""
    lines = [
        f"{code_lines(PACKAGE / file):5}  {file}  ({len(functions)} functions)"
        for file, functions in walk.files.items()
    ]
    lines += ["", "carriers:", *(f"  {name}" for name in walk.carriers)]
    lines += ["", "a number for each document:", *(f"  {name}" for name in walk.annotations)]
    lines += ["", "ran, but never had the document:", *(f"  {file}" for file in walk.beside)]
    lines += ["", "shared by all stages, not counted:", *(f"  {file}" for file in walk.shared)]
    defined = sum(len(classes(PACKAGE / file)) for file in walk.files)
    lines += ["", f"{len(walk.files)} files, {walk.lines} code lines, {defined} classes defined in them, "
              f"{len(walk.carriers)} carriers"]  # fmt: skip
    return "\n".join(lines)


def page(walk: Walk, stops: Stops) -> str:
    """The page."""
    defined = sum(len(classes(PACKAGE / file)) for file in walk.files)
    lines = [
        "# One document's walk",
        "",
        "Made by `make docs` from a real run of [walk.yaml](walk.yaml): a few hundred documents of the invented world, a",
        "tokenizer of 1,000 pieces, a model of 0.7M parameters with random weights, one training step. All values below are",
        "those that one document had at each stop.",
        "",
        *stops.lines,
        "## What the walk takes",
        "",
        f"**{len(walk.files)} files, {walk.lines:,} code lines, {len(walk.carriers)} classes that carry it** "
        f"(of the {defined} that these files define).",
        "",
        "Traced are the stages `curate` and `encode`, and training from the step's batch to its loss (`sys.setprofile`, in",
        "all threads). A file is on the walk if one of its functions had the document in hand: its text or id, a column with",
        "a row for each document, the source's tokens, the batch; or if a kernel of it ran. Not counted is what every stage",
        "shares: `base/` (artifacts, files, the executor, the ledger), the settings in `recipe/`, and the command line. A",
        "class carries the document if a field of an instance held its text or id, the texts or ids of the shard, the",
        "source's tokens, or the batch.",
        "",
        "| file | code lines | functions that ran |",
        "|---|---|---|",
        *(f"| {file} | {code_lines(PACKAGE / file)} | {len(functions)} |" for file, functions in walk.files.items()),
        "",
        "Of these files functions ran, but none that had the document: " + ", ".join(walk.beside) + ".",
        "",
        "Carriers: " + ", ".join(f"`{name.removeprefix('diglot.')}`" for name in walk.carriers) + ".",
        "",
        "These hold a number for each document, and nothing of it: "
        + (", ".join(f"`{name.removeprefix('diglot.')}`" for name in walk.annotations) or "none")
        + ".",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Writes the page, or prints the count."""
    only_count = sys.argv[1:] == ["--count"]  # `command` puts its own arguments there
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if only_count:
            run_stages(folder / "first", {})
            trace = Trace("en-17")
        else:
            stops = Stops(whole_document(folder / "first"), folder / "run")
            trace = Trace(stops.followed, stops.watched())
        run_stages(folder / "run", dict.fromkeys(("corpus", "tokens", "train"), trace))
        walk = count(folder / "run", trace)
        if only_count:
            print(show(walk))
        else:
            stops.tell()
            (DOCS / "walk.md").write_text(page(walk, stops), encoding="utf-8")


if __name__ == "__main__":
    main()
