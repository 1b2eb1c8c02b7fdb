"""The section of a run's report about its tokenizers: entries, proofs, measures, how a vocabulary grew, examples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.format import join, number
from diglot.base.summaries.model import ModelSummary
from diglot.base.summaries.tokenizer import (
    BaseIds,
    ExtendedTokenizer,
    Identity,
    Proofs,
    Reachable,
    RoundTrip,
    SentencePieceProof,
    SpecialTokens,
    TokenizerExample,
    TokenizerMeasures,
    TokenizerSummary,
)
from diglot.base.table import Cell, Table, left, right
from diglot.report import tokenizer_figures
from diglot.report.figures import Colours
from diglot.report.reading import Run
from diglot.report.section import Plot, Section, plot
from diglot.report.tokenizer_tables import advice_sentence
from diglot.text.languages import is_right_to_left, shown_language
from diglot.tokenizer.advice import Advice, BaseModel, advise, at_steps

MAX_EXAMPLES = 3
MEASURES = (
    ("fertility", "tokens per word", "{:.2f}"),
    ("characters_per_token", "characters per token", "{:.2f}"),
    ("bytes_per_token", "bytes per token", "{:.2f}"),
    ("continued_words", "words cut", "{:.1%}"),
    ("unknown_tokens", "unknown tokens", "{:.1%}"),
)
KINDS = {"byte-fallback": "BPE with byte fallback", "byte-level": "byte-level BPE", "unigram": "unigram"}
MEASURED_ON = {"heldout": "held-out documents", "documents": "training documents"}
CHAT_FORMATS = {
    "diglot": "Diglot", "chatml": "ChatML", "llama-3": "Llama-3", "llama-2": "Llama-2", "mistral": "Mistral",
    "gemma": "Gemma", "own": "its own",
}  # fmt: skip


def tokenizer(run: Run, colours: Colours) -> Section | None:
    """Vocabulary, fertility and proofs of every tokenizer; words in pieces before and after an extension."""
    tokenizers = run.of_kind("tokenizer")
    if not tokenizers:
        return None
    stages = [_tokenizer(run, artifact, colours) for artifact in tokenizers]
    sentences = [stage["finding"] for stage in stages if stage["finding"]]
    return Section("tokenizer", "Tokenizer", " ".join(sentences), {"stages": stages})


def _tokenizer(run: Run, artifact: Artifact, colours: Colours) -> dict[str, Any]:
    """One tokenizer: headline numbers, proofs, measures (beside those of the tokenizer it extends) and examples."""
    facts = artifact.summary
    assert isinstance(facts, TokenizerSummary), f"{artifact.stage} is no tokenizer"
    extended = any(artifact in run.parents(other) for other in run.of_do("extend-tokenizer"))
    advice = _advice(run, artifact, facts) if isinstance(facts, ExtendedTokenizer) else {}
    return {
        "name": artifact.stage,
        "do": artifact.do,
        "tiles": _tiles(facts),
        "finding": _finding(artifact.stage, facts),
        "proofs": _proofs(facts.proofs),
        "plots": _plots(artifact.stage, facts, colours, extended, advice),
        "advice": [advice_sentence(language, found.grade, found.reason) for language, found in advice.items()],
        "measures": _measures(facts),
        "examples": [] if extended else _examples(facts.examples),
    }


def _tiles(facts: TokenizerSummary) -> list[tuple[str, str]]:
    """Labels and values: entries, how many are new, the kind and the chat format."""
    tiles = [("entries", number(facts.vocabulary_size))]
    if isinstance(facts, ExtendedTokenizer):
        new = ("new", number(facts.new_tokens.added))
        tiles = [("entries before", number(facts.base_vocabulary_size)), *tiles, new]
    tiles.append(("kind", KINDS[facts.kind]))
    tiles.append(("chat format", CHAT_FORMATS.get(facts.chat_format or "none", facts.chat_format or "none")))
    return [*tiles, ("Gini of token cost", f"{facts.parity.gini:.3f}")] if facts.parity else tiles


def _finding(name: str, facts: TokenizerSummary) -> str:
    entries, after = f"{name} has {number(facts.vocabulary_size)} entries", facts.fertility
    if isinstance(facts, ExtendedTokenizer):
        before = facts.fertility_before
        same = [code for code in after if code in before and abs(after[code] - before[code]) < 0.005]
        changed = [code for code in after if code in before and code not in same]
        changes = [f"{shown_language(code)} {before[code]:.2f} → {after[code]:.2f}" for code in changed]
        kept = [f"{shown_language(code)} {after[code]:.2f} as before" for code in same]
        return f"{entries}; tokens per word: {join([*changes, *kept])}."
    needs = [f"{value:.2f} in {shown_language(code)}" for code, value in after.items()]
    return f"{entries}; tokens per word: {join(needs)}."


def _advice(run: Run, artifact: Artifact, facts: ExtendedTokenizer) -> dict[str, Advice]:
    """What would have been advised, by language: from the curve of the extension's own merges."""
    model = _base_model(run, artifact, facts)
    found = {}
    for language, points in facts.curve.items():
        before = (0, facts.fertility_before[language])
        found[language] = advise(at_steps([before, *(point for point in points if point[0] > 0)]), model)
    return found


