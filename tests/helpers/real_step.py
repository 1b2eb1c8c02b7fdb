"""Two real training steps on the CPU; prints what was held, in bytes. `python real_step.py '{"folder": …}'`.

A process of its own, so that its peak of resident memory is its own (VmHWM begins anew at exec).
"""

import json
import sys
from pathlib import Path

import torch

from diglot.model.families import read_config
from diglot.model.loss import cross_entropy
from diglot.recipe.train import Parallel, Train
from diglot.train.adapter import initialise
from diglot.train.freezing import read_expansion, select
from diglot.train.mesh import Mesh
from diglot.train.optimizer import build_optimizer, take_step


def resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().split("\n")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def main(folder: str, settings: dict, rows: int, length: int) -> dict:
    stage = Train.model_validate({"from": {"model": "a", "tokens": "b"}, "steps": 1, **settings})
    if stage.adapter is not None:
        import peft  # noqa: F401  (libraries load before anything is measured)
    read_config(Path(folder))
    torch.nn.functional.linear(torch.ones(64, 64), torch.ones(64, 64))  # and others at the first product
    before = resident("VmRSS")
    mesh = Mesh(Parallel())
    decoder = mesh.load(Path(folder), stage)
    if stage.adapter is not None:
        initialise(decoder, 0)
    selection = select(decoder, read_expansion(Path(folder), decoder.config), stage.phases[0])
    for parameter in decoder.parameters():
        parameter.requires_grad_(parameter in selection)
    optimizer = build_optimizer(decoder, stage)
    tokens_BT, targets_BT = (torch.randint(0, decoder.config.vocabulary_size, (rows, length)) for _ in range(2))
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
        with mesh.autocast(stage.precision):
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                hidden_BTD = decoder(tokens_BT, None, documents_BT)
            loss, _ = cross_entropy(hidden_BTD.flatten(0, 1), decoder.output_weight(), targets_BT.flatten())
        del hidden_BTD
        loss.backward()
        gradients = sum(p.grad.nbytes for p in selection)
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
