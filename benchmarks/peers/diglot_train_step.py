"""Our side of `train_step.py`: whole steps as a train stage does them, metrics and guard included.

diglot_train_step.py FOLDER CASE MODEL TOKENS DEVICE documents|dense: with `dense` attention is kept to the documents by
a mask of all pairs of a row's tokens, as most trainers do it; all else is the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from train_step_clock import Clock, peak, prepare_device, report

from diglot.base.artifact import Context, Inputs
from diglot.model.decoder import Decoder
from diglot.recipe.train import Train
from diglot.train.job import Job, prepare
from diglot.train.loop import enter, finalize, on_all_processes, update
from diglot.train.metrics import FILE, Metrics, read_metrics
from diglot.train.objectives import MicroBatch, Outcome, language_modelling


class DenseMask:
    """Attention within documents by a mask of all pairs of tokens."""

    mask_B1TT: Tensor

    def take(self, documents_BT: Tensor) -> None:
        """Make the mask of a batch."""
        same_BTT = documents_BT[:, :, None] == documents_BT[:, None]
        self.mask_B1TT = same_BTT.tril()[:, None]

    def attend(self, query_BTHS: Tensor, key_BTKS: Tensor, value_BTKS: Tensor, layout: None, window: None) -> Tensor:
        """In the place of `diglot.model.attention.attend`, and in the same types; of models without windows."""
        inputs = (x.transpose(1, 2) for x in (query_BTHS, key_BTKS, value_BTKS))
        if query_BTHS.device.type == "cpu":
            inputs = (x.float() for x in inputs)
        with torch.autocast(query_BTHS.device.type, enabled=False):
            query, key, value = inputs
            grouped = query.shape[1] != key.shape[1]
            return F.scaled_dot_product_attention(query, key, value.to(query.dtype), self.mask_B1TT, enable_gqa=grouped).transpose(1, 2)  # fmt: skip

    def objective(self, decoder: Decoder, micro: MicroBatch, num_sources: int) -> Outcome:
        """Language modelling; without documents the decoder makes no layout of its own."""
        self.take(micro.documents_BT)
        return language_modelling(decoder, replace(micro, documents_BT=None), num_sources)

    def put_into(self, job: Job) -> None:
        """Let a job compute with it."""
        for layer in job.model.layers:
            layer.attention.attend = self.attend
        job.objective = self.objective


def whole_steps(job: Job, steps: int, clock: Clock, context: Context) -> list[float]:
    """The steps of `diglot.train.loop.train`, without its evaluations and checkpoints; their losses."""
    metrics, before = Metrics(context.scratch), None
    enter(job, 0)
    for number in range(steps):
        clock.mark()
        begun = time.monotonic()
        step = update(job, job.order.batch(number), number, begun)
        if before is not None:
            finalize(job, before, begun, metrics, context)
        before = step
    clock.mark()
    finalize(job, before, None, metrics, context)
    metrics.close()
    return [line["loss"] for line in read_metrics(context.scratch / FILE) if line["type"] == "step"]


def main() -> None:
    folder, case, model, tokens, device, form = sys.argv[1:]
    settings = Train.model_validate_json((Path(folder) / case / "settings.json").read_text())
    prepare_device(device)
    clock, inputs = Clock(device), Inputs({})
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        context = Context("train", 0, scratch, workers=1)
        with on_all_processes(settings, inputs, scratch, context):
            job = prepare(settings, Path(folder) / model, [Path(folder) / tokens], context)
            if form == "dense":
                DenseMask().put_into(job)
            losses = whole_steps(job, settings.steps, clock, context)
    report(
        clock.seconds(),
        losses=losses,
        tokens=job.speed.tokens,
        flops=job.speed.flops,
        peak=peak() if device == "cpu" else job.speed.peak,
        parameters=sum(parameter.numel() for parameter in job.model.parameters()),
    )


if __name__ == "__main__":
    main()
