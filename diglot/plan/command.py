"""What `diglot plan` does once the recipe is read: the plan, dry runs where asked for, and their showing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from diglot.base.devices import HERE, Cluster
from diglot.base.errors import UserError
from diglot.base.table import drawn
from diglot.model.decoder import DecoderConfig
from diglot.plan.beside import Beside, of_evaluations
from diglot.plan.dryrun import dry_run
from diglot.plan.estimate import Assumptions, StagePlan, plan_recipe
from diglot.plan.execution import Execution
from diglot.plan.follow import Known, Reads, follow
from diglot.plan.here import free_disk, measured_speed
from diglot.plan.ladder import Tried, ladder
from diglot.plan.memory import Memory, memory
from diglot.plan.tables import WIDTH, as_json, dry_run_table, ladders_json, plan_view
from diglot.recipe import Recipe
from diglot.recipe.common import at_step
from diglot.recipe.train import Training


@dataclass(frozen=True)
class Plan:
    """A whole plan.

    Attributes:
        stages: every train stage.
        cluster: what they would run on.
        assumptions: what was taken as given.
        dry_runs: by stage, what the dry run found, and the formula's memory for the same ranks.
        evaluations: what each evaluation stage takes.
        ladders: on one card, by stage: settings from the fullest to the leanest.
        free: bytes of disk that are free for the run folder; None where it is not on this machine.
    """

    stages: list[StagePlan]
    cluster: Cluster
    assumptions: Assumptions
    dry_runs: dict[str, tuple[dict[str, Any], Memory]]
    evaluations: dict[str, Beside]
    ladders: dict[str, list[Tried]]
    free: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The plan for scripts."""
        dry_runs = {name: {**found, "formula": held.peak} for name, (found, held) in self.dry_runs.items()}
        found = as_json(self.stages, self.cluster, self.assumptions, dry_runs, self.evaluations)
        return found | {"one_card": ladders_json(self.stages, self.ladders), "free_disk": self.free}


def plan(
    recipe: Recipe,
    reads: Reads,
    where: Callable[..., str],
    cluster: Cluster,
    dry_run_ranks: int | None = None,
    **assumed: Any,
) -> Plan:
    """Plan a recipe with the command's options.

    Raises:
        UserError: see `plan_recipe`; options that contradict each other; a dry run that cannot be.
    """
    if assumed.get("mfu") and assumed.get("tokens_per_second"):
        raise UserError("--mfu and --tokens-per-second say the same thing: give one of them")
    assumptions = Assumptions(**{name: value for name, value in assumed.items() if value is not None})
    here = cluster.device.name == HERE
    measure = functools.cache(measured_speed) if here else None  # stages often train models of one shape
    known = follow(recipe, reads, where)
    stages = plan_recipe(recipe, reads, where, cluster, assumptions, measure, known)
    dry_runs = _dry_runs(stages, dry_run_ranks) if dry_run_ranks else {}
    evaluations = of_evaluations(recipe, reads, known, cluster, stages[0].mfu)
    free = free_disk(Path(recipe.run or f"runs/{recipe.name}")) if here else None
    return Plan(
        stages, cluster, assumptions, dry_runs, evaluations, _ladders(recipe, reads, known, stages, cluster), free
    )


def _ladders(
    recipe: Recipe, reads: Reads, known: dict[str, Known], stages: list[StagePlan], cluster: Cluster
) -> dict[str, list[Tried]]:
    """Leaner and fuller settings of every stage, where there is one card (or one machine's memory)."""
    if cluster.devices > 1 and not cluster.device.one_process:
        return {}
    found = {}
    for stage in stages:
        settings, model = recipe.stages[stage.name], known[at_step(reads[stage.name]["model"][0])[0]]
        assert isinstance(settings, Training)
        found[stage.name] = ladder(settings, model, cluster, stage.capacity)
    return found


def _dry_runs(stages: list[StagePlan], ranks: int) -> dict[str, tuple[dict[str, Any], Memory]]:
    """A dry run a stage; stages of the same shape share one."""
    done: dict[Any, tuple[dict[str, Any], Memory]] = {}
    results = {}
    for stage in stages:
        execution = _of_one_phase(stage.config, _over(stage.execution, ranks))
        key = (stage.config, execution)
        if key not in done:
            done[key] = (dry_run(*key), memory(*key, margin=False))
        results[stage.name] = done[key]
    return results


def _of_one_phase(config: DecoderConfig, execution: Execution) -> Execution:
    """With the phase alone that holds most, and its moments."""
    alone = [replace(execution, phases=(phase,), keeps_moments=False) for phase in execution.phases]
    return max(alone, key=lambda each: memory(config, each).peak)


def _over(execution: Execution, ranks: int) -> Execution:
    """The same layout over other ranks; one micro-batch of whole rows: as the dry run has it.

    Raises:
        UserError: what the dry run cannot do.
    """
    if ranks % execution.tensor_parallel:
        raise UserError(f"--dry-run-ranks {ranks}: cannot be divided by parallel.tensor ({execution.tensor_parallel})")
    if execution.weights == "nf4":
        raise UserError("--dry-run-ranks: weights: nf4 is for one process, so there is nothing to shard")
    if execution.context_parallel > 1:
        raise UserError("--dry-run-ranks: the dry run has whole rows on every rank; leave parallel.context out")
    return replace(
        execution,
        data_parallel=ranks // execution.tensor_parallel,
        replicas=1,
        sharded=True,
        accumulates=False,
        reference=False,
        packed=False,
        host=False,
        copies=False,
        offload=False,
    )


def show(console: Console, found: Plan) -> None:
    """Print the plan, at 100 columns where there is no terminal to say otherwise."""
    if not console.is_terminal:
        console.width = WIDTH
    view = plan_view(found.stages, found.cluster, found.assumptions, found.evaluations, found.ladders, found.free)
    console.print(view, soft_wrap=False)
    if not found.dry_runs:
        return
    table = dry_run_table([(name, *results) for name, results in found.dry_runs.items()])
    console.print("", drawn(table), soft_wrap=False)
    console.print(
        "The peak is of forward and backward pass plus the optimizer's state, without margin: one micro-batch, "
        "every row one document. Under tensor parallel the tracker counts too much, so there the "
        "formula stands alone.",
        soft_wrap=False,
        style="dim",
    )
