"""The section of a run's report about its tokenizers: entries, proofs, measures, how a vocabulary grew, examples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.format import join, number, words
from diglot.report import tokenizer_figures
from diglot.report.figures import Colours
from diglot.report.reading import Run
from diglot.report.results import shown_language
from diglot.report.section import Plot, Section, plot
from diglot.report.tokenizer_tables import is_right_to_left

MAX_EXAMPLES = 3
MEASURES = (
    ("fertility", "tokens per word", "{:.2f}"),
    ("characters_per_token", "characters per token", "{:.2f}"),
    ("bytes_per_token", "bytes per token", "{:.2f}"),
    ("continued_words", "words cut", "{:.1%}"),
    ("unknown_tokens", "unknown tokens", "{:.1%}"),
)
KINDS = {"byte-fallback": "BPE with byte fallback", "byte-level": "byte-level BPE", "unigram": "unigram"}
CHAT_FORMATS = {"diglot": "Diglot", "chatml": "ChatML", "llama-3": "Llama-3"}


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
    before, after = facts.get("fertility_before") or {}, facts.get("fertility") or {}
    extended = any(artifact in run.parents(other) for other in run.of_do("extend-tokenizer"))
    return {
        "name": artifact.stage,
        "do": artifact.do,
        "tiles": _tiles(facts),
        "finding": _finding(artifact.stage, facts, before, after),
        "proofs": _proofs(facts.get("proofs") or {}),
        "plots": _plots(artifact.stage, facts, colours, extended),
        "measures": _measures(facts),
        "examples": [] if extended else _examples(facts.get("examples") or {}),
    }


def _tiles(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Labels and values: entries, how many are new, the kind and the chat format."""
    tiles = [("entries", number(facts.get("vocabulary_size")))]
    if added := (facts.get("new_tokens") or {}).get("added"):
        tiles = [("entries before", number(facts.get("base_vocabulary_size"))), *tiles, ("new", number(added))]
    if kind := facts.get("kind"):
        tiles.append(("kind", KINDS.get(kind, kind)))
    if "chat_format" in facts:
        chat_format = facts["chat_format"]
        tiles.append(("chat format", CHAT_FORMATS.get(chat_format, chat_format or "none")))
    if (gini := (facts.get("parity") or {}).get("gini")) is not None:
        tiles.append(("Gini of token cost", f"{gini:.3f}"))
    return tiles


def _finding(name: str, facts: dict[str, Any], before: dict[str, float], after: dict[str, float]) -> str:
    entries = f"{name} has {number(facts.get('vocabulary_size'))} entries"
    if before:
        same = {code for code in after if code in before and abs(after[code] - before[code]) < 0.005}
        changes = [f"{shown_language(code)} {before[code]:.2f} → {after[code]:.2f}" for code in after if code in before and code not in same]  # fmt: skip
        kept = [f"{shown_language(code)} {after[code]:.2f} as before" for code in after if code in same]
        return f"{entries}; tokens per word: {join([*changes, *kept])}."
    needs = [f"{value:.2f} in {shown_language(code)}" for code, value in after.items()]
    return f"{entries}; tokens per word: {join(needs)}." if needs else f"{entries}."


def _plots(stage: str, facts: dict[str, Any], colours: Colours, extended: bool) -> list[Plot]:
    """Tokens per word by language, and how they fell while the vocabulary grew."""
    before, after = facts.get("fertility_before") or {}, facts.get("fertility") or {}
    plots = []
    if after and not extended:  # an extension's figure shows its base too
        caption = "Tokens per word by language" + (", before (pale) and after the extension." if before else ".")
        bars = tokenizer_figures.fertility_bars(before, after, colours)
        plots.append(plot(f"fertility-{stage}", bars, caption))
    curve = {language: points for language, points in (facts.get("curve") or {}).items() if points}
    if curve:
        caption = (
            "Tokens per word by language while tokens are added: counted on the text that they are learnt from, scaled "
            "to end where held-out text does. Where a curve flattens, more tokens gain little."
        )
        plots.append(plot(f"curve-{stage}", tokenizer_figures.growth_curve(curve, colours), caption))
    return plots


