"""Reading rule files: YAML, with errors that name file, line and key. The form is described in `rules`.

Scalars are taken as they are written, so that `no` is Norwegian and `1e-4` a number whatever version of YAML.
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import NamedTuple

import yaml

from diglot.base.errors import UserError
from diglot.base.files import expand_home, read_small
from diglot.curate.clean.line_rules import LINE_RULES, LINE_RULES_WITH_LIMIT
from diglot.recipe.curate import RULE_SETS, unknown_rule_set
from diglot.recipe.signals import rule_names

SAMPLE_QUALITY = "sample_quality"
MOST_BYTES = 1_000_000  # learnt rules of a hundred languages have 200,000
_FOLDER = Path(__file__).parent / "rulesets"
_KEYS = ("description", "rules", "lines", "languages", "only", "otherwise")
_LIMIT_KEYS = ("rule", "limit", "source", "only")


class Limit(NamedTuple):
    """What a file or a recipe says of one rule.

    Attributes:
        kind: `rules` (on documents) or `lines`.
        name: of the rule.
        value: null switches the rule off.
        source: where it comes from.
        only: the languages it is for; empty is all.
    """

    kind: str
    name: str
    value: float | None
    source: str
    only: tuple[str, ...] = ()


class RuleFile(NamedTuple):
    """A rule file as it is written; see `rules`."""

    name: str
    description: str
    rules: tuple[Limit, ...]
    lines: tuple[Limit, ...]
    languages: dict[str, tuple[Limit, ...]]
    only: tuple[str, ...]
    otherwise: str | None


def read_rule_file(name: str, base: Path | None) -> RuleFile:
    """Read a set by its name, or a file by its path.

    Args:
        name: one of `RULE_SETS`; a path has a slash or ends in .yaml or .yml.
        base: what a relative path is relative to; the working folder where there is none.

    Raises:
        UserError: there is no such set or file, or something in it is not in order.
    """
    if wrong := unknown_rule_set(name):
        raise UserError(wrong)
    if name in RULE_SETS:
        path, shown = _FOLDER / f"{name}.yaml", f"rule set {name}"
    else:
        path, shown = (base or Path()) / expand_home(name), name
    try:
        text = read_small(path, MOST_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"the rule set {shown} cannot be read: {reason}") from error
    return parse_rule_file(text, shown)


def parse_rule_file(text: str, shown: str) -> RuleFile:
    """Parse a rule file; `shown` is what errors call it.

    Raises:
        UserError: something in it is not in order.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(f"{shown}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{shown}: not valid YAML: {error}") from error
    reader = _Reader(shown)
    if root is None:
        raise UserError(f"{shown}: the file is empty; `rules: []` is a set without rules")
    keys = reader.mapping(root, "the file", _KEYS)
    names = {"rules": [*rule_names(), SAMPLE_QUALITY], "lines": list(LINE_RULES)}
    otherwise = reader.text(keys["otherwise"], "otherwise") if "otherwise" in keys else None
    if otherwise is not None and (otherwise not in RULE_SETS or "only" not in keys):
        raise reader.error(keys["otherwise"], "otherwise", f"needs `only`, and is one of {', '.join(RULE_SETS)}")
    return RuleFile(
        name=shown,
        description=reader.text(keys["description"], "description") if "description" in keys else "",
        rules=reader.limits(keys.get("rules"), "rules", names["rules"]),
        lines=reader.limits(keys.get("lines"), "lines", names["lines"]),
        languages=reader.languages(keys.get("languages"), names),
        only=reader.list_of_texts(keys.get("only"), "only"),
        otherwise=otherwise,
    )


