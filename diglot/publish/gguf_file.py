"""A model as one GGUF file, which llama.cpp loads: `write_gguf(folder, file, "bfloat16")`.

The families of our own decoder that llama.cpp has under the same mathematics: Llama (and Mistral without windows), Qwen2,
Qwen3 and GPT-2. Tensors pass one at a time. What llama.cpp's converter does to them is done here too:

    query, key of Llama    rows of a head change places: llama.cpp rotates neighbours, transformers halves
    projections of GPT-2   transposed: transformers stores them the other way round
    vectors, positions     float32 whatever the type of the file

Legend: H heads, S size of a head, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diglot.base.errors import UserError
from diglot.base.files import atomic
from diglot.model.decoder import DecoderConfig
from diglot.model.families import family_of, read_config
from diglot.model.families.gpt2 import TRANSPOSED
from diglot.model.huggingface import huggingface_names
from diglot.model.rotary import RotaryScaling
from diglot.model.weights import StoredWeights
from diglot.publish.gguf_vocabulary import Vocabulary, read_vocabulary

FAMILIES = ("llama", "qwen2", "qwen3", "gpt2")  # names alike in Hugging Face's config.json and in llama.cpp
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
ROPE_FACTORS = "rope_freqs.weight"


def write_gguf(folder: Path, file: Path, dtype: str = "bfloat16") -> Vocabulary:
    """Write a model's weights, shape, tokenizer and chat template as one file.

    Args:
        folder: a Hugging Face model folder.
        file: where to; written whole or not at all.
        dtype: of the matrices: float32, float16 or bfloat16.

    Returns:
        The vocabulary as it was written, with the texts that llama.cpp cuts otherwise.

    Raises:
        UserError: llama.cpp has no such model or tokenizer, a weight does not fit the type, or `gguf` is not installed.
    """
    try:
        import gguf  # extra: gguf
    except ImportError as error:
        raise UserError("writing GGUF needs the package gguf: pip install 'diglot[gguf]'") from error

    config, name = _config(folder)
    vocabulary = read_vocabulary(folder, config.vocabulary_size)
    with atomic(file) as partial:
        writer = gguf.GGUFWriter(partial, name)
        _write_shape(gguf, writer, config, dtype)
        _write_vocabulary(writer, vocabulary)
        weights = StoredWeights(folder)
        stored = huggingface_names(folder, config, weights)
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[name.upper()], config.num_layers)
        shapes = {stored_name: weights.shapes()[stored_name].shape for stored_name in stored.values()}
        # All shapes stand before all data, so tensors are described first and read one by one after.
        for theirs, source in stored.items():
            kind = _dtype_of(theirs, len(shapes[source]), DTYPES[dtype])
            shape = tuple(shapes[source])[:: -1 if _is_transposed(name, theirs) else 1]
            place = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
            assert place is not None, f"llama.cpp has no place for {theirs}"
            writer.add_tensor_info(
                place, shape, np.dtype(np.float32), math.prod(shape) * kind.itemsize, _raw(gguf, kind)
            )
        factors = rope_factors(config)
        if factors is not None:
            writer.add_tensor_info(ROPE_FACTORS, factors.shape, factors.dtype, factors.nbytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for theirs, tensor in _tensors(folder, config, weights, stored, name):
            writer.write_tensor_data(_array(folder, theirs, tensor, _dtype_of(theirs, tensor.ndim, DTYPES[dtype])))
        if factors is not None:
            writer.write_tensor_data(factors)
        writer.close()
    return vocabulary


def _config(folder: Path) -> tuple[DecoderConfig, str]:
    """The shape of a model that llama.cpp computes as we do, and its name of the architecture."""
    config = read_config(folder)
    name = family_of(config).model_type
    if name not in FAMILIES or not isinstance(config, DecoderConfig):
        raise UserError(f"{folder}: no GGUF is written of the family {name}; there are {', '.join(FAMILIES)}")
    scaling = config.rotary_scaling
    reasons = {
        "windows of attention": bool(config.layer_attention),
        "the exact GELU (llama.cpp's GPT-2 has its approximation by tanh)": config.activation == "gelu",
        f"rotary positions stretched by {scaling and scaling.kind}": scaling
        and scaling.kind not in ("linear", "llama3"),
        "biases in attention": name == "qwen3" and config.query_key_value_bias,
    }
    if found := [words for words, has in reasons.items() if has]:
        raise UserError(f"{folder}: no GGUF is written of {name} models with {found[0]}")
    return config, name


def _write_shape(gguf: Any, writer: Any, config: DecoderConfig, dtype: str) -> None:
    """The keys of the architecture, by llama.cpp's names."""
    types = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16"}
    writer.add_file_type(gguf.LlamaFileType[types[dtype]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocabulary_size)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    if config.positions == "learned":
        writer.add_layer_norm_eps(config.norm_epsilon)
        return
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    # llama.cpp takes hidden size over heads where these are left out, which is wrong for Qwen3.
    writer.add_key_length(config.head_size)
    writer.add_value_length(config.head_size)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_rope_freq_base(config.rotary_theta)
    if config.rotary_scaling is not None and config.rotary_scaling.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rotary_scaling.factor)


