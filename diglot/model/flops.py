"""Model FLOPs of training (PaLM, appendix B; Chowdhery et al. 2022, 2204.02311), and the peak that they are compared with.

    a token, forward and backward:    6 N + 12 L (H S) T

with N the parameters that take part in products (all but the input embedding and learned positions; a tied embedding
counts once, as the output weight; of a mixture's experts those that a token is sent to), L layers, H S the size of all
heads, T the sequence length. Attention counts whole although half of it is masked, and recomputation counts nothing. In
a layer with a window of W < T tokens T is replaced by (2 W T - W²) / T: twice the tokens that are seen on average, as T is
without a window.
"""

from __future__ import annotations

import time

import torch

from diglot.model.causal import ModelConfig
from diglot.model.decoder import DecoderConfig
from diglot.model.families.foreign import ForeignConfig
from diglot.model.huggingface import count_active_parameters

SIDE = 512  # of the matrices of the timed product: 0.27 GFLOP, 3 ms on a core; a second where bfloat16 is emulated
MOST_SECONDS = 0.1  # that the timing of such products takes


def flops_per_token(config: ModelConfig, sequence_length: int) -> float:
    """Model FLOPs of a token's forward and backward pass; see the top of the file."""
    in_products = count_active_parameters(config)
    if isinstance(config, DecoderConfig) and config.positions == "learned":
        in_products -= config.max_positions * config.hidden_size
    if not config.tied_embeddings:
        in_products -= config.vocabulary_size * config.hidden_size
    windows = [min(window or sequence_length, sequence_length) for window in _windows(config)]
    seen = sum(window * (2 * sequence_length - window) // sequence_length for window in windows)
    attention = 12 * config.num_heads * config.head_size * seen
    return 6 * in_products + attention


def _windows(config: ModelConfig) -> list[int | None]:
    """The window of each layer's attention."""
    if isinstance(config, DecoderConfig):
        return [layer.window for layer in config.attention_by_layer]
    assert isinstance(config, ForeignConfig)
    settings = config.settings()
    kinds = getattr(settings, "layer_types", None) or [""] * config.num_layers
    return [settings.sliding_window if kind == "sliding_attention" else None for kind in kinds]


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The rate of the fastest of some matrix products, FLOP/s; on a CPU as if nothing else ran there."""
    matrix = torch.ones(SIDE, SIDE, dtype=dtype, device=device)
    threads = torch.get_num_threads()
    clock = time.monotonic if device.type == "cuda" else lambda: time.process_time() / threads
    best, end = float("inf"), time.monotonic() + MOST_SECONDS
    while best == float("inf") or time.monotonic() < end:
        begun = clock()
        product = matrix @ matrix.T
        product[0, 0].item()  # waits for the device
        best = min(best, max(clock() - begun, 1e-6))
    return 2 * SIDE**3 / best
