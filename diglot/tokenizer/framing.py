"""What frames a document of plain text: the token before it and the token behind it.

A base model was trained on documents between its beginning-of-text and end-of-text tokens. Its tokenizer_config.json
names them as bos and eos; a chat model's often names what begins and ends a *message* there (`<|im_end|>`), by which
generation stops. Documents framed by those would teach a model that a web page is a message. So where the named token
belongs to the chat, the end-of-text token is looked for by its known names:

    SmolLM2-Instruct   bos <|im_start|>  eos <|im_end|>   ->  <|endoftext|> … <|endoftext|>
    Qwen3              no bos            eos <|im_end|>   ->  <|endoftext|> … <|endoftext|>
    Llama-3-Instruct   bos <|begin_of_text|>  eos <|eot_id|>   ->  <|begin_of_text|> … <|end_of_text|>
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from diglot.base.errors import UserError
from diglot.tokenizer.description import named_ids, read_settings, special_name
from diglot.tokenizer.special import END, ROLES, TEXT_ENDS, TEXT_STARTS, TURNS
from diglot.tokenizer.template import read_template


class Framing(NamedTuple):
    """The tokens around a document.

    Attributes:
        start, end: their texts.
        remark: why they are not those that the folder names as bos and eos; empty where they are.
    """

    start: str
    end: str
    remark: str


def find_framing(folder: Path, tokenizer: Tokenizer, start: str | None = None, end: str | None = None) -> Framing:
    """What frames a document for a tokenizer.

    Args:
        folder: of the tokenizer.
        tokenizer: as `load_tokenizer` gives it.
        start: the token before a document; found where it is None.
        end: the token behind it, likewise.

    Raises:
        UserError: a token that was given is not in the vocabulary, or none is found.
    """
    settings = read_settings(folder, tokenizer)
    bos, eos = (special_name(settings, f"{role}_token") for role in ("bos", "eos"))
    for key, token in (("document_start", start), ("document_end", end), ("bos_token", bos), ("eos_token", eos)):
        if token is not None and tokenizer.token_to_id(token) is None:
            raise UserError(f"{key}: {token!r} is not in the vocabulary of {folder}")
    # Only special ones: Gemma has added tokens for HTML, `</s>` among them.
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    # A template that writes bos before a conversation shows nothing; one that writes eos may end its messages with it.
    template = read_template(folder, settings) or ""
    chat = [*TURNS, eos] if eos and (eos in template or "eos_token" in template) else TURNS
    found_end = end or _choose(eos, TEXT_ENDS, chat, added) or eos
    if found_end is None:
        raise UserError(
            f"{folder}: eos_token is not defined in tokenizer_config.json, special_tokens_map.json or config.json, and no "
            "token has the name of one; say which one ends a document (document_end)"
        )
    # Without a beginning-of-text token the end separates documents, as Qwen's makers do.
    found_start = start or (_choose(bos, TEXT_STARTS, TURNS, added) if bos not in (None, eos) else None) or found_end
    pairs = (("bos", bos, found_start), ("eos", eos, found_end))
    left_out = [f"{role} {token}" for role, token, found in pairs if token not in (None, found)]
    remark = "" if eos else "the tokenizer names no end of text"
    if left_out:
        belong = "belongs" if len(left_out) == 1 else "belong"
        remark = f"the tokenizer's {' and '.join(left_out)} {belong} to its chat format"
    return Framing(found_start, found_end, "" if start or end else remark)


def _choose(named: str | None, known: Sequence[str], chat: Sequence[str], added: set[str]) -> str | None:
    """The named token unless it belongs to the chat; else the first of the known ones that there is."""
    if named is not None and (named in known or named not in chat):
        return named
    return next((token for token in known if token in added), None)


def special_ids(folder: Path, tokenizer: Tokenizer, framing: Framing) -> dict[str, int]:
    """Ids of the special tokens, by role: bos, eos, pad, unk, system, user, assistant, end.

    bos and eos are what frames a document, and always there; a base model's tokenizer may lack the others.

    Args:
        folder: of the tokenizer.
        tokenizer: as `load_tokenizer` gives it.
        framing: as `find_framing` gives it.
    """
    names = {"bos": framing.start, "eos": framing.end, **ROLES, "end": END}
    ids: dict[str, int | None] = named_ids(read_settings(folder, tokenizer), tokenizer)
    ids |= {role: tokenizer.token_to_id(name) for role, name in names.items()}
    return {role: token_id for role, token_id in ids.items() if token_id is not None}
