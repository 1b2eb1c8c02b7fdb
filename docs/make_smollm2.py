"""Writes the numbers of docs/smollm2-arabic.md from a finished run of recipes/smollm2-arabic.yaml.

python docs/make_smollm2.py runs/smollm2-arabic

All of them are in the run's artifacts; what stands outside the marks in the page is written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent / "smollm2-arabic.md"
MODELS = ("base", "expanded", "trunk", "release", "sft", "aligned")
TRAININGS = ("trunk", "release", "sft", "dpo")


def artifact(run: Path, stage: str) -> dict[str, Any]:
    """A stage's manifest."""
    return json.loads((run / stage / "artifact.json").read_text("utf-8"))


def scores(run: Path, model: str) -> dict[str, Any]:
    """What a model scored."""
    return json.loads((run / f"evaluate-{model}" / "scores.json").read_text("utf-8"))


def table(head: list[str], rows: list[list[str]]) -> str:
    """As Markdown; numbers stand on the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_interval(value: float, error: float | None, scale: float, digits: int) -> str:
    """A number and half its 95% interval."""
    shown = f"{value * scale:.{digits}f}"
    return shown if error is None else f"{shown} ± {1.96 * error * scale:.{digits}f}"


def measured(run: Path) -> str:
    """Bits per byte and tasks by model."""
    found = {model: scores(run, model) for model in MODELS}
    rows = []
    for language in found["base"]["bits_per_byte"]:
        values = [found[model]["bits_per_byte"][language] for model in MODELS]
        shown = [with_interval(each["value"], each["standard_error"], 1, 3) for each in values]
        rows.append([f"bits per byte, {language}", *shown])
    for name, first in found["base"]["tasks"].items():
        metric = first["metric"]
        scale, digits = (100, 0) if metric.startswith("acc") else (1, 1)
        values = [found[model]["tasks"][name]["metrics"][metric] for model in MODELS]
        shown = [with_interval(each["value"], each.get("standard_error"), scale, digits) for each in values]
        chance = f", chance {first['chance'] * scale:.0f}" if first["chance"] else ""
        rows.append([f"{name} ({metric}{' %' if scale == 100 else ''}, {first['items']} items{chance})", *shown])
    for source, first in found["base"].get("preferences", {}).items():
        values = [found[model]["preferences"][source]["accuracy"] for model in MODELS]
        shown = [with_interval(each["value"], each.get("standard_error"), 100, 0) for each in values]
        rows.append([f"held-out pairs ranked right, {source} (%, {first['pairs']} pairs)", *shown])
    return table(["", *MODELS], rows)


def cost(run: Path) -> str:
    """Tokens, time, speed and memory by training."""
    rows = []
    for stage in TRAININGS:
        made = artifact(run, stage)
        summary, seconds = made["summary"], made["provenance"]["seconds"]
        speed, peak = summary["tokens_per_second"], summary["peak_memory_mb"]
        rows.append(
            [stage, f"{summary['steps']}", f"{summary['tokens']:,}", f"{seconds / 60:.0f}", f"{speed}", f"{peak:,}"]
        )
    stages = [path.parent.name for path in run.glob("*/artifact.json")]
    total = sum(artifact(run, stage)["provenance"]["seconds"] for stage in stages)
    head = ["", "steps", "tokens", "minutes (of its last start)", "tokens/s in training", "MB at most"]
    return f"{table(head, rows)}\n\nAll stages took {total / 60:.0f} minutes, as counted so."


def answers(run: Path) -> str:
    """What was asked, and what the first and the last model said, word for word."""
    parts = []
    for task in ("chat-en", "chat-ar"):
        for_models = {}
        for model in ("base", "sft", "aligned"):
            lines = (run / f"evaluate-{model}" / "items" / f"{task}.jsonl").read_text("utf-8").splitlines()
            for_models[model] = [json.loads(line) for line in lines]
        for place, item in enumerate(for_models["base"]):
            said = "\n".join(f"{model:8} {one_line(items[place]['generation'])}" for model, items in for_models.items())
            parts.append(f"```text\nasked    {one_line(item['prompt'])}\n{said}\n```")
    return "\n\n".join(parts)


def one_line(text: str) -> str:
    """A text on one line, with its line ends shown, that cannot end the block it stands in."""
    return text.strip().replace("\n", " ⏎ ").replace("```", "'''") or "(nothing)"


def tokens_a_word(run: Path) -> str:
    """Before and after the extension."""
    summary = artifact(run, "tokenizer")["summary"]
    arabic = summary["curve"]["ar"]
    return (
        f"Tokens a word on held-out text: Arabic {arabic[0][1]:.2f} → {summary['fertility']['ar']:.2f} with "
        f"{arabic[-1][0]:,} new tokens; English {summary['fertility']['en']:.2f}, as before."
    )


def where(run: Path) -> str:
    """On what it ran."""
    made = artifact(run, "dpo")["provenance"]
    recipe = made["recipe"]
    versions = ", ".join(f"{name} {made['versions'][name]}" for name in ("torch", "transformers"))
    return f"Commit {recipe['commit'][:10]}, seed 1, {made['system']}, Python {made['python']}, {versions}."


def main() -> None:
    """Fill the page."""
    run, page = Path(sys.argv[1]), PAGE.read_text("utf-8")
    makers = {"where": where, "tokens": tokens_a_word, "measured": measured, "cost": cost, "answers": answers}
    for name, make in makers.items():
        before, _, rest = page.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        assert end, f"the page has no place for {name}"
        page = f"{before}<!-- {name} -->\n\n{make(run)}\n\n{end}{after}"
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
