"""The walls of the house: who may import whom, what must stay light, and how long things may be (docs/decisions.md)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "diglot"
# A room of the ground floor imports those before it; a stage imports the ground floor and itself.
GROUND = ["base", "text", "recipe", "endpoint", "read", "tokenizer", "tokens", "model"]
STAGES = ["world", "curate", "quality", "translate", "align", "encode", "expand", "merge", "train", "evaluate", "answers",
          "questions", "serve"]  # fmt: skip
ABOVE = ["report", "plan", "publish"]  # they look at what stages made and will make
LIBRARIES = {
    "answers": {"align", "evaluate"},
    "curate": {"quality"},
    "serve": {"evaluate"},
    "report": {"plan"},
    "publish": {"report"},
    "plan": {"train"},
}  # rooms that these may look into as well
COMMAND = {
    "__init__",
    "__main__",
    "arena_commands",
    "cli",
    "compare_command",
    "completion",
    "doctor",
    "flow",
    "gap_command",
    "load",
    "model_commands",
    "notebook",
    "parameters",
    "progress",
    "publish_command",
    "runs",
    "setup_commands",
    "shortened",
    "starter",
    "stage_commands",
    "step",
    "terminal",
    "tries",
}
WITHOUT_TORCH = ["base", "text", "recipe", "endpoint", "read", "curate", "quality", "translate", "align", "world",
                 "tokenizer", "tokens", "encode"]  # fmt: skip
IMPORTS = (ast.Import, ast.ImportFrom)
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES_P99 = 50


def imports(file: Path) -> Iterator[str]:
    """Modules of the package that a file imports, without the package's name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "diglot":
            folder = PACKAGE.parent.joinpath(*node.module.split("."))
            inside = [name.name for name in node.names if (folder / f"{name.name}.py").is_file()]
            names = [f"{node.module}.{name}" for name in inside] or [node.module]
        else:
            continue
        yield from (name.removeprefix("diglot.") for name in names if name.startswith("diglot."))


def allowed(room: str) -> set[str]:
    if room in GROUND:
        return set(GROUND[: GROUND.index(room) + 1])
    return {*GROUND, room} | LIBRARIES.get(room, set())


def test_every_room_is_known() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == {*GROUND, *STAGES, *ABOVE}
    assert {file.stem for file in PACKAGE.glob("*.py")} == COMMAND


@pytest.mark.parametrize("room", [*GROUND, *STAGES, *ABOVE])
def test_a_room_imports_the_ground_floor_and_no_other_stage(room: str) -> None:
    for file in sorted((PACKAGE / room).rglob("*.py")):
        for module in imports(file):
            assert module.split(".")[0] in allowed(room), f"{file.relative_to(PACKAGE)} imports diglot.{module}"


def test_no_circle_of_files() -> None:
    graph = {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): set(imports(file))
        for file in PACKAGE.rglob("*.py")
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_of_data_never_import_torch(room: str) -> None:
    for file in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert "torch" not in {name.split(".")[0] for name in names}, file


def test_import_and_help_are_light() -> None:
    code = (
        "import sys, diglot.cli; heavy = {'torch', 'transformers', 'numba', 'pyarrow', 'numpy', 'plotly', 'lm_eval'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_imports_inside_functions_say_why() -> None:
    """Only what an extra brings, or what start-up must not wait for; the line, or the one above, says which."""
    silent = []
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text()
        lines = text.split("\n")
        for function in ast.walk(ast.parse(text)):
            if file.parent == PACKAGE or not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for body in [getattr(node, "body", []) for node in ast.walk(function)]:
                before = None  # the statement above; a comment speaks for the imports that follow the first one
                for node in body if isinstance(body, list) else []:
                    if isinstance(node, IMPORTS) and not isinstance(before, IMPORTS):
                        said = lines[node.lineno - 2] + lines[node.lineno - 1]
                        if "# extra: " not in said and "# start-up: " not in said:
                            silent.append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
                    before = node
    assert not silent


def test_files_fit_a_sitting() -> None:
    lines = {str(file.relative_to(PACKAGE)): file.read_text().count("\n") for file in PACKAGE.rglob("*.py")}
    assert not {name: number for name, number in lines.items() if number > MAX_FILE_LINES}


def test_functions_fit_a_screen() -> None:
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[int(0.99 * len(lengths))] <= MAX_FUNCTION_LINES_P99


def test_files_of_tests_have_names_of_their_own() -> None:
    """Two of one name, in folders without an `__init__`, are one module to pytest: it runs the first it meets."""
    names = [file.name for file in (PACKAGE.parent / "tests").rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}
