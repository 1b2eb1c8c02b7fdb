"""The sections about what models can do: bits per byte along the pipeline, and the scores of all evaluate stages."""

from __future__ import annotations

from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.format import join, number
from diglot.base.intervals import half_interval
from diglot.base.table import Cell, Column, Table, left, right
from diglot.report import figures
from diglot.report.comparisons import Comparison, before_and_after, by_key, in_reading_order, new_languages
from diglot.report.figures import Colours
from diglot.report.reading import Run, read_lines, token_offsets
from diglot.report.results import UNIFORM, scores_of
from diglot.report.section import Section, plot
from diglot.text.languages import shown_language

NUM_SAMPLES = 3  # the first items of a task, not chosen ones


def bits(run: Run, colours: Colours) -> Section | None:
    """Bits per byte by language along the whole pipeline."""
    starts = token_offsets(run)
    # Training knows parallel text as a source, which belongs to no one language.
    parallel = {name for name, language in run.source_languages().items() if name == language}
    segments = []
    for item in run.trainings:
        series: dict[str, list[tuple[int, float]]] = {}
        for record in item.evaluations:
            tokens = starts[item.artifact.stage] + record.get("tokens", item.tokens_at(record["step"]))
            found = dict(record.get("languages") or {})
            for name, source in (record.get("sources") or {}).items():
                if name in parallel and "bits_per_byte" in source:
                    found[name] = source["bits_per_byte"]
            for language, value in found.items():
                series.setdefault(language, []).append((tokens, round(value, 5)))
        if series:
            segments.append({"stage": item.artifact.stage, "languages": series})
    if not segments:
        return None
    # Evaluate stages stand where their models do, so that the two ways of measuring can be held against each other.
    points = [
        {
            "stage": artifact.stage,
            "tokens": starts[artifact.stage],
            "languages": {
                language: (bits.value, half_interval(bits.standard_error or 0.0, bits.documents))
                for language, bits in scores_of(artifact).bits_per_byte.items()
            },
        }
        for artifact in run.of_kind("scores")
    ]
    spans = [(item.artifact.stage, starts[item.artifact.stage], starts[item.artifact.stage] + item.tokens) for item in run.trainings]  # fmt: skip
    caption = (
        "Held-out bits per byte over all tokens trained on, stages named above. Dotted: what lies between two "
        "measurements, such as vocabulary expansion or a merge. ◇: evaluate stages, with 95% intervals."
    )
    figure = figures.bits_over_tokens(segments, points, spans, colours)
    finding = (
        f"From the first to the last measurement in training: {_changes(segments)}; lower is better. A language begins "
        f"where it is last worse than {UNIFORM:g} bits, those of equally likely bytes."
    )
    return Section("bits", "Bits per byte along the pipeline", finding, {"plots": [plot("bits", figure, caption)]})


def _changes(segments: list[dict[str, Any]]) -> str:
    """Every language's first and last bits per byte in words; what is worse than equally likely bytes is no beginning."""
    series: dict[str, list[tuple[int, float]]] = {}
    for segment in segments:
        for language, values in segment["languages"].items():
            series.setdefault(language, []).extend(values)
    bits = {language: [value for _, value in values] for language, values in series.items()}
    began = {language: _began(values) for language, values in bits.items()}
    return join(f"{shown_language(name)} {values[began[name]]:.2f} → {values[-1]:.2f}" for name, values in bits.items())


def _began(values: list[float]) -> int:
    """The place after the last one that was worse than equally likely bytes; 0 where there is none after it."""
    place = max((place + 1 for place, value in enumerate(values) if value >= UNIFORM), default=0)
    return place if place < len(values) else 0


def scores(run: Run, colours: Colours, before: str | None, after: str | None) -> Section | None:
    """Every number of every evaluate stage, and what the models wrote."""
    stages = run.of_kind("scores")
    if not stages:
        return None
    by_stage = [by_key(artifact) for artifact in stages]
    keys = dict.fromkeys(key for found in by_stage[::-1] for key in found)
    rows = [Comparison(None, next(found[key] for found in by_stage if key in found)) for key in keys]
    models = [Column(artifact.stage, _model_of(run, artifact), align="right") for artifact in stages]
    table = Table([*left("language", "measured"), *right("items", "chance"), *models], grouped=True)
    for row in in_reading_order(rows, new_languages(run.artifacts)):
        counts = [Cell(text, style="quiet") for text in (number(row.either.items), row.either.chance_text)]
        found = [of.get(row.key) for of in by_stage]
        cells = [Cell(result.text, result.error_text) if result else Cell("–") for result in found]
        table.add(shown_language(row.either.language), Cell(row.name, row.detail), *counts, *cells)
    items = sum({(row.either.name, row.either.language): row.either.items or 0 for row in rows}.values())
    measured = f"{len(stages)} models were measured" if len(stages) > 1 else "One model was measured"
    finding = f"{measured} on {len(table.rows)} numbers from {items:,} held-out items, documents and pairs."
    data = {"table": table, "samples": samples_of(*before_and_after(run.artifacts, before, after))}
    return Section("scores", "Scores of all evaluate stages", finding, data)


def _model_of(run: Run, artifact: Artifact) -> str:
    return next((parent.stage for parent in run.parents(artifact) if parent.kind == "model"), "")


def samples_of(first: Artifact | None, last: Artifact | None) -> list[dict[str, Any]]:
    """The first items of every generation task, with what both models wrote."""
    if last is None:
        return []
    samples = []
    for name, task in scores_of(last).tasks.items():
        if task.kind != "generation":
            continue
        earlier = {item.get("id"): item for item in _items(first, name)} if first else {}
        items = [
            {
                "prompt": item.get("prompt", ""),
                "reference": item.get("reference", ""),
                "before": earlier.get(item.get("id"), {}).get("generation"),
                "after": item.get("generation", ""),
            }
            for item in _items(last, name)[:NUM_SAMPLES]
        ]
        samples.append({"task": name, "language": shown_language(task.language), "items": items})
    return [sample for sample in samples if sample["items"]]


def _items(artifact: Artifact, task: str) -> list[dict[str, Any]]:
    return read_lines(artifact, "items", f"{task}.jsonl")[0]
