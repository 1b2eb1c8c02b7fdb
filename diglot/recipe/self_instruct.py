"""Settings of the stage that lets a model write instructions (PolyLM 4 and appendix A)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diglot.recipe.align import DECONTAMINATION, EXAMPLE
from diglot.recipe.common import Count, Language, Role, Seed, Share, Stage
from diglot.recipe.endpoint import NEUTRAL, Endpoint
from diglot.recipe.source import Decontamination, decontamination_paths

# PolyLM A.2: ROUGE-L of instruction and input above which a task says everything twice.
INPUT_SIMILARITY, INPUT_SIMILARITY_BY_LANGUAGE = 0.5, {"ar": 0.2, "ko": 0.3, "vi": 0.3}


class SelfInstruct(Stage):
    """Let a model write instructions in other languages, from seed tasks and its own earlier ones (PolyLM 4)."""

    makes: ClassVar[str] = "instructions"
    reads: ClassVar[dict[str, Role]] = {"seeds": Role(("text",), required=False, many=True)}
    function: ClassVar[str] = "diglot.align.self_instruct:run"
    position: ClassVar[int] = 41
    not_in_fingerprint: ClassVar[frozenset[str]] = NEUTRAL
    told: ClassVar[tuple[str, ...]] = ("endpoint.url",)
    extra: ClassVar[str | None] = "align"

    do: Literal["self-instruct"] = "self-instruct"
    endpoint: Endpoint = Field(description="The server whose model writes the tasks.")
    languages: list[Language] = Field(min_length=1, description="Of the tasks.", examples=["[ar, id]"])
    seed_tasks: dict[Language, str] = Field(
        {},
        description="Files of seed tasks by language. In other languages those of translate-seed-tasks (`seeds` in `from`), or ours "
        "(ar, en, id).",
        examples=["{he: my/seeds.he.jsonl}"],
    )
    rounds: Count = Field(10, description="PolyLM 4.2.")
    first_prompts: Count = Field(
        10, description="Prompts of the first round, in which there is no pool yet; PolyLM 4.2."
    )
    prompts: Count = Field(100, description="Prompts of every other round; PolyLM 4.2.")
    seeds_a_prompt: Count = Field(2, description="Seed tasks shown in a prompt, beside one of the pool; PolyLM 4.2.")
    tasks_a_prompt: Count = Field(
        20, description="Tasks in a prompt and its answer together: 17 are asked for; PolyLM 4.2."
    )
    temperature: Annotated[float, Field(ge=0)] = Field(1.0, description="Of sampling; Stanford Alpaca.")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="Of sampling; Stanford Alpaca.")
    max_tokens: Count = Field(3072, description="Tokens of an answer at most; Stanford Alpaca.")
    similarity: Share = Field(
        0.7, description="A task whose instruction's ROUGE-L to one of the pool is as high is dropped; PolyLM 4.2."
    )
    input_similarity: dict[Language, Share] = Field(
        {},
        description="ROUGE-L of instruction and input above which a task is dropped; by language, of those that are to "
        "differ from PolyLM A.2: 0.2 for Arabic, 0.3 for Korean and Vietnamese, 0.5 for others.",
        examples=["{he: 0.3}"],
    )
    language_confidence: Share = Field(0.6, description="Instructions identified as another language are dropped.")
    max_characters: Count = Field(8000, description="Longer tasks are dropped.")
    held_out: Share = Field(0.02, description="Tasks of each language that training leaves out, chosen by the seed.")
    max_held_out: Count = Field(500, description="At most this many held-out tasks a language.")
    decontamination: Decontamination | None = Field(None, description=DECONTAMINATION, examples=EXAMPLE)
    max_cost: Annotated[float, Field(ge=0)] | None = Field(None, description="Stop, with an error, beyond this.")
    max_total_tokens: Count | None = Field(
        None, description="Stop, with an error, beyond so many tokens, prompts' too."
    )
    seed: Seed = 0

    def num_sources(self) -> int:
        """One a language."""
        return len(self.languages)

    def outside_paths(self) -> dict[tuple, str]:
        """The seed tasks, and evaluation sets."""
        seeds: dict[tuple, str] = {("seed_tasks", language): path for language, path in self.seed_tasks.items()}
        return seeds | decontamination_paths(self.decontamination)

    def input_limit(self, language: str) -> float:
        """ROUGE-L of instruction and input above which a task is dropped."""
        found = self.input_similarity.get(language)
        return found if found is not None else INPUT_SIMILARITY_BY_LANGUAGE.get(language, INPUT_SIMILARITY)
