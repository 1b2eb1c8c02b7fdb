"""Adapters: small matrices beside the layers' own, which are all that is trained (LoRA, and what followed from it).

    y = W·x + scale · B·(A·x)          W stays; A (rank × in) begins at random, B (out × rank) at zero

    kind      scale
    lora      alpha / rank     Hu et al. 2021, 2106.09685
    rslora    alpha / √rank    2312.03732
    dora      alpha / rank     and each row of W + scale·B·A brought to a length of its own, which is trained; 2402.09353

peft puts the matrices into the model (`inject_adapter_in_model`) and computes with them; what its layers hold is read and
filled here. Each matrix that has an adapter becomes a module that holds the old one:

    layers.0.attention.query.weight   →   layers.0.attention.query.base_layer.weight      W, frozen
                                          layers.0.attention.query.lora_A.default.weight  A, and so on

So names without `.base_layer` and without adapters are the model's own; `plain_parameters` has them. An artifact holds
the merged model, a plain one, and beside it the folder `adapter/` as peft would have saved it for Hugging Face's module
(adapter_files.py).

Legend: R rows and C columns of a matrix.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diglot.base.errors import UserError
from diglot.base.notice import quieten_libraries
from diglot.base.randomness import key_hash
from diglot.model.causal import CausalModel, ModelConfig
from diglot.model.families import family_of
from diglot.model.huggingface import huggingface_names, huggingface_shapes
from diglot.model.weights import StoredWeights
from diglot.recipe.train import Adapter
from diglot.train.parts import local, part_of, whole

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer  # extra: adapter

NAME = "default"  # peft's, of the one adapter that there is
ATTENTION = ("attention", "attn")  # what our modules and all of transformers' are called by


def add_adapter(model: nn.Module, adapter: Adapter) -> None:
    """Put an adapter into a model's layers, in place; its matrices are empty, on the meta device.

    Args:
        model: has `layers`; ours or one of transformers.
        adapter: the settings.

    Raises:
        UserError: peft is not installed, or the layers have no such matrices.
    """
    quieten_libraries()
    try:
        from peft import LoraConfig, inject_adapter_in_model  # extra: adapter
    except ImportError as error:
        raise UserError("adapter needs peft: pip install 'diglot[adapter]', or leave adapter out") from error
    targets = find_targets(model, adapter.targets)
    if not targets:
        raise UserError(f"adapter.targets: {adapter.targets}: the model's layers have no such matrices")
    inject_adapter_in_model(LoraConfig(**peft_settings(adapter), target_modules=targets), model, low_cpu_mem_usage=True)
    for module in adapted(model).values():
        # Autocast and FSDP2 see to types; peft's own cast would keep a copy of each input for the backward pass.
        module.cast_input_dtype_enabled = False


def peft_settings(adapter: Adapter) -> dict[str, Any]:
    """The settings as peft's LoraConfig has them."""
    return {
        "r": adapter.rank,
        "lora_alpha": adapter.scaled_by,
        "use_rslora": adapter.kind == "rslora",
        "use_dora": adapter.kind == "dora",
    }


def find_targets(model: nn.Module, wanted: str) -> list[str]:
    """The names of the layers' linear maps that an adapter goes to: all, or those of attention or feed-forward."""
    found = [
        name for name, module in model.named_modules() if ".layers." in f".{name}" and is_plain_linear(name, module)
    ]
    in_attention = {name for name in found if any(word in name for word in ATTENTION)}
    if wanted == "attention":
        return sorted(in_attention)
    return sorted(set(found) - in_attention if wanted == "feed-forward" else found)


def is_plain_linear(name: str, module: nn.Module) -> bool:
    """Whether a module is a linear map of the model's own, and not an adapter's."""
    return isinstance(module, nn.Linear) and "lora_" not in name


def adapted(model: nn.Module) -> dict[str, LoraLayer]:
    """The modules that have an adapter, by the name of the linear map that they stand for."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def adapter_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What an adapter trains; nothing where the model has none."""
    return [parameter for name, parameter in model.named_parameters() if ".lora_" in name]


