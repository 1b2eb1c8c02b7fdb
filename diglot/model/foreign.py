"""Models that run as transformers' own module, under our loop: every causal language model that our decoder does not compute.

    model = load_foreign(folder, config)
    hidden_BTD = model(batch.tokens_BT, batch.positions_BT, batch.documents_BT)

The module's attention is ours (`attend`), registered with transformers under a name of its own; masks are never made. The
documents of a batch are known while the module runs, through a variable of the context: families don't all hand on
what they are called with. Layers that are computed again in the backward pass ask for it again (`layer_checkpoint`).

That holds documents apart only where attention alone looks at other tokens. A family whose positions are in a mask
(ALiBi), or that has recurrent states, is run document by document: those of like length together, as attention groups
them. Which of the two a model needs is found at import, by comparing (proof.py).

What the module does to its logits is done here: a factor goes into the hidden states, a soft cap into the loss.
Dropout stays off, as in our own decoder, and so do the auxiliary losses of mixtures of experts: transformers adds them
only where `output_router_logits` is set, and then to a loss that is not used here.

Legend: B rows, T tokens of a row, D hidden size, M documents of a group, L its width, H heads, S size of a head.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.base.notice import quieten_libraries
from diglot.model.attention import DocumentLayout, attend
from diglot.model.causal import CausalModel
from diglot.model.families.foreign import ForeignConfig, layers_of, on_meta

NAME = "diglot"  # of our attention in transformers' registry
FACTORS = {"logit_scale": 1, "lm_head_multiplier": 1, "logits_scaling": -1}  # of logits by family, and their power
SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")


class NotPackable(Exception):
    """What a module asks of attention cannot be computed over packed documents."""


@dataclass
class _Call:
    """A forward pass.

    Attributes:
        layout: the documents; None if every row is one.
        watched: whether masks are watched; see `watched_forward`.
    """

    layout: DocumentLayout | None
    watched: bool = False


@dataclass(frozen=True)
class _Mask:
    """Stands for a mask while masks are watched: the window that its layers ought to have."""

    window: int | None


_CALL: ContextVar[_Call] = ContextVar("diglot_attention")


@contextlib.contextmanager
def _calling(call: _Call) -> Iterator[None]:
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


class ForeignModel(CausalModel):
    """A module of transformers, as training wants a model."""

    config: ForeignConfig

    def __init__(self, config: ForeignConfig, module: Any) -> None:
        super().__init__()
        self.config, self.module = config, module.eval()
        settings = module.config
        embedding, output = module.get_input_embeddings(), module.get_output_embeddings()
        embedding.padding_idx = None  # a padding token's row is trained like any other, as in our own decoder
        # Names beside the modules' own. Past nn.Module, which would list their parameters twice.
        views = {
            "embedding": embedding,
            "head": None if config.tied_embeddings else output,
            "layers": layers_of(module)[1],
        }
        for name, view in views.items():
            object.__setattr__(self, name, view)
        caps = [cap for key in SOFT_CAPS if (cap := getattr(settings, key, None))]
        self.soft_cap = caps[0] if caps else None
        self.factor = 1.0
        for key, power in FACTORS.items():
            self.factor *= (getattr(settings, key, None) or 1.0) ** power
        # What gives hidden states; Llama 4's text model has no name for it.
        self.body = (module.base_model if module.base_model is not module else module.get_decoder()).forward
        self.takes_positions = "position_ids" in inspect.signature(self.body).parameters

    def train(self, mode: bool = True) -> ForeignModel:
        """Stay in evaluation mode: no dropout, no noise on routers."""
        return super().train(False)

    def forward(
        self, tokens_BT: Tensor, positions_BT: Tensor | None = None, documents_BT: Tensor | None = None
    ) -> Tensor:
        """Run the model; arguments, result and errors are those of `Decoder`."""
        layout, _ = self.find_documents(tokens_BT, documents_BT)
        if layout is None:
            return self._run(tokens_BT, None, None)
        if self.config.documents == "alone":
            return self._document_by_document(tokens_BT, layout)
        return self._run(tokens_BT, layout.positions_BT if positions_BT is None else positions_BT, layout)

    def _document_by_document(self, tokens_BT: Tensor, layout: DocumentLayout) -> Tensor:
        """Each document as if it were a row; slots beyond its end come after it, so that it never sees them."""
        groups = layout.groups
        slots = tokens_BT.flatten().index_select(0, layout.token_of_slot_P)
        parts = slots.split([group.documents * group.queries for group in groups])
        hidden = [self._run(part.view(group.documents, -1), None, None) for part, group in zip(parts, groups)]
        hidden_PD = torch.cat([each_MLD.flatten(0, 1) for each_MLD in hidden])
        return hidden_PD.index_select(0, layout.slot_of_token_N).unflatten(0, tokens_BT.shape)

    def _run(
        self, tokens_BT: Tensor, positions_BT: Tensor | None, layout: DocumentLayout | None, watched: bool = False
    ) -> Tensor:
        positions = {"position_ids": positions_BT} if self.takes_positions and positions_BT is not None else {}
        with _calling(_Call(layout, watched)):
            out = self.body(input_ids=tokens_BT, use_cache=False, **positions)
        hidden_BTD: Tensor = out.last_hidden_state
        return hidden_BTD if self.factor == 1 else hidden_BTD * self.factor

    def watched_forward(self, tokens_BT: Tensor) -> Tensor:
        """Run rows of one document each, and look whether attention is given the windows that masks would have.

        Raises:
            NotPackable: it is not, or masks have another form.
        """
        return self._run(tokens_BT, None, None, watched=True)


def layer_checkpoint(layer: nn.Module) -> Callable[..., Any]:
    """A layer's forward pass that keeps nothing but its input, and knows the documents when it is computed again."""
    forward = layer.forward

    def run_again(*inputs: Any, **named: Any) -> Any:
        call = _CALL.get(None)

        # The backward pass runs outside of the model's forward pass, and on other threads where there are GPUs.
        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return contextlib.nullcontext(), contextlib.nullcontext() if call is None else _calling(call)

        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts, **named)

    return run_again


