"""Files that appear whole or not at all, and JSON that says where it is broken.

A file with a fixed name is written under another name beside it, which nobody can guess, and renamed. So a kill leaves
the old file or the new one, two writers don't mix, and a link that lies in place of the file is replaced, not followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError


@contextlib.contextmanager
def atomic(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        path: of the file; its folder exists.
        durable: the bytes are on the disk before the file takes its name, so that a power cut leaves no empty file.

    Yields:
        Where to write. When the block ends without an error, that file becomes `path`.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666))
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with atomic(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(
    path: Path, value: Any, *, indent: int | None = 1, sort_keys: bool = False, durable: bool = False
) -> None:
    """Write a value as JSON with a newline at its end, whole or not at all.

    Args:
        path: of the file.
        value: what JSON can say.
        indent: spaces a level; None writes one line, by a much faster encoder.
        sort_keys: whether keys are written in alphabetical order instead of their own.
        durable: see `atomic`.
    """
    text = json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False)
    write_text(path, text + "\n", durable=durable)


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Write JSON Lines, a record each, whole or not at all."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_small(path: Path, most: int) -> bytes:
    """The bytes of a file that a person wrote: a pipe would be waited for, and a huge file would fill the memory.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        UserError: not a file, or too large.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path} is no file but a {'folder' if path.is_dir() else 'pipe or device'}; give a file")
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise UserError(f"{path} is too large: at most {most:,} bytes are read; is it the right file?")
    return content


def read_json(path: Path, remedy: str = "run the stage that made it again") -> Any:
    """The value in a file of JSON.

    Args:
        path: of the file.
        remedy: what to do where it is missing or broken; the end of the error.

    Raises:
        UserError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} is missing; {remedy}") from error
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error}); {remedy}") from error


def read_lines(path: Path, remedy: str = "run the stage that made it again") -> Iterator[Any]:
    """The records of a file of JSON Lines, one by one; blank lines are passed by.

    Raises:
        UserError: the file is missing, or a line is not JSON; with file and line.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    if line.strip():
                        yield json.loads(line)
                except ValueError as error:
                    raise UserError(f"{path}:{number}: not valid JSON ({error}); {remedy}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} is missing; {remedy}") from error


def read_log(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The objects in a log of JSON Lines and the number of lines that are none: a kill cuts the last line off.

    A log that is not there is empty.
    """
    records, unreadable = [], 0
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            unreadable += 1
    return records, unreadable
