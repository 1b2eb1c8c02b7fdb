"""config.json of models of the Hugging Face hub, written from their published values; what only names versions is left out.

The lists of LongRoPE's factors have the published lengths and kinds of values, not every digit.
"""

from typing import Any

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    "initializer_range": 0.02, "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "use_cache": True, "pretraining_tp": 1,
}  # fmt: skip
LLAMA2_7B = LLAMA | {
    "hidden_size": 4096, "intermediate_size": 11008, "max_position_embeddings": 4096, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 32000,
}  # fmt: skip
LLAMA3 = {
    "bos_token_id": 128000, "eos_token_id": 128001, "rope_theta": 500000.0, "vocab_size": 128256,
    "attention_bias": False, "attention_dropout": 0.0,
}  # fmt: skip
LLAMA3_8B = LLAMA2_7B | LLAMA3 | {"intermediate_size": 14336, "num_key_value_heads": 8, "max_position_embeddings": 8192}
STRETCHED = {
    "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}  # fmt: skip
LLAMA31_8B = LLAMA3_8B | {"max_position_embeddings": 131072, "mlp_bias": False, "rope_scaling": STRETCHED}
MISTRAL_7B = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 32000,
}  # fmt: skip
QWEN: dict[str, Any] = {
    "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu", "initializer_range": 0.02,
    "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "torch_dtype": "bfloat16", "use_cache": True,
    "use_sliding_window": False,
}  # fmt: skip
QWEN2_7B = QWEN | {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "max_position_embeddings": 131072, "max_window_layers": 28, "num_attention_heads": 28, "num_hidden_layers": 28,
    "num_key_value_heads": 4, "sliding_window": 131072, "tie_word_embeddings": False, "vocab_size": 152064,
}  # fmt: skip
QWEN3_8B = QWEN | {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False, "head_dim": 128,
    "hidden_size": 4096, "intermediate_size": 12288, "max_position_embeddings": 40960, "max_window_layers": 36,
    "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8, "rope_scaling": None,
    "sliding_window": None, "tie_word_embeddings": False, "vocab_size": 151936,
}  # fmt: skip
OLMO2_7B = {
    "architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", "attention_bias": False, "attention_dropout": 0.0,
    "eos_token_id": 100257, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
    "intermediate_size": 11008, "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 32, "pad_token_id": 100277, "rms_norm_eps": 1e-06, "rope_scaling": None,
    "rope_theta": 500000, "tie_word_embeddings": False, "torch_dtype": "float32", "use_cache": True, "vocab_size": 100352,
}  # fmt: skip
LONG = [1.07, 1.12, 1.15, 1.42, 1.57, 1.8, 2.13, 2.13, 3.01, 5.91, 6.95, 9.07, 9.93, 10.71, 11.13, 14.61, 15.41, 19.81]
LONG += [37.28, 38.28, 38.6, 40.12, 46.2, 50.94, 53.66, 54.94, 56.9, 57.29, 59.99, 60.87, 60.89, 61.72, 62.92, 62.96]
LONG += [63.42, 63.82, 63.84, 63.9, 63.94, 64.07, 64.11, 64.12, 64.15, 64.19, 64.24, 64.57, 64.69, 64.76]
SHORT = [1.1, 1.1, 1.1, 1.3, 1.35, 1.35, 1.4, 1.55, *[2.0] * 6, *[2.05] * 10, *[2.1] * 8, *[2.2] * 6, *[2.35] * 6]
SHORT += [2.4, 2.6, 2.65, 2.7]
PHI3_MINI = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "attention_bias": False, "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
    },
    "bos_token_id": 1, "embd_pdrop": 0.0, "eos_token_id": 32000, "hidden_act": "silu", "hidden_size": 3072,
    "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 4096, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 32, "original_max_position_embeddings": 4096, "pad_token_id": 32000,
    "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0, "sliding_window": 2047,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 32064,
}  # fmt: skip
LONGROPE = {"long_factor": LONG, "short_factor": SHORT, "type": "longrope"}
JAIS = {
    "architectures": ["JAISLMHeadModel"], "model_type": "jais", "activation_function": "swiglu", "n_embd": 5120,
    "n_head": 40, "n_layer": 40, "n_inner": 13653, "n_positions": 2048, "position_embedding_type": "alibi",
    "vocab_size": 84992, "mup_output_alpha": 1.0, "auto_map": {"AutoConfig": "configuration_jais.JAISConfig"},
}  # fmt: skip

