"""Log-likelihoods of many continuations with few computed tokens: what sequences have in common is computed once.

Sequences that begin alike (the choices of one question, questions after the same examples, equal contexts) share a row:

    The capital of Egypt is ─┬─ Cairo          tokens     The capital of Egypt is  Cairo  in Rome
                             └─ in Rome        positions   0     1     2   3    4    5     5   6

A token sees its own path back to the root and nothing else, which a mask says, and stands where it would stand if its
sequence were alone. The output layer runs only where a token is asked for, and once for several choices after the same
place. Rows of like length form a batch within a budget of tokens.

Shapes: B rows in the batch, T tokens of a row, N places whose logits are asked for, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

SHORTEST_SHARED = 8  # tokens: what less saves is lost by a mask over a longer row
BRANCH_TOKENS = 512  # beyond its first sequence a row takes so many: attention over a row costs its length squared
MAX_LOGITS_BYTES = 128 * 2**20


@dataclass
class Row:
    """Sequences that begin alike, each of their tokens once.

    Attributes:
        tokens: all of them; of one sequence alone, itself.
        positions: of each token, within its own sequence.
        branches: where tokens of one more sequence begin and end, and the places that its beginning has already.
        asked: by number of the sequence, the places from which its continuation is predicted.
    """

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branches: list[tuple[int, int, list[int]]] = field(default_factory=list)
    asked: dict[int, list[int]] = field(default_factory=dict)
    limit: int = 0

    def add(self, number: int, sequence: list[int], shared: list[int], first: int) -> list[int]:
        """Take in a sequence.

        Args:
            number: the sequence's.
            sequence: its tokens.
            shared: the places of those that are there already.
            first: the first of its tokens that predicts one of the continuation's.

        Returns:
            The places of all its tokens.
        """
        start = len(self.tokens)
        self.tokens += sequence[len(shared) :]
        self.positions += range(len(shared), len(sequence))
        if len(self.tokens) > start:
            self.branches.append((start, len(self.tokens), shared))
        path = shared + list(range(start, len(self.tokens)))
        self.asked[number] = path[first:]
        return path


def rows_of(sequences: Sequence[list[int]], firsts: Sequence[int], share: bool) -> list[Row]:
    """Put sequences into rows.

    Args:
        sequences: token ids, without the last one of each, which is only predicted.
        firsts: of each, the first token that predicts one of the continuation's.
        share: whether several may share a row; else each has its own.
    """
    # In alphabetical order the neighbour before is the one with the longest common beginning.
    order = sorted(range(len(sequences)), key=lambda number: (sequences[number], number))
    rows: list[Row] = []
    before: list[int] = []
    path: list[int] = []
    for number in order:
        sequence = sequences[number]
        common = _common(before, sequence) if share else 0
        fits = rows and len(rows[-1].tokens) + len(sequence) - common <= rows[-1].limit
        if not fits or (common < SHORTEST_SHARED and common < len(sequence)) or not common:
            rows.append(Row(limit=len(sequence) + BRANCH_TOKENS))
            common = 0
        path = rows[-1].add(number, sequence, path[:common], firsts[number])
        before = sequence
    return rows


def _common(one: list[int], other: list[int]) -> int:
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(place for place in range(length) if one[place] != other[place])


def batches(rows: list[Row], batch_size: int, batch_tokens: int, vocabulary_size: int) -> Iterator[list[Row]]:
    """Rows of like length together, the longest first; those that need a mask apart from those that do not.

    Args:
        rows: from `rows_of`.
        batch_size: rows at most.
        batch_tokens: at most, padding included; a longer row stands alone.
        vocabulary_size: of the model, for the memory of the logits.
    """
    most_places = max(1, MAX_LOGITS_BYTES // (4 * vocabulary_size))
    batch: list[Row] = []
    places = 0
    for row in sorted(rows, key=lambda row: (len(row.branches) > 1, -len(row.tokens))):
        wanted = len(_places(row))
        if batch and (
            len(batch) == batch_size
            or (len(batch) + 1) * len(batch[0].tokens) > batch_tokens
            or places + wanted > most_places
            or (len(row.branches) > 1) != (len(batch[0].branches) > 1)
        ):
            yield batch
            batch, places = [], 0
        batch.append(row)
        places += wanted
    if batch:
        yield batch


def _places(row: Row) -> list[int]:
    return sorted({place for places in row.asked.values() for place in places})


@torch.inference_mode()
def score_rows(model: Any, batch: list[Row], continuations: Sequence[list[int]]) -> dict[int, tuple[float, bool]]:
    """The log-likelihood of each continuation in nats, and whether each of its tokens was the likeliest.

    Args:
        model: a causal language model of transformers.
        batch: rows, from `batches`.
        continuations: by number of the sequence.

    Returns:
        By number of the sequence.
    """
    logits_NV, index = _logits(model, batch)
    largest_N, likeliest_N = logits_NV.max(1)
    which = [
        (number, index[at, place]) for at, row in enumerate(batch) for number, ps in row.asked.items() for place in ps
    ]
    targets = [token for row in batch for number in row.asked for token in continuations[number]]
    rows_A = torch.tensor([row for _, row in which], device=logits_NV.device)
    targets_A = torch.tensor(targets, device=logits_NV.device)
    # In place, and the targets first: logits of a large vocabulary are the most memory that there is.
    picked_A = logits_NV[rows_A, targets_A] - largest_N[rows_A]
    normal_N = logits_NV.sub_(largest_N[:, None]).exp_().sum(1).log()
    values = (picked_A - normal_N[rows_A]).double().tolist()
    right = (likeliest_N[rows_A] == targets_A).tolist()
    found: dict[int, tuple[float, bool]] = {}
    for (number, _), value, greedy in zip(which, values, right):
        total, all_greedy = found.get(number, (0.0, True))
        found[number] = (total + value, all_greedy and greedy)
    return found


def _logits(model: Any, batch: list[Row]) -> tuple[torch.Tensor, dict[tuple[int, int], int]]:
    """The logits that are asked for, in float32, and where those of a row's place stand."""
    width = max(len(row.tokens) for row in batch)
    tokens_BT = torch.zeros(len(batch), width, dtype=torch.long)
    positions_BT = torch.zeros(len(batch), width, dtype=torch.long)
    for at, row in enumerate(batch):
        tokens_BT[at, : len(row.tokens)] = torch.tensor(row.tokens)
        positions_BT[at, : len(row.tokens)] = torch.tensor(row.positions)
    asked = {} if all(len(row.branches) < 2 for row in batch) else {"attention_mask": _mask(model, batch, width)}
    if asked:
        # Alone, rows are read from the left, and padding on the right is behind everything that is asked for.
        asked["position_ids"] = positions_BT.to(model.device)
    wanted = [(at, place) for at, row in enumerate(batch) for place in _places(row)]
    rows_N = torch.tensor([at for at, _ in wanted], device=model.device)
    places_N = torch.tensor([place for _, place in wanted], device=model.device)
    # Before the output layer all other places are left out; what a family does to its logits afterwards stays its own.
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, hidden: (hidden[0][rows_N, places_N][None],))
    try:
        logits_NV = model(input_ids=tokens_BT.to(model.device), use_cache=False, **asked).logits[0]
    finally:
        hook.remove()
    return logits_NV.float(), {key: number for number, key in enumerate(wanted)}


