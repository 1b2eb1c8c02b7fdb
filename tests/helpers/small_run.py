"""A small run written by the contracts between the stages: every file that the report reads, no more."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from summaries import EMPTY_CORPUS, EMPTY_WORLD, SMALL_SHAPE, trained

from diglot.base.artifact import Artifact, read_artifact, write_manifest
from diglot.base.summaries.corpus import DocumentCounts
from diglot.base.summaries.model import ExpandedModel, MergedModel, NewModelSummary
from diglot.base.summaries.quality import LearntRules, NgramModel, NgramSummary, RulesSummary, Separation
from diglot.base.summaries.scores import BitsPerByte, Metric, PreferenceScore, ScoresSummary, TaskScore
from diglot.base.summaries.summary import Summary
from diglot.base.summaries.tokenizer import (
    BaseIds,
    DocumentFrame,
    EncoderUsed,
    ExtendedTokenizer,
    Identity,
    NewTokens,
    Proofs,
    Reachable,
    RoundTrip,
    SentencePieceProof,
    SpecialTokens,
    TokenCosts,
    TokenizerExample,
    TokenizerMeasures,
    TokenizerSample,
    TokensSummary,
    TrainedTokenizer,
)
from diglot.recipe.signals import NAMES

PARALLEL = "en-ar"
ATTACK = "<script>alert('x')</script> & <b>bold</b>"


class Writer:
    """Writes artifacts of a run one after another, as the flow would."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.fingerprints: dict[str, str] = {}

    def write(
        self,
        stage: str,
        do: str,
        kind: str,
        reads: dict[str, list[str]],
        summary: Summary,
        settings: dict[str, Any] | None = None,
        files: dict[str, Any] | None = None,
        seconds: float = 10.0,
    ) -> None:
        path = self.folder / stage
        path.mkdir(parents=True)
        for name, content in (files or {}).items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            file.write_text(text, encoding="utf-8")
        self.fingerprints[stage] = f"{len(self.fingerprints):032x}"
        stages = {role: {name: self.fingerprints[name] for name in names} for role, names in reads.items()}
        manifest = {
            "stage": stage,
            "do": do,
            "kind": kind,
            "fingerprint": self.fingerprints[stage],
            "content": "c" * 32,
            "settings": settings or {},
            "inputs": {"version": 1, "seed": 0, "files": {}, "stages": stages},
            "summary": summary,
            "provenance": {
                "started": "2026-01-02T03:04:05+00:00",
                "seconds": seconds,
                "python": "3.11.2",
                "system": "Linux x86_64",
                "cores": 2,
                "versions": {"torch": "2.13.0"},
            },
        }
        write_manifest(path, Artifact(path=path, **manifest))


def count(documents: int) -> dict[str, int]:
    return {"documents": documents, "characters": documents * 500, "bytes": documents * 700}


def ledger() -> dict[str, Any]:
    def source(language: str, domain: str, kept: int, held_out: int, dropped: dict[str, int], excerpt: str) -> dict:
        return {
            "language": language,
            "domain": domain,
            "read": count(kept + held_out + sum(dropped.values())),
            "kept": count(kept),
            "held_out": count(held_out),
            "dropped": {reason: count(number) for reason, number in dropped.items()},
            "corrected": {"urls": {"documents": 12, "characters": 300}},
            "unconditional": {reason: number + 5 for reason, number in dropped.items() if reason.startswith("m")},
            "samples": {
                reason: [{"id": f"{language}-7", "excerpt": excerpt, "detail": "0.42 > 0.2"}] for reason in dropped
            },
            "kept_samples": [{"id": f"{language}-{n}", "excerpt": excerpt, "detail": ""} for n in range(9)],
        }

    return {
        "sources": {
            "english": source(
                "en", "web", 10800, 220, {"near_duplicate": 410, "wrong_language": 260, "max_duplicate_lines": 190, "max_urls": 120}, ATTACK
            ),
            "arabic": source(
                "ar", "web", 10350, 215, {"near_duplicate": 520, "wrong_language": 340, "max_invisible": 330, "max_urls": 245}, "اضغط هنا لقبول ملفات تعريف الارتباط"
            ),
            PARALLEL: source("en-ar", "parallel", 11500, 230, {"exact_duplicate": 270}, "English: A.\nArabic: أ."),
        }
    }  # fmt: skip


