"""Our side of `curate.py`: the curate stage, with one worker, over the files of `diglot_sample.py`.

diglot_curate.py FOLDER WARM OUTPUT: all files are one source, sorted into its 18 languages as they are identified. CPU
seconds are those of the stage; what comes before (imports, and a warm-up on the few documents of WARM that reads
compiled kernels from their cache, or compiles them) is reported as `start_seconds`.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from diglot.base.artifact import Context, Inputs
from diglot.base.summaries.corpus import CorpusSummary
from diglot.curate.stage import run
from diglot.recipe.curate import Curate


def curate(folder: Path, output: Path) -> CorpusSummary:
    languages = sorted(file.name.removesuffix(".jsonl.zst") for file in folder.glob("??.jsonl.zst"))
    source = {"path": str(folder / "*.jsonl.zst"), "languages": languages}
    shutil.rmtree(output, ignore_errors=True)
    scratch = output / "scratch"
    scratch.mkdir(parents=True)
    stage = Curate.model_validate({"sources": {"text": source}})
    return run(stage, Inputs({}), output, Context(name="curate", seed=0, scratch=scratch, workers=1))


def main() -> None:
    folder, warm, output = map(Path, sys.argv[1:])
    sources = json.loads((folder / "sources.json").read_text())
    curate(warm, output / "warm")
    started = time.process_time()
    summary = curate(folder, output / "corpus")
    done = time.process_time()
    read = {key: sum(source[key] for source in sources.values()) for key in ("documents", "bytes")}
    kept, dropped = summary.documents.kept + summary.documents.held_out, summary.dropped
    print(json.dumps({"cpu_seconds": done - started, "start_seconds": started, **read, "kept": kept, "dropped": dropped}))  # fmt: skip


main()
