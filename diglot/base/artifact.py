"""Artifacts: the folders that stages write, whole or not at all.

A stage never writes into its final folder. It fills a temporary folder beside it; when it is done, `artifact.json`
is written there last and the folder is renamed into place. A reader that finds `artifact.json` therefore finds a
whole artifact, whatever was killed and whenever.

    runs/quickstart/
    ├── corpus/                 one artifact: payload files + artifact.json
    ├── .partial/cpt/           what a running stage writes; emptied when the stage starts again
    └── .scratch/cpt-1f0c…/     what a stage keeps between tries (training: its checkpoints); see diglot/tries.py

Two hashes identify an artifact. The **fingerprint** says what it was made from (settings, code version of the stage,
fingerprints of its inputs) and is known before the stage runs. The **content** hash says what came out (names and
bytes of all payload files) and is equal for equal results. The manifest has the hash of each file too, so that a damaged
one can be named (hashes.py).
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from diglot import __version__
from diglot.base.energy import measured
from diglot.base.errors import UserError
from diglot.base.files import make_folder, read_json, remove, write_json
from diglot.base.summaries.model import ModelSummary
from diglot.base.summaries.summary import Summary, read_summary

MANIFEST = "artifact.json"
MANIFEST_BYTES = 2**26  # a corpus of 100,000 files has 10 MB
LARGEST = 10**300  # number in a manifest; a larger one would be no float
FORMAT = 3  # of artifacts, in the manifest: raised when what stages write can no longer be read as before
STEPS = "steps"  # of a train stage's folder: the models that it kept on its way, as steps/400
# Modules whose versions can change what a stage makes, with their packages: shown, but no reason to make it again.
SHAPING = {name: name for name in ("torch", "transformers", "tokenizers", "numpy", "pyarrow", "numba", "lm_eval")}
SHAPING |= {"sentencepiece": "sentencepiece", "fasttext": "fasttext-community"}
LOGS = "logs"  # about the making, not the result: timings differ from run to run, so no hash covers it


class Progress(Protocol):
    """Receives the progress of long work."""

    def __call__(self, done: float, total: float | None, unit: str, note: str = "") -> None: ...


def _silent(done: float, total: float | None, unit: str, note: str = "") -> None:
    pass


@dataclass
class Context:
    """What a stage is given beside its settings and inputs.

    Attributes:
        name: the stage's name in the recipe.
        seed: the recipe's seed; a stage derives its own streams from it.
        scratch: a folder that survives a killed try of the same stage with the same fingerprint, and is removed
            when the artifact is whole.
        fingerprint: what the artifact will be called by; belongs into checkpoints.
        progress: to be called now and then during long work: `progress(done, total, unit, note)`.
        say: shows a line that stays: what was found on the way, such as the scores of an evaluation.
        workers: threads that data stages may use; results never depend on it.
    """

    name: str
    seed: int
    scratch: Path
    fingerprint: str = ""
    progress: Progress = _silent
    say: Callable[[str], None] = lambda text: None
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass(frozen=True)
class Artifact:
    """A whole artifact on disk.

    Attributes:
        path: its folder.
        stage: name of the stage that wrote it.
        kind: what it is (`corpus`, `tokenizer`, `tokens`, `model`, …).
        do: the kind of stage that wrote it.
        fingerprint: hash of settings, code version and inputs.
        content: hash of the payload's names and bytes.
        settings: the settings it was made with.
        inputs: fingerprints of what it was made from, by role and stage name.
        summary: what the stage says about it, for `diglot show` and the report.
        provenance: times, machine and versions; not part of any hash.
        files: the SHA-256 of each payload file, by name.
    """

    path: Path
    stage: str
    kind: str
    do: str
    fingerprint: str
    content: str
    settings: dict[str, Any]
    inputs: dict[str, Any]
    summary: Summary
    provenance: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)

    def file(self, *parts: str) -> Path:
        """Path of a payload file, refusing what would lie outside the artifact."""
        path = self.path.joinpath(*parts)
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise UserError(f"{'/'.join(parts)} lies outside the artifact {self.path}")
        return path

    def at(self, step: int) -> Artifact:
        """The model that a train stage kept after a step, called STAGE@STEP."""
        folder = self.path / STEPS / str(step)
        inside = f"{STEPS}/{step}/"
        files = {name.removeprefix(inside): own for name, own in self.files.items() if name.startswith(inside)}
        about = self.summary
        if isinstance(about, ModelSummary):  # what it scored is known of the last step only
            about = ModelSummary(about.architecture, about.parameters, about.shape)
        named = f"{self.stage}@{step}"
        return replace(self, path=folder, stage=named, summary=about, files=files, content=content_of(files))

    def steps(self) -> list[int]:
        """The steps whose models lie here beside the last one, in rising order."""
        folder = self.path / STEPS
        return sorted(int(path.name) for path in folder.iterdir()) if folder.is_dir() else []


class Inputs:
    """The artifacts a stage reads, by role."""

    def __init__(self, by_role: dict[str, list[Artifact]]):
        self.by_role = by_role

    def one(self, role: str) -> Artifact:
        """The only artifact in a role that the recipe's schema requires."""
        return self.by_role[role][0]

    def maybe(self, role: str) -> Artifact | None:
        """The artifact in an optional role, or None."""
        return next(iter(self.by_role.get(role, [])), None)

    def many(self, role: str) -> list[Artifact]:
        """All artifacts in a role, in the recipe's order."""
        return self.by_role.get(role, [])


