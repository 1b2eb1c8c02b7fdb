"""The card of a model, README.md of its folder: written from what the run's artifacts say, and from nothing else.

The front matter is made by huggingface_hub's own classes, evaluation results in it as the hub has them (`model-index`).
What people and models wrote, names of sources among it, is text in it: see `markdown`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diglot import __version__
from diglot.base.artifact import Artifact
from diglot.base.format import duration, energy, join, number
from diglot.publish.facts import (
    Facts,
    base_model,
    data_table,
    hub_datasets,
    languages,
    mixture_table,
    parameters_of,
    training_table,
)
from diglot.publish.markdown import table, text
from diglot.recipe.common import at_step
from diglot.report.comparisons import Comparison, headline_comparisons, losses, new_languages
from diglot.report.costs import energy_of
from diglot.report.finding import finding_of
from diglot.report.identity import facts_of as identity_of
from diglot.report.learnt import learnt_table, next_seed
from diglot.report.results import Result, results, scores_of
from diglot.text.languages import shown_language

METRICS = {"acc": "accuracy", "bits/byte": "bits_per_byte"}  # ours, and the hub's names


@dataclass(frozen=True)
class Said:
    """What only the person who publishes can say.

    Attributes:
        name: of the model.
        license: of the model, by the hub's identifier; None: not said, and not guessed.
        data_licenses: by source; `*` is for all others.
        price: of an hour of the machine, in a currency of the reader's.
        gguf: names of GGUF files in the folder.
        remarks: what whoever uses these should know.
    """

    name: str
    license: str | None = None
    data_licenses: Mapping[str, str] = field(default_factory=dict)
    price: float | None = None
    gguf: Sequence[str] = ()
    remarks: Sequence[str] = ()


def model_card(facts: Facts, said: Said, has_chat: bool) -> str:
    """README.md of a model.

    Args:
        facts: of its run.
        said: what the run does not know.
        has_chat: whether its tokenizer has a chat template.
    """
    parts = [
        f"# {text(said.name)}",
        _finding(facts),
        _about(facts),
        _use(said, has_chat),
        _evaluation(facts),
        _data(facts, said),
        _training(facts),
        _limits(facts),
        _cost(facts, said),
        _responsible(facts),
        _made(facts),
    ]
    return f"---\n{front_matter(facts, said)}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def front_matter(facts: Facts, said: Said) -> str:
    """The card's YAML, without its lines of dashes."""
    from huggingface_hub import ModelCardData  # start-up: half a second

    codes = languages(facts.stages)
    tags = ["diglot", *(["multilingual"] if len(codes) > 1 else []), *(["gguf", "llama.cpp"] if said.gguf else [])]
    data = ModelCardData(
        language=codes or None,
        license=said.license,
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=base_model(facts.stages),
        datasets=hub_datasets(facts.stages) or None,
        tags=tags,
        model_name=said.name,
        eval_results=evaluation_results(facts.after) or None,
    )
    return data.to_yaml().strip()


def evaluation_results(scores: Artifact | None) -> list[Any]:
    """Every number of an evaluation as the hub has them, with interval, items and chance beside it."""
    from huggingface_hub import EvalResult  # start-up: half a second

    found = []
    for result in results(scores_of(scores)) if scores else []:
        if not math.isfinite(result.value) or result.kind in ("margin", "gain"):
            continue
        more: dict[str, Any] = {"items": result.items, "chance": result.chance, "unit": _unit(result)}
        if result.interval and all(map(math.isfinite, result.interval)):
            more["interval_95"] = [round(end, 6) for end in result.interval]
        name = {"bits": "held-out text", "preference": "held-out preference pairs"}.get(result.kind, result.name)
        found.append(
            EvalResult(
                task_type="text-generation",
                task_name="Text generation",
                dataset_type=result.name if result.kind == "task" else result.kind,
                dataset_name=f"{name} ({shown_language(result.language)})",
                dataset_config=result.language,
                metric_type=METRICS.get(result.metric, result.metric),
                metric_name=result.metric,
                metric_value=round(result.value, 6),
                metric_args={key: value for key, value in more.items() if value is not None},
            )
        )
    return found


def _unit(result: Result) -> str:
    return "share of 1" if result.is_share else "bits per byte" if result.kind == "bits" else "of 100"


# --- sections -------------------------------------------------------------------------------------------------


def _compared(facts: Facts) -> list[Comparison]:
    return headline_comparisons([*facts.stages, *facts.scores], facts.before, facts.after) if facts.after else []


def _finding(facts: Facts) -> str:
    if facts.after is None:
        return "No evaluation of this model is known: nothing is claimed of what it can do."
    found = finding_of(
        _compared(facts), new_languages(facts.stages), losses([*facts.stages, *facts.scores], facts.before, facts.after)
    )
    return "\n\n".join(text(line, 2000) for line in found.split("\n"))