def signals() -> dict[str, Any]:
    edges = [index / 20 for index in range(21)]
    kept = [round(900 * math.exp(-index / 2)) if index < 4 else 0 for index in range(20)]
    dropped = [0] * 4 + [round(90 * math.exp(-(index - 4) / 4)) for index in range(4, 20)]
    histogram = {"edges": edges, "kept": kept, "dropped": dropped, "low": None, "high": 0.2}
    free = {**histogram, "high": None}
    words = {
        "edges": [10 ** (index / 6) for index in range(37)],
        "kept": [0] * 12 + [40, 90, 200, 300, 250, 120, 30] + [0] * 17,
        "dropped": [0] * 9 + [5, 20, 30] + [0] * 24,
        "low": 50.0,
        "high": 100_000.0,
    }
    constant = {**free, "kept": [10800] + [0] * 19, "dropped": [0] * 20}
    unmeasured = {**histogram, "kept": [0] * 20, "dropped": [0] * 20}
    return {
        "english": {
            "words": words, "urls": histogram, "duplicate_lines": {**histogram, "high": 0.3}, "digits": free,
            "lorem_ipsum": constant, "perplexity": unmeasured,
        },
        "arabic": {"invisible": histogram, "digits": free},
    }  # fmt: skip


def tokenizer_measures(
    measured_on: str, documents: int, fertility: float, continued: float, words_are: str = "spaces"
) -> TokenizerMeasures:
    return TokenizerMeasures(
        measured_on, documents, 1000, words_are, round(1000 * fertility), fertility, 5.3 / fertility, 5.4 / fertility,
        continued, unknown_tokens=0.0,
    )  # fmt: skip


def metrics(steps: int, start: float, end: float, sources: list[str], phases: list[str], peak: float) -> str:
    lines = []
    for step in range(1, steps + 1):
        done = step / steps
        loss = end + (start - end) * math.exp(-5 * done) + 0.05 * math.sin(step * 12.9898)
        losses = {name: loss + 0.3 * index + 0.1 * math.sin(step * 7 + index) for index, name in enumerate(sources)}
        record = {
            "type": "step",
            "step": step,
            "phase": phases[min(len(phases) - 1, int((step - 1) / steps * len(phases)))],
            "loss": round(loss, 4),
            "losses": {name: round(value, 4) for name, value in losses.items()},
            "gradient_norm": round(0.6 + 4 * math.exp(-6 * done) + (6 if step % 97 == 0 else 0) + 0.2 * math.sin(step), 4),
            "learning_rate": peak * min(1, step / 20) * (1 if done < 0.7 else (1 - done) / 0.3 + 0.01),
            "tokens": step * 4096,
            "tokens_per_second": 14000 + 900 * math.sin(step / 3),
            "seconds": 0.29,
            "memory_mb": 900 + step / steps * 120,
        }  # fmt: skip
        lines.append(json.dumps(record))
    return "\n".join(lines) + "\n"


def evaluations(steps: int, languages: dict[str, tuple[float, float]], every: int = 50) -> str:
    lines = []
    for step in range(0, steps + 1, every):
        values = {key: end + (start - end) * math.exp(-4 * step / steps) for key, (start, end) in languages.items()}
        sources = {key: {"bits_per_byte": values.pop(key)} for key in list(values) if key == PARALLEL}
        lines.append(json.dumps({"type": "evaluation", "step": step, "sources": sources, "languages": values}))
    return "\n".join(lines) + "\n"


