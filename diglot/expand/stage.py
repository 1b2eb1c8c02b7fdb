"""Vocabulary expansion: a trained model gets the rows of an extended tokenizer, and more layers where they are asked for.

**Rows** belong to token strings: old ones stay bit for bit, wherever their ids went, and new ones start from old ones
(initialization.py, focus.py, distillation.py). A row that the old model had for padding and that is a token now is
initialised like any other new token: shapes would not show that it is new.

**Layers** are spread evenly over the depth and start as the identity (LLaMA Pro, Wu et al. 2024, 3.1; Kuwain 2504.15120):
each is a copy of the layer below whose attention and feed-forward write zeros into the residual stream. So the logits
are the old ones, bit for bit, until the new layers are trained.

    4 layers + 2:  0  1  [2]  3  4  [5]        2 is a copy of 1, 5 of the old layer 3

Tensors pass through one at a time, so a model of any size goes through the memory of its two largest tensors; only
`distillation` runs the model and loads it. `diglot-expansion.json` in the model's folder says what is new, for training
that starts with it:

    {"new_rows": [[32000, 48000]], "new_layers": [2, 5]}        rows from the first to before the second number
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from torch import Tensor

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json
from diglot.base.summaries.model import DistillationFacts, ExpandedModel, FocusFacts, RowNorms
from diglot.expand import distillation
from diglot.expand.focus import focus_weights
from diglot.expand.initialization import (
    Alignment,
    RowWeights,
    align,
    byte_lengths,
    expand_rows,
    norms,
    sub_token_weights,
)
from diglot.expand.sampled import TokenSample
from diglot.model.causal import ModelConfig
from diglot.model.decoder import DecoderConfig
from diglot.model.families import family_of, read_config
from diglot.model.families.common import Family
from diglot.model.huggingface import describe, huggingface_names, load_decoder, write_description
from diglot.model.processor import training_ways
from diglot.model.weights import EXPANSION, StoredWeights, write_weights
from diglot.tokenizer.folder import generation_ids, load_tokenizer, tokenizer_size

if TYPE_CHECKING:
    from diglot.recipe.expand import Expand

ROLES = ("embedding", "output")  # of the tensors that have one row a token, in the order of `embedding_names`


@dataclass
class NewRows:
    """How the rows of new tokens start.

    Attributes:
        row_weights: of old rows, by new id; None draws all new rows at random.
        given: rows that were trained, by role and new id.
        facts: of the methods that learn from text, for the summary.
    """

    row_weights: dict[int, RowWeights] | None
    given: dict[str, dict[int, Tensor]]
    facts: FocusFacts | DistillationFacts | None = None


def run(settings: Expand, inputs: Inputs, output: Path, context: Context) -> ExpandedModel:
    """Write the model with the rows of the extended tokenizer.

    Raises:
        UserError: the tokenizer lacks tokens of the model's own, so it is not an extension of it.
    """
    model, tokenizer = inputs.one("model").path, inputs.one("tokenizer").path
    old_tokenizer, new_tokenizer = load_tokenizer(model), load_tokenizer(tokenizer)
    alignment = align(old_tokenizer, new_tokenizer)
    before, weights = read_config(model), StoredWeights(model)
    # What the model will be, before any weight is read: rows with their padding, and layers with the added ones.
    rows = math.ceil(tokenizer_size(new_tokenizer) / settings.pad_vocabulary_to) * settings.pad_vocabulary_to
    layers = spread(before.num_layers, settings.new_layers)
    after = shape_after(before, settings, rows, layers)
    names = huggingface_names(model, before, weights)
    new = new_rows(settings, inputs, (old_tokenizer, new_tokenizer), alignment, context)
    measured: dict[str, RowNorms] = {}

    # Called while the weights are written, a tensor at a time: no more than one is in memory.
    def grown(name: str) -> Tensor:
        if name not in by_token:
            return stored_tensor(family, weights, names, layers, name)
        # Embedding and output draw different noise, whichever is written first.
        role = ROLES[by_token.index(name)]
        seed = Random(f"{context.seed}/{settings.seed}/rows").getrandbits(62) + ROLES.index(role)
        old_VD = weights.tensor(names[name])
        new_VD = expand_rows(old_VD, alignment, rows, seed, new.row_weights, new.given.get(role))
        measured[role] = norms(new_VD, alignment)
        return new_VD

    family = family_of(before)
    by_token = family.embedding_names(before)
    dtype = weights.shapes()[names[by_token[0]]].dtype
    write_description(
        after, dtype, output, tokenizer, stops=_kept_stops(generation_ids(model, old_tokenizer)["stops"], alignment)
    )
    write_model(output, after, weights, names, layers, grown, context)
    new_layers = [place for place, (_, is_new) in enumerate(layers) if is_new]
    facts = {"new_rows": ranges(alignment.new_ids), "new_layers": new_layers}
    write_json(output / EXPANSION, facts, indent=None, sort_keys=True)
    spelled = [len(ids) for ids in alignment.sub_tokens.values()]
    return ExpandedModel(
        **describe(after),
        rows_before=before.vocabulary_size,
        rows_after=after.vocabulary_size,
        new_tokens=len(alignment.new_ids),
        new_special_tokens=len(alignment.special),
        new_tokens_without_spelling=len(alignment.unspelled),
        sub_tokens_per_new_token=round(sum(spelled) / len(spelled), 3) if spelled else 0.0,
        initialization=settings.initialization,
        new_layers=new_layers,
        norms={role: measured[role] for role in ROLES if role in measured},
        focus=new.facts if isinstance(new.facts, FocusFacts) else None,
        distillation=new.facts if isinstance(new.facts, DistillationFacts) else None,
    )


def _kept_stops(stops: list[int], alignment: Alignment) -> list[int]:
    """The ids that end the old model's generations, as they are called now."""
    new_ids = dict(alignment.kept)
    return [new_ids[stop] for stop in stops if stop in new_ids]


