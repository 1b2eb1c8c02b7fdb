"""Hashes of files, remembered: of what stages read from outside, and of what they wrote.

A file is hashed anew when its size, its times or its place on the disk are others than when it was hashed. The time of
the last change (ctime) is among them, and no program can set it: a file that is rewritten with the same size and given
its old date is seen all the same. A disk that returns other bytes than were written changes none of these; only hashing
whole finds that (`--verify`, and before a merge).
"""

from __future__ import annotations

import glob
import os
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from diglot.base.artifact import MANIFEST, MANIFEST_BYTES, Artifact, content_of, hash_file, payload
from diglot.base.errors import UserError
from diglot.base.files import expand_home, read_json, write_json
from diglot.base.format import excerpt

MEMORY = ".hashes.json"  # in a run folder
# A file may be rewritten within the same tick of its file system's clock: FAT counts every other second.
SETTLED_SECONDS = 2
NAMED = 3  # damaged files in a message

Stamp = list[int]


class FileHashes:
    """The hash of each file, by its path, with what says whether it still holds.

    Attributes:
        memory: the file that is read now, and written by `save`.
    """

    def __init__(self, memory: Path, *, believe: bool = True):
        """Remember what was hashed before.

        Args:
            memory: where that stands; nothing is remembered where it cannot be read.
            believe: False hashes every file anew, once; what servers said is remembered all the same.
        """
        self.memory = memory
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._changed = False
        self._files: dict[str, Path] = {}  # by their names in `of_paths`
        self._asked: dict[str, str] = {}  # what servers said of URLs: each is asked once
        try:
            stored = read_json(memory, most=MANIFEST_BYTES)
            known = {name: ([int(number) for number in stamp], str(hashed)) for name, (stamp, hashed) in stored.items()}
        except (OSError, UserError, ValueError, TypeError, AttributeError, OverflowError):
            return  # hashed anew
        self._known = {name: value for name, value in known.items() if believe or "://" in name}

    def of(self, file: Path) -> str:
        """The SHA-256 of a file's bytes (hex)."""
        name, stamp, began = _name(file), _stamp(file), time.time()
        known = self._known.get(name)
        if known and known[0] == stamp:
            return known[1]
        hashed = hash_file(file)
        if _stamp(file) == stamp:  # not changed while it was read
            self._remember(name, stamp, hashed, began)
        return hashed

    def _remember(self, name: str, stamp: Stamp, hashed: str, when: float) -> None:
        # What changed only just before could change again without another time.
        if max(stamp[1], stamp[2]) / 1e9 < when - SETTLED_SECONDS:
            self._known[name] = (stamp, hashed)
            self._changed = True

    def learn(self, artifact: Artifact) -> None:
        """Take the hashes of an artifact that was just written from its manifest."""
        for name, file in payload(artifact.path).items():
            self._remember(_name(file), _stamp(file), artifact.files[name], time.time())

    def of_paths(
        self,
        paths: Mapping[tuple, str],
        where: Callable[..., str],
        prefix: str = "",
        ask: Callable[[str], str | None] | None = None,
    ) -> dict[str, str]:
        """Hash by file for the paths of a stage; of URLs what their servers say of them.

        Args:
            paths: path, folder, glob or URL by the settings' key that gave it.
            where: names a key's place in the recipe.
            prefix: what an override of the key begins with.
            ask: what a server says of a URL now; by default, and where it says nothing, what it said before.

        Raises:
            UserError: a path matches no file, or one that cannot be read.
        """
        found: dict[str, str] = {}
        for key, path in paths.items():
            if "://" in path:
                found[path] = self._of_url(path, ask)
                continue
            try:
                files = expand(path)
                named = {_text(str(file)): file for file in files}
                hashed = {name: self.of(file)[:32] for name, file in named.items()}
            except OSError as error:
                shown = excerpt(str(error.filename or path), 100)
                raise UserError(
                    f"{where(*key)}: cannot read {shown}: {error.strerror}; give files that can be read"
                ) from error
            if not files:
                wrong = "no files in the folder" if expand_home(path).is_dir() else "no such file or folder"
                raise UserError(
                    f"{where(*key)}: {wrong}: {path} (looked in {Path.cwd()}); correct the path, or give "
                    f"another with an override: {prefix}{'.'.join(map(str, key))}=FOLDER"
                )
            self._files |= named
            found |= hashed
        return found

    def _of_url(self, url: str, ask: Callable[[str], str | None] | None) -> str:
        before = self._known.get(url, ([], "url"))[1]
        if ask and url not in self._asked:
            now = self._asked[url] = ask(url) or before
            if now != before:
                self._known[url] = ([], now)
                self._changed = True
        return self._asked.get(url, before)

    def changed_since(self, found: Mapping[str, str]) -> list[str]:
        """The files, of those that `of_paths` found, that are others by now, or gone."""
        local = {name: self._files[name] for name in found if "://" not in name}
        return [name for name, file in local.items() if not file.is_file() or self.of(file)[:32] != found[name]]

    def forget(self, folder: Path) -> None:
        """Hash everything in a folder anew when it is asked for."""
        above = os.path.join(_name(folder), "")  # noqa: PTH118
        self._known = {name: known for name, known in self._known.items() if not name.startswith(above)}

    def save(self) -> None:
        """Write down what was hashed."""
        if self._changed:
            write_json(self.memory, self._known, indent=None)
            self._changed = False


