"""A tiny model, its tokens and short runs, for the tests of training."""

from pathlib import Path

import numpy as np

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.recipe.train import Phase, Train
from diglot.train import loop
from diglot.train.metrics import read_metrics

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "bird",
    "sees",
    "hears",
    "likes",
    "old",
    "new",
    "small",
    "river",
    "town",
    "bread",
    "baker",
    "walks",
]


def artifact(path: Path, kind: str) -> Artifact:
    return Artifact(path, path.name, kind, "test", path.name, path.name, {}, {}, {}, {})


def sentences(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(4, 30))) + "." for _ in range(count)]


def settings(**changes) -> Train:
    base = {
        "from": {"model": "m", "tokens": "t"}, "steps": 6, "batch_size": 8, "sequence_length": 64, "learning_rate": 1e-3,
        "evaluate_every": 3, "evaluate_tokens": 500, "checkpoint_every": 2,
        "phases": [Phase(name="a", share=0.5, warmup=0.5), Phase(name="b", share=0.5, shape="linear")],
    }  # fmt: skip
    return Train(**{**base, **changes})


def train(inputs: Inputs, folder: Path, given: Train) -> Path:
    output, scratch = folder / "out", folder / "scratch"
    output.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    loop.run(given, inputs, output, Context("train", 0, scratch, "print", workers=1))
    return output


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(output / "logs" / "metrics.jsonl") if line["type"] == "step"]
