"""The section of a run's report about instructions that a model wrote: what passed which check, by round and language.

PolyLM's figure 14 (shares that pass, round by round) and table 7 (tasks by language), drawn from the run.
"""

from __future__ import annotations

import plotly.graph_objects as go

from diglot.base.artifact import Artifact
from diglot.base.format import number, share, words
from diglot.base.summaries.corpus import Round, SelfInstructSummary
from diglot.base.table import Cell, Table, left, right
from diglot.report.figures import Colours, escape, figure, label_ends
from diglot.report.reading import Run
from diglot.report.section import Plot, Section, plot
from diglot.text.languages import shown_language

SIMILAR = "similar"  # the last check, which the paper draws apart from all before it


def self_instruct(run: Run, colours: Colours) -> Section | None:
    """The tasks of every stage in which a model wrote some."""
    stages = run.of_do("self-instruct")
    if not stages:
        return None
    sentences = [_finding(stage) for stage in stages]
    data = {"stages": [_stage(stage, colours) for stage in stages]}
    return Section("self-instruct", "Instructions that a model wrote", " ".join(sentences), data, "self_instruct")


def _summary(artifact: Artifact) -> SelfInstructSummary:
    assert isinstance(artifact.summary, SelfInstructSummary), f"{artifact.stage} wrote no tasks"
    return artifact.summary


def _finding(artifact: Artifact) -> str:
    facts = _summary(artifact)
    kept = {language: sum(each.kept for each in rounds) for language, rounds in facts.rounds.items()}
    written = sum(each.tasks for rounds in facts.rounds.values() for each in rounds)
    told = ", ".join(f"{number(count)} in {shown_language(language)}" for language, count in kept.items())
    return f"{facts.model} wrote {number(written)} tasks; {share(sum(kept.values()), written)} were taken: {told}."


def _stage(artifact: Artifact, colours: Colours) -> dict[str, object]:
    rounds = _summary(artifact).rounds
    plots: list[Plot] = []
    if any(len(each) > 1 for each in rounds.values()):
        caption = (
            "Tasks that pass, in percent of those that the model wrote, round by round: the checks of form, language and "
            "repetition (dotted), and that of likeness to the pool as well (solid)."
        )
        plots.append(plot(f"rounds-{artifact.stage}", passed(rounds, colours), caption))
    return {"name": artifact.stage, "table": _table(rounds), "plots": plots}


def _table(rounds: dict[str, list[Round]]) -> Table:
    """A row a language: tasks written and taken, and why others were not."""
    reasons = list(dict.fromkeys(reason for each in rounds.values() for one in each for reason in one.rejected))
    columns = right("prompts", "refused", "tasks", "taken", "share", *(words(reason) for reason in reasons))
    table = Table([*left("language"), *columns])
    for language, each in rounds.items():
        tasks, kept = (sum(getattr(one, name) for one in each) for name in ("tasks", "kept"))
        table.add(
            shown_language(language),
            number(sum(one.prompts for one in each)),
            number(sum(one.refused for one in each)),
            number(tasks),
            number(kept),
            share(kept, tasks),
            *(Cell(number(sum(one.rejected.get(reason, 0) for one in each)), style="quiet") for reason in reasons),
        )
    return table


def passed(rounds: dict[str, list[Round]], colours: Colours) -> go.Figure:
    """The share of tasks that pass the checks, by round and language; PolyLM's figure 14."""
    fig = figure(280, right=90, top=10)
    ends = []
    for language, each in rounds.items():
        x = list(range(1, len(each) + 1))
        name, colour = shown_language(language), colours.of(language)
        before = [one.kept + one.rejected.get(SIMILAR, 0) for one in each]
        for dash, what, counts in (("dot", ", similar ones too", before), ("solid", "", [one.kept for one in each])):
            y = [100 * count / one.tasks if one.tasks else None for count, one in zip(counts, each)]
            fig.add_scatter(
                x=x, y=y, mode="lines+markers", name=escape(name) + what,
                line={"color": colour, "dash": dash, "width": 1.6},
                hovertemplate=f"{escape(name)} %{{y:.1f}}% in round %{{x}}<extra></extra>",
            )  # fmt: skip
        if y[-1] is not None:
            ends.append((x[-1], y[-1], name, colour))
    label_ends(fig, ends, gap=6)
    fig.update_xaxes(title="round", dtick=1, showgrid=False)
    fig.update_yaxes(range=[0, 102], ticksuffix="%")
    return fig