def scores(levels: dict[str, float], bits: dict[str, float], accuracy: float, margin: float) -> ScoresSummary:
    def share(value: float) -> Metric:
        return Metric(value, math.sqrt(value * (1 - value) / 200))

    tasks = {
        f"{name}-{language}": TaskScore(
            language, "choice", "acc", {"acc": share(levels[f"{name}-{language}"])}, chance=0.25, items=200
        )
        for name in ("cloze", "facts", "transfer")
        for language in ("en", "ar")
    }
    written = {"chrf": Metric(levels["translation"], 1.4)}
    tasks["translation-en-ar"] = TaskScore("ar", "generation", "chrf", written, chance=0.0, items=100)
    preferences = {
        source: PreferenceScore(language, Metric(accuracy, 0.04), accuracy, Metric(margin, 0.2), pairs=150, too_long=0)
        for source, language in (("preferences-en", "en"), ("preferences-ar", "ar"))
    }
    return ScoresSummary(
        {key: BitsPerByte(value, 0.01, 200, 90_000, 30_000) for key, value in bits.items()},
        tasks,
        preferences=preferences,
    )


def items(generation: str) -> str:
    rows = [
        {"id": "1", "prompt": "English: The baker bakes bread.\nArabic:", "generation": generation, "reference": "يخبز الخباز الخبز."},
        {"id": "2", "prompt": ATTACK, "generation": ATTACK, "reference": "تعيش سلمى في مدينة نور."},
    ]  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def evaluate(writer: Writer, stage: str, model: str, rise: float) -> None:
    """One evaluate stage; `rise` from 0 (knows English only) to 1 (knows both)."""
    levels = {f"{name}-en": 0.86 - 0.02 * rise for name in ("cloze", "facts", "transfer")}
    levels |= {f"{name}-ar": 0.26 + 0.5 * rise for name in ("cloze", "facts", "transfer")}
    levels["translation"] = 6 + 48 * rise
    bits = {"en": 0.62 + 0.02 * rise, "ar": 2.6 - 1.9 * rise, PARALLEL: 1.9 - 1.3 * rise}
    result = scores(levels, bits, 0.5 + 0.31 * rise, 0.1 + 6 * rise)
    files = {
        "scores.json": result.as_json(),
        "items/translation-en-ar.jsonl": items("يخبز الخباز خبزا." if rise else "The baker"),
    }
    reads = {"model": [model], "corpus": ["corpus"]}
    writer.write(stage, "evaluate", "scores", reads, result, files=files, seconds=14.2)


def train(writer: Writer, stage: str, model: str, languages: dict[str, tuple[float, float]], **kinds: Any) -> None:
    """One train stage with its log."""
    steps, sources = kinds.pop("steps", 400), kinds.pop("sources", ["english"])
    phases, peak = kinds.pop("phases", ["all"]), kinds.pop("peak", 1e-3)
    log = metrics(steps, kinds.pop("start", 8.0), kinds.pop("end", 2.1), sources, phases, peak)
    log += evaluations(steps, languages) if languages else ""
    log += kinds.pop("more", "")
    summary = trained(parameters=1_480_000, tokens=steps * 4096, steps=steps)
    settings = {"objective": "lm", "gradient_clip": 1.0, "steps": steps, **kinds}
    reads = {"model": [model], "tokens": ["tokens"]}
    writer.write(stage, "train", "model", reads, summary, settings, {"logs/metrics.jsonl": log}, seconds=118.4)


def dpo_evaluations(steps: int) -> str:
    lines = []
    for step in range(0, steps + 1, 20):
        done = 1 - math.exp(-3 * step / steps)
        pair = {"accuracy": 0.5 + 0.3 * done, "margin": 5 * done}
        sources = {"preferences-en": pair, "preferences-ar": {**pair, "accuracy": 0.5 + 0.24 * done}}
        lines.append(json.dumps({"type": "evaluation", "step": step, "sources": sources, "languages": {}}))
    return "\n".join(lines) + "\n"


