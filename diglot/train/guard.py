"""The guard: what happens when the loss or the gradient leaps.

    score of a step      how many standard deviations its loss, or the logarithm of its gradient norm (before clipping),
                         lies above the mean of the last `window` steps; the larger of the two
    beyond `deviations`  the step is skipped: weights and moments stay as they are
    `rollback_after` skips within a quarter of a window
                         back to the newest checkpoint before the first of them, and on from there without the data of
                         that step and the next `skip_data` (PolyLM 3.3: "skipping data and restart"; PaLM, 2204.02311
                         5.1: 200 to 500 batches). Twice as many at each further rollback
    `max_rollbacks`      used up: the run stops and says what was tried

Six deviations over 128 steps are OLMo-core's. The statistics begin anew with every phase, as its data and what it trains
are others; until half a window is full, only losses and gradients that are not finite are skipped. Unlike OLMo-core's,
they don't take in what was skipped, or the first leap would hide the next. `benchmarks/guard.py` counts false alarms.

Whether a step is skipped is decided on the device, from tensors that are part of the checkpoints; nothing waits for it.
A rollback is a resume: the run starts again from an older checkpoint, with another list of skipped data. That list
lies in `guard.json` in the scratch folder (rollbacks.py) and is the only thing that a rollback leaves behind, so a run that is
killed at any moment of it goes on the same way.

Legend: W steps of the window; 2: loss, and logarithm of the gradient norm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diglot.recipe.train import GuardSettings

# Deviations below these are not trusted: nats of loss, and logarithm of the gradient norm.
FLOOR = (0.01, 0.05)


class Guard:
    """Judges steps; all its memory is tensors on the device."""

    def __init__(self, settings: GuardSettings, device: torch.device) -> None:
        """Begin without memory."""
        self.settings = settings
        self.values_2W = torch.zeros(2, settings.window, dtype=torch.float64, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.floor_2 = torch.tensor(FLOOR, dtype=torch.float64, device=device)
        # The numbers of the last skipped steps, oldest first; read and written by the host.
        self.skips = torch.full((settings.rollback_after,), -1, dtype=torch.int64)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"values": self.values_2W, "count": self.count, "skips": self.skips}

    def forget(self) -> None:
        """Begin the statistics anew, in place."""
        self.values_2W.zero_()
        self.count.zero_()

    def judge(self, loss: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
        """Score a step and take it into the statistics.

        Args:
            loss: of the step, 0-dim.
            norm: of its gradient before clipping, 0-dim.

        Returns:
            The score (infinite where something is not finite, 0 while there is no judging yet), and 1.0 where the step
            is to be skipped, else 0.0; float64 and float32, on the device, not waited for.
        """
        window = self.settings.window
        found_2 = torch.stack([loss.double(), norm.double().clamp_min(1e-30).log()])
        finite = found_2.isfinite().all()
        inside_W = torch.arange(window, device=found_2.device) < self.count
        size = self.count.clamp(1, window)
        mean_2 = (self.values_2W * inside_W).sum(dim=1) / size
        squares_2 = ((self.values_2W - mean_2[:, None]).square() * inside_W).sum(dim=1)
        deviation_2 = (squares_2 / size).sqrt().maximum(self.floor_2)
        judging = self.count >= window // 2
        score = torch.where(judging, ((found_2 - mean_2) / deviation_2).amax(), 0.0)
        score = torch.where(finite, score, torch.inf)
        skip = score > self.settings.deviations
        place = (self.count % window).view(1)
        old_21 = self.values_2W.index_select(1, place)
        self.values_2W.index_copy_(1, place, torch.where(skip, old_21, found_2[:, None]))
        self.count += ~skip
        return score, skip.float()

    def repeated(self, step: int) -> bool:
        """Note that a step (from 0) was skipped; whether these are too many within a quarter of a window."""
        self.skips.copy_(torch.cat([self.skips[1:], torch.tensor([step])]))
        first = int(self.skips[0])
        return first >= 0 and step - first < max(1, self.settings.window // 4)
