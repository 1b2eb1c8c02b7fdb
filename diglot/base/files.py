"""Files that appear whole or not at all, and JSON that says where it is broken.

A file with a fixed name is written under another name beside it, which nobody can guess, and renamed. So a kill leaves
the old file or the new one, two writers don't mix, and a link that lies in place of the file is replaced, not followed.

A run folder may come from somebody else. So what is written or removed there under a fixed name goes through this file:
`atomic`, `remove`, `make_folder` and `open_plain` follow no link, and `refuse_links` looks through a folder that a stage
goes on from.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from diglot.base.errors import UserError

MAX_DEPTH = 100  # of JSON; Python's own functions walk some 300 levels, and no file that we know of has 20
TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


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


def expand_home(path: str | Path) -> Path:
    """A path with the home folder in place of `~`; of a user that is not there it stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path.expanduser raises there)


def remove(path: Path) -> None:
    """Remove a file, a folder with all that lies in it, or a link (not what it points to), as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder where there is none; a link in its place is removed."""
    if path.is_symlink():
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)


def open_plain(path: Path) -> IO[bytes]:
    """Open a file of a fixed name to read and change it; it is made if need be.

    Raises:
        UserError: a link, a pipe or a device lies there; opening it could wait for ever, or change another file.
    """
    try:
        # Without O_NONBLOCK a pipe would wait for its other end.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link; a device without a driver
            raise
        raise _not_plain(path) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _not_plain(path)
    return os.fdopen(number, "r+b")


def refuse_links(folder: Path) -> None:
    """Make sure that nothing in a folder leads out of it: Diglot's own folders hold plain files and folders only.

    Raises:
        UserError: something else lies there.
    """
    if folder.is_symlink():
        raise _not_plain(folder)
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            if not (stat.S_ISREG(kind := path.lstat().st_mode) or stat.S_ISDIR(kind)):
                raise _not_plain(path)


def own_temporary_folder() -> Path:
    """A folder among the system's temporary ones that nobody but this user can write to, the same each time if possible."""
    folder = Path(tempfile.gettempdir()) / f"diglot-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()  # of a link itself
    if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077:
        return folder
    ours = tempfile.mkdtemp(prefix="diglot-")  # somebody was there before us: compile anew for this process
    atexit.register(shutil.rmtree, ours, ignore_errors=True)
    return Path(ours)


def _not_plain(path: Path) -> UserError:
    return UserError(
        f"{path}: something else lies where Diglot has a plain file or folder, such as a link or a pipe; remove it, and look "
        "where it comes from"
    )


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


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text that can be walked, shown and written again: everything of JSON but its traps.

    Raises:
        ValueError: it is not UTF-8 or not JSON, nested more than `MAX_DEPTH` deep, or spells half of a surrogate pair.
    """
    text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if is_too_deep(value, text.count("[") + text.count("{")):
        raise ValueError(TOO_DEEP)
    # Only an escape, or a text that was never bytes, can hold one.
    if (not isinstance(content, bytes) or _SURROGATE.search(text)) and not is_encodable(value):
        raise ValueError("half of a surrogate pair, which UTF-8 cannot hold")
    return value


def is_too_deep(value: Any, num_brackets: int) -> bool:
    """Whether a JSON value is nested more than `MAX_DEPTH` deep, so that functions that walk it would fail.

    Args:
        value: as a parser gives it.
        num_brackets: how many begin in its text, or more: with few of them nothing is asked.
    """
    if num_brackets <= MAX_DEPTH:
        return False
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
        depth += bool(inner)
    return depth > MAX_DEPTH


def is_encodable(value: Any) -> bool:
    """Whether UTF-8 can hold all strings of a JSON value, keys included."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json(path: Path, remedy: str = "run the stage that made it again", most: int | None = None) -> Any:
    """The value in a file of JSON.

    Args:
        path: of the file.
        remedy: what to do where it is missing or broken; the end of the error.
        most: bytes; a longer file is refused before it is read.

    Raises:
        UserError: the file is missing, no regular file (a pipe would wait for ever), too long, or not JSON.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file; {remedy}")
        if most is not None and (size := path.stat().st_size) > most:
            raise UserError(f"{path}: has {size:,} bytes, where {most:,} are plenty; {remedy}")
        return parse_json(path.read_bytes())
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError | NotADirectoryError) else error.strerror
        raise UserError(f"{path} {reason}; {remedy}") from error
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
                        yield parse_json(line)
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
            record = parse_json(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            unreadable += 1
    return records, unreadable