def fingerprint(value: Any) -> str:
    """SHA-256 (32 hex digits) of a JSON-able value; equal for equal values whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def payload(folder: Path) -> dict[str, Path]:
    """The payload files of an artifact by name, in order: all but the manifest and the logs."""
    outside = (folder / MANIFEST, folder / LOGS)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    files = [file for file in files if not any(file.is_relative_to(other) for other in outside)]
    return {file.relative_to(folder).as_posix(): file for file in files}


def content_of(files: Mapping[str, str]) -> str:
    """The content hash of files, from the hash of each by name."""
    digest = hashlib.sha256()
    for name, hashed in files.items():
        digest.update(f"{name}\0{hashed}\n".encode())
    return digest.hexdigest()[:32]


def content_hash(folder: Path) -> str:
    """Hash of the names and bytes of all files in a folder, but for the manifest and the logs."""
    return content_of({name: hash_file(file) for name, file in payload(folder).items()})


class OtherFormat(UserError):
    """An artifact was written by an older (or newer) version of Diglot, and is not read."""

    def __init__(self, path: Path, found: Any) -> None:
        self.which = "a newer" if isinstance(found, int) and found > FORMAT else "an older"
        super().__init__(
            f"{path}: this artifact was written by {self.which} version of Diglot (its format is {found}, this version "
            f"reads {FORMAT}); run its recipe again, or use the version that wrote it"
        )


class _Strict(BaseModel):
    # What is read is the value as it stands there, not what it could be made into.
    model_config = ConfigDict(strict=True)


class _Origin(_Strict):
    name: str
    file: str
    commit: str | None
    changed: bool | None
    overrides: list[str]


class _Energy(_Strict):
    joules: float = Field(ge=0, le=1e18, allow_inf_nan=False)
    counters: list[str] = Field(alias="from")


class _Accelerator(_Strict):
    title: str
    memory: int = Field(ge=0)


class _Provenance(_Strict):
    started: str = ""
    seconds: float = Field(0, ge=0, le=1e12, allow_inf_nan=False)
    python: str = ""
    system: str = ""
    cores: int | None = Field(None, ge=1, le=1_000_000)
    versions: dict[str, str] = {}
    accelerators: list[_Accelerator] = []
    energy: _Energy | None = None
    recipe: _Origin | None = None


class MadeFrom(_Strict):
    """What an artifact or a try was made of beside its settings."""

    version: int = 0
    seed: int = 0
    files: dict[str, str] = {}
    stages: dict[str, dict[str, str]] = {}


class _Manifest(_Strict):
    """What a manifest must hold to be read; the summary is checked by its own class."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    kind: str
    do: str
    fingerprint: str
    content: str
    settings: dict[str, Any]
    inputs: MadeFrom
    summary: dict[str, Any]
    provenance: _Provenance
    files: dict[str, str] = {}


def read_artifact(path: Path) -> Artifact | None:
    """The artifact in a folder, or None where there is no whole one.

    Raises:
        UserError: the manifest is there but cannot be read; `OtherFormat` where another version wrote it.
    """
    manifest = path / MANIFEST
    if not manifest.is_file():
        return None
    fields = read_json(manifest, f"delete {path} and run again", MANIFEST_BYTES)
    found = fields.pop("format", 1) if isinstance(fields, dict) else None
    if isinstance(fields, dict) and found != FORMAT:
        raise OtherFormat(path, found)
    try:
        _check_numbers(fields)
        _Manifest.model_validate(fields)
        fields["summary"] = read_summary(fields["do"], fields["kind"], fields["summary"])
        return Artifact(path=path, **fields)
    except ValueError as error:
        raise UserError(f"{manifest}: not a readable manifest ({error}); delete {path} and run again") from error


def _check_numbers(value: Any) -> None:
    """Refuse numbers that could be read but not shown.

    Raises:
        ValueError: one is too large.
    """
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_numbers(inner)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError("a number in it is too large")


