"""The optimizer: AdamW, with weight decay on matrices and none on norms and biases."""

from __future__ import annotations

import torch
from torch import nn

from diglot.recipe import Train


def parameter_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters by what they are: `embeddings`, `matrices`, `vectors` (norms and biases).

    A tied embedding is one parameter and is listed once.
    """
    groups: dict[str, list[nn.Parameter]] = {"embeddings": [], "matrices": [], "vectors": []}
    seen = set()
    rows = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for parameter in model.parameters():
        if id(parameter) in seen or not parameter.requires_grad:
            continue
        seen.add(id(parameter))
        kind = "embeddings" if id(parameter) in rows else "matrices" if parameter.ndim > 1 else "vectors"
        groups[kind].append(parameter)
    return {name: parameters for name, parameters in groups.items() if parameters}


def build_optimizer(model: nn.Module, settings: Train) -> torch.optim.AdamW:
    """AdamW with PolyLM 3.2's settings; one parameter group a kind, named by `group["name"]`."""
    groups = [
        {
            "params": parameters,
            "name": name,
            "weight_decay": 0.0 if name == "vectors" else settings.weight_decay,
        }
        for name, parameters in parameter_groups(model).items()
    ]
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True
    )


def gradient_norms(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Norm of the gradient by parameter group, before clipping."""
    return {
        group["name"]: torch.nn.utils.get_total_norm(
            [p.grad for p in group["params"] if p.grad is not None]
        ).item()
        for group in optimizer.param_groups
    }
