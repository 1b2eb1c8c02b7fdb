"""Settings of evaluation and report."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Language, Name, Role, Seed, Settings, Stage


class Task(Settings):
    """Test items in JSONL: `{prompt, choices, answer}` or `{prompt, reference}`."""

    path: str = Field(description="A JSONL file; relative to the artifact in `from: {items: …}` where there is one.")
    language: Language = Field(description="What the items are in.")
    kind: Literal["choice", "generation"] = Field(
        "choice", description="choice: the likeliest of `choices`; generation: an answer compared with `reference`."
    )
    prompt: str = Field("{prompt}", description="Template around the item's prompt; \\n is a new line.")
    chat: bool = Field(False, description="Put the prompt into the chat template, as a user's message.")
    shots: int = Field(0, ge=0, description="Examples before the item, drawn from the other items by the seed.")
    max_new_tokens: Count = Field(64, description="Tokens of a generated answer at most.")


class Evaluate(Stage):
    """Measure a model: bits per byte by language, choice and generation tasks, preference margins."""

    makes: ClassVar[str] = "scores"
    reads: ClassVar[dict[str, Role]] = {
        "model": Role(("model",)),
        "corpus": Role(("corpus",), required=False, many=True),
        "items": Role(("text",), required=False),
        "preferences": Role(("preferences",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.evaluate.engine:run"
    position: ClassVar[int] = 110
    version: ClassVar[int] = 2
    extra: ClassVar[str | None] = "evaluate"

    do: Literal["evaluate"] = "evaluate"
    tasks: dict[Name, Task] = Field({}, description="Test items of yours, by name.")
    lm_eval_tasks: list[str] = Field([], description="Tasks that come with lm-evaluation-harness, by name.")
    continuations: int = Field(
        0, ge=0, description="Make this many choice items a language from held-out text: which words come next?"
    )
    translations: int = Field(0, ge=0, description="Make this many translation items a direction from held-out pairs.")
    limit: Count | None = Field(None, description="Items a task at most.")
    batch_size: Count = Field(64, description="Sequences in memory at a time.")
    max_documents: Count = Field(200, description="Held-out documents a source for bits per byte.")
    seed: Seed = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The tasks' files, where the items come from outside."""
        inside = isinstance(self.from_, dict) and "items" in self.from_
        paths = {("tasks", name, "path"): task.path for name, task in self.tasks.items()}
        return {key: path for key, path in paths.items() if not inside or path.startswith(("/", "~"))}
