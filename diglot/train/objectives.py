"""Objectives: what a batch's loss is. The loop is the same for all of them.

Each objective takes a micro-batch and returns the loss *summed* over its units (predicted tokens; for DPO, pairs).
The loop divides by the number of units in the whole batch, once: 1 × 8 sequences must give what 8 × 1 gives.

Shapes: B sequences, T tokens, D hidden size, V vocabulary, N = B·T.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diglot.model.attention import sent_to
from diglot.model.causal import CausalModel
from diglot.model.loss import cross_entropy, token_log_probabilities
from diglot.tokens.packing import Batch
from diglot.train.adapter import without_adapter


@dataclass
class MicroBatch:
    """Some rows of a batch, on the device; the documents on the CPU, where their layout is found without waiting.

    Where rows are cut over processes, the documents are those of whole rows.
    """

    tokens_BT: Tensor
    targets_BT: Tensor
    positions_BT: Tensor
    documents_BT: Tensor
    sources_B: Tensor


@dataclass
class Outcome:
    """What an objective found in a micro-batch.

    Attributes:
        loss: summed over the units, with gradient; with the z-loss where there is one.
        sums_S: detached sum of the loss by source, float64.
        units_S: units by source.
        correct: pairs in which the chosen answer gained more than the rejected one; a tie is half (DPO).
        margins: their summed margin, in nats (DPO).
    """

    loss: Tensor
    sums_S: Tensor
    units_S: Tensor
    correct: float = 0.0
    margins: float = 0.0


def micro_batches(batch: Batch, rows: int, device: torch.device) -> list[MicroBatch]:
    """Cut a batch into micro-batches of `rows` sequences."""
    found = []
    for start in range(0, len(batch.tokens_BT), rows):
        parts = {
            name: torch.from_numpy(np.ascontiguousarray(getattr(batch, name)[start : start + rows]))
            for name in ("tokens_BT", "targets_BT", "positions_BT", "documents_BT", "sources_B")
        }
        sent = {name: sent_to(device, part) for name, part in parts.items() if name != "documents_BT"}
        found.append(MicroBatch(**sent, documents_BT=parts["documents_BT"]))
    return found


def units(batch: Batch, objective: str) -> int:
    """What the summed loss is divided by: predicted tokens, or pairs."""
    if objective == "dpo":
        return int(batch.documents_BT.max() + 1) // 2
    return int((batch.targets_BT != -100).sum())


def _by_source(values_N: Tensor, sources_N: Tensor, num_sources: int) -> Tensor:
    sums_S = torch.zeros(num_sources, dtype=torch.float64, device=values_N.device)
    return sums_S.index_add_(0, sources_N.long(), values_N.detach().double())


def language_modelling(decoder: CausalModel, micro: MicroBatch, num_sources: int, z_loss: float = 0.0) -> Outcome:
    """Cross-entropy of the next token; with masked targets this is supervised fine-tuning too.

    The z-loss is part of the loss that is trained on, not of the sums by source, which metrics and evaluations show.
    """
    hidden_BTD = decoder(micro.tokens_BT, micro.positions_BT, micro.documents_BT)
    targets_N = micro.targets_BT.flatten()
    loss, losses_N = cross_entropy(
        hidden_BTD.flatten(0, 1), decoder.output_weight(), targets_N, z_loss, decoder.soft_cap
    )
    sources_N = micro.sources_B.repeat_interleave(micro.targets_BT.shape[1])
    return Outcome(
        loss,
        _by_source(losses_N, sources_N, num_sources),
        _by_source((targets_N != -100).double(), sources_N, num_sources),
    )


def answer_log_probabilities(decoder: CausalModel, micro: MicroBatch) -> tuple[Tensor, Tensor]:
    """Summed log-probability of each document's answer, and its row.

    Returns:
        log_probabilities_K and rows_K of the K documents, in order: chosen, rejected, chosen, rejected, …
    """
    hidden_BTD = decoder(micro.tokens_BT, micro.positions_BT, micro.documents_BT)
    targets_N = micro.targets_BT.flatten()
    tokens_N = token_log_probabilities(hidden_BTD.flatten(0, 1), decoder.output_weight(), targets_N, decoder.soft_cap)
    documents_N = micro.documents_BT.to(tokens_N.device).flatten()
    inside_N = documents_N >= 0
    # A micro-batch does not begin with document 0, and one of padding (of uneven evaluations) has none.
    first = documents_N[inside_N].min() if bool(inside_N.any()) else 0
    numbers_N = (documents_N - first).long()
    count = max(0, int(numbers_N.max()) + 1)
    sums_K = torch.zeros(count, dtype=tokens_N.dtype, device=tokens_N.device)
    sums_K = sums_K.index_add(0, numbers_N[inside_N], tokens_N[inside_N])
    rows_N = torch.arange(len(micro.tokens_BT), device=tokens_N.device).repeat_interleave(micro.tokens_BT.shape[1])
    rows_K = torch.zeros(count, dtype=torch.long, device=tokens_N.device)
    rows_K[numbers_N[inside_N]] = rows_N[inside_N]
    return sums_K, rows_K


def direct_preference(
    decoder: CausalModel, reference: CausalModel | None, beta: float, micro: MicroBatch, num_sources: int
) -> Outcome:
    """DPO (Rafailov et al. 2023, equation 7): −log σ(β · margin).

    The margin is how much more the model raises the chosen answer over the reference than it raises the rejected
    one, in nats. Without a reference it is the model itself, its adapter left out.
    """
    model_K, rows_K = answer_log_probabilities(decoder, micro)
    with torch.no_grad(), without_adapter(decoder) if reference is None else contextlib.nullcontext():
        reference_K, _ = answer_log_probabilities(reference or decoder, micro)
    gain_K = model_K - reference_K
    margin_P = gain_K[0::2] - gain_K[1::2]
    losses_P = -F.logsigmoid(beta * margin_P)
    sources_P = micro.sources_B[rows_K[0::2]]
    return Outcome(
        losses_P.sum(),
        _by_source(losses_P, sources_P, num_sources),
        _by_source(torch.ones_like(losses_P), sources_P, num_sources),
        correct=float((margin_P > 0).sum() + 0.5 * (margin_P == 0).sum()),  # before the first step all are ties
        margins=float(margin_P.detach().sum()),
    )
