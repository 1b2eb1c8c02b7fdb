"""Greedy continuations of many contexts at once: a row that has ended makes room for the next context.

Rows are padded on the left, so that all of them end at the same column of the cache. Those that have ended are taken out
of it; once a quarter of the room is free, the next contexts are read together and put beside the rows that still run.

    ░░The capital of Egypt is│ Cairo          ░░░░░The capital of Egypt is Cairo│ and
    The smith of Lorem sells │ iron.⏎   ─►    ░░░░░░░░░░░░░░░░░░░░░The weaver of│ Tamar

Shapes: B rows that run, T columns of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache

REFILL = 4  # a quarter of the rows free: reading few contexts at a time costs nearly a whole step


class Rows:
    """Rows that are being continued.

    Attributes:
        numbers: of their contexts.
    """

    def __init__(self, model: Any, pad: int):
        self.model, self.pad = model, pad
        self.numbers: list[int] = []
        # Without a configuration the cache keeps all tokens of all layers; windows are in the masks.
        self.cache = DynamicCache()
        self.mask_BT = torch.zeros(0, 0, dtype=torch.long, device=model.device)
        self.next_B = torch.zeros(0, dtype=torch.long, device=model.device)

    def read(self, numbers: list[int], contexts: Sequence[list[int]]) -> None:
        """Read the contexts of these numbers, and put their rows beside the others."""
        width = max(len(contexts[number]) for number in numbers)
        tokens = [[self.pad] * (width - len(contexts[number])) + contexts[number] for number in numbers]
        mask = [[0] * (width - len(contexts[number])) + [1] * len(contexts[number]) for number in numbers]
        mask_BT = torch.tensor(mask, device=self.model.device)
        cache = DynamicCache()
        next_B = self._likeliest(torch.tensor(tokens, device=self.model.device), mask_BT, cache)
        wider = max(width, self.mask_BT.shape[1])
        for new, old in zip(cache.layers, self.cache.layers):
            new.keys = torch.cat([_widened(old.keys, wider), _widened(new.keys, wider)])
            new.values = torch.cat([_widened(old.values, wider), _widened(new.values, wider)])
        rows = [torch.nn.functional.pad(mask, (wider - mask.shape[1], 0)) for mask in (self.mask_BT, mask_BT)]
        self.cache, self.mask_BT = cache, torch.cat(rows)
        self.numbers, self.next_B = self.numbers + numbers, torch.cat([self.next_B, next_B])

    def step(self) -> None:
        """Take each row's likeliest token in, and find the next one."""
        self.mask_BT = torch.nn.functional.pad(self.mask_BT, (0, 1), value=1)
        self.next_B = self._likeliest(self.next_B[:, None], self.mask_BT, self.cache)

    def keep(self, rows: list[int]) -> None:
        """Keep these rows only, and no column that all of them pad."""
        self.numbers = [self.numbers[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.long, device=self.model.device)
        self.mask_BT, self.next_B = self.mask_BT[index], self.next_B[index]
        padded = int((self.mask_BT.sum(0) == 0).sum()) if rows else self.mask_BT.shape[1]
        self.mask_BT = self.mask_BT[:, padded:]
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[index, :, padded:], layer.values[index, :, padded:]

    def _likeliest(self, tokens_BT: torch.Tensor, mask_BT: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, -tokens_BT.shape[1] :]
        logits_B1V = self.model(
            input_ids=tokens_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits_B1V[:, -1].argmax(1)


def _widened(states_BHTD: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(states_BHTD, (0, 0, width - states_BHTD.shape[2], 0))


@torch.inference_mode()
def continue_rows(
    rows: Rows,
    contexts: Sequence[list[int]],
    batch_size: int,
    max_new_tokens: int,
    ended: Callable[[list[int]], bool],
    report: Callable[[int, int], None],
) -> list[list[int]]:
    """Greedy continuations, in the order of the contexts.

    Args:
        rows: none yet.
        contexts: token ids; those of like length are read together.
        batch_size: rows at a time.
        max_new_tokens: of each.
        ended: told of what was generated so far, whether that is all.
        report: told how many contexts are done.
    """
    waiting = sorted(range(len(contexts)), key=lambda number: (len(contexts[number]), -number))
    written: list[list[int]] = [[] for _ in contexts]
    while waiting or rows.numbers:
        free = batch_size - len(rows.numbers)
        if waiting and (not rows.numbers or free >= max(1, batch_size // REFILL)):
            taken = [waiting.pop() for _ in range(min(free, len(waiting)))]
            rows.read(taken, contexts)
        elif rows.numbers:
            rows.step()
            taken = rows.numbers
        # Rows that were read just now have a first token; all others have one from the step before, taken already.
        new = set(taken)
        for number, token in zip(rows.numbers, rows.next_B.tolist()):
            if number in new:
                written[number].append(token)
        going = [row for row, number in enumerate(rows.numbers) if not _over(written[number], max_new_tokens, ended)]
        if len(going) < len(rows.numbers):
            rows.keep(going)
            report(len(contexts) - len(waiting) - len(going), len(contexts))
    return written


def _over(written: list[int], max_new_tokens: int, ended: Callable[[list[int]], bool]) -> bool:
    return len(written) >= max_new_tokens or ended(written)
