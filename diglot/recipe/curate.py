"""Settings of the stages that make and curate text."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from diglot.recipe.common import Count, Language, Name, Role, Seed, Settings, Share, Stage
from diglot.recipe.signals import rule_names
from diglot.recipe.source import Decontamination, Source, decontamination_paths, source_paths


def _known_rule(name: str) -> str:
    names = rule_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; docs/corpus.md lists them all"
        raise ValueError(f"there is no rule {name!r}{hint}")
    return name


RULE_SETS = ("allam-english", "c4", "fineweb2-like", "gopher", "none", "polylm")  # those that come with the package

RuleName = Annotated[str, AfterValidator(_known_rule)]
Limits = dict[RuleName, float | None]


def _is_file(rule_set: str) -> bool:
    return "/" in rule_set or rule_set.endswith((".yaml", ".yml"))


def unknown_rule_set(name: str) -> str | None:
    """What is wrong with the name of a rule set; None where it is one, or the path of a file."""
    if name in RULE_SETS or _is_file(name):
        return None
    near = difflib.get_close_matches(name, RULE_SETS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RULE_SETS)}"
    return f"there is no rule set {name!r}; {hint} (a file of your own needs a name that ends in .yaml)"


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
        {},
        description="Limits for all languages, by rule, such as {min_words: 30, max_urls: null}.",
        examples=["{min_words: 30, max_urls: null}"],
    )
    languages: dict[Language, Limits] = Field(
        {}, description="Limits for one language each; they come last.", examples=["{ar: {min_words: 20}}"]
    )


class Deduplication(Settings):
    """Exact, URL and MinHash deduplication of documents, and of lines and paragraphs, over the whole corpus."""

    exact: bool = Field(
        True, description="Of documents with the same words the first stays, whatever the case and punctuation."
    )
    url: bool = Field(True, description="Of documents with the same address the first stays.")
    minhash: bool = Field(True, description="Of documents that are nearly the same the first stays.")
    permutations: Count = Field(128, description="ALLaM, filtering slide.")
    bands: Count = Field(14, description="ALLaM: 14 × 9 for a nominal Jaccard of 0.7.")
    rows: Count = Field(9, description="ALLaM, filtering slide.")
    shingle: Count = Field(5, description="Words in a shingle (13 characters in Chinese, Japanese and Thai).")
    verify: Share = Field(
        0.5, description="A document is dropped only if its Jaccard similarity to the one kept is at least this."
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


class Curate(Stage):
    """Read raw text, identify its language, correct, filter and deduplicate it, and keep a ledger that balances."""

    makes: ClassVar[str] = "corpus"
    reads: ClassVar[dict[str, Role]] = {
        "text": Role(("text",), required=False),
        "quality": Role(("quality",), required=False, many=True),
        "rules": Role(("rules",), required=False),
    }
    main_role: ClassVar[str | None] = "text"
    function: ClassVar[str] = "diglot.curate.stage:run"
    position: ClassVar[int] = 20
    version: ClassVar[int] = 3
    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset({"executor"})
    renamed: ClassVar[dict[str, str]] = {"engine": "executor"}

    do: Literal["curate"] = "curate"
    sources: dict[Name, Source] = Field(
        description="What to read, by name.", examples=["{web: {path: crawl/*.jsonl.zst, language: ar}}"]
    )
    language_confidence: Share = Field(
        0.6, description="ccnet_language_score; ALLaM, filtering slide. 0 switches language identification off."
    )
    language_confidence_of: dict[Language, Share] = Field(
        {},
        description="Other cut-offs, by language: FineWeb2 has 0.711 for Arabic, 0.900 for Thai.",
        examples=["{ar: 0.711, th: 0.9}"],
    )
    language_model: str | None = Field(
        None, description="A fastText model (lid.176, GlotLID) instead of the built-in one."
    )
    corrections: bool = Field(True, description="Line-wise corrections of PolyLM 3.1: whitespace, URLs, long words.")
    rules: Rules = Field(Rules(), description="Limits that documents must keep.")
    banned_words: str | None = Field(
        None,
        description="Lists for the signal banned_words: a JSONL file with lang and words, or a folder with a file a language "
        "(LDNOOBW).",
    )
    deduplication: Deduplication = Field(Deduplication(), description="What counts as said before.")
    decontamination: Decontamination | None = Field(
        None,
        description="Drop documents with text of evaluation sets: {path: [eval/xquad], fields: [context]}.",
        examples=["{path: [eval/xquad], fields: [context]}"],
    )
    held_out: Share = Field(
        0.02, description="Share of documents kept out of training, for bits per byte; 1: a corpus for tests alone."
    )
    max_held_out: Count = Field(500, description="At most this many held-out documents a source, unless held_out is 1.")
    max_record_bytes: Count = Field(20_000_000, description="Longer records are counted as oversized and dropped.")
    executor: Literal["threads", "ray"] = Field(
        "threads", description="threads: this machine; ray: the cluster that RAY_ADDRESS names. Same result."
    )
    seed: Seed = 0

    def impossible(self) -> Iterator[tuple[str, str]]:
        """A rule set that is none."""
        if wrong := unknown_rule_set(self.rules.set):
            yield "rules.set", wrong

    def num_sources(self) -> int:
        """A crawl that is sorted by language counts once a language."""
        return sum(len(source.languages or [source.language]) for source in self.sources.values())

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths, and those of models, rule sets and evaluation sets."""
        paths = source_paths(self)
        if self.language_model:
            paths[("language_model",)] = self.language_model
        if self.banned_words:
            paths[("banned_words",)] = self.banned_words
        if _is_file(self.rules.set):
            paths[("rules", "set")] = self.rules.set
        return paths | decontamination_paths(self.decontamination)


class LearnRules(Stage):
    """Learn a rule set's thresholds from reference text: for each language, the quantiles of its signals."""

    makes: ClassVar[str] = "rules"
    reads: ClassVar[dict[str, Role]] = {"corpus": Role(("corpus",), many=True)}
    function: ClassVar[str] = "diglot.curate.learn_rules:learn"
    position: ClassVar[int] = 21
    version: ClassVar[int] = 2

    do: Literal["learn-rules"] = "learn-rules"
    set: str = Field("polylm", description="The set whose rules are given new limits.")
    quantile: Share = Field(0.01, description="Share of the reference documents that each rule may cost.")
    min_documents: Count = Field(100, description="Languages with fewer keep the set's limits.")

    def impossible(self) -> Iterator[tuple[str, str]]:
        """A rule set that is none."""
        if wrong := unknown_rule_set(self.set):
            yield "set", wrong

    def outside_paths(self) -> dict[tuple, str]:
        """The rule set's file, where it is one of the user's."""
        return {("set",): self.set} if _is_file(self.set) else {}