# By name: config.json, and the parameters that the hub or the paper gives, a tied embedding counted once.
HUB: dict[str, tuple[dict[str, Any], int]] = {
    "meta-llama/Llama-2-7b-hf": (LLAMA2_7B | {"_name_or_path": "meta-llama/Llama-2-7b-hf"}, 6_738_415_616),
    "meta-llama/Meta-Llama-3-8B": (LLAMA3_8B, 8_030_261_248),
    "meta-llama/Llama-3.1-8B": (LLAMA31_8B, 8_030_261_248),
    "meta-llama/Llama-3.2-1B": (
        LLAMA31_8B | {
            "head_dim": 64, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
            "rope_scaling": STRETCHED | {"factor": 32.0}, "tie_word_embeddings": True,
        },
        1_235_814_400,
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": (LLAMA31_8B, 8_030_261_248),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": (
        LLAMA2_7B | {
            "attention_bias": False, "hidden_size": 2048, "intermediate_size": 5632, "max_position_embeddings": 2048,
            "num_hidden_layers": 22, "num_key_value_heads": 4, "rope_theta": 10000.0,
        },
        1_100_048_384,
    ),
    "ALLaM-AI/ALLaM-7B-Instruct-preview": (
        LLAMA2_7B | {"attention_bias": False, "mlp_bias": False, "vocab_size": 64000, "rope_theta": 10000.0},
        7_000_559_616,
    ),
    "01-ai/Yi-6B": (
        LLAMA2_7B | {"num_key_value_heads": 4, "rope_theta": 5000000.0, "vocab_size": 64000, "pad_token_id": 0},
        6_061_035_520,
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (
        LLAMA | {
            "attention_bias": False, "attention_dropout": 0.0, "hidden_size": 576, "initializer_range": 0.041666666666666664,
            "intermediate_size": 1536, "is_llama_config": True, "max_position_embeddings": 8192, "mlp_bias": False,
            "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2,
            "rope_interleaved": False, "rope_theta": 100000, "tie_word_embeddings": True, "vocab_size": 49152,
            "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
        },
        134_515_008,
    ),
    "mistralai/Mistral-7B-v0.1": (MISTRAL_7B, 7_241_732_096),
    "mistralai/Mistral-7B-v0.3": (
        MISTRAL_7B | {"attention_dropout": 0.0, "rope_theta": 1000000.0, "sliding_window": None, "vocab_size": 32768},
        7_248_023_552,
    ),
    "mistralai/Mistral-Nemo-Base-2407": (
        MISTRAL_7B | {
            "attention_dropout": 0.0, "head_dim": 128, "hidden_size": 5120, "max_position_embeddings": 131072,
            "num_hidden_layers": 40, "rope_theta": 1000000.0, "sliding_window": None, "vocab_size": 131072,
        },
        12_247_782_400,
    ),
    "Qwen/Qwen2-7B": (QWEN2_7B, 7_615_616_512),
    "Qwen/Qwen2.5-7B": (QWEN2_7B | {"use_mrope": False}, 7_615_616_512),
    "Qwen/Qwen2.5-7B-Instruct with YaRN": (
        QWEN2_7B | {
            "max_position_embeddings": 32768,
            "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"},
        },
        7_615_616_512,
    ),
    "Qwen/Qwen2.5-1.5B-Instruct": (
        QWEN2_7B | {
            "eos_token_id": 151645, "hidden_size": 1536, "intermediate_size": 8960, "max_position_embeddings": 32768,
            "max_window_layers": 21, "num_attention_heads": 12, "num_key_value_heads": 2, "sliding_window": 32768,
            "tie_word_embeddings": True, "vocab_size": 151936,
        },
        1_543_714_304,
    ),
    "Qwen/Qwen3-8B": (QWEN3_8B, 8_190_735_360),
    "Qwen/Qwen3-0.6B": (
        QWEN3_8B | {
            "hidden_size": 1024, "intermediate_size": 3072, "max_window_layers": 28, "num_attention_heads": 16,
            "num_hidden_layers": 28, "tie_word_embeddings": True,
        },
        596_049_920,
    ),
    "Qwen/Qwen3-8B with YaRN": (
        QWEN3_8B | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
        8_190_735_360,
    ),
    "HuggingFaceTB/SmolLM3-3B": (
        {
            "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "attention_bias": False,
            "attention_dropout": 0.0, "bos_token_id": None, "eos_token_id": 128012, "hidden_act": "silu",
            "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 11008,
            "layer_types": ["full_attention"] * 36, "max_position_embeddings": 65536, "max_window_layers": 28,
            "mlp_bias": False, "no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0] * 9,
            "num_attention_heads": 16, "num_hidden_layers": 36, "num_key_value_heads": 4, "pad_token_id": 128004,
            "pretraining_tp": 2, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 5000000.0,
            "sliding_window": None, "torch_dtype": "bfloat16", "use_cache": False, "use_sliding_window": False,
            "vocab_size": 128256,
        },
        3_075_098_624,
    ),
    "allenai/OLMo-2-1124-7B": (OLMO2_7B, 7_298_617_344),
    "allenai/Olmo-3-1025-7B": (
        OLMO2_7B | {
            "architectures": ["Olmo3ForCausalLM"], "model_type": "olmo3", "max_position_embeddings": 65536,
            "layer_types": [*["sliding_attention"] * 3, "full_attention"] * 8, "sliding_window": 4096,
            "rope_scaling": {
                "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0, "factor": 8.0,
                "original_max_position_embeddings": 8192, "rope_type": "yarn",
            },
            "vocab_size": 100278,
        },
        7_298_011_136,
    ),
    "microsoft/phi-4": (
        {key: value for key, value in PHI3_MINI.items() if key != "auto_map"} | {
            "bos_token_id": 100257, "eos_token_id": 100265, "hidden_size": 5120, "intermediate_size": 17920,
            "max_position_embeddings": 16384, "num_attention_heads": 40, "num_hidden_layers": 40,
            "num_key_value_heads": 10, "original_max_position_embeddings": 16384, "pad_token_id": 100349,
            "rope_theta": 250000, "sliding_window": None, "vocab_size": 100352,
        },
        14_659_507_200,
    ),
    "microsoft/Phi-3-mini-4k-instruct": (PHI3_MINI, 3_821_079_552),
    "microsoft/Phi-3-mini-128k-instruct": (
        PHI3_MINI | {"max_position_embeddings": 131072, "rope_scaling": LONGROPE, "sliding_window": 262144},
        3_821_079_552,
    ),
    "microsoft/Phi-4-mini-instruct": (
        PHI3_MINI | {
            "bos_token_id": 199999, "eos_token_id": 199999, "full_attn_mod": 1, "interpolate_factor": 1,
            "lm_head_bias": False, "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 24,
            "num_key_value_heads": 8, "pad_token_id": 199999, "partial_rotary_factor": 0.75, "rope_scaling": LONGROPE,
            "sliding_window": 262144, "tie_word_embeddings": True, "vocab_size": 200064,
        },
        3_836_021_760,
    ),
    "bigcode/starcoder2-3b": (
        {
            "architectures": ["Starcoder2ForCausalLM"], "model_type": "starcoder2", "attention_dropout": 0.1,
            "bos_token_id": 0, "embedding_dropout": 0.1, "eos_token_id": 0, "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 3072, "initializer_range": 0.018042, "intermediate_size": 12288,
            "max_position_embeddings": 16384, "mlp_type": "default", "norm_epsilon": 1e-05, "norm_type": "layer_norm",
            "num_attention_heads": 24, "num_hidden_layers": 30, "num_key_value_heads": 2, "residual_dropout": 0.1,
            "rope_theta": 999999.4420358813, "sliding_window": 4096, "torch_dtype": "bfloat16", "use_bias": True,
            "use_cache": True, "vocab_size": 49152,
        },
        3_030_371_328,
    ),
    "openai-community/gpt2": (
        {
            "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
            "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12,
            "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1,
            "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
            "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": 50257,
        },
        124_439_808,
    ),
}  # fmt: skip

GEMMA = {
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 2, "eos_token_id": 1, "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh", "initializer_range": 0.02, "pad_token_id": 0, "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06, "torch_dtype": "float32", "use_cache": True,
}  # fmt: skip
# Not of our own decoder: transformers' module runs (docs/bases.md).
FOREIGN: dict[str, tuple[dict[str, Any], int]] = {
    "google/gemma-2-2b": (
        GEMMA | {
            "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "attn_logit_softcapping": 50.0,
            "cache_implementation": "hybrid", "final_logit_softcapping": 30.0, "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 2304, "intermediate_size": 9216, "max_position_embeddings": 8192, "num_attention_heads": 8,
            "num_hidden_layers": 26, "num_key_value_heads": 4, "rope_theta": 10000.0, "sliding_window": 4096,
            "vocab_size": 256000,
        },
        2_614_341_888,
    ),
    "google/gemma-3-1b-pt": (
        GEMMA | {
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "attn_logit_softcapping": None,
            "cache_implementation": "hybrid", "final_logit_softcapping": None, "hidden_size": 1152,
            "intermediate_size": 6912, "max_position_embeddings": 32768, "num_attention_heads": 4,
            "num_hidden_layers": 26, "num_key_value_heads": 1, "rope_local_base_freq": 10000, "rope_scaling": None,
            "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6, "vocab_size": 262144,
        },
        999_885_952,
    ),
    "ibm-granite/granite-3.1-2b-instruct": (
        LLAMA3_8B | {
            "architectures": ["GraniteForCausalLM"], "model_type": "granite", "attention_dropout": 0.1,
            "attention_multiplier": 0.015625, "bos_token_id": 0, "embedding_multiplier": 12.0, "eos_token_id": 0,
            "hidden_size": 2048, "intermediate_size": 8192, "logits_scaling": 8.0, "max_position_embeddings": 131072,
            "mlp_bias": False, "num_hidden_layers": 40, "pad_token_id": 0, "residual_multiplier": 0.22,
            "rope_theta": 5000000.0, "tie_word_embeddings": True, "vocab_size": 49155,
        },
        2_533_531_648,
    ),
    "mistralai/Mixtral-8x7B-v0.1": (
        MISTRAL_7B | {
            "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "attention_dropout": 0.0,
            "num_experts_per_tok": 2, "num_local_experts": 8, "output_router_logits": False, "rope_theta": 1000000.0,
            "router_aux_loss_coef": 0.02, "sliding_window": None,
        },
        46_702_792_704,
    ),
    "EleutherAI/pythia-160m": (
        {
            "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "bos_token_id": 0, "eos_token_id": 0,
            "hidden_act": "gelu", "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
            "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "num_attention_heads": 12,
            "num_hidden_layers": 12, "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False,
            "torch_dtype": "float16", "use_cache": True, "use_parallel_residual": True, "vocab_size": 50304,
        },
        162_322_944,
    ),
    "stabilityai/stablelm-2-1_6b": (
        {
            "architectures": ["StableLmForCausalLM"], "model_type": "stablelm", "bos_token_id": 100257,
            "eos_token_id": 100257, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
            "intermediate_size": 5632, "layer_norm_eps": 1e-05, "max_position_embeddings": 4096,
            "num_attention_heads": 32, "num_hidden_layers": 24, "num_key_value_heads": 32, "partial_rotary_factor": 0.25,
            "rope_theta": 10000, "tie_word_embeddings": False, "torch_dtype": "float16", "use_cache": True,
            "use_qkv_bias": True, "vocab_size": 100352,
        },
        1_644_515_328,
    ),
}  # fmt: skip
GPT_OSS_20B = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 24,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 2880,
    "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "vocab_size": 201088,
    "quantization_config": {"modules_to_not_convert": ["lm_head"], "quant_method": "mxfp4"},
}  # fmt: skip
