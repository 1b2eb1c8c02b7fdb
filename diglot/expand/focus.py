"""FOCUS: a new token's row is a mean of the rows of old tokens that are used alike (Dobler & de Melo 2023).

What "used alike" means is learnt from the corpus, cut by the new tokenizer, in which old and new tokens stand side
by side. FOCUS trains fastText for that; here it is the older count-based way to the same kind of vectors, which is a
closed form, quick and without a library of its own:

    count        how often a token stands within WINDOW tokens of each frequent token (the contexts)
    weigh        positive pointwise mutual information, contexts smoothed by the power 0.75   Levy et al. 2015, 2.1, 3.1
    compress     the DIMENSIONS largest singular vectors, by the root of their values          Levy et al. 2015, 3.3

A new token's weights are the sparsemax (Martins & Astudillo 2016) of its cosine similarities to all old tokens of the
sample: most are zero, the rest sum to 1. That needs no spelling, so it serves letters as well that a unigram tokenizer did
not know. New tokens that are rarer than MIN_COUNT keep the mean of their sub-tokens.

Memory: the counts (4 bytes each, at most MAX_COUNTS of them: 512 MB) and, one at a time, chunks of a few MB. Linear
algebra runs on one thread, so that its result does not depend on their number.

Legend: V tokens of the new tokenizer, W tokens of the sample that are frequent enough, K contexts, E dimensions,
N new tokens of a chunk, O old tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diglot.base.artifact import Progress
from diglot.expand.initialization import Alignment, RowWeights

WINDOW = 5  # tokens on either side
MAX_CONTEXTS = 2048  # Bullinaria & Levy 2007: a few thousand frequent contexts are enough
MAX_COUNTS = 2**27
DIMENSIONS = 128
MIN_COUNT = 5
SMOOTHING = 0.75
CHUNK = 4096


def focus_weights(
    sample: Iterable[NDArray[np.int64]], alignment: Alignment, vocabulary_size: int, progress: Progress
) -> dict[int, RowWeights]:
    """Old tokens and weights for every new token that the sample shows often enough.

    Args:
        sample: documents in ids of the new tokenizer; read twice.
        alignment: how the tokenizers' ids belong together.
        vocabulary_size: V.
        progress: told how many documents were read.

    Returns:
        Weights of old ids, by new id.
    """
    totals_V = np.zeros(vocabulary_size, dtype=np.int64)
    for ids in sample:
        totals_V += np.bincount(ids, minlength=vocabulary_size)
    frequent_W = np.flatnonzero(totals_V >= MIN_COUNT)
    old_of_new = {new: old for old, new in alignment.kept}
    is_old_W = np.isin(frequent_W, list(old_of_new))
    is_new_W = np.isin(frequent_W, [*alignment.sub_tokens, *alignment.unspelled])
    if not is_old_W.any() or not is_new_W.any():
        return {}
    counts_WK = count_contexts(sample, totals_V, frequent_W, progress)
    with one_thread():
        vectors_WE = compress(positive_information(counts_WK))
        similar = most_similar(vectors_WE[is_new_W], vectors_WE[is_old_W])
        old_ids_O = np.array([old_of_new[id] for id in frequent_W[is_old_W].tolist()], dtype=np.int64)
        new_ids = frequent_W[is_new_W].tolist()
        return {new_id: RowWeights(old_ids_O[places], weights) for new_id, (places, weights) in zip(new_ids, similar)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra whose result does not depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_contexts(
    sample: Iterable[NDArray[np.int64]], totals_V: NDArray[np.int64], frequent_W: NDArray[np.int64], progress: Progress
) -> NDArray[np.uint32]:
    """How often each frequent token stands within WINDOW tokens of each context, uint32 [W, K].

    The contexts are the most frequent tokens, lower ids first among equals.
    """
    number = min(MAX_CONTEXTS, len(frequent_W), max(1, MAX_COUNTS // len(frequent_W)))
    contexts_K = np.lexsort((np.arange(len(totals_V)), -totals_V))[:number]
    row_V, column_V = np.full(len(totals_V), -1), np.full(len(totals_V), -1)
    row_V[frequent_W], column_V[contexts_K] = np.arange(len(frequent_W)), np.arange(number)
    counts_WK = np.zeros((len(frequent_W), number), dtype=np.uint32)
    flat = counts_WK.reshape(-1)
    for done, ids in enumerate(sample, 1):
        rows, columns = row_V[ids], column_V[ids]
        for distance in range(1, min(WINDOW, len(ids) - 1) + 1):
            for row, column in ((rows[distance:], columns[:-distance]), (rows[:-distance], columns[distance:])):
                seen = (row >= 0) & (column >= 0)
                np.add.at(flat, row[seen] * number + column[seen], 1)
        if done % 1000 == 0:
            progress(done, None, "documents", "what new tokens stand beside")
    return counts_WK


def positive_information(counts_WK: NDArray[np.uint32]) -> Tensor:
    """Positive pointwise mutual information in nats, float32; takes the place of the counts in memory."""
    rows_W = counts_WK.sum(1, dtype=np.float64)
    columns_K = counts_WK.sum(0, dtype=np.float64) ** SMOOTHING
    log_columns_K = np.log(np.maximum(columns_K / columns_K.sum(), 1e-300))
    information_WK = counts_WK.view(np.float32)
    for begin in range(0, len(counts_WK), CHUNK):
        part = slice(begin, begin + CHUNK)
        counts = counts_WK[part].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(counts) - np.log(rows_W[part, None]) - log_columns_K
        information_WK[part] = np.where(counts > 0, np.maximum(values, 0), 0)
    return torch.from_numpy(information_WK)


def compress(information_WK: Tensor) -> Tensor:
    """The rows in their DIMENSIONS strongest directions, of length 1; float32 [W, E]."""
    gram_KK = torch.zeros(information_WK.shape[1], information_WK.shape[1], dtype=torch.float64)
    for part in information_WK.split(CHUNK):
        gram_KK += part.T @ part
    values, directions = torch.linalg.eigh(gram_KK)
    kept = values > 1e-9 * values[-1].clamp(min=1e-30)
    kept[: -min(DIMENSIONS, len(values))] = False
    # M = U S Vᵀ: the rows are U S^½ = M V S^-½, and the values here are S².
    turned_KE = (directions[:, kept] * values[kept] ** -0.25).float()
    vectors_WE = torch.cat([part @ turned_KE for part in information_WK.split(CHUNK)])
    return torch.nn.functional.normalize(vectors_WE, dim=1)


def most_similar(new_NE: Tensor, old_OE: Tensor) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """For each new token the old tokens with a weight in its sparsemax, and the weights, which sum to 1."""
    for part in new_NE.split(512):
        places_NM, weights_NM = sparsemax(part @ old_OE.T)
        for places, weights in zip(places_NM, weights_NM):
            used = weights > 0
            yield places[used].numpy(), (weights[used] / weights[used].sum()).numpy()


def sparsemax(scores_NO: Tensor) -> tuple[Tensor, Tensor]:
    """Sparsemax of each row (Martins & Astudillo 2016, algorithm 1), of its largest scores alone.

    Returns:
        Places [N, M] and weights [N, M]; all other weights are zero.
    """
    number = min(256, scores_NO.shape[1])
    while True:
        best, places = scores_NO.topk(number, dim=1)
        ranks = torch.arange(1, number + 1)
        sums = best.cumsum(1)
        support = (1 + ranks * best > sums).sum(1, keepdim=True)
        if number == scores_NO.shape[1] or int(support.max()) < number:
            threshold = (sums.gather(1, support - 1) - 1) / support
            return places, (best - threshold).clamp(min=0)
        number = min(4 * number, scores_NO.shape[1])
