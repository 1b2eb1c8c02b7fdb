"""Losses of preference pairs: DPO and its kin, and what is measured on pairs.

A token's *gain* is by how many nats the model raises its log-probability over the reference's; an answer's is the sum.
The margin of a pair is the chosen answer's gain less the rejected one's.

    loss      of a pair, with z = β · margin and ε = label_smoothing
    sigmoid   −(1 − ε) log σ(z) − ε log σ(−z)                       DPO (2305.18290, equation 7); ε: labels may be wrong
    robust    (−(1 − ε) log σ(z) + ε log σ(−z)) / (1 − 2ε)          2403.00409: the same, unbiased where ε of them are
    hinge     max(0, 1 − z)                                         SLiC (2305.10425), on the margin over the reference
    ipo       (margin − 1 / 2β)²                                    2310.12036, equation 17

`length_normalized` takes gains per token in place of sums. Added to each are, where they have a weight:

    sft       −log p(chosen) per token                              RPO (2404.19733, equation 2)
    kl        ½ · gain² per token, over both answers                keeps the model near the reference on them

The last is the estimator k2 of the KL divergence (J. Schulman, joschu.net/blog/kl-approx.html), which metrics show
too: never negative, 0 only where nothing moved, to second order equal to KL in both directions. Its mean over tokens that
the model drew would be its KL. Those of a pair were written by somebody else, so it says how far the model has moved *on
these answers*, in nats per token.

Legend: K answers (chosen, rejected, chosen, …), P pairs, M measures.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from diglot.recipe.train import Preference

MEASURES = (
    "accuracy",
    "margin",
    "chosen_log_probability",
    "rejected_log_probability",
    "chosen_reward",
    "rejected_reward",
    "kl",
)


class Answers(NamedTuple):
    """What a model makes of the answers of pairs, [K] each.

    Attributes:
        log_probability_K: summed over the answer's tokens, with gradient.
        gain_K: summed likewise, with gradient.
        square_K: the sum of the tokens' squared gains, with gradient.
        tokens_K: that are predicted.
        rows_K: the row that each lies in.
    """

    log_probability_K: Tensor
    gain_K: Tensor
    square_K: Tensor
    tokens_K: Tensor
    rows_K: Tensor


def pair_losses(answers: Answers, settings: Preference, done: float) -> Tensor:
    """The loss of each pair, [P], with gradient.

    Args:
        answers: of the pairs.
        settings: which loss.
        done: share of the steps that is done, from 0 to 1, for β and the weight of the KL penalty.
    """
    beta, epsilon = settings.beta_at(done), settings.label_smoothing
    gain_K = answers.gain_K / answers.tokens_K if settings.length_normalized else answers.gain_K
    margin_P = gain_K[0::2] - gain_K[1::2]
    clean_P, flipped_P = -F.logsigmoid(beta * margin_P), -F.logsigmoid(-beta * margin_P)
    losses_P = {
        "sigmoid": lambda: (1 - epsilon) * clean_P + epsilon * flipped_P,
        "robust": lambda: ((1 - epsilon) * clean_P - epsilon * flipped_P) / (1 - 2 * epsilon),
        "hinge": lambda: torch.relu(1 - beta * margin_P),
        "ipo": lambda: (margin_P - 1 / (2 * beta)).square(),
    }[settings.loss]()
    if settings.sft_weight:
        losses_P = losses_P - settings.sft_weight * (answers.log_probability_K / answers.tokens_K)[0::2]
    if kl_weight := settings.kl_weight_at(done):
        losses_P = losses_P + kl_weight * divergences(answers)
    return losses_P


def divergences(answers: Answers) -> Tensor:
    """How far the model is from the reference on each pair's two answers, [P], in nats per token; see the top."""
    return (answers.square_K[0::2] + answers.square_K[1::2]) / (2 * (answers.tokens_K[0::2] + answers.tokens_K[1::2]))


def measures(answers: Answers, beta: float) -> Tensor:
    """[P, M], detached: what MEASURES names. Log-probabilities and margins in nats, summed over an answer's tokens."""
    chosen, rejected = ([column_K.detach()[first::2] for column_K in answers[:2]] for first in (0, 1))
    margin_P = chosen[1] - rejected[1]
    right_P = (margin_P > 0).to(margin_P.dtype) + 0.5 * (margin_P == 0)  # before the first step all are ties
    kl_P = divergences(answers).detach()
    columns = [right_P, margin_P, chosen[0], rejected[0], beta * chosen[1], beta * rejected[1], kl_P]
    return torch.stack(columns, dim=1)
