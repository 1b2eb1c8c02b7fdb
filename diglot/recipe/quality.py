"""Settings of the stages that train quality models."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Language, Role, Seed, Stage


class TrainNgram(Stage):
    """Train an n-gram language model for each language of reference text: the signals perplexity and perplexity_rank."""

    makes: ClassVar[str] = "quality"
    reads: ClassVar[dict[str, Role]] = {
        "corpus": Role(("corpus",), many=True),
        "negatives": Role(("corpus",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.quality.ngram:run"
    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset({"memory"})
    position: ClassVar[int] = 22
    version: ClassVar[int] = 3

    do: Literal["train-ngram"] = "train-ngram"
    order: int = Field(5, ge=2, le=6, description="CCNet has 5.")
    unit: Literal["word", "character"] = Field("word", description="Characters are used in any case without spaces.")
    prune: int = Field(0, ge=0, description="N-grams above bigrams that occur at most this often are left out.")
    memory: Count = Field(2_000_000_000, description="Bytes to sort in; counts beyond go to disk.")
    languages: list[Language] | None = Field(
        None, description="These languages only; all of the corpus if absent.", examples=["[ar, id]"]
    )
    held_out_texts: Count = Field(500, description="Documents a language to measure on.")
    arpa: bool = Field(True, description="Write each model in ARPA's form too, for KenLM and others.")
    models: dict[Language, str] = Field(
        {},
        description="Models in ARPA's form to take instead of training one, by language.",
        examples=["{ar: models/ar.arpa}"],
    )

    def outside_paths(self) -> dict[tuple, str]:
        """The models that are not trained."""
        return {("models", language): path for language, path in self.models.items()}


class TrainClassifier(Stage):
    """Train a fastText classifier of good text against bad: the signal quality (PolyLM 3.1, step 3: 2-grams)."""

    makes: ClassVar[str] = "quality"
    reads: ClassVar[dict[str, Role]] = {
        "corpus": Role(("corpus",), many=True),
        "negatives": Role(("corpus",), many=True),
    }
    function: ClassVar[str] = "diglot.quality.classifier:run"
    position: ClassVar[int] = 23
    version: ClassVar[int] = 3
    extra: ClassVar[str | None] = "quality"

    do: Literal["train-classifier"] = "train-classifier"
    languages: list[Language] | None = Field(
        None, description="These languages only; all of the corpus if absent.", examples=["[ar, id]"]
    )
    word_ngrams: Count = Field(2, description="PolyLM 3.1, step 3.")
    dimension: Count = Field(16, description="Of the vectors; fastText has 100.")
    buckets: Count = Field(
        200_000, description="Vectors that word n-grams share by their hash; fastText has 2,000,000."
    )
    epochs: Count = Field(5, description="Times the texts are read; fastText.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        0.5,
        description="fastText's 0.1 learns little from few documents: AUC 0.56 of shuffled words, 580 in Indonesian, against "
        "0.90.",
    )
    documents: Count = Field(20_000, description="Of each side and language at most.")
    held_out_texts: Count = Field(500, description="Documents of each side and language to measure on.")
    seed: Seed = 0
