"""Small random models of families that run as transformers' module, made with transformers' own classes."""

from pathlib import Path

import torch
import transformers
from model_builders import write_tokenizer

SIZES = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3,
}  # fmt: skip
WINDOW = {"sliding_window": 8}
PACKED = {
    "apertus": {},
    "cohere": {},
    "cohere2": WINDOW,
    "ernie4_5": {},
    "exaone4": WINDOW,
    "gemma2": WINDOW | {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.0},
    "gemma3_text": WINDOW | {"query_pre_attn_scalar": 16},
    "glm4": {},
    "gpt_bigcode": {},
    "gpt_neox": {},
    "gpt_oss": WINDOW | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "granite": {
        "logits_scaling": 3.0,
        "embedding_multiplier": 2.0,
        "residual_multiplier": 0.5,
        "attention_multiplier": 0.3,
    },
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "helium": {},
    "hunyuan_v1_dense": {},
    "mixtral": {"num_local_experts": 4},
    "nemotron": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2},
    "seed_oss": {},
    "stablelm": {},
}
ALONE = {
    "bloom": {"n_layer": 3, "n_head": 4},
    "falcon": {"num_kv_heads": 2},
    # Its config.json holds an infinity, as transformers writes it.
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16},
    "mamba": {},
    "qwen3_next": {},
}
KEYS = {  # of classes that take other ones
    "bloom": ("vocab_size", "hidden_size"),
    "falcon": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    "mamba": ("vocab_size", "hidden_size", "num_hidden_layers"),
    "gpt_bigcode": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
}


def foreign_model(kind: str, **changes) -> transformers.PreTrainedModel:
    """A module with all weights, biases and norms drawn at random, in its plainest attention."""
    torch.manual_seed(0)
    special = ("bos_token_id", "eos_token_id", "pad_token_id")
    sizes = {key: SIZES[key] for key in (*KEYS.get(kind, SIZES), *special)}
    config = transformers.CONFIG_MAPPING[kind](**sizes | (PACKED | ALONE).get(kind, {}) | changes)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def save_foreign(kind: str, folder: Path, **changes) -> Path:
    """Its folder, with a tokenizer."""
    transformers.utils.logging.disable_progress_bar()
    foreign_model(kind, **changes).save_pretrained(folder)
    return write_tokenizer(folder)
