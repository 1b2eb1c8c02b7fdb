"""YAML as recipes use it: plain values with the line of every key, in bounded time and memory.

What is read is what JSON could say, by YAML 1.2's rules: `1e-4` is a number, `no` a string (and Norwegian), 12:30 is
not 750, 010 is ten. Keys are text. Aliases and merge keys are written out, so that a change of one place changes no other; a
file that would grow without end by them is refused before anything is built, and so is one that is nested too deeply.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from diglot.base.errors import UserError

MOST_BYTES = 100_000  # our largest recipe has 8,500; PyYAML takes one to eight seconds for as many as these
MOST_NODES = 100_000  # keys and values, with aliases and merges written out
DEEPEST = 40  # levels; our deepest recipe has eight
LARGEST = 2**63 - 1  # of what a computer's whole numbers hold

_CORE = "tag:yaml.org,2002:"
_PATTERNS = (
    ("merge", r"^<<$", ["<"]),
    ("null", r"^(?:null|Null|NULL|~|)$", [*list("nN~"), ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?(?:[0-9](?:_?[0-9])*|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9](?:_?[0-9])*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.")),
)
# What no text of a recipe needs, and no file name or terminal can take.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _PATTERNS:
    _Loader.add_implicit_resolver(_CORE + _tag, re.compile(_pattern), _first)


def parse_yaml(text: str, name: str) -> tuple[Any, dict[tuple, int]]:
    """Parse YAML and remember the line of every key.

    Args:
        text: to parse.
        name: of the file, or whatever else the text is of; errors begin with it.

    Raises:
        UserError: not YAML, a key given twice or not text, a value that is not plain, or too much; with file and line.
    """
    if len(text) > MOST_BYTES:
        raise UserError(f"{name}: {len(text):,} characters are too many for a recipe; at most {MOST_BYTES:,} are read")
    # The nodes alone: PyYAML's own values would write all aliases out before they could be counted.
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(f"{name}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}") from error
    except RecursionError as error:
        raise UserError(f"{name}: nested too deeply; at most {DEEPEST} levels are read") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{name}: not valid YAML: {error}") from error
    if root is None:
        return None, {}
    _Measure(name).of(root)
    builder = _Builder(name, loader)
    return builder.value(root, ()), builder.lines


def unfit(text: str) -> str | None:
    """The first character of a text that no setting may hold, as U+001B; None where there is none."""
    found = _UNFIT.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def _at(name: str, node: yaml.Node, wrong: str) -> UserError:
    return UserError(f"{name}:{node.start_mark.line + 1}: {wrong}")


class _Measure:
    """How large a tree is with its aliases written out, found without writing them out."""

    def __init__(self, name: str):
        self.name = name
        self.measured: dict[int, tuple[int, int]] = {}

    def of(self, node: yaml.Node) -> tuple[int, int]:
        """Nodes and levels of a tree.

        An anchor stands before its aliases, so what they stand for is measured already: the recursion is no deeper
        than the text.

        Raises:
            UserError: too many of either, or an alias inside what it stands for.
        """
        # (0, 0) marks a node whose inside is being measured.
        known = self.measured.get(id(node))
        if known == (0, 0):
            raise _at(self.name, node, "not valid YAML: an alias stands inside what it stands for")
        if known:
            return known
        self.measured[id(node)] = (0, 0)
        inside = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            inside = [one for pair in node.value for one in pair]
        sizes = [self.of(one) for one in inside]
        nodes, levels = 1 + sum(size[0] for size in sizes), 1 + max((size[1] for size in sizes), default=0)
        if nodes > MOST_NODES:
            raise _at(
                self.name, node, f"more than {MOST_NODES:,} values with its aliases written out; that is no recipe"
            )
        if levels > DEEPEST:
            raise _at(self.name, node, f"nested too deeply; at most {DEEPEST} levels are read")
        self.measured[id(node)] = nodes, levels
        return nodes, levels


class _Builder:
    """Makes values of a measured tree, each alias anew, and notes the line of each key."""

    def __init__(self, name: str, loader: yaml.SafeLoader):
        self.name, self.loader = name, loader
        self.lines: dict[tuple, int] = {}

    def value(self, node: yaml.Node, path: tuple) -> Any:
        """The value of a node that stands at a path."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag not in (_CORE + "map", _CORE + "seq"):
            raise _at(self.name, node, f"the tag {_shown(node.tag)} is none that is read; write the plain value")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: tuple) -> dict[str, Any]:
        own: dict[str, Any] = {}
        places: dict[str, int] = {}
        merges: list[yaml.Node] = []
        for key, inner in node.value:
            if key.tag == _CORE + "merge":
                merges.append(inner)
                continue
            name = self._key(key)
            if name in places:
                dotted = ".".join(map(str, (*path, name)))
                raise _at(self.name, key, f"{dotted} was given before, in line {places[name]}")
            places[name] = self.lines[*path, name] = key.start_mark.line + 1
            own[name] = self.value(inner, (*path, name))
        return self._merged(merges, path) | own

    def _merged(self, nodes: list[yaml.Node], path: tuple) -> dict[str, Any]:
        """What `<<` merges in; it counts as written where its mapping is, unless the mapping has it itself."""
        found: dict[str, Any] = {}
        lines: dict[tuple, int] = {}
        for node in nodes:
            mappings = node.value if isinstance(node, yaml.SequenceNode) else [node]
            for mapping in reversed(mappings):  # of several the first one wins
                if not isinstance(mapping, yaml.MappingNode):
                    raise _at(self.name, node, "not valid YAML: << takes a mapping, or a list of mappings")
                other = _Builder(self.name, self.loader)
                found |= other.value(mapping, path)
                lines |= other.lines
        self.lines = lines | self.lines
        return found

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != _CORE + "str":
            shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
            raise _at(self.name, node, f"{shown} is no text, as keys are; write it in quotes")
        return str(self._scalar(node))

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text, kind = node.value, node.tag.removeprefix(_CORE)
        if kind == "str":
            if character := unfit(text):
                raise _at(self.name, node, f"a text holds the character {character}, which no setting may; take it out")
            return text
        # A tag that is written out may stand before anything: `!!bool x`.
        if self.loader.resolve(yaml.ScalarNode, text, (True, False)) != node.tag or kind == "merge":
            raise _at(self.name, node, f"{text!r} is no value for the tag {_shown(node.tag)}; write the plain value")
        if kind == "int":
            digits = text.replace("_", "")
            number = int(digits, 16 if "0x" in digits else 10) if len(digits) < 30 else LARGEST + 1
            if abs(number) > LARGEST:
                raise _at(self.name, node, f"{text[:30]} is too large; whole numbers go up to {LARGEST}")
            return number
        if kind == "float":
            return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        return None if kind == "null" else text.lower() == "true"


def _shown(tag: str) -> str:
    return tag.replace(_CORE, "!!")
