"""What Hugging Face calls things: config.json and names of tensors, to and from `DecoderConfig` and `Decoder`.

A base model's geometry is taken over exactly or refused: whatever config.json says that changes the maths is either
understood here or an error that names the key. Defaults of keys that are left out are transformers' own.

    gpt2        PolyLM (activation_function="gelu") and GPT-2     exported as GPT2LMHeadModel
    llama       Llama 1 to 3, and mistral without window          exported as LlamaForCausalLM
    qwen2       biases on queries, keys and values                exported as Qwen2ForCausalLM
    qwen3       norms on queries and keys                         exported as Qwen3ForCausalLM
    starcoder2  LayerNorm, GELU and biases with rotary positions: PolyLM's rotary variant, which has no class of its own
                                                                  exported as Starcoder2ForCausalLM
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diglot.base.artifact import UserError
from diglot.model.decoder import DecoderConfig, RotaryScaling

CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "starcoder2": "Starcoder2ForCausalLM",
}
READABLE = (*CLASSES, "mistral")
GELUS = {"gelu": "gelu", "gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh"}

# Keys read here that transformers' classes do not list for every kind.
READ = frozenset({"head_dim", "rope_parameters", "rope_scaling", "rope_theta"})
# Keys of older or other writers of config.json that say nothing about the forward pass.
HARMLESS = frozenset(
    """
    _attn_implementation _commit_hash attn_implementation bad_words_ids begin_suppress_tokens
    cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing is_decoder length_penalty max_length max_window_layers min_length n_ctx
    no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_scores prefix pretraining_tp
    remove_invalid_values repetition_penalty return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p
    torch_dtype torchscript typical_p unsloth_version use_bfloat16
    """.split()  # noqa: SIM905
)

_LLAMA_NAMES = {
    "embedding": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "layers": "model.layers",
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
_STARCODER2_NAMES = _LLAMA_NAMES | {"feed_forward.up": "mlp.c_fc", "feed_forward.down": "mlp.c_proj"}
_GPT2_NAMES = {
    "embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
    "layers": "transformer.h",
    "attention_norm": "ln_1",
    "feed_forward_norm": "ln_2",
    "attention.output": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}
_GPT2_FUSED = ("attention.query", "attention.key", "attention.value")  # = attn.c_attn, in this order


# --- config.json ----------------------------------------------------------------------------------------------


def read_config(folder: Path) -> DecoderConfig:
    """The shape of the model in a Hugging Face folder.

    Raises:
        UserError: config.json is missing or broken, or asks for something that the decoder does not do.
    """
    file = folder / "config.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder}: no config.json; is this a Hugging Face model folder?") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: not readable JSON: {error}") from error
    kind = raw.get("model_type") if isinstance(raw, dict) else None
    if kind not in READABLE:
        raise UserError(f"{file}: model_type: {kind!r} is not supported; supported: {', '.join(READABLE)}")

    from transformers import CONFIG_MAPPING  # configuration classes only: a second less than the models

    try:
        full = CONFIG_MAPPING[kind].from_dict(raw)
    except Exception as error:  # transformers raises many kinds for a bad value
        raise UserError(f"{file}: transformers cannot read it: {error}") from error
    _refuse_unknown(file, raw, full)
    if kind == "gpt2":
        return _read_gpt2(file, full)
    return _read_starcoder2(file, full) if kind == "starcoder2" else _read_llama(file, full, kind)


def _refuse_unknown(file: Path, raw: dict[str, Any], full: Any) -> None:
    """Keys that transformers does not know for this kind may change the maths in code that we don't see."""
    known = {*type(full)().to_dict(), *full.attribute_map, *READ, *HARMLESS}
    for key, value in sorted(raw.items()):
        if key not in known and value not in (None, False):
            raise UserError(
                f"{file}: {key}: unknown for model_type {full.model_type!r} (value {json.dumps(value)[:80]}). "
                "It may change the maths, so the model is refused. If it does not, delete the key."
            )


def _require(file: Path, key: str, value: Any, allowed: tuple[Any, ...], remedy: str = "") -> None:
    if value not in allowed:
        options = " or ".join(json.dumps(option) for option in allowed)
        raise UserError(f"{file}: {key}: {json.dumps(value)} is not supported, only {options}. {remedy}".strip())


def _read_gpt2(file: Path, full: Any) -> DecoderConfig:
    _require(file, "activation_function", full.activation_function, tuple(GELUS))
    _require(file, "scale_attn_weights", full.scale_attn_weights, (True,))
    _require(file, "scale_attn_by_inverse_layer_idx", full.scale_attn_by_inverse_layer_idx, (False,))
    _require(file, "add_cross_attention", full.add_cross_attention, (False,))
    return DecoderConfig(
        vocabulary_size=full.vocab_size,
        num_layers=full.n_layer,
        hidden_size=full.n_embd,
        intermediate_size=full.n_inner or 4 * full.n_embd,
        num_heads=full.n_head,
        num_key_value_heads=full.n_head,
        head_size=full.n_embd // full.n_head,
        max_positions=full.n_positions,
        normalization="layer",
        norm_epsilon=full.layer_norm_epsilon,
        activation=GELUS[full.activation_function],  # type: ignore[arg-type]
        positions="learned",
        query_key_value_bias=True,
        output_bias=True,
        feed_forward_bias=True,
        tied_embeddings=full.tie_word_embeddings,
    )


