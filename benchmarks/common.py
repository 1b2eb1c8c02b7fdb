"""What all benchmarks share: their arguments, the peers' environments, fair turns, the table and the results file.

A benchmark sets our work beside a peer's doing the same. Every run is a process of its own, single-threaded, and
they take turns (ours, peer, ours, peer, …), so that a machine that is busy for a while is busy for both. Such a
process is a short script in `peers/` (`peers/diglot_signals.py`, `peers/datatrove_signals.py`) that prints one JSON
object as its last line, with whatever it wants to say; `bytes` and its own `cpu_seconds` of the work alone, where
start-up is not what is measured. A benchmark then reads:

    args = arguments("signals", "Signals of documents, against datatrove's filters")
    python = peer_python("datatrove", ["datatrove[io]==0.10.1"])
    commands = {"ours": [sys.executable, "peers/diglot_signals.py", "corpus.jsonl"]}
    if python:
        commands["datatrove"] = [str(python), "peers/datatrove_signals.py", "corpus.jsonl"]
    runs = measure_in_turn(commands, args.repeats)
    ours, peer = runs["ours"], runs.get("datatrove")
    speed = [run and run.reported["bytes"] / 1e6 / run.seconds for run in (ours, peer)]
    finish("signals", [Row("signals, all languages", "MB/s/core", *speed, peer_name="datatrove 0.10.1")], args)

This module imports nothing heavy, and a benchmark should not either: a process inherits its parent's peak memory
when it starts (Linux counts the memory of before `exec`), so a fat parent would show as the peers' peak.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
REPOSITORY = BENCHMARKS.parent
CACHE = Path("~/.cache/diglot-benchmarks").expanduser()
REPEATS = {"quick": 2, "full": 3}
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DO_NOT_TRACK": "1",
}


class BenchmarkError(SystemExit):
    """A benchmark cannot go on; uncaught, it ends the program with its message, without a traceback."""


# --- arguments ------------------------------------------------------------------------------------------------


def arguments(
    name: str, description: str, *, needs_data: bool = True, argv: Sequence[str] | None = None, **options: str
) -> argparse.Namespace:
    """Parse a benchmark's command line.

    Args:
        name: the benchmark's, as in `benchmarks/NAME.py`.
        description: one sentence, shown by `--help`.
        needs_data: whether it stops when there is no data folder.
        argv: instead of the command line's.
        options: further options, with their defaults.

    Returns:
        The options, `quick` and `full` (one of them true), `repeats` (turns of each side), `data` (a folder).
        Without the data folder the program ends with a message and exit status 2.
    """
    parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=description)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under a minute, on a sample (the default)")
    size.add_argument("--full", action="store_true", help=f"all data; also writes results/{name}.json")
    parser.add_argument("--data", type=Path, default=default_data(), help="default: $DIGLOT_DATA, or ../shared/data")
    parser.add_argument("--repeats", type=int, help=f"turns; default {REPEATS['quick']}, or {REPEATS['full']} with --full")  # fmt: skip
    for option, default in options.items():
        parser.add_argument(f"--{option}", default=default, help=f"default: {default}")
    args = parser.parse_args(argv)
    args.quick = not args.full
    args.repeats = args.repeats or REPEATS["full" if args.full else "quick"]
    if args.repeats < 1:
        parser.error("--repeats must be at least 1")
    if needs_data and not args.data.is_dir():
        parser.error(f"no data folder {args.data}: give it by --data DIR or by the variable DIGLOT_DATA")
    args.data = args.data.resolve()  # runs have another working folder
    return args


def default_data() -> Path:
    """The folder of the real data: `$DIGLOT_DATA`, or `../shared/data` beside the repository."""
    return Path(os.environ.get("DIGLOT_DATA") or REPOSITORY.parent / "shared" / "data")


# --- peers ----------------------------------------------------------------------------------------------------


def peer_python(name: str, requirements: Sequence[str]) -> Path | None:
    """The interpreter of a peer's own environment, built by pip at the first call and kept in the cache.

    Args:
        name: the peer's; environments of other requirements or of another Python lie beside it.
        requirements: for pip; pin versions, or the results say little.

    Returns:
        None, with the reason printed, when the environment cannot be built (for instance, without a network).
    """
    key = json.dumps([sorted(requirements), platform.python_version()])
    folder = CACHE / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    python, ready = folder / "bin" / "python", folder / "ready"
    CACHE.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two benchmarks may want the same peer
        if ready.exists():
            return python
        print(f"Building the environment of {name} ({', '.join(requirements)}) …", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *requirements]
        for command in ([sys.executable, "-m", "venv", str(folder)], pip):
            built = subprocess.run(command, capture_output=True, text=True)
            if built.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                print(f"No environment for {name}, so it is left out: {_tail(built.stderr)}", file=sys.stderr)
                return None
        ready.touch()
    return python


# --- measuring ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What one process cost, its children's cost included, and what it said.

    Attributes:
        cpu_seconds: user and system time of the whole process, imports and start-up included.
        wall_seconds: from start to end.
        peak_bytes: resident memory of the process, or of its largest child, at its peak.
        reported: the JSON object of its last line.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    reported: dict[str, Any]

    @property
    def seconds(self) -> float:
        """CPU seconds of the work alone, where the process reported them; of the whole process otherwise."""
        return float(self.reported.get("cpu_seconds", self.cpu_seconds))


def measure_in_turn(
    commands: Mapping[str, Sequence[str]], repeats: int, *, timeout: float | None = None
) -> dict[str, Run]:
    """Run the commands in turn, `repeats` times each, and give the run of each that took least `seconds`.

    Args:
        commands: by name, a program and its arguments, run in `benchmarks/`; each prints one JSON object as its last line.
        repeats: turns of each.
        timeout: seconds of wall clock that a run may take.

    Raises:
        BenchmarkError: a run failed, took too long or did not end in a JSON object.
    """
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for turn in range(repeats):
        for name, command in commands.items():
            run = measure(command, timeout=timeout)
            print(f"  {name}, {turn + 1} of {repeats}: {run.seconds:.2f} CPU s, {run.wall_seconds:.1f} s, "
                  f"{run.peak_bytes / 1e6:,.0f} MB", file=sys.stderr)  # fmt: skip
            runs[name].append(run)
    return {name: min(done, key=lambda run: run.seconds) for name, done in runs.items()}


def measure(command: Sequence[str], *, timeout: float | None = None) -> Run:
    """Run one command with one thread and measure it; see `measure_in_turn`."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begin = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **ONE_THREAD}, cwd=BENCHMARKS
        )  # fmt: skip
        status, usage = _wait(process, timeout)
        wall = time.perf_counter() - begin
        out.seek(0)
        err.seek(0)
        lines = [line for line in out.read().split("\n") if line.strip()]
        called = " ".join(map(str, command))
        if status is None:
            raise BenchmarkError(f"{called}: took longer than {timeout:,.0f} s")
        if status:
            raise BenchmarkError(f"{called}: failed with status {status}: {_tail(err.read())}")
    try:
        reported = json.loads(lines[-1])
    except (IndexError, ValueError):
        reported = None
    if not isinstance(reported, dict):
        raise BenchmarkError(f"{called}: its last line must be a JSON object, got {lines[-1:]}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return Run(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * kilobyte, reported)


def _wait(process: subprocess.Popen, timeout: float | None) -> tuple[int | None, Any]:
    """Wait for a process and its resource usage; kills it and gives the status None after `timeout` seconds."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        pid, status, usage = os.wait4(process.pid, 0 if end is None else os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage
        if end is not None and time.monotonic() > end:
            process.kill()
            process.wait()
            return None, None
        time.sleep(0.02)


def _tail(text: str) -> str:
    return text.strip()[-2000:]


# --- results --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One number of ours beside a peer's; `ours` or `peer` is None where it could not be measured.

    Attributes:
        what: what was measured, such as "signals, Arabic".
        unit: such as "MB/s/core" (a MB is 10^6 bytes), "CPU s", "GB", "%".
        less_is_better: seconds and memory; speeds and accuracies are the other way round.
    """

    what: str
    unit: str
    ours: float | None
    peer: float | None = None
    peer_name: str | None = None
    less_is_better: bool = field(default=False, kw_only=True)

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer ours is: above 1 means we win."""
        if not self.ours or not self.peer:
            return None
        return self.peer / self.ours if self.less_is_better else self.ours / self.peer

    def as_json(self) -> dict[str, Any]:
        """The row of the results file."""
        values = {"ours": self.ours, "peer": self.peer, "ratio": self.ratio}
        short = {key: None if value is None else float(f"{value:.4g}") for key, value in values.items()}
        return {
            "what": self.what, "unit": self.unit, "ours": short["ours"], "peer": short["peer"],
            "peer_name": self.peer_name, "ratio": short["ratio"],
        }  # fmt: skip


def finish(name: str, rows: Sequence[Row], args: argparse.Namespace, *, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Print the table, the notes and, as the last line, the JSON object; with `--full` write the results file too.

    Args:
        name: the benchmark's; the file is `results/NAME.json`.
        rows: what was measured.
        args: of `arguments`.
        notes: sentences that a reader of the numbers must know: what was extrapolated, what a peer could not do.
    """
    result = {
        "name": name,
        "rows": [row.as_json() for row in rows],
        "notes": list(notes),
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
    }
    print_table(rows)
    for note in notes:
        print(f"- {note}")
    if args.full:
        file = BENCHMARKS / "results" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print(f"Written to {file.relative_to(REPOSITORY)}")
    print(json.dumps(result, ensure_ascii=False), flush=True)
    return result


def print_table(rows: Sequence[Row]) -> None:
    """Print rows as aligned columns."""
    cells = [("", "unit", "ours", "peer", "ratio", "")]
    for row in rows:
        ratio = "–" if row.ratio is None else f"{row.ratio:,.2f}×" if row.ratio < 10 else f"{row.ratio:,.0f}×"
        cells.append((row.what, row.unit, _shown(row.ours), _shown(row.peer), ratio, row.peer_name or ""))
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        left, unit, *numbers, peer = (text.ljust(w) if i in (0, 1, 5) else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths)))  # fmt: skip
        print("  ".join([left, unit, *numbers, peer]).rstrip())


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def machine() -> dict[str, Any]:
    """The processor, cores (those that this process may use), memory in bytes, system, and how busy it is."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "processor": found.group(1) if found else platform.processor() or platform.machine(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """The versions of Python, of Diglot and of the libraries that it needs, as installed here."""
    found = {"python": platform.python_version()}
    required = [line for line in importlib.metadata.requires("diglot") or [] if "extra ==" not in line]
    for name in ["diglot", *sorted(re.split(r"[^\w.-]", line)[0] for line in required)]:
        found[name] = importlib.metadata.version(name)
    return found


def commit() -> str | None:
    """The commit that was measured, with `+changes` where files differ from it; None outside a git repository."""
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain", "--", "diglot", "benchmarks/*.py", "benchmarks/peers"], capture_output=True, text=True)  # fmt: skip
    if head.returncode:
        return None
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
