"""The optimizer: one AdamW for a whole run, with weight decay on matrices and none on norms and biases.

What a phase does not train keeps its weights and its moments bit for bit: AdamW leaves parameters without gradient
alone. Where a phase trains some rows of a parameter only (see freezing.py), that parameter is stepped here, through
views of those rows: given a zero gradient for the others, AdamW would still move them by weight decay and by moments
of earlier phases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from diglot.model.decoder import Decoder
from diglot.recipe import Train
from diglot.train.mesh import local


@dataclass(frozen=True)
class Rows:
    """The rows of a parameter that move and those that don't; slices of the part that lies on this process."""

    trained: list[slice]
    frozen: list[slice]


def parameter_groups(model: Decoder) -> dict[str, list[nn.Parameter]]:
    """Parameters by what they are.

    Returns:
        `embeddings` (of tokens and learned positions), `output` (the output weight, where it is not the embedding),
        `matrices`, and `vectors` (norms and biases). A tied embedding is one parameter and is listed once.
    """
    groups: dict[str, list[nn.Parameter]] = {"embeddings": [], "output": [], "matrices": [], "vectors": []}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for parameter in model.parameters():
        if id(parameter) in embeddings:
            kind = "embeddings"
        elif model.head is not None and parameter is model.head.weight:
            kind = "output"
        else:
            kind = "matrices" if parameter.ndim > 1 else "vectors"
        groups[kind].append(parameter)
    return {name: parameters for name, parameters in groups.items() if parameters}


def build_optimizer(model: Decoder, settings: Train) -> torch.optim.AdamW:
    """AdamW with PolyLM 3.2's settings; one parameter group a kind, named by `group["name"]`.

    Parameters that require a gradient get their moments at once, so that the checkpoints of all phases hold the same
    tensors; the others never get any.
    """
    groups = [
        {
            "params": parameters,
            "name": name,
            "weight_decay": 0.0 if name == "vectors" else settings.weight_decay,
        }
        for name, parameters in parameter_groups(model).items()
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
    return optimizer


def restart(optimizer: torch.optim.Optimizer, parameter: Tensor) -> None:
    """Forget a parameter's moments and its count of steps."""
    for value in optimizer.state[parameter].values():
        value.zero_()


def set_rates(optimizer: torch.optim.Optimizer, rate: float, multipliers: Mapping[str, float]) -> None:
    """Give every group the rate times its multiplier (1 where it has none)."""
    for group in optimizer.param_groups:
        group["lr"] = rate * multipliers.get(group["name"], 1.0)


def effective_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rate that each group is about to be stepped with; 0 where no parameter has a gradient."""
    return {
        group["name"]: group["lr"] if any(p.grad is not None for p in group["params"]) else 0.0
        for group in optimizer.param_groups
    }


def gradients(optimizer: torch.optim.Optimizer) -> dict[str, list[Tensor]]:
    """The gradients of each parameter group, where there are any."""
    return {
        group["name"]: [p.grad for p in group["params"] if p.grad is not None]
        for group in optimizer.param_groups
    }


def gradient(parameter: Tensor) -> Tensor:
    """The gradient of a parameter that has one."""
    assert parameter.grad is not None
    return parameter.grad


def drop_frozen_gradients(by_rows: Mapping[Tensor, Rows]) -> None:
    """Make the gradient of rows that don't move zero: they count in no norm."""
    for parameter, rows in by_rows.items():
        for frozen in rows.frozen:
            local(gradient(parameter))[frozen] = 0.0


@torch.no_grad()
def take_step(optimizer: torch.optim.AdamW, by_rows: Mapping[Tensor, Rows]) -> None:
    """One step of AdamW; of the parameters in `by_rows` only the trained rows move."""
    kept = {parameter: gradient(parameter) for parameter in by_rows}
    for parameter in by_rows:
        parameter.grad = None
    optimizer.step()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter in by_rows:
                parameter.grad = kept[parameter]
                _step_rows(optimizer.state[parameter], parameter, group, by_rows[parameter].trained)


def _step_rows(state: dict[str, Tensor], parameter: Tensor, group: dict[str, Any], rows: list[slice]) -> None:
    """AdamW on views of some rows; the count of steps is the parameter's own."""
    beta1, beta2 = group["betas"]
    whole = {"gradient": gradient(parameter), "parameter": parameter, **state}
    views = {name: [local(tensor)[part] for part in rows] for name, tensor in whole.items() if name != "step"}
    adamw(
        views["parameter"],
        views["gradient"],
        views["exp_avg"],
        views["exp_avg_sq"],
        max_exp_avg_sqs=[],
        state_steps=[state["step"].clone() for _ in rows],
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
    state["step"] += 1
