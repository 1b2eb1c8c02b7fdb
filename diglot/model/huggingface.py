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

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import expand_home, write_json
from diglot.base.summaries.model import ImportedModel, ImportedTokenizer, Shape
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.families import config_json, family_of, read_config, read_config_with_notes
from diglot.model.weights import StoredWeights, write_weights
from diglot.recipe.model import ImportModel
from diglot.tokenizer.export import write_for_transformers
from diglot.tokenizer.folder import bytes_without_token, generation_ids, load_tokenizer, tokenizer_size

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


def run(settings: ImportModel, inputs: Inputs, output: Path, context: Context) -> ImportedModel:
    """Take in a model folder or a model of the Hugging Face hub, checked and rewritten in Diglot's form.

    The weights stream through, one tensor at a time.

    Raises:
        UserError: the folder is absent or the hub unreachable, or the model is not one that Diglot trains.
    """
    folder = find_model(settings.path)
    (config, ignored), weights = read_config_with_notes(folder), StoredWeights(folder)
    names, shapes = huggingface_names(folder, config, weights), weights.shapes()
    dtype = shapes[names[family_of(config).embedding_names(config)[0]]].dtype
    write_description(config, dtype, output, folder)
    tokenizer = write_for_transformers(folder, output)
    done = 0

    def stored(name: str) -> Tensor:
        nonlocal done
        done += 1
        context.progress(done, len(names), "tensors", name)
        return weights.tensor(names[name])

    write_weights(output, {name: shapes[own] for name, own in names.items()}, stored)
    return ImportedModel(
        **describe(config),
        dtype=str(dtype).removeprefix("torch."),
        tokenizer=ImportedTokenizer(*tokenizer, bytes_without_token(load_tokenizer(folder))),
        weights_passed_over=weights.passed_over,
        keys_passed_over=ignored,
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


def describe(config: DecoderConfig) -> dict[str, Any]:
    """What every summary of a model says: architecture, parameters and shape."""
    return {
        "architecture": family_of(config).model_type,
        "parameters": count_parameters(config),
        "shape": Shape(**{each.name: getattr(config, each.name) for each in fields(Shape)}),
    }


def count_parameters(config: DecoderConfig) -> int:
    """Number of trained values; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Decoder(config).parameters())


# --- weights --------------------------------------------------------------------------------------------------


def load_decoder(folder: Path, dtype: torch.dtype | None = torch.float32) -> Decoder:
    """Load a model.

    Args:
        folder: a Hugging Face model folder.
        dtype: the type of the weights; None keeps the stored one. Bfloat16 turns into float32 without loss.

    Raises:
        UserError: the folder is not a whole model of a supported kind.
    """
    config = read_config(folder)
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


def huggingface_shapes(config: DecoderConfig) -> dict[str, Tensor]:
    """Every tensor of the exported model by its Hugging Face name, on the meta device."""
    with torch.device("meta"):
        return family_of(config).to_huggingface(Decoder(config).state_dict())


def huggingface_names(folder: Path, config: DecoderConfig, weights: StoredWeights) -> dict[str, str]:
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


def save_decoder(decoder: Decoder, folder: Path, tokenizer: Path) -> None:
    """Write a model folder: weights in the decoder's type, configuration, and the tokenizer's files.

    Args:
        decoder: the model.
        folder: where to; made if absent.
        tokenizer: a folder with tokenizer.json: a tokenizer artifact, or another model.

    Raises:
        UserError: the tokenizer has more entries than the embedding has rows.
    """
    write_description(decoder.config, decoder.embedding.weight.dtype, folder, tokenizer)
    tensors = family_of(decoder.config).to_huggingface(decoder.state_dict())
    write_weights(folder, tensors, lambda name: tensors[name].cpu())


def write_description(
    config: DecoderConfig, dtype: torch.dtype, folder: Path, tokenizer: Path, stops: Iterable[int] = ()
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
