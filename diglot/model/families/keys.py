"""Which keys of config.json may be passed over: those that transformers' class of the model does not know and never reads.

The class is the model's meaning: what it ignores changes nothing that anybody computes with it. So a key that it does
not define and that its code does not mention is taken with a note. Three sorts are refused all the same: what stands for
other weights or other code, what the class's code reads although it does not define it, and names that other
architectures compute with, whose writer meant something by them.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.base.format import excerpt

# Keys that families read although transformers' classes do not list them for every kind.
READ = frozenset(
    {
        "head_dim",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
    }
)
LABELS = ("num_labels", "id2label", "label2id")  # of classifiers
# Keys of every transformers folder, or of generation, that older or other writers put here; not worth a note.
HARMLESS = frozenset(
    """
    _attn_implementation _commit_hash attn_implementation bad_words_ids begin_suppress_tokens
    cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing is_decoder length_penalty max_length max_window_layers min_length n_ctx
    no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_scores prefix pretraining_tp
    remove_invalid_values repetition_penalty return_dict_in_generate sep_token_id suppress_tokens
    task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript typical_p
    use_bfloat16
    """.split()  # noqa: SIM905
)
REFUSED = {
    "auto_map": "it names code of the model's own, which is never run. If transformers' own class computes the same, "
    "delete the key",
    "quantization_config": "quantized weights are not read. Take the model before it was quantized",
}
# What other architectures compute with (by transformers' modeling files, and nanotron for rope_interleaved), unless 1 or 0.
ELSEWHERE = frozenset(
    """
    alibi attention_bias attention_multiplier attn_logit_softcapping clip_qkv dim_model_base embedding_multiplier
    final_logit_softcapping layer_types logit_scale logits_scaling mlp_bias no_rope_layers num_experts
    num_local_experts parallel_attn partial_rotary_factor qk_layernorm query_pre_attn_scalar residual_multiplier
    rope_interleaved rotary_pct scale_depth scale_emb sliding_window use_bias use_parallel_residual use_qk_norm
    """.split()  # noqa: SIM905
)
# Modules of transformers that read a configuration for all models alike.
SHARED = ("modeling_utils.py", "masking_utils.py", "modeling_rope_utils.py", "cache_utils.py")


def ignored_keys(file: Path, raw: dict[str, Any], full: Any) -> list[str]:
    """Keys of config.json that change nothing, because transformers' class of the model ignores them.

    Args:
        file: named in errors.
        raw: what stands in it.
        full: transformers' configuration.

    Raises:
        UserError: a key may change what is computed.
    """
    known = {*type(full)().to_dict(), *full.attribute_map, *READ, *HARMLESS, *LABELS}
    passed_over = []
    for key, value in sorted(raw.items()):
        if key in known:
            continue
        if value is not None and value is not False and (why := _refused(key, value, full)):
            shown = excerpt(json.dumps(value), 80)
            raise UserError(f"{file}: {key}: unknown for model_type {full.model_type!r} (value {shown}): {why}.")
        passed_over.append(key)
    return passed_over


def _refused(key: str, value: Any, full: Any) -> str:
    """Why a key may not be passed over; empty if it may."""
    if key in REFUSED:
        return REFUSED[key]
    if is_read(key, type(full)):
        return "transformers reads it, and Diglot does not know what it changes. If it changes nothing, delete the key"
    neutral = value in (0, 1) and not isinstance(value, bool)
    if key in ELSEWHERE and not neutral:
        return (
            "transformers' class of this type ignores it, but other architectures compute with it. If this model was "
            "not made so, delete the key"
        )
    return ""


def is_read(key: str, kind: type) -> bool:
    """Whether transformers' code mentions a key of the configuration of this class."""
    name = re.escape(key)
    return re.search(rf'\bconfig(\.{name}\b|,\s*"{name}")', _sources(kind)) is not None


@functools.cache
def _sources(kind: type) -> str:
    """The code that a model of this configuration runs: its modeling file, and what all models share."""
    import transformers  # start-up: a second

    module = kind.__module__.split(".")  # transformers.models.llama.configuration_llama
    root = Path(transformers.__file__).parent
    own = root.joinpath(*module[1:-1], module[-1].replace("configuration_", "modeling_") + ".py")
    return "\n".join(path.read_text() for path in (own, *(root / name for name in SHARED)) if path.is_file())
