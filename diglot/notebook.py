"""Diglot in a notebook: what a run holds as Arrow tables, its models, and single stages.

    import diglot
    run = diglot.open_run("runs/quickstart")
    run.scores().to_pandas()                      every number that was measured, with its standard error
    run.metrics("trunk").to_pandas()              a row a step
    run.documents("corpus", language="ar")        the text that was trained on
    model = run.load_model()                      score, generate, encode
    diglot.run_stage("curate", "out/corpus", sources={"mine": {"path": "texts", "language": "he"}})

Nothing of a run is changed by looking at it. `to_pandas()` is Arrow's own, and needs pandas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from diglot import flow
from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.summaries.scores import ScoresSummary
from diglot.evaluate.language_model import LanguageModel
from diglot.load import Where, check
from diglot.read.corpus import read_documents, read_schema
from diglot.recipe import STAGES, Recipe
from diglot.report.reading import read_training
from diglot.runs import check_model, find_model, find_run
from diglot.stage_commands import input_artifact, run_alone
from diglot.step import Step


class Run(Mapping[str, Artifact]):
    """A run: a mapping from the names of its stages to their artifacts, as far as they are made.

    Attributes:
        recipe: that made it.
        folder: where it lies.
        steps: its stages with their states (`done`, `stale`, `to do`), in running order.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        """Use `open_run`."""
        self.recipe, self.folder = recipe, folder
        self.steps: list[Step] = flow.plan(recipe, folder, Where(str(folder / "recipe.json")), looking=True)
        self._artifacts = flow.artifacts_of(self.steps)

    def __getitem__(self, stage: str) -> Artifact:
        if stage not in self._artifacts:
            raise UserError(
                f"{self.folder}: no stage {stage!r} is made; there are: {', '.join(self._artifacts) or 'none'}"
            )
        return self._artifacts[stage]

    def __contains__(self, stage: object) -> bool:
        return stage in self._artifacts

    def __iter__(self) -> Iterator[str]:
        return iter(self._artifacts)

    def __len__(self) -> int:
        return len(self._artifacts)

    def __repr__(self) -> str:
        return f"<run {self.recipe.name} in {self.folder}: {len(self)} of {len(self.steps)} stages>"

    def stages(self) -> pa.Table:
        """A row a stage: `stage`, `kind`, `state`, `why`, `seconds` that it took, `folder`."""
        rows = []
        for step in self.steps:
            artifact = self._artifacts.get(step.name)
            seconds = artifact.provenance.get("seconds") if artifact else None
            rows.append((step.name, step.settings.do, step.state, step.why, seconds, str(step.folder)))
        texts = ["stage", "kind", "state", "why", "folder"]
        types = {**dict.fromkeys(texts, pa.string()), "seconds": pa.float64()}
        names = ["stage", "kind", "state", "why", "seconds", "folder"]
        return _table(names, rows, types)

    def summary(self, stage: str) -> dict[str, Any]:
        """What a stage says of its artifact: that which the report shows."""
        return self[stage].summary.as_json()

    def documents(
        self,
        stage: str | None = None,
        split: Literal["documents", "heldout"] = "documents",
        columns: Sequence[str] | None = None,
        *,
        source: str | None = None,
        language: str | None = None,
    ) -> pa.Table:
        """The documents of a corpus; all columns in memory, unless some are named.

        Args:
            stage: that made it; the only corpus of the run if absent.
            split: what is trained on, or what is held out.
            columns: their names; all if absent.
            source: only documents of this source.
            language: only documents in this language.

        Raises:
            UserError: no such corpus, or no such column.
        """
        corpus = self[stage] if stage else self._only("corpus")
        schema = read_schema([corpus], split, source)
        names = list(columns) if columns is not None else schema.names
        batches = list(read_documents([corpus], split, names, source=source, language=language))
        empty = pa.schema([field for field in schema if field.name in names])
        return pa.Table.from_batches(batches) if batches else empty.empty_table()

    def scores(self) -> pa.Table:
        """Every number that was measured, a row each.

        Columns: `stage` (the evaluation), `measure` (`bits_per_byte`, `task`, `group` or `preference`), `name` (the language, task,
        group or source), `language`, `metric`, `value`, `standard_error` (null where it is not known), `items` (documents, items, pairs).
        """
        rows = [
            (name, *row)
            for name, artifact in self._artifacts.items()
            if isinstance(artifact.summary, ScoresSummary)
            for row in _rows_of(artifact.summary)
        ]
        texts = ["stage", "measure", "name", "language", "metric"]
        types = {**dict.fromkeys(texts, pa.string()), "value": pa.float64(), "standard_error": pa.float64()}
        return _table([*texts, "value", "standard_error", "items"], rows, {**types, "items": pa.int64()})

    def metrics(self, stage: str | None = None, what: Literal["step", "evaluation"] = "step") -> pa.Table:
        """The log of a training, a row a step or an evaluation; numbers inside others as `losses.english`.

        Args:
            stage: a train stage; the only one of the run if absent.
            what: its steps, or its evaluations on held-out text.

        Raises:
            UserError: no such training.
        """
        artifact = self[stage] if stage else self._only("model", "train")
        if artifact.do != "train":
            raise UserError(f"{artifact.stage} is made by {artifact.do}; only train stages have a log of steps")
        log = read_training(artifact)
        records = [dict(_flat(record)) for record in (log.steps if what == "step" else log.evaluations)]
        names = list(dict.fromkeys(name for record in records for name in record if name != "type"))
        return pa.table({name: [record.get(name) for record in records] for name in names})

    def load_model(self, stage: str | None = None) -> LanguageModel:
        """One of its models, the last if no stage is named; `trunk@200` is the model after a step that was kept."""
        return load_model(self.folder, stage)

    def _only(self, kind: str, do: str | None = None) -> Artifact:
        found = [each for each in self._artifacts.values() if each.kind == kind and do in (None, each.do)]
        if len(found) != 1:
            names = ", ".join(each.stage for each in found) or "none"
            raise UserError(f"{self.folder}: name the stage; there are: {names}")
        return found[0]