def many_sources() -> tuple[dict[str, Any], dict[str, Any]]:
    """The ledger and the signals of a corpus of eighteen languages with all signals of the catalogue."""
    codes = ["ar", "de", "en", "es", "fr", "he", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "vi", "zh"]
    accounts, measured = {}, {}
    one = ledger()["sources"]["english"]
    for index, code in enumerate(codes):
        for name in (code, f"web-{code}"):
            kept, dropped = (
                2000 + 311 * index,
                {"near_duplicate": 90 + 13 * index, "max_urls": 40, "min_words": 220 - 9 * index},
            )
            accounts[name] = {
                **one,
                "language": code,
                "kept": count(kept),
                "dropped": {r: count(n) for r, n in dropped.items()},
                "read": count(kept + 220 + sum(dropped.values())),
            }
            measured[name] = {signal: signals()["english"]["urls"] for signal in NAMES}
            for signal in NAMES[::3]:
                measured[name][signal] = signals()["english"]["words"]
            for signal in NAMES[1::3]:
                measured[name][signal] = signals()["english"]["digits"]
    return {"sources": accounts}, measured


def write_run(folder: Path) -> list[Artifact]:
    """A whole small run: base model, extension, two phases of continued training, merge, SFT, DPO."""
    writer = Writer(folder)
    writer.write("world", "world", "text", {}, EMPTY_WORLD, {"languages": ["en", "ar"]})
    sources = {
        "english": {"path": "text/en.jsonl", "language": "en", "target_language": None},
        "arabic": {"path": "text/ar.jsonl", "language": "ar", "target_language": None},
        PARALLEL: {"path": "parallel/en-ar.jsonl", "language": "en", "target_language": "ar"},
    }
    duplicates = [
        {"reason": "same_url", "size": 2, "kept": "ar-3", "dropped": ["ar-4"], "excerpt": "الصفحة الرئيسية"},
        {
            "reason": "near_duplicate",
            "size": 9,
            "kept": "en-3",
            "dropped": [f"en-{n}" for n in range(4, 12)],
            "excerpt": ATTACK,
        },
    ]
    repeated = [{"line": ATTACK, "documents": 71}, {"line": "جميع الحقوق محفوظة", "documents": 1200}]
    files = {
        "ledger.json": ledger(),
        "signals.json": signals(),
        "duplicates.json": duplicates,
        "repeated.json": repeated,
    }
    corpus = replace(EMPTY_CORPUS, documents=DocumentCounts(36000, 32650, 665, 2685))
    writer.write("corpus", "curate", "corpus", {"text": ["world"]}, corpus, {"sources": sources}, files, 21.0)
    told = Separation(auc=0.974, threshold=612.5, precision=0.95, recall=0.9, good=500, bad=480)
    models = {
        "en": NgramModel(500, 141.2, {"50%": 120.0}),
        "ar": NgramModel(480, 388.0, {"50%": 300.0}, separation=told),
    }
    judged = NgramSummary("word", 3, models)
    writer.write("ngram", "train-ngram", "quality", {"corpus": ["corpus"]}, judged, {}, {}, 5.0)
    found = {
        "en": {"documents": 900, "limits": {"max_urls": {"set": 0.2, "learnt": 0.125, "dropped_by_set": 0.004}, "min_words": {"set": 50.0, "learnt": 31.0, "dropped_by_set": 0.05}}},
        "ar": {"documents": 700, "limits": {"max_urls": {"set": 0.2, "learnt": 0.2, "dropped_by_set": 0.01}}},
        "id": {"documents": 7, "limits": {}},
    }  # fmt: skip
    rules = RulesSummary(
        "default", {name: LearntRules(of["documents"], len(of["limits"])) for name, of in found.items()}
    )
    writer.write("learnt", "learn-rules", "rules", {"corpus": ["corpus"]}, rules, {}, {"learnt.json": found}, 2.0)
    chat = {"sources": {name: {"path": "x", "language": name[-2:]} for name in ("chat-en", "chat-ar", "preferences-en", "preferences-ar")}}  # fmt: skip
    gathered = EMPTY_CORPUS
    writer.write("instructions", "gather-instructions", "instructions", {"text": ["world"]}, gathered, chat, {}, 1.2)
    english = tokenizer_measures("heldout", 212, 1.21, 0.08)
    fertility = TrainedTokenizer(
        kind="byte-fallback",
        chat_format="diglot",
        vocabulary_size=3000,
        requested=3000,
        alphabet=60,
        sample=TokenizerSample({"en": 1000}, {"en": 1.0}),
        curve={"en": [(0, 4.6), (500, 1.9), (1000, 1.5), (2000, 1.21)]},
        fertility={"en": 1.21, "ar": 7.4},
        measures={"en": english},
        proofs=Proofs(round_trip=RoundTrip(passed=True, documents=60), reachable=Reachable(passed=True, unreachable=0)),
        examples={},
        parity=TokenCosts(982, {"en": 9000, "ar": 12000}, 0.123),
    )
    writer.write("base-tokenizer", "train-tokenizer", "tokenizer", {"corpus": ["corpus"]}, fertility, {"languages": ["en"]}, {}, 2.1)  # fmt: skip
    bytes_of_arabic = [f"<0x{byte:02X}>" for byte in "الخباز يخبز".encode()]
    baker = ["the", "▁ba", "ker", "▁bakes"]
    extended = ExtendedTokenizer(
        kind="byte-fallback",
        chat_format="llama-3",
        vocabulary_size=5000,
        base_vocabulary_size=3000,
        base_hash="b" * 32,
        new_tokens=NewTokens(requested=2000, added=2000, characters=36, of_base_characters=0),
        chat_tokens_added=[],
        languages=["ar"],
        languages_sharing_the_alphabet=[],
        base_languages=["en"],
        sample=TokenizerSample({"ar": 1000}, {"ar": 1.0}),
        curve={"ar": [(0, 7.4), (500, 2.6), (1000, 1.8), (2000, 1.34)]},
        fertility={"en": 1.21, "ar": 1.34},
        fertility_before={"en": 1.21, "ar": 7.4},
        measures={
            "en": english,
            "ar": tokenizer_measures("documents", 198, 1.34, 0.21),
            "th": tokenizer_measures("heldout", 3, 1.7, 0.3, "segments"),
        },
        measures_before={"en": english, "ar": tokenizer_measures("documents", 198, 7.4, 0.998)},
        proofs=Proofs(
            round_trip=RoundTrip(passed=True, documents=435, arbitrary_texts=2000, exact=2435),
            identity=Identity(
                passed=True, required=True, languages=["en"], lines=5000, identical=5000, with_new_characters=0,
                changed=0, share=1.0, share_without_new_characters=1.0, tokens_before=9000, tokens_after=9000,
            ),
            reachable=Reachable(passed=True, unreachable=0, tokens=2000),
            base_ids=BaseIds(passed=True, tokens=3000),
            special_tokens=SpecialTokens(passed=True, added=[], chat_template="the base's"),
            sentencepiece=SentencePieceProof(passed=True, texts=12000, base_differs=3),
        ),
        examples={
            "en": [TokenizerExample("the baker bakes", after=baker, before=baker)],
            "ar": [TokenizerExample("الخباز يخبز", ["الخ", "باز<0xD9>", "<0x8A>", "▁يخبز"], bytes_of_arabic)],
        },
    )  # fmt: skip
    reads = {"tokenizer": ["base-tokenizer"], "corpus": ["corpus"]}
    writer.write("tokenizer", "extend-tokenizer", "tokenizer", reads, extended, {"languages": ["ar"]}, {}, 6.3)
    reads = {"tokenizer": ["tokenizer"], "corpus": ["corpus"], "instructions": ["instructions"]}
    used, frame = EncoderUsed("kernel", 400, None), DocumentFrame("<s>", "</s>", "")
    tokens = TokensSummary("f" * 32, 5000, 9_000_000, {"en": 4_000_000, "ar": 5_000_000}, {}, used, frame)
    writer.write("tokens", "encode", "tokens", reads, tokens, {}, {}, 8.8)
    writer.write(
        "base-init",
        "new-model",
        "model",
        {"tokenizer": ["base-tokenizer"]},
        NewModelSummary("llama", 1_200_000, SMALL_SHAPE, preset="tiny"),
        {},
        {},
        0.4,
    )
    train(writer, "base", "base-init", {"en": (3.0, 0.62)}, phases=["all"])
    expand = {"model": ["base"], "tokenizer": ["tokenizer"]}
    expanded = ExpandedModel(
        "llama", 1_480_000, SMALL_SHAPE, rows_before=3000, rows_after=5000, new_tokens=2000, new_special_tokens=0,
        new_tokens_without_spelling=0, sub_tokens_per_new_token=4.2, initialization="mean", new_layers=[], norms={},
    )  # fmt: skip
    writer.write("expanded", "expand", "model", expand, expanded, {}, {}, 0.6)
    both = {"en": (0.78, 0.63), "ar": (2.6, 0.72), PARALLEL: (1.9, 0.61)}
    names = ["english", "arabic", PARALLEL]
    guarded = [
        {"type": "step", "step": 300, "phase": "stable", "tokens": 300 * 4096, "loss": 3.4, "losses": {"english": 3.2, "arabic": 3.6}, "skipped": {"step": 300, "documents": ["arabic:ar-7"], "more": 0}},
        {"type": "rollback", "step": 400, "after": 432, "to": 400, "skipped_data": [429, 529], "skipped": []},
    ]  # fmt: skip
    train(
        writer, "continued", "expanded", both, sources=names, phases=["stable", "decay"], steps=700, start=6.2,
        more="".join(json.dumps(line) + "\n" for line in guarded),
    )  # fmt: skip
    branch = {"en": (0.63, 0.64), "ar": (0.72, 0.69), PARALLEL: (0.61, 0.6)}
    train(writer, "branch", "continued", branch, sources=names, steps=150, start=2.4, end=2.0)
    halves = {"continued": 0.5, "branch": 0.5}
    merged = MergedModel(
        "llama", 1_480_000, SMALL_SHAPE, method="linear", models=halves, reordered_rows={"continued": 0, "branch": 0}
    )
    writer.write("merged", "merge", "model", {"models": ["continued", "branch"]}, merged, {}, {}, 0.9)
    tuned = {"en": (0.64, 0.66), "ar": (0.7, 0.73)}
    train(
        writer, "sft", "merged", tuned, sources=["chat-en", "chat-ar"], steps=150, start=2.0, end=0.8, objective="sft"
    )
    pairs = ["preferences-en", "preferences-ar"]
    train(writer, "dpo", "sft", {}, sources=pairs, steps=80, start=0.69, end=0.31, objective="dpo", more=dpo_evaluations(80))  # fmt: skip
    evaluate(writer, "evaluate-base", "base", 0.0)
    evaluate(writer, "evaluate-expanded", "expanded", 0.05)
    evaluate(writer, "evaluate-aligned", "dpo", 1.0)
    found = [read_artifact(folder / stage) for stage in writer.fingerprints]
    assert None not in found
    return [artifact for artifact in found if artifact is not None]


def by_stage(artifacts: list[Artifact], stage: str) -> Artifact:
    """The artifact of a stage."""
    return next(artifact for artifact in artifacts if artifact.stage == stage)


def with_scores(artifacts: list[Artifact], stage: str, **changes: Any) -> list[Artifact]:
    """The same artifacts with other scores of one evaluate stage; its place among them stays."""
    summary = replace(by_stage(artifacts, stage).summary, **changes)
    return [replace(each, summary=summary) if each.stage == stage else each for each in artifacts]
