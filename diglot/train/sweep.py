"""The learning-rate sweep: a short run with each rate, on the same data, and which one gave the best held-out numbers.

ALLaM's learning rates were found so, with 10 billion tokens a run (its learning-rate slides).

    sweep:
      do: sweep
      from: {model: expanded, tokens: tokens}
      learning_rates: [1.0e-5, 3.0e-5, 1.0e-4]
      steps: 200

The runs follow one another, each through the loop of the stage `train`, in a scratch folder of its own:

    scratch/rate-3e-05/     metrics.jsonl, checkpoints/; in the end result.json and no checkpoints

So a sweep that is killed goes on in the run where it was, and finished runs are not repeated. No model is kept. A rate
for which the guard would go back to an older checkpoint is too high: that run ends there (see `Sweep.at`).

The artifact is `sweep.json`, and the metrics of each run in `logs/`.
"""

from __future__ import annotations

import gc
import math
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from diglot.base.artifact import LOGS, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import read_json, remove, write_json
from diglot.base.summaries.model import SweepRun, SweepSummary
from diglot.recipe.train import Sweep
from diglot.tokens.shards import open_tokens
from diglot.train import loop
from diglot.train.metrics import FILE, read_metrics
from diglot.train.reference import FOLDER
from diglot.train.rollbacks import Diverged

RESULT, SWEEP = "result.json", "sweep.json"
LAST_SHARE = 10  # the loss of a run is the mean of the last tenth of its steps


def run(settings: Sweep, inputs: Inputs, output: Path, context: Context) -> SweepSummary | None:
    """The stage `sweep`; only the first process returns its summary.

    Raises:
        UserError: there is nothing to compare rates by, or what the stage `train` refuses; not that runs diverge.
    """
    heldout = open_tokens([artifact.path for artifact in inputs.many("tokens")], None, "heldout")
    if not any((source.form == "pairs") == (settings.objective == "dpo") for source in heldout.values()):
        raise UserError("the tokens have nothing held out that learning rates could be compared by")
    with loop.on_all_processes(settings, inputs, output, context):
        folders = [try_rate(settings, number, inputs, context) for number in range(len(settings.learning_rates))]
    if not _is_first():
        return None
    runs = [SweepRun.from_json(read_json(folder / RESULT)) for folder in folders]
    best = best_run(runs)
    found = SweepSummary(runs[0].measure, runs, best.learning_rate if best else None)
    write_json(output / SWEEP, found.as_json())
    (output / LOGS).mkdir()
    for folder in folders:
        shutil.copy(folder / FILE, output / LOGS / f"{folder.name}.jsonl")
    return found


def try_rate(settings: Sweep, number: int, inputs: Inputs, context: Context) -> Path:
    """Train with one of the rates, unless that is done; returns its folder, with the result."""
    rate = settings.learning_rates[number]
    folder = context.scratch / f"rate-{rate!r}"
    if (folder / RESULT).is_file():
        return folder
    given, why, runs = settings.at(rate), None, len(settings.learning_rates)

    def progress(done: float, total: float | None, unit: str, note: str = "") -> None:
        context.progress(number * given.steps + done, runs * given.steps, unit, f"rate {rate:g}: {note}")

    folder.mkdir(parents=True, exist_ok=True)
    if _is_first() and not (folder / FOLDER).is_dir():
        # Of all rates the same model is asked about the same pairs: what one run was told, the next one has.
        for asked in context.scratch.glob(f"rate-*/{FOLDER}"):
            asked.rename(folder / FOLDER)
    try:
        loop.walk(given, inputs, replace(context, scratch=folder, progress=progress))
    except Diverged as error:
        why = str(error)
    gc.collect()  # FSDP's hooks refer back to the model: without this the next run has it in memory too
    if dist.is_initialized():
        dist.barrier()
    if _is_first():
        remove(folder / "checkpoints")
        result = judge(rate, given.steps, read_metrics(folder / FILE), why)
        write_json(folder / RESULT, result.as_json())
    return folder


def _is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def judge(rate: float, planned: int, lines: list[dict[str, Any]], why: str | None) -> SweepRun:
    """What a run with one rate says.

    Args:
        rate: its learning rate.
        planned: its steps, if it does not end early.
        lines: of its metrics.
        why: it ended early, in words; None if it did not.

    Returns:
        Numbers that are not finite, or that there are none of, are None. `heldout` and `before` are what `measured` says of
        the last and the first evaluation.

    Raises:
        UserError: nothing was evaluated.
    """
    steps = [line for line in lines if line["type"] == "step"]
    evaluations = [line for line in lines if line["type"] == "evaluation"]
    measure, before = measured(evaluations[0])
    heldout = measured(evaluations[-1])[1] if why is None else {}
    last = [line["loss"] for line in steps[-max(1, planned // LAST_SHARE) :]]
    mean = _mean(heldout.values())
    return SweepRun(
        learning_rate=rate,
        diverged=why is not None or mean is None or mean > (_mean(before.values()) or 0.0),
        why=why,
        steps=len(steps),
        tokens=steps[-1]["tokens"],
        loss=_mean(last) if why is None else None,
        measure=measure,
        heldout={name: _finite(value) for name, value in heldout.items()},
        mean=mean,
        before=before,
        largest_gradient_norm=_largest(line["gradient_norm"] for line in steps),
        largest_spike_score=_largest(line["score"] for line in steps),
        skipped_steps=sum("skipped" in line for line in steps),
    )


def measured(evaluation: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """What rates are compared by: bits per byte by language; losses by source where there are only chats or pairs.

    Raises:
        UserError: nothing was evaluated.
    """
    if evaluation["languages"]:
        return "bits per byte", evaluation["languages"]
    if not evaluation["sources"]:
        raise UserError(
            "nothing held out could be evaluated, so learning rates can't be compared: are all held-out chats longer than "
            "sequence_length, or is evaluate_tokens too small?"
        )
    return "loss", {name: source["loss"] for name, source in evaluation["sources"].items()}


def best_run(runs: list[SweepRun]) -> SweepRun | None:
    """The run with the lowest mean, of equal ones that with the lowest rate; None if all diverged."""
    whole = [run for run in runs if not run.diverged]
    return min(whole, key=lambda run: (run.mean or 0.0, run.learning_rate), default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    listed = [_finite(value) for value in values]
    whole = [value for value in listed if value is not None]
    return round(sum(whole) / len(whole), 6) if whole and len(whole) == len(listed) else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in map(_finite, values) if value is not None), default=None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
