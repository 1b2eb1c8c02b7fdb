"""The shape of every model in a recipe, found by following its stages through their settings alone.

Nothing is read but the recipe, and config.json and the tokenizer of models that are imported. What cannot be known
before the stages have run is assumed, and each model says what was assumed for it:

    train-tokenizer   has vocabulary_size entries
    extend-tokenizer  adds new_tokens entries to its base's
    new-model         its preset and shape, a row for each entry of its tokenizer
    import-model      its config.json
    expand            its model, a row for each entry of its tokenizer, and new_layers more layers
    train, merge      their (first) model; a STAGE@STEP has the stage's shape
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from diglot.base.errors import UserError
from diglot.base.files import expand_home
from diglot.model.causal import ModelConfig
from diglot.model.decoder import DecoderConfig
from diglot.model.families import read_config
from diglot.model.families.foreign import ForeignConfig
from diglot.model.huggingface import count_active_parameters, count_parameters
from diglot.model.presets import shape
from diglot.recipe import Recipe
from diglot.recipe.common import at_step
from diglot.recipe.expand import Expand
from diglot.recipe.model import ImportModel, NewModel
from diglot.recipe.tokenizer import ExtendTokenizer, TrainTokenizer
from diglot.tokenizer.description import is_tokenizer
from diglot.tokenizer.folder import load_tokenizer, tokenizer_size

Reads = dict[str, dict[str, list[str]]]  # the stages that each stage reads, by role, in running order (flow.graph)


@dataclass(frozen=True)
class Known:
    """What is known of a stage's model or tokenizer.

    Attributes:
        entries: of the tokenizer, or of the one that the model comes with.
        config: the model's shape; None for a tokenizer.
        origin: how it came about, such as `polylm-13b` or `my/llama, expanded`.
        assumed: what had to be assumed.
        new_rows: whether an expansion gave the model rows for new tokens.
        new_layers: layers that it added.
        foreign: of a model that runs as transformers' module, which `config` stands for.
    """

    entries: int
    config: DecoderConfig | None = None
    origin: str = ""
    assumed: tuple[str, ...] = ()
    new_rows: bool = False
    new_layers: int = 0
    foreign: ForeignConfig | None = None

    def shape(self) -> DecoderConfig:
        """The model's shape."""
        assert self.config is not None, "not a model"
        return self.config


def follow(recipe: Recipe, reads: Reads, where: Callable[..., str]) -> dict[str, Known]:
    """What is known of every stage that makes a tokenizer or a model, by name.

    Args:
        recipe: a checked recipe.
        reads: the recipe's graph.
        where: names the place of a key in the recipe.

    Raises:
        UserError: an unknown preset, a shape that cannot be, or a model to import that is not here.
    """
    known: dict[str, Known] = {}
    for name, inputs in reads.items():
        stage = recipe.stages[name]
        read = {
            role: [known[other] for name in others if (other := at_step(name)[0]) in known]
            for role, others in inputs.items()
        }
        try:
            if isinstance(stage, TrainTokenizer):
                entries = stage.vocabulary_size
                known[name] = Known(entries, assumed=(f"{name} fills its vocabulary_size of {entries:,} entries",))
            elif isinstance(stage, ExtendTokenizer):
                known[name] = _extend(name, stage, read["tokenizer"][0])
            elif isinstance(stage, NewModel):
                known[name] = _new_model(stage, read["tokenizer"][0])
            elif isinstance(stage, ImportModel):
                known[name] = _import_model(stage)
            elif isinstance(stage, Expand):
                known[name] = _expand(stage, read["model"][0], read["tokenizer"][0])
            elif stage.makes == "model":
                known[name] = read["models" if "models" in read else "model"][0]
        except UserError as error:
            raise UserError(f"{where('stages', name)}: {error}") from error
    return known


def _extend(name: str, stage: ExtendTokenizer, base: Known) -> Known:
    added = stage.new_tokens
    if added is None:  # ALLaM doubled Llama-2's vocabulary
        added = base.entries
        why = f"{name} adds as many entries as its base has, {added:,}: minimum_gain decides when text is read"
    elif stage.minimum_gain is not None:
        why = f"{name} adds all of its {added:,} new_tokens; minimum_gain may stop it earlier"
    else:
        why = f"{name} adds its {added:,} new_tokens"
    return Known(base.entries + added, assumed=(*base.assumed, why))


