"""Settings of the stages that make and curate text."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from diglot.recipe.common import Count, Language, Name, Role, Settings, Share, Stage


class Source(Settings):
    """Raw data with a language and a domain. Paths may be files, folders, globs, or URLs (`hf://…`, `s3://…`)."""

    path: str | list[str] = Field(
        description="JSONL (.gz, .zst), Parquet, text, HTML or WARC/WET: files, folders, globs or URLs; relative to the working "
        "folder, or to the artifact in `from` where the stage has one."
    )
    language: Language | None = Field(
        None, description="What the texts are in; documents in another language are dropped and counted."
    )
    languages: list[Language] | None = Field(
        None,
        description="Instead of `language`: documents are sorted by the language they are identified as, into sources "
        "called NAME-LANGUAGE; those in none of these are dropped and counted.",
    )
    domain: str = Field("web", description="web, books, wiki, news, science, code, math, parallel, …")
    origin: Literal["natural", "translated"] = "natural"
    text: str | None = Field(
        None,
        description="The field that holds the text: `text`, or `src` for parallel data; `translation.en` is one "
        "within another.",
    )
    html: bool = Field(False, description="The text is an HTML page: take its main text.")
    url: str = Field("url", description="The field that holds the document's address, if any.")
    target_language: Language | None = Field(
        None, description="Parallel data: the records are pairs, written out as bilingual documents."
    )
    target_text: str = Field(
        "tgt", description="Parallel data: the field that holds the text in target_language."
    )
    limit: Count | None = Field(None, description="Read at most this many records.")
    language_confidence: Share | None = Field(
        None,
        description="A cut-off of this source's own; 0 takes all its texts, as bilingual documents need.",
    )

    @model_validator(mode="after")
    def _one_language_or_several(self) -> Source:
        if (self.language is None) == (not self.languages):
            raise ValueError("give either language or languages")
        if self.languages and self.target_language:
            raise ValueError("parallel data have one language and one target_language, not languages")
        return self


def source_paths(stage: Any) -> dict[tuple, str]:
    """The paths of a stage's sources; with `from` they lie inside an artifact, unless absolute or URLs."""
    given: dict[tuple, str] = {}
    for name, source in stage.sources.items():
        for key in ("path", "held_out_path"):
            paths = getattr(source, key, None) or []
            if isinstance(paths, str):
                given[("sources", name, key)] = paths
            else:
                given.update({("sources", name, key, index): path for index, path in enumerate(paths)})
    return {
        key: path
        for key, path in given.items()
        if not stage.from_ or path.startswith(("/", "~")) or "://" in path
    }


class World(Stage):
    """Generate a small invented world, with known truth, in English, Arabic and Indonesian."""

    makes: ClassVar[str] = "text"
    function: ClassVar[str] = "diglot.world.generate:run"

    do: Literal["world"] = "world"
    seed: int = 0
    languages: list[Literal["en", "ar", "id"]] = Field(
        ["en", "ar"], description="The first is the base language."
    )
    people: Count = 400
    documents: dict[str, Count] = Field({"en": 12000, "ar": 12000}, description="Documents by language.")
    pairs: int = Field(
        12000, ge=0, description="Parallel sentences by pair of languages (base language, other)."
    )
    instructions: int = Field(4000, ge=0, description="Instructions by language.")
    preferences: int = Field(1500, ge=0, description="Preference pairs by language.")
    items: int = Field(200, ge=0, description="Test items by task and language.")
    faults: Share = Field(0.15, description="Share of documents with a labelled fault.")


def _known_rule(name: str) -> str:
    from diglot.corpus.catalogue import rule_names

    names = rule_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; docs/corpus.md lists them all"
        raise ValueError(f"there is no rule {name!r}{hint}")
    return name


RuleName = Annotated[str, AfterValidator(_known_rule)]
Limits = dict[RuleName, float | None]


def _is_file(rule_set: str) -> bool:
    return "/" in rule_set or rule_set.endswith((".yaml", ".yml"))


class Rules(Settings):
    """Thresholds on signals; a document outside any of them is dropped, counted under the rule's name.

    A rule is called `min_` or `max_` and its signal. Limits given here change those of the set; null switches a rule
    off.
    """

    set: str = Field(
        "polylm",
        description="polylm, allam-english, gopher, c4, fineweb2-like, none, or the path of a rule set's YAML file.",
    )
    limits: Limits = Field(
        {}, description="Limits for all languages, by rule, such as {min_words: 30, max_urls: null}."
    )
    languages: dict[Language, Limits] = Field({}, description="Limits for one language each; they come last.")


