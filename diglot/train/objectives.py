"""Objectives: what a batch's loss is. The loop is the same for all of them.

Each objective takes a micro-batch and returns the loss *summed* over its units (predicted tokens; for DPO, pairs).
The loop divides by the number of units in the whole batch, once: 1 × 8 sequences must give what 8 × 1 gives.

Shapes: B sequences, T tokens, D hidden size, V vocabulary, N = B·T.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diglot.model.attention import sent_to
from diglot.model.causal import CausalModel
from diglot.model.loss import cross_entropy, token_log_probabilities
from diglot.recipe.train import Preference
from diglot.tokens.packing import Batch
from diglot.train.preference import Answers, measures, pair_losses


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
    reference_BT: Tensor | None = None


@dataclass
class Outcome:
    """What an objective found in a micro-batch.

    Attributes:
        loss: summed over the units, with gradient; with the z-loss where there is one.
        sums_S: detached sum of the loss by source, float64.
        units_S: units by source.
        measures_SM: of pairs, summed by source, float64; M are `preference.MEASURES`.
    """

    loss: Tensor
    sums_S: Tensor
    units_S: Tensor
    measures_SM: Tensor | None = None

    @property
    def found_SM(self) -> Tensor:
        """Loss, units and measures by source, side by side."""
        parts = [self.sums_S[:, None], self.units_S[:, None]]
        return torch.cat(parts if self.measures_SM is None else [*parts, self.measures_SM], dim=1)


def micro_batches(batch: Batch, rows: int, device: torch.device) -> list[MicroBatch]:
    """Cut a batch into micro-batches of `rows` sequences."""
    found = []
    for start in range(0, len(batch.tokens_BT), rows):
        parts = {
            name: torch.from_numpy(np.ascontiguousarray(getattr(batch, name)[start : start + rows]))
            for name in ("tokens_BT", "targets_BT", "positions_BT", "documents_BT", "sources_B", "reference_BT")
            if getattr(batch, name) is not None
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
    sums_S = torch.zeros(num_sources, *values_N.shape[1:], dtype=torch.float64, device=values_N.device)
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


def target_log_probabilities(decoder: CausalModel, micro: MicroBatch) -> Tensor:
    """The log-probability of each target, [B, T]; 0 where nothing is to be predicted."""
    hidden_BTD = decoder(micro.tokens_BT, micro.positions_BT, micro.documents_BT)
    targets_N = micro.targets_BT.flatten()
    tokens_N = token_log_probabilities(hidden_BTD.flatten(0, 1), decoder.output_weight(), targets_N, decoder.soft_cap)
    return tokens_N.view_as(micro.targets_BT)


def answers_of(decoder: CausalModel, micro: MicroBatch) -> Answers:
    """What the model, and the reference, make of the answer of each of K documents, in order: chosen, rejected, chosen, …"""
    tokens_N = target_log_probabilities(decoder, micro).flatten()
    # Differences before sums: where the model is the reference still, each is zero and so is the sum, to the bit.
    gains_N = torch.zeros_like(tokens_N) if micro.reference_BT is None else tokens_N - micro.reference_BT.flatten()
    predicted_N = (micro.targets_BT.flatten() != -100).to(tokens_N.dtype)
    documents_N = micro.documents_BT.to(tokens_N.device).flatten()
    inside_N = documents_N >= 0
    # A micro-batch does not begin with document 0, and one of padding (of uneven evaluations) has none.
    first = documents_N[inside_N].min() if bool(inside_N.any()) else 0
    numbers_N = (documents_N - first).long()
    count = max(0, int(numbers_N.max()) + 1)
    values_N4 = torch.stack([tokens_N, gains_N, gains_N.square(), predicted_N], dim=1)
    sums_K4 = torch.zeros(count, 4, dtype=tokens_N.dtype, device=tokens_N.device)
    sums_K4 = sums_K4.index_add(0, numbers_N[inside_N], values_N4[inside_N])
    rows_N = torch.arange(len(micro.tokens_BT), device=tokens_N.device).repeat_interleave(micro.tokens_BT.shape[1])
    rows_K = torch.zeros(count, dtype=torch.long, device=tokens_N.device)
    rows_K[numbers_N[inside_N]] = rows_N[inside_N]
    log_probability_K, gain_K, square_K, tokens_K = sums_K4.unbind(1)
    return Answers(log_probability_K, gain_K, square_K, tokens_K, rows_K)


def preferences(
    decoder: CausalModel, settings: Preference, micro: MicroBatch, num_sources: int, done: float = 0.0
) -> Outcome:
    """The loss of preference pairs (see preference.py), and what is measured on them.

    Args:
        decoder: the model.
        settings: which loss.
        micro: with the reference's log-probabilities.
        num_sources: S.
        done: share of the steps that is done.
    """
    answers = answers_of(decoder, micro)
    losses_P = pair_losses(answers, settings, done)
    sources_P = micro.sources_B[answers.rows_K[0::2]]
    return Outcome(
        losses_P.sum(),
        _by_source(losses_P, sources_P, num_sources),
        _by_source(torch.ones_like(losses_P), sources_P, num_sources),
        _by_source(measures(answers, settings.beta_at(done)), sources_P, num_sources),
    )
