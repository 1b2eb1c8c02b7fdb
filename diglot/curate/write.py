"""Writing the corpus, in Parquet: `documents/` and `dropped/`, a file a shard, and `heldout/`, a file a source.

Every document that was read is in one of them: with its signals if it stays, with the reason if it was dropped.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from diglot.base.artifact import Context
from diglot.base.executor import Executor
from diglot.base.files import atomic
from diglot.curate.dedup.decide import HELD_OUT, KEPT, REASONS, Decisions
from diglot.curate.documents import SignedShard, dropped_table
from diglot.curate.prepare import domain_of
from diglot.recipe.curate import Curate
from diglot.recipe.signals import NAMES

ROWS = 10_000  # of a row group
FEW_VALUES = ["language", "domain", "source", "origin", "reason"]  # a dictionary of any others only costs time


def write_documents(decisions: Decisions, settings: Curate, output: Path, executor: Executor, context: Context) -> None:
    """Write the documents that stay.

    Args:
        decisions: about all documents.
        settings: of the stage.
        output: the artifact's folder.
        executor: runs the tasks, one a shard.
        context: of the stage.
    """
    held_out = context.scratch / "held_out"
    for folder in (output / "documents", output / "heldout", held_out):
        folder.mkdir(exist_ok=True)
    tasks, numbers, held_out_files = [], Counter[str](), dict[str, list[Path]]()
    for shard in decisions.shards:
        file = f"{shard.name}-{numbers[shard.name]:05}.parquet"
        numbers[shard.name] += 1
        if (decisions.of_shard(shard) == HELD_OUT).any():
            held_out_files.setdefault(shard.name, []).append(held_out / file)
        columns = _decided(shard, decisions, settings)
        tasks.append((shard, columns, output / "documents" / file, held_out / file))
    for done, _ in enumerate(executor.map(_write_shard, tasks), 1):
        context.progress(done, len(tasks), "shards", "written")
    for name, files in held_out_files.items():
        table = pa.concat_tables([pq.read_table(file) for file in files])
        _write_table(table, output / "heldout" / f"{name}-00000.parquet")


def _decided(shard: SignedShard, decisions: Decisions, settings: Curate) -> pa.RecordBatch:
    """The columns that a shard's documents get now: the decision, a new id where there is one, the source's, the cluster."""
    end, source = shard.first + shard.rows, settings.sources[shard.source]
    clusters, new_ids = np.ones(shard.rows, np.int32), np.full(shard.rows, None, object)
    low, high = np.searchsorted(decisions.representatives, [shard.first, end])
    clusters[decisions.representatives[low:high] - shard.first] = decisions.cluster_sizes[low:high]
    low, high = np.searchsorted(decisions.repeated, [shard.first, end])
    new_ids[decisions.repeated[low:high] - shard.first] = decisions.names[low:high]
    constants = {
        "language": shard.languages[0],
        "domain": domain_of(source),
        "source": shard.name,
        "origin": source.origin,
    }
    columns = {"decision": pa.array(decisions.of_shard(shard)), "new_id": pa.array(new_ids, pa.large_string())}
    columns |= {name: pa.array([value] * shard.rows, pa.string()) for name, value in constants.items()}
    return pa.record_batch(columns | {"cluster_size": pa.array(clusters)})


def _write_shard(task: tuple[SignedShard, pa.RecordBatch, Path, Path]) -> None:
    """Write the documents of a shard that are kept, and those that are held out, each to a file."""
    shard, decided, kept, held_out = task
    batch = shard.batch()
    columns = {"id": pc.coalesce(decided["new_id"], batch["id"]), "text": batch["text"]}
    columns |= {name: decided[name] for name in FEW_VALUES[:4]}
    columns |= {name: batch[name] for name in ("title", "url") if name in batch.schema.names}
    columns |= {"cluster_size": decided["cluster_size"]}
    columns |= {name: batch[f"signal_{name}"] for name in NAMES}
    result, decisions = pa.table(columns), decided["decision"].to_numpy()
    for decision, file in ((KEPT, kept), (HELD_OUT, held_out)):
        chosen = decisions == decision
        if chosen.any():
            _write_table(result.filter(pa.array(chosen)), file)


def write_dropped(shards: list[tuple[str, Path]], decisions: Decisions, output: Path, executor: Executor) -> None:
    """Write the ids of the documents that do not stay, with the reasons.

    Args:
        shards: the source, and the file of what did not pass the rules.
        decisions: about what did.
        output: the artifact's folder.
        executor: runs the tasks, one a shard.
    """
    (output / "dropped").mkdir(exist_ok=True)
    passed: dict[str, list[tuple[SignedShard, np.ndarray]]] = {}
    for shard in decisions.shards:
        place = shard.path.name[: len("00000-00000")]
        passed.setdefault(place, []).append((shard, np.array(decisions.of_shard(shard))))
    tasks, numbers = [], Counter[str]()
    for source, file in shards:
        target = output / "dropped" / f"{source}-{numbers[source]:05}.parquet"
        numbers[source] += 1
        tasks.append((file, passed.get(file.name[: len("00000-00000")], []), target))
    for _ in executor.map(_write_dropped, tasks):
        pass


def _write_dropped(task: tuple[Path, list[tuple[SignedShard, np.ndarray]], Path]) -> None:
    """Write what a shard lost to the rules and what to deduplication into one file."""
    by_rules, passed, file = task
    tables = [pq.read_table(by_rules)]
    for shard, decisions in passed:
        rows = np.flatnonzero(decisions > HELD_OUT)
        reasons = [REASONS[decision] for decision in decisions[rows].tolist()]
        tables.append(dropped_table([shard.name] * len(rows), shard.batch()["id"].take(pa.array(rows)), reasons))
    table = pa.concat_tables(tables).unify_dictionaries()
    if len(table):
        _write_table(table, file)


def _write_table(table: pa.Table, file: Path) -> None:
    with atomic(file) as partial:
        pq.write_table(
            table.combine_chunks(), partial, compression="zstd", row_group_size=ROWS, use_dictionary=FEW_VALUES
        )
