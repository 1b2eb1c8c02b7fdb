"""The commands that use a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diglot.base.interrupts import interrupts_wait
from diglot.base.plain_yaml import LARGEST
from diglot.parameters import Number
from diglot.runs import check_model, find_model


@click.command("chat")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--stage", help="Which of a run's models.  [default: the last]")
@click.option("--prompt", help="Answer this and leave.")
@click.option("--system", help="A system message.")
@click.option("--max-new-tokens", type=click.IntRange(1, LARGEST), default=256, show_default=True)
@click.option("--temperature", type=Number(0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=click.IntRange(0, LARGEST), default=0, show_default=True)
def chat_command(model: Path, stage: str | None, **settings: Any) -> None:
    """Talk to a model in the terminal.

    MODEL is a run (its last model is taken), or a model's folder.
    """
    with interrupts_wait():
        from diglot.serve.chat import chat

    folder = find_model(model, stage)
    check_model(folder)
    chat(folder, **settings)
