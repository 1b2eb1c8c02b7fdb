"""The report stage: one offline HTML file about a whole run.

The page is a skeleton (`page.html.jinja`) around sections (`sections.html.jinja`), each made only if the run has
something to show for it. Style sheet, script and plotly.js are written into the file once; a content security policy
forbids the page any connection, so it is offline by construction, and any script but those two, whose hashes it names.

plotly-basic.min.js (MIT licence) is the plotly.js of the Python package's version with the traces that are used here,
lines and bars, from npm's plotly.js-basic-dist-min: 1.2 MB where the whole is 4.8.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_text
from diglot.base.summaries.scores import ReportSummary
from diglot.recipe.report import Report
from diglot.report import (
    answers,
    corpus,
    crosslingual,
    instructions,
    judgements,
    lineage,
    overview,
    scores,
    self_instruct,
    sweep,
    tokenizers,
)
from diglot.report.figures import Colours
from diglot.report.identity import facts_of
from diglot.report.reading import Run
from diglot.report.section import Section

HERE = Path(__file__).parent
PLOTLY = "plotly-basic.min.js"


def run(settings: Report, inputs: Inputs, output: Path, context: Context) -> ReportSummary:
    """Write `report.html` and return its headline.

    Raises:
        UserError: `before` or `after` names no evaluate stage among the inputs, or a payload file is broken.
    """
    artifacts = inputs.many("stages")
    names = [artifact.stage for artifact in artifacts if artifact.kind == "scores"]
    for key in ("before", "after"):
        wanted = getattr(settings, key)
        if wanted is not None and wanted not in names:
            known = ", ".join(names) or "none"
            raise UserError(f"{context.name}.{key}: no evaluate stage {wanted!r} in `from`; there are: {known}")
    sections = sections_of(artifacts, settings.before, settings.after, settings.price)
    file = output / "report.html"
    write_text(file, render(settings.title or "What this run learnt", sections, facts_of(artifacts)))
    finding = sections[0].finding if sections else ""
    return ReportSummary(file.name, file.stat().st_size, [section.name for section in sections], finding)


def sections_of(
    artifacts: Sequence[Artifact], before: str | None, after: str | None, price: float | None = None
) -> list[Section]:
    """The sections that the artifacts have something to show for, in the order of the page."""
    all_of = Run(artifacts)
    colours = Colours(all_of.languages(), all_of.source_languages())
    sections = [
        overview.headline(all_of, colours, before, after, price) if artifacts else None,
        overview.pipeline(all_of, colours),
        lineage.lineage(all_of),
        corpus.text(all_of, colours),
        corpus.judges(all_of, colours),
        instructions.instructions(all_of, colours),
        self_instruct.self_instruct(all_of, colours),
        tokenizers.tokenizer(all_of, colours),
        sweep.sweeps(all_of, colours),
        sweep.training(all_of, colours),
        answers.answers(all_of, colours),
        answers.safety(all_of, colours),
        scores.bits(all_of, colours),
        scores.scores(all_of, colours, before, after),
        crosslingual.crosslingual(all_of, colours),
        judgements.judgements(all_of, colours),
        overview.cost(all_of, colours),
        overview.provenance(all_of, colours),
    ]
    return [section for section in sections if section is not None]


def render(title: str, sections: list[Section], facts: Sequence[tuple[str, str]] = ()) -> str:
    """The whole page as HTML. What users and models wrote is escaped by the templates.

    Args:
        title: of the page.
        sections: in their order.
        facts: label and value of what the page is about, below its title.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script, plotly = ((HERE / name).read_text("utf-8") for name in ("page.css", "page.js", PLOTLY))
    return templates.get_template("page.html.jinja").render(
        title=title,
        facts=facts,
        sections=sections,
        style=Markup(style),  # noqa: S704  (our own files)
        script=Markup(script),  # noqa: S704
        plotly=Markup(plotly),  # noqa: S704
        hashes=Markup(f"{_allowed(script)} {_allowed(plotly)}"),  # noqa: S704
    )


def _allowed(script: str) -> str:
    """How a content security policy names a script that stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
