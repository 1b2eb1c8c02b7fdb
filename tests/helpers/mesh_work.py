"""Short runs of the real loop on several processes over gloo, for the tests of meshes."""

import datetime
import json
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tiny_run import artifact, settings, train

from diglot.base.artifact import Inputs


def run_on(world: int, folders: dict[str, Path], output: Path, given: list[dict]) -> None:
    """Train with each of the settings, one after another, on `world` processes; results lie in output/0, output/1, …"""
    texts = [json.dumps(settings(**changes).model_dump(mode="json", by_alias=True)) for changes in given]
    output.mkdir(parents=True, exist_ok=True)
    given_to = (world, {role: str(path) for role, path in folders.items()}, str(output), texts)
    # Forked, not spawned: importing torch anew takes longer than the tests.
    mp.start_processes(_work, given_to, nprocs=world, start_method="fork")


def _work(rank: int, world: int, folders: dict[str, str], output: str, given: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{output}/meeting",
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=60),
    )
    inputs = Inputs({role: [artifact(Path(path), role)] for role, path in folders.items()})
    for number, text in enumerate(given):
        train(inputs, Path(output) / str(number), type(settings()).model_validate_json(text))
    dist.destroy_process_group()
