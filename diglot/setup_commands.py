"""The commands that stand before a run: what is there, and how to begin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import click
from click.shell_completion import get_completion_class

from diglot.base.errors import UserError
from diglot.base.interrupts import interrupts_wait
from diglot.base.screen import say, say_json
from diglot.base.table import show
from diglot.completion import VARIABLE, settings_of_the_recipe, stages_of_the_recipe
from diglot.load import load_recipe
from diglot.recipe import json_schema
from diglot.shortened import in_short

DOCTOR_EXAMPLES = """\b
Examples:
  diglot doctor
  diglot doctor --json
"""


@click.command("doctor", epilog=DOCTOR_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
def doctor_command(as_json: bool) -> None:
    """Show what is installed, what this machine can do, and what each extra would bring.

    Measures for a second or two. The exit code is 1 where something that Diglot needs is missing or too old.
    """
    with interrupts_wait():
        from diglot.base.console import make_console
        from diglot.doctor import examine, views

    health = examine()
    if as_json:
        say_json(health.as_json())
    else:
        show(make_console(), views(health))
        for text in health.advice:
            say(f"· {text}")
    for text in health.broken:
        say(text, error=True, lead=f"{click.style('broken', fg='red', bold=True)}: ")
    if health.broken:
        sys.exit(1)


TRY_EXAMPLES = """\b
Examples:
  diglot try recipes/quickstart.yaml
  diglot try recipes/arabic.yaml corpus.sources.arabic.path='my/arabic/*.jsonl.zst'
"""


@click.command("try", epilog=TRY_EXAMPLES)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, shell_complete=settings_of_the_recipe)
@click.option("--run", "folder", help="The run folder.  [default: runs/NAME-try]")
@click.option("--until", metavar="STAGE", shell_complete=stages_of_the_recipe, help="Stop after this stage.")
@click.option("--dry-run", is_flag=True, help="Show the settings that a try has instead of the recipe's; run nothing.")
@click.pass_context
def try_command(
    context: click.Context,
    recipe: Path,
    overrides: tuple[str, ...],
    folder: str | None,
    until: str | None,
    dry_run: bool,
) -> None:
    """Walk a whole recipe in a minute or so, so that mistakes show before the real run.

    All stages run, on a few hundred documents of each source and for a step or two, in a run folder of their own. Scores mean
    nothing. A new model is a tiny one; a base that is imported is the real one, so `diglot plan` says whether it fits.

    OVERRIDES change settings, as for `diglot run`, and go before what a try would set.
    """
    loaded, _ = load_recipe(recipe, list(overrides))
    short = in_short(loaded, overrides)
    if dry_run:
        for override in short:
            say(override)
        return
    run = cast(click.Group, context.find_root().command).commands["run"]
    context.invoke(
        run,
        recipe=recipe,
        overrides=(*short, *overrides),
        folder=folder,
        until=until,
        dry_run=False,
        as_json=False,
        verify=False,
    )
    say(f"every stage of {recipe} can be walked; the real run: diglot run {' '.join([str(recipe), *overrides])}")


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of recipes: by it editors complete keys, explain them and mark mistakes.

    A recipe names it in its first line, as those in recipes/ do; `diglot init` writes both:
    # yaml-language-server: $schema=recipe.schema.json
    """
    say_json(json_schema(), indent=1)


INIT_EXAMPLES = """\b
Examples:
  diglot init hebrew --language he --base HuggingFaceTB/SmolLM2-135M-Instruct
  diglot init hebrew --language he --base models/smollm2 --text my/hebrew --base-text my/english --instructions my/chats.jsonl
"""


@click.command("init", epilog=INIT_EXAMPLES)
@click.argument("name")
@click.option("--language", required=True, metavar="CODE", help="The language to learn: he, ar, th, zh-Hant, …")
@click.option("--base", required=True, metavar="MODEL", help="A model's folder, or its name on the Hugging Face hub.")
@click.option("--text", "texts", multiple=True, metavar="PATH", help="Text in the language: files, folders, globs, URLs (may be given often).  [default: FineWeb-2, from the hub]")  # fmt: skip
@click.option("--base-text", metavar="PATH", help="Text in the base's language, against forgetting.  [default: FineWeb, from the hub]")  # fmt: skip
@click.option("--base-language", default="en", show_default=True, metavar="CODE", help="What the base speaks already.")
@click.option("--instructions", metavar="PATH", help="Conversations in the language: then a chat model is made, too.")
@click.option("--out", "output", type=click.Path(path_type=Path), metavar="FILE", help="The recipe.  [default: NAME.yaml]")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a recipe that is there already.")
def init_command(name: str, output: Path | None, force: bool, **given: Any) -> None:
    """Write a commented recipe: a language joins a model that you have.

    Which field holds the text, how much there is, how large the model is and what this machine can do is found out.
    """
    with interrupts_wait():
        from diglot.starter import start

    file = output or Path(f"{name}.yaml")
    for line in start(name, output=file, force=force, **given):
        say(f"· {line}")
    say(f"{file} is written; next: diglot try {file}")


COMPLETION_EXAMPLES = """\b
In the file that the shell reads when it starts:
  ~/.bashrc                  eval "$(diglot completion bash)"
  ~/.zshrc, after compinit   eval "$(diglot completion zsh)"
  ~/.config/fish/config.fish  eval (diglot completion fish | string collect)
"""


@click.command("completion", epilog=COMPLETION_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options, files, and the settings of a recipe."""
    kind = get_completion_class(shell)
    if kind is None:  # the choice above has none that click does not know
        raise UserError(f"there is no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "diglot", VARIABLE).source())
