"""What can be said of a tokenizer from outside before a run begins: whether the stages that read it will take it.

A base of a kind that cannot be extended, or with a chat format that is not known, would else be refused when its stage's
turn comes, after hours of curation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from diglot.recipe.encode import Encode
from diglot.recipe.tokenizer import ExtendTokenizer
from diglot.tokenizer.base import keeps_its_chat, read_base
from diglot.tokenizer.chat import load_chat


def extension(settings: ExtendTokenizer, folders: Mapping[str, Path]) -> Path | None:
    """Look at the base of an extension.

    Args:
        settings: of the stage.
        folders: what it reads, by role, where that is known.

    Returns:
        The folder whose chat format the extension will have; None where it gets ours.

    Raises:
        UserError: the base cannot be extended.
    """
    if "tokenizer" not in folders:
        return None
    base = read_base(folders["tokenizer"])
    return base.folder if settings.chat == "keep" and keeps_its_chat(base) else None


def encoding(settings: Encode, folders: Mapping[str, Path]) -> None:
    """Look at the tokenizer of an encoding.

    Args:
        settings: of the stage.
        folders: what it reads, by role, where that is known.

    Raises:
        UserError: there are conversations, and the tokenizer has no chat format that is known here.
    """
    if "tokenizer" in folders and {"instructions", "preferences"} & settings.reads_from().keys():
        load_chat(folders["tokenizer"])
