"""The sections about a run as a whole: the headline, the pipeline, the cost, and where everything came from.

Every function of a section takes the run and the colours and gives a `Section`, or None where the run has nothing to
show. The macros of the same names in `sections.html.jinja` lay them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from diglot.base.artifact import Artifact
from diglot.base.format import duration, energy, join, megabytes, number, share
from diglot.base.summaries.model import ModelSummary
from diglot.base.table import Cell, Table, left, right
from diglot.report import figures
from diglot.report.comparisons import before_and_after, headline_comparisons, losses, new_languages
from diglot.report.costs import Energy, energy_of, planned
from diglot.report.figures import Colours
from diglot.report.finding import finding_of
from diglot.report.first_screen import cards
from diglot.report.identity import chat_command
from diglot.report.learnt import learnt_table, next_seed
from diglot.report.reading import Run
from diglot.report.scores import samples_of
from diglot.report.section import Section, plot
from diglot.text.languages import shown_language

PIPELINE_NOTE = (
    "From top to bottom in the order in which stages ran: name, kind of stage, artifact, time, fingerprint. Arcs lead "
    "from what a stage was made from; thick arcs carry a model on."
)
ROW_HEIGHT, RAIL_WIDTH = 38, 120  # pixels; the stylesheet has the same row height


def total_seconds(run: Run) -> float:
    """Seconds of all stages together."""
    return sum(artifact.provenance.get("seconds") or 0 for artifact in run.artifacts)


def machines(run: Run) -> list[str]:
    """The machines that stages ran on, in words."""
    words: dict[str, None] = {}
    for artifact in run.artifacts:
        cores, system = artifact.provenance.get("cores"), artifact.provenance.get("system")
        if system:
            words[f"{cores} cores, {system}" if cores else str(system)] = None
    return list(words)


def headline(
    run: Run, colours: Colours, before: str | None, after: str | None, price: float | None = None
) -> Section | None:
    """What was learnt and kept, and what it cost."""
    first, last = before_and_after(run.artifacts, before, after)
    # What it cost stands there with or without an evaluation.
    seconds = total_seconds(run)
    tiles = [("stages", str(len(run.artifacts)))]
    if models := run.of_kind("model"):
        tiles.append(("parameters", number(_parameters(models[-1]))))
    tiles += [("machine", text) for text in machines(run)]
    if last is None:
        text = f"{len(run.artifacts)} stages ran in {duration(seconds)}; no model was evaluated yet."
        return Section(
            "headline",
            "What was learnt",
            text,
            {
                "cards": cards(run, [], [], price),
                "tiles": tiles,
                "table": None,
                "plots": [],
                "chat": "",
                "sample": None,
            },
        )
    # Words, table and figures are of the same rows, so that none says more than another.
    rows = headline_comparisons(run.artifacts, first, last)
    plots = []
    if any(item.either.kind in ("task", "preference") for item in rows):
        caption = "Tasks and preferences, 0 to 100: ○ before, ● after, │ chance; bars are 95% intervals."
        plots.append(plot("headline-scores", figures.before_after(rows, colours), caption))
    if any(item.either.kind == "bits" for item in rows):
        caption = "Bits per byte of held-out text (lower is better): ○ before, ● after."
        plots.append(plot("headline-bits", figures.bits_before_after(rows, colours), caption))
    lost = losses(run.artifacts, first, last)
    learnt = finding_of(rows, new_languages(run.artifacts), lost)
    finding = f"{learnt}\nThe whole run took {duration(seconds)}{_on(run)}."
    title = f"From {first.stage} to {last.stage}" if first else f"Scores of {last.stage}"
    table = learnt_table(rows, title, next_seed(run.artifacts))
    data = {
        "cards": cards(run, rows, lost, price),
        "tiles": tiles,
        "table": table if rows else None,
        "plots": plots,
        "sample": _sample(run, first, last),
        "chat": chat_command(run.of_kind("model")),
    }
    return Section("headline", "What was learnt", finding.strip(), data)


def _sample(run: Run, first: Artifact | None, last: Artifact) -> dict[str, Any] | None:
    """The first item of the first task with written answers, in a new language where there is one; not a chosen one."""
    new = [shown_language(language) for language in new_languages(run.artifacts)]
    found = sorted(samples_of(first, last), key=lambda sample: sample["language"] not in new)  # else in their order
    return {**found[0], **found[0]["items"][0]} if found else None


def _on(run: Run) -> str:
    return f" on {join(machines(run))}" if machines(run) else ""


def _parameters(artifact: Artifact) -> int:
    assert isinstance(artifact.summary, ModelSummary), f"{artifact.stage} is no model"
    return artifact.summary.parameters


def pipeline(run: Run, colours: Colours) -> Section | None:
    """All stages in run order, with arcs from what each was made from."""
    if not run.artifacts:
        return None
    index = {artifact.stage: row for row, artifact in enumerate(run.artifacts)}
    arcs = []
    for artifact in run.artifacts:
        for parent in run.parents(artifact):
            top, bottom = (index[item.stage] * ROW_HEIGHT + ROW_HEIGHT / 2 for item in (parent, artifact))
            reach = RAIL_WIDTH - 12 - min(RAIL_WIDTH - 18, 14 + 9 * (index[artifact.stage] - index[parent.stage] - 1))
            edge = RAIL_WIDTH - 12
            model = parent.kind == "model" and artifact.kind == "model"
            arcs.append({"path": f"M{edge} {top:g} C{reach:g} {top:g} {reach:g} {bottom:g} {edge} {bottom:g}", "model": model})  # fmt: skip
    table = Table([*left("", "", ""), *right(""), *left("")], notes=[PIPELINE_NOTE])
    for artifact in run.artifacts:
        stage, kind = Cell(artifact.stage, style="strong"), Cell(artifact.kind, style="quiet")
        seconds = duration(artifact.provenance.get("seconds"))
        table.add(stage, artifact.do, kind, seconds, Cell(artifact.fingerprint[:8], style="code"))
    dots = [{"kind": artifact.kind, "y": (row + 0.5) * ROW_HEIGHT} for row, artifact in enumerate(run.artifacts)]
    longest = max(run.artifacts, key=lambda artifact: artifact.provenance.get("seconds") or 0)
    finding = (
        f"{len(dots)} stages made {len(dots)} artifacts in {duration(total_seconds(run))}; the longest was "
        f"{longest.stage} with {duration(longest.provenance.get('seconds'))}."
    )
    size = {"width": RAIL_WIDTH, "height": len(dots) * ROW_HEIGHT}
    return Section("pipeline", "The pipeline", finding, {"dots": dots, "arcs": arcs, "table": table, **size})


def cost(run: Run, colours: Colours) -> Section | None:
    """Time and energy by stage, and what the training took and was planned to take."""
    seconds = {artifact.stage: artifact.provenance.get("seconds") or 0.0 for artifact in run.artifacts}
    if not any(seconds.values()):
        return None
    trained = sum(seconds[item.artifact.stage] for item in run.trainings)
    total, used = sum(seconds.values()), energy_of(run.artifacts)
    memory = max((item.memory_mb for item in run.trainings if item.memory_mb), default=None)
    finding = f"The run took {duration(total)}{_on(run)}"
    finding += f", {share(trained, total)} of it training" if trained else ""
    finding += f"; peak memory in training was {megabytes(memory)}." if memory else "."
    finding += f" Energy: {energy(used.total)}, {used.source}."
    figure = plot("seconds", figures.seconds_bars(seconds), "Seconds by stage, in the order in which they ran.")
    return Section("cost", "What it cost", finding, {"plots": [figure], "table": _cost_table(run, seconds, used)})


def _cost_table(run: Run, seconds: dict[str, float], used: Energy) -> Table:
    """A row a train stage: what it took, and what a plan says of it."""
    numbers = right("steps", "tokens", "time", "planned", "energy", "tokens/s", "peak memory", "parameters")
    table = Table([*left("train stage"), *numbers])
    planned_on: dict[str, None] = {}
    for item in run.trainings:
        stage, plan = item.artifact.stage, planned(item.artifact)
        planned_on |= {plan[1]: None} if plan else {}
        table.add(
            Cell(stage, style="strong"),
            number(len(item.steps)),
            number(item.tokens),
            duration(seconds[stage]),
            duration(plan[0] if plan else None),
            energy(used.kilowatt_hours.get(stage, 0.0)),
            number(_mean([record.get("tokens_per_second") for record in item.steps])),
            megabytes(item.memory_mb),
            number(_parameters(item.artifact)),
        )
    if planned_on:
        machines = join(planned_on)
        table.notes = [f"Planned: steps alone, as `diglot plan` has them for {machines}, with published or measured utilisation of larger models. Time: all of the stage."]  # fmt: skip
    return table


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def provenance(run: Run, colours: Colours) -> Section | None:
    """The settings and the summary of every stage, the versions and the machines."""
    if not run.artifacts:
        return None
    versions: dict[str, str] = {}
    for artifact in run.artifacts:
        if python := artifact.provenance.get("python"):
            versions["Python"] = python
        versions |= artifact.provenance.get("versions") or {}
    named = join([f"{name} {version}" for name, version in versions.items()])
    finding = f"Made with {named or 'unknown versions'}{_on(run)}; settings and hashes of every stage are below."
    stages = [_provenance_of(artifact) for artifact in run.artifacts]
    return Section("provenance", "Provenance", finding, {"stages": stages})


def _provenance_of(artifact: Artifact) -> dict[str, Any]:
    def written(value: Any) -> str:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110).strip()

    return {
        "stage": artifact.stage,
        "do": artifact.do,
        "started": artifact.provenance.get("started", "–"),
        "fingerprint": artifact.fingerprint,
        "content": artifact.content,
        "settings": written(artifact.settings),
        "summary": written(artifact.summary.as_json()),
    }
