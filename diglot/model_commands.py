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


SERVE_EXAMPLES = """\b
Examples:
  diglot serve runs/quickstart
  diglot serve models/SmolLM2-135M-Instruct --port 9000
  DIGLOT_API_KEY=secret diglot serve runs/arabic --stage trunk@2 --host 0.0.0.0
"""


@click.command("serve", epilog=SERVE_EXAMPLES)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--stage", help="Which of a run's models.  [default: the last]")
@click.option("--name", help="What clients call the model.  [default: its folder, of a run RUN/STAGE]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0 for all of this machine's addresses.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name that requests may ask for, beside this machine's own (behind a proxy).")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 1024), default=8, show_default=True, help="Answers computed at a time.")  # fmt: skip
@click.option("--waiting", type=click.IntRange(0, 100_000), default=32, show_default=True, help="Answers that may wait beside those; more are refused with 429.")  # fmt: skip
@click.option("--engine", type=click.Choice(["auto", "own", "vllm"]), default="auto", show_default=True, help="auto: vLLM where there is a GPU and vLLM.")  # fmt: skip
def serve_command(model: Path, stage: str | None, name: str | None, **settings: Any) -> None:
    """Serve a model with OpenAI's API: chat completions, completions, streaming, models.

    MODEL is a run (its last model is taken), or a model's folder. The key that clients must give, if any, is read from
    $DIGLOT_API_KEY.
    """
    with interrupts_wait():
        from diglot.serve.command import serve

    folder = find_model(model, stage)
    check_model(folder)
    serve(folder, name=name or _called(model, folder), **settings)


def _called(given: Path, folder: Path) -> str:
    """What a model is called: its folder's name, of a run's RUN/STAGE."""
    place = folder.resolve()
    return place.name if folder == given else "/".join([place.parent.name, place.name])
