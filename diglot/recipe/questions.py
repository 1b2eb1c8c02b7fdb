"""Settings of the stages that put questions of several turns to models and let a judge score the answers (MT-bench)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Language, Name, Role, Stage
from diglot.recipe.endpoint import NEUTRAL, Endpoint

# FastChat's llm_judge (common.py, temperature_config); other categories: 0.7.
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0}
TEMPERATURES |= {"stem": 0.1, "humanities": 0.1}
OTHER_TEMPERATURE = 0.7
WITH_REFERENCE = ("math", "reasoning", "coding")
MAX_COST = "Stop, with an error, beyond this."
MAX_TOTAL_TOKENS = "Stop, with an error, beyond so many tokens, prompts' too."


class AnswerQuestions(Stage):
    """Let a model answer questions of several turns, as MT-bench asks them: each turn after its own earlier answers."""

    makes: ClassVar[str] = "answers"
    function: ClassVar[str] = "diglot.questions.answer:run"
    position: ClassVar[int] = 112
    not_in_fingerprint: ClassVar[frozenset[str]] = NEUTRAL
    told: ClassVar[tuple[str, ...]] = ("endpoint.url",)
    extra: ClassVar[str | None] = "align"

    do: Literal["answer-questions"] = "answer-questions"
    endpoint: Endpoint = Field(
        description="The server whose model answers; `diglot serve` is one for a model of a run."
    )
    questions: dict[Language, str] = Field(
        min_length=1,
        description="Files of questions by language, in MT-bench's form: a JSON object a line with question_id, category, turns, and "
        "reference (an answer a turn) where there is one.",
        examples=["{en: my/question.jsonl, ar: my/question.ar.jsonl}"],
    )
    temperatures: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {},
        description="Of sampling, by category, where it is to differ from FastChat's: 0.7 for writing and roleplay, 0.1 for stem and "
        "humanities, 0 for extraction, math, coding and reasoning, 0.7 for all others.",
        examples=["{poetry: 0.9}"],
    )
    system: str | None = Field(None, description="A system message before each conversation.", examples=["Be brief."])
    max_tokens: Count = Field(1024, description="Tokens of an answer at most; FastChat's llm_judge.")
    limit: Count | None = Field(None, description="Questions a language at most; the first ones.")
    max_cost: Annotated[float, Field(ge=0)] | None = Field(None, description=MAX_COST)
    max_total_tokens: Count | None = Field(None, description=MAX_TOTAL_TOKENS)

    def outside_paths(self) -> dict[tuple, str]:
        """The questions."""
        return {("questions", language): path for language, path in self.questions.items()}

    def temperature(self, category: str) -> float:
        """At which questions of a category are answered."""
        return self.temperatures.get(category, TEMPERATURES.get(category, OTHER_TEMPERATURE))


class JudgeAnswers(Stage):
    """Let a judge score answers from 1 to 10 by turn and language (MT-bench), and compare models in both orders."""

    makes: ClassVar[str] = "judgements"
    reads: ClassVar[dict[str, Role]] = {"answers": Role(("answers",), required=False, many=True)}
    function: ClassVar[str] = "diglot.questions.judge:run"
    position: ClassVar[int] = 113
    not_in_fingerprint: ClassVar[frozenset[str]] = NEUTRAL
    told: ClassVar[tuple[str, ...]] = ("endpoint.url",)
    extra: ClassVar[str | None] = "align"

    do: Literal["judge-answers"] = "judge-answers"
    endpoint: Endpoint = Field(description="The server whose model judges.")
    files: dict[Name, str] = Field(
        {},
        description="Answers of other models, by name: files such as answer-questions writes (answers.jsonl), or as the arena reads.",
        examples=["{peer: out/peer/answers.jsonl}"],
    )
    pairs: Literal["first", "all", "none"] = Field(
        "first",
        description="Which models are compared pair by pair, each pair in both orders: all with the first, every two, or none.",
    )
    reference_categories: list[str] = Field(
        list(WITH_REFERENCE), description="Questions whose reference answers the judge is shown; FastChat's llm_judge."
    )
    score_rubric: str = Field("score", description="What the scores mean: ours, or words of your own.")
    pair_rubric: str = Field(
        "helpful", description="What counts in a pair: a name of ours (helpful, correct, language), or words."
    )
    max_tokens: Count = Field(2048, description="Tokens of a verdict at most; FastChat's llm_judge.")
    votes: str | None = Field(
        None,
        description="People's votes on the same answers (`diglot votes FILE --export votes.jsonl`), to say how far the judge agrees with "
        "them.",
        examples=["my/votes.jsonl"],
    )
    max_cost: Annotated[float, Field(ge=0)] | None = Field(None, description=MAX_COST)
    max_total_tokens: Count | None = Field(None, description=MAX_TOTAL_TOKENS)

    def outside_paths(self) -> dict[tuple, str]:
        """Answers from outside, and votes."""
        paths = {("files", name): path for name, path in self.files.items()}
        return {**paths, ("votes",): self.votes} if self.votes else dict(paths)
