"""Frozen rows of parameters that are sharded over two processes: the same as in one process."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from rounding import rounding
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor

from diglot.model.decoder import Decoder, DecoderConfig
from diglot.recipe.train import Phase, Train
from diglot.train.freezing import Expansion, select
from diglot.train.optimizer import build_optimizer, drop_frozen_gradients, learning_rates_by_group, take_step

CONFIG = DecoderConfig(
    vocabulary_size=37, num_layers=1, hidden_size=16, intermediate_size=24, num_heads=2, num_key_value_heads=2,
    head_size=8, max_positions=16, tied_embeddings=False,
)  # fmt: skip
PLACEMENTS = {"rows": Shard(0), "columns": Shard(1), "copies": Replicate()}
NEW_ROWS = ((3, 5), (25, 36))  # uneven shards of 19 and 18 rows, with new rows in both


def tables_after_training(placement: Placement | None) -> dict[str, torch.Tensor]:
    """Two steps of both tables whole, then three of new rows, with gradients that depend on the step only."""
    torch.manual_seed(0)
    model = Decoder(CONFIG)
    start = {name: table.weight.detach().clone() for name, table in tables(model).items()}
    if placement is not None:
        mesh = init_device_mesh("cpu", (2,))
        for table in tables(model).values():
            table.weight = nn.Parameter(distribute_tensor(table.weight.detach(), mesh, [placement]))
    given = Train(steps=5, weight_decay=0.5, learning_rate=1e-2, **{"from": {"model": "m", "tokens": "t"}})
    optimizer = build_optimizer(model, given)
    for step in range(5):
        kind = "embeddings" if step < 2 else "new-rows"
        selection = select(model, Expansion(NEW_ROWS), Phase(name="a", trains=kind))
        by_rows = {parameter: rows for parameter, rows in selection.items() if rows is not None}
        for number, table in enumerate(tables(model).values()):
            gradient = torch.randn(37, 16, generator=torch.Generator().manual_seed(10 * step + number))
            if isinstance(table.weight, DTensor):
                gradient = distribute_tensor(gradient, table.weight.device_mesh, table.weight.placements)
            table.weight.grad = gradient
        drop_frozen_gradients(by_rows)
        assert learning_rates_by_group(optimizer) == {"embeddings": 0.01, "output": 0.01, "matrices": 0, "vectors": 0}
        take_step(optimizer, by_rows)
        if step == 1:
            middle = {name: whole(table.weight) for name, table in tables(model).items()}
    ends = {name: whole(table.weight) for name, table in tables(model).items()}
    moved = torch.zeros(37, dtype=torch.bool)
    for first, end in NEW_ROWS:
        moved[first:end] = True
    for name in start:
        assert (start[name] != middle[name]).all()
        assert torch.equal((middle[name] != ends[name]).any(dim=1), moved)
    return ends


def tables(model: Decoder) -> dict[str, nn.Module]:
    return {"embedding": model.embedding, "head": model.head}


def whole(weight: torch.Tensor) -> torch.Tensor:
    return (weight.full_tensor() if isinstance(weight, DTensor) else weight).detach().clone()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for name, placement in PLACEMENTS.items():
        ends = tables_after_training(placement)
        torch.save(ends, f"{folder}/{name}-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_frozen_rows_of_sharded_tables(tmp_path: Path) -> None:
    mp.start_processes(work, (str(tmp_path),), nprocs=2, start_method="fork")  # importing torch anew takes longer
    alone = tables_after_training(None)
    for name in PLACEMENTS:
        for rank in range(2):
            found = torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True)
            for table, weight in alone.items():
                torch.testing.assert_close(found[table], weight, rtol=0, atol=rounding(weight, operations=8))
