"""The lineage of models: which was made from which, at which step, and where branches were merged.

    base-init ── base ── expanded ── trunk ─┬─────────────── trunk-two
                                            ├ @400  decay-one ─┐
                                            └ @400  decay-two ─┴─ merged ── sft ── dpo

In the terminal it is a tree (`diglot show`); on the page it is a picture of lanes, as of commits: every row is a
model, a line is the training that led to it, and a branch leaves its trunk's line at its step's place on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from diglot.base.format import join, number, short
from diglot.base.summaries.model import ImportedModel
from diglot.base.summaries.summary import Summary
from diglot.base.table import Cell, Table, left, right
from diglot.report.reading import Run
from diglot.report.section import Section

NOTE = (
    "Every dot is a model, every line what led to it; dashed lines are merged. Small rings: models kept on the way, "
    "where branches left (STAGE@STEP). Then what it was made from, and the tokens of training behind it."
)
ROW_HEIGHT, LANE_WIDTH, MARGIN = 38, 22, 14  # pixels; the stylesheet has the same row height


@dataclass(frozen=True)
class Member:
    """A model of the lineage.

    Attributes:
        stage: the stage that made it.
        do: that stage's kind.
        parents: the models it was made from, each with the step it was taken at (None: the last).
        base: of a merge: the model that all began from.
        steps: trained in this stage.
        tokens: trained on in this stage.
        about: its other facts, in words.
        done: whether it is there.
    """

    stage: str
    do: str
    parents: tuple[tuple[str, int | None], ...]
    base: str | None = None
    steps: int = 0
    tokens: int = 0
    about: str = ""
    done: bool = True

    @property
    def words(self) -> str:
        """How it was made."""
        parts = [self.do]
        if self.do == "merge":
            parts = [f"merge ({self.about}) of {join([at(*parent) for parent in self.parents])}"]
        if self.steps:
            parts.append(f"{number(self.steps)} steps, {short(self.tokens)} tokens")
        if self.about and self.do != "merge":
            parts.append(self.about)
        return " · ".join([*parts, *([f"base {self.base}"] if self.base else [])])


def at(stage: str, step: int | None) -> str:
    """A model's name in `from`."""
    return stage if step is None else f"{stage}@{step}"


def about(do: str, settings: Mapping[str, Any]) -> str:
    """What a settings' reader wants to know of a member."""
    if do == "merge":
        last = f", last {settings['last']}" if settings.get("last") else ""
        return f"{settings.get('method', 'linear')}{last}"
    if do == "train":
        goes_on = settings.get("continues", "weights")
        objective = settings.get("objective", "lm")
        parts = [objective] if objective != "lm" else []
        return " · ".join([*parts, *([f"continues the {goes_on}"] if goes_on != "weights" else [])])
    return ""


def imported(summary: Summary) -> str:
    """What the import of a model found: its architecture, and its logits beside transformers'."""
    if not isinstance(summary, ImportedModel) or summary.proof is None:
        return ""
    how = ", document by document" if summary.proof.documents == "alone" else ""
    return f"{summary.architecture}{how}, logits {summary.proof}"


def members_of(run: Run) -> list[Member]:
    """The models of a run, parents first."""
    trained = {training.artifact.stage: training for training in run.trainings}
    found = []
    for artifact in run.of_kind("model"):
        read = run.models_read(artifact)
        training = trained.get(artifact.stage)
        found.append(
            Member(
                stage=artifact.stage,
                do=artifact.do,
                parents=tuple((other.stage, step) for other, step, role in read if role != "base"),
                base=next((at(other.stage, step) for other, step, role in read if role == "base"), None),
                steps=training.artifact.settings.get("steps", 0) if training else 0,
                tokens=training.tokens if training else 0,
                about=imported(artifact.summary) or about(artifact.do, artifact.settings),
            )
        )
    return found


def tokens_behind(members: Sequence[Member]) -> dict[str, int]:
    """Tokens that a model and those before it were trained on; along the longest way, where branches were merged."""
    by_name, ends = {member.stage: member for member in members}, dict[str, int]()
    for member in members:
        starts = [0]
        for stage, step in member.parents:
            if stage in ends:
                left_out = 0
                if step is not None and by_name[stage].steps:
                    left_out = round(by_name[stage].tokens * (1 - step / by_name[stage].steps))
                starts.append(ends[stage] - left_out)
        ends[member.stage] = max(starts) + member.tokens
    return ends


# --- in the terminal ------------------------------------------------------------------------------------------


def lineage_tree(members: Sequence[Member]) -> Tree:
    """The lineage as a tree; what has several parents stands under the first, the others point to it."""
    behind = tokens_behind(members)
    tree = Tree("[bold]models[/]", guide_style="dim")
    drawn: dict[str, Tree] = {}
    for member in members:
        known = [(stage, step) for stage, step in member.parents if stage in drawn]
        total = behind[member.stage]
        text = f"[bold]{escape(member.stage)}[/] {escape(member.words)}"
        if total > member.tokens > 0:
            text += f" ({short(total)} in all)"
        text = text if member.done else f"[dim]{text} · to do[/]"
        stage, step = known[0] if known else ("", None)
        where = f"[cyan]@{step}[/] " if step is not None else ""
        drawn[member.stage] = (drawn[stage] if known else tree).add(where + text)
        for other, other_step in known[1:]:
            if other != stage:
                where = f"[cyan]@{other_step}[/] " if other_step is not None else ""
                drawn[other].add(f"{where}[dim]→ {escape(member.stage)}[/]")
    return tree


