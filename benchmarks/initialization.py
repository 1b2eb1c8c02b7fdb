"""How new rows should start: every initialisation of `expand` against random rows and against no expansion at all.

An English model of a few million parameters that has seen a little Arabic, with a tokenizer that knows little more of
Arabic than its letters, is trained once (Llama-2 is such a base). Its tokenizer is extended; then for every initialisation and
seed the expanded model goes on with 80% Arabic and 20% English. The control goes on with the tokenizer it had. In
bits per byte of held-out real text, which is comparable across tokenizers:

    dip             straight after the expansion, before any training
    to the base     tokens until Arabic is where the base was before the expansion
    to the control  tokens until Arabic is where the control is at the end
    final           after equal training tokens

At equal tokens the expanded models see more text than the control, as their tokens are longer; so the control is
trained on, until it has seen as much Arabic text as they have (in bytes) and, as the mixture counts tokens, as many
times more English as that takes.

Seeds change the order of the data (the same for all initialisations, so that differences are paired) and what is
random in `random` and `distillation`. Intervals are 95% of Student's t over seeds; `--repeats` says how many seeds.

The stages are those of the command line, run in this process with one thread; everything stays in one folder under
~/.cache/diglot-benchmarks, and a benchmark that was cut off goes on there.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import BENCHMARKS, CACHE, ONE_THREAD, BenchmarkError, Row, arguments, finish

INITIALIZATIONS = ("random", "mean", "weighted-mean", "focus", "distillation")
DRAWN = ("random", "distillation")  # what the seed of `expand` changes
CONTROL = "no expansion"
# 97.5% quantiles of Student's t by degrees of freedom, from 1.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
ENGLISH = ("digitalgov_news", "abc_news_au", "18f_blog", "us_presidential_speeches", "openstax_us_history",
           "openstax_sociology", "wikipedia_mlqa")  # fmt: skip
ARABIC = ("saudi_newsnet",)


@dataclass(frozen=True)
class Size:
    """How big everything is. Steps are of 4 × 256 tokens."""

    vocabulary: int
    new_tokens: int
    base_steps: int
    steps: int
    evaluate_every: int
    shape: dict[str, int]
    snippets: int
    held_out: int
    arabic_documents: int
    documents: int | None = None


QUICK = Size(
    vocabulary=600, new_tokens=300, base_steps=20, steps=8, evaluate_every=4, snippets=2, held_out=4,
    shape={"num_layers": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "num_key_value_heads": 1},
    arabic_documents=10, documents=60,
)  # fmt: skip
FULL = Size(
    vocabulary=6000, new_tokens=6000, base_steps=1200, steps=160, evaluate_every=20, snippets=20,
    shape={"num_layers": 4, "hidden_size": 192, "intermediate_size": 512, "num_heads": 6, "num_key_value_heads": 2},
    held_out=12, arabic_documents=150,
)  # fmt: skip
BATCH = {"batch_size": 4, "sequence_length": 256}
LEARNING_RATE = 1.5e-3  # constant, as ALLaM's; half the base's peak
DISTILLATION_RATE = 1e-3  # 2505.20133 takes 1e-4 for models of billions of parameters


def main() -> None:
    """Make the base, train every arm, print the table."""
    args = arguments("initialization", __doc__.split("\n")[0])
    size, seeds = QUICK if args.quick else FULL, range(1, args.repeats + 1)
    if not 2 <= len(seeds) <= len(STUDENT) + 1:
        raise BenchmarkError(f"--repeats {args.repeats}: the seeds, from 2 to {len(STUDENT) + 1}")
    folder = CACHE / f"initialization-{'quick' if args.quick else 'full'}"
    os.environ.update(ONE_THREAD)
    cores, os.cpu_count = os.cpu_count, lambda: 1  # stages take as many threads as there are cores
    make_base(folder, size, args.data)
    arms = {CONTROL: train_control(folder, size, seeds)}
    for kind in INITIALIZATIONS:
        arms[kind] = [train_expanded(folder, size, kind, seed) for seed in seeds]
    os.cpu_count = cores
    table = [summarise(kind, arms) for kind in (CONTROL, *INITIALIZATIONS)]
    print(markdown(table))
    result = finish("initialization", rows(table), args, notes=notes(folder, size, table))
    if args.full:
        file = BENCHMARKS / "results" / "initialization.json"
        whole = result | {"sizes": asdict(size), "table": table}
        file.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


# --- stages ---------------------------------------------------------------------------------------------------


def diglot(*words: str | Path) -> None:
    """Run a command of Diglot's in this process; what it says goes to the error stream."""
    from diglot.cli import cli

    with contextlib.redirect_stdout(sys.stderr):
        cli.main([str(word) for word in words], standalone_mode=False)


