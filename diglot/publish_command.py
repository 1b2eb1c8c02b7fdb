"""The command `diglot publish`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diglot.base.artifact import STEPS, Artifact, read_artifact
from diglot.base.errors import UserError
from diglot.base.hashes import MEMORY, FileHashes, check_whole
from diglot.base.screen import say
from diglot.parameters import Number
from diglot.recipe.common import at_step
from diglot.runs import check_model, find_model, find_run

if TYPE_CHECKING:
    from diglot.publish.model_card import Said

EXAMPLES = """\b
Examples:
  diglot publish runs/quickstart --out published/quickstart --license apache-2.0
  diglot publish runs/arabic --out published/arabic --gguf float16 --data-license arabic=cc-by-sa-4.0
  diglot publish runs/arabic/corpus --out published/corpus --license odc-by
  diglot publish runs/arabic --out published/arabic --push me/arabic-chat --private
"""
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@click.command("publish", epilog=EXAMPLES)
@click.argument("given", metavar="RUN|MODEL|CORPUS", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="A folder that is not there yet.")  # fmt: skip
@click.option("--stage", help="Which of a run's models or corpora.  [default: its last model]")
@click.option("--name", help="What the card calls it.  [default: that of --push, or of --out]")
@click.option("--license", "licence", metavar="LICENSE", help="Its licence, by the hub's identifier (apache-2.0, cc-by-4.0, other). Left out if not given.")  # fmt: skip
@click.option("--data-license", "data_licences", multiple=True, metavar="[SOURCE=]LICENSE", help="The licence of a source, or of all others; may be given often.")  # fmt: skip
@click.option("--price", type=Number(0), help="Of an hour of the machine, for the card's cost.")
@click.option("--gguf", multiple=True, type=click.Choice(["float32", "float16", "bfloat16"]), help="Also a file for llama.cpp, in this type; may be given often.")  # fmt: skip
@click.option("--push", metavar="ORG/NAME", help="Then upload the folder to the Hugging Face hub; without it nothing leaves this machine.")  # fmt: skip
@click.option("--private", is_flag=True, help="With --push: a repository that is made anew is private.")
def publish_command(
    given: Path,
    out: Path,
    stage: str | None,
    name: str | None,
    licence: str | None,
    data_licences: tuple[str, ...],
    price: float | None,
    gguf: tuple[str, ...],
    push: str | None,
    private: bool,
) -> None:
    """Make a model or a corpus ready for a hub: its files, and a card written from the run.

    RUN is a run (its last model is taken), MODEL a model's folder, CORPUS a corpus's folder.
    """
    # start-up: the plan, which says what training should have taken, brings torch
    from diglot.publish import folder as published
    from diglot.publish.facts import HUB_NAME
    from diglot.publish.model_card import Said

    if push and not HUB_NAME.fullmatch(push):
        raise UserError(f"--push {push}: the name of a repository is ORG/NAME")
    if licence and not _LICENSE.fullmatch(licence):
        raise UserError(f"--license {licence}: the hub's identifier is wanted, such as apache-2.0, cc-by-4.0 or other")
    said = Said(name or push or out.resolve().name, licence, _by_source(data_licences), price)
    corpus, model, artifacts = _find(given, stage)
    _check_sources(said, [corpus] if corpus else artifacts)
    if corpus is not None:
        if gguf:
            raise UserError("--gguf: a corpus is no model")
        published.publish_corpus(corpus, out, said)
    else:
        folder = find_model(given, stage)
        check_model(folder)
        for remark in published.publish_model(folder, model, artifacts, out, said, gguf):
            say(f"note: {remark}", error=True)
    if licence is None:
        say("note: no --license: the card says none, so nobody may use it", error=True)
    say(str(out))
    if push:
        say(published.push(out, push, "dataset" if corpus else "model", private))


def _by_source(given: Sequence[str]) -> dict[str, str]:
    """Licences by source; one without a source is for all others."""
    pairs = [text.rpartition("=") for text in given]
    return {source or "*": licence for source, _, licence in pairs}


def _check_sources(said: Said, artifacts: Sequence[Artifact]) -> None:
    """Refuse the licence of a source that is not there: it would be dropped in silence."""
    known = {name for artifact in artifacts for name in artifact.settings.get("sources") or {}}
    for name in said.data_licenses:
        if name != "*" and name not in known:
            raise UserError(f"--data-license {name}: no such source; there are: {', '.join(sorted(known)) or 'none'}")


def _find(given: Path, stage: str | None) -> tuple[Artifact | None, Artifact | None, list[Artifact]]:
    """The corpus that is meant, or the model's artifact and those of its run; None where they are not known."""
    alone = read_artifact(given) if given.is_dir() else None
    if alone is not None and alone.kind == "corpus":
        check_whole(alone, FileHashes(given.parent / MEMORY))
        return alone, None, []
    if (given / "config.json").is_file():
        step = given.name if given.parent.name == STEPS and given.name.isdecimal() else None
        place = given.parents[1] if step else given
        model = read_artifact(place)
        run = place.parent
        artifacts = _artifacts(run) if (run / "recipe.json").is_file() else []
        if model is not None and not artifacts:
            artifacts = [model]
        return None, model.at(int(step)) if model and step else model, artifacts
    _, run = find_run(given)
    artifacts = _artifacts(run)
    by_name = {artifact.stage: artifact for artifact in artifacts}
    chosen, step = at_step(stage or "")
    if chosen in by_name and by_name[chosen].kind == "corpus":
        check_whole(by_name[chosen], FileHashes(run / MEMORY))
        return by_name[chosen], None, []
    folder = find_model(given, stage)
    model = read_artifact(folder.parents[1] if step else folder)
    return None, model.at(int(step)) if model and step else model, artifacts


def _artifacts(run: Path) -> list[Artifact]:
    """The artifacts of a run, in run order; nothing is run, and texts that it was made of may be gone."""
    from diglot import flow
    from diglot.load import Where

    recipe, folder = find_run(run)
    where = Where(str(folder / "recipe.json"))
    steps = flow.plan(recipe, folder, where, hashes=FileHashes(folder / MEMORY), looking=True)
    return list(flow.artifacts_of(steps).values())
