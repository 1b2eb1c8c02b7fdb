"""What one GPU does, in ten minutes at most: tokens a second and MFU, compiled, in float8, beside Trainer, and a resume.

    python benchmarks/gpu.py            tries itself on the CPU with a small model, where there is no GPU: no speeds to go by
    python benchmarks/gpu.py --full     the same; writes results/gpu.json

A Llama shape of 1.0B parameters, bfloat16, rows of 2048 tokens of one text. Ours are steps of a train stage: plain, with
`compile`, with `float8` (which needs torchao and a GPU that can), and with documents packed; the peer is transformers'
Trainer in this environment. Parts that the time no longer allows are left out, and said. At last a run goes on from its
checkpoint, and must end in the same bits as the run that was not stopped.

It was never run on a GPU so far: none was at hand.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import BenchmarkError, Row, Run, arguments, finish, measure
from train_step import Case, typical

LIMIT = 540  # seconds after which no part begins
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "compile": {"compile": True},
    "float8": {"compile": True, "float8": True},
}
ON_GPU = Case("1.0B", "bfloat16", 8, 2048, 12, device="cuda")
ON_CPU = Case("9.4M", "bfloat16", 1, 128, 3, device="cpu")


def main() -> None:
    """Run the benchmark."""
    begun = time.monotonic()
    args = arguments("gpu", __doc__.split("\n")[0], needs_data=False)
    import torch  # start-up: a parent that imports it shows in its children's peak memory; here none is measured

    case = ON_GPU if torch.cuda.is_available() else ON_CPU
    rows: list[Row] = []
    notes = [
        f"On {torch.cuda.get_device_name() if case is ON_GPU else 'a CPU: no GPU was there, and speeds say little'}."
    ]
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as place:
        folder = Path(place)
        make(case, folder, args.data)
        runs: dict[str, Run] = {}
        for side, command in commands(case, folder).items():
            if time.monotonic() - begun > LIMIT:
                notes.append(f"{side}: left out, the time was over.")
                continue
            print(f"  {side} …", file=sys.stderr)
            try:
                runs[side] = measure(command, timeout=max(30, LIMIT + 60 - (time.monotonic() - begun)))
            except BenchmarkError as error:  # a form that this machine can't is a result too
                notes.append(f"{side}: {str(error)[-300:]}")
        add(runs, rows, notes)
    if importlib.util.find_spec("torchtitan") is None:
        notes.append("torchtitan is not installed; its figures are not compared.")
    finish("gpu", rows, args, notes=notes)


def forms_on(device: str) -> dict[str, dict[str, Any]]:
    """The forms that can be tried: float8 has no way on a CPU."""
    return {form: settings for form, settings in FORMS.items() if device == "cuda" or "float8" not in settings}


def make(case: Case, folder: Path, data: Path) -> None:
    """Model, tokens and the settings of each form."""
    described = {}
    for form, settings in forms_on(case.device).items():
        described[form] = case.described()
        described[form]["settings"] |= settings
    described["packed"] = replace(case, packed=True).described()
    script = [sys.executable, "peers/diglot_train_step_prepare.py", str(data), str(folder)]
    measure([*script, "3000000" if case is ON_GPU else "300000", json.dumps(described)])


def commands(case: Case, folder: Path) -> dict[str, list[str]]:
    """The processes, the most telling first."""
    ours = [sys.executable, "peers/diglot_train_step.py", str(folder)]
    found = {form: [*ours, form, case.model, "book", case.device, "documents"] for form in forms_on(case.device)}
    trainer = [sys.executable, "peers/transformers_train_step.py", str(folder), "plain", case.model, case.device]
    resume = [
        sys.executable,
        "peers/diglot_train_step_resume.py",
        str(folder),
        "plain",
        case.model,
        "book",
        case.device,
    ]
    packed = [*ours, "packed", case.model, "documents", case.device, "documents"]
    return {"plain": found.pop("plain"), "Trainer": trainer, "resume": resume, "packed": packed, **found}


def add(runs: dict[str, Run], rows: list[Row], notes: list[str]) -> None:
    """Rows of speeds and MFU, and what the resume was.

    Raises:
        BenchmarkError: a resumed run ended in other bits.
    """
    peer = runs.get("Trainer")
    for side, run in runs.items():
        if side in ("Trainer", "resume"):
            continue
        found, seconds = run.reported, typical([run])
        theirs = found["tokens"] / typical([peer]) if peer else None
        rows.append(Row(f"ours, {side}", "tokens/s", found["tokens"] / seconds, theirs, "transformers' Trainer"))
        rows.append(Row(f"ours, {side}, MFU", "%", 100 * found["flops"] / seconds / found["peak"]))
    if resume := runs.get("resume"):
        if not (resume.reported["resumed"] and resume.reported["same"]):
            raise BenchmarkError(
                f"a run that went on from its checkpoint is not the run that was not stopped: {resume.reported}"
            )
        notes.append("A run that went on from its checkpoint ended in the same bits.")


if __name__ == "__main__":
    main()
