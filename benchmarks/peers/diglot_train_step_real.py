"""Our side of `train_step_real.py`.

diglot_train_step_real.py prepare MODEL DATA FOLDER ROWS    a model with so many new rows, and tokens of real text
diglot_train_step_real.py train FOLDER SETTINGS             whole steps as a train stage does them; SETTINGS is JSON
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diglot_train_step import whole_steps
from diglot_train_step_prepare import make, some, write_corpus
from train_step_clock import Clock, report
from transformers import AutoModelForCausalLM

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.encode import stage as encode
from diglot.recipe.encode import Encode
from diglot.recipe.train import Train
from diglot.train.job import prepare
from diglot.train.loop import on_all_processes
from diglot.train.metrics import forget_peak, memory

TEXT_BYTES, TOKENIZER = 1_000_000, ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_inputs(model: Path, data: Path, folder: Path, rows: int) -> None:
    """The model, grown, and one long document's tokens."""
    torch.manual_seed(0)
    grown = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    grown.resize_token_embeddings(grown.config.vocab_size + rows)  # like the mean of the others
    grown.save_pretrained(folder / "model")
    for name in TOKENIZER:
        if (model / name).exists():
            shutil.copy(model / name, folder / "model" / name)
    text = "\n\n".join(some([data / "raw_text/en/wikipedia_mlqa.jsonl.zst"], TEXT_BYTES))
    corpus = write_corpus(folder / "corpus", {"pages": [text]})
    tokenizer = Artifact(folder / "model", "model", "model", "benchmark", "", "", {}, {}, {}, {})
    make(folder / "tokens", "tokens", encode, Encode(), tokenizer=tokenizer, corpus=corpus)
    print(json.dumps({"rows": rows}))


def rate(precision: str) -> float:
    """FLOP/s of a large product on one thread, by CPU seconds: what a step's products could reach."""
    torch.set_num_threads(1)
    matrix, clock = torch.ones(1024, 1024, dtype=getattr(torch, precision)), Clock("cpu")
    return 2 * 1024**3 / min(clock.time(lambda: matrix @ matrix.T, 8))


def train(folder: Path, described: dict) -> None:
    """Some steps; the batches are left for the peer."""
    threads = described.pop("threads")
    stage = {"from": {"model": "model", "tokens": "tokens"}, "learning_rate": 3e-4, **described}
    settings = Train.model_validate(stage)
    clock, inputs = Clock("cpu"), Inputs({})
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        context = Context("train", 0, scratch, workers=threads)
        with on_all_processes(settings, inputs, scratch, context):
            torch.set_num_threads(threads)
            job = prepare(settings, folder / "model", [folder / "tokens"], context)
            batches = [job.order.batch(number) for number in range(settings.steps)]  # drawn again, in the timed steps
            for name in ("tokens", "targets"):
                np.save(folder / f"{name}.npy", np.stack([getattr(batch, f"{name}_BT") for batch in batches]))
            forget_peak()
            losses = whole_steps(job, settings.steps, clock, context)
            held = memory(torch.device("cpu"))
            reached = rate(settings.precision)
    matrices = sum(p.numel() for p in job.model.parameters() if p.ndim > 1)  # the embedding is the output weight too
    report(clock.seconds(), losses=losses, memory_mb=held, flops=6 * matrices * job.speed.tokens, rate=reached)


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        make_inputs(*map(Path, sys.argv[2:5]), int(sys.argv[5]))
    else:
        train(Path(sys.argv[2]), json.loads(sys.argv[3]))
