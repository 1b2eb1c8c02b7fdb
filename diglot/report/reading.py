"""Read the payload files of artifacts, tolerating what is absent.

A report is made of what is there: a missing file is None or empty, a cut-off last line of a log is left out and
counted, but a file that is there and broken is an error that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diglot.base import files
from diglot.base.artifact import Artifact
from diglot.recipe.common import at_step


def read_json(artifact: Artifact, *parts: str) -> Any | None:
    """A JSON payload file, or None where there is none.

    Raises:
        UserError: the file is there but is not JSON.
    """
    file = artifact.file(*parts)
    if not file.is_file():
        return None
    return files.read_json(file, f"run the stage {artifact.stage!r} again")


def read_lines(artifact: Artifact, *parts: str) -> tuple[list[dict[str, Any]], int]:
    """The records of a JSONL payload file and the number of lines that could not be read."""
    return files.read_log(artifact.file(*parts))


@dataclass
class Training:
    """The log of one train stage.

    Attributes:
        artifact: the model it made.
        steps: one record a step, in the order of steps.
        evaluations: one record an evaluation, in the order of steps.
        rollbacks: one record a time that the guard went back; `step` is where to, `after` where from.
        unreadable: lines of the log that could not be read.
    """

    artifact: Artifact
    steps: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0

    @property
    def skipped(self) -> list[int]:
        """The steps that the guard skipped."""
        return [record["step"] for record in self.steps if "skipped" in record]

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return max((record.get("tokens", 0) for record in self.steps), default=0)

    @property
    def memory_mb(self) -> float | None:
        """Peak memory, if it was logged."""
        return max((record["memory_mb"] for record in self.steps if record.get("memory_mb")), default=None)

    def tokens_at(self, step: int) -> int:
        """Tokens trained on after a number of steps."""
        return max((record.get("tokens", 0) for record in self.steps if record["step"] <= step), default=0)

    @property
    def phases(self) -> list[tuple[str, int, int]]:
        """Name, first and last step of each stretch of one phase."""
        stretches: list[tuple[str, int, int]] = []
        for record in self.steps:
            name, step = str(record.get("phase", "")), record["step"]
            if stretches and stretches[-1][0] == name:
                stretches[-1] = (name, stretches[-1][1], step)
            else:
                stretches.append((name, step, step))
        return stretches


def read_training(artifact: Artifact) -> Training:
    """The log of a train stage. After a resume a step may be logged twice: the later record counts."""
    records, unreadable = read_lines(artifact, "logs", "metrics.jsonl")
    by_type: dict[str, dict[int, dict]] = {"step": {}, "evaluation": {}}
    for record in records:
        if record.get("type") in by_type and isinstance(record.get("step"), int):
            by_type[record["type"]][record["step"]] = record
    steps, evaluations = ([group[step] for step in sorted(group)] for group in by_type.values())
    rollbacks = [record for record in records if record.get("type") == "rollback"]
    return Training(artifact, steps, evaluations, rollbacks, unreadable)


@dataclass
class Run:
    """All artifacts of a run in run order, with the questions that sections ask.

    Attributes:
        artifacts: what the run made.
        trainings: the logs of its train stages, in run order.
    """

    artifacts: Sequence[Artifact]
    trainings: list[Training] = field(init=False)

    def __post_init__(self) -> None:
        """Read the logs once."""
        self.trainings = [read_training(artifact) for artifact in self.of_do("train")]

    def of_do(self, do: str) -> list[Artifact]:
        """Artifacts of one kind of stage."""
        return [artifact for artifact in self.artifacts if artifact.do == do]

    def of_kind(self, kind: str) -> list[Artifact]:
        """Artifacts of one kind."""
        return [artifact for artifact in self.artifacts if artifact.kind == kind]

    def parents(self, artifact: Artifact) -> list[Artifact]:
        """The artifacts that one was made from, in run order."""
        known = set(_strings(artifact.inputs))
        return [other for other in self.artifacts if other is not artifact and other.fingerprint in known]

    def models_read(self, artifact: Artifact) -> list[tuple[Artifact, int | None, str]]:
        """The models that one was made from, in the order of its inputs.

        Returns:
            Each model with the step it was taken at, where it is one that training kept on its way, and its role.
        """
        models = {other.fingerprint: other for other in self.of_kind("model") if other is not artifact}
        found = []
        for role, names in artifact.inputs.get("stages", {}).items():
            for name, made_by in names.items():
                step = at_step(name)[1]
                if made_by in models:
                    found.append((models[made_by], int(step) if step else None, role))
        return found

    def languages(self) -> list[str]:
        """All languages of the run, in the order in which they appear; each keeps one colour in all figures."""
        found: dict[str, None] = {}
        for artifact in self.artifacts:
            settings = artifact.settings.get("languages")
            found |= dict.fromkeys(code for code in settings or [] if isinstance(code, str))
            for source in _sources(artifact).values():
                if not source.get("target_language"):
                    found |= dict.fromkeys(source.get("languages") or [source.get("language") or ""])
        found.pop("", None)
        return list(found)

    def source_languages(self) -> dict[str, str]:
        """The language of every source by its name; a parallel source stands for itself.

        A source that was sorted by language is several: NAME-LANGUAGE each.
        """
        found: dict[str, str] = {}
        for artifact in self.artifacts:
            for name, source in _sources(artifact).items():
                if source.get("languages"):
                    found |= {f"{name}-{language}": language for language in source["languages"]}
                else:
                    found[name] = name if source.get("target_language") else source.get("language", name)
        return found


def _sources(artifact: Artifact) -> dict[str, dict[str, Any]]:
    sources = artifact.settings.get("sources")
    return {name: s for name, s in sources.items() if isinstance(s, dict)} if isinstance(sources, dict) else {}


def _strings(value: Any) -> list[str]:
    """All strings in a nested JSON value."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def token_offsets(run: Run) -> dict[str, int]:
    """Tokens that every artifact's ancestors were trained on, by stage: where a model stands in the pipeline.

    A stage begins where the longest of its inputs ended, so branches from one checkpoint begin at one place; one that
    was taken at a step begins there.
    """
    trained = {training.artifact.stage: training for training in run.trainings}
    ends: dict[str, int] = {}
    starts: dict[str, int] = {}
    for artifact in run.artifacts:
        begins = [0]
        for parent, step, _ in run.models_read(artifact):
            at_the_step = step is not None and parent.stage in trained
            begins.append(
                starts[parent.stage] + trained[parent.stage].tokens_at(step or 0)
                if at_the_step
                else ends.get(parent.stage, 0)
            )
        starts[artifact.stage] = max(begins)
        own = trained[artifact.stage].tokens if artifact.stage in trained else 0
        ends[artifact.stage] = starts[artifact.stage] + own
    return starts
