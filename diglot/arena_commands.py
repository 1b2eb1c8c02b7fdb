"""The commands about people's votes: `diglot arena` collects them, `diglot votes` says what they say."""

from __future__ import annotations

from pathlib import Path

import click

from diglot.base.errors import UserError
from diglot.base.interrupts import interrupts_wait
from diglot.base.plain_yaml import LARGEST
from diglot.base.screen import say, say_json
from diglot.base.table import show
from diglot.runs import check_model, find_model

VOTES = "arena.sqlite"
ARENA_EXAMPLES = """\b
Examples:
  diglot arena ours=ours.jsonl theirs=theirs.jsonl             answers made before
  diglot arena runs/arabic peer=http://127.0.0.1:8000/v1#qwen  models that answer while people ask
  diglot votes arena.sqlite --export votes.jsonl               what came of it
"""
VOTES_EXAMPLES = """\b
Examples:
  diglot votes arena.sqlite
  diglot votes arena.sqlite --export votes.csv --json
"""


@click.command("arena", epilog=ARENA_EXAMPLES)
@click.argument("entrants", nargs=-1, required=True, metavar="[NAME=]ENTRANT...")
@click.option("--votes", "file", type=click.Path(path_type=Path), default=VOTES, show_default=True, help="Where votes are kept (SQLite); an arena goes on where it was.")  # fmt: skip
@click.option("--language", "languages", multiple=True, metavar="CODE", help="Languages offered to people who ask models themselves.  [default: en]")  # fmt: skip
@click.option("--system", help="A system message for models that answer live.")
@click.option("--max-new-tokens", type=click.IntRange(1, LARGEST), default=256, show_default=True, help="Of an answer given live.")  # fmt: skip
@click.option("--key-variable", default="OPENAI_API_KEY", show_default=True, help="The environment variable that holds the servers' key.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: other machines may come too.")
@click.option("--port", type=click.IntRange(0, 65535), default=8100, show_default=True, help="0: a free one.")
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="A name by which other machines ask for this one.")  # fmt: skip
def arena_command(
    entrants: tuple[str, ...],
    file: Path,
    languages: tuple[str, ...],
    system: str | None,
    max_new_tokens: int,
    key_variable: str,
    host: str,
    port: int,
    names: tuple[str, ...],
) -> None:
    """A page on which people say which of two answers is better, without knowing whose they are.

    ENTRANT is a file of answers made before (FILE.jsonl; all are, or none), or a model that answers while people ask: a folder, a
    run (its last model), or a server as URL#MODEL.
    """
    with interrupts_wait():
        try:
            from diglot.serve.arena.app import Arena, application
        except ModuleNotFoundError as error:
            raise UserError(
                f"the arena needs {error.name}, which is not installed: pip install 'diglot[serve]'"
            ) from error
        from diglot.read.answers import LANGUAGE
        from diglot.serve.arena.entrants import read_entrants, split_name
        from diglot.serve.arena.votes import Votes
        from diglot.serve.web import is_loopback, listen

    named = [(name, _found(where)) for name, where in map(split_name, entrants)]
    given = read_entrants(named, key_variable, max_new_tokens, system)
    for code in languages:
        if not LANGUAGE.fullmatch(code):
            raise UserError(f"--language: an ISO 639 code such as ar, not {code!r}")
    votes = Votes(file)
    if not is_loopback(host):
        say("note: everybody who reaches this machine can vote, as often as they like", error=True)
    arena = Arena(given, votes, given.languages() or list(languages) or ["en"])
    try:
        listen(
            application(arena, names),
            host,
            port,
            lambda at: say(f"open {at} · votes: {file.resolve()} · Ctrl-C ends it"),
        )
    finally:
        votes.close()


def _found(where: str) -> str:
    """A run's last model in place of a run; all else as it is."""
    if where.endswith(".jsonl") or where.startswith(("http://", "https://")):
        return where
    folder = find_model(Path(where), None)
    check_model(folder)
    return str(folder)


@click.command("votes", epilog=VOTES_EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--export", "export_to", type=click.Path(path_type=Path), metavar="FILE", help="Write all votes: .jsonl with the conversations, .csv without.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
def votes_command(file: Path, export_to: Path | None, as_json: bool) -> None:
    """Say what people's votes in an arena say: ratings, win rates, and how far people agree.

    FILE is what `diglot arena --votes` names; it may be read while people vote.
    """
    # start-up: what reads, rates and draws votes is loaded by this command alone
    from diglot.base.console import make_console
    from diglot.serve.arena.results import results_as_json, tables
    from diglot.serve.arena.votes import Votes, export

    if not file.is_file():
        raise UserError(f"{file}: no such file; `diglot arena … --votes {file}` makes it")
    votes = Votes(file)
    try:
        records = list(votes.records())
    finally:
        votes.close()
    if export_to:
        export(records, export_to)
    if as_json:
        say_json(results_as_json(records))
    elif not records:
        say(f"{file}: nobody has voted yet")
    else:
        show(make_console(), tables(records))