def _sizes_and_rotary(file: Path, full: Any) -> dict[str, Any]:
    """What Llama's and Starcoder2's descriptions say alike."""
    theta, scaling = _read_rotary(file, dict(full.rope_parameters))
    return {
        "vocabulary_size": full.vocab_size,
        "num_layers": full.num_hidden_layers,
        "hidden_size": full.hidden_size,
        "intermediate_size": full.intermediate_size,
        "num_heads": full.num_attention_heads,
        "num_key_value_heads": full.num_key_value_heads,
        "head_size": getattr(full, "head_dim", None) or full.hidden_size // full.num_attention_heads,
        "max_positions": full.max_position_embeddings,
        "rotary_theta": theta,
        "rotary_scaling": scaling,
        "tied_embeddings": full.tie_word_embeddings,
    }


def _read_llama(file: Path, full: Any, kind: str) -> DecoderConfig:
    _require(file, "hidden_act", full.hidden_act, ("silu", "swish"))
    _refuse_window(file, full)
    attention_bias = bool(getattr(full, "attention_bias", False))
    return DecoderConfig(
        **_sizes_and_rotary(file, full),
        norm_epsilon=full.rms_norm_eps,
        query_key_norm=kind == "qwen3",
        query_key_value_bias=kind == "qwen2" or attention_bias,
        output_bias=attention_bias,
        feed_forward_bias=bool(getattr(full, "mlp_bias", False)),
    )


def _read_starcoder2(file: Path, full: Any) -> DecoderConfig:
    _require(file, "hidden_act", full.hidden_act, tuple(GELUS))
    _refuse_window(file, full)
    return DecoderConfig(
        **_sizes_and_rotary(file, full),
        normalization="layer",
        norm_epsilon=full.norm_epsilon,
        activation=GELUS[full.hidden_act],  # type: ignore[arg-type]
        query_key_value_bias=full.use_bias,
        output_bias=full.use_bias,
        feed_forward_bias=full.use_bias,
    )


def _refuse_window(file: Path, full: Any) -> None:
    window = getattr(full, "sliding_window", None)
    if window is not None and window < full.max_position_embeddings:
        raise UserError(
            f"{file}: sliding_window: attention within a window of {window} tokens is not supported. Up to that "
            f'length the model is the same without it: set "sliding_window": null and '
            f'"max_position_embeddings": {window}.'
        )
    kinds = ("full_attention",) if window is None else ("full_attention", "sliding_attention")
    for layer_type in getattr(full, "layer_types", None) or []:
        _require(file, "layer_types", layer_type, kinds)


def _read_rotary(file: Path, parameters: dict[str, Any]) -> tuple[float, RotaryScaling | None]:
    theta = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type", "default")
    parameters.pop("type", None)  # the older name of rope_type
    remedy = "Take the model as it was before it was stretched, where there is one."
    _require(file, "rope_scaling.rope_type", kind, ("default", "linear", "llama3"), remedy)
    _require(file, "partial_rotary_factor", parameters.pop("partial_rotary_factor", 1.0), (1.0,))
    if kind == "default":
        scaling = None
    elif kind == "linear":
        scaling = RotaryScaling("linear", float(parameters.pop("factor")))
        parameters.pop("original_max_position_embeddings", None)
    else:
        scaling = RotaryScaling(
            "llama3",
            float(parameters.pop("factor")),
            float(parameters.pop("low_freq_factor")),
            float(parameters.pop("high_freq_factor")),
            int(parameters.pop("original_max_position_embeddings")),
        )
    for key, value in sorted(parameters.items()):
        _require(file, f"rope_scaling.{key}", value, (None,))
    return float(theta), scaling


def architecture(config: DecoderConfig) -> str:
    """The Hugging Face model type (a key of CLASSES) that a shape is exported as.

    Raises:
        UserError: transformers has no such model.
    """
    biases = (config.query_key_value_bias, config.output_bias, config.feed_forward_bias)
    family = (config.normalization, config.positions)
    if family == ("layer", "learned") and config.activation != "swiglu" and all(biases):
        square = config.num_heads * config.head_size == config.hidden_size
        if square and config.num_heads == config.num_key_value_heads and not config.query_key_norm:
            return "gpt2"
    alike = len(set(biases)) == 1 and not config.query_key_norm
    if family == ("layer", "rotary") and config.activation != "swiglu" and alike:
        return "starcoder2"
    if family == ("rms", "rotary") and config.activation == "swiglu":
        if config.query_key_norm and biases in ((False, False, False), (True, True, False)):
            return "qwen3"
        if not config.query_key_norm and biases == (True, False, False):
            return "qwen2"
        if not config.query_key_norm and biases[0] == biases[1]:
            return "llama"
    raise UserError(f"no Hugging Face architecture has this shape, so it cannot be written: {config}")