def _write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([int(kind) for kind in vocabulary.types])
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    for role, number in vocabulary.special.items():
        if number is not None:
            getattr(writer, f"add_{role}_token_id")(number)
    # Said in any case: llama.cpp has defaults of its own for each name of a pattern.
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    writer.add_add_space_prefix(vocabulary.space_before)
    if vocabulary.template is not None:
        writer.add_chat_template(vocabulary.template)


# --- tensors --------------------------------------------------------------------------------------------------


def _tensors(
    folder: Path, config: DecoderConfig, weights: StoredWeights, stored: dict[str, str], name: str
) -> Iterator[tuple[str, Tensor]]:
    """Each tensor by its Hugging Face name, as llama.cpp wants it."""
    for theirs, source in stored.items():
        tensor = weights.tensor(source)
        if _is_transposed(name, theirs):
            tensor = tensor.T
        if name == "llama" and ".self_attn.q_proj." in theirs:
            tensor = interleaved(tensor, config.num_heads)
        elif name == "llama" and ".self_attn.k_proj." in theirs:
            tensor = interleaved(tensor, config.num_key_value_heads)
        yield theirs, tensor


def _is_transposed(name: str, theirs: str) -> bool:
    return name == "gpt2" and theirs.endswith(TRANSPOSED)


def interleaved(tensor: Tensor, num_heads: int) -> Tensor:
    """Rows of each head, whose halves are rotated against each other, as neighbours: 0, S/2, 1, S/2 + 1, …

    Args:
        tensor: (HS, D), or (HS) of a bias.
        num_heads: H.
    """
    halves = tensor.reshape(num_heads, 2, -1, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def rope_factors(config: DecoderConfig) -> np.ndarray | None:
    """By how much each rotary frequency is divided (S/2), as Llama 3.1 has it; None where none is."""
    scaling = config.rotary_scaling
    if scaling is None or scaling.kind != "llama3":
        return None
    units = np.arange(0, config.head_size, 2) / config.head_size
    turns = scaling.original_max_positions / (2 * math.pi * config.rotary_theta**units)
    return _llama3(turns, scaling).astype(np.float32)


def _llama3(turns: np.ndarray, scaling: RotaryScaling) -> np.ndarray:
    """Slow frequencies by the factor, fast ones by 1, with a smooth passage between; by turns in the original context."""
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return 1 / ((1 - smooth) / scaling.factor + smooth)


def _dtype_of(theirs: str, num_axes: int, wanted: torch.dtype) -> torch.dtype:
    """llama.cpp computes with vectors and with learned positions in float32 alone."""
    return torch.float32 if num_axes == 1 or theirs.endswith("wpe.weight") else wanted


def _raw(gguf: Any, kind: torch.dtype) -> Any:
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    return gguf.GGMLQuantizationType[names[kind]]


def _array(folder: Path, theirs: str, tensor: Tensor, kind: torch.dtype) -> np.ndarray:
    """A tensor's bytes in a type, which NumPy need not know."""
    turned = tensor.to(kind).contiguous()
    if kind == torch.float16 and not torch.isfinite(turned).all() and torch.isfinite(tensor).all():
        raise UserError(f"{folder}: {theirs} holds numbers that are too large for float16; take bfloat16")
    return turned.reshape(-1).view(torch.uint8).numpy()