def _base_model(run: Run, artifact: Artifact, facts: ExtendedTokenizer) -> BaseModel | None:
    """The model that the tokenizer is extended for: one it was made from, or one that is expanded to it."""
    expanded = [other for other in run.of_do("expand") if artifact in run.parents(other)]
    for other in (*run.parents(artifact), *expanded):
        if isinstance(other.summary, ModelSummary):
            shape = other.summary.shape
            model = BaseModel(shape.hidden_size, shape.tied_embeddings, other.summary.parameters)
            added = max(shape.vocabulary_size - facts.base_vocabulary_size, 0) if other in expanded else 0
            return model._replace(parameters=model.parameters - model.rows(added))
    return None


def _plots(
    stage: str, facts: TokenizerSummary, colours: Colours, extended: bool, advice: Mapping[str, Advice]
) -> list[Plot]:
    """Tokens per word by language, and how they fell while the vocabulary grew."""
    plots = []
    if not extended:  # an extension's figure shows its base too
        before = facts.fertility_before if isinstance(facts, ExtendedTokenizer) else {}
        caption = "Tokens per word by language" + (", before (pale) and after the extension." if before else ".")
        bars = tokenizer_figures.fertility_bars(before, facts.fertility, colours)
        plots.append(plot(f"fertility-{stage}", bars, caption))
    if facts.curve:
        caption = (
            "Tokens per word by language while tokens are added: counted on the text that they are learnt from, scaled "
            "to end where held-out text does. Where a curve flattens, more tokens gain little"
            + ("; a dot is as many as are advised." if advice else ".")
        )
        dots = {
            language: point
            for language, found in advice.items()
            for point in found.curve
            if point[0] == found.new_tokens > 0
        }
        plots.append(plot(f"curve-{stage}", tokenizer_figures.growth_curve(facts.curve, colours, dots), caption))
    return plots


def _measures(facts: TokenizerSummary) -> Table | None:
    """The table of measures by language, each before (of an extension) and after."""
    after, before = facts.measures, facts.measures_before if isinstance(facts, ExtendedTokenizer) else {}
    if not after:
        return None
    loses = any(values.unknown_tokens for values in (*after.values(), *before.values()))
    measures = [measure for measure in MEASURES if measure[0] != "unknown_tokens" or loses]
    note = _words_note(after)
    columns = [*left("language", "measured on"), *right(*(label for _, label, _ in measures))]
    table = Table(columns, notes=[note] if note else [])
    for language, values in after.items():
        on = Cell(f"{values.documents:,} {MEASURED_ON[values.measured_on]}", style="quiet")
        cells = [_cell(key, form, before.get(language), values) for key, _, form in measures]
        table.add(shown_language(language), on, *cells)
    return table


def _cell(key: str, form: str, before: TokenizerMeasures | None, after: TokenizerMeasures) -> Cell:
    now = form.format(getattr(after, key))
    was = form.format(getattr(before, key)) if before else now
    return Cell(now, lead=f"{was} →" if was != now else "")


def _words_note(measures: Mapping[str, TokenizerMeasures]) -> str:
    """What was counted as a word where it is not what stands between spaces."""
    kinds = {"segments": "a segment of BudouX", "characters": "a letter with its marks"}
    by_kind = {kind: [code for code, values in measures.items() if values.words_are == kind] for kind in kinds}
    parts = [f"in {join(map(shown_language, codes))} {kinds[kind]}" for kind, codes in by_kind.items() if codes]
    return f"A word stands between spaces; {join(parts)}." if parts else ""