class Deduplication(Settings):
    """Exact, URL and MinHash deduplication of documents, and of lines and paragraphs, over the whole corpus."""

    exact: bool = True
    url: bool = Field(True, description="Of documents with the same address the first stays.")
    minhash: bool = True
    permutations: Count = Field(128, description="ALLaM, filtering slide.")
    bands: Count = Field(14, description="ALLaM: 14 × 9 for a nominal Jaccard of 0.7.")
    rows: Count = Field(9, description="ALLaM, filtering slide.")
    shingle: Count = Field(5, description="Words in a shingle (13 characters in Chinese, Japanese and Thai).")
    verify: Share = Field(
        0.5,
        description="A document is dropped only if its Jaccard similarity to the one kept is at least this.",
    )
    across: Literal["language", "corpus"] = Field(
        "language", description="Compare documents of the same language only, or all."
    )
    lines: Count | None = Field(
        None, description="Lines found in more documents than this are taken out of all but the first."
    )
    paragraphs: Count | None = Field(None, description="The same for paragraphs, between blank lines.")

    @model_validator(mode="after")
    def _bands_fit(self) -> Deduplication:
        if self.bands * self.rows > self.permutations:
            raise ValueError(
                f"bands × rows is {self.bands * self.rows}, more than the {self.permutations} permutations; "
                "raise permutations or lower one of them"
            )
        return self


class Decontamination(Settings):
    """Drop documents that share word n-grams with evaluation sets."""

    path: str | list[str] = Field(
        description="Evaluation sets, in any format that a source may have: all text fields of all records."
    )
    fields: list[str] | None = Field(None, description="These fields only.")
    ngram: Count = Field(
        13, description="Words in a row (GPT-3, appendix C); shorter items are matched whole."
    )


class Curate(Stage):
    """Read raw text, identify its language, correct, filter and deduplicate it, and keep a ledger that balances."""

    makes: ClassVar[str] = "corpus"
    reads: ClassVar[dict[str, Role]] = {
        "text": Role(("text",), required=False),
        "quality": Role(("quality",), required=False, many=True),
        "rules": Role(("rules",), required=False),
    }
    main_role: ClassVar[str | None] = "text"
    function: ClassVar[str] = "diglot.corpus.curate:run"
    version: ClassVar[int] = 2
    neutral: ClassVar[frozenset[str]] = frozenset({"engine"})

    do: Literal["curate"] = "curate"
    sources: dict[Name, Source] = Field(
        description="What to read, by name.", examples=["{web: {path: crawl/*.jsonl.zst, language: ar}}"]
    )
    language_confidence: Share = Field(
        0.6,
        description="ccnet_language_score; ALLaM, filtering slide. 0 switches language identification off.",
    )
    language_confidence_of: dict[Language, Share] = Field(
        {}, description="Other cut-offs, by language: FineWeb2 has 0.711 for Arabic, 0.900 for Thai."
    )
    language_model: str | None = Field(
        None, description="A fastText model (lid.176, GlotLID) instead of the built-in one."
    )
    corrections: bool = Field(
        True, description="Line-wise corrections of PolyLM 3.1: whitespace, URLs, long words."
    )
    rules: Rules = Rules()
    banned_words: str | None = Field(
        None,
        description="Lists for the signal banned_words: a JSONL file with lang and words, or a folder with a file a language "
        "(LDNOOBW).",
    )
    deduplication: Deduplication = Deduplication()
    decontamination: Decontamination | None = Field(
        None,
        description="Drop documents with text of evaluation sets: {path: [eval/xquad], fields: [context]}.",
    )
    held_out: Share = Field(0.02, description="Share of documents kept out of training, for bits per byte.")
    max_held_out: Count = Field(500, description="At most this many held-out documents a source.")
    max_record_bytes: Count = Field(
        20_000_000, description="Longer records are counted as oversized and dropped."
    )
    engine: Literal["threads", "ray"] = Field(
        "threads", description="threads: this machine; ray: the cluster that RAY_ADDRESS names. Same result."
    )
    seed: int = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths, and those of models, rule sets and evaluation sets."""
        paths = source_paths(self)
        if self.language_model:
            paths[("language_model",)] = self.language_model
        if self.banned_words:
            paths[("banned_words",)] = self.banned_words
        if _is_file(self.rules.set):
            paths[("rules", "set")] = self.rules.set
        if self.decontamination:
            given = self.decontamination.path
            for place, path in enumerate([given] if isinstance(given, str) else given):
                paths[("decontamination", "path", place)] = path
        return paths


class LearnRules(Stage):
    """Learn a rule set's thresholds from trusted text: for each language, the quantiles of its signals."""

    makes: ClassVar[str] = "rules"
    reads: ClassVar[dict[str, Role]] = {"corpus": Role(("corpus",), many=True)}
    function: ClassVar[str] = "diglot.corpus.rules:learn"

    do: Literal["learn-rules"] = "learn-rules"
    set: str = Field("polylm", description="The set whose rules are given new limits.")
    quantile: Share = Field(0.01, description="Share of the trusted documents that each rule may cost.")
    min_documents: Count = Field(100, description="Languages with fewer keep the set's limits.")

    def outside_paths(self) -> dict[tuple, str]:
        """The rule set's file, where it is one of the user's."""
        return {("set",): self.set} if _is_file(self.set) else {}


# --- quality --------------------------------------------------------------------------------------------------


