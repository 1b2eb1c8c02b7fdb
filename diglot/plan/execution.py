"""How a training stage runs on its devices: what memory.py and states.py count, and what the dry run builds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MASTER = 4  # bytes of a float32: of a weight, a gradient, and of each of AdamW's two moments


@dataclass(frozen=True)
class Execution:
    """How a training stage runs on its devices.

    Attributes:
        data_parallel: ranks that read different sequences.
        tensor_parallel: ranks that each layer is cut into.
        context_parallel: ranks that share the tokens of every sequence.
        replicas: copies of every parameter; each is sharded over all other ranks of data and context parallel.
        micro_batch_size: sequences a rank holds at a time.
        sequence_length: tokens of a sequence.
        precision: type of products.
        activation_checkpointing: keep layer inputs and compute the rest again in the backward pass.
        float32_residual: residual stream and attention in float32 (PolyLM 3.3).
        accumulates: a step has several micro-batches, so gradients are there from the second on.
        reference: DPO: all pairs go through the model once before the first step; nothing more is held.
        packed: rows hold several documents, which attention groups by length and puts back (attention.py).
        sharded: FSDP2's types and gathering; without, one process under autocast (diglot/train/loop.py).
        optimizer: Muon has one moment of each layer's matrices instead of two.
        weights: type of the model's own weights; see train/base.py.
        moments: of AdamW.
        adapter_rank: of the adapter's matrices; 0 where there is no adapter.
        adapter_kind: DoRA has a magnitude a row too.
        adapter_targets: which of the layers' matrices have one.
        new_rows: beside an adapter the embedding and the output weight are trained, for rows of new tokens.
        new_layers: layers that an expansion added.
        phases: what each phase trains, then the groups of parameters that a multiplier of 0 freezes in it.
        keeps_moments: moments of all phases are held all along, for the stage before or the one after.
        offload: weights, gradients and moments lie in the CPU's memory.
        loss: `whole` is what others do: all logits at once.
        host: all is in a CPU's memory.
        copies: a checkpoint's copy lies in the same memory while it is written, and from the first one on.
    """

    data_parallel: int = 1
    tensor_parallel: int = 1
    context_parallel: int = 1
    replicas: int = 1
    micro_batch_size: int = 1
    sequence_length: int = 2048
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    activation_checkpointing: bool = False
    float32_residual: bool = False
    accumulates: bool = False
    reference: bool = False
    packed: bool = False
    sharded: bool = True
    optimizer: Literal["adamw", "muon"] = "adamw"
    weights: Literal["float32", "bfloat16", "nf4"] = "float32"
    moments: Literal["float32", "8-bit"] = "float32"
    adapter_rank: int = 0
    adapter_kind: Literal["lora", "rslora", "dora"] = "lora"
    adapter_targets: Literal["all", "attention", "feed-forward"] = "all"
    new_rows: bool = False
    new_layers: int = 0
    phases: tuple[tuple[str, ...], ...] = (("all",),)
    keeps_moments: bool = False
    offload: bool = False
    loss: Literal["chunked", "whole"] = "chunked"
    host: bool = False
    copies: bool = False

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number in products."""
        return 2 if self.precision == "bfloat16" else 4

    @property
    def table_bytes(self) -> int:
        """Bytes of a number of the embedding and the output weight, as they lie in memory."""
        return MASTER if self.weights == "float32" or (self.adapter_rank and self.new_rows) else 2

    @property
    def residual_bytes(self) -> int:
        """Bytes of a number of the residual stream; autocast leaves it in the embedding's type."""
        if self.float32_residual:
            return 4
        return self.compute_bytes if self.sharded else self.table_bytes

    @property
    def away(self) -> bool:
        """Whether weights, gradients and moments lie in another memory: a CPU that offloads has but one."""
        return self.offload and not self.host

    @property
    def ranks(self) -> int:
        """Devices in all."""
        return self.data_parallel * self.context_parallel * self.tensor_parallel

    @property
    def shards(self) -> int:
        """Ranks that each parameter, or its tensor-parallel part, is sharded over."""
        return self.data_parallel * self.context_parallel // self.replicas

    @property
    def tokens(self) -> int:
        """Tokens in a rank's memory at a time."""
        return self.micro_batch_size * self.sequence_length // self.context_parallel

    def targets(self, name: str) -> bool:
        """Whether the adapter, where there is one, goes to one of the layers' matrices."""
        in_attention = "attention" in name or "attn" in name
        wanted = {"all": True, "attention": in_attention, "feed-forward": not in_attention}
        return self.adapter_rank > 0 and wanted[self.adapter_targets]
