"""Rotary positions in config.json: `rope_theta` and `rope_scaling`, which transformers 5 writes as `rope_parameters`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.model.families.values import positive, require
from diglot.model.rotary import RotaryScaling, rotary_frequencies, usual_magnitude

YARN = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}  # the paper's, which transformers takes
KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")


def read_rotary(
    file: Path, parameters: dict[str, Any], max_positions: int, size: int
) -> tuple[float, RotaryScaling | None]:
    """The base of the rotary frequencies, and how they were stretched for longer contexts.

    Args:
        file: named in errors.
        parameters: `rope_parameters` as transformers completes them; emptied.
        max_positions: of the model.
        size: units of a head that are rotated.

    Raises:
        UserError: they were stretched in a way that the decoder does not know.
    """
    theta = positive(file, "rope_theta", parameters.pop("rope_theta", None))
    kind = parameters.pop("rope_type", "default")
    parameters.pop("type", None)  # the older name of rope_type
    remedy = "Take the model as it was before it was stretched, where there is one."
    require(file, "rope_scaling.rope_type", kind, KINDS, remedy)
    scaling = None
    if kind in ("linear", "dynamic"):
        parameters.pop("original_max_position_embeddings", None)  # transformers asks for max_position_embeddings
        scaling = RotaryScaling(kind, _number(file, parameters, "factor"))
    elif kind == "llama3":
        factor, low, high, original = (
            _number(file, parameters, key)
            for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        )
        scaling = RotaryScaling("llama3", factor, low, high, int(original))
    elif kind in ("yarn", "longrope"):
        try:
            scaling = _read_yarn_or_longrope(file, kind, parameters, max_positions, size)
            if kind == "yarn":  # a head may still be of any size here
                rotary_frequencies(min(size, 1024), theta, scaling)
        except (ArithmeticError, ValueError) as error:  # logarithms and quotients of numbers that no model has
            raise UserError(f"{file}: rope_scaling: these values give no frequencies: {error}") from error
    # Whatever is left over may change the frequencies.
    for key, value in sorted(parameters.items()):
        require(file, f"rope_scaling.{key}", value, (None,))
    return theta, scaling


def _number(file: Path, parameters: dict[str, Any], key: str) -> float:
    return positive(file, f"rope_scaling.{key}", parameters.pop(key, None))


def _read_yarn_or_longrope(
    file: Path, kind: str, parameters: dict[str, Any], max_positions: int, size: int
) -> RotaryScaling:
    """What both have, `factor` (else by the contexts) and `attention_factor` (else by the factor), and what each has."""
    original = int(_number(file, parameters, "original_max_position_embeddings"))
    factor = parameters.pop("factor", None)
    factor = max_positions / original if factor is None else positive(file, "rope_scaling.factor", factor)
    given = parameters.pop("attention_factor", None)
    if given is not None:
        given = positive(file, "rope_scaling.attention_factor", given)
    own: dict[str, Any]
    if kind == "longrope":
        own = {f"{name}_factors": _factors(file, parameters, f"{name}_factor", size // 2) for name in ("short", "long")}
    else:
        # DeepSeek's two scales of the magnitude come to one number; both absent or zero is YaRN's own.
        scales = [parameters.pop(key, None) for key in ("mscale", "mscale_all_dim")]
        if all(scales) and given is None:
            over, under = (positive(file, "rope_scaling.mscale", scale) for scale in scales)
            grown = usual_magnitude("yarn", factor, original) - 1
            given = (over * grown + 1) / (under * grown + 1)
        own = {
            name: positive(file, f"rope_scaling.{key}", parameters.pop(key, None) or YARN[key])
            for name, key in (("fast_rotations", "beta_fast"), ("slow_rotations", "beta_slow"))
        }
        truncate = parameters.pop("truncate", YARN["truncate"])
        require(file, "rope_scaling.truncate", truncate, (True, False))
        own["truncate"] = bool(truncate)
    if kind == "longrope":  # the factor says nothing but the magnitude, and transformers 4 takes that of the contexts
        given = usual_magnitude(kind, factor, original) if given is None else given
        factor = max_positions / original
    if given == usual_magnitude(kind, factor, original):
        given = None
    return RotaryScaling(kind, factor, original_max_positions=original, attention_factor=given, **own)  # type: ignore[arg-type]


def _factors(file: Path, parameters: dict[str, Any], key: str, number: int) -> tuple[float, ...]:
    """Longrope's list of one factor for each frequency."""
    values = parameters.pop(key, None)
    if not isinstance(values, list) or len(values) != number:
        raise UserError(f"{file}: rope_scaling.{key}: a list of {number} numbers is wanted")
    return tuple(positive(file, f"rope_scaling.{key}", value) for value in values)


def write_rotary(scaling: RotaryScaling | None, max_positions: int) -> dict[str, Any] | None:
    """The value of `rope_scaling`; what is left to its formula in transformers is not written."""
    if scaling is None:
        return None
    own: dict[str, Any] = {}
    factor, original = scaling.factor, scaling.original_max_positions
    if scaling.kind == "llama3":
        own = {"low_freq_factor": scaling.low_frequency_factor, "high_freq_factor": scaling.high_frequency_factor}
    elif scaling.kind == "longrope":
        own = {"short_factor": list(scaling.short_factors), "long_factor": list(scaling.long_factors)}
        factor = max_positions / original
    elif scaling.kind == "yarn":
        values = {
            "beta_fast": scaling.fast_rotations,
            "beta_slow": scaling.slow_rotations,
            "truncate": scaling.truncate,
        }
        own = {key: value for key, value in values.items() if value != YARN[key]}
    if scaling.magnitude != usual_magnitude(scaling.kind, factor, original):
        own["attention_factor"] = scaling.magnitude
    if scaling.kind in ("llama3", "yarn", "longrope"):
        own["original_max_position_embeddings"] = original
    return {"rope_type": scaling.kind, "factor": factor} | own
