"""The model as it lies in memory while it is trained: its types, four bits, an adapter; read one tensor at a time.

    setting                    the model's own weights        what is trained
    weights: float32           float32                        float32
    weights: bfloat16          bfloat16                       bfloat16, rounded at random (low_memory.py)
    adapter                    float32                        float32: the adapter, and the tables with new rows
    adapter, weights: bfloat16 bfloat16                       the same
    adapter, weights: nf4      layers' matrices in four bits, the same
                               all else bfloat16

Four bits are bitsandbytes' NF4 (QLoRA, 2305.14314): blocks of 64 weights, each on one of 16 values between the largest
and its negative, and the blocks' scales in eight bits: 4.1 bits a weight. Products run in bfloat16, on what the four bits
stand for. A matrix whose rows are no multiple of a block stays bfloat16: bitsandbytes' kernel for CPUs gave wrong values
there (0.50.2: a quarter of the norm at 352 columns), and no model that people use has one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from diglot.base.errors import UserError
from diglot.model.causal import CausalModel
from diglot.model.decoder import Decoder
from diglot.model.families import family_of, read_config
from diglot.model.huggingface import huggingface_names, model_on_meta
from diglot.model.weights import StoredWeights
from diglot.recipe.train import Training
from diglot.train.adapter import add_adapter, four_bit, is_plain_linear, plain_parameters
from diglot.train.freezing import read_expansion
from diglot.train.parts import local, part_of

BLOCK = 64  # weights that share a scale in four bits; QLoRA's


def empty_decoder(folder: Path, settings: Training) -> Decoder:
    """The model of a folder without its weights, on the meta device, in the settings' types and with their adapter.

    Raises:
        UserError: its config.json is not of a supported kind, or a package is missing.
    """
    decoder = model_on_meta(read_config(folder))
    assert isinstance(decoder, Decoder)
    if settings.weights != "float32":
        decoder.to(torch.bfloat16)
    with_adapter(decoder, folder, settings)
    if settings.weights == "nf4":
        _make_four_bit(decoder)
    return decoder


def with_adapter(model: CausalModel, folder: Path, settings: Training) -> None:
    """Put in the settings' adapter, if there is one; rows that are trained beside it are float32.

    Raises:
        UserError: a package is missing, or the layers have no such matrices.
    """
    if settings.adapter is None:
        return
    if read_expansion(folder, model.config).new_rows:
        model.embedding.float()
        if model.head is not None:
            model.head.float()
    add_adapter(model, settings.adapter)


def _make_four_bit(decoder: Decoder) -> None:
    """Put modules of four bits, still without weights, in the place of the layers' linear maps."""
    try:
        from bitsandbytes.nn import Linear4bit  # extra: adapter
    except ImportError as error:
        raise UserError(
            "weights: nf4 needs bitsandbytes: pip install 'diglot[adapter]', or set weights: bfloat16"
        ) from error
    for name, module in list(decoder.layers.named_modules()):
        for child_name, child in module.named_children():
            if not is_plain_linear(f"{name}.{child_name}", child) or child.in_features % BLOCK:
                continue
            made = Linear4bit(
                child.in_features,
                child.out_features,
                child.bias is not None,
                torch.bfloat16,
                quant_type="nf4",
                device="meta",
            )
            made.weight = None  # until `fill` has it: on its way it would lie there in sixteen bits
            made.bias = child.bias
            setattr(module, child_name, made)


@torch.no_grad()
def fill(decoder: Decoder, folder: Path, device: torch.device) -> None:
    """Read a model's weights into its parameters, or into the parts of them that lie on this process.

    Args:
        decoder: from `empty_decoder`, with memory for its parameters.
        folder: of the model.
        device: where weights of four bits are made, and stay.

    Raises:
        UserError: it is not the whole model that config.json calls for.
    """
    family, weights = family_of(decoder.config), StoredWeights(folder)
    parameters, quantised = plain_parameters(decoder), four_bit(decoder)
    for theirs, stored in huggingface_names(folder, decoder.config, weights).items():
        for ours, whole in family.from_huggingface({theirs: weights.tensor(stored)}).items():
            if ours in quantised:
                _quantise(quantised[ours], whole, device)
            else:
                local(parameters[ours]).copy_(part_of(whole, parameters[ours]))


def _quantise(module: nn.Module, weight_RC: torch.Tensor, device: torch.device) -> None:
    from bitsandbytes.nn import Params4bit  # extra: adapter

    # bitsandbytes quantises when a parameter moves to a device, the CPU too.
    parameter = Params4bit(weight_RC.to(torch.bfloat16).contiguous(), quant_type="nf4", module=module)
    module.weight = parameter.to(device)