def _measures(facts: dict[str, Any]) -> dict[str, Any] | None:
    """The table of measures by language, each before (of an extension) and after."""
    after, before = facts.get("measures") or {}, facts.get("measures_before") or {}
    every = [*after.values(), *before.values()]
    columns = [
        column
        for column in MEASURES
        if any(values.get(column[0]) if column[0] == "unknown_tokens" else column[0] in values for values in every)
    ]
    if not columns:
        return None
    rows = [
        {"language": shown_language(language), "on": _measured_on(values), "cells": [_cell(column, before.get(language, {}), values) for column in columns]}
        for language, values in after.items()
    ]  # fmt: skip
    return {"columns": [label for _, label, _ in columns], "rows": rows, "note": _words_note(after)}


def _measured_on(values: Mapping[str, Any]) -> str:
    kind = {"heldout": "held-out documents", "documents": "training documents"}.get(values.get("measured_on", ""), "documents")  # fmt: skip
    return f"{values.get('documents', 0):,} {kind}"


def _cell(column: tuple[str, str, str], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str | None]:
    key, _, form = column
    was, now = (form.format(values[key]) if key in values else None for values in (before, after))
    return {"before": was if was != now else None, "after": now or "–"}


def _words_note(measures: Mapping[str, Mapping[str, Any]]) -> str:
    """What was counted as a word where it is not what stands between spaces."""
    kinds = {"segments": "a segment of BudouX", "characters": "a letter with its marks"}
    parts = [
        f"in {join([shown_language(code) for code, values in measures.items() if values.get('words_are') == kind])} {what}"
        for kind, what in kinds.items()
        if any(values.get("words_are") == kind for values in measures.values())
    ]
    return f"A word stands between spaces; {join(parts)}." if parts else ""


# --- proofs ---------------------------------------------------------------------------------------------------


def _proofs(proofs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Proofs as lines with a mark: True, False, or None where there was nothing to prove it on."""
    return [{"passed": proof.get("passed"), "text": _proof(name, proof)} for name, proof in proofs.items()]


def _proof(name: str, proof: dict[str, Any]) -> str:
    """A proof in words, with its numbers."""
    if name == "identity" and "identical" in proof:
        languages = join([shown_language(code) for code in proof.get("languages") or ["the base language"]])
        compared = proof["identical"] + proof.get("changed", 0)
        text = f"{proof['identical']:,} of {compared:,} lines of {languages} are cut exactly as before"
        return text + ("" if proof.get("required", True) else " (the languages share an alphabet)")
    if name == "reachable" and "unreachable" in proof:
        if proof["unreachable"]:
            return f"{proof['unreachable']:,} tokens are not reachable"
        tokens = proof.get("tokens")
        return f"all {tokens:,} new tokens are reachable" if tokens else "every token is reachable"
    if name == "round_trip" and "documents" in proof:
        return _round_trip(proof)
    if name == "base_ids" and "tokens" in proof:
        return f"all {proof['tokens']:,} tokens of the base keep their ids"
    if name == "special_tokens":
        return _special_tokens(proof)
    if name == "sentencepiece" and "texts" in proof:
        text = f"tokenizer.json and tokenizer.model cut {proof['texts']:,} texts alike"
        differs = proof.get("base_differs")
        return text + (f" ({differs:,} on which those of the base differ left out)" if differs else "")
    return words(name)


def _round_trip(proof: dict[str, Any]) -> str:
    documents, arbitrary = proof["documents"], proof.get("arbitrary_texts", 0)
    what = f"{documents:,} documents" + (f" and {arbitrary:,} arbitrary texts" if arbitrary else "")
    exact = proof.get("exact", documents + arbitrary)
    if exact == documents + arbitrary:
        return f"{what} come back from encoding and decoding as they were"
    return f"of {what}, {exact:,} come back as they were, and the others as the base gives them back"


def _special_tokens(proof: dict[str, Any]) -> str:
    if proof.get("chat_template") == "ours":
        added = proof.get("added") or []
        tokens = f"; {len(added)} of the chat format were added, with its template" if added else ""
        return f"special tokens are the base's{tokens}"
    return "special tokens and chat template are the base's"


# --- examples -------------------------------------------------------------------------------------------------


def _examples(examples: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Phrases cut into pieces, before and after, by language."""
    found = []
    for language, phrases in examples.items():
        rows = [
            {"when": when if "before" in phrase else "pieces", "pieces": [piece_parts(text) for text in phrase[when]]}
            for phrase in phrases[:MAX_EXAMPLES]
            for when in ("before", "after")
            if phrase.get(when)
        ]
        found.append({"language": shown_language(language), "direction": direction(language), "rows": rows})
    return found


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
