"""Summaries of tokenizers and of encoded text."""

from __future__ import annotations

from dataclasses import dataclass, field

from diglot.base.format import words
from diglot.base.summaries.summary import Record, Summary


@dataclass(frozen=True)
class TokenizerMeasures(Record):
    """What a tokenizer does to text in one language; see `diglot/tokenizer/measure.py`.

    Attributes:
        measured_on: `heldout` or (training) `documents`.
        documents, words, tokens: that were counted.
        words_are: `spaces`, `segments` or `characters`.
        fertility: tokens per word; the other measures are named as in the module.
    """

    measured_on: str
    documents: int
    words: int
    words_are: str
    tokens: int
    fertility: float
    characters_per_token: float
    bytes_per_token: float
    continued_words: float
    unknown_tokens: float


@dataclass(frozen=True)
class TokenizerExample(Record):
    """A text, and its pieces after the stage and, of an extension, before."""

    text: str
    after: list[str]
    before: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RoundTrip(Record):
    """Documents and arbitrary texts that came back from encoding and decoding; `exact` ones of an extension as they were."""

    passed: bool
    documents: int
    arbitrary_texts: int = 0
    exact: int | None = None


@dataclass(frozen=True)
class Identity(Record):
    """Lines of the base languages that are cut as before; see `identity` in `diglot/tokenizer/proofs.py`.

    Attributes:
        required: all must be.
        other_texts, other_texts_changed: code, markup and arbitrary Unicode without characters of the new languages.
        set_aside_for: characters of the new languages, by how many of the lines `with_new_characters` hold them.
    """

    passed: bool | None
    required: bool
    languages: list[str]
    lines: int
    identical: int
    with_new_characters: int
    changed: int
    share: float | None
    share_without_new_characters: float | None
    tokens_before: int
    tokens_after: int
    examples: list[TokenizerExample] = field(default_factory=list)
    other_texts: int = 0
    other_texts_changed: int = 0
    set_aside_for: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reachable(Record):
    """Whether every token, or every new one of so many `tokens`, is what some text is encoded to."""

    passed: bool
    unreachable: int
    tokens: int | None = None
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BaseIds(Record):
    """Tokens of the base that keep their ids."""

    passed: bool
    tokens: int


@dataclass(frozen=True)
class SpecialTokens(Record):
    """Special tokens are the base's, but for those that were added; the chat template is `ours` or `the base's`."""

    passed: bool
    added: list[str]
    chat_template: str


@dataclass(frozen=True)
class SentencePieceProof(Record):
    """Texts that tokenizer.json and tokenizer.model cut alike, and those left out on which the base's differ."""

    passed: bool
    texts: int
    base_differs: int


@dataclass(frozen=True, kw_only=True)
class Proofs(Record):
    """What was proved of a tokenizer, in the order in which it is shown; None where it does not apply."""

    round_trip: RoundTrip
    identity: Identity | None = None
    reachable: Reachable
    base_ids: BaseIds | None = None
    special_tokens: SpecialTokens | None = None
    sentencepiece: SentencePieceProof | None = None


@dataclass(frozen=True)
class TokenizerSample(Record):
    """The text that a tokenizer was learnt from, by language.

    Attributes:
        bytes: read.
        times_read: how often a byte of the corpus was read, on average.
        balance: of the languages, as in the settings.
        words: different ones.
        forgotten: rare words that were left out to save memory.
    """

    bytes: dict[str, int]
    times_read: dict[str, float]
    balance: str | None = None
    words: dict[str, int] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenCosts(Record):
    """What parallel text costs: number of texts, tokens by language, and how unequally (Gini, 0 to 1)."""

    texts: int
    tokens: dict[str, int]
    gini: float


@dataclass(frozen=True)
class NewTokens(Record):
    """The new tokens of an extension: asked for, added, and of these single characters and pieces of the base's letters.

    Attributes:
        bytes: those that a byte-level base had no token for.
    """

    requested: int | None
    added: int
    characters: int
    of_base_characters: int
    bytes: int = 0


