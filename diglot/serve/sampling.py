"""Drawing the next token: temperature, then the likeliest `top_k`, then the smallest set that has `top_p` of the probability.

The order and the meanings are those of transformers and vLLM, and so is greedy search at temperature 0. V is the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the likeliest token, 1 draws from the model's distribution.
        top_p: share of probability that the likeliest tokens must have together; 1 for all tokens.
        top_k: number of likeliest tokens; 0 for all.
        seed: of the draws; None for another one each time.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def generator(self, number: int = 0) -> torch.Generator:
        """The source of the draws of one of several answers to the same request."""
        generator = torch.Generator(device="cpu")
        if self.seed is None:
            generator.seed()
        else:
            # torch takes seeds of 64 bits; every answer of a request has one of its own
            generator.manual_seed((self.seed + number) % 2**63)
        return generator


def probabilities(logits_V: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The distribution that a token is drawn from, (V,); `temperature` is above 0."""
    scaled_V = logits_V / sampling.temperature
    if 0 < sampling.top_k < len(scaled_V):
        scaled_V = scaled_V.masked_fill(scaled_V < scaled_V.topk(sampling.top_k).values[-1], -torch.inf)
    shares_V = torch.softmax(scaled_V, dim=-1)
    if sampling.top_p < 1:
        sorted_V, order_V = shares_V.sort(descending=True, stable=True)
        # A token stays if those before it have less than top_p: the likeliest always does.
        before_V = sorted_V.cumsum(0) - sorted_V
        shares_V = shares_V.index_fill(0, order_V[before_V >= sampling.top_p], 0.0)
    return shares_V / shares_V.sum()


def draw(logits_V: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """A token's id, from float32 logits (V,) on the CPU."""
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    return int(torch.multinomial(probabilities(logits_V, sampling), 1, generator=generator))
