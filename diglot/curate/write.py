"""Writing the corpus, in Parquet: `documents/` and `dropped/`, a file a shard, and `heldout/`, a file a source.

Every document that was read is in one of them: with its signals if it stays, with the reason if it was dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diglot.base.artifact import Context
from diglot.base.executor import Executor
from diglot.base.files import atomic
from diglot.curate.dedup.decide import HELD_OUT, KEPT, REASONS, Fates
from diglot.curate.prepare import domain_of
from diglot.curate.scratch import Passed, dropped_table
from diglot.recipe.curate import Curate
from diglot.recipe.signals import NAMES

ROWS = 10_000  # of a row group
FEW_VALUES = ["language", "domain", "source", "origin", "reason"]  # a dictionary of any others only costs time


class Writing(NamedTuple):
    """A shard to be written.

    Attributes:
        passed: its documents.
        fates: uint8 [documents].
        constants: columns that are the same for all of them.
        clusters: int32 [documents], how many documents each stands for.
        names: by row, what documents are called whose id is another's as well.
        kept, held_out: the files to write.
    """

    passed: Passed
    fates: np.ndarray
    constants: dict[str, str]
    clusters: np.ndarray
    names: dict[int, str]
    kept: Path
    held_out: Path


class Dropping(NamedTuple):
    """What a shard lost, to be written.

    Attributes:
        by_rules: the file of what did not pass.
        passed: what did: the source, the documents and their fates.
        file: to write.
    """

    by_rules: Path
    passed: list[tuple[str, Passed, np.ndarray]]
    file: Path


def write_documents(fates: Fates, settings: Curate, output: Path, executor: Executor, context: Context) -> None:
    """Write the documents that stay.

    Args:
        fates: of all documents.
        settings: of the stage.
        output: the artifact's folder.
        executor: runs the tasks, one a shard.
        context: of the stage.
    """
    for folder in ("documents", "heldout"):
        (output / folder).mkdir(exist_ok=True)
    tasks = _tasks(fates, settings, output, context.scratch / "held_out")
    for done, _ in enumerate(executor.map(_write_shard, tasks), 1):
        context.progress(done, len(tasks), "shards", "written")
    sources = dict.fromkeys(shard.source for shard in fates.shards)
    for name in sources:
        parts = [
            pq.read_table(task.held_out)
            for task, shard in zip(tasks, fates.shards, strict=True)
            if shard.source == name and (task.fates == HELD_OUT).any()
        ]
        if parts:
            _write_table(pa.concat_tables(parts), output / "heldout" / f"{name}-00000.parquet")


def _tasks(fates: Fates, settings: Curate, output: Path, held_out: Path) -> list[Writing]:
    held_out.mkdir(exist_ok=True)
    numbers: dict[str, int] = {}
    tasks = []
    for place, shard in enumerate(fates.shards):
        number = numbers[shard.source] = numbers.get(shard.source, -1) + 1
        source = settings.sources[shard.recipe_source]
        begin, end = int(fates.starts[place]), int(fates.starts[place + 1])
        clusters = np.ones(end - begin, np.int32)
        low, high = np.searchsorted(fates.leaders, [begin, end])
        clusters[fates.leaders[low:high] - begin] = fates.cluster_sizes[low:high]
        low, high = np.searchsorted(fates.repeated, [begin, end])
        rows = (fates.repeated[low:high] - begin).tolist()
        tasks.append(
            Writing(
                passed=shard.passed,
                fates=np.array(fates.of_shard(place)),
                constants={
                    "language": shard.languages[0] or "",
                    "domain": domain_of(source),
                    "source": shard.source,
                    "origin": source.origin,
                },
                clusters=clusters,
                names=dict(zip(rows, fates.names[low:high], strict=True)),
                kept=output / "documents" / f"{shard.source}-{number:05}.parquet",
                held_out=held_out / f"{shard.source}-{number:05}.parquet",
            )
        )
    return tasks


def _write_shard(task: Writing) -> None:
    """Write the documents of a shard that are kept, and those that are held out."""
    table = task.passed.table()
    ids = table["id"].to_pylist()
    for row, name in task.names.items():
        ids[row] = name
    columns = {"id": pa.array(ids, pa.large_string()), "text": table["text"].chunk(0)}
    columns |= {name: pa.array([value] * len(ids), pa.string()) for name, value in task.constants.items()}
    columns |= {"url": table["url"].chunk(0), "cluster_size": pa.array(task.clusters)}
    columns |= {name: table[f"signal_{name}"].chunk(0) for name in NAMES}
    result = pa.table(columns)
    for fate, file in ((KEPT, task.kept), (HELD_OUT, task.held_out)):
        chosen = task.fates == fate
        if chosen.any():
            _write_table(result.filter(pa.array(chosen)), file)


def write_dropped(shards: list[tuple[str, Path]], fates: Fates, output: Path, executor: Executor) -> None:
    """Write the ids of the documents that do not stay, with the reasons.

    Args:
        shards: the source, and the file of what did not pass the rules.
        fates: of what did.
        output: the artifact's folder.
        executor: runs the tasks, one a shard.
    """
    (output / "dropped").mkdir(exist_ok=True)
    passed: dict[str, list[tuple[str, Passed, np.ndarray]]] = {}
    for place, shard in enumerate(fates.shards):
        of_shard = (shard.source, shard.passed, np.array(fates.of_shard(place)))
        passed.setdefault(Path(shard.passed.path).name[: len("00000-00000")], []).append(of_shard)
    numbers: dict[str, int] = {}
    tasks = []
    for source, file in shards:
        number = numbers[source] = numbers.get(source, -1) + 1
        target = output / "dropped" / f"{source}-{number:05}.parquet"
        tasks.append(Dropping(file, passed.get(file.name[: len("00000-00000")], []), target))
    for _ in executor.map(_write_dropped, tasks):
        pass


def _write_dropped(task: Dropping) -> None:
    tables = [pq.read_table(task.by_rules)]
    for source, passed, fates in task.passed:
        rows = np.flatnonzero(fates > HELD_OUT)
        ids = passed.table()["id"].take(pa.array(rows)).to_pylist()
        reasons = [REASONS[int(fate)] for fate in fates[rows]]
        tables.append(dropped_table([source] * len(ids), ids, reasons))
    table = pa.concat_tables(tables).unify_dictionaries()
    if len(table):
        _write_table(table, task.file)


def _write_table(table: pa.Table, file: Path) -> None:
    with atomic(file) as partial:
        pq.write_table(
            table.combine_chunks(), partial, compression="zstd", row_group_size=ROWS, use_dictionary=FEW_VALUES
        )