@dataclass(frozen=True)
class TokenizerSummary(Summary, of=("tokenizer",)):
    """A tokenizer.

    Attributes:
        kind: `byte-fallback`, `byte-level` or `unigram`.
        chat_format: the name of its chat format; None if it has none.
        vocabulary_size: entries.
        sample: what it was learnt from.
        curve: by language, [tokens learnt, tokens per word], in order.
        fertility: tokens per word, by language.
        measures: by language.
        proofs: of what it promises.
        examples: by language.
        parity: what parallel text costs in it, where there was some.
    """

    headline = ("vocabulary_size", "fertility")

    kind: str
    chat_format: str | None
    vocabulary_size: int
    sample: TokenizerSample
    curve: dict[str, list[tuple[int, float]]]
    fertility: dict[str, float]
    measures: dict[str, TokenizerMeasures]
    proofs: Proofs
    examples: dict[str, list[TokenizerExample]]
    parity: TokenCosts | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedTokenizer(TokenizerSummary, of=("train-tokenizer",)):
    """A tokenizer made from text: entries that were asked for, and characters that it began with."""

    requested: int
    alphabet: int


@dataclass(frozen=True, kw_only=True)
class ExtendedTokenizer(TokenizerSummary, of=("extend-tokenizer",)):
    """A tokenizer with tokens added to a base.

    Attributes:
        base_vocabulary_size: entries of the base.
        base_hash: of the base.
        new_tokens: how many.
        chat_tokens_added: special tokens of the chat format that the base lacked.
        languages: new ones; `languages_sharing_the_alphabet` of these have letters of the base languages.
        base_languages: those with text in the corpus.
        fertility_before, measures_before: of the base.
    """

    base_vocabulary_size: int
    base_hash: str
    new_tokens: NewTokens
    chat_tokens_added: list[str]
    languages: list[str]
    languages_sharing_the_alphabet: list[str]
    base_languages: list[str]
    fertility_before: dict[str, float]
    measures_before: dict[str, TokenizerMeasures]

    def warnings(self) -> list[str]:
        """Fewer new tokens than were asked for."""
        asked, added = self.new_tokens.requested, self.new_tokens.added
        if asked is None or added >= asked:
            return []
        return [f"{added:,} of {asked:,} new tokens: beyond these no piece of the sample occurs twice, or gains enough"]


@dataclass(frozen=True)
class EncodedCounts(Record):
    """Documents, their tokens, and the UTF-8 bytes that these stand for."""

    documents: int
    tokens: int
    bytes: int


@dataclass(frozen=True)
class Fitted(Record):
    """What became of conversations or pairs when they were encoded.

    Attributes:
        records: there were.
        split_up, cut: those that were shortened to fit a row.
        left_out: those that are not among the tokens, by reason.
    """

    records: int
    split_up: int
    cut: int
    left_out: dict[str, int]

    def told(self, name: str) -> list[str]:
        """What to say of a source of this name; nothing where all are there as they were."""
        parts = [
            f"{number:,} {how}" for number, how in ((self.split_up, "split by turns"), (self.cut, "cut")) if number
        ]
        if self.left_out:
            reasons = ", ".join(f"{words(reason)} {number:,}" for reason, number in self.left_out.items())
            parts.append(f"{sum(self.left_out.values()):,} left out ({reasons})")
        return [f"of {self.records:,} records of {name}: {', '.join(parts)}"] if parts else []


@dataclass(frozen=True)
class EncodedSource(Record):
    """One source as tokens.

    Attributes:
        form: `text`, `chat` or `pairs`.
        fitted: what became of its conversations or pairs.
    """

    form: str
    language: str
    domain: str
    train: EncodedCounts
    heldout: EncodedCounts
    fitted: Fitted | None = None


@dataclass(frozen=True)
class EncoderUsed(Record):
    """Which encoder ran, the documents on which both were compared, and one on which they differ, if any."""

    name: str
    documents_checked: int
    difference: str | None


@dataclass(frozen=True)
class DocumentFrame(Record):
    """The tokens before and behind every document of text, and why not those that the tokenizer names (or empty)."""

    start: str
    end: str
    remark: str


@dataclass(frozen=True)
class TokensSummary(Summary, of=("tokens",)):
    """Encoded text: the tokenizer's hash, what frames a document, tokens to train on in all, by language and source.

    Attributes:
        unspelled: by source of text, how often it holds what the tokenizer has no token for.
    """

    headline = ("tokens", "languages")

    tokenizer: str
    vocabulary_size: int
    tokens: int
    languages: dict[str, int]
    sources: dict[str, EncodedSource]
    engine: EncoderUsed
    frame: DocumentFrame
    unspelled: dict[str, int] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """What frames a document, where it is not what the tokenizer names, and what is lost for want of a token."""
        frame, forms = self.frame, {source.form for source in self.sources.values()}
        told = [f"documents stand between {frame.start} and {frame.end}: {frame.remark}"]
        told = told if "text" in forms and frame.remark else []
        lost = "holds what the tokenizer has no token for, and loses it"
        return told + [f"source {name} {number:,} times {lost}" for name, number in self.unspelled.items()]