# --- what transformers calls ----------------------------------------------------------------------------------


def _attention(
    module: nn.Module,
    query_BHTS: Tensor,
    key_BKTS: Tensor,
    value_BKTS: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Our attention, as transformers' modules call it; `s_aux` are gpt-oss's sinks, one a head."""
    call = _CALL.get()
    window = sliding_window if sliding_window is not None else getattr(module, "sliding_window", None)
    if more.get("position_bias") is not None or more.get("is_causal") is False or isinstance(attention_mask, Tensor):
        raise NotPackable("its attention has biases or masks of its own")
    if call.watched and window != (attention_mask.window if isinstance(attention_mask, _Mask) else None):
        raise NotPackable("its attention is not told of the windows in its masks")
    query_BTHS, key_BTKS, value_BTKS = (x.transpose(1, 2) for x in (query_BHTS, key_BKTS, value_BKTS))
    scores: dict[str, Any] = {"scale": scaling, "window": window, "soft_cap": softcap, "sinks_H": s_aux}
    out_BTHS = attend(query_BTHS, key_BTKS, value_BTKS, call.layout, **scores)
    return out_BTHS.to(value_BKTS.dtype), None


def _mask(mask_function: Callable[..., Any], local_size: int | None = None, **more: Any) -> _Mask | None:
    """No mask: our attention is causal, within documents. While masks are watched, one that says what it would be."""
    if not _CALL.get().watched:
        return None
    # Seen or not, at places around a window's edges and far away; transformers' functions take tensors of places.
    reach = local_size or 2**20
    query_Q1 = torch.tensor([0, 1, reach - 1, reach, reach + 1, 2 * reach + 1])[:, None]
    key_QK = (query_Q1 - torch.tensor([2 * reach, reach, reach - 1, 1, 0, -1])).clamp(min=0)
    seen_QK = (key_QK <= query_Q1) & (key_QK > query_Q1 - (local_size or 4 * reach))
    if not torch.equal(mask_function(torch.tensor(0), torch.tensor(0), query_Q1, key_QK).expand_as(seen_QK), seen_QK):
        raise NotPackable("its masks are neither causal nor windows")
    return _Mask(local_size)


@functools.cache
def _register() -> None:
    """Make our attention known to transformers.

    Raises:
        UserError: this version of transformers has no such registry.
    """
    try:
        from transformers import AttentionInterface  # start-up: a second
        from transformers.masking_utils import AttentionMaskInterface
    except ImportError as error:
        raise UserError(
            f"this version of transformers lets nobody bring an attention of their own ({error}), which models of this "
            "family need here: pip install --upgrade transformers"
        ) from error
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)


# --- making and loading ---------------------------------------------------------------------------------------


def attention_of(config: ForeignConfig) -> str:
    """The attention that a model runs with: ours, or transformers' own where documents run alone."""
    _register()
    if config.documents != "alone":
        return NAME
    return "sdpa" if on_meta(config)._supports_sdpa else "eager"


def load_foreign(folder: Path, config: ForeignConfig, dtype: torch.dtype | None = torch.float32) -> ForeignModel:
    """Load a model as transformers does.

    Args:
        folder: a model folder, whose tensors `huggingface_names` has checked.
        config: what its config.json says.
        dtype: the type of the weights; None keeps the stored one.

    Raises:
        UserError: transformers can't load it, or weights are missing.
    """
    from transformers import AutoModelForCausalLM  # start-up: a second
    from transformers.utils import logging

    quieten_libraries()
    logging.disable_progress_bar()
    try:
        module, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config.settings(),
            dtype="auto" if dtype is None else dtype,
            attn_implementation=attention_of(config),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many kinds for a bad folder
        raise UserError(f"{folder}: transformers cannot load it: {excerpt(' '.join(str(error).split()))}") from error
    if absent := sorted([*loading["missing_keys"], *map(str, loading["mismatched_keys"])]):
        # transformers would only warn, and fill them with random numbers.
        raise UserError(f"{folder}: weights are missing or of another shape: {', '.join(absent[:5])}")
    return ForeignModel(config, module)


def foreign_on_meta(config: ForeignConfig) -> ForeignModel:
    """The model without memory, to be counted."""
    return ForeignModel(config, on_meta(config))
