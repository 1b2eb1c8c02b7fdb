"""Settings of evaluation and report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from diglot.recipe.common import Count, Language, Name, Role, Seed, Settings, Stage
from diglot.recipe.train import EVALUATION_SHARE, FORWARD_PASSES, Training

# Of text, for the time that it takes: between English (4.5) and what a tokenizer has not learnt (1 to 2).
BYTES_A_TOKEN = 3
FEWEST_BYTES, MAX_BYTES, MOST_BYTES = 2**14, 2**17, 2**19


class Task(Settings):
    """Test items, in JSONL or here: `{prompt, choices, answer}` or `{prompt, reference}`."""

    path: str | None = Field(
        None, description="A JSONL file; relative to the artifact in `from: {items: …}` where there is one."
    )
    items: list[dict[str, Any]] | None = Field(
        None,
        min_length=1,
        description="Instead of `path`, the items themselves.",
        examples=["[{prompt: The capital of Egypt is, choices: [Cairo, Rome], answer: 0}]"],
    )
    language: Language = Field(description="What the items are in.")
    kind: Literal["choice", "generation"] = Field(
        "choice", description="choice: the likeliest of `choices`; generation: an answer compared with `reference`."
    )
    prompt: str = Field("{prompt}", description="Template around the item's prompt; \\n is a new line.")
    scoring: Literal["sum", "character", "byte", "token"] = Field(
        "sum",
        description="What the choices are ranked by: their log-likelihood, or that divided by their length; all four are kept.",
    )
    metric: Literal["chrf", "bleu", "f1", "rouge", "exact_match"] = Field(
        "chrf",
        description="The headline of generated answers; rouge is the mean of ROUGE-1, -2 and -L (F), as PolyLM has it.",
    )
    chat: bool = Field(False, description="Put the prompt into the chat template, as a user's message.")
    system: str | None = Field(None, description="A system message, or what stands before everything.")
    shots: int = Field(0, ge=0, description="Examples before the item, drawn for each by the seed.")
    shots_path: str | None = Field(
        None,
        description="A JSONL file (training or development data) that examples are drawn from; absent: the other items.",
    )
    shots_as_turns: bool = Field(
        True, description="With `chat`: each example is an earlier turn; else all are in one message."
    )
    max_new_tokens: Count = Field(64, description="Tokens of a generated answer at most.")

    @model_validator(mode="after")
    def _one_place_of_items(self) -> Task:
        if (self.path is None) == (self.items is None):
            raise ValueError("give either path or items")
        return self


class Benchmarks(Settings):
    """Benchmarks of the papers on files of yours (docs/evaluation.md lists them)."""

    path: str = Field(description="The folder that holds their data.")
    names: list[str] = Field(
        min_length=1, description="Benchmarks, or one language of one.", examples=["[xnli, xcopa-id, mmlu-ar]"]
    )
    file: str | None = Field(None, description="A YAML of yours with more benchmarks, in the form of ours.")
    trained: list[Language] = Field(
        [], description="Languages that the model was trained in: tables give their average and that of all others."
    )
    shots: int | None = Field(None, ge=0, description="Examples before each item; absent: as the paper has it.")
    chat: bool = Field(False, description="Put items into the chat template; answers end with it, not with their line.")
    max_new_tokens: Count | None = Field(
        None, description="Tokens of a written answer at most; absent: 256, as PolyLM has it."
    )


class HarnessTask(Settings):
    """A task or a group of lm-evaluation-harness, and how its items are put; what is absent is as the task has it."""

    task: str = Field(description="Its name, or the path of its YAML.")
    language: Language | None = Field(
        None,
        description="What it is in; absent: what its name or that of its data ends in (`xnli_ar`), if that is a code.",
    )
    shots: int | None = Field(None, ge=0, description="Examples before the item (the harness's num_fewshot).")
    chat: bool = Field(False, description="Put items into the chat template.")
    shots_as_turns: bool = Field(False, description="With `chat`: each example is an earlier turn.")
    system: str | None = Field(None, description="A system message, or what stands before everything.")
    limit: Count | None = Field(None, description="Items at most; absent: the stage's `limit`.")


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
    version: ClassVar[int] = 8
    extra: ClassVar[str | None] = "evaluate"

    do: Literal["evaluate"] = "evaluate"
    tasks: dict[Name, Task] = Field(
        {},
        description="Test items of yours, by name.",
        examples=[
            "{facts: {path: my/facts.jsonl, language: ar, shots: 4}, questions: {path: my/qa.jsonl, language: ar, kind: generation}}"
        ],
    )
    benchmarks: Benchmarks | None = Field(
        None,
        description="XNLI, XCOPA, PAWS-X, XWinograd, TyDiQA, MTG, WMT20, Arabic exams and others.",
        examples=["{path: my/eval, names: [xnli, xcopa], trained: [en, ar]}"],
    )
    lm_eval_tasks: list[str | HarnessTask] = Field(
        [],
        description="Tasks and groups of lm-evaluation-harness, by name.",
        examples=["[hellaswag, {task: arabicmmlu, shots: 5, chat: true}]"],
    )
    include_path: str | None = Field(
        None, description="A folder with tasks of yours in the harness's YAML; they win over those of the same name."
    )
    continuations: int = Field(
        0, ge=0, description="Make this many choice items a language from held-out text: which words come next?"
    )
    translations: int = Field(0, ge=0, description="Make this many translation items a direction from held-out pairs.")
    retrieval: int = Field(
        0,
        ge=0,
        description="Look for the translations of this many held-out pairs of two languages by hidden states, layer by layer "
        "(docs/indicators.md).",
        examples=["200"],
    )
    limit: Count | None = Field(None, description="Items a task at most.")
    batch_size: Count = Field(64, description="Sequences in memory at a time.")
    batch_tokens: Count = Field(
        4096, description="Tokens that are scored at a time, padding included; one longer sequence is scored alone."
    )
    max_documents: Count = Field(
        200, description="Held-out documents a source for bits per byte, and for items made of them."
    )
    max_bytes: Count | None = Field(
        None,
        description="Held-out text a source, in bytes: documents for bits per byte, of which one of more than a twentieth is "
        "cut, and pairs (50 at least). If absent as many as keep this part of a recipe's evaluations within 5% of its "
        "trainings' time, from 16 KiB to 512 KiB, the same for all of them; 128 KiB where there is no training.",
    )
    document_start: str | None = Field(
        None,
        description="The token before held-out documents, where `encode` was told one; else found as there.",
        examples=["<|endoftext|>"],
    )
    seed: Seed = 0

    def settled(self, stages: Mapping[str, Stage]) -> Evaluate:
        """With `max_bytes` that follow from the recipe's trainings: a power of two, so that it seldom changes."""
        if self.max_bytes is not None:
            return self
        trained = sum(stage.num_runs * stage.tokens for stage in stages.values() if isinstance(stage, Training))
        sources = sum(stage._num_measured(stages) for stage in stages.values() if isinstance(stage, Evaluate))
        if not trained or not sources:
            return self.model_copy(update={"max_bytes": MAX_BYTES})
        each = EVALUATION_SHARE * FORWARD_PASSES * BYTES_A_TOKEN * trained / sources
        size = 2 ** int(math.log2(max(each, 1)))
        return self.model_copy(update={"max_bytes": min(max(size, FEWEST_BYTES), MOST_BYTES)})

    def _num_measured(self, stages: Mapping[str, Stage]) -> int:
        """Sources of the corpora and pairs that are measured."""
        roles = self.from_ if isinstance(self.from_, dict) else {}
        given = [roles.get(role, []) for role in ("corpus", "preferences")]
        read = [stages.get(name) for names in given for name in ([names] if isinstance(names, str) else names)]
        return sum(stage.num_sources() for stage in read if stage)

    def outside_paths(self) -> dict[tuple, str]:
        """The tasks' files, where the items come from outside."""
        inside = isinstance(self.from_, dict) and "items" in self.from_
        named = [
            ("tasks", name, key, getattr(task, key))
            for name, task in self.tasks.items()
            for key in ("path", "shots_path")
        ]
        paths = {(*where, key): path for *where, key, path in named if path is not None}
        outside: dict[tuple, str] = {k: path for k, path in paths.items() if not inside or path.startswith(("/", "~"))}
        if self.include_path:
            outside[("include_path",)] = self.include_path
        if self.benchmarks:
            outside[("benchmarks", "path")] = self.benchmarks.path
            if self.benchmarks.file:
                outside[("benchmarks", "file")] = self.benchmarks.file
        return outside
