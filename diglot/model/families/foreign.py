"""Families that our decoder does not compute: transformers' own module runs, under our loop (see diglot/model/foreign.py).

config.json is taken as it stands, for transformers reads it, but for what every export writes anew. Tensors keep the
names and forms in which transformers stores them, which are not always those of its module: experts lie in one tensor
there and one by one in files.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.model.causal import ModelConfig
from diglot.model.families.common import Family
from diglot.model.families.values import ASKED, check_types

DOCUMENTS = (
    "diglot_documents"  # a key of config.json, of ours: how rows of several documents are read (see `Documents`)
)
Documents = Literal["packed", "alone"]
WRITTEN = frozenset(
    "architectures bos_token_id dtype eos_token_id pad_token_id tie_word_embeddings torch_dtype transformers_version "
    f"vocab_size _name_or_path {DOCUMENTS}".split()
)  # keys of config.json that every export writes anew
PARTS = ("text_config", "vision_config", "audio_config", "encoder", "decoder")
MANY = 2**31 - 1  # positions of models that count none (ALiBi, recurrent states)


@dataclass(frozen=True)
class ForeignConfig(ModelConfig):
    """The sizes of a model that runs as transformers' module, and all that its config.json says.

    Attributes:
        model_type: of config.json.
        description: its keys, but for those that every export writes, as JSON.
        documents: `packed`: attention keeps the documents of a row apart; `alone`: each is run by itself. None where
            nobody has looked (see proof.py).
    """

    model_type: str
    description: str
    documents: Documents | None = None

    def settings(self) -> Any:
        """The configuration of transformers; a new one each time, for its models change it."""
        from transformers import CONFIG_MAPPING  # start-up: a second

        sizes = {"vocab_size": self.vocabulary_size, "tie_word_embeddings": self.tied_embeddings}
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
        return CONFIG_MAPPING[self.model_type].from_dict(with_floats(json.loads(self.description)) | sizes | special)


class ForeignFamily(Family):
    """How such a model is stored: a family of its own for every shape, for transformers' module knows the names."""

    def __init__(self, config: ForeignConfig) -> None:
        module = on_meta(config)
        self.config, self.model_type, self.model_class = config, config.model_type, type(module).__name__  # type: ignore[misc]
        ignored = module._keys_to_ignore_on_load_unexpected or ()
        plain = [pattern for pattern in ignored if pattern.replace("_", "").replace(".", "").isalnum()]
        self.derived = (".rotary_emb.inv_freq", *(f".{end.strip('.')}" for end in sorted(plain)))  # type: ignore[misc]
        state = module.state_dict()
        self.stored = stored_form(config, state)
        # Tensors that are only renamed are the same objects.
        names = {id(tensor): name.removesuffix(".weight") for name, tensor in self.stored.items()}
        embedding, output = (state[name] for name in ends_of(module))
        self.names = {"embedding": names[id(embedding)], "head": names.get(id(output), "lm_head")}  # type: ignore[misc]
        self.names["layers"] = layers_of(module)[0]

    def read(self, file: Path, full: Any) -> Any:
        """Not by a family of one shape: see `read_foreign`."""
        raise NotImplementedError

    def fits(self, config: ModelConfig) -> bool:
        """Whether it is this one's shape."""
        return config == self.config

    def write(self, config: ModelConfig) -> dict[str, Any]:
        """All that was read, and how documents are read."""
        assert isinstance(config, ForeignConfig)
        return json.loads(config.description) | ({DOCUMENTS: config.documents} if config.documents else {})

    def to_huggingface(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A module's whole state as transformers stores it."""
        return stored_form(self.config, state)

    def from_huggingface(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Left to transformers (see `load_foreign`): it joins tensors that are stored apart."""
        raise NotImplementedError

    def exported_name(self, stored: str) -> str:
        """The name with the prefix of the model's body, which some exports leave out (BLOOM's)."""
        whole = f"{on_meta(self.config).base_model_prefix}.{stored}"
        return whole if stored not in self.stored and whole in self.stored else stored

    def layer_of(self, name: str) -> int | None:
        """None: nothing here goes by layers."""
        return None


@functools.lru_cache(maxsize=8)
def foreign_family(config: ForeignConfig) -> ForeignFamily:
    """The family of one shape."""
    return ForeignFamily(config)


@functools.lru_cache(maxsize=8)
def on_meta(config: ForeignConfig) -> Any:
    """The module of transformers without memory: for names, shapes and counts.

    Raises:
        UserError: transformers can't make it.
    """
    from transformers import AutoModelForCausalLM  # start-up: a second

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config.settings(), attn_implementation="eager").eval()
    except Exception as error:  # of many kinds, by family
        raise UserError(f"transformers cannot make this {config.model_type} model: {excerpt(_line(error))}") from error


def layers_of(module: Any) -> tuple[str, torch.nn.ModuleList]:
    """The list of a module's layers, and its name.

    Raises:
        UserError: it has none.
    """
    for name, found in module.named_modules():
        if isinstance(found, torch.nn.ModuleList) and len(found) == module.config.num_hidden_layers:
            return name, found
    raise UserError(f"{type(module).__name__}: its layers are not found, so it is not trained here")


def ends_of(module: Any) -> tuple[str, str]:
    """The names of the embedding and of the output weight in transformers' module; two names where it is one tensor."""
    embedding, output = module.get_input_embeddings().weight, module.get_output_embeddings().weight
    named = list(module.named_parameters(remove_duplicate=False))
    first = next(name for name, parameter in named if parameter is embedding)
    return first, next(name for name, parameter in reversed(named) if parameter is output)


def stored_form(config: ForeignConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A module's whole state in the names and forms in which transformers stores it; a tied output weight not at all."""
    from transformers.core_model_loading import revert_weight_conversion  # start-up: a second

    module, tensors = on_meta(config), dict(state)
    if config.tied_embeddings:
        del tensors[ends_of(module)[1]]
    return dict(revert_weight_conversion(module, tensors))


def with_floats(value: Any) -> Any:
    """What transformers writes for numbers that JSON has no words for, as it reads them: {"__float__": "Infinity"}."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"} and value["__float__"] in ("Infinity", "-Infinity", "NaN"):
            return float(value["__float__"])
        return {key: with_floats(each) for key, each in value.items()}
    return [with_floats(each) for each in value] if isinstance(value, list) else value


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# --- config.json ----------------------------------------------------------------------------------------------


def read_foreign(file: Path, raw: dict[str, Any]) -> ForeignConfig:
    """The shape of a model that our decoder does not compute.

    Args:
        file: named in errors.
        raw: the content of config.json.

    Raises:
        UserError: transformers has no causal language model of this type, or the model has code of its own, parts beside
            a language model, or quantised weights.
    """
    from transformers import CONFIG_MAPPING  # start-up: a second
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{file}: model_type: {excerpt(json.dumps(kind), 60)} is no causal language model of transformers'"
        )
    for key, why in (
        ("auto_map", "the model has code of its own, which is not run"),
        ("quantization_config", "its weights are quantised; save it in bfloat16 first"),
    ):
        if raw.get(key):
            raise UserError(f"{file}: {key}: {why}")
    check_types(file, raw, nullable=ASKED)
    try:
        full = CONFIG_MAPPING[kind].from_dict(with_floats(raw))
    except Exception as error:  # transformers raises many kinds for a bad value
        raise UserError(f"{file}: transformers cannot read it: {excerpt(_line(error))}") from error
    parts = [part for part in PARTS if hasattr(full, part)]
    if parts or getattr(full, "is_encoder_decoder", False):
        named = ", ".join(parts) or "an encoder"
        raise UserError(
            f"{file}: {kind} has parts beside a causal language model ({named}), which are not trained here"
        )
    return _sizes(file, raw, full)


def _sizes(file: Path, raw: dict[str, Any], full: Any) -> ForeignConfig:
    """The sizes by transformers' common names; attributes that a family does not have are those of plain attention."""
    documents = raw.get(DOCUMENTS)
    if documents not in (None, "packed", "alone"):
        raise UserError(f"{file}: {DOCUMENTS}: {excerpt(json.dumps(documents), 60)} is neither packed nor alone")

    def size(*names: str, default: int) -> int:
        found = next((value for name in names if (value := getattr(full, name, None))), default)
        found = max(found) if isinstance(found, list) and found else found  # by layer
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise UserError(f"{file}: {names[0]}: a whole number from 1 on is wanted, not {excerpt(repr(found), 60)}")
        return found

    hidden, heads = size("hidden_size", default=0), size("num_attention_heads", "num_heads", default=1)
    config = ForeignConfig(
        vocabulary_size=size("vocab_size", default=0),
        num_layers=size("num_hidden_layers", default=0),
        hidden_size=hidden,
        intermediate_size=size("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", default=4 * hidden),
        num_heads=heads,
        num_key_value_heads=size("num_key_value_heads", default=heads),
        head_size=size("head_dim", default=max(1, hidden // heads)),
        max_positions=size("max_position_embeddings", "n_positions", "seq_length", default=MANY),
        tied_embeddings=bool(getattr(full, "tie_word_embeddings", False)),
        model_type=full.model_type,
        description=json.dumps({key: value for key, value in raw.items() if key not in WRITTEN}, sort_keys=True),
        documents=documents,
    )
    _refuse_other_rows(file, config)
    return config


def _refuse_other_rows(file: Path, config: ForeignConfig) -> None:
    """Refuse what has rows of tokens elsewhere than in an embedding and an output weight: expansion knows these two.

    Raises:
        UserError: other parameters have a row a token, or the output weight has a bias, which our loss does not add.
    """
    where = f"{file}: {config.model_type}"
    try:
        module = on_meta(config)
        embedding, output = module.get_input_embeddings(), module.get_output_embeddings()
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except Exception as error:  # of classes that have none
        raise UserError(f"{where}: its embedding is not found ({excerpt(_line(error))})") from error
    if not isinstance(embedding, torch.nn.Embedding) or not isinstance(output, torch.nn.Linear):
        raise UserError(f"{where}: its embedding or its output is no plain matrix")
    if embedding.weight.shape != output.weight.shape:
        raise UserError(f"{where}: embedding and output differ in shape")
    if (embedding.weight is output.weight) != config.tied_embeddings:
        raise UserError(f"{where}: tie_word_embeddings says otherwise than the class does")
    if output.bias is not None:
        raise UserError(f"{where}: its output weight has a bias, which the loss here does not add")
    others = {config.hidden_size, config.intermediate_size}
    for name, parameter in module.named_parameters():
        by_token = parameter.shape[:1] == (config.vocabulary_size,) and config.vocabulary_size not in others
        if by_token and parameter is not embedding.weight and parameter is not output.weight:
            raise UserError(f"{where}: {name} has a row a token too, which expansion does not know")