class _Reader:
    """Takes the nodes of a file apart, and knows where they stand."""

    def __init__(self, shown: str):
        self.shown = shown

    def error(self, node: yaml.Node, key: str, wrong: str) -> UserError:
        return UserError(f"{self.shown}:{node.start_mark.line + 1}: {key}: {wrong}")

    def mapping(self, node: yaml.Node, key: str, allowed: tuple[str, ...] | list[str]) -> dict[str, yaml.Node]:
        """The values of a mapping by key; any key where `allowed` is empty."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, key, f"must hold `key: value` pairs, not {self._what(node)}")
        found: dict[str, yaml.Node] = {}
        for name_node, value in node.value:
            name = self.text(name_node, key)
            if name in found:
                raise self.error(name_node, f"{key}.{name}", "is given twice; keep one of them")
            if allowed and name not in allowed:
                near = difflib.get_close_matches(name, allowed, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(allowed[:8])}, …"
                raise self.error(name_node, key, f"there is no {name!r}; {hint}")
            found[name] = value
        return found

    def text(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, key, f"must be a text, not {self._what(node)}")
        return node.value

    def number(self, node: yaml.Node, key: str) -> float | None:
        """A finite number, or None for null."""
        text = self.text(node, key)
        if getattr(node, "style", None) is None and text in ("", "~", "null", "Null", "NULL"):
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(node, key, f"must be a number, or null to switch the rule off, not {text!r}")
        return value

    def list_of_texts(self, node: yaml.Node | None, key: str) -> tuple[str, ...]:
        return tuple(self.text(item, key) for item in self._items(node, key))

    def limits(self, node: yaml.Node | None, kind: str, names: list[str]) -> tuple[Limit, ...]:
        """The entries of `rules` or `lines`."""
        limits: list[Limit] = []
        for place, item in enumerate(self._items(node, kind)):
            key = f"{kind}[{place}]"
            fields = self.mapping(item, key, _LIMIT_KEYS)
            if "rule" not in fields:
                raise self.error(item, key, "has no `rule: NAME`")
            name = self._known(fields["rule"], key, names)
            if any(limit.name == name for limit in limits):
                raise self.error(item, key, f"{name} is given twice; keep one of them")
            limits.append(
                Limit(
                    kind,
                    name,
                    self._limit(fields.get("limit"), f"{key}.limit", name, item),
                    self.text(fields["source"], f"{key}.source") if "source" in fields else self.shown,
                    self.list_of_texts(fields.get("only"), f"{key}.only"),
                )
            )
        return tuple(limits)

    def languages(self, node: yaml.Node | None, names: dict[str, list[str]]) -> dict[str, tuple[Limit, ...]]:
        """The limits of `languages`, by language."""
        if node is None:
            return {}
        result = {}
        for language, inner in self.mapping(node, "languages", ()).items():
            key = f"languages.{language}"
            fields = self.mapping(inner, key, ["source", *names["rules"], *names["lines"]])
            source = self.text(fields.pop("source"), f"{key}.source") if "source" in fields else self.shown
            result[language] = tuple(
                Limit(
                    "lines" if name in names["lines"] else "rules",
                    name,
                    self._limit(value, f"{key}.{name}", name, value),
                    source,
                )
                for name, value in fields.items()
            )
        return result

    def _limit(self, node: yaml.Node | None, key: str, name: str, whole: yaml.Node) -> float | None:
        """The limit of a rule; line rules that need none have 1."""
        if node is None and name in LINE_RULES and name not in LINE_RULES_WITH_LIMIT:
            return 1.0
        if node is None:
            raise self.error(whole, key, f"{name} needs a limit (null switches it off)")
        value = self.number(node, key)
        if value is None:
            return None
        if name in LINE_RULES and (name not in LINE_RULES_WITH_LIMIT or value < 1 or value != int(value)):
            wanted = "a whole number above 0, or null" if name in LINE_RULES_WITH_LIMIT else "no limit, or null"
            raise self.error(node, key, f"{name} takes {wanted}")
        if name == SAMPLE_QUALITY and value <= 0:
            raise self.error(node, key, "must be above 0: the shape of a Pareto distribution (GPT-3 has 9)")
        return value

    def _known(self, node: yaml.Node, key: str, names: list[str]) -> str:
        name = self.text(node, f"{key}.rule")
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else "docs/corpus.md lists them all"
            raise self.error(node, f"{key}.rule", f"there is no rule {name!r}; {hint}")
        return name

    def _items(self, node: yaml.Node | None, key: str) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, key, f"must be a list, not {self._what(node)}")
        return node.value

    @staticmethod
    def _what(node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode):
            return repr(node.value)
        return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"
