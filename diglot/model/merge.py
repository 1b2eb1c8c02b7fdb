"""Merging: the weighted mean of models of one shape and one vocabulary, tensor by tensor.

Rows of the embedding and the output weight are matched by token string: two tokenizers with the same tokens in
another order give the right rows, two with different tokens are refused (row by row they would give garbage).
Never more than one shard of the result and one tensor of an input are in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diglot.artifact import Context, Inputs, UserError
from diglot.model.architectures import embedding_names, read_config
from diglot.model.decoder import DecoderConfig
from diglot.model.huggingface import describe, huggingface_names, read_tokenizer, write_description
from diglot.model.weights import StoredWeights, write_weights

if TYPE_CHECKING:
    from diglot.recipe import Merge


def run(settings: Merge, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """Write the mean of the models; type and tokenizer are the first model's.

    Returns:
        `{"models": {stage: weight}, "reordered_rows": {stage: rows}, "architecture", "parameters", "shape"}`.

    Raises:
        UserError: fewer than two models, weights that don't fit them, or different shapes or vocabularies.
    """
    models = inputs.many("models")
    weights = normalized_weights(settings.weights, [model.stage for model in models])
    folders = [model.path for model in models]
    configs = [read_config(folder) for folder in folders]
    for model, config in zip(models, configs):
        _same_shape(models[0].stage, configs[0], model.stage, config)
    orders = [row_order(folders[0], folder, configs[0].vocabulary_size) for folder in folders]
    stored = [StoredWeights(folder) for folder in folders]
    names = [huggingface_names(*fields) for fields in zip(folders, configs, stored)]
    by_token = embedding_names(configs[0])
    shapes = {name: stored[0].shapes()[own] for name, own in names[0].items()}
    done = 0

    def merged(name: str) -> Tensor:
        nonlocal done
        done += 1
        context.progress(done, len(shapes), "tensors", name)
        total = torch.zeros(shapes[name].shape, dtype=torch.float32)
        for model_weight, part, own, order in zip(weights, stored, names, orders):
            tensor = part.tensor(own[name]).float()
            if name in by_token and order is not None:
                tensor = tensor[order]
            total.add_(tensor, alpha=model_weight)
        return total.to(shapes[name].dtype)

    write_weights(output, shapes, merged)
    dtype = shapes[by_token[0]].dtype
    write_description(configs[0], dtype, output, folders[0])
    return {
        "models": {model.stage: weight for model, weight in zip(models, weights)},
        "reordered_rows": {
            model.stage: 0 if order is None else int((order != torch.arange(len(order))).sum())
            for model, order in zip(models, orders)
        },
        **describe(configs[0]),
    }


def normalized_weights(given: list[float] | None, stages: list[str]) -> list[float]:
    """One weight a model, summing to 1; equal where none are given.

    Raises:
        UserError: fewer than two models, another number of weights, or weights without a positive sum.
    """
    if len(stages) < 2:
        raise UserError("merge: needs at least two models in `from`")
    weights = [1.0] * len(stages) if given is None else given
    if len(weights) != len(stages):
        raise UserError(
            f"weights: {len(weights)} given for {len(stages)} models ({', '.join(stages)}); give one each"
        )
    total = sum(weights)
    if not total > 0:
        raise UserError(f"weights: their sum must be positive, not {total:g}")
    return [weight / total for weight in weights]


def _same_shape(first_stage: str, first: DecoderConfig, stage: str, config: DecoderConfig) -> None:
    for name, value in vars(first).items():
        if getattr(config, name) != value:
            raise UserError(
                f"merge: {first_stage} and {stage} differ in {name}: {value} and {getattr(config, name)}"
            )


def row_order(first: Path, other: Path, rows: int) -> Tensor | None:
    """Which row of the other model belongs to each row of the first; None if all rows agree.

    Raises:
        UserError: the tokenizers' tokens differ.
    """
    wanted = read_tokenizer(first).get_vocab(with_added_tokens=True)
    found = read_tokenizer(other).get_vocab(with_added_tokens=True)
    if wanted == found:
        return None
    if different := sorted(set(wanted) ^ set(found)):
        only = [f"{token!r} (only in {first.name if token in wanted else other.name})" for token in different]
        raise UserError(
            f"merge: {first.name} and {other.name} have different vocabularies: {len(different)} tokens are in one "
            f"only, such as {', '.join(only[:5])}. Expand both to the same tokenizer first."
        )
    order = torch.arange(rows)
    for token, row in wanted.items():
        order[row] = found[token]
    return order