def _mask(model: Any, batch: list[Row], width: int) -> torch.Tensor:
    """What each token may see, as attention adds it: 0, or the most negative number, [B, 1, T, T]."""
    seen_BTT = torch.eye(width, dtype=torch.bool).repeat(len(batch), 1, 1)  # padding sees itself: no row is empty
    for at, row in enumerate(batch):
        for start, stop, shared in row.branches:
            seen_BTT[at, start:stop, shared] = True
            seen_BTT[at, start:stop, start:stop] = torch.ones(stop - start, stop - start, dtype=torch.bool).tril()
    mask_BTT = torch.zeros(seen_BTT.shape, dtype=model.dtype).masked_fill_(~seen_BTT, torch.finfo(model.dtype).min)
    return mask_BTT[:, None].to(model.device)


def takes_rows(model: Any) -> bool:
    """Whether sequences may share a row: the model follows positions and masks, and sees all that lies behind it.

    It is tried: a family whose positions lie in the mask (ALiBi) or that has recurrent states gives other scores.
    """
    # From the middle of the vocabulary: tokens that were never learnt have logits that magnify rounding.
    size = model.get_input_embeddings().weight.shape[0]
    ids = [(size // 2 + step) % size for step in (9, 8, 7, 6, 5, 4, 3, 2, 9, 8)]
    sequences = [ids, [*ids, *ids[:3]], [*ids[:9], *ids[2:6]]]
    firsts = [8, 8, 8]
    continuations = [ids[:2], ids[:5], ids[:5]]
    try:
        (together,) = rows_of(sequences, firsts, share=True)
        shared = score_rows(model, [together], continuations)
    except (TypeError, ValueError, RuntimeError, IndexError):  # no such argument, or a mask of another shape
        return False
    alone = score_rows(model, rows_of(sequences, firsts, share=False), continuations)
    # SmolLM2-135M differs by 2e-7 of a score in float32, a model with wrong positions by percents.
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    return all(abs(shared[number][0] - score) < tolerance * abs(score) for number, (score, _) in alone.items())


def sees_everything(config: Any) -> bool:
    """Whether all layers attend to all tokens before one: a mask of ours would take the place of a window's."""
    text = config.get_text_config()
    windows = [getattr(text, key, None) for key in ("sliding_window", "attention_chunk_size", "window_size")]
    return not any(windows) and set(getattr(text, "layer_types", None) or ()) <= {"full_attention"}
