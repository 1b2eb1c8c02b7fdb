"""One layer of `train_step.py` on rows of packed documents: its attention alone, and the layer, forward and backward.

diglot_train_step_attention.py FOLDER CASE MODEL TOKENS documents|dense: documents are found, or the mask is made,
beforehand, as that is done once for all layers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from diglot_train_step import DenseMask
from train_step_clock import Clock, prepare_device, report

from diglot.base.artifact import Context
from diglot.model.attention import DocumentLayout, attend
from diglot.model.rotary import rotary
from diglot.recipe.train import Train
from diglot.train.job import prepare
from diglot.train.objectives import micro_batches

TIMES = 8


def main() -> None:
    folder, case, model, tokens, form = sys.argv[1:]
    settings = Train.model_validate_json((Path(folder) / case / "settings.json").read_text())
    prepare_device("cpu")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        context = Context("train", 0, Path(scratch), workers=1)
        job = prepare(settings, Path(folder) / model, [Path(folder) / tokens], context)
        (micro,) = micro_batches(job.order.batch(0), settings.batch_size, job.device)
    dense, config, layer = DenseMask(), job.model.config, job.model.layers[0]
    if form == "dense":
        dense.take(micro.documents_BT)
        layout, layer.attention.attend = None, dense.attend
    else:
        layout = DocumentLayout.of(micro.documents_BT)
    rotation = rotary(micro.positions_BT, config.rotary_size, config.rotary_theta, config.rotary_scaling)
    heads = (config.num_heads, config.num_key_value_heads, config.num_key_value_heads)
    inputs = [torch.randn(*micro.tokens_BT.shape, number, config.head_size, requires_grad=True) for number in heads]
    x_BTD = torch.randn(*micro.tokens_BT.shape, config.hidden_size, requires_grad=True)
    clock = Clock("cpu")
    function = dense.attend if form == "dense" else attend
    out = function(*inputs, layout)
    attention = clock.time(lambda: function(*inputs, layout).backward(torch.ones_like(out)), TIMES)
    whole = clock.time(lambda: layer(x_BTD, rotation, layout).backward(torch.ones_like(x_BTD)), TIMES)
    report(
        [*attention, *whole], attention=attention, layer=whole, checksum=float(out.detach().double().square().mean())
    )


if __name__ == "__main__":
    main()
