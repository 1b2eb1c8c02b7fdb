"""Mutants: of small changes to the code, drawn at random, how many do the tests of its folder catch?

    python benchmarks/mutants.py --full --workers 2

Mutmut's operators make the changes (a comparison turned, a number raised by one, an argument left out), over curation,
tokenizer, tokens, model and training, kernels too. Each is put into a checkout of this commit, and the tests in the folder
of the same name run until one fails. What was judged is kept, so that an interrupted run goes on. Survivors are listed in
the results, to be read one by one: a change that means nothing is no fault of the tests.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import queue
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import CACHE, REPOSITORY, BenchmarkError, Row, arguments, commit, finish, peer_python

FOLDERS = ("curate", "tokenizer", "tokens", "model", "train")
COUNTS = {"quick": 4, "full": 200}
SECONDS = {"test": 300, "folder": 3600}  # a mutant that hangs is caught; the slowest test takes 20 s on idle cores
REQUIREMENTS = ["mutmut==3.8.1"]
NO_TESTS = 5  # pytest's status where a folder has no tests so marked


def main() -> None:
    """Run the benchmark."""
    args = arguments("mutants", "How many small changes to the code its tests catch", seed="0", workers="1")
    python = peer_python("mutmut", REQUIREMENTS)
    if python is None:
        raise BenchmarkError("no mutants without mutmut")
    mutants = drawn(python, COUNTS["full" if args.full else "quick"], args.seed)
    judged = CACHE / f"mutants-{(commit() or 'none')[:12]}-{args.seed}.jsonl"
    with tempfile.TemporaryDirectory(prefix="diglot-mutants-") as place:
        results = judge(mutants, judged, Path(place), int(args.workers))
    rows = [row(name, [x for x in results if x["folder"] == name]) for name in FOLDERS]
    notes = [f"Survived: {x['file']}:{x['line']} {' → '.join(x['change'])}" for x in results if not x["caught"]]
    finish("mutants", [*rows, row("all", results)], args, notes=notes)


def drawn(python: Path, count: int, seed: str) -> list[dict[str, Any]]:
    """The mutants, of all files of the folders."""
    package = REPOSITORY / "diglot"
    files = sorted(str(path.relative_to(REPOSITORY)) for name in FOLDERS for path in (package / name).rglob("*.py"))
    script = Path(__file__).with_name("peers") / "mutmut_mutants.py"
    command = [str(python), str(script), str(count), seed, str(REPOSITORY), *files]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) | {"number": number} for number, line in enumerate(output.splitlines())]


def judge(mutants: list[dict[str, Any]], judged: Path, place: Path, workers: int) -> list[dict[str, Any]]:
    """What became of each mutant; those judged by an earlier run are not judged again."""
    results = [json.loads(line) for line in judged.read_text().splitlines()] if judged.exists() else []
    known = {result["number"] for result in results}
    left = [mutant for mutant in mutants if mutant["number"] not in known]
    checkouts: queue.Queue[Path] = queue.Queue()
    for number in range(workers):
        checkouts.put(check_out(place / str(number)))
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool, judged.open("a") as stream:
        for future in concurrent.futures.as_completed([pool.submit(test, mutant, checkouts) for mutant in left]):
            result = future.result()
            results.append(result)
            stream.write(json.dumps(result) + "\n")
            stream.flush()
            rate = (time.monotonic() - begin) / (len(results) - len(known))
            caught = sum(result["caught"] for result in results)
            print(f"{len(results)} of {len(mutants)}, {caught} caught, {rate:.0f} s each", file=sys.stderr)
    return sorted(results, key=lambda result: result["number"])


def check_out(folder: Path) -> Path:
    """The files of this commit in a folder of their own."""
    folder.mkdir()
    archive = subprocess.run(["git", "-C", str(REPOSITORY), "archive", "HEAD"], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def test(mutant: dict[str, Any], checkouts: queue.Queue[Path]) -> dict[str, Any]:
    """Whether a test of the mutant's folder fails."""
    checkout = checkouts.get()
    file = checkout / mutant["file"]
    folder = Path(mutant["file"]).parts[1]
    source = file.read_text()
    try:
        file.write_text(mutant["source"])
        begin = time.monotonic()
        status = run_tests(checkout, folder, mutant)
        result = {key: mutant[key] for key in ("number", "file", "line", "change")}
        # 0: all tests passed; 1: one failed; 2 to 4: the mutant cannot even be imported.
        return result | {"folder": folder, "caught": status != 0, "seconds": round(time.monotonic() - begin)}
    finally:
        file.write_text(source)
        checkouts.put(checkout)


def run_tests(checkout: Path, folder: str, mutant: dict[str, Any]) -> int:
    """The exit status of pytest; the files that name the mutant's module come first, as they most likely fail, slow tests last."""
    name = mutant["file"].removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    files = sorted((checkout / "tests" / folder).rglob("test_*.py"), key=lambda file: name not in file.read_text())
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    if not mutant["kernel"]:
        # Numba notices by itself that this file has changed; only a kernel's callers in other files it forgets.
        environment["NUMBA_CACHE_DIR"] = str(checkout / "kernels")
    for marks in ("not slow and not full", "slow and not full"):
        options = ["-x", "-q", "-m", marks, "-p", "no:cacheprovider", f"--timeout={SECONDS['test']}"]
        command = [sys.executable, "-m", "pytest", *options, *map(str, files)]
        try:
            run = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, timeout=SECONDS["folder"])
        except subprocess.TimeoutExpired:
            return 1
        if run.returncode not in (0, NO_TESTS):
            return run.returncode
    return 0


def row(name: str, results: list[dict[str, Any]]) -> Row:
    """How many of these were caught."""
    share = 100 * sum(result["caught"] for result in results) / len(results) if results else None
    return Row(f"{name}: of {len(results)} mutants caught", "%", share)


if __name__ == "__main__":
    main()
