"""The pages that are made from the tree are those of the tree as it is; `make docs` makes them."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

# Walls of the walk: set where they hold; what stands in the way of lower ones is said in docs/decisions.md.
MAX_FILES, MAX_LINES, MAX_CARRIERS = 49, 7750, 12
DOCS = Path(__file__).resolve().parent.parent / "docs"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of docs/ as a module."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


def test_the_tree_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (DOCS / "tree.md").read_text("utf-8") == script("make_tree", monkeypatch).tree()


def test_sizes_are_current_within_three_in_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(page: str) -> dict[str, int]:
        rows = re.findall(r"^\| ([^|]+) \| \*{0,2}([\d,]+)\*{0,2} \|", page, re.MULTILINE)
        return {job: int(number.replace(",", "")) for job, number in rows}

    written, now = numbers((DOCS / "sizes.md").read_text("utf-8")), numbers(script("make_sizes", monkeypatch).page())
    assert written.keys() == now.keys()
    assert not {job: (written[job], now[job]) for job in now if abs(written[job] - now[job]) > 10 + 0.03 * now[job]}


def test_code_lines_are_those_that_hold_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "some.py"
    file.write_text(
        '"""Head.\n\nMore.\n"""\n\n# a comment\nx = """two\nlines"""  # behind code\n\n\ndef f():\n    """Does."""\n    return (\n        1\n    )\n'
    )
    lines = script("code_lines", monkeypatch)
    code, comments, docstrings = lines.lines_of(file)
    assert (code, comments, docstrings) == ({7, 8, 11, 13, 14, 15}, {6, 8}, {1, 2, 3, 4, 12})
    assert lines.function_lengths([file]) == [5]


def test_a_documents_walk_stays_within_its_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the page, which `make docs` writes from a real run, with the lines that its files have now."""
    page = (DOCS / "walk.md").read_text("utf-8")
    files = re.findall(r"^\| (\S+\.py) \| [\d,]+ \|", page, re.MULTILINE)
    carriers = re.findall(r"`[^`]+`", re.search(r"^Carriers: .*", page, re.MULTILINE)[0])
    package = DOCS.parent / "diglot"
    gone = [file for file in files if not (package / file).is_file()]
    assert not gone, "make docs"
    assert len(files) <= MAX_FILES
    code_lines = script("code_lines", monkeypatch).code_lines
    assert sum(code_lines(package / file) for file in files) <= MAX_LINES
    assert 0 < len(carriers) <= MAX_CARRIERS


@pytest.mark.full
def test_the_walk_is_that_of_a_real_run() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "make_walk.py"), "--count"],
        capture_output=True,
        text=True,
        check=True,
        timeout=1200,
    )
    page = (DOCS / "walk.md").read_text("utf-8")
    counted = re.findall(r"^ *\d+  (\S+\.py)  ", done.stdout, re.MULTILINE)
    assert counted == re.findall(r"^\| (\S+\.py) \| [\d,]+ \|", page, re.MULTILINE)


@pytest.mark.slow
def test_the_picture_is_made_by_its_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = script("make_screenshot", monkeypatch)
    if not any(map(shutil.which, make.BROWSERS)):
        pytest.skip("no chromium on this machine")
    (tmp_path / "report.html").write_text("<h1>A report</h1>")
    make.main(tmp_path / "report.html", tmp_path / "report.png")
    picture = (tmp_path / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert [int.from_bytes(picture[at : at + 4], "big") for at in (16, 20)] == [1100, 1480]
    with pytest.raises(SystemExit, match="no such report"):
        make.main(tmp_path / "none.html", tmp_path / "report.png")
