"""Generating a small world and reading its files, for the tests of the package."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diglot.base.artifact import Context
from diglot.base.summaries.text import WorldSummary
from diglot.recipe.world import World as WorldSettings
from diglot.world.facts import World, make_world
from diglot.world.generate import run

SETTINGS: dict[str, Any] = {
    "seed": 5,
    "languages": ["en", "ar", "id"],
    "people": 150,
    "documents": {"en": 900, "ar": 900, "id": 600},
    "pairs": 1500,
    "instructions": 600,
    "preferences": 300,
    "items": 200,
    "faults": 0.15,
}


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


@dataclass
class Generated:
    """What `run` wrote and returned, and the world it is about."""

    folder: Path
    summary: WorldSummary
    world: World

    def records(self, name: str) -> list[dict[str, Any]]:
        return read(self.folder / f"{name}.jsonl")

    def items(self, task: str) -> list[dict[str, Any]]:
        return self.records(f"tasks/{task}")

    def split(self, name: str, part: str) -> list[dict[str, Any]]:
        """Instructions or preferences of every language, those to train on or those held out."""
        files = sorted((self.folder / name).glob(f"{part}.*.jsonl"))
        return [record for file in files for record in read(file)]

    def training(self, language: str) -> str:
        """Every training text of a language, joined."""
        parts = [record["text"] for record in self.records(f"text/{language}")]
        for file in sorted((self.folder / "parallel").iterdir()):
            for record in read(file):
                for side, code in (("src", "src_lang"), ("tgt", "tgt_lang")):
                    if record[code] == language:
                        parts.append(record[side])
        for record in self.split("instructions", "train"):
            parts += [message["content"] for message in record["messages"]]
        for record in self.split("preferences", "train"):
            parts += [message["content"] for key in ("prompt", "chosen", "rejected") for message in record[key]]
        return "\n".join(parts)


def generate(folder: Path, **changes: Any) -> Generated:
    """Runs the stage with changed settings."""
    settings = WorldSettings(**{**SETTINGS, **changes})
    folder.mkdir(exist_ok=True)
    summary = run(settings, None, folder, Context(name="world", seed=0, scratch=folder))
    return Generated(folder, summary, make_world(settings.seed, settings.languages, settings.people))
