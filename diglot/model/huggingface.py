"""Models are Hugging Face folders: what transformers, vLLM and lm-eval load as they are.

    config.json  model.safetensors  generation_config.json  tokenizer.json  tokenizer_config.json  chat_template.jinja …

    decoder = load_decoder(folder)
    save_decoder(decoder, other_folder, tokenizer=folder)

Weights go in and out bit for bit; logits agree with transformers to rounding.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diglot.base.errors import UserError
from diglot.base.files import expand_home, write_json
from diglot.base.summaries.model import Shape
from diglot.model.causal import CausalModel, ModelConfig
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.families import config_json, family_of, read_config
from diglot.model.families.foreign import ForeignConfig
from diglot.model.foreign import ForeignModel, foreign_on_meta, load_foreign
from diglot.model.weights import StoredWeights, write_weights
from diglot.tokenizer.folder import generation_ids, load_tokenizer, tokenizer_size

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "diglot.json",
)


def find_model(path: str) -> Path:
    """The folder of a model: the path itself, or a download of what it needs from the hub (no pickles, no code).

    Args:
        path: a folder, or ORG/NAME on the Hugging Face hub; a folder of that name comes first.

    Raises:
        UserError: there is no such folder, and the hub has no such model or cannot be reached.
    """
    folder = expand_home(path)
    if folder.is_dir():
        return folder
    if folder.exists() or not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", path):
        raise UserError(f"path: {path!r} is neither a folder nor the name of a model on the Hugging Face hub")
    import huggingface_hub  # start-up: only for a model on the Hub

    try:
        patterns = ["*.json", "*.safetensors", "tokenizer.model", "merges.txt", "*.jinja"]
        return Path(huggingface_hub.snapshot_download(path, allow_patterns=patterns))
    except Exception as error:  # no network, no such model, gated, out of disk: one remedy
        raise UserError(
            f"path: cannot get {path!r} from the Hugging Face hub ({type(error).__name__}: "
            f"{str(error).strip().partition(chr(10))[0]}), and there is no such folder here. Without network, give the "
            "folder of a copy."
        ) from error


def describe(config: ModelConfig) -> dict[str, Any]:
    """What every summary of a model says: architecture, parameters and shape."""
    return {
        "architecture": family_of(config).model_type,
        "parameters": count_parameters(config),
        "shape": Shape(**{each.name: getattr(config, each.name) for each in fields(Shape)}),
    }


def count_parameters(config: ModelConfig) -> int:
    """Number of trained values; nothing is allocated."""
    return sum(parameter.numel() for parameter in model_on_meta(config).parameters())


def count_active_parameters(config: ModelConfig) -> float:
    """Those that a token passes: all, but of a mixture's experts only as many as it is sent to."""
    if not isinstance(config, ForeignConfig):
        return count_parameters(config)
    settings = config.settings()
    # transformers holds all experts of a layer in tensors of three axes, the first of which counts them.
    chosen = getattr(settings, "num_experts_per_tok", None) or getattr(settings, "moe_topk", None) or 1
    return sum(
        parameter.numel() * (min(1, chosen / parameter.shape[0]) if parameter.ndim == 3 and ".experts." in name else 1)
        for name, parameter in model_on_meta(config).named_parameters()
    )


def model_on_meta(config: ModelConfig) -> CausalModel:
    """A model without memory: names and shapes."""
    if isinstance(config, ForeignConfig):
        return foreign_on_meta(config)
    assert isinstance(config, DecoderConfig)
    with torch.device("meta"):
        return Decoder(config)


# --- weights --------------------------------------------------------------------------------------------------


def load_model(folder: Path, dtype: torch.dtype | None = torch.float32) -> CausalModel:
    """Load a model of any family.

    Args:
        folder: a Hugging Face model folder.
        dtype: the type of the weights; None keeps the stored one. Bfloat16 turns into float32 without loss.

    Raises:
        UserError: the folder is not a whole model of a supported kind.
    """
    config = read_config(folder)
    if not isinstance(config, ForeignConfig):
        return load_decoder(folder, dtype)
    huggingface_names(folder, config, StoredWeights(folder))  # says better than transformers what is wrong
    return load_foreign(folder, config, dtype)


