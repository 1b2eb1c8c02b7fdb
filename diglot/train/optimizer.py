"""The optimizer of a whole run: AdamW, or Muon for the layers' matrices and AdamW for the rest (muon.py).

    group        is                                      with `optimizer: muon`    weight decay
    embeddings   of tokens and learned positions         AdamW                     yes
    output       the output weight, where it is its own  AdamW                     yes
    matrices     all other matrices                      Muon                      yes
    vectors      norms and biases                        AdamW                     no

What a phase does not train keeps its weights and its moments bit for bit: parameters without gradient are left alone.
Where a phase trains some rows of a parameter only (see freezing.py), that parameter is stepped through views of those
rows: given a zero gradient for the others, AdamW would still move them by weight decay and by moments of earlier phases.

A step can be skipped by a number on the device, so that nothing waits for it: AdamW's kernel takes it as the sign of
gradients that overflowed, which it has for mixed precision.

Weights in bfloat16 and moments of 8 bits are stepped in low_memory.py. Moments of what the present phase does not train are
held only where a later phase goes on with them (`held_moments` in freezing.py).

Sharded parameters are stepped by the part that lies on each process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from diglot.base.randomness import key_hash
from diglot.model.causal import CausalModel
from diglot.recipe.train import Train
from diglot.train.low_memory import AdamW, fresh_moments, is_lean, step_lean
from diglot.train.muon import step_matrix
from diglot.train.parts import local


@dataclass(frozen=True)
class Rows:
    """The rows of a parameter that move and those that don't; slices of the part that lies on this process."""

    trained: list[slice]
    frozen: list[slice]


def parameter_groups(model: CausalModel) -> dict[str, list[nn.Parameter]]:
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


class Optimizer(torch.optim.Optimizer):
    """Groups and state, in the form that checkpoints know; `take_step` steps them.

    Every group has `name`, `method` (`adamw` or `muon`), `lr` and `weight_decay`.

    Attributes:
        in_8_bits: whether matrices' moments are in 8 bits.
        seeds: of the random numbers that round each parameter; see low_memory.py.
    """

    in_8_bits: bool
    seeds: dict[Tensor, int]

    def hold(self, parameters: Collection[Tensor]) -> None:
        """Have moments for these parameters alone: what is new begins at zero, what is no longer among them is freed."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter not in parameters:
                    self.state.pop(parameter, None)
                elif parameter not in self.state:
                    self.state[parameter] = _fresh_state(parameter, group["method"], self.in_8_bits)


def build_optimizer(
    model: CausalModel, settings: Train, seed: int = 0, hold: Collection[Tensor] | None = None
) -> Optimizer:
    """The optimizer that the settings name, by default AdamW with PolyLM 3.2's settings.

    Args:
        model: its parameters that require a gradient are in the groups.
        settings: of the stage.
        seed: of the rounding at random.
        hold: the parameters that get their state at once (see `Optimizer.hold`); all where it is None.
    """
    # Groups without parameters stay: metrics have the same names whatever is trained.
    groups = [
        {
            "params": [parameter for parameter in parameters if parameter.requires_grad],
            "name": name,
            "method": "muon" if settings.optimizer == "muon" and name == "matrices" else "adamw",
            "weight_decay": 0.0 if name == "vectors" else settings.weight_decay,
        }
        for name, parameters in parameter_groups(model).items()
    ]
    optimizer = Optimizer(groups, {"lr": settings.learning_rate, "betas": settings.betas, "eps": settings.epsilon})
    # Seeds go by name: neither the order of parameters nor who holds them changes what is rounded how.
    optimizer.in_8_bits = settings.moments == "8-bit"
    optimizer.seeds = {
        parameter: key_hash(f"{seed}/rounding/{name}") % 2**31 for name, parameter in model.named_parameters()
    }
    optimizer.hold({parameter for parameter in model.parameters() if hold is None or parameter in hold})
    return optimizer


def _fresh_state(parameter: nn.Parameter, method: str, in_8_bits: bool) -> dict[str, Tensor]:
    if method == "muon":
        return {"momentum": torch.zeros_like(parameter, requires_grad=False)}
    count = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": count, **fresh_moments(parameter, in_8_bits)}


def restart(optimizer: torch.optim.Optimizer, parameter: Tensor) -> None:
    """Forget a parameter's moments and its count of steps, as if it had never been stepped."""
    for value in optimizer.state[parameter].values():
        value.zero_()