def plain_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's own parameters, by the names that they have without an adapter."""
    return {
        name.replace(".base_layer.", "."): parameter
        for name, parameter in model.named_parameters()
        if ".lora_" not in name
    }


def four_bit(model: nn.Module) -> dict[str, nn.Module]:
    """The modules whose weight has four bits, by the weight's plain name; see base.py."""
    return {
        f"{name}.weight".replace(".base_layer.", "."): module
        for name, module in model.named_modules()
        if type(module).__name__ == "Linear4bit"
    }


def plain_tensors(model: CausalModel, source: Path) -> Callable[[str], Tensor]:
    """What gives the tensors of the model that does alone what this one does with its adapter.

    Args:
        model: with an adapter, or without.
        source: the folder that it came from: weights of four bits are read there as they were.

    Returns:
        A function that gives a whole tensor by its plain name; all processes must take part.
    """
    parameters, modules, coarse = plain_parameters(model), adapted(model), four_bit(model)
    stored = _stored(source, model.config) if coarse else {}

    def tensor(name: str) -> Tensor:
        base = stored[name]() if name in coarse else whole(parameters[name])
        module = modules.get(name.removesuffix(".weight"))
        return merged(module, base) if module is not None and name.endswith(".weight") else base

    return tensor


def _stored(source: Path, config: ModelConfig) -> dict[str, Callable[[], Tensor]]:
    """What reads each of our tensors in a model's folder."""
    family, weights, shapes = family_of(config), StoredWeights(source), huggingface_shapes(config)
    names = huggingface_names(source, config, weights)

    def read(theirs: str, ours: str) -> Tensor:
        return family.from_huggingface({theirs: weights.tensor(names[theirs])})[ours]

    return {
        ours: functools.partial(read, theirs, ours)
        for theirs in names
        for ours in family.from_huggingface({theirs: shapes[theirs]})
    }


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Fill the adapter so that it changes nothing yet, alike on every mesh.

    A is uniform within 1/√C, as peft has it (after Microsoft's LoRA), B zero, DoRA's lengths those of the rows of W.
    """
    for name, module in adapted(model).items():
        inner = module.lora_A[NAME].weight
        bound = 1 / math.sqrt(inner.shape[1])
        # Drawn whole and then cut: which process draws a number must not change it.
        generator = torch.Generator().manual_seed(key_hash(f"{seed}/adapter/{name}"))
        drawn = torch.empty(inner.shape).uniform_(-bound, bound, generator=generator)
        local(inner).copy_(part_of(drawn, inner))
        local(module.lora_B[NAME].weight).zero_()
        for magnitude in module.lora_magnitude_vector.values():
            # Rows are cut over processes and never columns, so a row's length is at hand where the row is.
            local(magnitude.weight).copy_(torch.linalg.vector_norm(local(base_weight(module)).float(), dim=1))


def base_weight(module: LoraLayer) -> Tensor:
    """W of a module with an adapter; one of four bits in the values that it stands for."""
    from peft.utils.integrations import dequantize_module_weight  # extra: adapter

    return dequantize_module_weight(module.get_base_layer())


@torch.no_grad()
def merged(module: LoraLayer, base_RC: Tensor) -> Tensor:
    """The weight, float32, that does alone what a matrix and its adapter do; all processes must take part.

    Args:
        module: of the adapter.
        base_RC: the matrix without it, whole.
    """
    inner, outer = (whole(part[NAME].weight).float() for part in (module.lora_A, module.lora_B))
    weight_RC = base_RC.to(inner.device).float() + (outer @ inner) * module.scaling[NAME]
    for magnitude in module.lora_magnitude_vector.values():
        weight_RC *= (whole(magnitude.weight).float() / torch.linalg.vector_norm(weight_RC, dim=1))[:, None]
    return weight_RC
