"""Diglot's checkpoints beside plain torch.distributed.checkpoint, on the same state, for `checkpoint.py`.

diglot_checkpoint.py FOLDER WORLD HIDDEN LAYERS TURNS

In each turn: ours, torch's `save`, torch's `async_save`, and steps of training with and without a save of ours in
flight. Prints the seconds of the first process, a list a measurement.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from diglot.model.decoder import Decoder, DecoderConfig
from diglot.recipe.train import Parallel, Train
from diglot.train.checkpoint import Checkpoints
from diglot.train.mesh import Mesh
from diglot.train.optimizer import build_optimizer

STEPS, ROWS, LENGTH = 8, 1, 128


class State:
    """A model with random weights, and moments as after a step."""

    def __init__(self, folder: Path, hidden: int, layers: int) -> None:
        settings = Train(steps=1, keep_checkpoints=1, **{"from": {"model": "m", "tokens": "t"}})
        config = DecoderConfig(
            vocabulary_size=16_000, num_layers=layers, hidden_size=hidden, intermediate_size=3 * hidden, num_heads=8,
            num_key_value_heads=8, head_size=hidden // 8, max_positions=2048, tied_embeddings=True,
        )  # fmt: skip
        torch.manual_seed(1)
        self.mesh = Mesh(Parallel())
        self.model = Decoder(config)
        self.mesh.wrap(self.model, settings)
        self.optimizer = build_optimizer(self.model, settings)
        with torch.no_grad():
            for parameter in self.model.parameters():
                for key in ("exp_avg", "exp_avg_sq"):
                    self.optimizer.state[parameter][key].copy_(parameter)
        self.checkpoints = Checkpoints(folder / "ours", settings, self.mesh)
        self.plain = folder / "plain"
        self.group = dist.new_group(backend="gloo") if self.mesh.world > 1 else None
        self.turn = 0

    def dictionary(self) -> dict:
        weights, moments = get_state_dict(self.model, self.optimizer)
        return {"model": weights, "optimizer": moments}

    def save(self) -> None:
        self.turn += 1
        self.checkpoints.save(self.turn, self.model, self.optimizer, {}, {})

    def train(self) -> None:
        tokens_BT = torch.zeros(ROWS, LENGTH, dtype=torch.int64)
        for _ in range(STEPS):
            self.model(tokens_BT).square().mean().backward()

    def clear(self) -> None:
        self.mesh.barrier()
        if self.mesh.is_first:
            shutil.rmtree(self.plain, ignore_errors=True)
        self.mesh.barrier()


def measure(state: State, turns: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}

    def clock(name: str, work) -> None:
        state.mesh.barrier()
        begin = time.perf_counter()
        work()
        found.setdefault(name, []).append(time.perf_counter() - begin)

    alone = state.mesh.world == 1
    for _ in range(turns):
        clock("ours held", state.save)
        clock("ours, then whole", state.checkpoints.wait)
        state.clear()
        clock("save", lambda: dcp.save(state.dictionary(), checkpoint_id=state.plain, no_dist=alone))
        clock("load", lambda: load(state, alone))
        state.clear()
        futures = []
        clock("async_save held", lambda futures=futures: futures.append(
            dcp.async_save(state.dictionary(), checkpoint_id=state.plain, process_group=state.group, no_dist=alone)
        ))  # fmt: skip
        futures[0].result()
        clock("verify", state.checkpoints.newest)
        path = state.checkpoints.newest()
        clock("ours load", lambda path=path: state.checkpoints.load(path, state.model, state.optimizer, {}, {}))
        clock("train", state.train)
        clock("train and save", lambda: (state.save(), state.train()))
        state.checkpoints.wait()
    return found


def load(state: State, alone: bool) -> None:
    loaded = state.dictionary()
    dcp.load(loaded, checkpoint_id=state.plain, no_dist=alone)
    set_state_dict(state.model, state.optimizer, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])


def work(rank: int, folder: str, world: int, hidden: int, layers: int, turns: int) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)  # as the loop does
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    state = State(Path(folder), hidden, layers)
    seconds = measure(state, turns)
    if rank == 0:
        files = [file for file in (Path(folder) / "ours").rglob("*") if file.is_file()]
        parameters = sum(parameter.numel() for parameter in state.model.parameters())
        written = {"bytes": sum(file.stat().st_size for file in files), "parameters": parameters}
        print(json.dumps({"seconds": seconds, **written}), flush=True)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    folder, *numbers = sys.argv[1:]
    world, hidden, layers, turns = map(int, numbers)
    if world == 1:
        work(0, folder, world, hidden, layers, turns)
    else:
        mp.start_processes(work, (folder, world, hidden, layers, turns), nprocs=world, start_method="fork")
