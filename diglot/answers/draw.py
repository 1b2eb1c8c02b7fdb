"""Answers of a model in process: many at a time with one KV cache, each drawn with random numbers of its own.

A batch has some prompts, and several answers to each. A prompt runs once; then its row of the cache is repeated for every
answer. A row that ends leaves the batch.

    contexts   P prompts of up to T tokens, padded on the left       →  cache of P rows
    owners     for each of the R answers its prompt                  →  cache of R rows, then of as many as go on

The random number of an answer's token is a hash of the answer's key and the token's place. So which answers share a batch
changes nothing but the last bits of the logits, which turn a draw about once in a million tokens; batches are the same
again after a kill, so a resumed run is exact.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch
from transformers import DynamicCache

from diglot.base.randomness import uniform
from diglot.evaluate.language_model import LanguageModel

LIKELY_TOKENS = 256  # top_p of 0.9 seldom needs more; where it does, all are sorted


class Drawn(NamedTuple):
    """An answer: its text without the token that ended it, how many tokens were drawn, and why it ended."""

    text: str
    tokens: int
    finish_reason: str


class Sampler:
    """Draws answers of one model.

    Attributes:
        room: the most tokens that a prompt may have.
    """

    def __init__(self, model: LanguageModel, temperature: float, top_p: float, max_new_tokens: int):
        self.model, self.temperature, self.top_p, self.max_new_tokens = model, temperature, top_p, max_new_tokens
        self.room = model.max_length - max_new_tokens
        self._takes_positions = "position_ids" in inspect.signature(model.model.forward).parameters

    @torch.inference_mode()
    def draw(self, contexts: list[list[int]], owners: list[int], keys: list[str]) -> list[Drawn]:
        """Draw answers.

        Args:
            contexts: token ids of the prompts, each with room for an answer.
            owners: for each answer the place of its prompt.
            keys: for each answer what its random numbers hang on.
        """
        width, device = max(map(len, contexts)), self.model.device
        tokens_PT = torch.tensor([[0] * (width - len(ids)) + ids for ids in contexts], device=device)
        mask_PT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in contexts], device=device)
        cache = DynamicCache(config=self.model.model.config)
        logits_PV = self._forward(tokens_PT, mask_PT, cache)
        rows = torch.tensor(owners, device=device)
        cache.batch_select_indices(rows)
        logits_RV, mask_RT = logits_PV[rows], mask_PT[rows]
        going, drawn, reasons = list(range(len(keys))), [list[int]() for _ in keys], ["length"] * len(keys)
        for place in range(self.max_new_tokens):
            chosen = choose(logits_RV, [uniform(f"{keys[row]}/{place}") for row in going], self.temperature, self.top_p)
            stay = [index for index, token in enumerate(chosen) if token not in self.model.end_ids]
            for index, row in enumerate(going):
                if index in stay:
                    drawn[row].append(chosen[index])
                else:
                    reasons[row] = "stop"
            if not stay or place + 1 == self.max_new_tokens:
                break
            if len(stay) < len(going):  # what has ended costs nothing from here on
                rows = torch.tensor(stay, device=device)
                cache.batch_select_indices(rows)
                mask_RT, going = mask_RT[rows], [going[index] for index in stay]
            mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(going), 1)], dim=1)
            tokens_R1 = torch.tensor([[chosen[index]] for index in stay], device=device)
            logits_RV = self._forward(tokens_R1, mask_RT, cache)
        texts = self.model.tokenizer.batch_decode(drawn, skip_special_tokens=True)
        return [Drawn(text.strip(), len(ids), why) for text, ids, why in zip(texts, drawn, reasons, strict=True)]

    def _forward(self, tokens_RT: torch.Tensor, mask_RT: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """The logits of each row's last token."""
        positions_RT = (mask_RT.cumsum(1) - 1).clamp(min=0)[:, -tokens_RT.shape[1] :]  # padding counts for nothing
        more = {"position_ids": positions_RT} if self._takes_positions else {}
        output = self.model.model(
            input_ids=tokens_RT, attention_mask=mask_RT, past_key_values=cache, use_cache=True, logits_to_keep=1, **more
        )
        return output.logits[:, -1].float()


def choose(logits_RV: torch.Tensor, numbers: list[float], temperature: float, top_p: float) -> list[int]:
    """A token for each row: the likeliest at temperature 0, else drawn from the likeliest that have `top_p` together.

    Args:
        logits_RV: of R rows over V tokens.
        numbers: for each row a number in [0, 1): where in the distribution, the likeliest token first, it draws.
        temperature: what logits are divided by.
        top_p: as many tokens as it takes for so much probability; 1: all.
    """
    if temperature == 0:
        return logits_RV.argmax(dim=1).tolist()
    shares_RV = torch.softmax(logits_RV / temperature, dim=1)
    # Sorting 50,000 tokens takes as long as a small model's step: first only the likeliest.
    shares_RK, tokens_RK = shares_RV.topk(min(LIKELY_TOKENS, shares_RV.shape[1]), dim=1)
    if bool((shares_RK.double().sum(1) < top_p).any()) or top_p == 1:
        shares_RK, tokens_RK = shares_RV.sort(dim=1, descending=True, stable=True)
    sums_RK = shares_RK.double().cumsum(1)
    # A token is in while those before it have less than top_p.
    count_R = ((sums_RK - shares_RK.double()) < top_p).sum(1, keepdim=True).clamp(min=1)
    kept_R1 = sums_RK.gather(1, count_R - 1)
    wanted_R1 = torch.tensor(numbers, dtype=torch.double, device=logits_RV.device)[:, None] * kept_R1
    place_R1 = torch.minimum((sums_RK <= wanted_R1).sum(1, keepdim=True), count_R - 1)
    return tokens_RK.gather(1, place_R1)[:, 0].tolist()
