"""Writes docs/tree.md: every file of the package with the first sentence of its docstring, in the order of the pipeline.

python docs/make_tree.py
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST = [
    "cli",
    "setup_commands",
    "stage_commands",
    "model_commands",
    "load",
    "step",
    "tries",
    "flow",
]  # then the others
ROOMS = ["base", "text", "recipe", "endpoint", "read", "curate", "quality", "translate", "align", "tokenizer", "encode",
         "tokens", "model", "expand", "merge", "train", "evaluate", "answers", "serve", "plan", "report", "world"]  # fmt: skip


def first_sentence(file: Path) -> str:
    """The beginning of a module's docstring."""
    text = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
    return re.sub(r"^The stage `[\w-]+`: ", "", text)


def tree() -> str:
    """The page."""
    package = ROOT / "diglot"
    lines = ["# The tree", "", "Made by `make docs` from the files themselves.", "", "```", "diglot/"]
    others = sorted({file.stem for file in package.glob("[!_]*.py")} - set(FIRST))
    lines += [f"├── {name + '.py':<24}{first_sentence(package / f'{name}.py')}" for name in [*FIRST, *others]]
    for folder in ROOMS:
        lines.append(f"├── {folder + '/':<24}{first_sentence(package / folder / '__init__.py')}")
        lines += files_of(package / folder, "│   ")
    return "\n".join([*lines, "```", ""])


def files_of(folder: Path, indent: str) -> list[str]:
    """The files of a folder, then its folders."""
    files = [file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"]
    lines = [f"{indent}├── {file.name:<{24 - len(indent)}}{first_sentence(file)}" for file in files]
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file()):
        lines.append(f"{indent}├── {inner.name + '/':<{24 - len(indent)}}{first_sentence(inner / '__init__.py')}")
        lines += files_of(inner, indent + "│   ")
    return lines


if __name__ == "__main__":
    (ROOT / "docs" / "tree.md").write_text(tree(), encoding="utf-8")
