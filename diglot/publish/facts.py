"""What a card says of a run: the stages that a model came from, its evaluations, its data, its training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.format import duration, energy, number, public_address, scientific, share
from diglot.base.summaries.corpus import CorpusSummary
from diglot.base.summaries.model import ModelSummary, TrainedModel
from diglot.base.table import Cell, Table, left, right
from diglot.report.costs import energy_of, planned
from diglot.report.reading import Run
from diglot.text.languages import shown_language

NOT_SAID = "not said"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_DATASET = re.compile(r"hf://datasets/([^/@]+/[^/@]+)")


@dataclass(frozen=True)
class Facts:
    """What is known of a model.

    Attributes:
        model: its artifact; None of a folder from elsewhere.
        stages: those that it came from, itself included, in run order.
        scores: the evaluations of these, in run order.
        before, after: the first of them, and the last of this model; None where there is none.
    """

    model: Artifact | None
    stages: Sequence[Artifact] = ()
    scores: Sequence[Artifact] = ()
    before: Artifact | None = None
    after: Artifact | None = None


def facts_of(model: Artifact | None, artifacts: Sequence[Artifact]) -> Facts:
    """The part of a run that a model is made of, and the evaluations that are about it."""
    if model is None:
        return Facts(None)
    made = ancestors(model, artifacts)
    known = {each.fingerprint for each in made if each.kind == "model"}
    scores = [each for each in artifacts if each.kind == "scores" and known & set(_parents(each))]
    own = [each for each in scores if _reads(each, model)]
    earlier = [each for each in scores if each not in own]
    return Facts(model, made, scores, earlier[0] if earlier and own else None, own[-1] if own else None)


def ancestors(model: Artifact, artifacts: Sequence[Artifact]) -> list[Artifact]:
    """An artifact and all that it was made of, in run order."""
    by_fingerprint = {each.fingerprint: each for each in artifacts}
    wanted, todo = {model.fingerprint}, [model]
    while todo:
        for parent in _parents(todo.pop()):
            if parent in by_fingerprint and parent not in wanted:
                wanted.add(parent)
                todo.append(by_fingerprint[parent])
    return [each for each in artifacts if each.fingerprint in wanted]


def _reads(scores: Artifact, model: Artifact) -> bool:
    """Whether an evaluation is of this model; one that was kept at a step has its stage's fingerprint, and a name of its own."""
    read = [pair for of in scores.inputs.get("stages", {}).values() for pair in of.items()]
    # A stage's own command numbers what it reads: 0:sft.
    return any((name.rpartition(":")[2], made_by) == (model.stage, model.fingerprint) for name, made_by in read)


def _parents(artifact: Artifact) -> list[str]:
    return [made_by for of in artifact.inputs.get("stages", {}).values() for made_by in of.values()]


def languages(stages: Sequence[Artifact]) -> list[str]:
    """The codes of all languages, without those of scripts behind a hyphen, as the hub lists them."""
    codes = [*Run(stages).languages()]
    for artifact in stages:
        if isinstance(artifact.summary, CorpusSummary):
            codes += artifact.summary.languages
    return list(dict.fromkeys(code.partition("-")[0] for code in codes if re.fullmatch(r"[a-z]{2,3}(-\w+)?", code)))


def base_model(stages: Sequence[Artifact]) -> str | None:
    """The base's name on the hub, where an import names one."""
    paths = [str(each.settings.get("path", "")) for each in stages if each.do == "import-model"]
    return next((path for path in paths if HUB_NAME.fullmatch(path)), None)


def hub_datasets(stages: Sequence[Artifact]) -> list[str]:
    """The hub's datasets among the sources."""
    paths = [path for artifact in stages for _, source in sources_of(artifact) for path in paths_of(source)]
    return list(dict.fromkeys(found[1] for path in paths if (found := _HUB_DATASET.match(path))))


# --- data -----------------------------------------------------------------------------------------------------


