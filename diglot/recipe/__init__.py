"""The recipe: one YAML file that describes the whole road, checked strictly before anything runs.

    name: my-road
    seed: 1
    stages:
      corpus:    {do: curate, sources: {english: {path: "text/en/*.jsonl", language: en}}}
      tokenizer: {do: train-tokenizer, from: {corpus: corpus}, vocabulary_size: 4000}

Every kind of stage is one class in this folder: its fields are the stage's settings (in recipes, in the JSON Schema for
editors, and as options of the stage's own command), and its class variables say which artifacts it reads, which
it makes, and which function does the work. `version` is the code version in the fingerprint: raise it when a
change makes the same settings give another result.
"""

from __future__ import annotations

from typing import Annotated, Any, Union, get_args

from pydantic import Field

from diglot.recipe.align import ChatSource, GatherPreferences, GatherTasks
from diglot.recipe.common import Name, Role, Settings, Stage
from diglot.recipe.curate import Curate, Decontamination, Deduplication, LearnRules, Rules
from diglot.recipe.encode import Encode
from diglot.recipe.evaluate import Evaluate, Task
from diglot.recipe.expand import Expand
from diglot.recipe.merge import Merge
from diglot.recipe.new_model import ImportModel, NewModel, Shape
from diglot.recipe.quality import TrainClassifier, TrainNgram
from diglot.recipe.report import Report
from diglot.recipe.source import Source
from diglot.recipe.tokenizer import ExtendTokenizer, TrainTokenizer
from diglot.recipe.train import Phase, Sweep, Train
from diglot.recipe.translate import Endpoint, MakeParallel, Translate
from diglot.recipe.world import World

__all__ = [
    "STAGES", "ChatSource", "Curate", "Decontamination", "Deduplication", "Encode", "Endpoint", "Evaluate", "Expand",
    "ExtendTokenizer", "GatherPreferences", "GatherTasks", "ImportModel", "LearnRules", "MakeParallel", "Merge",
    "NewModel", "Phase", "Recipe", "Report", "Role", "Rules", "Settings", "Shape", "Source", "Stage", "Sweep", "Task", "Train",
    "TrainClassifier", "TrainNgram", "TrainTokenizer", "Translate", "World", "json_schema",
]  # fmt: skip

AnyStage = Annotated[
    Union[
        World,
        Curate,
        LearnRules,
        TrainNgram,
        TrainClassifier,
        Translate,
        MakeParallel,
        GatherTasks,
        GatherPreferences,
        TrainTokenizer,
        ExtendTokenizer,
        Encode,
        NewModel,
        ImportModel,
        Expand,
        Train,
        Sweep,
        Merge,
        Evaluate,
        Report,
    ],
    Field(discriminator="do"),
]
STAGES: dict[str, type[Stage]] = {kind.model_fields["do"].default: kind for kind in get_args(get_args(AnyStage)[0])}


class Recipe(Settings):
    """A whole recipe."""

    name: Name
    description: str = ""
    seed: int = Field(0, description="Every stage derives its own streams of randomness from this and its name.")
    run: str | None = Field(None, description="The run folder; runs/<name> if absent.")
    stages: dict[Name, AnyStage] = Field(min_length=1)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema(by_alias=True)}