def options(settings: dict[str, Any]) -> list[str]:
    """Settings as options of a stage's command."""
    return [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", json.dumps(value))]


def make_base(folder: Path, size: Size, data: Path) -> None:
    """Text, both tokenizers, tokens of both, and the base model."""
    limit = {"limit": size.documents} if size.documents else {}

    def source(language: str, names: tuple[str, ...]) -> dict[str, Any]:
        paths = [str(data / "raw_text" / language / f"{name}.jsonl.zst") for name in names]
        return {"path": paths, "language": language, **limit}

    sources = {"english": source("en", ENGLISH), "arabic": source("ar", ARABIC)}
    mixture = {"english": 0.85, "arabic": 0.15}
    train = {"steps": size.base_steps, **BATCH, "learning_rate": 3e-3, "evaluate_every": size.base_steps,
             "evaluate_tokens": 10**9, "phases": [
                 {"name": "stable", "share": 0.6, "mixture": mixture, "warmup": 0.05},
                 {"name": "decay", "share": 0.4, "mixture": mixture, "shape": "one-minus-sqrt"}]}  # fmt: skip
    little = sources | {"arabic": sources["arabic"] | {"limit": size.arabic_documents}}
    stages = {
        "corpus-tokenizer": {"do": "curate", "sources": little},
        "corpus": {"do": "curate", "sources": sources, "max_held_out": size.held_out, "held_out": 0.1},
        "tokenizer": {"do": "train-tokenizer", "from": "corpus-tokenizer", "vocabulary_size": size.vocabulary, "alpha": 1.0},
        "tokens": {"do": "encode", "from": {"tokenizer": "tokenizer", "corpus": "corpus"}},
        "extended": {"do": "extend-tokenizer", "from": {"tokenizer": "tokenizer", "corpus": "corpus"},
                     "languages": ["ar"], "new_tokens": size.new_tokens},
        "tokens-extended": {"do": "encode", "from": {"tokenizer": "extended", "corpus": "corpus"}},
        "new": {"do": "new-model", "from": "tokenizer", "preset": "tiny", "shape": size.shape},
        "base": {"do": "train", "from": {"model": "new", "tokens": "tokens"}, **train},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"name": "initialization", "seed": 1, "stages": stages}, indent=1))
    diglot("run", recipe, "--run", folder / "base")


def train_expanded(folder: Path, size: Size, kind: str, seed: int) -> list[dict[str, Any]]:
    """Expand the base and train it; returns its evaluations."""
    base = folder / "base"
    number = seed if kind in DRAWN else 0
    model = folder / kind / f"expanded-{number}"
    corpus = ["--corpus", base / "corpus"] if kind in ("focus", "distillation") else []
    settings = {"initialization": kind, "seed": number, "distillation.snippets": size.snippets}
    if kind == "distillation":
        settings["distillation.learning_rate"] = DISTILLATION_RATE
    inputs = ["--model", base / "base", "--tokenizer", base / "extended", *corpus]
    diglot("expand", "--out", model, *inputs, *options(settings))
    return train(folder / kind, seed, model, base / "tokens-extended", size.steps, size.evaluate_every)


def train_control(folder: Path, size: Size, seeds: Sequence[int]) -> list[list[dict[str, Any]]]:
    """Train the base on until it has seen as much Arabic text as the expanded models; returns its evaluations."""
    expanded, own = (arabic_bytes_a_token(folder, tokens) for tokens in ("tokens-extended", "tokens"))
    steps, base = math.ceil(size.steps * expanded / own), folder / "base"
    return [train(folder / "control", seed, base / "base", base / "tokens", steps, size.steps) for seed in seeds]


