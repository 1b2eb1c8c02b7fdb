"""The plan for people: tables that can be read at 100 columns, notes, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from diglot.base.devices import Cluster
from diglot.base.format import digits, duration, energy, gibibytes, scientific, short
from diglot.base.table import Cell, Column, Table, drawn, left, right
from diglot.plan.beside import Beside
from diglot.plan.estimate import Assumptions, StagePlan
from diglot.plan.ladder import Tried, advice, choice, overrides
from diglot.plan.memory import HOST_MARGIN, MARGIN, Memory
from diglot.recipe.evaluate import BYTES_A_TOKEN

WIDTH = 100
CATEGORIES = ("weights", "gradients", "optimizer", "gathered", "activations", "loss")


STAGE = Column("stage", overflow="keep")


def plan_view(
    plans: Sequence[StagePlan],
    cluster: Cluster,
    assumptions: Assumptions,
    evaluations: Mapping[str, Beside],
    ladders: Mapping[str, Sequence[Tried]],
    free: int | None,
) -> RenderableType:
    """Everything, one below the other."""
    parts: list[RenderableType] = []
    tables = [models_table(plans), compute_table(plans, cluster, assumptions)]
    for table in (*tables, beside_table(plans, evaluations), memory_table(plans)):
        parts += [drawn(table), ""]
    parts += [verdict_line(plan) for plan in plans]
    if ladders:
        hungriest = max(plans, key=lambda plan: plan.memory.total)
        parts += ["", drawn(ladder_table(hungriest, ladders[hungriest.name]))]
        parts += advice_lines(plans, ladders)
    if free is not None:
        parts.append(disk_line(plans, free))
    parts.append(Text("\nWhat this rests on", style="bold"))
    parts += [Padding(Text(f"· {note}"), (0, 0, 0, 1)) for note in notes(plans, cluster, assumptions)]
    return Group(*parts)


def models_table(plans: Sequence[StagePlan]) -> Table:
    """What each stage trains."""
    numbers = right("parameters", "embedding", "positions", "layers", "head")
    table = Table([STAGE, *left("model"), *numbers], "Models")
    for plan in plans:
        counts = plan.parameters
        head = "tied" if plan.config.tied_embeddings else short(counts["head"])
        row = [short(counts[part]) if counts[part] else "–" for part in ("embedding", "positions", "layers")]
        table.add(plan.name, plan.model, f"{counts['total']:,}", *row, head)
    return table


def compute_table(plans: Sequence[StagePlan], cluster: Cluster, assumptions: Assumptions) -> Table:
    """Tokens, FLOPs, time, energy and cost."""
    columns = ["tokens", "FLOP/token", "FLOP", "tok/s/device", "MFU", "time", "device-h", "energy"]
    priced = assumptions.price is not None
    table = Table([STAGE, *right(*columns, *(["cost"] if priced else []))], f"Compute on {cluster}")
    # A row a stage; their sum only where there are several.
    for plan in plans:
        row = [
            short(plan.tokens),
            scientific(plan.flops_per_token),
            scientific(plan.flops),
            f"{plan.tokens_per_second:,.0f}",
            f"{plan.mfu:.1%}",
            duration(plan.seconds),
            digits(plan.device_hours),
            energy(plan.energy_kwh),
        ]
        table.add(plan.name, *row, *([f"{plan.cost:,.0f}"] if plan.cost is not None else []))
    if len(plans) > 1:
        # Rates have no sum: their columns stay empty.
        total = [short(sum(p.tokens for p in plans)), "", scientific(sum(p.flops for p in plans)), "", ""]
        total += [
            duration(sum(p.seconds for p in plans)),
            digits(sum(p.device_hours for p in plans)),
            energy(sum(p.energy_kwh for p in plans)),
        ]
        total += [f"{sum(p.cost or 0 for p in plans):,.0f}"] if priced else []
        table.add("all", *total, style="strong")
    return table


def beside_table(plans: Sequence[StagePlan], evaluations: Mapping[str, Beside]) -> Table:
    """Evaluations, and what lies on disk."""
    numbers = right("evaluations", "sources", "tokens each", "time", "checkpoints", "models")
    table = Table([STAGE, *numbers], "Beside the steps: held-out text, and GiB on disk")
    rows = [(plan.name, plan.beside) for plan in plans] + list(evaluations.items())
    for name, beside in rows:
        evaluated = [f"{beside.evaluations:,}", f"{beside.sources:,}", f"{beside.tokens:,}", duration(beside.seconds)]
        disk = [gibibytes(size) if size else "–" for size in (beside.checkpoints, beside.models)]
        table.add(name, *(evaluated if beside.sources else ["–"] * 4), *disk)
    return table


def disk_line(plans: Sequence[StagePlan], free: int) -> Text:
    """Does what training writes fit on the disk: all models, and the checkpoints of one stage at a time."""
    needed = sum(plan.beside.models for plan in plans) + max(plan.beside.checkpoints for plan in plans)
    fits = needed <= free
    line = Text("disk: ", style="bold")
    verdict = f"{'fits' if fits else 'does not fit'}: {gibibytes(needed)} GiB of {gibibytes(free)} GiB"
    line.append(verdict, style="green" if fits else "red")
    return line.append(" (models and checkpoints; text and tokens come on top)", style="not bold")


def memory_table(plans: Sequence[StagePlan]) -> Table:
    """Bytes a device at the peak, with and without activation checkpointing; what was asked for is bold."""
    copied = any(plan.execution.copies for plan in plans)
    columns = right("weights", "grads", "optim", *(["copy"] if copied else []))
    columns += right("gathered", "activ", "loss", "margin", "sum")
    table = Table([STAGE, *left("layout", "micro", "checkpt"), *columns], "Memory a device at its peak, GiB")
    for plan in plans:
        execution = plan.execution
        asked, sizes = (execution.activation_checkpointing, [execution.data_parallel, execution.tensor_parallel])
        if execution.context_parallel > 1:
            sizes.insert(1, execution.context_parallel)
        for on, held in ((asked, plan.memory), (not asked, plan.other_memory)):
            first = [plan.name, "×".join(map(str, sizes)), f"{execution.micro_batch_size}×{execution.sequence_length}"]
            sums = [held.categories[name] for name in CATEGORIES]
            sums[3:3] = [held.categories.get("copy", 0)] if copied else []
            row = [*(first if on == asked else ["", "", ""]), "yes" if on else "no"]
            row += map(gibibytes, (*sums, held.margin, held.total))
            table.add(*row, style="strong" if on == asked else "quiet")
    return table


def ladder_table(plan: StagePlan, tried: Sequence[Tried]) -> Table:
    """What one stage takes from the fullest setting to the leanest; what fits is green."""
    columns = right(*dict.fromkeys(each.way for each in tried))
    title = f"{plan.name} on one card of {gibibytes(plan.capacity)} GiB, from the fullest to the leanest, GiB"
    table = Table([*left("trains"), *columns], title)
    by_rung: dict[str, list[Tried]] = {}
    for each in tried:
        by_rung.setdefault(each.rung, []).append(each)
    refusals, chosen = [], choice(tried)
    for rung, ways in by_rung.items():
        if refused := next((each.refused for each in ways if each.refused), ""):
            refusals.append(f"{rung}: {refused}")
            continue
        away = max((each.memory.offloaded for each in ways if each.memory), default=0.0)
        cells = [Cell(rung, f"{gibibytes(away)} GiB" if away else "", style="strong" if chosen in ways else "")]
        for each in ways:
            assert each.memory is not None
            mark = "→ " if each is chosen else ""
            cells.append(Cell(mark + gibibytes(each.memory.total), style="good" if each.fits else "bad"))
        table.add(*cells)
    return replace(table, notes=refusals)


def advice_lines(plans: Sequence[StagePlan], ladders: Mapping[str, Sequence[Tried]]) -> list[Text]:
    """For every stage the fullest setting that fits, and the overrides to type."""
    lines = []
    for plan in plans:
        line = Text(f"{plan.name}: ", style="bold")
        fits = choice(ladders[plan.name]) is not None
        line.append(advice(plan.name, ladders[plan.name], plan.capacity), style="green" if fits else "red")
        lines.append(line)
    if any(chosen.changes.get("adapter") for tried in ladders.values() if (chosen := choice(tried))):
        lines.append(Text("An adapter wants a higher learning rate: about ten times (2405.09673).", style="dim"))
    return lines


def verdict_line(plan: StagePlan) -> Text:
    """Does it fit; when is most held; what the chunked loss saves."""
    line = Text(f"{plan.name}: ", style="bold")
    line.append(plan.verdict, style="green" if plan.fits else "red")
    more = [f"most at: {plan.memory.moment}"]
    if plan.whole_loss > 0.05 * plan.memory.peak:
        more.append(f"a loss over all logits at once: {gibibytes(plan.whole_loss)} GiB more")
    line.append(f" ({'; '.join(more)})", style="not bold")
    return line


def notes(plans: Sequence[StagePlan], cluster: Cluster, assumptions: Assumptions) -> list[str]:
    """What was assumed, each said once."""
    device = cluster.device
    said = [f"{plan.name}: {note}" for plan in plans for note in plan.notes if note]
    # Stages often share a note: it is said once, with all their names before it.
    by_note: dict[str, list[str]] = {}
    for line in said:
        name, _, note = line.partition(": ")
        by_note.setdefault(note, []).append(name)
    lines = [f"{', '.join(names)}: {note}" for note, names in by_note.items()]
    # Where the MFU comes from decides what the days are worth, so it is always said.
    if measured := [plan.name for plan in plans if plan.measured]:
        lines.append(
            f"{', '.join(measured)}: tokens/s of the model with fewer layers, trained here for some passes just now"
        )
    if assumptions.tokens_per_second:
        lines.append("the MFU follows from the tokens/s that were given")
    elif len(measured) == len(plans):
        pass  # it follows from what was measured
    elif assumptions.mfu is None:
        lines.append(f"MFU {device.mfu:.1%}: {device.mfu_source}")
    else:
        lines.append(f"MFU {assumptions.mfu:.1%}, as given")
    lines += [
        f"FLOP a token = 6 N + 12 layers × heads' size × sequence length (PaLM, appendix B); peak of {device.title}: "
        f"{device.bfloat16 / 1e12:,.4g} TFLOP/s bfloat16, {device.float32 / 1e12:,.3g} float32 ({device.source})",
        "memory: 16 bytes a parameter trained in float32 (12 of what Muon moves) divided among all devices, and what is held at the busiest of six moments; margin "
        f"{HOST_MARGIN if device.one_process else MARGIN:.0%} and 1 GiB; tokens count padding; attention counts the whole sequence",
        f"energy: {assumptions.watts or device.watts:g} W a device × PUE {assumptions.pue:g}; servers' processors and "
        "network are not in it",
        "time is training steps alone: PolyLM reports 29 days where its own throughput gives 24.7",
        f"an evaluation is forward passes, a third of training; {BYTES_A_TOKEN} bytes a token; test items are not in it",
    ]
    copies = [plan.beside.copy for plan in plans if plan.beside.copy and not plan.execution.copies]
    if copies:
        lines.append(
            f"asynchronous checkpoints take a copy in the CPUs' memory: {gibibytes(max(copies) / cluster.nodes)} GiB a node"
        )
    if assumptions.price is None:
        lines.append("no cost without --price (of a device-hour)")
    return lines


def dry_run_table(results: Sequence[tuple[str, dict[str, Any], Memory]]) -> Table:
    """Dry runs beside the formula, GiB a rank."""
    numbers = right("ranks", "weights", "optimizer", "gathered", "activ+loss", "peak", "formula", "time", "host")
    table = Table([STAGE, *numbers], "Dry run: the real model on fake ranks, GiB a rank")
    for name, found, formula in results:
        inside = found["categories"]
        table.add(
            name,
            f"{found['ranks']}",
            gibibytes(found["weights"]),
            gibibytes(found["optimizer"]),
            gibibytes(inside["gathered"]) if inside else "–",
            gibibytes(inside["activations and loss"]) if inside else "–",
            gibibytes(found["peak"]) if inside else "–",
            gibibytes(formula.peak),
            f"{found['seconds']:.0f} s",
            gibibytes(found["host_bytes"]),
        )
    return table


# --- JSON -----------------------------------------------------------------------------------------------------


def as_json(
    plans: Sequence[StagePlan],
    cluster: Cluster,
    assumptions: Assumptions,
    dry_runs: dict[str, Any],
    evaluations: Mapping[str, Beside],
) -> dict[str, Any]:
    """The plan for scripts: bytes, seconds, FLOPs, kWh."""
    return {
        "cluster": {**asdict(cluster), "devices": cluster.devices},
        "assumptions": asdict(assumptions),
        "stages": {
            plan.name: {
                **asdict(plan),
                "flops": plan.flops,
                "days": plan.days,
                "fits": plan.fits,
                "memory": _memory_json(plan.memory),
                "other_memory": _memory_json(plan.other_memory),
                **({"dry_run": dry_runs[plan.name]} if plan.name in dry_runs else {}),
            }
            for plan in plans
        },
        "evaluations": {name: asdict(beside) for name, beside in evaluations.items()},
        "notes": notes(plans, cluster, assumptions),
    }


def ladders_json(plans: Sequence[StagePlan], ladders: Mapping[str, Sequence[Tried]]) -> dict[str, Any]:
    """What was tried for each stage on one card, and the advice."""
    return {
        plan.name: {
            "advice": advice(plan.name, ladders[plan.name], plan.capacity),
            "overrides": overrides(plan.name, chosen.changes) if (chosen := choice(ladders[plan.name])) else None,
            "tried": [
                {
                    **{name: getattr(each, name) for name in ("rung", "way", "changes", "fits", "refused")},
                    "memory": _memory_json(each.memory) if each.memory else None,
                }
                for each in ladders[plan.name]
            ],
        }
        for plan in plans
        if plan.name in ladders
    }


def _memory_json(held: Memory) -> dict[str, Any]:
    return {**asdict(held), "peak": held.peak, "total": held.total}
