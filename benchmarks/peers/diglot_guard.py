"""Train a small model on real text with some steps spoilt, and say what the guard skipped, for `guard.py`.

diglot_guard.py FOLDER DATA STEPS
"""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from diglot.base.artifact import Artifact, Context, Inputs, read_artifact
from diglot.recipe.train import Phase, Train
from diglot.tokens.order import Order
from diglot.train import loop
from diglot.train.metrics import read_metrics

RECIPE = """
name: guard
stages:
  corpus:
    do: curate
    sources:
      english: {{path: "{data}/raw_text/en/digitalgov_news.jsonl.zst", language: en}}
      arabic: {{path: "{data}/raw_text/ar/saudi_newsnet.jsonl.zst", language: ar}}
  tokenizer: {{do: train-tokenizer, from: corpus, vocabulary_size: 4000}}
  tokens: {{do: encode, from: {{tokenizer: tokenizer, corpus: corpus}}}}
  model: {{do: new-model, from: tokenizer, preset: tiny}}
"""


def main(folder: Path, data: Path, steps: int) -> dict:
    """Make what is needed once, then train."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE.format(data=data))
    command = [sys.executable, "-m", "diglot", "run", str(folder / "recipe.yaml"), "--run", str(folder / "run")]
    subprocess.run(command, check=True, stdout=sys.stderr)
    spoilt = spoilt_steps(steps)
    spoil(spoilt)
    given = Train(
        steps=steps, batch_size=8, sequence_length=128, learning_rate=2e-3, evaluate_every=steps, checkpoint_every=steps,
        guard={"rollback_after": steps}, phases=[Phase(name="all", warmup=0.02)],
        **{"from": {"model": "model", "tokens": "tokens"}},
    )  # fmt: skip
    output, scratch = folder / "out", folder / "scratch"
    for place in (output, scratch):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    with contextlib.redirect_stdout(sys.stderr):
        loop.run(given, inputs(folder / "run"), output, Context("guard", 0, scratch, "guard", workers=1))
    lines = [each for each in read_metrics(output / "logs" / "metrics.jsonl") if each["type"] == "step"]
    judged = lines[64:]
    return {
        "spoilt": [step + 1 for step in spoilt],
        "skipped": [line["step"] for line in lines if "skipped" in line],
        "losses": [line["loss"] for line in lines],
        "norms": [line["gradient_norm"] for line in lines],
        "largest_good": max(line["score"] for line in judged if line["step"] - 1 not in spoilt),
        "smallest_bad": min(line["score"] for line in judged if line["step"] - 1 in spoilt),
    }


def inputs(run: Path) -> Inputs:
    """The artifacts that training reads."""
    found: dict[str, list[Artifact]] = {}
    for name in ("model", "tokens"):
        artifact = read_artifact(run / name)
        assert artifact is not None
        found[name] = [artifact]
    return Inputs(found)


def spoilt_steps(steps: int) -> list[int]:
    """One bad step in every 100, and four in a row in every 500; the first at 100."""
    alone = range(100, steps, 100)
    return sorted({*alone, *(first + 50 + more for first in range(100, steps - 60, 500) for more in range(4))})


def spoil(steps: list[int]) -> None:
    """Exchange the targets of some steps."""
    real = Order.batch

    def batch(self: Order, step: int):
        found = real(self, step)
        if step in steps:
            wanted = found.targets_BT >= 0
            found.targets_BT[wanted] = np.random.default_rng(step).integers(300, 4000, wanted.sum())
        return found

    Order.batch = batch


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
