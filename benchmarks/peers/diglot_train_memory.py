"""Our side of `train_memory.py`, each in a process of its own.

diglot_train_memory.py prepare DATA FOLDER MODEL    FOLDER gets `model` (that of the folder MODEL, imported; where it is
                                                    `-`, one of 48 million parameters) and `tokens` of real text
diglot_train_memory.py run FOLDER SETTINGS          trains some steps and writes the model; says what it held at its peak

Memory is the peak of what is resident beyond what was when all libraries were loaded and the first product was done.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import torch

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.devices import parse_cluster
from diglot.encode import stage as encode
from diglot.model import imported, presets
from diglot.model.decoder import DecoderConfig
from diglot.model.families import read_config
from diglot.model.huggingface import load_decoder
from diglot.model.processor import training_ways
from diglot.plan.estimate import lay_out
from diglot.plan.follow import Known
from diglot.plan.memory import Memory, memory
from diglot.recipe.encode import Encode
from diglot.recipe.model import ImportModel, NewModel
from diglot.recipe.tokenizer import TrainTokenizer
from diglot.recipe.train import Train
from diglot.tokenizer import train as train_tokenizer
from diglot.train.loop import walk
from diglot.train.metrics import FILE, read_metrics

TEXT_BYTES = 300_000  # a source
ROLES = (("prompt", "user"), ("chosen", "assistant"), ("rejected", "assistant"))
SHAPE = {
    "num_layers": 10, "hidden_size": 512, "intermediate_size": 1376, "num_heads": 8, "num_key_value_heads": 8,
    "max_positions": 2048,
}  # fmt: skip


def resident(field: str) -> int:
    """VmRSS (now) or VmHWM (at the peak) in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def prepare(data: Path, folder: Path, model: str) -> None:
    """Make the model and the tokens, through the stages."""
    from diglot_train_step_prepare import make, texts, write_corpus  # start-up: what is measured needs none of it

    corpus = write_corpus(folder / "corpus", texts(data, TEXT_BYTES))
    if model == "-":
        tokenizer = make(folder / "tokenizer", "tokenizer", train_tokenizer, TrainTokenizer(vocabulary_size=16_384), corpus=corpus)  # fmt: skip
        shape = NewModel.model_validate({"preset": "small", "shape": SHAPE})
        made = make(folder / "model", "model", presets, shape, tokenizer=tokenizer)
    else:
        made = make(folder / "model", "model", imported, ImportModel(path=model))
    pairs = write_pairs(folder / "preferences", texts(data, TEXT_BYTES)["pages"])
    make(folder / "tokens", "tokens", encode, Encode(), tokenizer=made, corpus=corpus, preferences=pairs)
    parameters = sum(each.numel() for each in load_decoder(folder / "model").parameters())
    print(json.dumps({"parameters": parameters, "real text": (data / "raw_text").is_dir()}))


def write_pairs(folder: Path, documents: list[str]) -> Artifact:
    """As `gather-preferences` would write it: of neighbouring documents one asks, and two answer."""
    folder.mkdir()
    parts = [text[:300] for text in documents]
    records = [
        {"id": str(number), "source": "pairs", "language": "en"}
        | {key: [{"role": role, "content": text}] for (key, role), text in zip(ROLES, parts[number : number + 3])}
        for number in range(0, len(parts) - 2, 3)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "heldout.jsonl").write_text("")
    counts = {"kept": {"documents": len(records)}, "held_out": {"documents": 0}}
    ledger = {"sources": {"pairs": {"language": "en", "domain": "chat", **counts}}}
    (folder / "ledger.json").write_text(json.dumps(ledger))
    return _artifact(folder, "preferences")


def run(folder: Path, settings: Train) -> None:
    """Train, write the model, and see whether it answers as it did in memory."""
    if settings.adapter is not None:
        import bitsandbytes  # noqa: F401  (libraries are not what is measured)
        import peft  # noqa: F401
    torch.nn.functional.linear(torch.ones(64, 64), torch.ones(64, 64))
    inputs = Inputs(
        {role: [_artifact(folder / kind, kind)] for role, kind in (("model", "model"), ("tokens", "tokens"))}
    )
    with tempfile.TemporaryDirectory() as place:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, begun = resident("VmRSS"), time.process_time()
        context = Context("train", 0, Path(place) / "scratch", workers=1)
        with training_ways():
            job = walk(settings, inputs, context)
        peak, seconds = resident("VmHWM") - before, time.process_time() - begun
        job.exports.finish(job.model, job.optimizer, Path(place) / "out")
        written = resident("VmHWM") - before
        with torch.no_grad(), job.mesh.autocast(settings.precision):
            tokens_BT = torch.from_numpy(job.order.batch(0).tokens_BT)[:1, :256]
            trained = (job.model(tokens_BT).float() @ job.model.output_weight().float().T).float()
            again = load_decoder(Path(place) / "out").to(torch.float32)
            answered = (again(tokens_BT).float() @ again.output_weight().float().T).float()
        lines = [line for line in read_metrics(context.scratch / FILE) if line["type"] == "step"]
    found = {"peak_bytes": peak, "written_bytes": written, "cpu_seconds": seconds}
    found["losses"] = [line["loss"] for line in lines]
    planned = plan(settings, folder / "model")
    found |= {"planned_bytes": planned.peak, "planned_total": planned.total, "moment": planned.moment}
    print(json.dumps(found | {"difference": float((trained - answered).norm() / trained.norm())}))


def plan(settings: Train, model: Path) -> Memory:
    """What `diglot plan` says of it on one core: the sum at the peak, and with the margin of a CPU."""
    config = read_config(model)
    assert isinstance(config, DecoderConfig)
    known = Known(config.vocabulary_size, config)
    return memory(config, lay_out(settings, known, parse_cluster("cpu")))


def _artifact(path: Path, kind: str) -> Artifact:
    return Artifact(path, path.name, kind, "benchmark", "", "", {}, {}, {}, {})


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        run(Path(sys.argv[2]), Train.model_validate_json(sys.argv[3]))


if __name__ == "__main__":
    main()
