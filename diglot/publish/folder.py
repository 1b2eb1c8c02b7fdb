"""A folder for a hub: copies of plain files, a card, and GGUF if asked for; written whole or not at all.

Nothing is followed out of a folder: a link in a model's or a corpus's place is refused, not read.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.files import make_folder, refuse_links, remove, write_text
from diglot.model.huggingface import TOKENIZER_FILES
from diglot.model.weights import INDEX, SINGLE, StoredWeights
from diglot.publish.data_card import data_card, published_folders
from diglot.publish.facts import facts_of
from diglot.publish.gguf_file import write_gguf
from diglot.publish.model_card import Said, model_card
from diglot.tokenizer.description import read_settings
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.template import read_template

CARD = "README.md"
MODEL_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES)


def publish_model(
    folder: Path, model: Artifact | None, artifacts: Sequence[Artifact], output: Path, said: Said, gguf: Sequence[str]
) -> list[str]:
    """Write a model's folder for a hub.

    Args:
        folder: of the model, in Hugging Face's form.
        model: its artifact; None of a folder from elsewhere.
        artifacts: of its run, in run order.
        output: a folder that is not there yet, or is empty.
        said: what the run does not know.
        gguf: types of GGUF files to write: float32, float16, bfloat16.

    Returns:
        What whoever uses the GGUF files should know.

    Raises:
        UserError: the folder is no whole model, holds links, or `output` is in use.
    """
    refuse_links(folder)
    weights = StoredWeights(folder)
    tokenizer = load_tokenizer(folder)
    remarks: list[str] = []
    with _whole(output) as partial:
        stored = sorted({file.name for file in weights.file_of.values()})
        if stored != [SINGLE]:
            stored.append(INDEX)
        for name in (*MODEL_FILES, *stored):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, partial / name, follow_symlinks=False)
        names = [f"{_file_name(said.name)}-{dtype}.gguf" for dtype in gguf]
        for name, dtype in zip(names, gguf):
            remarks = write_gguf(folder, partial / name, dtype).remarks()
        template = read_template(folder, read_settings(folder, tokenizer))
        about = replace(said, gguf=names, remarks=remarks)
        write_text(partial / CARD, model_card(facts_of(model, artifacts), about, template is not None))
    return remarks


def publish_corpus(corpus: Artifact, output: Path, said: Said) -> None:
    """Write a corpus's folder for a hub: its documents, the held-out ones apart, and a card.

    Raises:
        UserError: it holds links or no documents, or `output` is in use.
    """
    refuse_links(corpus.path)
    folders = published_folders(corpus.path)
    if not folders:
        raise UserError(f"{corpus.path}: holds no documents; run its stage again")
    with _whole(output) as partial:
        for folder in folders:
            (partial / folder).mkdir()
            for file in sorted((corpus.path / folder).glob("*.parquet")):
                shutil.copyfile(file, partial / folder / file.name, follow_symlinks=False)
        write_text(partial / CARD, data_card(corpus, said, folders))


def push(folder: Path, name: str, kind: str, private: bool) -> str:
    """Upload a folder to the hub; returns its address there.

    Args:
        folder: as `publish_model` or `publish_corpus` writes it.
        name: ORG/NAME.
        kind: `model` or `dataset`.
        private: whether nobody else may see it, where it is made anew.

    Raises:
        UserError: there is no token, or the hub refuses or cannot be reached.
    """
    import huggingface_hub  # start-up: half a second

    if not huggingface_hub.get_token():
        raise UserError(
            "--push: no token of the Hugging Face hub: run `hf auth login`, or set HF_TOKEN; nothing was uploaded"
        )
    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        hub.upload_folder(repo_id=name, repo_type=kind, folder_path=folder, commit_message="Made with Diglot")
    except Exception as error:  # no network, no right to it, a name that is taken: one remedy
        said = str(error).strip().partition("\n")[0]
        raise UserError(
            f"--push: the hub took nothing of {name} ({type(error).__name__}: {said}); {folder} is whole, push it again"
        ) from error
    return f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name}"


@contextlib.contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A folder to fill beside the one that it becomes when nothing failed."""
    if output.is_symlink() or (output.exists() and not (output.is_dir() and not any(output.iterdir()))):
        raise UserError(f"--out {output}: is there already; name a folder that is not")
    partial = output.with_name(f".{output.name}.partial")
    make_folder(output.parent)
    remove(partial)
    partial.mkdir()
    try:
        yield partial
        if output.exists():
            output.rmdir()
        partial.rename(output)
    except BaseException:
        remove(partial)
        raise


def _file_name(name: str) -> str:
    """A name as that of a file on any system."""
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name)
    return kept.strip("-.") or "model"
