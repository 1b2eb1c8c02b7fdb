"""Vocabulary expansion: a trained model gets the rows of an extended tokenizer.

Rows belong to token strings, not to numbers. A token that the old tokenizer has keeps its row bit for bit, wherever
its id went. A new token gets the mean of the rows of the old tokens that spell it (ALLaM: "averaged sub-token"
initialisation), in the embedding and, where the model has one, in the output weight:

    new token "▁كتاب"  →  old tokenizer: "▁", "ك", "ت", "اب"  →  row = mean of their four rows

A row that the old model had for padding and that is a token now is initialised like any other new token. Special
tokens mean nothing to the old tokenizer: they get the mean of all old rows plus noise of a hundredth of the rows'
standard deviation, which keeps them apart. `random` is the control: normal with the old rows' mean and deviation.

Legend: V rows, D hidden size, R old rows that belong to tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from diglot.artifact import Context, Inputs, UserError
from diglot.model.huggingface import describe, load_decoder, read_tokenizer, save_decoder, tokenizer_size

if TYPE_CHECKING:
    from diglot.recipe import Expand

SPECIAL_NOISE = 0.01  # of the old rows' standard deviation


@dataclass(frozen=True)
class Alignment:
    """How the rows of two tokenizers belong together.

    Attributes:
        kept: (old id, new id) of every token in both, by new id.
        sub_tokens: for each new token that old tokens can spell, by new id: their old ids.
        special: new ids of new tokens without sub-tokens.
    """

    kept: list[tuple[int, int]]
    sub_tokens: dict[int, list[int]]
    special: list[int]


def run(settings: Expand, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """Write the model with the rows of the extended tokenizer.

    Returns:
        Rows before and after, new tokens, sub-tokens per new token, mean norms of old and new rows, and the shape.

    Raises:
        UserError: the tokenizer lacks tokens of the model's own, so it is not an extension of it.
    """
    model_folder, tokenizer_folder = inputs.one("model").path, inputs.one("tokenizer").path
    old, new = read_tokenizer(model_folder), read_tokenizer(tokenizer_folder)
    alignment = align(old, new)
    decoder = load_decoder(model_folder, dtype=None)
    before = decoder.config.vocabulary_size
    rows = math.ceil(tokenizer_size(new) / settings.pad_vocabulary_to) * settings.pad_vocabulary_to
    random = settings.initialization == "random"
    seed = Random(f"{context.seed}/{settings.seed}/rows").getrandbits(62)
    weights = {"embedding": expand_rows(decoder.embedding.weight, alignment, rows, seed, random)}
    if decoder.head is not None:
        weights["output"] = expand_rows(decoder.head.weight, alignment, rows, seed + 1, random)
        decoder.head.weight = nn.Parameter(weights["output"])
    decoder.embedding.weight = nn.Parameter(weights["embedding"])
    decoder.config = replace(decoder.config, vocabulary_size=rows)
    save_decoder(decoder, output, tokenizer_folder)
    spelled = [len(ids) for ids in alignment.sub_tokens.values()]
    return {
        "rows_before": before,
        "rows_after": rows,
        "new_tokens": len(alignment.sub_tokens) + len(alignment.special),
        "new_special_tokens": len(alignment.special),
        "sub_tokens_per_new_token": round(sum(spelled) / len(spelled), 3) if spelled else 0.0,
        "initialization": settings.initialization,
        "norms": {name: _norms(weight, alignment) for name, weight in weights.items()},
        **describe(decoder.config),
    }


def align(old: Tokenizer, new: Tokenizer) -> Alignment:
    """Match two tokenizers by token string, and spell each new token with old ones.

    A token string is already in the alphabet that the old tokenizer's model merges ("▁" for a space, or byte-level
    letters), so it goes to that model as it is: the old normaliser would put a space in front of it.

    Raises:
        UserError: tokens of the old tokenizer are missing from the new one.
    """
    old_ids = old.get_vocab(with_added_tokens=True)
    new_ids = new.get_vocab(with_added_tokens=True)
    if lost := sorted(set(old_ids) - set(new_ids), key=old_ids.__getitem__):
        raise UserError(
            f"the tokenizer is not an extension of the model's own: it lacks {len(lost)} of its tokens, such as "
            f"{', '.join(map(repr, lost[:5]))}. Extend the model's tokenizer (do: extend-tokenizer) first."
        )
    unknown = old.token_to_id(getattr(old.model, "unk_token", None) or "")
    added = {token.content for token in new.get_added_tokens_decoder().values()}
    kept, sub_tokens, special = [], {}, []
    for token, new_id in sorted(new_ids.items(), key=lambda item: item[1]):
        if token in old_ids:
            kept.append((old_ids[token], new_id))
            continue
        spelling = [] if token in added else [piece.id for piece in old.model.tokenize(token)]
        spelling = [piece for piece in spelling if piece != unknown]
        if spelling:
            sub_tokens[new_id] = spelling
        else:
            special.append(new_id)
    return Alignment(kept, sub_tokens, special)


@torch.no_grad()
def expand_rows(old_VD: Tensor, alignment: Alignment, rows: int, seed: int, random: bool = False) -> Tensor:
    """The expanded matrix, in the type of the old one.

    Args:
        old_VD: the embedding or the output weight.
        alignment: how old and new rows belong together.
        rows: rows of the result, padding included.
        seed: of the noise.
        random: draw new rows from the old rows' distribution instead of averaging sub-tokens.

    Raises:
        UserError: the old matrix has fewer rows than its tokenizer has tokens.
    """
    old_ids, new_ids = torch.tensor(alignment.kept).T
    if int(old_ids.max()) >= len(old_VD):
        raise UserError(
            f"the model's tokenizer does not belong to it: it has the id {int(old_ids.max())}, the model only "
            f"{len(old_VD)} rows"
        )
    known_RD = old_VD[old_ids].float()
    # Summed in float64, so that the number of threads does not show in the float32 result.
    mean_D = known_RD.mean(0, dtype=torch.float64).float()
    distance_D = torch.linalg.vector_norm(known_RD - mean_D, dim=0, dtype=torch.float64)
    deviation_D = (distance_D / math.sqrt(max(1, len(known_RD) - 1))).float()
    generator = torch.Generator().manual_seed(seed)
    # Rows of no token: the old model's padding stays where it was, more of it is the mean row.
    new_VD = mean_D.repeat(rows, 1)
    padding = min(rows, len(old_VD))
    new_VD[:padding] = old_VD[:padding].float()
    spelled = torch.tensor(list(alignment.sub_tokens), dtype=torch.int64)
    special = torch.tensor(alignment.special, dtype=torch.int64)
    if random:
        fresh = torch.cat([spelled, special]).sort().values
        noise = torch.randn(len(fresh), len(mean_D), generator=generator)
        new_VD[fresh] = mean_D + deviation_D * noise
    else:
        new_VD[spelled] = _mean_rows(old_VD, list(alignment.sub_tokens.values()))
        noise = torch.randn(len(special), len(mean_D), generator=generator)
        new_VD[special] = mean_D + SPECIAL_NOISE * deviation_D * noise
    result_VD = new_VD.to(old_VD.dtype)
    result_VD[new_ids] = old_VD[old_ids]
    return result_VD


def _mean_rows(weight_VD: Tensor, bags: list[list[int]]) -> Tensor:
    """The mean row of each bag of ids, float32."""
    ids = torch.tensor([piece for bag in bags for piece in bag], dtype=torch.int64)
    starts = torch.tensor([0, *(len(bag) for bag in bags)], dtype=torch.int64).cumsum(0)[:-1]
    return F.embedding_bag(ids, weight_VD.float(), starts, mode="mean")


def _norms(weight_VD: Tensor, alignment: Alignment) -> dict[str, float | None]:
    """Mean Euclidean norm of the rows of old and of new tokens."""
    ids = {"old": [new for _, new in alignment.kept], "new": [*alignment.sub_tokens, *alignment.special]}
    return {
        name: round(float(weight_VD[rows].float().norm(dim=1).mean()), 6) if rows else None
        for name, rows in ids.items()
    }
