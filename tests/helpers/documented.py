"""The commands that a user may copy: from the README, the pages, the recipes' headings and the help of every command."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from diglot.cli import cli

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^\W*(?:srun (?:-\S+ \S+ )*|torchrun .* -- )?diglot (\S.*)$")
DESCRIBED = re.compile(r"\s{2,}\S.*$")  # a description behind a command, two spaces apart


def blocks(language: str | None = None) -> Iterator[tuple[str, str]]:
    """The blocks of code in the pages, with the page's name; in one language, or those of commands."""
    for page in PAGES:
        for name, text in BLOCK.findall(page.read_text()):
            if name == language or (language is None and name in ("", "bash", "text")):
                yield page.name, text


def every_command(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, with the words that call them."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


def examples() -> list[tuple[str, str]]:
    """Where each example stands, and its words after `diglot`."""
    texts = list(blocks())
    for file in sorted((ROOT / "recipes").glob("*.yaml")):
        comments = [line.removeprefix("#") for line in file.read_text().split("\n") if line.startswith("#")]
        texts.append((file.name, "\n".join(comments)))
    texts += [(f"diglot {' '.join(path)} --help", command.epilog or "") for path, command in every_command()]
    texts.append(("diglot --help", cli.epilog or ""))
    found = []
    for where, text in texts:
        for line in re.sub(r"\s*\\\n\s*", " ", text).split("\n"):
            if match := COMMAND.match(line):
                found.append((where, DESCRIBED.sub("", match[1]).removesuffix(" …").strip()))
    return found


def mentions() -> list[tuple[str, str]]:
    """Commands in the middle of a sentence, which may leave things out."""
    spans = [
        (page.name, span) for page in PAGES for span in re.findall(r"`diglot ([^`]+)`", BLOCK.sub("", page.read_text()))
    ]
    return [(where, " ".join(span.split())) for where, span in spans]


def words_of(text: str) -> list[str]:
    """The words of a command, as a shell would give them."""
    return shlex.split(text, comments=True)
