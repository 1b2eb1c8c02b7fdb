"""Running the stage `curate` in tests."""

import json

import pyarrow.parquet as pq

from diglot.base.artifact import Context, Inputs
from diglot.curate import stage as curate
from diglot.recipe.curate import Curate


def run(folder, sources, workers=2, inputs=None, **options):
    """Run the stage in a folder; returns its output, its summary and its ledger."""
    output = folder / "corpus"
    for number in range(2, 99):
        if not output.exists():
            break
        output = folder / f"corpus{number}"
    output.mkdir()
    scratch = folder / f"scratch-of-{output.name}"
    scratch.mkdir()
    context = Context(name="corpus", seed=3, scratch=scratch, workers=workers)
    summary = curate.run(Curate(sources=sources, **options), inputs or Inputs({}), output, context)
    return output, summary, json.loads((output / "ledger.json").read_text())["sources"]


def documents(output, part="documents"):
    """The rows of a corpus's Parquet files."""
    return [row for file in sorted((output / part).iterdir()) for row in pq.read_table(file).to_pylist()]