# --- proofs ---------------------------------------------------------------------------------------------------


def _proofs(proofs: Proofs) -> list[dict[str, Any]]:
    """Proofs as lines with a mark: True, False, or None where there was nothing to prove it on."""
    return [{"passed": proof.passed, "text": _proof(proof)} for proof in vars(proofs).values() if proof]


@singledispatch
def _proof(proof: object) -> str:
    """A proof in words, with its numbers."""
    raise TypeError(f"no words for {proof!r}")


@_proof.register
def _(proof: RoundTrip) -> str:
    texts = proof.documents + proof.arbitrary_texts
    what = f"{proof.documents:,} documents"
    what += f" and {proof.arbitrary_texts:,} arbitrary texts" if proof.arbitrary_texts else ""
    if proof.exact in (None, texts):
        return f"{what} come back from encoding and decoding as they were"
    return f"of {what}, {proof.exact:,} come back as they were, and the others as the base gives them back"


@_proof.register
def _(proof: Identity) -> str:
    languages = join([shown_language(code) for code in proof.languages or ["the base language"]])
    compared = proof.identical + proof.changed
    text = f"{proof.identical:,} of {compared:,} lines of {languages} are cut exactly as before"
    if proof.with_new_characters:
        held = ", ".join(proof.set_aside_for)
        text += f" ({proof.with_new_characters:,} more quote the new languages, most with {held})"
    if proof.other_texts:
        same = proof.other_texts - proof.other_texts_changed
        text += f", and {same:,} of {proof.other_texts:,} pieces of code, markup and arbitrary Unicode"
    return text + ("" if proof.required else " (the languages share an alphabet)")


@_proof.register
def _(proof: Reachable) -> str:
    if proof.unreachable:
        return f"{proof.unreachable:,} tokens are not reachable"
    return f"all {proof.tokens:,} new tokens are reachable" if proof.tokens else "every token is reachable"


@_proof.register
def _(proof: BaseIds) -> str:
    return f"all {proof.tokens:,} tokens of the base keep their ids"


@_proof.register
def _(proof: SpecialTokens) -> str:
    if proof.chat_template != "ours":
        return "special tokens and chat template are the base's"
    added = f"; {len(proof.added)} of the chat format were added, with its template" if proof.added else ""
    return f"special tokens are the base's{added}"


@_proof.register
def _(proof: SentencePieceProof) -> str:
    text = f"tokenizer.json and tokenizer.model cut {proof.texts:,} texts alike"
    left_out = f" ({proof.base_differs:,} on which those of the base differ left out)" if proof.base_differs else ""
    return text + left_out


# --- examples -------------------------------------------------------------------------------------------------


def _examples(examples: Mapping[str, Sequence[TokenizerExample]]) -> list[dict[str, Any]]:
    """Phrases cut into pieces, before and after, by language."""
    found = []
    for language, phrases in examples.items():
        rows = [
            {"when": when, "pieces": [piece_parts(text) for text in pieces]}
            for phrase in phrases[:MAX_EXAMPLES]
            for when, pieces in _cuts(phrase)
        ]
        found.append({"language": shown_language(language), "direction": direction(language), "rows": rows})
    return found


def _cuts(phrase: TokenizerExample) -> list[tuple[str, list[str]]]:
    """How a phrase is cut, by when; only an extension has a before."""
    return [("before", phrase.before), ("after", phrase.after)] if phrase.before else [("pieces", phrase.after)]


def direction(language: str) -> str:
    """What HTML calls the direction of a language."""
    return "rtl" if is_right_to_left(language) else "ltr"


def piece_parts(piece: str) -> list[dict[str, Any]]:
    """A piece as shown: text with a middle dot for a space, and bytes that are no character as two hex digits each."""
    parts = [part for part in re.split(r"(<0x[0-9A-F]{2}>)", piece) if part]
    return [
        {"byte": True, "text": part[3:5]}
        if re.fullmatch(r"<0x[0-9A-F]{2}>", part)
        else {"byte": False, "text": part.replace("▁", "·")}
        for part in parts
    ]
