"""What every family of models has, and what several of them share: names, activations, rotary positions, windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from diglot.model.causal import ModelConfig
from diglot.model.decoder import DecoderConfig, LayerAttention
from diglot.model.families.rotary import read_rotary, write_rotary
from diglot.model.families.values import positive, require

# Activations by Hugging Face's names, and the name that each is written with.
GELUS = {"gelu": "gelu", "gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh"}
FULL, SLIDING = "full_attention", "sliding_attention"  # Hugging Face's names of kinds of layers
HIDDEN_ACT = {"swiglu": "silu", "gelu": "gelu", "gelu-tanh": "gelu_pytorch_tanh"}


class Family(ABC):
    """How one architecture of Hugging Face says what `DecoderConfig` and `Decoder` say, in both directions.

    Attributes:
        model_type: of config.json.
        model_class: transformers' class that loads it.
        names: Hugging Face's name of each module of `Decoder`; those of a layer without the layer's number.
        fused: modules of Hugging Face's that hold several of ours, in this order; `names` has none of these.
        derived: ends of names of tensors that old exports store although they follow from config.json.
    """

    model_type: ClassVar[str]
    model_class: ClassVar[str]
    names: ClassVar[dict[str, str]]
    fused: ClassVar[dict[str, tuple[str, ...]]] = {}
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
    def write(self, config: Any) -> dict[str, Any]:
        """The family's own keys of config.json; transformers 4 and 5 and vLLM must read them alike."""

    # --- tensors ----------------------------------------------------------------------------------------------

    def to_huggingface(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A decoder's tensors as Hugging Face stores them, by its names; of a fused module all parts must be there."""
        places = {part: (theirs, parts) for theirs, parts in self.fused.items() for part in parts}
        out = {}
        for name, tensor in state.items():
            layer, module, parameter = split_name(name, "layers")
            theirs, parts = places.get(module) or (self.names[module], (module,))
            if module != parts[0]:
                continue  # taken with the first of them
            if len(parts) > 1:
                tensor = torch.cat([state[join_name("layers", layer, part, parameter)] for part in parts])
            out[join_name(self.names["layers"], layer, theirs, parameter)] = tensor
        return out

    def from_huggingface(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `to_huggingface`, also for some of the tensors alone; parts of a fused one come out contiguous."""
        ours = {theirs: own for own, theirs in self.names.items()}
        out = {}
        for name, tensor in tensors.items():
            layer, module, parameter = split_name(name, self.names["layers"])
            if module not in self.fused:
                out[join_name("layers", layer, ours[module], parameter)] = tensor
                continue
            for part, piece in zip(self.fused[module], self.parts(module, tensor), strict=True):
                out[join_name("layers", layer, part, parameter)] = piece.contiguous()
        return out

    def parts(self, module: str, tensor: Tensor) -> Sequence[Tensor]:
        """The tensors that were joined into one of a fused module: here as many rows of each."""
        return tensor.chunk(len(self.fused[module]))

    def exported_name(self, stored: str) -> str:
        """The name that a tensor found in a folder has when we write it; older exports left out a prefix."""
        return stored

    def embedding_names(self, config: ModelConfig) -> list[str]:
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


def is_plain(config: DecoderConfig) -> bool:
    """Whether norms stand before the branches, whole heads are rotated, and each projection is stored by itself."""
    return (config.norm_placement, config.rotary_share, config.fused_projections) == ("before", 1.0, False)


# --- attention by layer ---------------------------------------------------------------------------------------


def read_windows(file: Path, full: Any, *, wide: bool = False) -> list[int | None]:
    """The window of each layer: all have it, or those that `layer_types` names.

    Args:
        file: named in errors.
        full: transformers' configuration.
        wide: whether a window as wide as the context is one; else it is none.

    Raises:
        UserError: layers of other kinds, or of a window whose width is not said.
    """
    window = getattr(full, "sliding_window", None)
    types = getattr(full, "layer_types", None)
    if types is None:
        types = [SLIDING if window else FULL] * full.num_hidden_layers
    for layer_type in types:
        require(file, "layer_types", layer_type, (FULL,) if window is None else (FULL, SLIDING))
    if window is not None and window >= full.max_position_embeddings and not wide:
        window = None
    return [window if layer_type == SLIDING else None for layer_type in types]


def by_layer(windows: Sequence[int | None], rotary: Sequence[str] | None = None) -> tuple[LayerAttention, ...]:
    """`DecoderConfig.layer_attention`: empty where no layer differs from what all do."""
    kinds = ["scaled"] * len(windows) if rotary is None else rotary
    layers = tuple(LayerAttention(window, kind) for window, kind in zip(windows, kinds))  # type: ignore[arg-type]
    return () if set(layers) <= {LayerAttention()} else layers


def window_of(config: DecoderConfig) -> int | None:
    """The width of a shape's windows, None where it has none or has several, which no family is written with."""
    widths = {layer.window for layer in config.layer_attention} - {None}
    return widths.pop() if len(widths) == 1 else None


def windows_fit(config: DecoderConfig, kinds: Collection[str] = ("scaled",)) -> bool:
    """Whether a shape's windows are of one width, and its layers rotated in these ways."""
    widths = {layer.window for layer in config.layer_attention} - {None}
    return len(widths) <= 1 and {layer.rotary for layer in config.layer_attention} <= set(kinds)


def in_all_layers(config: DecoderConfig) -> bool:
    """Whether the layers of a shape have one window, or none."""
    return windows_fit(config) and len(set(config.layer_attention)) <= 1


def layer_types(config: DecoderConfig) -> list[str]:
    """The value of `layer_types`."""
    return [FULL if layer.window is None else SLIDING for layer in config.attention_by_layer]


# --- sizes ----------------------------------------------------------------------------------------------------


def read_sizes_and_rotary(
    file: Path, full: Any, rope: dict[str, Any] | None = None, *, partial: bool = False
) -> dict[str, Any]:
    """The fields of `DecoderConfig` that all families with rotary positions write alike.

    Args:
        file: named in errors.
        full: transformers' configuration.
        rope: its parameters of rotary positions, where they are not one set for all layers.
        partial: whether transformers' class can rotate a part of each head.

    Raises:
        UserError: rotary positions of a kind that the decoder does not know.
    """
    parameters = dict(full.rope_parameters if rope is None else rope)
    # A class that cannot rotate a part would fail at its first product, or rotate all in silence.
    share = parameters.pop("partial_rotary_factor", None)
    share = 1.0 if share is None else positive(file, "partial_rotary_factor", share)
    if share > 1 or not partial:
        require(file, "partial_rotary_factor", share, (1.0,))
    # Many classes do not define head_dim, but read it where a config.json has it.
    head_size = getattr(full, "head_dim", None) or full.hidden_size // full.num_attention_heads
    theta, scaling = read_rotary(file, parameters, full.max_position_embeddings, int(head_size * share))
    return {
        "vocabulary_size": full.vocab_size,
        "num_layers": full.num_hidden_layers,
        "hidden_size": full.hidden_size,
        "intermediate_size": full.intermediate_size,
        "num_heads": full.num_attention_heads,
        "num_key_value_heads": full.num_key_value_heads,
        "head_size": head_size,
        "max_positions": full.max_position_embeddings,
        "rotary_theta": theta,
        "rotary_scaling": scaling,
        "rotary_share": share,
        "tied_embeddings": full.tie_word_embeddings,
    }


def write_sizes_and_rotary(config: DecoderConfig) -> dict[str, Any]:
    """The inverse of `read_sizes_and_rotary`, with the activation."""
    values = {
        "head_dim": config.head_size,
        "hidden_act": HIDDEN_ACT[config.activation],
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_positions,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "rope_scaling": write_rotary(config.rotary_scaling, config.max_positions),
        "rope_theta": config.rotary_theta,
    }
    if (scaling := config.rotary_scaling) is not None and scaling.kind == "longrope":
        # transformers 4 knows the original context by this key alone.
        values["original_max_position_embeddings"] = scaling.original_max_positions
    return values
