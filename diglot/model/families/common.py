"""What every family of models has, and what several of them share: names, activations, rotary positions, windows."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.model.decoder import DecoderConfig, RotaryScaling

# Activations by Hugging Face's names, and the name that each is written with.
GELUS = {"gelu": "gelu", "gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh"}
HIDDEN_ACT = {"swiglu": "silu", "gelu": "gelu", "gelu-tanh": "gelu_pytorch_tanh"}


class Family(ABC):
    """How one architecture of Hugging Face says what `DecoderConfig` and `Decoder` say, in both directions.

    Attributes:
        model_type: of config.json.
        model_class: transformers' class that loads it.
        names: Hugging Face's name of each module of `Decoder`; those of a layer without the layer's number.
        derived: ends of names of tensors that old exports store although they follow from config.json.
    """

    model_type: ClassVar[str]
    model_class: ClassVar[str]
    names: ClassVar[dict[str, str]]
    derived: ClassVar[tuple[str, ...]] = (".rotary_emb.inv_freq",)

    # --- config.json ------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, file: Path, full: Any) -> DecoderConfig:
        """The shape that a config.json describes.

        Args:
            file: named in errors.
            full: transformers' configuration, with the defaults of keys that the file leaves out.

        Raises:
            UserError: it asks for something that the decoder does not do.
        """

    @abstractmethod
    def fits(self, config: DecoderConfig) -> bool:
        """Whether models of this shape are exported as this family. At most one family fits a shape."""

    @abstractmethod
    def write(self, config: DecoderConfig) -> dict[str, Any]:
        """The family's own keys of config.json; transformers 4 and 5 and vLLM must read them alike."""

    # --- tensors ----------------------------------------------------------------------------------------------

    def to_huggingface(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A decoder's tensors as Hugging Face stores them: here each by its own name, unchanged."""
        out = {}
        for name, tensor in state.items():
            layer, module, parameter = split_name(name, "layers")
            out[join_name(self.names["layers"], layer, self.names[module], parameter)] = tensor
        return out

    def from_huggingface(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `to_huggingface`, also for some of the tensors alone."""
        ours = {theirs: own for own, theirs in self.names.items()}
        out = {}
        for name, tensor in tensors.items():
            layer, module, parameter = split_name(name, self.names["layers"])
            out[join_name("layers", layer, ours[module], parameter)] = tensor
        return out

    def exported_name(self, stored: str) -> str:
        """The name that a tensor found in a folder has when we write it; older exports left out a prefix."""
        return stored

    def embedding_names(self, config: DecoderConfig) -> list[str]:
        """The tensors that have one row a token: the embedding, and the output weight where it is untied."""
        names = [f"{self.names['embedding']}.weight", f"{self.names['head']}.weight"]
        return names[:1] if config.tied_embeddings else names

    def layer_of(self, name: str) -> int | None:
        """The layer that a tensor belongs to by its Hugging Face name; None outside the layers."""
        return split_name(name, self.names["layers"])[0]

    def in_layer(self, name: str, layer: int) -> str:
        """The Hugging Face name of the same tensor in another layer."""
        _, module, parameter = split_name(name, self.names["layers"])
        return join_name(self.names["layers"], layer, module, parameter)

    def writes_residual(self, name: str) -> bool:
        """Whether a layer's tensor is of a projection whose result is added to the residual stream."""
        module = split_name(name, self.names["layers"])[1]
        return module in (self.names["attention.output"], self.names["feed_forward.down"])


def split_name(name: str, layers: str) -> tuple[int | None, str, str]:
    """A tensor's name as layer, module and parameter: `layers.3.attention.query.weight` is (3, attention.query, weight)."""
    module, _, parameter = name.rpartition(".")
    if not module.startswith(f"{layers}."):
        return None, module, parameter
    number, _, module = module.removeprefix(f"{layers}.").partition(".")
    return int(number), module, parameter


def join_name(layers: str, layer: int | None, module: str, parameter: str) -> str:
    """The inverse of `split_name`."""
    return f"{module}.{parameter}" if layer is None else f"{layers}.{layer}.{module}.{parameter}"


# --- what config.json says ------------------------------------------------------------------------------------


def require(file: Path, key: str, value: Any, allowed: tuple[Any, ...], remedy: str = "") -> None:
    """Refuse a value that the decoder does not do.

    Raises:
        UserError: the value is none of those allowed.
    """
    if value not in allowed:
        options = " or ".join(json.dumps(option) for option in allowed)
        shown = excerpt(json.dumps(value, default=str), 80)
        raise UserError(f"{file}: {key}: {shown} is not supported, only {options}. {remedy}".strip())


def _is_number(value: Any) -> bool:
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
        ],
        "a whole number from 1 on",
        _is_size,
    ),
    (
        ["rms_norm_eps", "layer_norm_epsilon", "norm_epsilon"],
        "a number above 0",
        lambda value: _is_number(value) and 0 < value < 1,
    ),
    (
        ["tie_word_embeddings", "attention_bias", "mlp_bias", "use_bias"],
        "true or false",
        lambda value: isinstance(value, bool),
    ),
    (["rope_parameters"], "an object", lambda value: isinstance(value, dict)),
    (["layer_types"], "a list", lambda value: isinstance(value, list)),
)
ASKED = frozenset(key for keys, _, _ in KEYS for key in keys)
NULLABLE = ("n_inner", "head_dim", "sliding_window", "layer_types")


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
    if not _is_number(value) or not 0 < value < math.inf:
        raise UserError(f"{file}: {key}: a number above 0 is wanted, not {excerpt(json.dumps(value, default=str), 80)}")
    return float(value)


