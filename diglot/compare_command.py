"""The command `diglot compare`."""

from __future__ import annotations

from pathlib import Path

import click

from diglot.base.screen import say, say_json
from diglot.base.table import show

EXAMPLES = """\b
Examples:
  diglot compare runs/arabic/evaluate-base runs/arabic/evaluate-chat
  diglot compare ours=runs/arabic qwen=out/qwen-scores --published polylm --out compared
  diglot evaluate --model Qwen/Qwen3-0.6B --out out/qwen-scores --tasks '{facts: {path: my/facts.jsonl, language: ar}}'
"""


@click.command("compare", epilog=EXAMPLES)
@click.argument("evaluations", nargs=-1, required=True, metavar="[NAME=]FOLDER...")
@click.option("--published", multiple=True, metavar="PAPER", help="Add the columns of a paper's own tables: polylm or allam.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Write compare.json and a page with charts, compare.html.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
def compare_command(evaluations: tuple[str, ...], published: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Compare models that were evaluated, with the first as the base.

    Changes are tested item by item where the items are the same, and corrected for their number (Holm).

    FOLDER is an evaluation, or a run (its last evaluation).
    """
    # start-up: what reads and draws evaluations is loaded by this command alone
    from diglot.base.console import make_console
    from diglot.report import compare
    from diglot.report.compare_tables import tables, write_comparison
    from diglot.report.published import read_papers

    papers = read_papers(published)
    found = compare.compare_models(compare.read_columns(evaluations), papers)
    if as_json:
        say_json(compare.as_json(found))
    else:
        show(make_console(), tables(found))
    if out:
        say(f"page: {write_comparison(found, papers, out).resolve()}", error=as_json)
