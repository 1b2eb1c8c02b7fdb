"""`diglot data`: which stages are asked about, what the answers are, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diglot.base.artifact import LOGS, STEPS, read_artifact
from diglot.base.errors import UserError
from diglot.base.table import Column, Table, left, right
from diglot.recipe import Recipe
from diglot.recipe.common import at_step
from diglot.recipe.train import Train
from diglot.tokens.packing import left_out
from diglot.train.data import Data
from diglot.train.rollbacks import ROLLBACKS, Rollbacks


def answers(
    recipe: Recipe, run: Path, stage: str | None, mixture: bool, step: int | None, document: str | None
) -> list[dict[str, Any]]:
    """What `diglot data` was asked, of one stage or, for mixtures, of all.

    Args:
        recipe: the run's.
        run: the run's folder.
        stage: which train stage.
        mixture: asked for mixtures; also where nothing else was asked for.
        step: a step, from 1.
        document: SOURCE:ID.

    Raises:
        UserError: no such stage, step or document, or the tokens are not there yet.
    """
    if mixture + (step is not None) + (document is not None) > 1:
        raise UserError("give one of --mixture, --at-step and --document")
    stages = {name: settings for name, settings in recipe.stages.items() if isinstance(settings, Train)}
    there = f"there are: {', '.join(stages) or 'none'}"
    if stage is not None and stage not in stages:
        raise UserError(f"--stage {stage}: not a train stage of this run; {there}")
    chosen = [stage] if stage else list(stages)
    if not chosen or (len(chosen) > 1 and (step is not None or document is not None)):
        raise UserError(f"--stage: say which train stage; {there}")
    found = []
    for name in chosen:
        data = _open(recipe, name, stages[name], run)
        if step is not None:
            found.append(data.at_step(step))
        elif document is not None:
            found.append(data.of_document(document))
        else:
            found.append(data.mixture())
    return found


def _open(recipe: Recipe, name: str, settings: Train, run: Path) -> Data:
    reads = settings.reads_from()
    for tokens in reads["tokens"]:
        if read_artifact(run / tokens) is None:
            raise UserError(f"stage {tokens!r} is not done yet; run the recipe with --until {tokens}")
    encode = recipe.stages[reads["tokens"][0]]
    tokenizer = _folder(run, encode.reads_from()["tokenizer"][0])
    model = _folder(run, reads["model"][0]) if settings.continues == "run" else None
    folders = [run / tokens for tokens in reads["tokens"]]
    return Data.open(name, settings, folders, tokenizer, model, recipe.seed, rollbacks_of(run, name))


def rollbacks_of(run: Path, name: str) -> Rollbacks:
    """The rollbacks of a stage: of one that is done, or in its scratch folder of one that is not."""
    files = [run / name / LOGS / ROLLBACKS]
    tries = sorted((run / ".scratch").glob(f"{name}-{'?' * 12}"), key=lambda folder: -folder.stat().st_mtime)
    files += [folder / ROLLBACKS for folder in tries[:1]]  # the latest; those with other settings may lie beside it
    return Rollbacks(next((file for file in files if file.is_file()), files[0]))


def _folder(run: Path, name: str) -> Path:
    """Where a stage's artifact is, or the model that it kept at a step (the last one's is its own)."""
    stage, step = at_step(name)
    kept = run / stage / STEPS / str(step)
    return kept if kept.is_dir() else run / stage


def views(found: list[dict[str, Any]], limit: int) -> Iterator[Table | str]:
    """Answers as tables of at most `limit` lines."""
    for answer in found:
        if "phases" in answer:
            yield from mixture_tables(answer)
        else:
            yield from (step_tables if "documents" in answer else document_tables)(answer, limit)


def mixture_tables(mixture: dict[str, Any]) -> Iterator[Table | str]:
    """One table a phase: shares asked for and realised, tokens, epochs."""
    columns = right("planned", "realised", "tokens", "rows", "epochs", "at most", "packing efficiency")
    for name, phase in mixture["phases"].items():
        ramp = ", ramping from the mixture before" if phase["ramp"] else ""
        title = f"{mixture['stage']}: phase {name}, {phase['steps']:,} steps{ramp}"
        table = Table([*left("source"), *columns], title)
        for source, entry in phase["sources"].items():
            cap = entry["max_epochs"]
            table.add(
                source,
                f"{entry['planned']:.2%}",
                f"{entry['realised']:.2%}",
                f"{entry['tokens']:,}",
                f"{entry['rows']:,}",
                f"{entry['epochs']:.2f}",
                "–" if cap is None else f"{cap:g}",
                f"{entry['packing_efficiency']:.1%}",
            )
        yield table
    yield "planned: the recipe's share of tokens (of a ramp, at its end); epochs: when the phase ends"
    yield from left_out(mixture["dropped_as_too_long"], mixture["documents"])


def step_tables(found: dict[str, Any], limit: int) -> Iterator[Table | str]:
    """The documents of a step."""
    documents, packing = found["documents"], f"packing efficiency {found['packing_efficiency']:.1%}"
    title = f"{found['stage']}: step {found['step']:,}, phase {found['phase']}, {packing}"
    begins = Column("begins", overflow="cut")
    table = Table([*left("source", "document"), *right("row", "epoch", "tokens"), begins], title)
    for entry in documents[:limit]:
        span = f"{entry['from']}–{entry['to']}"
        table.add(entry["source"], entry["id"], str(entry["row"]), str(entry["epoch"]), span, entry["words"])
    yield table
    if len(documents) > limit:
        yield f"and {len(documents) - limit:,} more of {len(documents):,}; --limit or --json shows them"


def document_tables(found: dict[str, Any], limit: int) -> Iterator[Table | str]:
    """The steps that read a document."""
    occurrences = found["occurrences"]
    if not occurrences:
        yield f"{found['source']}:{found['id']} is not read in stage {found['stage']}"
        return
    title = f"{found['stage']}: {found['source']}:{found['id']}"
    table = Table([*left("phase"), *right("step", "epoch", "tokens")], title)
    for occurrence in occurrences[:limit]:
        tokens = f"{occurrence['from']}–{occurrence['to']}"
        table.add(occurrence["phase"], f"{occurrence['step']:,}", str(occurrence["epoch"]), tokens)
    yield table
    if len(occurrences) > limit:
        yield f"and {len(occurrences) - limit:,} more; --limit or --json shows them"
