"""Units of work: which files, cut into shards, are read and measured by whom.

The files of a source are put into **groups**, in order: a big file is a group, and small ones are taken together.
A group is cut into **shards** by the reader. Both depend on the files alone. How many tasks share a group's shards
depends on the number of workers: part j of p takes every p-th shard, and skips the others unparsed. So the shards,
and all that is made of them, are the same whoever does the work, and a shard that is done is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from diglot.base.errors import UserError
from diglot.base.executor import TICK_SECONDS, check_stopping
from diglot.base.files import read_json, write_json
from diglot.read.files import DataFile, RawShard, Reading, find_source, how_to_read, read_shards
from diglot.recipe.curate import Curate

GROUP_BYTES = 64 << 20  # on disk; smaller files are read together, up to this
PART_BYTES = 4 << 20  # a task is not worth less


class Unit(NamedTuple):
    """A task: every p-th shard of a group of files.

    Attributes:
        source: the name of the source.
        group: number of the group among all groups of all sources.
        files: what to read, in order.
        reading: how to read it.
        part, parts: the shards k with k % parts == part.
    """

    source: str
    group: int
    files: list[DataFile]
    reading: Reading
    part: int
    parts: int


def units_of(settings: Curate, base: Path | None, stage: str, workers: int) -> list[Unit]:
    """All units of all sources, in order.

    Raises:
        UserError: a source's files cannot be found.
    """
    groups = []
    for name, source in settings.sources.items():
        where = f"source {name!r}"
        remedy = f"give a folder or file that can be read: diglot run RECIPE {stage}.sources.{name}.path=FOLDER"
        files = find_source(source.path, source.target_path, where, remedy, base)
        reading = Reading(
            fields=list(source.text_fields()), url=source.url, title=source.title, html=source.html,
            limit=source.limit, max_record_bytes=settings.max_record_bytes, where=where, remedy=remedy,
            **how_to_read(source),
        )  # fmt: skip
        groups += [(name, reading, group) for group in _grouped(files, source.limit)]
    units = []
    for number, (name, reading, files) in enumerate(groups):
        parts = _parts(files, workers, len(groups))
        units += [Unit(name, number, files, reading, part, parts) for part in range(parts)]
    return units


def _grouped(files: list[DataFile], limit: int | None) -> list[list[DataFile]]:
    """Consecutive files, up to `GROUP_BYTES`; all in one group where records are counted up to a limit."""
    if limit is not None:
        return [files]
    groups: list[list[DataFile]] = []
    size = 0
    for file in files:
        bytes_of_file = GROUP_BYTES if file.size is None else file.size
        if not groups or size + bytes_of_file > GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += bytes_of_file
    return groups


def _parts(files: list[DataFile], workers: int, num_groups: int) -> int:
    """How many tasks share a group: enough to busy all workers, but none with next to nothing to do."""
    worth = sum(file.size or GROUP_BYTES for file in files) // PART_BYTES
    return max(1, min(workers, worth)) if num_groups < 4 * workers else 1


def shard_name(group: int, shard: int) -> str:
    """What the files of a shard are called."""
    return f"{group:05}-{shard:05}"


def work(unit: Unit, folder: Path, handle: Callable[[RawShard], dict[str, Any]]) -> int:
    """Read a unit and handle each of its shards that is not done; returns the number of shards in the group.

    Args:
        unit: what to read.
        folder: where `GROUP-SHARD.json` marks what is done.
        handle: returns the account to be written there.
    """

    def wanted(shard: int) -> bool:
        check_stopping()
        mine = shard % unit.parts == unit.part
        return mine and not (folder / f"{shard_name(unit.group, shard)}.json").exists()

    place = _Place(unit, folder)
    last = -1
    for raw in read_shards(unit.files, unit.reading._replace(seen=place.seen), wanted):
        last = raw.number
        if raw.records is not None:
            write_json(folder / f"{shard_name(unit.group, raw.number)}.json", handle(raw), indent=None)
    return last + 1


class _Place:
    """Where a task stands in its files, kept in a small file: the one who waits for the task may be on another machine."""

    def __init__(self, unit: Unit, folder: Path) -> None:
        self.file, self.next = place_file(folder, unit), 0.0
        sizes = [file.size or 0 for file in unit.files]
        self.before = {file.path: sum(sizes[:number]) for number, file in enumerate(unit.files)}

    def seen(self, file: DataFile, position: int) -> None:
        """So many bytes of a file, and all files before it, have been read."""
        if (now := time.monotonic()) >= self.next:
            self.next = now + TICK_SECONDS
            write_json(self.file, self.before[file.path] + position, indent=None)


def place_file(folder: Path, unit: Unit) -> Path:
    """Where a task says how many bytes of its files it has gone through."""
    return folder / f"{unit.group:05}.{unit.part}.place"


def bytes_read(folder: Path, unit: Unit) -> float:
    """The share of a task in the bytes of its group that it has gone through so far."""
    file = place_file(folder, unit)
    return read_json(file) / unit.parts if file.exists() else 0.0


def accounts_of(folder: Path, groups: dict[int, int]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The accounts of all shards (group, shard, account), in order.

    Raises:
        UserError: one is missing; the input was changed meanwhile.
    """
    for group, shards in sorted(groups.items()):
        for shard in range(shards):
            file = folder / f"{shard_name(group, shard)}.json"
            if not file.exists():
                raise UserError(f"{file} is missing: the input was changed while it was read; run the command again")
            yield group, shard, read_json(file)
