"""This tree beside an older commit of it: curation, encoding and training steps, in turn, on the same input.

    python benchmarks/commits.py --commit 8d6faee

The older commit is checked out into a folder of its own. Each side makes its corpora, tokenizers and models with its own
code, as artifacts of older versions are not read, and is measured by its own scripts in `peers/`; the text they begin with
is the same. A ratio above 1 means that this tree is better.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import REPOSITORY, BenchmarkError, Row, Run, arguments, finish, measure, measure_in_turn
from train_step import Case, typical

SAMPLE_BYTES = {"quick": 1_000_000, "full": 8_000_000}  # of text, a source
WARM_BYTES = 20_000
ENCODED_BYTES = {"quick": 500_000, "full": 2_000_000}  # of text, a language
ENTRIES = 8_000
TEXT_BYTES = {"quick": 300_000, "full": 1_000_000}  # a source, for training
KINDS = ("byte-fallback", "byte-level", "llama-3")
CASES = {
    "quick": [Case("9.4M", "float32", 1, 512, 6)],
    "full": [Case("9.4M", "float32", 2, 512, 8), Case("9.4M", "float32", 4, 512, 6, packed=True)],
}


class Side:
    """A checkout, and where its things are."""

    def __init__(self, tree: Path, work: Path):
        self.tree, self.work = tree, work
        work.mkdir()

    def command(self, script: str, *given: object) -> list[str]:
        """One of its own scripts, with its own package."""
        path = self.tree / "benchmarks" / "peers"
        return ["env", f"PYTHONPATH={self.tree}:{path}", sys.executable, str(path / script), *map(str, given)]


def main() -> None:
    """Run the benchmark."""
    args = arguments("commits", "This tree beside an older commit of it", commit="8d6faee")
    size = "full" if args.full else "quick"
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as place:
        folder = Path(place)
        check_out(args.commit, folder / "older")
        sides = {"ours": Side(REPOSITORY, folder / "a"), "peer": Side(folder / "older", folder / "b")}
        rows, notes = [], []
        for part in (curation, encoding, training):
            found, said = part(sides, args.data, size, args.repeats)
            rows += found
            notes += said
    finish("commits", [Row(*row, f"commit {args.commit}") for row in rows], args, notes=notes)


def check_out(commit: str, folder: Path) -> None:
    """The files of a commit in a folder.

    Raises:
        BenchmarkError: git does not know it.
    """
    folder.mkdir()
    archive = subprocess.run(["git", "-C", str(REPOSITORY), "archive", commit], capture_output=True)
    if archive.returncode:
        raise BenchmarkError(f"--commit {commit}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def speeds(runs: dict[str, Run]) -> tuple[float, float]:
    """MB of text a CPU second of the work, of both sides."""
    ours, peer = (runs[side].reported["bytes"] / 1e6 / runs[side].seconds for side in ("ours", "peer"))
    return ours, peer


def curation(sides: dict[str, Side], data: Path, size: str, repeats: int) -> tuple[list[tuple], list[str]]:
    """The whole pass over 18 languages."""
    for side in sides.values():
        measure(side.command("diglot_sample.py", data, side.work / "warm", WARM_BYTES))
        measure(side.command("diglot_sample.py", data, side.work / "sample", SAMPLE_BYTES[size]))
    commands = {
        name: side.command("diglot_curate.py", side.work / "sample", side.work / "warm", side.work / "out")
        for name, side in sides.items()
    }
    runs = measure_in_turn(commands, repeats)
    kept = [runs[name].reported["kept"] for name in ("ours", "peer")]
    return (
        [("curation, the whole pass", "MB/s/core", *speeds(runs))],
        [f"Curation kept {kept[0]:,} documents here and {kept[1]:,} there."],
    )


def encoding(sides: dict[str, Side], data: Path, size: str, repeats: int) -> tuple[list[tuple], list[str]]:
    """Documents to token shards, with three tokenizers."""
    for side in sides.values():
        measure(side.command("diglot_encode_prepare.py", data, side.work / "made", ENCODED_BYTES[size], ENTRIES))
    rows, notes = [], []
    for kind in KINDS:
        commands = {
            name: side.command(
                "diglot_encode.py",
                side.work / "made" / kind,
                side.work / "made" / "all",
                side.work / "tokens",
                1_000_000,
            )
            for name, side in sides.items()
        }
        runs = measure_in_turn(commands, repeats)
        rows.append((f"encoding, {kind}", "MB/s/core", *speeds(runs)))
        same = runs["ours"].reported["hash"] == runs["peer"].reported["hash"]
        notes.append(f"Encoding, {kind}: ids of the first megabyte {'identical' if same else 'DIFFERENT'}.")
    return rows, notes


def training(sides: dict[str, Side], data: Path, size: str, repeats: int) -> tuple[list[tuple], list[str]]:
    """Whole training steps."""
    cases = CASES[size]
    described = json.dumps({case.name: case.described() for case in cases})
    for side in sides.values():
        (side.work / "train").mkdir()
        given = (data, side.work / "train", TEXT_BYTES[size], described)
        measure(side.command("diglot_train_step_prepare.py", *given))
    rows, notes = [], []
    for case in cases:
        runs: dict[str, list[Run]] = {name: [] for name in sides}
        for _ in range(repeats):
            for name, side in sides.items():
                given = (side.work / "train", case.name, case.model, case.tokens, case.device, "documents")
                runs[name].append(measure(side.command("diglot_train_step.py", *given)))
        tokens = runs["ours"][0].reported["tokens"]
        rows.append(
            (f"training, {case.name}", "tokens/s", *(tokens / typical(runs[name]) for name in ("ours", "peer")))
        )
        losses = [runs[name][0].reported["losses"] for name in ("ours", "peer")]
        apart = max(abs(one - other) for one, other in zip(*losses, strict=True))
        notes.append(f"Training, {case.name}: losses {apart:.1e} apart at most.")
    return rows, notes


if __name__ == "__main__":
    main()
