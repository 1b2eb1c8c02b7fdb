"""Settings of the stages that draw a model's answers, judge them, and count refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Language, Name, Role, Seed, Settings, Share, Stage
from diglot.recipe.endpoint import NEUTRAL, Endpoint
from diglot.recipe.source import RawFiles, source_paths

MAX_COST, MAX_TOTAL_TOKENS = (
    "Stop, with an error, beyond this.",
    "Stop, with an error, beyond so many tokens, prompts' too.",
)
SERVER = '{url: "http://127.0.0.1:8000/v1", model: gemma-3-12b}'


class PromptSource(RawFiles):
    """Prompts in JSONL and the like: `prompt` (text or messages), or any of the forms of conversations."""

    path: str | list[str] = Field(
        description="Files, folders, globs or URLs, as of gather-instructions; an answer that stands there is not looked at. "
        "Fields `kind` and `origin` are kept (evaluate-safety).",
        examples=["my/prompts.jsonl"],
    )
    language: Language = Field(
        description="Records that say in a field `language` that they are in another one are left out, and counted."
    )


class Sample(Stage):
    """Draw several answers of a model to each prompt: of a model of this run in process, or of one behind an endpoint."""

    makes: ClassVar[str] = "samples"
    reads: ClassVar[dict[str, Role]] = {
        "model": Role(("model",), required=False),
        "instructions": Role(("instructions",), required=False, many=True),
        "preferences": Role(("preferences",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.answers.sample:run"
    position: ClassVar[int] = 105
    not_in_fingerprint: ClassVar[frozenset[str]] = NEUTRAL
    told: ClassVar[tuple[str, ...]] = ("endpoint.url",)

    do: Literal["sample"] = "sample"
    endpoint: Endpoint | None = Field(
        None, description="The server whose model answers, where `from` names no `model`.", examples=[SERVER]
    )
    sources: dict[Name, PromptSource] = Field(
        {},
        description="Files of prompts, by name, beside those of the artifacts in `from`: conversations up to the last "
        "message of the user.",
        examples=["{mine: {path: my/prompts.jsonl, language: ar}}"],
    )
    part: Literal["train", "heldout"] = Field(
        "train", description="Which part of the artifacts' conversations: train or heldout."
    )
    answers: Count = Field(4, description="Answers a prompt. 2401.10020 (self-rewarding models).")
    temperature: Annotated[float, Field(ge=0)] = Field(0.7, description="Of sampling; 0: the likeliest. 2401.10020.")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="Draw from the likeliest tokens that have so much probability together. 2401.10020."
    )
    max_new_tokens: Count = Field(512, description="Tokens of an answer at most. Ours.")
    limit: Count | None = Field(
        None, description="Prompts a source at most, drawn by the seed; the same ones in every round."
    )
    epochs: Count = Field(1, description="Times through the prompts, each with answers of its own (ALLaM: several).")
    round: Count = Field(
        1, description="Of sampling the same prompts anew: part of the seed of every answer, and of nothing else."
    )
    batch_size: Count = Field(16, description="Answers in memory at a time, of a model in process.")
    max_characters: Count = Field(8000, description="Longer prompts are dropped and counted.")
    max_cost: Annotated[float, Field(ge=0)] | None = Field(None, description=MAX_COST)
    max_total_tokens: Count | None = Field(None, description=MAX_TOTAL_TOKENS)
    seed: Seed = 0

    def impossible(self) -> Iterator[tuple[str, str]]:
        """Nobody to answer, or two; nothing to be answered; the same answer several times."""
        roles = self.from_ if isinstance(self.from_, dict) else {}
        if ("model" in roles) == (self.endpoint is not None):
            yield "endpoint", "give either an endpoint or a `model` in `from`: one of them answers"
        if not self.sources and not {"instructions", "preferences"} & roles.keys():
            yield "sources", "there are no prompts: give sources, or instructions or preferences in `from`"
        if self.temperature == 0 and self.answers * self.epochs > 1:
            yield "temperature", "at 0 all answers to a prompt are the same; set answers: 1, or a temperature"
        if self.endpoint is None and (self.max_cost is not None or self.max_total_tokens is not None):
            yield (
                "max_cost" if self.max_cost is not None else "max_total_tokens",
                "would do nothing without an endpoint",
            )

    def outside_paths(self) -> dict[tuple, str]:
        """The files of prompts."""
        return source_paths(self.model_copy(update={"from_": {}}))


class Rules(Settings):
    """What answers are held to where rules judge them; the more of them an answer keeps, the better it is."""

    language: bool = Field(True, description="It is in the language of the question.")
    ended: bool = Field(True, description="It ended by itself: max_new_tokens did not cut it off.")
    max_repetition: Share | None = Field(
        0.15,
        description="Share of its letters that stand in sequences of five words which occur twice. Gopher's limit (2112.11446, "
        "table A1); null: no limit.",
    )
    min_characters: Count = Field(1, description="It is as long.")
    max_characters: Count | None = Field(None, description="It is no longer.")
    format: str | None = Field(
        None, description="A regular expression of Python's which the whole answer matches.", examples=[r'"\\{.*\\}"']
    )
    own_turn: bool = Field(
        True, description="It holds no mark of a conversation (`User:`, `<|im_start|>`, …): it speaks for itself alone."
    )


class Judge(Stage):
    """Rank answers to the same prompts by a judge, a reward model or rules, and write preference pairs."""

    makes: ClassVar[str] = "preferences"
    reads: ClassVar[dict[str, Role]] = {"samples": Role(("samples",), many=True)}
    function: ClassVar[str] = "diglot.answers.judge:run"
    position: ClassVar[int] = 106
    not_in_fingerprint: ClassVar[frozenset[str]] = NEUTRAL
    told: ClassVar[tuple[str, ...]] = ("endpoint.url",)

    do: Literal["judge"] = "judge"
    endpoint: Endpoint | None = Field(
        None,
        description="A model as the judge, asked for every two answers in both orders; what it does not say twice is a tie.",
        examples=[SERVER],
    )
    reward_model: str | None = Field(
        None,
        description="A folder with a reward model: a sequence classifier with one label (safetensors) and a chat template.",
        examples=["models/reward"],
    )
    rules: Rules | None = Field(None, description="Rules instead; `rules: {}` for all of them.", examples=["{}"])
    rubric: str = Field(
        "helpful",
        description="endpoint: what counts: helpful, correct or language, or words of your own (diglot/endpoint/judging.yaml).",
    )
    max_tokens: Count = Field(2048, description="endpoint: tokens of a verdict at most. FastChat's llm_judge.")
    pairs: Literal["best_and_worst", "all"] = Field(
        "best_and_worst",
        description="best_and_worst: a pair a prompt (2401.10020); all: every two answers of which one is better.",
    )
    min_margin: Annotated[float, Field(ge=0)] = Field(
        0.0, description="reward_model: answers whose rewards are no further apart are a tie."
    )
    held_out: Share = Field(
        0.1,
        description="Share of the prompts kept out of training, drawn by the seed: the same ones whatever the answers, so in "
        "all rounds.",
    )
    max_held_out: Count = Field(500, description="At most this many held-out pairs a source.")
    max_characters: Count = Field(8000, description="Pairs with a longer conversation are dropped and counted.")
    batch_size: Count = Field(8, description="reward_model: conversations in memory at a time.")
    max_cost: Annotated[float, Field(ge=0)] | None = Field(None, description=MAX_COST)
    max_total_tokens: Count | None = Field(None, description=MAX_TOTAL_TOKENS)
    seed: Seed = 0

    def impossible(self) -> Iterator[tuple[str, str]]:
        """No judge, or several; a pattern that is none."""
        given = [name for name in ("endpoint", "reward_model", "rules") if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none of them"
            yield "endpoint", f"one of endpoint, reward_model and rules judges; there is {said}"
        if self.rules and self.rules.format is not None:
            try:
                re.compile(self.rules.format)
            except re.error as error:
                yield "rules.format", f"is no regular expression: {error}"

    def outside_paths(self) -> dict[tuple, str]:
        """The reward model."""
        return {("reward_model",): self.reward_model} if self.reward_model else {}


class EvaluateSafety(Stage):
    """Let a judge say of answers to harmful and harmless prompts whether they refuse or comply."""

    makes: ClassVar[str] = "safety"
    reads: ClassVar[dict[str, Role]] = {"samples": Role(("samples",), many=True)}
    function: ClassVar[str] = "diglot.answers.safety:run"
    position: ClassVar[int] = 111
    not_in_fingerprint: ClassVar[frozenset[str]] = NEUTRAL
    told: ClassVar[tuple[str, ...]] = ("endpoint.url",)

    do: Literal["evaluate-safety"] = "evaluate-safety"
    endpoint: Endpoint = Field(description="The server whose model judges.")
    rubric: str = Field(
        "safety", description="What refused, complied and unclear mean: ours, or words of your own that say it."
    )
    max_tokens: Count = Field(2048, description="Tokens of a verdict at most. FastChat's llm_judge.")
    max_cost: Annotated[float, Field(ge=0)] | None = Field(None, description=MAX_COST)
    max_total_tokens: Count | None = Field(None, description=MAX_TOTAL_TOKENS)
