"""Reads the tables of the invented world: words, sentences, names and facts, in the YAML files of this folder."""

from pathlib import Path
from typing import Any

import yaml

# the parser in C is ten times as fast; PyYAML comes without it where libyaml is missing
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_table(name: str) -> dict[str, Any]:
    """The content of `<name>.yaml`, in the order of the file."""
    text = (Path(__file__).parent / f"{name}.yaml").read_text("utf-8")
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 – a safe loader, and our own file
