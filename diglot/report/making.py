"""The sections about what was made: the tokenizer, and the training of the models."""

from __future__ import annotations

from typing import Any

from diglot.artifact import Artifact
from diglot.corpus.languages import base_code
from diglot.report import figures
from diglot.report.figures import Colours
from diglot.report.reading import Run, Training
from diglot.report.results import RIGHT_TO_LEFT, duration, shown_language
from diglot.report.section import Section, join, number, plot, words

MAX_EXAMPLES = 3


def tokenizer(run: Run, colours: Colours) -> Section | None:
    """Vocabulary, fertility and proofs of every tokenizer; words in pieces before and after an extension."""
    tokenizers = run.of_kind("tokenizer")
    if not tokenizers:
        return None
    stages = [_tokenizer(run, artifact, colours) for artifact in tokenizers]
    sentences = [stage["finding"] for stage in stages if stage["finding"]]
    return Section("tokenizer", "Tokenizer", " ".join(sentences), {"stages": stages})


def _tokenizer(run: Run, artifact: Artifact, colours: Colours) -> dict[str, Any]:
    """One tokenizer: headline numbers, proofs, fertility (beside that of the tokenizer it extends) and examples."""
    facts = artifact.summary
    before, after = facts.get("fertility_before") or {}, facts.get("fertility") or {}
    tiles = [("entries", number(facts.get("vocabulary_size")))]
    if added := (facts.get("new_tokens") or {}).get("added"):
        tiles = [
            ("entries before", number(facts.get("base_vocabulary_size"))),
            *tiles,
            ("new", number(added)),
        ]
    extended = any(artifact in run.parents(other) for other in run.of_do("extend-tokenizer"))
    plotted = None
    if after and not extended:  # an extension's figure shows its base too
        caption = "Tokens per word by language" + (
            ", before (pale) and after the extension." if before else "."
        )
        plotted = plot(f"fertility-{artifact.stage}", figures.fertility_bars(before, after, colours), caption)
    return {
        "name": artifact.stage,
        "do": artifact.do,
        "tiles": tiles,
        "finding": _tokenizer_finding(artifact.stage, facts, before, after),
        "proofs": _proofs(facts.get("proofs") or {}),
        "plot": plotted,
        "examples": [] if extended else _pieces(facts.get("examples") or {}),
    }


def _tokenizer_finding(
    name: str, facts: dict[str, Any], before: dict[str, float], after: dict[str, float]
) -> str:
    entries = f"{name} has {number(facts.get('vocabulary_size'))} entries"
    if before:
        same = {code for code in after if code in before and abs(after[code] - before[code]) < 0.005}
        changes = [f"{shown_language(code)} {before[code]:.2f} → {after[code]:.2f}" for code in after if code in before and code not in same]  # fmt: skip
        kept = [f"{shown_language(code)} {after[code]:.2f} as before" for code in after if code in same]
        return f"{entries}; tokens per word: {join([*changes, *kept])}."
    needs = [f"{value:.2f} in {shown_language(code)}" for code, value in after.items()]
    return f"{entries}; tokens per word: {join(needs)}." if needs else f"{entries}."


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
        return f"{proof['documents']:,} documents come back from encoding and decoding as they were"
    if name == "base_ids" and "tokens" in proof:
        return f"all {proof['tokens']:,} tokens of the base keep their ids"
    return words(name)


def _pieces(examples: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Phrases cut into pieces, before and after, by language."""
    found = []
    for language, phrases in examples.items():
        direction = "rtl" if base_code(language) in RIGHT_TO_LEFT else "ltr"
        rows = [
            {
                "when": when if "before" in phrase else "pieces",
                "pieces": [_piece(text) for text in phrase[when]],
            }
            for phrase in phrases[:MAX_EXAMPLES]
            for when in ("before", "after")
            if phrase.get(when)
        ]
        found.append({"language": language, "direction": direction, "rows": rows})
    return found


def _piece(text: str) -> dict[str, Any]:
    """A piece as shown: a byte as its two hex digits, a space as a middle dot."""
    byte = len(text) == 6 and text.startswith("<0x") and text.endswith(">")
    return {"byte": byte, "text": text[3:5] if byte else text.replace("▁", "·")}


# --- training -------------------------------------------------------------------------------------------------


def training(run: Run, colours: Colours) -> Section | None:
    """Loss, gradient norm, learning rate and speed of every train stage."""
    logged = [training for training in run.trainings if training.steps]
    if not logged:
        return None
    stages = [_train_stage(item, colours) for item in logged]
    falls = join([f"{item.artifact.stage} {_first(item):.2f} → {_last(item):.2f}" for item in logged])
    tokens = number(sum(item.tokens for item in logged))
    count = f"{len(logged)} train stages" if len(logged) > 1 else "One train stage"
    finding = f"{count} saw {tokens} tokens; the training loss went: {falls} nats per token."
    if any(item.artifact.settings.get("objective") == "dpo" for item in logged):
        finding = finding.replace(" nats per token.", " (nats per token; for DPO per pair).")
    return Section("training", "Training", finding, {"stages": stages})


def _first(item: Training) -> float:
    return item.steps[0].get("loss") or 0.0


def _last(item: Training) -> float:
    tail = [record["loss"] for record in item.steps[-max(1, len(item.steps) // 50) :] if record.get("loss")]
    return sum(tail) / len(tail) if tail else 0.0


def _train_stage(item: Training, colours: Colours) -> dict[str, Any]:
    name, settings = item.artifact.stage, item.artifact.settings
    group = -(-len(item.steps) // figures.MAX_POINTS)
    caption = "Training loss by source" + (f"; a point is the mean of {group} steps" if group > 1 else "")
    if len(item.phases) > 1:
        caption += "; bands are phases"
    clip = settings.get("gradient_clip")
    speed = figures.metric_curve(item, "tokens_per_second")
    rate = figures.metric_curve(item, "learning_rate")
    gradient = figures.metric_curve(item, "gradient_norm", logarithmic=True, peaks=True)
    clipped = f" (before clipping at {clip:g}; faint: largest)" if clip else " (before clipping)"
    small = [
        plot(f"gradient-{name}", gradient, f"Gradient norm{clipped}"),
        plot(f"rate-{name}", rate, "Learning rate"),
        plot(f"speed-{name}", speed, "Tokens per second"),
    ]
    for key, label in (("accuracy", "Held-out pairs ranked right"), ("margin", "Held-out margin (nats)")):
        if any(
            key in source for record in item.evaluations for source in (record.get("sources") or {}).values()
        ):
            curve = figures.preference_curve(item, key, colours)
            small.append(plot(f"{key}-{name}", curve, f"{label}, by source"))
    facts = [settings.get("objective", "lm"), f"{len(item.steps):,} steps", f"{number(item.tokens)} tokens"]
    facts.append(duration(item.artifact.provenance.get("seconds")))
    if item.memory_mb:
        facts.append(f"peak memory {item.memory_mb:,.0f} MB")
    if item.unreadable:
        facts.append(f"{item.unreadable} unreadable line(s) in its log")
    loss = plot(f"loss-{name}", figures.loss_curve(item, colours), caption)
    return {"name": name, "facts": facts, "loss": loss, "small": small}
