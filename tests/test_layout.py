"""The layout of the project: who may import whom, and what must stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "diglot"
ROAD = ["world", "corpus", "tokenizer", "tokens", "model", "train", "align", "evaluate", "serve", "report", "plan"]
TOP = {file.stem for file in PACKAGE.glob("*.py")}
FOR_FOLDERS = {"artifact", "recipe"}
FOR_THE_COMMAND = {"__main__", "cli", "stage_commands", "terminal", "flow", "load"}


def imports(file: Path) -> list[str]:
    """Modules of the package that a file imports, without the package's name."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{name.name}" for name in node.names] if node.module == "diglot" else [node.module]
    return [name.removeprefix("diglot.") for name in found if name.startswith("diglot.")]


def test_every_folder_is_on_the_road() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__", "recipe"} <= set(ROAD)


@pytest.mark.parametrize("folder", ROAD)
def test_a_folder_imports_only_what_comes_before_it(folder: str) -> None:
    allowed = FOR_FOLDERS | set(ROAD[: ROAD.index(folder) + 1]) if folder != "world" else FOR_FOLDERS | {"world"}
    allowed -= {"world"} if folder != "world" else set()
    for file in sorted((PACKAGE / folder).rglob("*.py")):
        for module in imports(file):
            assert module.split(".")[0] in allowed, f"{file.relative_to(PACKAGE)} imports diglot.{module}"


@pytest.mark.parametrize("folder", ["world", "corpus", "tokenizer", "tokens"])
def test_data_folders_never_import_torch(folder: str) -> None:
    for file in sorted((PACKAGE / folder).rglob("*.py")):
        names = [
            name
            for node in ast.walk(ast.parse(file.read_text()))
            for name in (
                [n.name for n in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        assert not [name for name in names if name.split(".")[0] == "torch"], file


def test_top_level_files_know_no_folder_when_imported() -> None:
    for name in sorted(TOP - FOR_THE_COMMAND):
        assert not [module for module in imports(PACKAGE / f"{name}.py") if module.split(".")[0] in ROAD]


def test_import_and_help_are_light() -> None:
    code = (
        "import sys, diglot.cli; heavy = {'torch', 'transformers', 'numba', 'pyarrow', 'numpy', 'plotly', 'lm_eval'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_files_stay_readable() -> None:
    long = {
        str(file.relative_to(PACKAGE)): text.count("\n")
        for file in PACKAGE.rglob("*.py")
        if (text := file.read_text()).count("\n") > 600
    }
    assert not long