def _about(facts: Facts) -> str:
    lines, known = [], parameters_of(facts.model)
    if known:
        lines.append(f"- {number(known[0])} parameters, architecture {text(known[1])}")
    if codes := languages(facts.stages):
        lines.append(f"- Languages: {join(text(shown_language(code)) for code in codes)}")
    if base := base_model(facts.stages):
        lines.append(f"- Base: [{text(base)}](https://huggingface.co/{base})")
    stage, step = at_step(facts.model.stage) if facts.model else ("", None)
    if step:
        lines.append(f"- Taken after step {text(step)} of {text(stage)}: what is said of that stage below is said of all its steps")  # fmt: skip
    if facts.stages:
        lines.append(f"- Made of {len(facts.stages)} stages: {', '.join(text(each.stage) for each in facts.stages)}")
    return "\n".join(lines)


def _use(said: Said, has_chat: bool) -> str:
    ask = (
        'messages = [{"role": "user", "content": "…"}]\n'
        'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)'
        if has_chat
        else 'inputs = tokenizer("…", return_tensors="pt")'
    )
    lines = [
        "## Use\n",
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n",
        'folder = "."  # of this model\ntokenizer = AutoTokenizer.from_pretrained(folder)',
        f"model = AutoModelForCausalLM.from_pretrained(folder)\n{ask}",
        "answer = model.generate(**inputs, max_new_tokens=200)",
        'print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))\n```',
    ]
    if said.gguf:
        lines.append(f"\nFor llama.cpp: {', '.join(text(name) for name in said.gguf)}.")
        lines += [f"\n- {text(remark, 1000)}" for remark in said.remarks]
    return "\n".join(lines)


def _evaluation(facts: Facts) -> str:
    if facts.after is None:
        return ""
    made = learnt_table(_compared(facts), "", next_seed(facts.stages))
    about = f"Before: {text(facts.before.stage)}; after: {text(facts.after.stage)}.\n\n" if facts.before else ""
    return f"## Evaluation\n\n{about}{table(made)}"


def _data(facts: Facts, said: Said) -> str:
    made, mixed = data_table(facts.stages, said.data_licenses), mixture_table(facts.stages)
    found = f"## Data\n\n{table(made)}" if made.rows else ""
    if mixed.rows:
        found += (
            f"\n\n### Mixture\n\nShares of the tokens of each phase, as planned and as they came out.\n\n{table(mixed)}"
        )
    return found.strip()


def _training(facts: Facts) -> str:
    made = training_table(facts.stages)
    return f"## Training\n\n{table(made)}" if made.rows else ""


def _limits(facts: Facts) -> str:
    lines = []
    if facts.after is not None:
        weak = [row for row in _compared(facts) if row.either.kind == "task" and not row.either.is_known]
        names = [
            f"{text(row.name)} ({text(shown_language(row.either.language))}) {text(row.either.text)}" for row in weak
        ]
        if names:
            lines.append(f"- Not beyond chance by its interval: {join(names)}.")
        lost = losses([*facts.stages, *facts.scores], facts.before, facts.after)
        if lost:
            worse = [f"{text(row.name)} ({text(shown_language(row.either.language))}), {text(row.change_text)} since {text(row.since)}" for row in lost]  # fmt: skip
            lines.append(f"- Lost again on the way: {join(worse)}.")
    lines += [
        "- Intervals cover other items of the same tests, not another training and not other kinds of use.",
        "- Nothing was measured of what is not in the table: facts, safety, bias, code, long texts.",
    ]
    return "## Limits\n\n" + "\n".join(lines)


def _cost(facts: Facts, said: Said) -> str:
    seconds = sum(each.provenance.get("seconds") or 0.0 for each in facts.stages)
    if not seconds:
        return ""
    used = energy_of(facts.stages)
    lines = [f"- Time of all stages: {duration(seconds)}", f"- Energy: {energy(used.total)}, {text(used.source, 1000)}"]
    if said.price is not None:
        lines.append(f"- Cost: {seconds / 3600 * said.price:,.2f} at {said.price:g} an hour of the machine")
    return "## Energy and cost\n\n" + "\n".join(lines)


def _responsible(facts: Facts) -> str:
    made = [each for each in facts.stages if each.do in ("self-instruct", "make-instructions", "translate")]
    lines = [
        "Language models write what is likely, which may be wrong, unfair or harmful, in a new language more so than in one "
        "with much text. Do not let it decide about people; tell people that they talk to a machine; test it on what you want "
        "to use it for, in each language. Its data may hold personal or protected text: whoever passes the model on answers "
        "for the licences above."
    ]
    if made:
        lines.append(f"Some of its training text was written or translated by machines ({', '.join(text(each.stage) for each in made)}).")  # fmt: skip
    return "## Responsible use\n\n" + "\n\n".join(lines)


def _made(facts: Facts) -> str:
    lines = [f"- {text(label)}: {text(value)}" for label, value in identity_of(facts.stages)] if facts.stages else []
    if facts.model is not None:
        lines.append(f"- fingerprint {facts.model.fingerprint}, content {facts.model.content}")
    return "\n".join(
        ["## How it was made\n", *lines, f"- This card was written by Diglot {__version__} from the run's files."]
    )
