"""Mutants of files by mutmut's operators: one small change each, drawn evenly from all there are.

    python mutmut_mutants.py COUNT SEED ROOT FILE…

Prints a JSON line for each: file, line, the lines before and after, whether it stands in a kernel, and the new source.
Mutmut itself leaves functions with a decorator alone, and so all kernels; its operators do not mind.
"""

import difflib
import json
import random
import sys
from pathlib import Path

import libcst as cst
from mutmut.mutation.mutators import mutation_operators

# Texts are messages, mostly, and a line of `__slots__` or a type is no behaviour.
LEFT_ALONE = (cst.BaseString, cst.Annotation, cst.Decorator, cst.Raise, cst.Parameters, cst.Import, cst.ImportFrom)
KERNELS = {"kernel", "inlined", "_inlined"}


class Places(cst.CSTVisitor):
    """All nodes inside functions that an operator can change."""

    def __init__(self):
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, bool]] = []
        self.functions: list[cst.FunctionDef] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, LEFT_ALONE):
            return False
        if isinstance(node, cst.FunctionDef):
            self.functions.append(node)
        elif self.functions:
            in_kernel = any(_decorators(function) & KERNELS for function in self.functions)
            for kind, operator in mutation_operators:
                if isinstance(node, kind):
                    self.found += [(node, changed, in_kernel) for changed in operator(node)]
        return True

    def on_leave(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.FunctionDef):
            self.functions.pop()


def _decorators(function: cst.FunctionDef) -> set[str]:
    return {item.decorator.value for item in function.decorators if isinstance(item.decorator, cst.Name)}


def main() -> None:
    """Print the mutants."""
    count, seed, root = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    places = []
    for file in sys.argv[4:]:
        module = cst.parse_module((root / file).read_text())
        visitor = Places()
        module.visit(visitor)
        places += [(file, module, *place) for place in visitor.found]
    for file, module, node, changed, in_kernel in random.Random(seed).sample(places, min(count, len(places))):
        source = module.code
        mutant = module.deep_replace(node, changed).code
        before, after = source.splitlines(), mutant.splitlines()
        line = next((i for i, pair in enumerate(zip(before, after, strict=False), 1) if pair[0] != pair[1]), 0)
        change = [
            text for text in difflib.unified_diff(before, after, lineterm="", n=0) if text[:3] not in ("---", "+++")
        ]
        print(json.dumps({"file": file, "line": line, "kernel": in_kernel, "change": change[1:], "source": mutant}))


if __name__ == "__main__":
    main()