def load_decoder(folder: Path, dtype: torch.dtype | None = torch.float32) -> Decoder:
    """Load a model that our decoder computes; see `load_model`.

    Raises:
        UserError: it is not one, or not whole.
    """
    config = read_config(folder)
    if not isinstance(config, DecoderConfig):
        raise UserError(f"{folder}: {family_of(config).model_type} is no family that our own decoder computes")
    weights = StoredWeights(folder)
    stored_names = huggingface_names(folder, config, weights)
    tensors = {name: weights.tensor(stored) for name, stored in stored_names.items()}
    with torch.device("meta"):
        decoder = Decoder(config)
    state = family_of(config).from_huggingface(tensors)
    if dtype is not None:
        state = {name: tensor.to(dtype) for name, tensor in state.items()}
    decoder.load_state_dict(state, assign=True)
    return decoder


def huggingface_shapes(config: ModelConfig) -> dict[str, Tensor]:
    """Every tensor of the exported model by its Hugging Face name, on the meta device."""
    with torch.device("meta"):
        return exported_tensors(model_on_meta(config), config)


def exported_tensors(model: CausalModel, config: ModelConfig) -> dict[str, Tensor]:
    """A model's tensors by their Hugging Face names."""
    state = model.module.state_dict() if isinstance(model, ForeignModel) else model.state_dict()
    return family_of(config).to_huggingface(state)


def huggingface_names(folder: Path, config: ModelConfig, weights: StoredWeights) -> dict[str, str]:
    """The stored name of each tensor of the exported model.

    Raises:
        UserError: a tensor is missing, has another shape, or is not called for by config.json.
    """
    family, wanted, stored = family_of(config), huggingface_shapes(config), weights.shapes()
    names = {family.exported_name(name): name for name in sorted(stored) if not name.endswith(family.derived)}
    embedding, output = (f"{family.names[module]}.weight" for module in ("embedding", "head"))
    if config.tied_embeddings and output in names:  # some exports store a tied weight twice
        stored_output = weights.tensor(names.pop(output))
        if embedding in names and not torch.equal(stored_output, weights.tensor(names[embedding])):
            raise UserError(
                f"{folder}: config.json ties the embeddings, but {output} differs from {embedding}; "
                'set "tie_word_embeddings": false if the model was trained so'
            )
    if missing := sorted(set(wanted) - set(names)):
        raise UserError(f"{folder}: the weights lack {len(missing)} tensors, such as {missing[0]}")
    if unknown := sorted(set(names) - set(wanted)):
        raise UserError(
            f"{folder}: the weights hold {len(unknown)} tensors that config.json does not call for, "
            f"such as {unknown[0]}"
        )
    for name, tensor in wanted.items():
        found = stored[names[name]].shape
        if found != tensor.shape:
            raise UserError(
                f"{folder}: {name} has the shape {tuple(found)}; config.json asks for {tuple(tensor.shape)}"
            )
    return names


def save_decoder(decoder: CausalModel, folder: Path, tokenizer: Path) -> None:
    """Write a model folder: weights in the model's type, configuration, and the tokenizer's files.

    Args:
        decoder: the model.
        folder: where to; made if absent.
        tokenizer: a folder with tokenizer.json: a tokenizer artifact, or another model.

    Raises:
        UserError: the tokenizer has more entries than the embedding has rows.
    """
    write_description(decoder.config, decoder.embedding.weight.dtype, folder, tokenizer)
    tensors = exported_tensors(decoder, decoder.config)
    write_weights(folder, tensors, lambda name: tensors[name].cpu())


def write_description(
    config: ModelConfig, dtype: torch.dtype, folder: Path, tokenizer: Path, stops: Iterable[int] = ()
) -> None:
    """Write all of a model folder but the weights; see `save_decoder`.

    Args:
        config: the shape.
        dtype: the type of the weights.
        folder: where to; made if absent.
        tokenizer: a folder with tokenizer.json.
        stops: ids that end a generation beside those that the tokenizer's folder names.
    """
    loaded = load_tokenizer(tokenizer)
    size = tokenizer_size(loaded)
    if size > config.vocabulary_size:
        raise UserError(
            f"{tokenizer}: this tokenizer does not belong to this model: it has {size} entries, the model's "
            f"embedding {config.vocabulary_size} rows. Expand the model to it first (do: expand)."
        )
    special = generation_ids(tokenizer, loaded)
    stops = sorted({*special.pop("stops"), *stops})
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config_json(config, dtype) | special, indent=2, sort_keys=True)
    generation = special | {"eos_token_id": stops or None}
    write_json(folder / "generation_config.json", generation, indent=2, sort_keys=True)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