class TrainNgram(Stage):
    """Train an n-gram language model for each language of trusted text: the signals perplexity and perplexity_rank."""

    makes: ClassVar[str] = "quality"
    reads: ClassVar[dict[str, Role]] = {
        "corpus": Role(("corpus",), many=True),
        "negatives": Role(("corpus",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.corpus.quality.ngram:run"

    do: Literal["train-ngram"] = "train-ngram"
    order: int = Field(5, ge=2, le=6, description="CCNet has 5.")
    unit: Literal["word", "character"] = Field(
        "word", description="Characters are used in any case without spaces."
    )
    prune: int = Field(
        0, ge=0, description="N-grams above bigrams that occur at most this often are left out."
    )
    memory: Count = Field(2_000_000_000, description="Bytes to sort in; counts beyond go to disk.")
    languages: list[Language] | None = None
    held_out_texts: Count = Field(500, description="Documents a language to measure on.")
    arpa: bool = Field(True, description="Write each model in ARPA's form too, for KenLM and others.")
    models: dict[Language, str] = Field(
        {}, description="Models in ARPA's form to take instead of training one, by language."
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
    function: ClassVar[str] = "diglot.corpus.quality.classifier:run"
    extra: ClassVar[str | None] = "quality"

    do: Literal["train-classifier"] = "train-classifier"
    languages: list[Language] | None = None
    word_ngrams: Count = Field(2, description="PolyLM 3.1, step 3.")
    dimension: Count = 16
    buckets: Count = 200_000
    epochs: Count = 5
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        0.5,
        description="fastText's 0.1 learns little from few documents: AUC 0.56 of shuffled words, 580 in Indonesian, against "
        "0.90.",
    )
    documents: Count = Field(20_000, description="Of each side and language at most.")
    held_out_texts: Count = Field(500, description="Documents of each side and language to measure on.")
    seed: int = 0


# --- translation ----------------------------------------------------------------------------------------------


class Endpoint(Settings):
    """An OpenAI-compatible model server."""

    url: str = Field(description="Its base address, such as http://127.0.0.1:8000/v1.")
    model: str
    key_variable: str = Field(
        "OPENAI_API_KEY", description="The environment variable that holds the key, if any."
    )
    price_in: Annotated[float, Field(ge=0)] = Field(0.0, description="Cost of a million prompt tokens.")
    price_out: Annotated[float, Field(ge=0)] = Field(0.0, description="Cost of a million completion tokens.")
    concurrency: Count = Field(8, description="Requests at a time.")
    timeout: Annotated[float, Field(gt=0)] = Field(120.0, description="Seconds to wait for an answer.")
    retries: int = Field(5, ge=0, description="Tries after a failure, ever more seconds apart.")


class Translate(Stage):
    """Translate a corpus, paragraph by paragraph, through an endpoint (ALLaM: half of its Arabic is translated)."""

    makes: ClassVar[str] = "text"
    reads: ClassVar[dict[str, Role]] = {"corpus": Role(("corpus",))}
    function: ClassVar[str] = "diglot.corpus.translation.translate:run"
    neutral: ClassVar[frozenset[str]] = frozenset(
        {"max_cost"}
        | {f"endpoint.{name}" for name in ("url", "key_variable", "price_in", "price_out", "concurrency")}
        | {"endpoint.timeout", "endpoint.retries"}
    )
    extra: ClassVar[str | None] = "translate"

    do: Literal["translate"] = "translate"
    endpoint: Endpoint
    target_language: Language
    sources: list[Name] | None = Field(None, description="Translate these sources of the corpus only.")
    documents: Count | None = Field(None, description="At most this many of each source.")
    prompt: str = Field(
        "Translate this text from {source_language} to {target_language}. Answer with the translation only.\n\n{text}",
        description="With {source_language}, {target_language} and {text}.",
    )
    max_characters: Count = Field(2000, description="Longer paragraphs are cut at the ends of sentences.")
    max_tokens: Count = Field(2048, description="Tokens of an answer at most.")
    temperature: Annotated[float, Field(ge=0)] = 0.0
    language_confidence: Share = Field(0.6, description="Answers identified as another language are dropped.")
    max_cost: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Stop, with an error, beyond this."
    )


class MakeParallel(Stage):
    """Build parallel documents from sentence pairs, to train on as text (PolyLM 3.1; ALLaM: parallel data)."""

    makes: ClassVar[str] = "text"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.corpus.translation.pairs:run"

    do: Literal["make-parallel"] = "make-parallel"
    sources: dict[Name, Source] = Field(
        description="Pairs: `language`, `target_language`, and the two text fields."
    )
    group: str | None = Field(
        "doc", description="The field by which pairs belong to a document; unknown ones: alone."
    )
    characters: Count = Field(2000, description="Pairs are joined up to about this length of a document.")
    form: Literal["lines", "blocks", "mixed"] = Field(
        "mixed",
        description="Sentence by sentence, or all of one language and then the other; mixed: half of each.",
    )
    seed: int = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return source_paths(self)
