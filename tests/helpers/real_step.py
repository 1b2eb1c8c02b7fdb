"""Two real training steps on the CPU; prints what was held, in bytes. `python real_step.py '{"preset": …}'`.

A process of its own, so that its peak of resident memory is its own (VmHWM begins anew at exec).
"""

import json
import sys
from pathlib import Path

import torch

from diglot.model.decoder import Decoder
from diglot.model.loss import cross_entropy
from diglot.model.presets import shape
from diglot.recipe.model import Shape
from diglot.recipe.train import Train
from diglot.train.optimizer import build_optimizer, take_step


def resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().split("\n")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def main(preset: str, vocabulary_size: int, changes: dict, rows: int, length: int) -> dict:
    config = shape(preset, vocabulary_size, Shape(**changes))
    settings = Train.model_validate({"from": {"model": "a", "tokens": "b"}, "steps": 1})
    torch.nn.functional.linear(torch.ones(64, 64), torch.ones(64, 64))  # libraries load at the first product
    before = resident("VmRSS")
    decoder = Decoder(config)
    optimizer = build_optimizer(decoder, settings)
    tokens_BT, targets_BT = (torch.randint(0, vocabulary_size, (rows, length)) for _ in range(2))
    documents_BT = torch.arange(rows * length // 128).repeat_interleave(128).view(rows, length)
    weights = {parameter.untyped_storage().data_ptr() for parameter in decoder.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    for _ in range(2):  # the optimizer's state is there from the second on
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            hidden_BTD = decoder(tokens_BT, None, documents_BT)
        loss, _ = cross_entropy(hidden_BTD.flatten(0, 1), decoder.output_weight(), targets_BT.flatten())
        loss.backward()
        gradients = sum(p.grad.nbytes for p in decoder.parameters())
        take_step(optimizer, {})
        optimizer.zero_grad(set_to_none=True)
    return {
        "weights": sum(p.nbytes for p in decoder.parameters()),
        "gradients": gradients,
        "optimizer": sum(t.nbytes for state in optimizer.state.values() for t in state.values()),
        "activations": sum(kept.values()),
        "resident": resident("VmHWM") - before,
    }


print(json.dumps(main(**json.loads(sys.argv[1]))))