def train(folder: Path, seed: int, model: Path, tokens: Path, steps: int, evaluate_every: int) -> list[dict[str, Any]]:
    """Continue with Arabic and a fifth of English. The stage's name is the seed's, so all arms see one order."""
    settings = {
        "steps": steps, **BATCH, "learning_rate": LEARNING_RATE, "evaluate_every": evaluate_every,
        "evaluate_tokens": 10**9, "checkpoint_every": 100_000,
        "phases": [{"name": "arabic", "mixture": {"arabic": 0.8, "english": 0.2}}],
    }  # fmt: skip
    out = folder / f"seed-{seed}"
    diglot("train", "--out", out, "--model", model, "--tokens", tokens, *options(settings), "--recipe-seed", str(seed))
    lines = (out / "logs" / "metrics.jsonl").read_text().split("\n")
    records = [json.loads(line) for line in lines if line]
    return [{"tokens": record["tokens"], **record["languages"]} for record in records if record["type"] == "evaluation"]


def arabic_bytes_a_token(folder: Path, tokens: str) -> float:
    """Bytes of Arabic text that a token stands for, over the whole corpus."""
    manifest = json.loads((folder / "base" / tokens / "artifact.json").read_text())
    arabic = manifest["summary"]["sources"]["arabic"]["train"]
    return arabic["bytes"] / arabic["tokens"]


# --- results --------------------------------------------------------------------------------------------------


def summarise(kind: str, arms: dict[str, list]) -> dict[str, Any]:
    """All measures of an arm: a value a seed, their mean, and half the width of the 95% interval."""
    control, mine, random, mean = arms[CONTROL], arms[kind], arms["random"], arms["mean"]
    last = 1 if kind == CONTROL else -1  # the control's evaluation at equal tokens; it goes on behind that
    measures = {
        "arabic before": [run[0]["ar"] for run in mine],
        "english before": [run[0]["en"] for run in mine],
        "arabic dip": [run[0]["ar"] - base[0]["ar"] for run, base in zip(mine, control)],
        "english dip": [run[0]["en"] - base[0]["en"] for run, base in zip(mine, control)],
        "tokens to the base": [tokens_to(run, base[0]["ar"]) for run, base in zip(mine, control)],
        "tokens to the control": [tokens_to(run, base[1]["ar"]) for run, base in zip(mine, control)],
        "arabic final": [run[last]["ar"] for run in mine],
        "english final": [run[last]["en"] for run in mine],
        "arabic final, less random": [run[last]["ar"] - other[-1]["ar"] for run, other in zip(mine, random)],
        "arabic final, less mean": [run[last]["ar"] - other[-1]["ar"] for run, other in zip(mine, mean)],
        "arabic final, less control": [run[last]["ar"] - base[1]["ar"] for run, base in zip(mine, control)],
    }
    if kind == CONTROL:
        measures["arabic at equal bytes"] = [run[-1]["ar"] for run in mine]
        measures["english at equal bytes"] = [run[-1]["en"] for run in mine]
        measures["tokens at equal bytes"] = [run[-1]["tokens"] for run in mine]
    curves = [[[point["tokens"], point["ar"], point["en"]] for point in run] for run in mine]
    return {
        "initialization": kind,
        "measures": {name: interval(values) for name, values in measures.items()},
        "curves": curves,
    }


def tokens_to(run: list[dict[str, Any]], level: float) -> float | None:
    """Training tokens until Arabic is down to a level, between two evaluations on a straight line; None if never."""
    for before, after in zip([run[0], *run], run):
        if after["ar"] <= level:
            fall = before["ar"] - after["ar"]
            share = (before["ar"] - level) / fall if fall else 0.0
            return before["tokens"] + share * (after["tokens"] - before["tokens"])
    return None


