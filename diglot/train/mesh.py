"""The processes that train one model: who holds which part of it, and who reads which rows.

    world = replicas × shards × context × tensor      parallel: {tensor: 8, context: 4} on 256 processes leaves 8 shards

    tensor      a layer's matrices are cut by heads and by the feed-forward's inner units; norms and the residual stream
                by tokens (sequence parallel; Korthikanti et al. 2022, 2205.05198), the vocabulary by rows. PolyLM: 8
    context     the tokens of every row of a batch, for documents longer than one device could hold (model/context.py)
    shards      all that is left is cut again by rows, and gathered layer by layer when it is needed (FSDP2); weights are
                cut over shards × context
    replicas    whole copies of the shards, for networks that are slow between nodes (hybrid sharding)

Replicas and shards read different rows of a batch: data rank r of n reads the rows r, r + n, r + 2n, … . Together they
read the same batch whatever n is, and the loss is divided by what all of them predict. So a run gives the same curve
on every mesh, to rounding, and goes on from its checkpoints on another one.

    mesh = Mesh(settings.parallel)                  # with one process: holds everything, sums nothing
    decoder = mesh.load(folder, settings)           # no process ever holds the whole model
    rows = mesh.rows(batch)
    total = mesh.sum(units)

The order is torchtitan's: an empty model on the meta device, tensor parallel, compilation, activation checkpointing,
FSDP2, and then the weights, read one tensor at a time. Tensor parallel, compilation and float8 stand below the class.

Legend: B rows, T tokens of a row.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from diglot.base.errors import UserError
from diglot.model.causal import CausalModel
from diglot.model.context import RowCut
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.families import family_of, read_config
from diglot.model.families.foreign import ForeignConfig
from diglot.model.foreign import ForeignModel, layer_checkpoint
from diglot.model.huggingface import huggingface_shapes, load_decoder, save_decoder, write_description
from diglot.model.weights import write_weights
from diglot.recipe.train import Parallel, Train
from diglot.tokens.packing import IGNORED, Batch
from diglot.train.adapter import adapted, plain_tensors
from diglot.train.base import empty_decoder, fill
from diglot.train.foreign import check_foreign, load_whole, save_whole
from diglot.train.parts import axis_of, local

CAPABILITY = (8, 9)  # float8 products: Ada, Hopper and later
# Gathering a weight that is cut twice takes two steps, says torch each time.
logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
# The hidden states come out as a view of what was gathered; the losses never write to them.
warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


class Mesh:
    """The processes of a run and this one's place among them.

    Attributes:
        rank: number of this process.
        world: how many there are.
        is_first: whether this process writes the files.
        device: where this process computes.
        data_rank: of the processes that read different rows, which this is.
        data_size: how many those are: replicas × shards.
        row_cut: which tokens of its rows this process reads; None where it reads all.
    """

    def __init__(self, parallel: Parallel, offload: bool = False) -> None:
        """Lay out the processes of the default process group, or one process where there is none.

        Args:
            parallel: how they share the model.
            offload: cut the model (FSDP2) though there be one process only: what is gathered can lie elsewhere.

        Raises:
            UserError: they can't be laid out so.
        """
        self.parallel, self.offload = parallel, offload
        if offload and not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
            atexit.register(dist.destroy_process_group)
        # A group of one that an earlier stage made means nothing to a stage that cuts nothing.
        together = dist.is_initialized() and (dist.get_world_size() > 1 or offload)
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        self.is_first = self.rank == 0
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
        used = parallel.tensor * parallel.context * parallel.replicas
        if self.world % used:
            raise UserError(
                f"parallel: tensor {parallel.tensor} × context {parallel.context} × replicas {parallel.replicas} does "
                f"not divide the {self.world} processes; start a multiple of {used} (torchrun --nproc-per-node {used} "
                "-m -- diglot run …), or set all to 1"
            )
        self.data_size = self.world // (parallel.tensor * parallel.context)
        self.data_rank = self.rank // (parallel.tensor * parallel.context)
        self.device_mesh: DeviceMesh | None = None
        self.row_cut: RowCut | None = None
        if together:
            shape = (parallel.replicas, self.world // (parallel.tensor * parallel.replicas), parallel.tensor)
            self.device_mesh = init_device_mesh(kind, shape, mesh_dim_names=("replicas", "shards", "tensor"))
            columns = [list(range(first, self.world, parallel.tensor)) for first in range(parallel.tensor)]
            self.data_group, _ = dist.new_subgroups_by_enumeration(columns)
        if parallel.context > 1:
            self.row_cut = self._row_cut()

    def _row_cut(self) -> RowCut:
        tensor, size = self.parallel.tensor, self.parallel.context
        alike = np.arange(self.world).reshape(-1, size, tensor)  # the last but one: who shares a row
        group, _ = dist.new_subgroups_by_enumeration(alike.swapaxes(1, 2).reshape(-1, size).tolist())
        return RowCut(self.rank // tensor % size, size, group)

    def check(self, settings: Train) -> None:
        """Refuse what the processes can't share.

        Raises:
            UserError: a batch that they can't share equally, or weights that can't be cut.
        """
        if settings.weights == "nf4" and self.device_mesh is not None:
            raise UserError(
                "weights: nf4 is for one process without offload: such weights are not cut. Start one process, or set "
                "weights: bfloat16"
            )
        if settings.batch_size % self.data_size:
            raise UserError(
                f"batch_size ({settings.batch_size}) is not a multiple of the {self.data_size} processes that read "
                "different rows; change batch_size, the number of processes, or parallel"
            )

    # --- rows and sums ----------------------------------------------------------------------------------------

    def rows(self, batch: Batch) -> Batch:
        """What this process reads of a batch: some rows, and where they are cut (context parallel) its tokens of them.

        Documents are numbered anew, from 0, and those of cut rows stay whole: attention asks who else is in them. Where
        the rows don't divide, rows of padding fill up: all processes must run the model equally often.
        """
        if self.data_size > 1:
            batch = self._rows(batch)
        if self.row_cut is None:
            return batch
        mine = self.row_cut.columns(batch.tokens_BT.shape[1]).numpy()
        return replace(
            batch,
            tokens_BT=batch.tokens_BT[:, mine],
            targets_BT=batch.targets_BT[:, mine],
            positions_BT=batch.positions_BT[:, mine],
        )

    def _rows(self, batch: Batch) -> Batch:
        padding = -len(batch.tokens_BT) % self.data_size

        def mine(rows: np.ndarray, value: int) -> np.ndarray:
            widths = [(0, padding), *[(0, 0)] * (rows.ndim - 1)]
            return np.pad(rows, widths, constant_values=value)[self.data_rank :: self.data_size]

        documents_BT = mine(batch.documents_BT, -1)
        inside_BT = documents_BT >= 0
        _, documents_BT[inside_BT] = np.unique(documents_BT[inside_BT], return_inverse=True)
        return replace(
            batch,
            tokens_BT=mine(batch.tokens_BT, 0),
            targets_BT=mine(batch.targets_BT, IGNORED),
            positions_BT=mine(batch.positions_BT, 0),
            documents_BT=documents_BT,
            sources_B=mine(batch.sources_B, 0),
            reference_BT=None if batch.reference_BT is None else mine(batch.reference_BT, 0),
        )

    def rows_at_a_time(self, settings: Train) -> int:
        """Sequences in a process's memory at a time."""
        share = settings.batch_size // self.data_size
        return min(settings.micro_batch_size or share, share)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes that read different tokens; the same bits on all of them."""
        if self.world > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor, group=self.data_group)
        return tensor

    def largest(self, value: Tensor) -> Tensor:
        """The largest of a number over all processes: what decides must be the same on all of them."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        if self.world == 1:
            return flag
        count = torch.tensor(int(flag))
        dist.all_reduce(count)
        return bool(count)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            dist.barrier()

    # --- the model --------------------------------------------------------------------------------------------

    def load(self, folder: Path, settings: Train) -> CausalModel:
        """A model, in the types that the settings say, laid out over the processes; an adapter's matrices are empty.

        Raises:
            UserError: it is not a whole model of a supported kind, or its sizes can't be cut so.
        """
        if isinstance(config := read_config(folder), ForeignConfig):
            check_foreign(config, settings, self.parallel, self.world)
            model = load_whole(folder, config, settings)
            model = model if self.offload else model.to(self.device)
            self.wrap(model, settings)
            return model
        usual = settings.adapter is None and settings.weights == "float32"
        if self.device_mesh is None and usual:
            decoder = load_decoder(folder).to(self.device)
            self.wrap(decoder, settings)
            return decoder
        decoder = empty_decoder(folder, settings)
        self.wrap(decoder, settings)
        decoder.to_empty(device=torch.device("cpu") if self.offload else self.device)
        fill(decoder, folder, self.device)
        return decoder

    def wrap(self, decoder: CausalModel, settings: Train) -> None:
        """Make a model run as the settings say, in place, and cut its parameters where there are more processes."""
        decoder.row_cut = self.row_cut
        if self.device_mesh is not None and self.parallel.tensor > 1:
            assert isinstance(decoder, Decoder)
            cut_layers(decoder, self.device_mesh["tensor"], settings.sequence_length // self.parallel.context)
        if settings.float32_residual:
            assert isinstance(decoder, Decoder)
            decoder.keep_float32()
        if settings.float8:
            train_in_float8(decoder, self.device)
        if settings.compile:
            assert isinstance(decoder, Decoder)
            compile_layers(decoder)
        if settings.activation_checkpointing:
            for layer in decoder.layers:  # within FSDP2's hooks: what is recomputed is not gathered once more
                layer.forward = layer_checkpoint(layer)
        if self.device_mesh is not None:
            self._shard(decoder, settings, self.device_mesh)

    def _shard(self, decoder: CausalModel, settings: Train, device_mesh: DeviceMesh) -> None:
        names = ("replicas", "shards") if self.parallel.replicas > 1 else ("shards",)
        fsdp_mesh = device_mesh[names]
        policy = MixedPrecisionPolicy()
        if settings.precision == "bfloat16":
            # Casting a layer's inputs would round the rotary cosines and undo `float32_residual`.
            policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        offload = OffloadPolicy()
        if self.offload:
            offload = CPUOffloadPolicy(pin_memory=self.device.type == "cuda")
        for layer in decoder.layers:
            fully_shard(layer, mesh=fsdp_mesh, mp_policy=policy, offload_policy=offload)
        # The embedding, the last norm and the output weight stay whole until the step's backward pass is over: the
        # loss reads the output weight after the model's forward pass.
        fully_shard(decoder, mesh=fsdp_mesh, mp_policy=policy, reshard_after_forward=False, offload_policy=offload)
        for module in decoder.modules():
            if isinstance(module, FSDPModule):
                # The loss is divided by the global number of units already; gloo knows only plain sums.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def autocast(self, precision: str) -> AbstractContextManager[None]:
        """Mixed precision in one process; where there are more, FSDP2 casts the weights that it gathers."""
        if precision == "bfloat16" and self.device_mesh is None:
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def rest(self, decoder: nn.Module) -> None:
        """Let go of what a forward pass without a backward pass has gathered."""
        for module in decoder.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def save(self, decoder: CausalModel, folder: Path, source: Path) -> None:
        """Write a model's folder (see `save_decoder`): the first process, one tensor at a time; the others help.

        An adapter is merged.

        Args:
            decoder: the model.
            folder: where to; made if absent.
            source: the folder that the model came from: its tokenizer is handed on, and what was made coarser to be
                trained (four bits) is read there again.

        Raises:
            UserError: the tokenizer has more entries than the embedding has rows.
        """
        if self.device_mesh is None and not adapted(decoder):
            save_decoder(decoder, folder, source)
            return
        if isinstance(decoder, ForeignModel):
            save_whole(decoder, folder, source, self.is_first)
            return
        assert isinstance(decoder, Decoder)
        # The last norm has the type of all that is not trained beside an adapter.
        family, dtype = family_of(decoder.config), decoder.norm.weight.dtype
        shapes = {name: shape.to(dtype) for name, shape in huggingface_shapes(decoder.config).items()}
        plain = plain_tensors(decoder, source)

        def gather(name: str) -> Tensor:
            ours = family.from_huggingface({name: shapes[name]})
            return family.to_huggingface({each: plain(each) for each in ours})[name].to(dtype)

        def write(tensor: Callable[[str], Tensor]) -> None:
            write_description(decoder.config, dtype, folder, source)
            write_weights(folder, shapes, tensor)

        self.stream(sorted(shapes), gather, write)

    def stream(
        self, names: list[str], gather: Callable[[str], Tensor], write: Callable[[Callable[[str], Tensor]], None]
    ) -> None:
        """Let the first process write tensors that all hold parts of, one at a time.

        Args:
            names: of the tensors, in the same order on all processes.
            gather: gives a tensor whole; all processes must take part.
            write: called on the first process with a function that gives a tensor by its name, in any order.
        """
        if not self.is_first:
            while (number := self._from_first(-1)) >= 0:
                gather(names[number])
            return
        try:
            write(lambda name: gather(names[self._from_first(names.index(name))]))
        finally:
            self._from_first(-1)

    def _from_first(self, number: int) -> int:
        if self.world == 1:
            return number
        told = torch.tensor(number)
        dist.broadcast(told, src=0)
        return int(told)

    # --- gradients --------------------------------------------------------------------------------------------

    def clip(self, groups: dict[str, list[Tensor]], limit: float) -> tuple[dict[str, Tensor], Tensor]:
        """Scale gradients down to a norm of at most `limit`.

        Args:
            groups: gradients by parameter group.
            limit: of the norm over all groups.

        Returns:
            The norms of the groups and of all, before clipping: over all processes, on the device, not waited for.
        """
        squares = torch.stack([self._squares(group) for group in groups.values()])
        if self.world > 1:
            dist.all_reduce(squares)
        norm = squares.sum().sqrt()
        scale = (limit / (norm + 1e-6)).clamp(max=1.0).float()
        for group in groups.values():
            for gradient in group:
                local(gradient).mul_(scale.to(local(gradient)))
        return dict(zip(groups, squares.sqrt().unbind())), norm

    def _squares(self, gradients: Iterable[Tensor]) -> Tensor:
        """The summed squares of the parts on this process, each divided by how many processes hold the same part."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for gradient in gradients:
            norm = torch.linalg.vector_norm(local(gradient), dtype=torch.float32).to(total)
            total += norm.square() / self._copies(gradient)
        return total

    def _copies(self, tensor: Tensor) -> int:
        if not isinstance(tensor, DTensor):
            return self.world
        mesh, cut = tensor.device_mesh, 1
        for dim, placement in enumerate(tensor.placements):
            cut *= 1 if axis_of(placement) is None else mesh.size(dim)
        return self.world // cut


# --- tensor parallel ------------------------------------------------------------------------------------------


def cut_layers(decoder: Decoder, mesh: DeviceMesh, sequence_length: int) -> None:
    """Tensor and sequence parallel: cut a model over the processes of a mesh, in place.

    The residual stream is cut by tokens (1 of BTD). A layer gathers the tokens, computes its heads or inner units, and
    sums and cuts the results in one step. The hidden states come out whole; as the loss's gradient of them is computed
    from a part of the vocabulary on each process, those gradients are summed.

    Raises:
        UserError: a size that is no multiple of the number of processes.
    """
    _refuse_uneven(decoder.config, mesh.size(), sequence_length)
    if decoder.config.query_key_norm == "projection" or decoder.config.norm_placement == "after":
        raise UserError(
            "parallel.tensor: this model's norms are over the queries of all heads at once (OLMo 2 and 3), which lie on "
            "several processes; set parallel.tensor: 1"
        )
    by_token, everywhere = Shard(1), Replicate()
    rows = RowwiseParallel(input_layouts=everywhere, output_layouts=by_token)
    top: dict[str, ParallelStyle] = {"embedding": rows, "position_embedding": rows, "norm": SequenceParallel()}
    top["head"] = ColwiseParallel()  # never called: the loss reads its weight
    present = {name: style for name, style in top.items() if getattr(decoder, name) is not None}
    parallelize_module(decoder, mesh, present)
    decoder.register_forward_hook(_gather_tokens)
    out = RowwiseParallel(output_layouts=by_token)
    plan: dict[str, ParallelStyle] = {
        "attention_norm": SequenceParallel(),
        "attention": PrepareModuleInput(
            input_layouts=(by_token, None, None), desired_input_layouts=(everywhere, None, None)
        ),
        "attention.query": ColwiseParallel(),
        "attention.key": ColwiseParallel(),
        "attention.value": ColwiseParallel(),
        # The weight of the heads' norm is one; its gradient is summed over all heads.
        "attention.query_norm": SequenceParallel(sequence_dim=2, use_local_output=True),
        "attention.key_norm": SequenceParallel(sequence_dim=2, use_local_output=True),
        "attention.output": out,
        "feed_forward_norm": SequenceParallel(),
        "feed_forward": PrepareModuleInput(input_layouts=(by_token,), desired_input_layouts=(everywhere,)),
        "feed_forward.gate": ColwiseParallel(),
        "feed_forward.up": ColwiseParallel(),
        "feed_forward.down": out,
    }
    for layer in decoder.layers:
        modules = dict(layer.named_modules())
        parallelize_module(layer, mesh, {name: style for name, style in plan.items() if name in modules})


def _gather_tokens(decoder: nn.Module, inputs: Any, hidden: DTensor) -> Tensor:
    return hidden.redistribute(placements=[Replicate()]).to_local(grad_placements=[Partial()])


def _refuse_uneven(config: DecoderConfig, processes: int, sequence_length: int) -> None:
    sizes = {
        "vocabulary": (config.vocabulary_size, "set pad_vocabulary_to where the model is made or expanded"),
        "attention heads": (config.num_heads, "take a smaller one"),
        "key-value heads": (config.num_key_value_heads, "take a smaller one"),
        "intermediate_size": (config.intermediate_size, "take a smaller one"),
        "tokens of a row on each process": (sequence_length, "change sequence_length"),
    }
    if config.positions == "learned":
        sizes["max_positions"] = (config.max_positions, "take a smaller one")
    for name, (size, remedy) in sizes.items():
        if size % processes:
            raise UserError(f"parallel.tensor: {processes} does not divide the {name} ({size}); {remedy}")


# --- how layers compute ---------------------------------------------------------------------------------------


def compile_layers(decoder: Decoder) -> None:
    """Compile a decoder's layers (see `Decoder.compile_layers`).

    Raises:
        UserError: there is no C++ compiler, which torch.compile needs at the first step (on GPUs for Triton's launchers).
    """
    compilers = (os.environ.get("CXX", "g++"), "clang++", "c++")
    if not any(shutil.which(compiler) for compiler in compilers):
        raise UserError("compile: true needs a C++ compiler: install g++, or set compile: false")
    decoder.compile_layers()


def train_in_float8(decoder: nn.Module, device: torch.device) -> None:
    """Let the layers' linear maps compute in float8, scaled tensor by tensor (torchao); weights stay what they are.

    Raises:
        UserError: the device can't, or torchao is not installed.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if capability is None or capability < CAPABILITY:
        found = "the CPU" if capability is None else f"a GPU of capability {capability[0]}.{capability[1]}"
        raise UserError(
            f"float8: true needs a GPU of compute capability {CAPABILITY[0]}.{CAPABILITY[1]} or later (L4, H100); this "
            f"process runs on {found}. Set float8: false"
        )
    try:
        from torchao.float8 import convert_to_float8_training  # extra: float8
    except ImportError as error:
        raise UserError("float8: true needs torchao: pip install torchao, or set float8: false") from error
    convert_to_float8_training(decoder, module_filter_fn=runs_in_float8)


def runs_in_float8(module: nn.Module, name: str) -> bool:
    """Whether a module's products can run in float8: the layers' linear maps whose sizes are multiples of 16.

    The output weight stays: the loss computes with it, and rounding there moves the loss most.
    """
    if not isinstance(module, nn.Linear) or not name.startswith("layers."):
        return False
    return all(size % 16 == 0 for size in module.weight.shape)