def open_run(path: str | Path) -> Run:
    """A run, to be looked at.

    Args:
        path: its folder, its name under runs/, or its recipe.

    Raises:
        UserError: there is none.
    """
    return Run(*find_run(Path(path)))


def load_model(path: str | Path, stage: str | None = None) -> LanguageModel:
    """A model with its tokenizer, for scoring and greedy generation; float32 on a CPU.

    Args:
        path: a model's folder, or a run (see `open_run`).
        stage: which of a run's models; the last if absent.

    Raises:
        UserError: there is none, or its files are not as its stage wrote them.
    """
    folder = find_model(Path(path), stage)
    check_model(folder)
    return LanguageModel.load(folder)


def run_stage(
    kind: str,
    out: str | Path,
    *,
    inputs: Mapping[str, str | Path | Sequence[str | Path]] | None = None,
    seed: int = 0,
    **settings: Any,
) -> Artifact:
    """Run one stage, as its command does: what is done is not done again, and what was killed goes on.

    Args:
        kind: of the stage, such as `curate`; docs/settings.md lists them.
        out: the folder of its artifact.
        inputs: the folders that it reads, by role.
        seed: what `seed:` is in a recipe.
        settings: as in a recipe.

    Returns:
        The artifact.

    Raises:
        UserError: no such kind, wrong settings, or what the stage refuses.
    """
    if kind not in STAGES:
        raise UserError(f"there is no kind of stage {kind!r}; there are: {', '.join(STAGES)}")
    form, given = STAGES[kind], inputs or {}
    if unknown := set(given) - set(form.reads):
        raise UserError(f"{kind} reads no {unknown.pop()!r}; it reads: {', '.join(form.reads) or 'nothing'}")
    folders = {role: [paths] if isinstance(paths, str | Path) else list(paths) for role, paths in given.items()}
    if lacking := [role for role, needs in form.reads.items() if needs.required and not folders.get(role)]:
        raise UserError(f"{kind} needs {', '.join(lacking)}: inputs={{{lacking[0]!r}: FOLDER}}")
    if many := [role for role, paths in folders.items() if len(paths) > 1 and not form.reads[role].many]:
        raise UserError(f"{kind} takes one {many[0]}, not {len(folders[many[0]])}")
    found = {role: [input_artifact(Path(path), role, form) for path in paths] for role, paths in folders.items()}
    names = {role: [artifact.stage for artifact in artifacts] for role, artifacts in found.items()}
    where = Where(f"run_stage({kind!r})")
    stage = check(form, {"do": kind, "from": names, **settings}, where)
    return run_alone(stage, where, found, Path(out), seed)[0]


def _rows_of(scores: ScoresSummary) -> Iterator[tuple[Any, ...]]:
    for name, bits in scores.bits_per_byte.items():
        yield "bits_per_byte", name, name, "bits_per_byte", bits.value, bits.standard_error, bits.documents
    for name, task in scores.tasks.items():
        for metric, number in task.metrics.items():
            yield "task", name, task.language, metric, number.value, number.standard_error, task.items
    for name, group in scores.groups.items():
        for metric, number in group.metrics.items():
            yield "group", name, None, metric, number.value, number.standard_error, None
    for name, pairs in scores.preferences.items():
        for metric, number in (("accuracy", pairs.accuracy), ("margin", pairs.margin)):
            yield "preference", name, pairs.language, metric, number.value, number.standard_error, pairs.pairs


def _flat(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """A record's values, with the names of what they lie in."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _table(names: Sequence[str], rows: Sequence[tuple[Any, ...]], types: Mapping[str, pa.DataType]) -> pa.Table:
    columns = {name: pa.array([row[place] for row in rows], types[name]) for place, name in enumerate(names)}
    return pa.table(columns)
