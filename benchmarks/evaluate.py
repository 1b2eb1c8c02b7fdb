"""Requests a second of evaluation, against lm-evaluation-harness's own `hf` backend: XNLI, XCOPA, and translation.

Both sides get the same requests, a real model (`--model`, by default smollm2-135m in $DIGLOT_MODELS) and one thread. The
harness runs twice: as it is by default, one request at a time, and with sixteen at a time, as ours. Answers are compared.
What is counted is the CPU seconds of the requests alone; start-up, with the model read, is a row of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from common import BENCHMARKS, Row, arguments, finish, measure_in_turn

ITEMS = {"quick": {"xnli": 16, "xcopa": 24, "wmt20": 8}, "full": {"xnli": 150, "xcopa": 250, "wmt20": 64}}
NAMES = {"xnli": "XNLI, English", "xcopa": "XCOPA, Italian", "wmt20": "WMT20 German-English, one example, 64 tokens"}
BATCH_SIZE = 16


def main() -> None:
    """Run the benchmark."""
    model = str(Path(os.environ.get("DIGLOT_MODELS", "models")) / "smollm2-135m")
    args = arguments("evaluate", "Requests a second, against the harness's hf backend", model=model)
    if not Path(args.model).is_dir():
        raise SystemExit(f"no model in {args.model}: give one with --model, or set DIGLOT_MODELS")
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for task, number in ITEMS["full" if args.full else "quick"].items():
            requests = Path(temporary, f"{task}.json")
            build = [sys.executable, str(BENCHMARKS / "peers" / "diglot_evaluate_requests.py")]
            measure_in_turn({"requests": [*build, task, str(args.data), str(number), str(requests)]}, 1)
            commands = {}
            for side, size in (("diglot", BATCH_SIZE), ("lm_eval", BATCH_SIZE), ("lm_eval", 1)):
                script = str(BENCHMARKS / "peers" / f"{side}_evaluate.py")
                answers = str(Path(temporary, f"{side}-{size}.json"))
                commands[f"{side}-{size}"] = [sys.executable, script, args.model, str(requests), str(size), answers]
            runs = measure_in_turn(commands, args.repeats)
            speed = {name: run.reported["requests"] / run.reported["cpu_seconds"] for name, run in runs.items()}
            for size, about in ((1, "its default"), (BATCH_SIZE, "sixteen at a time")):
                name = f"{NAMES[task]}; peer {about}"
                peer = speed[f"lm_eval-{size}"]
                rows.append(Row(name, "requests/s/core", speed[f"diglot-{BATCH_SIZE}"], peer, "lm_eval hf"))
            notes.append(f"{NAMES[task]}: {_agreement(temporary)}.")
        start = [runs[name].reported["start_seconds"] for name in (f"diglot-{BATCH_SIZE}", f"lm_eval-{BATCH_SIZE}")]
        rows.append(Row("start-up with the model", "CPU s", *start, "lm_eval hf", less_is_better=True))
    finish("evaluate", rows, args, notes=notes)


def _agreement(folder: str) -> str:
    """How the answers of the last runs differ."""
    ours, theirs = (json.loads(Path(folder, f"{side}-{BATCH_SIZE}.json").read_text()) for side in ("diglot", "lm_eval"))
    if isinstance(ours[0], str):
        return f"{sum(a == b for a, b in zip(ours, theirs, strict=True))} of {len(ours)} answers are the same"
    apart = max(abs(a[0] - b[0]) for a, b in zip(ours, theirs, strict=True))
    return f"log-likelihoods differ by at most {apart:.1e} nats"


if __name__ == "__main__":
    main()
