"""Training models that run as transformers' module (see diglot/model/foreign.py): what they can't, how they load and lie.

Every process reads such a model whole before it is cut, one after another layer, and the first one holds it whole when it
is written: transformers joins and parts tensors on the way, which can't be done piece by piece.
"""

from __future__ import annotations

from pathlib import Path

import torch

from diglot.base.errors import UserError
from diglot.model.families.foreign import ForeignConfig, stored_form
from diglot.model.foreign import ForeignModel, load_foreign
from diglot.model.huggingface import write_description
from diglot.model.weights import write_weights
from diglot.recipe.train import Parallel, Training
from diglot.train.adapter import plain_parameters, plain_tensors
from diglot.train.base import with_adapter


def check_foreign(config: ForeignConfig, settings: Training, parallel: Parallel, processes: int) -> None:
    """Refuse what only our own decoder can.

    Args:
        config: the model.
        settings: of the stage.
        parallel: how processes are laid out.
        processes: how many there are.

    Raises:
        UserError: a setting asks for it.
    """
    asked = {
        "parallel.tensor": parallel.tensor > 1,
        "parallel.context": parallel.context > 1,
        "float32_residual": settings.float32_residual,
        "float8": settings.float8,
        "compile": settings.compile,
        "weights: nf4": settings.weights == "nf4",
        "optimizer: muon": settings.optimizer == "muon",
    }
    if refused := [name for name, is_asked in asked.items() if is_asked]:
        raise UserError(
            f"{', '.join(refused)}: not for models of the family {config.model_type}, which run as transformers' module; "
            "leave it out (docs/bases.md says what such models can)"
        )
    if config.documents == "alone" and processes > 1:
        raise UserError(
            f"models of the family {config.model_type} are run document by document, as often as a batch has lengths, "
            f"which differs between the {processes} processes: train it in one"
        )


def load_whole(folder: Path, config: ForeignConfig, settings: Training) -> ForeignModel:
    """The model in the settings' types and with their adapter, whose matrices have memory and no values yet.

    Raises:
        UserError: it is not a whole model, or a package is missing.
    """
    model = load_foreign(folder, config, torch.float32 if settings.weights == "float32" else torch.bfloat16)
    with_adapter(model, folder, settings)
    for module in model.modules():
        empty = [parameter for parameter in module.parameters(recurse=False) if parameter.is_meta]
        if empty:
            module.to_empty(device="cpu", recurse=False)
    return model


def save_whole(model: ForeignModel, folder: Path, source: Path, is_first: bool) -> None:
    """Write a model's folder, with its adapter merged: the first process; the others give what they hold.

    Raises:
        UserError: the tokenizer has more entries than the embedding has rows.
    """
    plain, parameters = plain_tensors(model, source), plain_parameters(model)
    tables = {id(model.embedding.weight), id(model.output_weight())}
    # Beside an adapter the rows of tokens are float32, and all the rest has the type that was asked for.
    dtype = next((p.dtype for p in parameters.values() if id(p) not in tables), model.embedding.weight.dtype)
    state = {
        name: value for name, value in model.state_dict().items() if name not in parameters and ".lora_" not in name
    }
    for name in sorted(parameters):
        tensor = plain(name).to(dtype)
        if is_first:
            state[name] = tensor.cpu()
    if is_first:
        own = {name.removeprefix("module."): value for name, value in state.items()}
        tensors = stored_form(model.config, own)
        write_description(model.config, dtype, folder, source)
        write_weights(folder, tensors, tensors.__getitem__)
