"""Stages of `answers` run whole, and samples as a stage would write them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diglot.answers import judge, safety, sample
from diglot.base.artifact import Artifact, Context, Inputs, read_artifact, writing
from diglot.base.files import write_lines
from diglot.base.summaries.summary import Summary
from diglot.recipe.common import Stage

QUESTIONS = {"ماذا يبيع الخباز؟": 0, "ماذا يبيع الحداد؟": 1, "ماذا يبيع النساج؟": 2}
RUN: dict[str, Callable[..., Summary]] = {"sample": sample.run, "judge": judge.run, "evaluate-safety": safety.run}


def run_stage(
    folder: Path, name: str, settings: Stage, inputs: dict[str, list[Artifact]], scratch: str = ""
) -> Artifact:
    """Run a stage whole, as the flow does, and read what it made."""
    place = folder / "scratches" / (scratch or name)
    place.mkdir(parents=True, exist_ok=True)
    with writing(
        folder / name, stage=name, kind=settings.makes, do=settings.do, fingerprint=name, settings={}, inputs={}
    ) as unfinished:
        unfinished.summary = RUN[settings.do](settings, Inputs(inputs), unfinished.folder, Context(name, 0, place))
    made = read_artifact(folder / name)
    assert made is not None
    return made


def artifact(folder: Path, kind: str, stage: str) -> Artifact:
    return Artifact(folder, stage, kind, "test", stage, stage, {}, {}, Summary(), {})


def samples(folder: Path, stage: str, answered: list[tuple[str, list[str]]], **more: Any) -> Artifact:
    """Questions in Arabic with answers; one that ends in … was cut off."""
    place = folder / stage
    place.mkdir(parents=True)
    rows = []
    for number, (question, answers) in enumerate(answered):
        given = [{"text": text, "finish_reason": "length" if text.endswith("…") else "stop"} for text in answers]
        prompt = [{"role": "user", "content": question}]
        header = {"id": f"q{number}", "source": "chat", "language": "ar", "epoch": 1, **more}
        rows.append({**header, "prompt": prompt, "answers": given})
    write_lines(place / "samples.jsonl", rows)
    return artifact(place, "samples", stage)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
