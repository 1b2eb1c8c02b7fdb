"""What values of config.json must be: of the right type and size, and among those that the decoder does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.base.format import excerpt


def require(file: Path, key: str, value: Any, allowed: tuple[Any, ...], remedy: str = "") -> None:
    """Refuse a value that the decoder does not do.

    Raises:
        UserError: the value is none of those allowed.
    """
    if value not in allowed:
        options = " or ".join(json.dumps(option) for option in allowed)
        shown = excerpt(json.dumps(value, default=str), 80)
        raise UserError(f"{file}: {key}: {shown} is not supported, only {options}. {remedy}".strip())


def is_number(value: Any) -> bool:
    """Whether a value is one, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


KEYS: tuple[tuple[list[str], str, Callable[[Any], bool]], ...] = (
    (
        [
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "max_position_embeddings",
            "n_embd",
            "n_layer",
            "n_head",
            "n_positions",
            "n_inner",
            "sliding_window",
            "original_max_position_embeddings",
        ],
        "a whole number from 1 on",
        _is_size,
    ),
    (
        ["rms_norm_eps", "layer_norm_epsilon", "norm_epsilon"],
        "a number above 0",
        lambda value: is_number(value) and 0 < value < 1,
    ),
    (
        ["tie_word_embeddings", "attention_bias", "mlp_bias", "use_bias", "use_sliding_window"],
        "true or false",
        lambda value: isinstance(value, bool),
    ),
    (["rope_parameters"], "an object", lambda value: isinstance(value, dict)),
    (["layer_types", "no_rope_layers"], "a list", lambda value: isinstance(value, list)),
)
ASKED = frozenset(key for keys, _, _ in KEYS for key in keys)
NULLABLE = ("n_inner", "head_dim", "sliding_window", "layer_types", "no_rope_layers")


def check_types(file: Path, values: Mapping[str, Any], nullable: Collection[str] = NULLABLE) -> None:
    """Refuse values of keys read here that are of another type than they must be.

    Args:
        file: named in errors.
        values: by key; those that are not read here are not asked.
        nullable: keys that may be null.

    Raises:
        UserError: one is of another type.
    """
    for keys, wanted, is_right in KEYS:
        for key in values.keys() & keys:
            value = values[key]
            if not is_right(value) and not (value is None and key in nullable):
                raise UserError(f"{file}: {key}: {wanted} is wanted, not {excerpt(json.dumps(value, default=str), 80)}")


def positive(file: Path, key: str, value: Any) -> float:
    """A number above zero.

    Raises:
        UserError: it is not.
    """
    if not is_number(value) or not 0 < value < math.inf:
        raise UserError(f"{file}: {key}: a number above 0 is wanted, not {excerpt(json.dumps(value, default=str), 80)}")
    return float(value)
