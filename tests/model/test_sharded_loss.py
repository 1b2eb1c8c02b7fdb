"""The losses over a vocabulary that is cut over two processes are those of the whole vocabulary."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from diglot.model import sharded_loss
from diglot.model.loss import cross_entropy, token_log_probabilities

N, D, V = 50, 16, 42


def draw(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden_ND, weight_VD = (3 * torch.randn(size, D, generator=generator) for size in (N, V))
    targets_N = torch.randint(V, (N,), generator=generator)
    targets_N[torch.rand(N, generator=generator) < 0.3] = -100
    return hidden_ND.to(dtype).requires_grad_(), weight_VD.to(dtype).requires_grad_(), targets_N


def work(rank: int, output: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{output}/meeting", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("tensor",))
    sharded_loss.CHUNK_LOGITS, sharded_loss.MIN_CHUNK = 7 * V // 2, 1
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        for z_loss in (0.0, 0.1, None):
            hidden_ND, weight_VD, targets_N = draw(dtype)
            cut_VD = distribute_tensor(weight_VD.detach(), mesh, [Shard(0)]).requires_grad_()
            if z_loss is None:
                losses_N = token_log_probabilities(hidden_ND, cut_VD, targets_N)
                total = (losses_N * torch.arange(N)).sum()
            else:
                total, losses_N = cross_entropy(hidden_ND, cut_VD, targets_N, z_loss)
            total.backward()
            dist.all_reduce(hidden_ND.grad)  # the decoder's output does this
            parts = (total, losses_N, hidden_ND.grad, cut_VD.grad.full_tensor())
            found[f"{dtype} {z_loss}"] = [part.detach() for part in parts]
    if rank == 0:
        torch.save(found, output / "found.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[torch.Tensor]]:
    output = tmp_path_factory.mktemp("sharded")
    mp.start_processes(work, (output,), nprocs=2, start_method="fork")
    return torch.load(output / "found.pt", weights_only=True)


@pytest.mark.parametrize("z_loss", [0.0, 0.1, None], ids=["cross-entropy", "z-loss", "log-probabilities"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_cut_vocabulary_gives_what_the_whole_gives(
    found: dict[str, list[torch.Tensor]], dtype: torch.dtype, z_loss: float | None
) -> None:
    hidden_ND, weight_VD, targets_N = draw(dtype)
    logits_NV = hidden_ND.float() @ weight_VD.float().T
    losses_N = torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="none")
    valid_N = targets_N != -100
    if z_loss is None:
        losses_N = -losses_N
        total = (losses_N * torch.arange(N)).sum()
    else:
        total = losses_N.sum() + z_loss * logits_NV.logsumexp(dim=1)[valid_N].square().sum()
    total.backward()
    expected = (total.detach(), losses_N.detach(), hidden_ND.grad, weight_VD.grad)
    close = 2e-5 if dtype == torch.float32 else 2e-2
    for mine, whole in zip(found[f"{dtype} {z_loss}"], expected):
        assert (mine.float() - whole.float()).norm() <= close * whole.float().norm()