def set_learning_rates(optimizer: torch.optim.Optimizer, rate: float, multipliers: Mapping[str, float]) -> None:
    """Give every group the learning rate times its multiplier (1 where it has none)."""
    for group in optimizer.param_groups:
        group["lr"] = rate * multipliers.get(group["name"], 1.0)


def learning_rates_by_group(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rate that each group is about to be stepped with; 0 where no parameter has a gradient."""
    return {
        group["name"]: group["lr"] if any(p.grad is not None for p in group["params"]) else 0.0
        for group in optimizer.param_groups
    }


def gradients(optimizer: torch.optim.Optimizer) -> dict[str, list[Tensor]]:
    """The gradients of each parameter group, where there are any."""
    return {group["name"]: [p.grad for p in group["params"] if p.grad is not None] for group in optimizer.param_groups}


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
def take_step(optimizer: Optimizer, by_rows: Mapping[Tensor, Rows], skip: Tensor | None = None) -> None:
    """One step of all parameters that have a gradient.

    Args:
        optimizer: what is stepped.
        by_rows: parameters of which some rows move only.
        skip: 0-dim, float32, on the parameters' device; 1 leaves weights, moments and counts of steps bit for bit as
            they are, whatever the gradients are; else 0. Never skipped where it is None.
    """
    for group in optimizer.param_groups:
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not moving:
            continue
        device = moving[0].device  # the CPU, where weights are offloaded
        skipped = torch.zeros((), device=device) if skip is None else skip.to(device)
        if group["method"] == "muon":
            for parameter in moving:
                step_matrix(
                    parameter,
                    gradient(parameter),
                    optimizer.state[parameter]["momentum"],
                    learning_rate=group["lr"],
                    weight_decay=group["weight_decay"],
                    skip=skipped,
                )
            continue
        # Torch's fused kernel takes all tensors at once; those of fewer bits, and rows, go one by one.
        lean = {parameter for parameter in moving if is_lean(parameter, optimizer.state[parameter])}
        _step_adamw(optimizer, group, [p for p in moving if p not in by_rows and p not in lean], None, skipped)
        for parameter in moving:
            rows = by_rows[parameter].trained if parameter in by_rows else None
            if parameter in lean:
                _step_lean(optimizer, group, parameter, rows, skipped)
            elif rows is not None:
                _step_adamw(optimizer, group, [parameter], rows, skipped)


def _step_adamw(
    optimizer: Optimizer, group: dict[str, Any], parameters: Sequence[Tensor], rows: list[slice] | None, skip: Tensor
) -> None:
    """AdamW of parameters, or of views of some of their rows; the count of steps is the parameter's own."""
    beta1, beta2 = group["betas"]
    states = [optimizer.state[parameter] for parameter in parameters]

    def parts(tensors: Sequence[Tensor]) -> list[Tensor]:
        mine = [local(tensor) for tensor in tensors]
        return mine if rows is None else [tensor[part] for tensor in mine for part in rows]

    # Each view of rows gets a copy of its parameter's count: the kernel adds to it, once a tensor.
    counts = [state["step"] for state in states]
    adamw(
        parts(parameters),
        parts([gradient(parameter) for parameter in parameters]),
        parts([state["exp_avg"] for state in states]),
        parts([state["exp_avg_sq"] for state in states]),
        max_exp_avg_sqs=[],
        state_steps=counts if rows is None else [count.clone() for count in counts for _ in rows],
        fused=True,
        found_inf=skip,  # mixed precision's sign that gradients overflowed: 1 leaves all as it is
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
    if rows is not None:
        for count in counts:
            count.add_(1 - skip)


def _step_lean(
    optimizer: Optimizer, group: dict[str, Any], parameter: Tensor, rows: list[slice] | None, skip: Tensor
) -> None:
    numbers = AdamW(group["lr"], group["betas"], group["eps"], group["weight_decay"])
    state, seed = optimizer.state[parameter], optimizer.seeds[parameter]
    step_lean(parameter, gradient(parameter), state, rows, numbers, skip, seed)