def config_json(config: DecoderConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The content of config.json, but for special tokens; read alike by transformers 4 and 5 and by vLLM."""
    kind = architecture(config)
    common = {
        "architectures": [CLASSES[kind]],
        "model_type": kind,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "tie_word_embeddings": config.tied_embeddings,
        "vocab_size": config.vocabulary_size,
    }
    if kind == "gpt2":
        return common | {
            "activation_function": "gelu" if config.activation == "gelu" else "gelu_new",
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "layer_norm_epsilon": config.norm_epsilon,
            "n_embd": config.hidden_size,
            "n_head": config.num_heads,
            "n_inner": config.intermediate_size,
            "n_layer": config.num_layers,
            "n_positions": config.max_positions,
        }
    values = common | {
        "head_dim": config.head_size,
        "hidden_act": _hidden_act(config),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_positions,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "rope_scaling": _rotary_json(config.rotary_scaling),
        "rope_theta": config.rotary_theta,
    }
    if kind == "starcoder2":
        return values | {
            "attention_dropout": 0.0,
            "embedding_dropout": 0.0,
            "residual_dropout": 0.0,
            "norm_epsilon": config.norm_epsilon,
            "sliding_window": None,
            "use_bias": config.output_bias,
        }
    values["rms_norm_eps"] = config.norm_epsilon
    if kind == "llama":
        values["mlp_bias"] = config.feed_forward_bias
    if kind != "qwen2":
        values["attention_bias"] = config.query_key_value_bias
    return values


def _hidden_act(config: DecoderConfig) -> str:
    return {"swiglu": "silu", "gelu": "gelu", "gelu-tanh": "gelu_pytorch_tanh"}[config.activation]


def _rotary_json(scaling: RotaryScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    if scaling.kind == "linear":
        return {"rope_type": "linear", "factor": scaling.factor}
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_frequency_factor,
        "high_freq_factor": scaling.high_frequency_factor,
        "original_max_position_embeddings": scaling.original_max_positions,
    }


# --- names of tensors -----------------------------------------------------------------------------------------


def embedding_names(config: DecoderConfig) -> list[str]:
    """The Hugging Face names of the tensors that have one row a token: the embedding and an untied output."""
    first = "transformer.wte.weight" if architecture(config) == "gpt2" else "model.embed_tokens.weight"
    return [first] if config.tied_embeddings else [first, "lm_head.weight"]


def to_huggingface(config: DecoderConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a decoder's tensors; GPT-2's projections are also transposed, and its query, key and value joined."""
    if architecture(config) != "gpt2":
        return {_rename(name, _names(config)): tensor for name, tensor in state.items()}
    out = {}
    for name, tensor in state.items():
        module, _, parameter = name.rpartition(".")
        prefix, _, rest = module.partition(".attention.")
        if ".feed_forward." in name or rest == "output":
            out[_rename(name, _GPT2_NAMES)] = tensor.T if parameter == "weight" else tensor
        elif not rest:
            out[_rename(name, _GPT2_NAMES)] = tensor
        elif rest == "query":
            joined = torch.cat([state[f"{prefix}.{part}.{parameter}"] for part in _GPT2_FUSED])
            out[f"{_rename(prefix, _GPT2_NAMES)}.attn.c_attn.{parameter}"] = (
                joined.T if parameter == "weight" else joined
            )
    return out


def from_huggingface(config: DecoderConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_huggingface`."""
    gpt2 = architecture(config) == "gpt2"
    names = {theirs: ours for ours, theirs in _names(config).items()}
    if not gpt2:
        return {_rename(name, names): tensor for name, tensor in tensors.items()}
    out = {}
    for name, tensor in tensors.items():
        linear = re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", name)
        tensor = tensor.T.contiguous() if linear else tensor
        prefix, fused, parameter = name.partition(".attn.c_attn.")
        if fused:
            for part, piece in zip(_GPT2_FUSED, tensor.chunk(3)):
                out[f"{_rename(prefix, names)}.{part}.{parameter}"] = piece.contiguous()
        else:
            out[_rename(name, names)] = tensor
    return out


def _names(config: DecoderConfig) -> dict[str, str]:
    return {"gpt2": _GPT2_NAMES, "starcoder2": _STARCODER2_NAMES}.get(architecture(config), _LLAMA_NAMES)


def _rename(name: str, names: Mapping[str, str]) -> str:
    """Rename `<layers>.<number>.<module>.<parameter>`, `<module>.<parameter>` or `<layers>.<number>`."""
    layered = re.fullmatch(r"(.+?)\.(\d+)(?:\.(.+)\.(weight|bias))?", name)
    if layered is None:
        module, _, parameter = name.rpartition(".")
        return f"{names[module]}.{parameter}"
    layers, number, module, parameter = layered.groups()
    head = f"{names[layers]}.{number}"
    return head if module is None else f"{head}.{names[module]}.{parameter}"
