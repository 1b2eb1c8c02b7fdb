"""The dry run: the real decoder, sharded over fake ranks on the CPU, one training step that computes nothing.

A process group that talks to nobody makes this process rank 0 of as many ranks as wanted. The decoder is built on the
meta device, sharded by FSDP2 as training shards it, and run under FakeTensorMode: every tensor has its shape, its
type and no values. PyTorch's FSDPMemTracker adds up what is alive. 13 billion parameters on 256 ranks take
half a minute and 0.4 GiB.

    python -m diglot.plan.dryrun < request.json        {"config": {…}, "execution": {…}}  →  one JSON object

A process of its own, because fake process groups and what is replaced here are global. Three things differ from
the code that trains, so that the bytes are those of a GPU: attention and RMSNorm keep what CUDA's kernels keep (on
the CPU, the one runs in blocks and the other in parts), and the loss is called where it knows that every target is
valid (looking for the others takes values).

The peak is that of forward and backward pass, plus the optimizer's state, which is made as training makes it. Two things the
tracker gets wrong: during the optimizer's step it counts tensors of the whole model's size (207 GiB for PolyLM's 13B), and
under tensor parallel it counts what DTensor makes up to find out shapes. So no step is taken (a fused AdamW needs nothing),
and with tensor parallel only weights are sharded and counted, and the peak is the formula's. Of several phases the one that
holds most is run; weights of four bits are not cut, so they have no dry run.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from diglot.base.errors import UserError
from diglot.model.decoder import DecoderConfig
from diglot.plan.execution import Execution

TIMEOUT = 900  # seconds
# The tracker's categories in the plan's words.
CATEGORIES = {
    "Sharded Param": "weights",
    "Sharded Grad": "gradients",
    "Unsharded Grad": "gradients",
    "Reduce Scatter": "gradients",
    "OptState": "optimizer",
    "Unsharded Param": "gathered",
    "All Gather": "gathered",
    "Activation": "activations and loss",
    "Temp": "activations and loss",
    "Inputs": "activations and loss",
    "Buffer": "activations and loss",
}


def dry_run(config: DecoderConfig, execution: Execution) -> dict[str, Any]:
    """Run one dry step in a process of its own.

    Returns:
        `{"ranks", "weights", "gradients", "optimizer", "peak", "categories", "seconds", "host_bytes"}`: bytes a
        rank; under tensor parallel `peak` and `categories` are None.

    Raises:
        UserError: the process failed; with the end of what it said.
    """
    request = json.dumps({"config": asdict(config), "execution": asdict(execution)})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "diglot.plan.dryrun"],
            input=request,
            capture_output=True,
            text=True,
            env=environment,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"--dry-run-ranks: the dry run took longer than {TIMEOUT} s") from error
    if done.returncode:
        raise UserError(f"--dry-run-ranks: the dry run failed: {done.stderr.strip()[-1500:]}")
    return json.loads(done.stdout.strip().split("\n")[-1])


# --- inside the process ---------------------------------------------------------------------------------------


def _build(config: DecoderConfig, execution: Execution) -> Any:
    """The decoder with its loss on the meta device, cut and sharded."""
    import torch  # start-up: a plan without a dry run needs no torch
    from torch import Tensor, nn
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    from diglot.model.decoder import Decoder
    from diglot.model.loss import _CrossEntropy
    from diglot.plan.states import trained
    from diglot.recipe.train import Adapter
    from diglot.train.adapter import add_adapter

    class Step(nn.Module):
        """Decoder and loss in one module, so that the output weight is whole while the loss uses it."""

        def __init__(self) -> None:
            super().__init__()
            self.decoder = Decoder(config)

        def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
            hidden_ND = self.decoder(tokens_BT).flatten(0, 1)
            weight_VD = self.decoder.output_weight()
            dtype = hidden_ND.dtype
            return _CrossEntropy.apply(hidden_ND, weight_VD, targets_BT.flatten(), dtype, 0.0, None, True)[0]

    with torch.device("meta"):
        model = Step()
    if execution.weights != "float32":
        model.to(torch.bfloat16)
    if execution.adapter_rank:
        if execution.new_rows:  # in float32, as train/base.py has it
            for table in (model.decoder.embedding, model.decoder.head):
                _ = table and table.float()
        kind, targets = execution.adapter_kind, execution.adapter_targets
        add_adapter(model.decoder, Adapter(kind=kind, rank=execution.adapter_rank, targets=targets))
    moves = trained(config, execution, execution.phases[0])
    for name, parameter in model.decoder.named_parameters():
        parameter.requires_grad_(name.replace(".base_layer.", ".") in moves)
    # Tensor parallel first, then checkpointing, then FSDP2 around it: the order of train/mesh.py.
    shape = (execution.data_parallel, execution.tensor_parallel)
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("data", "tensor"))
    if execution.tensor_parallel > 1:
        _cut(model.decoder, mesh["tensor"])
    layers = model.decoder.layers
    if execution.activation_checkpointing:
        for index, layer in enumerate(layers):
            layers[index] = checkpoint_wrapper(layer)
    if execution.float32_residual:
        model.decoder.keep_float32()
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    if execution.precision == "bfloat16":
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh["data"], mp_policy=policy)
    fully_shard(model, mesh=mesh["data"], mp_policy=policy)
    return model


def _cut(decoder: Any, mesh: Any) -> None:
    """Tensor parallel, for the sizes of the shards: attention and feed-forward by columns, then by rows."""
    # start-up: see _build
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    for layer in decoder.layers:
        columns = ["attention.query", "attention.key", "attention.value", "feed_forward.up"]
        columns += ["feed_forward.gate"] if layer.feed_forward.gate is not None else []
        plan: dict[str, Any] = {name: ColwiseParallel() for name in columns}
        plan |= {name: RowwiseParallel() for name in ("attention.output", "feed_forward.down")}
        parallelize_module(layer, mesh, plan)
    tables = ["embedding"] + ["position_embedding"] * (decoder.position_embedding is not None)
    parallelize_module(decoder, mesh, {name: RowwiseParallel() for name in tables})
    if decoder.head is not None:
        parallelize_module(decoder, mesh, {"head": ColwiseParallel()})


def _keep_what_a_gpu_keeps() -> None:
    """Replace attention and RMSNorm by functions that keep for the backward pass what CUDA's kernels keep."""
    import torch  # start-up: see _build
    from torch import Tensor

    from diglot.model import attention

    class FlashAttention(torch.autograd.Function):
        """Keeps query, key, value, result, and one float32 number a head and token."""

        @staticmethod
        def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: None, scores: Any) -> Tensor:
            out_MLHS = torch.empty_like(query)
            sums_MHL = query.new_empty(query.shape[:3], dtype=torch.float32)
            ctx.save_for_backward(query, key, value, out_MLHS, sums_MHL)
            return out_MLHS

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            return *(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3]), None, None

    class FusedRmsNorm(torch.autograd.Function):
        """Keeps its input and one float32 number a row."""

        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            ctx.save_for_backward(x, weight, x.new_empty(x.shape[:-1], dtype=torch.float32))
            return torch.empty_like(x)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:2])

    def rms_norm(x: Tensor, shape: Any, weight: Tensor, epsilon: float) -> Any:
        return FusedRmsNorm.apply(x, weight)

    # In a process of its own, so nothing has to be put back.
    attention._causal = FlashAttention.apply
    torch.nn.functional.rms_norm = rms_norm  # type: ignore[assignment]