def sources_of(artifact: Artifact) -> Iterable[tuple[str, dict[str, Any]]]:
    """The sources that a stage read, as its settings have them."""
    sources = artifact.settings.get("sources")
    return (
        [(name, each) for name, each in sources.items() if isinstance(each, dict)] if isinstance(sources, dict) else []
    )


def paths_of(source: Mapping[str, Any]) -> list[str]:
    """What a source was read from."""
    path = source.get("path") or []
    return [path] if isinstance(path, str) else [str(each) for each in path]


def public_path(path: str) -> str:
    """Where a source was read from: an address without secrets; of a file on the machine its name alone."""
    return public_address(path) if "://" in path else PurePosixPath(path).name or path


def data_table(stages: Sequence[Artifact], licences: Mapping[str, str]) -> Table:
    """A row a source: what it is, where it came from, its licence, and what was kept of it."""
    columns = [
        *left("stage", "source", "language", "domain", "read from", "licence"),
        *right("read", "kept", "characters"),
    ]
    table = Table(columns, grouped=True)
    for artifact in stages:
        about = artifact.summary
        if not isinstance(about, CorpusSummary):
            continue
        settings = dict(sources_of(artifact))
        for name, source in about.sources.items():
            # A source that was sorted by language is several, called NAME-LANGUAGE.
            own = settings.get(name) or settings.get(name.rpartition("-")[0]) or {}
            domain = source.domain + (", translated" if own.get("origin") == "translated" else "")
            place = ", ".join(public_path(path) for path in paths_of(own)) or "made by the run"
            licence = licences.get(name) or licences.get(name.rpartition("-")[0]) or licences.get("*") or NOT_SAID
            counts = (number(source.read), number(source.kept), number(source.characters))
            table.add(artifact.stage, name, shown_language(source.language), domain, place, licence, *counts)
    return table


def mixture_table(stages: Sequence[Artifact]) -> Table:
    """What training read, planned and realised."""
    table = Table([*left("stage", "phase", "source"), *right("planned", "realised", "tokens", "epochs")], grouped=True)
    for artifact in stages:
        if isinstance(artifact.summary, TrainedModel):
            for phase, sources in artifact.summary.mixture.items():
                for name, part in sources.items():
                    numbers = (share(part.planned), share(part.realised), number(part.tokens), f"{part.epochs:.2f}")
                    table.add(artifact.stage, phase, name, *numbers)
    return table


# --- training -------------------------------------------------------------------------------------------------


def training_table(stages: Sequence[Artifact]) -> Table:
    """A row a train stage: what it did, and what it took beside what was planned."""
    words, numbers = left("stage", "objective", "precision"), right("steps", "tokens", "learning rate", "batch", "time", "planned", "energy")  # fmt: skip
    table, used, machines = Table([*words, *numbers]), energy_of(stages), dict[str, None]()
    for artifact in stages:
        about, settings = artifact.summary, artifact.settings
        if not isinstance(about, TrainedModel):
            continue
        plan, rate = planned(artifact), settings.get("learning_rate")
        machines |= {plan[1]: None} if plan else {}
        precision = f"{settings.get('precision', '')}{', adapter' if settings.get('adapter') else ''}"
        table.add(
            Cell(artifact.stage),
            str(settings.get("objective", "lm")),
            precision,
            number(about.steps),
            number(about.tokens),
            scientific(rate) if isinstance(rate, float) else "–",
            f"{settings.get('batch_size')} × {settings.get('sequence_length')}",
            duration(artifact.provenance.get("seconds")),
            duration(plan[0] if plan else None),
            energy(used.kilowatt_hours.get(artifact.stage, 0.0)),
        )
    if machines:
        table.notes = [
            f"Planned: the steps alone, as diglot plan has them for {', '.join(machines)}. Time: all of the stage."
        ]
    return table


def parameters_of(model: Artifact | None) -> tuple[int, str] | None:
    """Parameters and architecture, where they are known."""
    about = model.summary if model else None
    return (about.parameters, about.architecture) if isinstance(about, ModelSummary) else None
