"""The first rows of new tokens: which old tokens belong to them, and how their rows are mixed.

Rows belong to token strings, not to numbers. A token that the old tokenizer has keeps its row bit for bit, wherever
its id went. A new token is spelled with old ones, and its row is a weighted mean of old rows:

    mean            of the tokens that spell it, all alike                     ALLaM ("averaged sub-token")
    weighted-mean   of the tokens that spell it, by their length in bytes      ours; no paper that we know of
    focus           of tokens that are used alike (see focus.py)               FOCUS, Dobler & de Melo 2023
    random          drawn from the old rows' distribution, the control         normal, a mean and deviation a unit

    new token "▁كتاب"  →  old tokenizer: "▁", "ك", "ت", "اب"  →  mean of their four rows

The embedding and an untied output weight are filled alike. A new token that nothing spells gets the mean of all old
rows plus noise of a hundredth of their standard deviation, which keeps such tokens apart: special tokens, bytes, and
letters that a unigram tokenizer did not know. Its unknown token says nothing, so it is no part of a spelling, and neither is
a space alone: all unknown words would get that one row.

Legend: V rows, D hidden size, N new tokens, R old rows that belong to tokens, C rows of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from diglot.base.errors import UserError
from diglot.base.summaries.model import RowNorms
from diglot.tokenizer.folder import reader_of_bytes, unknown_id

SPECIAL_NOISE = 0.01  # of the old rows' standard deviation
SPACES = ("▁", "Ġ", "<0x20>")
CHUNK = 8192  # rows that are turned into float32 at a time


@dataclass(frozen=True)
class Alignment:
    """How the rows of two tokenizers belong together.

    Attributes:
        kept: (old id, new id) of every token in both, by new id.
        sub_tokens: for each new token that old tokens can spell, by new id: their old ids.
        special: new ids of new special and other added tokens.
        unspelled: new ids of new tokens that no old token spells.
    """

    kept: list[tuple[int, int]]
    sub_tokens: dict[int, list[int]]
    special: list[int]
    unspelled: list[int]

    @property
    def new_ids(self) -> list[int]:
        """The ids of all new tokens, ascending."""
        return sorted([*self.sub_tokens, *self.special, *self.unspelled])


class RowWeights(NamedTuple):
    """A row as a weighted mean of old rows: ids (int64) and weights (float32) that sum to 1."""

    old_ids: NDArray[np.int64]
    weights: NDArray[np.float32]


# --- which old tokens belong to a new one ---------------------------------------------------------------------


def align(old: Tokenizer, new: Tokenizer) -> Alignment:
    """Match two tokenizers by token string, and spell each new token with old ones.

    A token string is already in the alphabet that the old tokenizer's model works on ("▁" for a space, or byte-level
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
    unknown = unknown_id(old)
    spaces = {old_ids.get(space) for space in SPACES}
    added = {token.content for token in new.get_added_tokens_decoder().values()}
    alignment = Alignment([], {}, [], [])
    for token, new_id in sorted(new_ids.items(), key=lambda item: item[1]):
        if token in old_ids:
            alignment.kept.append((old_ids[token], new_id))
            continue
        # A special token is a sign, not a spelling: its letters would say the wrong thing.
        if token in added:
            alignment.special.append(new_id)
            continue
        # Unknown pieces say nothing of a token; what is left may be a lone space, which says nothing either.
        pieces = [piece.id for piece in old.model.tokenize(token)]
        spelling = [piece for piece in pieces if piece != unknown]
        if pieces and (spelling == pieces or not set(spelling) <= spaces):
            alignment.sub_tokens[new_id] = spelling
        else:
            alignment.unspelled.append(new_id)
    return alignment


def byte_lengths(tokenizer: Tokenizer) -> dict[int, int]:
    """How many bytes of text each token stands for, by id; a space is one in every kind of tokenizer."""
    read = reader_of_bytes(tokenizer)
    return {id: len(read(id)) for id in tokenizer.get_vocab(with_added_tokens=True).values()}


def sub_token_weights(alignment: Alignment, lengths: dict[int, int] | None = None) -> dict[int, RowWeights]:
    """Means of sub-tokens, by new id.

    Args:
        alignment: the spellings.
        lengths: weigh each sub-token by this, by old id; all alike if absent.
    """
    row_weights = {}
    for new_id, spelling in alignment.sub_tokens.items():
        weights = np.array([1 if lengths is None else lengths[piece] for piece in spelling], dtype=np.float64)
        row_weights[new_id] = RowWeights(
            np.array(spelling, dtype=np.int64), (weights / weights.sum()).astype(np.float32)
        )
    return row_weights