def _local(tensor: Any) -> int:
    """Bytes of a tensor's part on this rank."""
    part = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part.numel() * part.element_size()


def _track(model: Any, config: DecoderConfig, execution: Execution) -> dict[str, Any]:
    """One step under the tracker."""
    import torch  # start-up: see _build
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker

    from diglot.recipe.train import Train
    from diglot.train.optimizer import build_optimizer

    size = (execution.micro_batch_size, execution.sequence_length)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
        tracker = FSDPMemTracker(model, torch.optim.AdamW(moving))  # which is never asked for a step
        tracker.track_inputs(())
        with tracker:
            tokens_BT, targets_BT = (torch.randint(0, config.vocabulary_size, size) for _ in range(2))
            model(tokens_BT, targets_BT).backward()
            peak = tracker.get_tracker_snapshot("peak")
        given = {"from": {"model": "model", "tokens": "tokens"}, "steps": 1, "optimizer": execution.optimizer}
        optimizer = build_optimizer(model.decoder, Train.model_validate(given | {"moments": execution.moments}))
        states = [tensor for state in optimizer.state.values() for tensor in state.values()]
        gradients = [parameter.grad for parameter in moving]
        held = {"gradients": sum(map(_local, gradients)), "optimizer": sum(map(_local, states))}
    categories: dict[str, int] = {}
    for snapshot in peak.values():
        for key, value in snapshot.items():
            name = CATEGORIES.get(getattr(key, "value", key))
            if name and value:
                categories[name] = categories.get(name, 0) + value
    categories["optimizer"] = held["optimizer"]
    return {**held, "categories": categories, "peak": sum(categories.values())}


def _main() -> None:
    import torch.distributed as distributed  # start-up: see _build
    from torch.testing._internal.distributed.fake_pg import FakeStore

    started, request = time.monotonic(), json.load(sys.stdin)
    config = DecoderConfig.of(request["config"])
    phases = tuple(map(tuple, request["execution"].pop("phases")))
    execution = Execution(**request["execution"], phases=phases)
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=execution.ranks)
    _keep_what_a_gpu_keeps()
    model = _build(config, execution)
    weights = sum(map(_local, model.parameters()))
    result: dict[str, Any] = {"ranks": execution.ranks, "weights": weights, "peak": None, "categories": None}
    if execution.tensor_parallel == 1:
        result |= _track(model, config, execution)
    else:
        result |= {"gradients": weights, "optimizer": 2 * weights + 4 * len(list(model.parameters()))}
    result["seconds"] = round(time.monotonic() - started, 2)
    result["host_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    distributed.destroy_process_group()
    print(json.dumps(result))


if __name__ == "__main__":
    _main()