def _rows(entries: int, multiple: int) -> int:
    return math.ceil(entries / multiple) * multiple


def _new_model(stage: NewModel, tokenizer: Known) -> Known:
    config = shape(stage.preset, _rows(tokenizer.entries, stage.pad_vocabulary_to), stage.shape)
    changed = ", changed" if stage.shape.model_dump(exclude_none=True) else ""
    return Known(tokenizer.entries, config, stage.preset + changed, tokenizer.assumed)


def _import_model(stage: ImportModel) -> Known:
    folder = _folder_of(stage.path)
    given = read_config(folder)
    config, assumed = _like_ours(given, stage.path)
    foreign = given if isinstance(given, ForeignConfig) else None
    if is_tokenizer(folder):
        return Known(tokenizer_size(load_tokenizer(folder)), config, stage.path, assumed, foreign=foreign)
    assumed = (*assumed, f"the tokenizer of {stage.path} has an entry for each of the model's rows")
    return Known(config.vocabulary_size, config, stage.path, assumed, foreign=foreign)


def _like_ours(config: ModelConfig, path: str) -> tuple[DecoderConfig, tuple[str, ...]]:
    """A shape that our decoder computes; for another family's a Llama of its sizes and of as many parameters.

    What layers keep for their backward pass is known of our own layers alone. So the feed-forward layers are made as wide
    as the parameters tell; a mixture's tokens pass fewer, so that its plan is one of more work than there is.
    """
    if isinstance(config, DecoderConfig):
        return config, ()
    whole, active = count_parameters(config), count_active_parameters(config)
    sizes = {each.name: getattr(config, each.name) for each in fields(ModelConfig)}
    narrow = DecoderConfig(**sizes | {"intermediate_size": 1})
    more = (whole - narrow.matrix_values()) / (3 * config.num_layers * config.hidden_size)
    said = f"{path} runs as transformers' module; it is planned as a Llama of its sizes with its {whole:,} parameters"
    passed = "" if active == whole else f", though a token passes {active:,.0f} of them"
    return DecoderConfig(**sizes | {"intermediate_size": max(1, round(more) + 1)}), (said + passed,)


def _folder_of(path: str) -> Path:
    """The model's folder, or the hub's copy of it on this machine; nothing is downloaded."""
    folder = expand_home(path)
    if folder.is_dir():
        return folder
    if not folder.exists() and path.count("/") == 1 and not path.startswith((".", "/")):
        import huggingface_hub  # start-up: only for a model on the Hub

        cached = huggingface_hub.try_to_load_from_cache(path, "config.json")
        if isinstance(cached, str):
            return Path(cached).parent
        raise UserError(
            f"path: {path!r} is no folder, and the Hugging Face cache has no config.json of a model of that name. A plan "
            f"downloads nothing: fetch that file (hf download {path} config.json), or give a folder's path"
        )
    raise UserError(f"path: {path!r} is neither a folder nor the name of a model on the Hugging Face hub")


def _expand(stage: Expand, model: Known, tokenizer: Known) -> Known:
    before, rows = model.shape(), _rows(tokenizer.entries, stage.pad_vocabulary_to)
    # Which layers the new ones stand on matters to nothing here.
    num_layers = before.num_layers + stage.new_layers
    config = replace(before, vocabulary_size=rows)
    config = config.with_layers(layer * before.num_layers // num_layers for layer in range(num_layers))
    assumed = tuple(dict.fromkeys((*model.assumed, *tokenizer.assumed)))
    grown = [f"{before.vocabulary_size:,} → {rows:,} rows"]
    grown += [f"{stage.new_layers} new layers"] if stage.new_layers else []
    return replace(
        model,
        entries=tokenizer.entries,
        config=config,
        origin=f"{model.origin}, {', '.join(grown)}",
        assumed=assumed,
        new_rows=tokenizer.entries > model.entries,
        new_layers=model.new_layers + stage.new_layers,
    )
