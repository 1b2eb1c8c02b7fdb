"""The frame of the benchmarks: arguments, fair measuring, failures that speak, results that hold their promises."""

import ast
import importlib
import json
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import common
import pytest
from common import BenchmarkError, Row, arguments, finish, measure, measure_in_turn, peer_python
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


# --- arguments ------------------------------------------------------------------------------------------------


def test_quick_is_the_default_and_full_repeats_more(tmp_path: Path) -> None:
    quick = arguments("x", "d", argv=["--data", str(tmp_path)])
    full = arguments("x", "d", argv=["--data", str(tmp_path), "--full"])
    assert (quick.quick, quick.full, full.quick, full.full) == (True, False, False, True)
    assert full.repeats > quick.repeats >= 1
    assert arguments("x", "d", argv=["--data", str(tmp_path), "--repeats", "7"]).repeats == 7


@pytest.mark.parametrize("wrong", [["--quick", "--full"], ["--repeats", "-1"], ["--data", "no/such/folder"]])
def test_wrong_arguments_end_with_status_2(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        arguments("x", "d", argv=["--data", str(tmp_path), *wrong])
    assert stopped.value.code == 2
    assert wrong[-1].strip("-") in capsys.readouterr().err


def test_data_come_from_the_variable_and_may_be_needless(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIGLOT_DATA", str(tmp_path))
    assert arguments("x", "d", argv=[]).data == tmp_path
    monkeypatch.setenv("DIGLOT_DATA", str(tmp_path / "absent"))
    assert arguments("x", "d", needs_data=False, argv=[]).data == tmp_path / "absent"
    with pytest.raises(SystemExit):
        arguments("x", "d", argv=[])
    assert "DIGLOT_DATA" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert arguments("x", "d", argv=["--data", "."]).data == tmp_path.resolve()


# --- measuring ------------------------------------------------------------------------------------------------


def test_cpu_and_wall_are_those_of_the_process() -> None:
    busy = measure(python("import time; t = time.process_time()\nwhile time.process_time() < t + .3: pass\nprint('{}')"))  # fmt: skip
    idle = measure(python("import time; time.sleep(.3); print('{}')"))
    assert 0.3 <= busy.cpu_seconds < 2
    assert busy.seconds == busy.cpu_seconds
    assert idle.wall_seconds >= 0.3
    assert idle.cpu_seconds < 0.3


def test_memory_is_the_peak_of_the_process() -> None:
    # Asked in a light process of its own, as benchmarks are: a run inherits the peak of a fat parent such as pytest.
    code = (
        "import sys, common\n"
        "peaks = [common.measure([sys.executable, '-c', f'x = b\"1\" * {size}; print(\"{{}}\")']).peak_bytes\n"
        "         for size in (1, 200_000_000)]\n"
        "print(peaks[1] - peaks[0])"
    )
    done = subprocess.run(python(code), capture_output=True, text=True, check=True, cwd=BENCHMARKS)
    assert int(done.stdout) == pytest.approx(200e6, abs=25e6)


def test_children_count() -> None:
    child = "import time; t = time.process_time()\\nwhile time.process_time() < t + .3: pass"
    run = measure(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{child}']); print('{{}}')"))  # fmt: skip
    assert run.cpu_seconds >= 0.3


def test_the_last_line_is_what_was_reported_and_may_time_the_work_alone() -> None:
    run = measure(python("print('hello'); print('{\"cpu_seconds\": 0.25, \"bytes\": 7}')"))
    assert run.reported == {"cpu_seconds": 0.25, "bytes": 7}
    assert run.seconds == 0.25


def test_runs_have_one_thread() -> None:
    run = measure(python("import os, json; print(json.dumps(dict(os.environ)))"))
    assert common.ONE_THREAD.items() <= run.reported.items()


def test_sides_take_turns_and_the_cheapest_run_counts(tmp_path: Path) -> None:
    log, costs = tmp_path / "log", [0.5, 0.1, 0.3]
    code = (
        "import sys, json, pathlib; name, log = sys.argv[1], pathlib.Path(sys.argv[2])\n"
        "with log.open('a') as file: file.write(name + ' ')\n"
        f"turn = log.read_text().split().count(name) - 1\n"
        f"print(json.dumps({{'cpu_seconds': {costs}[turn], 'turn': turn}}))"
    )
    runs = measure_in_turn({name: [*python(code), name, str(log)] for name in ("ours", "peer")}, 3)
    assert log.read_text().split() == ["ours", "peer"] * 3
    assert {name: run.reported["turn"] for name, run in runs.items()} == {"ours": 1, "peer": 1}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('no such corpus')", "no such corpus"),
        ("print('done')", "JSON object"),
        ("print('[1]')", "JSON object"),
        ("", "JSON object"),
    ],
)
def test_a_failed_run_ends_the_benchmark_with_what_it_said(code: str, said: str) -> None:
    with pytest.raises(BenchmarkError, match=said) as stopped:
        measure(python(code))
    assert stopped.value.code not in (0, None)  # uncaught, the program fails


def test_a_run_that_takes_too_long_is_ended() -> None:
    begin = time.monotonic()
    with pytest.raises(BenchmarkError, match="longer than 0 s"):
        measure(python("import time; time.sleep(30)"), timeout=0.3)
    assert time.monotonic() - begin < 10


# --- peers ----------------------------------------------------------------------------------------------------


def test_a_peer_lives_in_an_environment_of_its_own_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "CACHE", tmp_path)
    wheel = tmp_path / "tinypeer-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinypeer.py", "name = 'tiny'\n")
        archive.writestr("tinypeer-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinypeer\nVersion: 1\n")
        archive.writestr("tinypeer-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tinypeer-1.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    path = peer_python("tinypeer", [str(wheel)])
    assert path is not None
    code = "import tinypeer, json; print(json.dumps({'name': tinypeer.name}))"
    assert measure([str(path), "-c", code]).reported == {"name": "tiny"}
    ready = path.parent.parent / "ready"
    built = ready.stat().st_mtime_ns
    assert peer_python("tinypeer", [str(wheel)]) == path
    assert ready.stat().st_mtime_ns == built


@pytest.mark.full
def test_a_peer_that_cannot_be_built_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "CACHE", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert peer_python("absent", ["surely-no-such-package==1.0"]) is None
    assert "surely-no-such-package" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


# --- results --------------------------------------------------------------------------------------------------

positive = st.floats(1e-6, 1e12)


@given(positive, positive)
def test_a_ratio_above_one_means_we_win_whichever_way_is_better(ours: float, peer: float) -> None:
    speed, seconds = Row("x", "MB/s", ours, peer), Row("x", "s", ours, peer, less_is_better=True)
    assert speed.ratio is not None
    assert seconds.ratio is not None
    assert (speed.ratio > 1) == (ours > peer)
    assert (seconds.ratio > 1) == (ours < peer)
    assert speed.ratio * seconds.ratio == pytest.approx(1)


def test_without_a_peer_there_is_no_ratio() -> None:
    assert Row("x", "s", 1.0).ratio is None
    assert Row("x", "s", None, 2.0).ratio is None


@pytest.mark.parametrize("size", ["--quick", "--full"])
def test_the_last_line_is_the_result_and_full_keeps_it(
    size: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "BENCHMARKS", tmp_path / "benchmarks")
    monkeypatch.setattr(common, "REPOSITORY", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    args = arguments("toy", "d", argv=["--data", str(tmp_path), size])
    rows = [Row("signals, ar", "MB/s/core", 51.23456, 1.2, "datatrove 0.10.1"), Row("alone", "GB", 0.5)]
    finish("toy", rows, args, notes=["extrapolated"])
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    result = json.loads(lines[-1])
    assert set(result) == {"name", "rows", "notes", "machine", "versions", "commit"}
    assert result["rows"][0] == {
        "what": "signals, ar", "unit": "MB/s/core", "ours": 51.23, "peer": 1.2, "peer_name": "datatrove 0.10.1", "ratio": 42.7,
    }  # fmt: skip
    assert (result["rows"][1]["peer"], result["rows"][1]["ratio"]) == (None, None)
    assert "43×" in lines[1]
    assert "- extrapolated" in lines
    file = tmp_path / "benchmarks" / "results" / "toy.json"
    assert file.exists() == (size == "--full")
    if size == "--full":
        assert json.loads(file.read_text()) == result


def test_the_machine_the_versions_and_the_commit_are_said() -> None:
    machine = common.machine()
    assert machine["cores"] >= 1
    assert machine["memory_bytes"] > 1e8
    assert {"python", "diglot", "numpy"} <= set(common.versions())
    commit = common.commit()
    assert commit is None or len(commit.removesuffix("+changes")) == 40


# --- the scripts ----------------------------------------------------------------------------------------------

SCRIPTS = sorted(file for file in BENCHMARKS.glob("*.py") if file.name != "common.py")


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_every_benchmark_says_how_to_run_it(file: Path) -> None:
    done = subprocess.run([sys.executable, str(file), "--help"], capture_output=True, text=True, check=True)
    for option in ("--quick", "--full", "--data", "--repeats"):
        assert option in done.stdout


@pytest.mark.parametrize("file", sorted((BENCHMARKS / "peers").glob("*.py")), ids=lambda file: file.name)
def test_peers_do_not_lean_on_the_frame(file: Path) -> None:
    tree = ast.parse(file.read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert "common" not in imported
    if not file.name.startswith("diglot_"):
        assert not {name for name in imported if name and name.split(".")[0] == "diglot"}


def test_results_that_are_kept_have_the_agreed_form() -> None:
    for file in (BENCHMARKS / "results").glob("*.json"):
        result = json.loads(file.read_text())
        assert result["name"] == file.stem
        for row in result["rows"]:
            assert {"what", "unit", "ours", "peer", "peer_name", "ratio"} <= set(row)
        assert "/home/" not in file.read_text()
        assert {"machine", "versions", "commit"} <= set(result)


def test_the_frame_is_light() -> None:
    code = "import sys, common; print({'numpy', 'torch', 'numba', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run(python(code), capture_output=True, text=True, check=True, cwd=BENCHMARKS)
    assert done.stdout.strip() == "set()"


# --- our own sides --------------------------------------------------------------------------------------------


def test_what_our_own_sides_take_from_the_package_is_there() -> None:
    """They run by hand, so a name that has moved would be found too late."""
    missing = []
    for script in sorted((BENCHMARKS / "peers").glob("diglot_*.py")):
        tree = ast.parse(script.read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "diglot":
                continue
            for each in node.names:
                found = taken(str(node.module), each.name)
                used = {a.attr for a in ast.walk(tree) if isinstance(a, ast.Attribute) and is_name(a.value, each)}
                wrong = [each.name] if found is None else [name for name in used if missing_in(found, name)]
                missing += [f"{script.name}: {node.module}.{name}" for name in wrong]
    assert missing == []


def taken(module: str, name: str) -> object:
    """What `from module import name` gives; None where there is nothing."""
    place = importlib.import_module(module)
    if not hasattr(place, name) and hasattr(place, "__path__") and find_spec(f"{module}.{name}"):
        importlib.import_module(f"{module}.{name}")
    return getattr(place, name, None)


def is_name(node: ast.expr, imported: ast.alias) -> bool:
    """Whether an expression is an imported thing."""
    return isinstance(node, ast.Name) and node.id == (imported.asname or imported.name)


def missing_in(found: object, name: str) -> bool:
    """Whether a module lacks a name that is asked of it."""
    return isinstance(found, ModuleType) and not hasattr(found, name)
