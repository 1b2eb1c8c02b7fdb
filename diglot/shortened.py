"""A recipe in short, for `diglot try`: all its stages on a few hundred documents and for two steps, so that mistakes show.

What is cut is how much is read and how long is trained; what stages are told to do with it stays. A new model is a tiny one of
its preset's kind, and one process trains it; a base that is imported stays what it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from diglot.recipe import Recipe
from diglot.recipe.common import Stage, at_step

DOCUMENTS = 300  # of a source of text: some hundred are left after all filters, a few of them held out
CONVERSATIONS = 100  # of a source of instructions or pairs
MADE = 30  # of a source of made instructions
STEPS, ROWS, TOKENS = 2, 2, 512  # of a training: steps, sequences a step, tokens a sequence
VOCABULARY, NEW_TOKENS = 3000, 400  # eighteen languages' letters fit into the first
TINY = {"num_layers": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "num_key_value_heads": 2}
WORLD = {"people": 60, "pairs": 300, "instructions": 200, "preferences": 100, "items": 10}
EVALUATION = {"continuations": 5, "translations": 2, "limit": 4, "max_documents": 4, "max_bytes": 1000}


def in_short(recipe: Recipe, given: Sequence[str] = ()) -> list[str]:
    """The overrides that make a recipe a try.

    Args:
        recipe: with what is given already.
        given: overrides of the user's own, which hold; those of here come beside them.
    """
    own = {override.partition("=")[0].strip() for override in given}
    cut: dict[str, Any] = {"name": f"{recipe.name}-try", "run": None}
    for name, stage in recipe.stages.items():
        cut |= {f"{name}.{key}": value for key, value in _of_stage(stage, recipe)}
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in cut.items() if key not in own]


def _of_stage(stage: Any, recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The settings of a stage's try, by key."""
    for key, value in _SETTINGS.get(stage.do, {}).items():
        now = getattr(stage, key)
        yield key, value if not isinstance(value, int) or now is None else min(now, value)
    most = {"curate": DOCUMENTS, "make-instructions": MADE}.get(stage.do, CONVERSATIONS)
    sources = getattr(stage, "sources", None)
    for source, settings in sources.items() if isinstance(sources, dict) else ():
        if hasattr(settings, "limit"):
            yield f"sources.{source}.limit", min(settings.limit or most, most)
    if stage.do == "world":
        yield "documents", {language: min(number, DOCUMENTS) for language, number in stage.documents.items()}
    if stage.do == "encode":
        for key in ("conversation_tokens", "pair_tokens"):
            yield key, min(getattr(stage, key) or TOKENS, TOKENS)
    if stage.do == "evaluate":
        for task, settings in stage.tasks.items():
            yield f"tasks.{task}.max_new_tokens", min(settings.max_new_tokens, 4)
    if stage.do in ("train", "sweep"):
        yield from _of_training(stage, recipe)
    if any("@" in name for names in stage.reads_from().values() for name in names):
        yield "from", _with_steps_of_a_try(stage, recipe)


def _of_training(stage: Any, recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """A step or more of every phase, on one process, with all that happens at the end of a training."""
    steps = _steps(stage, recipe)
    yield "steps", steps
    for phase in stage.phases:  # by shares as they are some would get no step
        yield f"phases.{phase.name}.share", 1 / len(stage.phases)
        if phase.warmup_steps is not None:
            yield f"phases.{phase.name}.warmup_steps", min(phase.warmup_steps, 1)
    yield "batch_size", ROWS
    yield "micro_batch_size", 1
    yield "sequence_length", min(stage.sequence_length, TOKENS)
    yield "parallel", {}
    yield "compile", False
    yield "evaluate_every", steps
    yield "evaluate_tokens", 500
    yield "checkpoint_every", steps
    if stage.do == "sweep":
        yield "learning_rates", stage.learning_rates[:2]
    elif stage.export_every or stage.exports:
        yield "export_every", 1
        yield "exports", []


def _steps(stage: Any, recipe: Recipe) -> int:
    """Steps of a try: one a phase at least, and as many as a merge of its last models takes."""
    merged = [other.settings().get("last") or 0 for other in recipe.stages.values() if other.do == "merge"]
    kept = stage.do == "train" and (stage.export_every or stage.exports)
    return max(STEPS, len(stage.phases), *(merged if kept else []))


def _with_steps_of_a_try(stage: Stage, recipe: Recipe) -> dict[str, Any]:
    """What a stage reads, with STAGE@STEP as the try has steps: the first of those that were kept is its first, and so on."""

    def renamed(name: str) -> str:
        source, step = at_step(name)
        if step is None or not step.isdecimal():
            return name
        training = recipe.stages[source]
        place = sum(kept <= int(step) for kept in training.kept_steps())
        return f"{source}@{min(max(place, 1), _steps(training, recipe))}"

    found = {role: [renamed(name) for name in names] for role, names in stage.reads_from().items()}
    return {
        role: names[0] if len(names) == 1 and not stage.reads[role].many else names for role, names in found.items()
    }


# Numbers are upper limits, other values are taken as they stand.
_SETTINGS: dict[str, dict[str, Any]] = {
    "world": WORLD,
    "train-classifier": {"documents": 200, "held_out_texts": 20},
    "train-ngram": {"held_out_texts": 20},
    "translate": {"documents": 5},
    "sample": {"limit": 8},
    "self-instruct": {"rounds": 1, "first_prompts": 2, "prompts": 2},
    "train-tokenizer": {"vocabulary_size": VOCABULARY},
    "extend-tokenizer": {"new_tokens": NEW_TOKENS},
    "new-model": {"shape": TINY},
    "evaluate": EVALUATION,
}