# --- rows -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def expand_rows(
    old_VD: Tensor,
    alignment: Alignment,
    rows: int,
    seed: int,
    row_weights: dict[int, RowWeights] | None,
    given: dict[int, Tensor] | None = None,
) -> Tensor:
    """The expanded matrix, in the type of the old one.

    Rows of no token: the old model's padding stays where it was, more of it is the mean row.

    Args:
        old_VD: the embedding or the output weight.
        alignment: how old and new rows belong together.
        rows: rows of the result, padding included.
        seed: of the noise.
        row_weights: of all tokens that can be spelled; None draws all new rows from the old rows' distribution.
        given: new rows (D) that are known already, by new id.

    Raises:
        UserError: the old matrix has fewer rows than its tokenizer has tokens.
    """
    old_ids, new_ids = torch.tensor(alignment.kept).T
    if int(old_ids.max()) >= len(old_VD):
        raise UserError(
            f"the model's tokenizer does not belong to it: it has the id {int(old_ids.max())}, the model only "
            f"{len(old_VD)} rows"
        )
    mean_D, deviation_D = _distribution(old_VD, old_ids)
    new_VD = torch.empty(rows, old_VD.shape[1], dtype=old_VD.dtype)
    # Padding first, then rows of tokens over it: every row is written.
    padding = min(rows, len(old_VD))
    new_VD[:padding] = old_VD[:padding]
    new_VD[padding:] = mean_D.to(old_VD.dtype)
    generator = torch.Generator().manual_seed(seed)

    def draw(ids: list[int], scale: float) -> None:
        for chunk in torch.tensor(ids, dtype=torch.int64).split(CHUNK):
            noise = torch.randn(len(chunk), len(mean_D), generator=generator)
            new_VD[chunk] = (mean_D + scale * deviation_D * noise).to(old_VD.dtype)

    if row_weights is None:
        draw(alignment.new_ids, 1.0)
    else:
        draw(sorted([*alignment.special, *alignment.unspelled]), SPECIAL_NOISE)
        _mix(new_VD, old_VD, row_weights)
    for new_id, row_D in (given or {}).items():
        new_VD[new_id] = row_D.to(old_VD.dtype)
    # The kept rows come last, bit for bit: nothing above may change what the old model knew.
    for chunk_old, chunk_new in zip(old_ids.split(CHUNK), new_ids.split(CHUNK)):
        new_VD[chunk_new] = old_VD[chunk_old]
    return new_VD


def _distribution(old_VD: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of rows, unit by unit.

    Summed in float64, so that neither the chunks nor the number of threads show in the float32 results.
    """
    chunks = ids.split(CHUNK)
    mean_D = torch.zeros(old_VD.shape[1], dtype=torch.float64)
    square_D = torch.zeros_like(mean_D)
    for chunk in chunks:
        mean_D += old_VD[chunk].sum(0, dtype=torch.float64) / len(ids)
    for chunk in chunks:
        square_D += (old_VD[chunk].double() - mean_D).square().sum(0)
    return mean_D.float(), (square_D / max(1, len(ids) - 1)).sqrt().float()


def _mix(new_VD: Tensor, old_VD: Tensor, row_weights: dict[int, RowWeights]) -> None:
    """Fill in rows that are weighted means of old ones, a chunk of new rows at a time."""
    new_ids = list(row_weights)
    for begin in range(0, len(new_ids), CHUNK):
        ids = new_ids[begin : begin + CHUNK]
        used, places = np.unique(np.concatenate([row_weights[id].old_ids for id in ids]), return_inverse=True)
        weights = torch.from_numpy(np.concatenate([row_weights[id].weights for id in ids]))
        starts = torch.tensor([0, *(len(row_weights[id].old_ids) for id in ids)]).cumsum(0)[:-1]
        old_CD = old_VD[torch.from_numpy(used)].float()
        mixed_CD = F.embedding_bag(torch.from_numpy(places), old_CD, starts, mode="sum", per_sample_weights=weights)
        new_VD[torch.tensor(ids)] = mixed_CD.to(old_VD.dtype)


def norms(weight_VD: Tensor, alignment: Alignment) -> RowNorms:
    """Mean Euclidean norm of the rows of old and of new tokens."""
    ids = {"old": [new for _, new in alignment.kept], "new": alignment.new_ids}
    means: dict[str, float | None] = {}
    for name, rows in ids.items():
        chunks = torch.tensor(rows, dtype=torch.int64).split(CHUNK)
        total = sum(float(weight_VD[chunk].float().norm(dim=1).sum(dtype=torch.float64)) for chunk in chunks)
        means[name] = round(total / len(rows), 6) if rows else None
    return RowNorms(**means)
