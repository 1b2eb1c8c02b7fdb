"""Model FLOPs of training (PaLM, appendix B; Chowdhery et al. 2022, 2204.02311).

    a token, forward and backward:    6 N + 12 L (H S) T

with N the parameters that take part in products (all but the input embedding and learned positions; a tied embedding
counts once, as the output weight), L layers, H S the size of all heads, T the sequence length. Attention counts whole
although half of it is masked, and recomputation counts nothing. DPO adds its reference model's forward pass, a third
more.
"""

from __future__ import annotations

from diglot.model.decoder import DecoderConfig
from diglot.model.huggingface import count_parameters


def flops_per_token(config: DecoderConfig, sequence_length: int, objective: str = "lm") -> float:
    """Model FLOPs of a token's forward and backward pass; see the top of the file."""
    in_products = count_parameters(config)
    if config.positions == "learned":
        in_products -= config.max_positions * config.hidden_size
    if not config.tied_embeddings:
        in_products -= config.vocabulary_size * config.hidden_size
    attention = 12 * config.num_layers * config.num_heads * config.head_size * sequence_length
    return (6 * in_products + attention) * (4 / 3 if objective == "dpo" else 1)
