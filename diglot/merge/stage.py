"""Merging: one model from several of one shape and one vocabulary, tensor by tensor.

Rows of the embedding and the output weight are matched by token string: two tokenizers with the same tokens in
another order give the right rows, two with different tokens are refused (row by row they would give garbage).
The formulas are in methods.py. One tensor of every model is in memory at a time (linear: two in all), whatever
the models' size, and the result is written shard by shard.

`last: 5` merges the last five models that one train stage kept (its `exports`), oldest first: an average of its last
checkpoints. Release branches are merged by their names: `from: [decay-one, decay-two]`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.summaries.model import MergedModel
from diglot.merge.methods import DENSITY, merger
from diglot.model.causal import ModelConfig
from diglot.model.families import family_of, read_config
from diglot.model.huggingface import describe, huggingface_names, write_description
from diglot.model.weights import EXPANSION, StoredWeights, write_weights
from diglot.recipe.merge import Merge
from diglot.tokenizer.folder import load_tokenizer


@dataclass
class Part:
    """A model that goes into a merge.

    Attributes:
        stage: its name.
        stored: its weights.
        names: what its tensors are called there, by their exported names.
        order: its row for each of the first model's rows; None where all rows agree.
    """

    stage: str
    stored: StoredWeights
    names: dict[str, str]
    order: Tensor | None

    def tensor(self, name: str, by_token: bool) -> Tensor:
        """A tensor in the first model's order of rows."""
        tensor = self.stored.tensor(self.names[name])
        return tensor[self.order] if by_token and self.order is not None else tensor

    def moved_rows(self) -> int:
        """Rows that stand elsewhere than in the first model."""
        return 0 if self.order is None else int((self.order != torch.arange(len(self.order))).sum())


def run(settings: Merge, inputs: Inputs, output: Path, context: Context) -> MergedModel:
    """Write the merged model; type, order of rows and tokenizer are the first model's.

    Raises:
        UserError: too few or too many models, weights that don't fit them, no base or one too many, or models of
            different architectures, shapes or vocabularies.
    """
    models, base = chosen(settings, inputs.many("models")), inputs.maybe("base")
    weights = model_weights(settings, [model.stage for model in models])
    if (base is None) != (settings.method in ("linear", "slerp")):
        raise UserError(
            f"merge: method {settings.method} needs the model that all began from: base in `from` (--base)"
            if base is None
            else f"merge: method {settings.method} has no base; leave it out of `from`"
        )
    # The first model says shape, type, order of rows and tokenizer; `part` refuses what differs.
    config = read_config(models[0].path)
    parts = [part(models[0], config, model) for model in (*models, *([base] if base else []))]
    own, base_part = parts[: len(models)], parts[-1] if base else None
    by_token = family_of(config).embedding_names(config)
    shapes = {name: parts[0].stored.shapes()[stored] for name, stored in parts[0].names.items()}
    merge = merger(
        settings.method, weights, density=settings.density, scale=settings.scale, seed=f"{context.seed}/{settings.seed}"
    )
    done = 0

    def merged(name: str) -> Tensor:
        nonlocal done
        done += 1
        context.progress(done, len(shapes), "tensors", name)
        # A generator: linear holds one model's tensor at a time.
        tensors: Iterator[Tensor] = (each.tensor(name, name in by_token) for each in own)
        theirs = base_part.tensor(name, name in by_token) if base_part else None
        return merge(name, tensors, theirs).to(shapes[name].dtype)

    write_weights(output, shapes, merged)
    write_description(config, shapes[by_token[0]].dtype, output, models[0].path)
    if (models[0].path / EXPANSION).is_file():
        shutil.copyfile(models[0].path / EXPANSION, output / EXPANSION)
    return MergedModel(
        **describe(config),
        method=settings.method,
        models={model.stage: weight for model, weight in zip(models, weights)},
        base=base.stage if base else None,
        density=settings.density or DENSITY[settings.method] if settings.method in DENSITY else None,
        reordered_rows={each.stage: each.moved_rows() for each in parts},
    )


def chosen(settings: Merge, given: list[Artifact]) -> list[Artifact]:
    """The models to merge: those given, or the last that the one given kept.

    Raises:
        UserError: fewer than two, another number than two for slerp, or fewer kept than asked for.
    """
    if settings.last is not None:
        if len(given) != 1:
            raise UserError("last: takes the models that one stage kept: give that stage alone")
        kept = [given[0].at(step) for step in given[0].steps()]
        if len(kept) + 1 < settings.last:
            raise UserError(
                f"last: {settings.last} models asked for, but {given[0].stage} keeps {len(kept)} beside its last; set "
                "export_every in that train stage and run it again"
            )
        given = [*kept[len(kept) + 1 - settings.last :], given[0]]
    if len(given) < 2:
        raise UserError("merge: needs at least two models in `from`")
    if settings.method == "slerp" and len(given) != 2:
        raise UserError(f"merge: slerp goes from one model to another; {len(given)} are given")
    return given


def model_weights(settings: Merge, stages: list[str]) -> list[float]:
    """One weight a model; shares of 1 in linear and slerp, and wherever none are given.

    Raises:
        UserError: another number of weights than of models, or weights of a mean without a positive sum.
    """
    if settings.weights is None:
        return [1 / len(stages)] * len(stages)
    if len(settings.weights) != len(stages):
        raise UserError(
            f"weights: {len(settings.weights)} given for {len(stages)} models ({', '.join(stages)}); give one each"
        )
    if settings.method not in ("linear", "slerp"):
        return settings.weights
    total = sum(settings.weights)
    if not total > 0:
        raise UserError(f"weights: their sum must be positive, not {total:g}")
    return [weight / total for weight in settings.weights]


def part(first: Artifact, config: ModelConfig, model: Artifact) -> Part:
    """A model made ready to be merged with the first.

    Raises:
        UserError: it differs in architecture, shape or tokens; names in what.
    """
    own, stored = read_config(model.path), StoredWeights(model.path)
    kinds = family_of(config).model_type, family_of(own).model_type
    if kinds[0] != kinds[1]:
        raise UserError(f"merge: {first.stage} and {model.stage} differ in architecture: {kinds[0]} and {kinds[1]}")
    for name, value in vars(config).items():
        if getattr(own, name) != value:
            raise UserError(
                f"merge: {first.stage} and {model.stage} differ in {name}: {value} and {getattr(own, name)}"
            )
    names = huggingface_names(model.path, own, stored)
    return Part(model.stage, stored, names, row_order(first, model, config.vocabulary_size))


def row_order(first: Artifact, other: Artifact, rows: int) -> Tensor | None:
    """Which row of the other model belongs to each row of the first; None if all rows agree.

    Raises:
        UserError: the tokenizers' tokens differ.
    """
    wanted = load_tokenizer(first.path).get_vocab(with_added_tokens=True)
    found = load_tokenizer(other.path).get_vocab(with_added_tokens=True)
    if wanted == found:
        return None
    if different := sorted(set(wanted) ^ set(found)):
        only = [f"{token!r} (only in {first.stage if token in wanted else other.stage})" for token in different]
        raise UserError(
            f"merge: {first.stage} and {other.stage} have different vocabularies: {len(different)} tokens are in one "
            f"only, such as {', '.join(only[:5])}. Expand both to the same tokenizer first."
        )
    order = torch.arange(rows)
    for token, row in wanted.items():
        order[row] = found[token]
    return order
