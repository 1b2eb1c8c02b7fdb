"""The families of models that Diglot reads and writes: Hugging Face's config.json and names, to and from ours.

A base model's geometry is taken over exactly or refused: whatever config.json says that changes the maths is either
understood by its family or an error that names the key. Defaults of keys that are left out are transformers' own.

    gpt2        PolyLM (activation_function="gelu") and GPT-2
    llama       Llama 1 to 3
    mistral     without a window; exported as llama
    qwen2       biases on queries, keys and values
    qwen3       norms on queries and keys
    starcoder2  LayerNorm, GELU and biases with rotary positions: PolyLM's rotary variant, which has no class of its own

README.md beside this file says how to add one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.base.format import excerpt
from diglot.model.decoder import MAX_LAYERS, MAX_SIZE, DecoderConfig
from diglot.model.families.common import ASKED, Family, check_types
from diglot.model.families.gpt2 import GPT2
from diglot.model.families.llama import Llama, Mistral
from diglot.model.families.qwen2 import Qwen2
from diglot.model.families.qwen3 import Qwen3
from diglot.model.families.starcoder2 import Starcoder2

FAMILIES: dict[str, Family] = {
    family.model_type: family for family in (GPT2(), Llama(), Mistral(), Qwen2(), Qwen3(), Starcoder2())
}

# Keys read here that transformers' classes do not list for every kind.
READ = frozenset({"head_dim", "rope_parameters", "rope_scaling", "rope_theta"})
LAYERS = ("num_hidden_layers", "n_layer")
LABELS = ("num_labels", "id2label", "label2id")  # of classifiers
# Keys of older or other writers of config.json that say nothing about the forward pass.
HARMLESS = frozenset(
    """
    _attn_implementation _commit_hash _model_name_or_path attn_implementation bad_words_ids begin_suppress_tokens
    cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing is_decoder length_penalty max_length max_window_layers min_length n_ctx
    no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_scores prefix pretraining_tp
    remove_invalid_values repetition_penalty return_dict_in_generate sep_token_id suppress_tokens
    task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript typical_p
    unsloth_version use_bfloat16
    """.split()  # noqa: SIM905
)


def family_of(config: DecoderConfig) -> Family:
    """The family that a shape is exported as.

    Raises:
        UserError: transformers has no such model.
    """
    for family in FAMILIES.values():
        if family.fits(config):
            return family
    raise UserError(f"no Hugging Face architecture has this shape, so it cannot be written: {config}")


def read_config(folder: Path) -> DecoderConfig:
    """The shape of the model in a Hugging Face folder.

    Raises:
        UserError: config.json is missing or broken, or asks for something that the decoder does not do.
    """
    file, raw = folder / "config.json", read_raw_config(folder)
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UserError(f"{file}: model_type: {kind!r} is not supported; supported: {', '.join(FAMILIES)}")

    from transformers import CONFIG_MAPPING  # start-up: a second

    check_types(file, raw, nullable=ASKED)  # before transformers, which divides by the heads
    try:
        full = CONFIG_MAPPING[kind].from_dict({key: value for key, value in raw.items() if key not in LABELS})
    except Exception as error:  # transformers raises many kinds for a bad value
        raise UserError(f"{file}: transformers cannot read it: {excerpt(' '.join(str(error).split()))}") from error
    _refuse_unknown(file, raw, full)
    check_types(file, {key: getattr(full, key) for key in ASKED if hasattr(full, key)})
    try:
        return FAMILIES[kind].read(file, full)
    except UserError as error:
        raise error if str(error).startswith(str(file)) else UserError(f"{file}: {error}") from error


def read_raw_config(folder: Path) -> dict[str, Any]:
    """config.json of any kind of model, as long as transformers does not take for ever over it: it makes lists of layers.

    Raises:
        UserError: it is missing or broken, or has sizes that no model has.
    """
    file = folder / "config.json"
    raw = read_json(file, "give the folder of a whole Hugging Face model")
    if not isinstance(raw, dict):
        raise UserError(f"{file}: a JSON object is wanted, not {type(raw).__name__}")
    for key, value in raw.items():
        most = MAX_LAYERS if key in LAYERS else MAX_SIZE
        if isinstance(value, int) and abs(value) > most and key not in LABELS:
            raise UserError(f"{file}: {key}: {excerpt(str(value), 20)} is more than any model has ({most:,})")
    return raw


def _refuse_unknown(file: Path, raw: dict[str, Any], full: Any) -> None:
    """Keys that transformers does not know for this kind may change the maths in code that we don't see."""
    known = {*type(full)().to_dict(), *full.attribute_map, *READ, *HARMLESS, *LABELS}
    for key, value in sorted(raw.items()):
        if key not in known and value not in (None, False):
            raise UserError(
                f"{file}: {key}: unknown for model_type {full.model_type!r} (value {json.dumps(value)[:80]}). "
                "It may change the maths, so the model is refused. If it does not, delete the key."
            )


def config_json(config: DecoderConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The content of config.json, but for special tokens; read alike by transformers 4 and 5 and by vLLM.

    Raises:
        UserError: transformers has no model of this shape.
    """
    family = family_of(config)
    return {
        "architectures": [family.model_class],
        "model_type": family.model_type,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "tie_word_embeddings": config.tied_embeddings,
        "vocab_size": config.vocabulary_size,
        **family.write(config),
    }
