"""Ways to run a decoder's layers faster that need more than torch: a compiler, or a GPU with float8.

Both change the model in place, and how it rounds.
"""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn

from diglot.artifact import UserError
from diglot.model.decoder import Decoder

CAPABILITY = (8, 9)  # float8 products: Ada, Hopper and later


def compile_layers(decoder: Decoder) -> None:
    """Compile a decoder's layers (see `Decoder.compile_layers`).

    Raises:
        UserError: there is no C++ compiler, which torch.compile needs at the first step (on GPUs for Triton's launchers).
    """
    compilers = (os.environ.get("CXX", "g++"), "clang++", "c++")
    if not any(shutil.which(compiler) for compiler in compilers):
        raise UserError("compile: true needs a C++ compiler: install g++, or set compile: false")
    decoder.compile_layers()


def train_in_float8(decoder: Decoder, device: torch.device) -> None:
    """Let the layers' linear maps compute in float8, scaled tensor by tensor (torchao); weights stay what they are.

    Raises:
        UserError: the device can't, or torchao is not installed.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if capability is None or capability < CAPABILITY:
        found = "the CPU" if capability is None else f"a GPU of capability {capability[0]}.{capability[1]}"
        raise UserError(
            f"float8: true needs a GPU of compute capability {CAPABILITY[0]}.{CAPABILITY[1]} or later (L4, H100); this "
            f"process runs on {found}. Set float8: false"
        )
    try:
        from torchao.float8 import convert_to_float8_training  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError("float8: true needs torchao: pip install torchao, or set float8: false") from error
    convert_to_float8_training(decoder, module_filter_fn=runs_in_float8)


def runs_in_float8(module: nn.Module, name: str) -> bool:
    """Whether a module's products can run in float8: the layers' linear maps whose sizes are multiples of 16.

    The output weight stays: the loss computes with it, and rounding there moves the loss most.
    """
    if not isinstance(module, nn.Linear) or not name.startswith("layers."):
        return False
    return all(size % 16 == 0 for size in module.weight.shape)