def write_manifest(folder: Path, artifact: Artifact) -> None:
    """Write what is known of an artifact into a folder: the last file, with which it is whole."""
    fields = {key: value for key, value in vars(artifact).items() if key != "path"}
    fields["summary"] = artifact.summary.as_json()
    write_json(folder / MANIFEST, {"format": FORMAT, **fields}, durable=True)


def versions() -> dict[str, str]:
    """Diglot and the libraries that shape results, of those that this process has loaded, with their versions.

    A module that came with another package than ours (fasttext has several) has no version here.
    """
    loaded = {name: found for name in SHAPING if name in sys.modules and (found := _installed(name))}
    return {"diglot": __version__, **loaded}


@functools.cache  # each look reads a file of the package, and a plan asks for all of every stage
def _installed(name: str) -> str | None:
    """The version of a module's package, or None where it is not installed."""
    try:
        return metadata.version(SHAPING.get(name, name))
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name, in a manifest of somebody else's
        return None


def machine() -> dict[str, Any]:
    """What ran a stage: for provenance, never part of a hash."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "versions": versions(),
        **({"accelerators": found} if (found := accelerators()) else {}),
    }


def accelerators() -> list[dict[str, Any]]:
    """Title and bytes of the GPUs that this process has used: asking for them would take memory of each."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    each = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [{"title": one.name, "memory": one.total_memory} for one in each]


def other_versions(artifact: Artifact) -> str:
    """What an artifact was made with that has another version here, in words; empty where nothing has."""
    made = {"python": artifact.provenance.get("python"), **artifact.provenance.get("versions", {})}
    here, differ = {"python": platform.python_version(), "diglot": __version__}, []
    for name, then in made.items():
        now = here.get(name) or _installed(name) or "not installed"
        if then not in (None, now):
            differ.append(f"{name} {then} (here {now})")
    return f"made with {', '.join(differ)}" if differ else ""


@dataclass
class Unfinished:
    """An artifact that is being written: the folder to fill, and the summary once there is one."""

    folder: Path
    summary: Summary | None = None


@contextlib.contextmanager
def writing(
    path: Path,
    *,
    stage: str,
    kind: str,
    do: str,
    fingerprint: str,
    settings: dict,
    inputs: dict,
    origin: dict[str, Any] | None = None,
    work: Path | None = None,
) -> Iterator[Unfinished]:
    """Write an artifact whole or not at all.

    Yields what is to be filled. When the block ends without an error its folder becomes `path`, replacing what was
    there; otherwise `path` stays as it was. Until then it lies in `.partial` in the folder `work`, by default that of
    `path`. `origin` is what provenance says of the recipe (`origin_of`), where one ran.

    Raises:
        UserError: the disk is full; the artifact stays absent.
    """
    # What a killed run left is worth nothing here: stages keep what they go on from in their scratch folder.
    partial = (work or path.parent) / ".partial" / path.name
    make_folder(partial.parent)
    remove(partial)
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    unfinished = Unfinished(partial)
    try:
        partial.mkdir()
        with measured() as energy:
            yield unfinished
        assert unfinished.summary is not None, f"{do} gave no summary"
        files = {name: hash_file(file) for name, file in payload(partial).items()}
        artifact = Artifact(
            path=path,
            stage=stage,
            kind=kind,
            do=do,
            fingerprint=fingerprint,
            content=content_of(files),
            settings=settings,
            inputs=inputs,
            summary=unfinished.summary,
            provenance={
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - clock, 2),
                **machine(),
                **({"energy": energy} if energy else {}),
                **({"recipe": origin} if origin else {}),
            },
            files=files,
        )
        # The manifest comes last, and the folder appears under its name in one step.
        write_manifest(partial, artifact)
        _replace(partial, path)
    except BaseException as error:
        full = not isinstance(error, (UserError, KeyboardInterrupt)) and _disk_is_full(error)
        remove(partial)
        if full:
            raise UserError(
                f"no space left on the disk of {path.parent}; the artifact was not written. "
                "Free some space and run the same command again."
            ) from error
        raise


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one it came from, is about space. Libraries wrap the system's error in their own."""
    while error:
        text = str(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in text:
            return True
        if "No space left" in text or "inline_container" in text:  # torch says only that its writer failed
            return True
        error = error.__cause__ or error.__context__
    return False


def _replace(partial: Path, path: Path) -> None:
    """Swap a finished folder in. Between the two renames `path` is absent: the stage would run again, no more."""
    old = partial.with_name(f"{path.name}.old")
    remove(old)
    if os.path.lexists(path):
        path.rename(old)
    partial.rename(path)
    remove(old)