def _name(path: Path) -> str:
    return _text(os.path.abspath(path))  # noqa: PTH100  (what a link points to is seen by its stamp)


def _text(name: str) -> str:
    """A name on disk need not be UTF-8, as what is written must."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _stamp(file: Path) -> Stamp:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def expand(path: str) -> list[Path]:
    """The files of a path, folder or glob, sorted; hidden files left out."""
    place = expand_home(path)
    if place.is_file():
        return [place]
    if place.is_dir():
        files = [file for file in place.rglob("*") if file.is_file()]
        return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(place).parts))
    return sorted(Path(match) for match in glob.glob(str(place), recursive=True) if Path(match).is_file())  # noqa: PTH207  (absolute globs)


# --- artifacts ------------------------------------------------------------------------------------------------


def damage(artifact: Artifact, hashes: FileHashes) -> str:
    """What of an artifact's files is not as the stage wrote it, in words; empty where all is."""
    if not artifact.files:  # of a model that no stage wrote
        return ""
    there, found = payload(artifact.path), []
    for name in sorted({*there, *artifact.files}):
        if name not in there:
            found.append(f"{name} is missing")
        elif name not in artifact.files:
            found.append(f"{name} was added")
        elif hashes.of(there[name]) != artifact.files[name]:
            found.append(f"{name} was changed")
    if not found and content_of(artifact.files) != artifact.content:
        found = [f"{MANIFEST} was changed"]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more


def check_whole(artifact: Artifact, hashes: FileHashes) -> None:
    """Make sure that an artifact is as it was written.

    Raises:
        UserError: it is not; says which files, and how to make it anew.
    """
    if found := damage(artifact, hashes):
        raise UserError(not_as_written(artifact, found))


def not_as_written(artifact: Artifact, found: str) -> str:
    """What to say of an artifact of which `damage` has found something, and how to make it anew."""
    remedy = f"Put that right, or make it anew: {command_to_make(artifact.path)}"
    return f"{artifact.path} is not as it was written: {found}. {remedy}"


def command_to_make(folder: Path) -> str:
    """The command that makes an artifact anew."""
    gone, run = f"rm -r {shlex.quote(str(folder))}", folder.parent
    if not (run / "recipe.json").is_file():
        return f"{gone}; then the command that made it"
    name = shlex.quote(str(run))
    return f"{gone} && diglot run {shlex.quote(str(run / 'recipe.json'))} --run {name}"
