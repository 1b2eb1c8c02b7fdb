"""The command `diglot gap`."""

from __future__ import annotations

from pathlib import Path

import click

from diglot.base.artifact import MANIFEST_BYTES, Artifact, read_artifact
from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.base.interrupts import interrupts_wait
from diglot.base.plain_yaml import LARGEST
from diglot.base.screen import say, say_json
from diglot.base.table import show
from diglot.runs import check_model, find_model

EXAMPLES = """\b
Examples:
  diglot gap runs/arabic Qwen/Qwen3-0.6B --corpus runs/arabic --out gap
  diglot gap runs/arabic runs/arabic/base --corpus runs/arabic/corpus
"""


@click.command("gap", epilog=EXAMPLES)
@click.argument("model")
@click.argument("other")
@click.option("--corpus", "corpora", multiple=True, required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="A corpus, or a run: all of its corpora.")  # fmt: skip
@click.option("--max-documents", type=click.IntRange(1, LARGEST), default=200, show_default=True, help="Held-out documents a source.")  # fmt: skip
@click.option("--max-bytes", type=click.IntRange(1, LARGEST), default=2**17, show_default=True, help="Held-out text a source.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1, LARGEST), default=16, show_default=True, help="Sequences in memory at a time.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, LARGEST), default=0, show_default=True, help="Which documents.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Write gap.json and a page, gap.html.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
def gap_command(model: str, other: str, corpora: tuple[Path, ...], max_documents: int, max_bytes: int, batch_size: int, seed: int, out: Path | None, as_json: bool) -> None:  # fmt: skip
    """Where MODEL is behind OTHER: bits per byte of held-out text by language and kind, with the documents furthest behind.

    Each is a model's folder, a run (its last model), or a name on the Hugging Face hub.
    """
    with interrupts_wait():  # start-up: models and tables are this command's alone
        from diglot.base.console import make_console
        from diglot.evaluate.gap import documents_of, measure
        from diglot.report import gap as report

    names = (_name(model), _name(other)) if _name(model) != _name(other) else (model, other)
    if names[0] == names[1]:
        raise UserError(f"{model} is given twice; give another model to set beside it")
    documents = documents_of(
        [each for folder in corpora for each in _corpora(folder)], max_documents, max_bytes, str(seed)
    )
    folders = {name: _folder(given) for name, given in zip(names, (model, other))}
    for name in names:
        say(f"{name}: {folders[name]}", error=True)
    found = report.gap_of(measure(folders, documents, batch_size), *names)
    if as_json:
        say_json(report.as_json(found))
    else:
        show(make_console(), report.tables(found))
    if out:
        say(f"page: {report.write_gap(found, out).resolve()}", error=as_json)


def _name(given: str) -> str:
    path = Path(given)
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def _folder(given: str) -> Path:
    """The folder of a model; what lies nowhere here is a name on the hub."""
    path = Path(given)
    if path.exists() or (Path("runs") / given).exists():
        folder = find_model(path, None)
        check_model(folder)
        return folder
    from diglot.model.huggingface import find_model as from_hub  # start-up: transformers' configs

    return from_hub(given)


def _corpora(folder: Path) -> list[Artifact]:
    """The corpus in a folder, or those of a run that hold something out.

    Raises:
        UserError: there is none.
    """
    artifact = read_artifact(folder) if folder.is_dir() else None
    if artifact is not None and artifact.kind == "corpus":
        return [artifact]
    recipe = folder / "recipe.json"
    if recipe.is_file():
        stages = read_json(recipe, "run the recipe again", MANIFEST_BYTES)
        names = stages.get("stages") if isinstance(stages, dict) else None
        found = [read_artifact(folder / name) for name in names] if isinstance(names, dict) else []
        if corpora := [each for each in found if each is not None and each.kind == "corpus" and any(each.file("heldout").glob("*"))]:  # fmt: skip
            return corpora
    raise UserError(f"--corpus {folder}: neither a corpus (made by curate) nor a run with one that holds documents out")
