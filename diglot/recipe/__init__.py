"""The recipe: one YAML file that describes the whole pipeline, checked strictly before anything runs.

    name: my-model
    seed: 1
    stages:
      corpus:    {do: curate, sources: {english: {path: "text/en/*.jsonl", language: en}}}
      tokenizer: {do: train-tokenizer, from: {corpus: corpus}, vocabulary_size: 4000}

Every kind of stage is one class in a file of this folder, called like the folder that does the work. Its fields are
the stage's settings (in recipes, in the JSON Schema for editors, and as options of the stage's own command); its class
variables say which artifacts it reads, which it makes, and which function does the work. A new kind is such a class
and its function: the files of this folder are found, and nothing else lists them.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field, model_validator

from diglot.recipe.common import REGISTRY, Name, Settings, Stage


def _discover() -> dict[str, type[Stage]]:
    """All kinds of stages by name, in the order of the pipeline."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(REGISTRY.items(), key=lambda item: (item[1].position, item[0])))


STAGES = _discover()

if TYPE_CHECKING:
    AnyStage = Stage
else:
    AnyStage = Annotated[Union[tuple(STAGES.values())], Field(discriminator="do")]


class Recipe(Settings):
    """A whole recipe."""

    name: Name = Field(description="Of the recipe; its run folder is runs/<name>.")
    description: str = Field("", description="What it is for, in a sentence; the report begins with it.")
    seed: int = Field(0, description="Every stage derives its streams of randomness from this and its own seed.")
    run: str | None = Field(None, description="The run folder; runs/<name> if absent.")
    stages: dict[Name, AnyStage] = Field(
        min_length=1,
        max_length=500,  # what reads them goes from one to the next by recursion
        description="What is done, by name: each stage makes an artifact, a folder of this name in the run folder.",
        examples=["{corpus: {do: curate, sources: {english: {path: texts, language: en}}}}"],
    )

    @model_validator(mode="after")
    def _settle(self) -> Recipe:
        self.stages.update({name: stage.settled(self.stages) for name, stage in self.stages.items()})
        return self


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema(by_alias=True)}
    for settings in schema["$defs"].values():
        # An editor shows what a kind of stage is for where its name is written, and tells kinds apart by that name.
        if "const" in (kind := settings.get("properties", {}).get("do", {})):
            kind["description"] = " ".join(settings["description"].split("\n\n")[0].split())
            settings["required"] = ["do", *settings.get("required", [])]
    return schema