def interval(values: list[float | None]) -> dict[str, Any]:
    """Mean and half the width of the 95% interval over seeds; both None where a seed has no value."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {"values": values, "mean": None, "half_width": None}
    mean = sum(known) / len(known)
    variance = sum((value - mean) ** 2 for value in known) / (len(known) - 1)
    half = STUDENT[len(known) - 2] * math.sqrt(variance / len(known))
    return {"values": values, "mean": mean, "half_width": half}


COLUMNS = {
    "Arabic, before": ("arabic before", 3),
    "English, before": ("english before", 3),
    "tokens to the base": ("tokens to the base", -3),
    "tokens to the control": ("tokens to the control", -3),
    "Arabic, final": ("arabic final", 3),
    "less random": ("arabic final, less random", 3),
    "less mean": ("arabic final, less mean", 3),
    "less control": ("arabic final, less control", 3),
    "English, final": ("english final", 3),
}


def markdown(table: list[dict[str, Any]]) -> str:
    """The table for people: mean ± half of the 95% interval over seeds."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in table:
        cells = [shown(row["measures"][name], digits) for name, digits in COLUMNS.values()]
        lines.append(f"| {row['initialization']} | {' | '.join(cells)} |")
    control = table[0]["measures"]
    cells = ["–"] * len(COLUMNS)
    places = list(COLUMNS)
    cells[places.index("Arabic, final")] = shown(control["arabic at equal bytes"], 3)
    cells[places.index("English, final")] = shown(control["english at equal bytes"], 3)
    lines.append(f"| {CONTROL}, at equal Arabic bytes | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(measure: dict[str, Any], digits: int) -> str:
    """A mean and its interval; tokens in thousands; how many seeds got there, where not all did."""
    if measure["mean"] is None:
        got = [value for value in measure["values"] if value is not None]
        return f"{len(got)} of {len(measure['values'])} seeds"
    if digits < 0:
        return f"{measure['mean'] / 1000:,.0f} ± {measure['half_width'] / 1000:,.0f} k"
    return f"{measure['mean']:.{digits}f} ± {measure['half_width']:.{digits}f}"


def rows(table: list[dict[str, Any]]) -> list[Row]:
    """The common form of benchmarks: each initialisation beside random rows, and mean beside no expansion."""
    by_kind = {row["initialization"]: row["measures"] for row in table}
    found = []
    for kind in INITIALIZATIONS[1:]:
        for what in ("arabic before", "arabic final", "english final"):
            ours, peer = by_kind[kind][what]["mean"], by_kind["random"][what]["mean"]
            found.append(Row(f"{kind}: {what}", "bits/byte", ours, peer, "random", less_is_better=True))
    for kind in INITIALIZATIONS:
        ours, peer = by_kind[kind]["arabic final"]["mean"], by_kind[CONTROL]["arabic final"]["mean"]
        found.append(Row(f"{kind}: arabic final", "bits/byte", ours, peer, CONTROL, less_is_better=True))
    return found


def notes(folder: Path, size: Size, table: list[dict[str, Any]]) -> list[str]:
    """What a reader must know."""
    manifests = {
        name: json.loads((folder / "base" / name / "artifact.json").read_text())["summary"]
        for name in ("base", "tokens", "tokens-extended")
    }
    a_token = [manifests[name]["sources"]["arabic"]["train"] for name in ("tokens", "tokens-extended")]
    lengths = [source["bytes"] / source["tokens"] for source in a_token]
    tokens = size.steps * BATCH["batch_size"] * BATCH["sequence_length"]
    control = table[0]["measures"]
    return [
        f"base: {manifests['base']['parameters']:,} parameters, {manifests['base']['tokens']:,} tokens of English with "
        f"15% Arabic; {size.vocabulary:,} entries, then {size.new_tokens:,} more; every arm {tokens:,} tokens of 80% "
        f"Arabic and 20% English, {len(control['arabic final']['values'])} seeds, learning rate {LEARNING_RATE:g}",
        f"an Arabic token is {lengths[0]:.2f} bytes long without expansion and {lengths[1]:.2f} with it: at equal "
        f"tokens the control sees {lengths[1] / lengths[0]:.1f} times less Arabic text",
        f"no expansion at equal Arabic bytes ({control['tokens at equal bytes']['mean']:,.0f} tokens): Arabic "
        f"{shown(control['arabic at equal bytes'], 3)}, English {shown(control['english at equal bytes'], 3)}",
        "intervals: 95%, Student's t over seeds; differences are paired by seed, which fixes the order of the data",
    ]


if __name__ == "__main__":
    main()