# --- on the page ----------------------------------------------------------------------------------------------


def lanes(members: Sequence[Member]) -> dict[str, int]:
    """The lane of each model: that of the model it goes on from, for the first that does; else the first free one."""
    heir: dict[str, Member] = {}
    for member in sorted(members, key=lambda member: member.do == "merge"):  # training goes on before a merge does
        if member.parents and member.parents[0][1] is None:
            heir.setdefault(member.parents[0][0], member)
    row_of = {member.stage: row for row, member in enumerate(members)}
    found: dict[str, int] = {}
    taken: list[list[tuple[int, int]]] = []  # by lane, from one row to another
    for member in members:
        if member.stage in found:
            continue
        line = [member.stage]
        while line[-1] in heir and heir[line[-1]].stage not in found:
            line.append(heir[line[-1]].stage)
        first = row_of.get(member.parents[0][0], row_of[member.stage]) if member.parents else row_of[member.stage]
        span = first, row_of[line[-1]]
        free = (lane for lane, spans in enumerate(taken) if all(e <= span[0] or b >= span[1] for b, e in spans))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(span)
        found |= dict.fromkeys(line, lane)
    return found


def picture(members: Sequence[Member]) -> dict[str, Any]:
    """The table of the lineage, and its dots and lines in pixels."""
    lane_of, row_of = lanes(members), {member.stage: row for row, member in enumerate(members)}
    by_name, behind = {member.stage: member for member in members}, tokens_behind(members)

    def place(stage: str) -> tuple[float, float]:
        return MARGIN + lane_of[stage] * LANE_WIDTH, (row_of[stage] + 0.5) * ROW_HEIGHT

    def left_at(stage: str, step: int | None) -> tuple[float, float]:
        """Where a branch leaves the line that leads to a stage's model."""
        x, y = place(stage)
        trunk = by_name[stage]
        if step is None or not trunk.steps or not trunk.parents or trunk.parents[0][0] not in row_of:
            return x, y
        top = place(trunk.parents[0][0])[1]
        top = max(top, y - ROW_HEIGHT) if lane_of[trunk.parents[0][0]] != lane_of[stage] else top
        return x, top + (y - top) * step / trunk.steps

    # A branch is a curve out of its parent's line: beside it downwards, or, into a lane on its left, across first.
    lines, marks = [], []
    for member in members:
        x, y = place(member.stage)
        for stage, step in member.parents:
            if stage not in row_of:
                continue
            start_x, start_y = left_at(stage, step)
            if step is not None:
                marks.append({"x": round(start_x, 1), "y": round(start_y, 1), "label": at(stage, step)})
            turn = min(start_y + ROW_HEIGHT, y) if x >= start_x else max(y - ROW_HEIGHT, start_y)
            bend = (start_y + turn) / 2 if x >= start_x else (turn + y) / 2
            curve = (
                f"C{start_x:g} {bend:g} {x:g} {bend:g} {x:g} {turn:g} L{x:g} {y:g}"
                if x >= start_x
                else f"L{start_x:g} {turn:g} C{start_x:g} {bend:g} {x:g} {bend:g} {x:g} {y:g}"
            )
            lines.append({"path": f"M{start_x:g} {start_y:g} {curve}", "joins": len(member.parents) > 1})
    # Rows of the table are as high as the picture's, so that dots and names stand beside each other.
    table = Table([*left("", "", ""), *right("")], notes=[NOTE])
    for member in members:
        parents = join([at(*parent) for parent in member.parents]) if member.do != "merge" else ""
        tokens = short(behind[member.stage]) if behind[member.stage] else "–"
        table.add(Cell(member.stage, style="strong"), member.words, Cell(parents, style="quiet"), tokens)
    dots = [place(member.stage) for member in members]
    width = 2 * MARGIN + max(lane_of.values(), default=0) * LANE_WIDTH
    height = len(members) * ROW_HEIGHT
    return {"table": table, "dots": dots, "lines": lines, "marks": marks, "width": width, "height": height}


def lineage(run: Run) -> Section | None:
    """The section of the page; None where there are no two models."""
    members = members_of(run)
    if len(members) < 2:
        return None
    parents = [stage for member in members for stage, _ in {*member.parents}]
    branching = [name for name in dict.fromkeys(parents) if parents.count(name) > 1]
    merges = [member for member in members if member.do == "merge"]
    longest = max(tokens_behind(members).values())
    finding = f"{len(members)} models; the longest way to one was {number(longest)} tokens of training."
    if branching:
        finding += f" Branches left {join(branching)}."
    for member in merges:
        joined = join([at(*parent) for parent in member.parents])
        finding += f" {member.stage} joins {joined if len(member.parents) > 1 else f'models of {joined}'}."
    return Section("lineage", "The lineage of models", finding, picture(members))
