"""Counting code: lines that hold some of it, without blank lines, comments and docstrings; and lengths of functions."""

import ast
import io
import tokenize
from pathlib import Path

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def docstring_lines(tree: ast.AST) -> set[int]:
    """The lines that docstrings take."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            found |= set(range(first.lineno, first.end_lineno + 1))
    return found


def lines_of(file: Path) -> tuple[set[int], set[int], set[int]]:
    """Numbers of the lines of a file that hold code, a comment (behind code too), or a docstring."""
    text = file.read_text("utf-8")
    docstrings = docstring_lines(ast.parse(text))
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    return code - docstrings, comments, docstrings


def code_lines(file: Path) -> int:
    """How many lines of a file hold code."""
    return len(lines_of(file)[0])


def function_lengths(files: list[Path]) -> list[int]:
    """Lines of every function, from `def` to its end, ascending."""
    trees = [ast.parse(file.read_text("utf-8")) for file in files]
    return sorted(
        node.end_lineno - node.lineno + 1 for tree in trees for node in ast.walk(tree) if isinstance(node, FUNCTIONS)
    )


def classes(file: Path) -> list[str]:
    """The classes that a file defines."""
    return [node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ClassDef)]