def refuse_window(file: Path, full: Any) -> None:
    """Refuse attention within a window that is narrower than the context; a wider one is no window.

    Raises:
        UserError: some layer attends within such a window.
    """
    window = getattr(full, "sliding_window", None)
    if window is not None and window < full.max_position_embeddings:
        raise UserError(
            f"{file}: sliding_window: attention within a window of {window} tokens is not supported. Up to that "
            f'length the model is the same without it: set "sliding_window": null and '
            f'"max_position_embeddings": {window}.'
        )
    kinds = ("full_attention",) if window is None else ("full_attention", "sliding_attention")
    for layer_type in getattr(full, "layer_types", None) or []:
        require(file, "layer_types", layer_type, kinds)


def read_sizes_and_rotary(file: Path, full: Any) -> dict[str, Any]:
    """The fields of `DecoderConfig` that all families with rotary positions write alike.

    Raises:
        UserError: rotary positions of a kind that the decoder does not know.
    """
    theta, scaling = read_rotary(file, dict(full.rope_parameters))
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


def write_sizes_and_rotary(config: DecoderConfig) -> dict[str, Any]:
    """The inverse of `read_sizes_and_rotary`, with the activation."""
    return {
        "head_dim": config.head_size,
        "hidden_act": HIDDEN_ACT[config.activation],
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_positions,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "rope_scaling": write_rotary(config.rotary_scaling),
        "rope_theta": config.rotary_theta,
    }


def read_rotary(file: Path, parameters: dict[str, Any]) -> tuple[float, RotaryScaling | None]:
    """The base of the rotary frequencies, and how they were stretched for longer contexts.

    Raises:
        UserError: they were stretched in a way that the decoder does not know.
    """

    def number(key: str) -> float:
        return positive(file, f"rope_scaling.{key}", parameters.pop(key, None))

    theta = positive(file, "rope_theta", parameters.pop("rope_theta", None))
    kind = parameters.pop("rope_type", "default")
    parameters.pop("type", None)  # the older name of rope_type
    remedy = "Take the model as it was before it was stretched, where there is one."
    require(file, "rope_scaling.rope_type", kind, ("default", "linear", "llama3"), remedy)
    require(file, "partial_rotary_factor", parameters.pop("partial_rotary_factor", 1.0), (1.0,))
    if kind == "default":
        scaling = None
    elif kind == "linear":
        scaling = RotaryScaling("linear", number("factor"))
        parameters.pop("original_max_position_embeddings", None)
    else:
        scaling = RotaryScaling(
            "llama3",
            number("factor"),
            number("low_freq_factor"),
            number("high_freq_factor"),
            int(number("original_max_position_embeddings")),
        )
    # Whatever is left over may change the frequencies.
    for key, value in sorted(parameters.items()):
        require(file, f"rope_scaling.{key}", value, (None,))
    return theta, scaling


def write_rotary(scaling: RotaryScaling | None) -> dict[str, Any] | None:
    """The value of `rope_scaling`."""
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