def ranges(ids: list[int]) -> list[list[int]]:
    """Ascending ids as ranges [start, end)."""
    found: list[list[int]] = []
    for id in ids:
        if found and found[-1][1] == id:
            found[-1][1] += 1
        else:
            found.append([id, id + 1])
    return found


# --- rows -----------------------------------------------------------------------------------------------------


def new_rows(
    settings: Expand, inputs: Inputs, tokenizers: tuple[Tokenizer, Tokenizer], alignment: Alignment, context: Context
) -> NewRows:
    """What the rows of new tokens are made of; reads the corpus where the initialisation learns from it."""
    old_tokenizer, new_tokenizer = tokenizers
    kind, row_weights = settings.initialization, sub_token_weights(alignment)
    if kind == "random":
        return NewRows(None, {})
    if kind == "mean":
        return NewRows(row_weights, {})
    if kind == "weighted-mean":
        return NewRows(sub_token_weights(alignment, byte_lengths(old_tokenizer)), {})
    # The others learn from text: focus which old tokens are used alike, distillation by training the rows.
    if not inputs.many("corpus"):
        raise UserError(f"initialization {kind} learns from text: give a corpus (--corpus, or corpus in `from`)")
    size = tokenizer_size(new_tokenizer)
    sample = TokenSample(inputs.many("corpus"), new_tokenizer, f"{context.seed}/{settings.seed}/sample")
    if kind == "focus":
        found = focus_weights(sample, alignment, size, context.progress)
        # Tokens that the sample does not hold keep the mean of their sub-tokens.
        similar = sum(len(one.old_ids) for one in found.values()) / max(1, len(found))
        return NewRows(row_weights | found, {}, FocusFacts(len(found), round(similar, 3), round(sample.bytes)))
    snippets = distillation.collect(sample, alignment, size, settings.distillation, context.progress)
    bos = generation_ids(inputs.one("model").path, old_tokenizer)["bos_token_id"]
    given, losses = _distil(settings, inputs.one("model").path, bos, alignment, snippets, context)
    tenth = max(1, len(losses) // 10)
    facts = DistillationFacts(
        tokens=len(given["embedding"]),
        snippets=len(snippets.texts),
        steps=len(losses),
        loss_first_tenth=round(sum(losses[:tenth]) / tenth, 6),
        loss_last_tenth=round(sum(losses[-tenth:]) / tenth, 6),
    )
    return NewRows(row_weights, given, facts)


def _distil(
    settings: Expand,
    model: Path,
    bos: int | None,
    alignment: Alignment,
    snippets: distillation.Snippets,
    context: Context,
) -> tuple[dict[str, dict[int, Tensor]], list[float]]:
    """Run the old model over the snippets, on the GPU where there is one."""
    torch.set_num_threads(context.workers)
    decoder = load_decoder(model).to("cuda" if torch.cuda.is_available() else "cpu")
    seed = Random(f"{context.seed}/{settings.seed}/distillation").getrandbits(62)
    with training_ways():
        return distillation.distil(decoder, alignment, snippets, bos, settings.distillation, seed, context.progress)


# --- layers ---------------------------------------------------------------------------------------------------


def spread(num_layers: int, new_layers: int) -> list[tuple[int, bool]]:
    """The expanded model's layers: the old layer that each comes from, and whether it is new.

    New layers stand behind equal parts of the depth, the last one on top.
    """
    behind = [round((number + 1) * num_layers / new_layers) - 1 for number in range(new_layers)]
    layers = []
    for layer in range(num_layers):
        layers += [(layer, False), *((layer, True) for place in behind if max(0, place) == layer)]
    return layers


def shape_after(before: ModelConfig, settings: Expand, rows: int, layers: list[tuple[int, bool]]) -> ModelConfig:
    """The sizes of the expanded model.

    Raises:
        UserError: the settings ask for what only our own decoder can.
    """
    if isinstance(before, DecoderConfig):
        # A new layer attends as the one that it comes from.
        return replace(before.with_layers(layer for layer, _ in layers), vocabulary_size=rows)
    asked = {
        "new_layers": settings.new_layers > 0,
        "initialization: distillation": settings.initialization == "distillation",
    }
    if refused := [name for name, is_asked in asked.items() if is_asked]:
        raise UserError(
            f"{', '.join(refused)}: not for models of the family {family_of(before).model_type}, which run as transformers' "
            "module (docs/bases.md says what such models can)"
        )
    return replace(before, vocabulary_size=rows)


def stored_tensor(
    family: Family, weights: StoredWeights, names: dict[str, str], layers: list[tuple[int, bool]], name: str
) -> Tensor:
    """A tensor of the expanded model that has no rows of tokens."""
    place = family.layer_of(name)
    if place is None:
        return weights.tensor(names[name])
    layer, is_new = layers[place]
    tensor = weights.tensor(names[family.in_layer(name, layer)])
    return torch.zeros_like(tensor) if is_new and family.writes_residual(name) else tensor


def write_model(
    folder: Path,
    config: ModelConfig,
    weights: StoredWeights,
    names: dict[str, str],
    layers: list[tuple[int, bool]],
    tensor: Callable[[str], Tensor],
    context: Context,
) -> None:
    """Write the expanded model's weights, each in the type of what it comes from."""
    stored = weights.shapes()
    places: dict[int, list[int]] = {}
    for place, (layer, _) in enumerate(layers):
        places.setdefault(layer, []).append(place)
    family = family_of(config)
    by_token = family.embedding_names(config)
    shapes: dict[str, Tensor] = {}
    for name, own in names.items():
        old_layer = family.layer_of(name)
        if old_layer is not None:
            shapes |= {family.in_layer(name, place): stored[own] for place in places[old_layer]}
        elif name in by_token:
            shapes[name] = stored[own].new_empty(config.vocabulary_size, config.hidden_size)
        else:
            shapes[name] = stored[own]
    done = 0

    def reported(name: str) -> Tensor:
        nonlocal done
        done += 1
        context.progress(done, len(shapes), "tensors", name)
        return tensor(name)

    write_weights(folder, shapes, reported)
