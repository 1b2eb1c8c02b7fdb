"""The folder `adapter/` beside a merged model: the adapter alone, as peft would have saved it for Hugging Face's module.

    adapter_config.json            kind, rank, alpha, and which matrices have one
    adapter_model.safetensors      base_model.model.<their name>.lora_A.weight …, and the new rows

    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "adapter")

Where a family keeps several of our matrices in one (GPT-2: queries, keys and values), their adapters become one of a
larger rank: A's below each other, B's along the diagonal.

Legend: R rows and C columns of a matrix, K rank, V rows of a table, D hidden size.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diglot.base.files import write_json
from diglot.model.causal import CausalModel
from diglot.model.families import family_of
from diglot.model.families.common import split_name
from diglot.model.families.foreign import ends_of
from diglot.model.foreign import ForeignModel
from diglot.model.huggingface import huggingface_shapes
from diglot.model.weights import write_file
from diglot.recipe.train import Adapter
from diglot.train.adapter import NAME, adapted, peft_settings
from diglot.train.mesh import Mesh
from diglot.train.parts import whole

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TRANSPOSED = "gpt2"  # the family whose matrices are stored the other way round


def save_adapter(
    model: CausalModel, adapter: Adapter, new_rows: Sequence[tuple[int, int]], folder: Path, mesh: Mesh
) -> None:
    """Write the folder: the first process, one tensor at a time; the others help.

    Args:
        model: with the adapter.
        adapter: its settings.
        new_rows: first row and end of each run of rows that were trained beside it.
        folder: made.
        mesh: the processes.
    """
    joined = joined_matrices(model)
    tensors = {f"{theirs}.{part}": tensor for theirs, ours in joined.items() for part, tensor in parts(model, ours)}
    # Peft keeps what the trained rows are, in the order of their indices, and not how they changed.
    rows = [row for start, end in new_rows for row in range(start, end)]
    tables = row_tables(model) if rows else {}
    for theirs, table in tables.items():
        tensors[f"{theirs}.token_adapter.trainable_tokens_delta"] = functools.partial(_rows_of, table, rows)
    tensors = {f"base_model.model.{name}": tensor for name, tensor in sorted(tensors.items())}

    def write(tensor: Callable[[str], Tensor]) -> None:
        folder.mkdir()
        config = peft_config(model, adapter, joined, {theirs.rpartition(".")[2]: rows for theirs in tables})
        write_json(folder / CONFIG, config, indent=2, sort_keys=True)
        found = {name: tensor(name) for name in tensors}  # small: the base is not among them
        write_file(folder / WEIGHTS, list(found), found, found.__getitem__)

    mesh.stream(list(tensors), lambda name: tensors[name]().float(), write)


def _rows_of(table_VD: Tensor, rows: list[int]) -> Tensor:
    return whole(table_VD)[rows]


def joined_matrices(model: CausalModel) -> dict[str, list[str]]:
    """Hugging Face's names of the matrices that have adapters, each with ours that it is made of, in order."""
    family, modules = family_of(model.config), adapted(model)
    if isinstance(model, ForeignModel):  # a module of transformers: peft's names are its own
        return {name.removeprefix("module."): [name] for name in modules}
    found = {}
    for name, shape in huggingface_shapes(model.config).items():
        ours = [each.removesuffix(".weight") for each in family.from_huggingface({name: shape})]
        if name.endswith(".weight") and all(each in modules for each in ours):
            found[name.removesuffix(".weight")] = ours
    return found


def parts(model: CausalModel, ours: Sequence[str]) -> list[tuple[str, Callable[[], Tensor]]]:
    """What is stored of a matrix's adapter: names, and what gives the tensors whole; all processes must take part."""
    modules = [adapted(model)[name] for name in ours]

    def joined(how: Callable[..., Tensor], inner: str) -> Callable[[], Tensor]:
        return lambda: how([whole(getattr(module, inner)[NAME].weight) for module in modules])

    found = [
        ("lora_A.weight", joined(torch.cat, "lora_A")),
        ("lora_B.weight", joined(lambda outer: torch.block_diag(*outer), "lora_B")),
    ]
    if modules[0].lora_magnitude_vector:
        found.append(("lora_magnitude_vector", joined(torch.cat, "lora_magnitude_vector")))
    return found


def row_tables(model: CausalModel) -> dict[str, Tensor]:
    """The tables with a row a token, by Hugging Face's module name; a tied output weight is the embedding."""
    names = family_of(model.config).names
    if isinstance(model, ForeignModel):  # stored under other names, now and then
        names = dict(zip(("embedding", "head"), (name.removesuffix(".weight") for name in ends_of(model.module))))
    tables = {names["embedding"]: model.embedding.weight}
    return tables if model.head is None else tables | {names["head"]: model.head.weight}


def peft_config(
    model: CausalModel, adapter: Adapter, joined: dict[str, list[str]], rows: dict[str, list[int]]
) -> dict[str, Any]:
    """The content of adapter_config.json.

    Args:
        model: with the adapter.
        adapter: its settings.
        joined: see `joined_matrices`.
        rows: those that were trained, by the table's name.
    """
    from peft import LoraConfig  # extra: adapter

    family, ranks, alphas = family_of(model.config), {}, {}
    targets = {split_name(f"{name}.weight", family.names["layers"])[1]: len(ours) for name, ours in joined.items()}
    for target, number in targets.items():
        if number > 1:  # the scale must stay what it is at the larger rank
            ranks[target] = number * adapter.rank
            alphas[target] = adapter.scaled_by * (math.sqrt(number) if adapter.kind == "rslora" else number)
    config = LoraConfig(
        **peft_settings(adapter),
        target_modules=sorted(targets),
        rank_pattern=ranks,
        alpha_pattern=alphas,
        trainable_token_indices=rows or None,
        fan_in_fan_out=family.model_type == TRANSPOSED,
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    return {key: _plain(value) for key, value in config.to_dict().items()}


def _plain(value: Any) -> Any:
    """What JSON can say: peft keeps the targets as a set, in any order."""
    if isinstance(value, enum.Enum):
        return value.value
    return sorted(value) if isinstance(value, set) else value
