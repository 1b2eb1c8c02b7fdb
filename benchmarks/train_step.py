"""Training steps: tokens a second beside litgpt's model and transformers' Trainer, and beside a dense document mask.

Whole steps (forward, backward, clipping, AdamW) of the same weights on the same batches, float32 and bfloat16 (autocast
over float32 weights), with one thread on one core. Ours are steps of a train stage, with its data order, metrics and
guard. Three comparisons:

    one model, one text     rows of 512 tokens of one long document, so that all sides compute the same; their losses
                            must agree, or the benchmark stops
    packed documents        rows of real web pages and news: attention by document, as a train stage does it, beside
                            the same model and loop with a mask of all pairs of tokens
    on a GPU, if any        a Llama shape of 1.0B, bfloat16, rows of 2048 tokens

A side's figure is the median of the better half of its steps, of all turns; seconds are CPU seconds (on a GPU, of the
clock). MFU is model FLOPs (PaLM, appendix B) over the rate of this core's fastest large matrix product of either type,
timed in the same process (on a GPU, over its data sheet's).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import CACHE, BenchmarkError, Row, Run, arguments, finish, measure, peer_python

PEERS = {
    "litgpt": ("litgpt 0.5.13, plain loop", ["litgpt==0.5.13", "torch==2.13.0"]),
    "transformers": ("transformers 5.23.0, Trainer", ["transformers==5.23.0", "torch==2.13.0", "accelerate==1.15.0"]),
}
SHAPES = {  # layers, hidden, intermediate, heads, key-value heads; the output weight is its own
    "9.4M": (7, 192, 512, 6, 6),
    "48.4M": (10, 512, 1376, 8, 8),
    "1.0B": (22, 2048, 5632, 32, 4),
}
TEXT_BYTES = {"quick": 300_000, "full": 3_000_000}  # a source
AGREE = 1e-2  # nats between the sides' first losses
DENSE = "the same, dense mask"


@dataclass(frozen=True)
class Case:
    """What is trained on what.

    Attributes:
        size: a key of SHAPES.
        precision: as in recipes.
        rows: a step's.
        length: tokens of a row.
        steps: the first is not counted.
        packed: rows of documents, with a dense mask beside ours; else of one long text, with the peers beside ours.
        device: `cpu` or `cuda`.
        turns: at most so many, where a step takes long.
    """

    size: str
    precision: str
    rows: int
    length: int
    steps: int
    packed: bool = False
    device: str = "cpu"
    turns: int = 100

    @property
    def name(self) -> str:
        """Of the case's folder, and in the table."""
        packed = ", packed" if self.packed else ""
        return f"{self.size}, {self.precision}, {self.rows} × {self.length}{packed}"

    @property
    def model(self) -> str:
        """The folder of the model."""
        return f"{self.size} model"

    @property
    def tokens(self) -> str:
        """The folder of the tokens."""
        return "documents" if self.packed else "book"

    def described(self) -> dict[str, Any]:
        """What `peers/diglot_train_step_prepare.py` needs."""
        names = ("num_layers", "hidden_size", "intermediate_size", "num_heads", "num_key_value_heads")
        shape = dict(zip(names, SHAPES[self.size])) | {"tied_embeddings": False, "max_positions": 2048}
        settings = {
            "from": {"model": "model", "tokens": "tokens"}, "steps": self.steps, "batch_size": self.rows,
            "sequence_length": self.length, "precision": self.precision, "learning_rate": 3e-4,
        }  # fmt: skip
        return {"model": self.model, "shape": shape, "tokens": self.tokens, "settings": settings}

    def commands(self, folder: Path, pythons: dict[str, Path]) -> dict[str, list[str]]:
        """The sides' processes."""
        ours = [sys.executable, "peers/diglot_train_step.py", str(folder), self.name, self.model, self.tokens, self.device]  # fmt: skip
        if self.packed:
            return {"ours": [*ours, "documents"], "dense": [*ours, "dense"]}
        commands = {"ours": [*ours, "documents"]}
        for peer, python in pythons.items():
            if self.device == "cpu" or peer == "transformers":
                script = f"peers/{peer}_train_step.py"
                commands[peer] = [str(python), script, str(folder), self.name, self.model, self.device]
        return commands


QUICK = [Case("9.4M", "float32", 1, 512, 6, turns=1)]
FULL = [
    Case("9.4M", "float32", 2, 512, 6),
    Case("48.4M", "float32", 1, 512, 5),
    Case("9.4M", "float32", 4, 512, 5, packed=True),
    Case("9.4M", "float32", 1, 2048, 5, packed=True),
    Case("9.4M", "bfloat16", 1, 512, 4),
    Case("48.4M", "bfloat16", 1, 512, 3, turns=1),
]
LAYER = Case("48.4M", "float32", 1, 2048, 1, packed=True)  # one layer of it is measured, alone
ON_GPU = [Case("1.0B", "bfloat16", 8, 2048, 12, device="cuda")]  # never run so far: no GPU was at hand


def main() -> None:
    """Run the benchmark."""
    args = arguments("train_step", __doc__.split("\n")[0], needs_data=False)
    # A quick run builds no environments: that takes minutes.
    there = [name for name in PEERS if args.full or any(CACHE.glob(f"{name}-*/ready"))]
    pythons = {name: python for name in there if (python := peer_python(name, PEERS[name][1]))}
    rows: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as place:
        folder = Path(place)
        cases = FULL if args.full else QUICK
        found = prepare(args.data, folder, "full" if args.full else "quick", [*cases, *[LAYER] * args.full])
        if args.full and found["cuda"]:
            prepare(args.data, folder / "gpu", "full", ON_GPU)
            for case in ON_GPU:
                add(case, in_turn(case.commands(folder / "gpu", pythons), args.repeats), rows, notes)
        for case in cases:
            turns = min(args.repeats, case.turns)
            add(case, in_turn(case.commands(folder, pythons), turns), rows, notes)
        if args.full:
            rows += layer_rows(in_turn(layer_commands(folder), args.repeats))
    finish("train_step", rows, args, notes=[*data_notes(found), *notes])


def data_notes(found: dict[str, Any]) -> list[str]:
    """What the text was like."""
    notes = [] if found["real text"] else ["Text of the invented world: there was no data folder."]
    packed = [f"{name}: {number:.1f}" for name, number in found["documents a row"].items() if number > 1]
    return [*notes, f"Documents a row: {'; '.join(packed)}."] if packed else notes


def prepare(data: Path, folder: Path, size: str, cases: list[Case]) -> dict[str, Any]:
    """Make models, tokens and batches."""
    folder.mkdir(exist_ok=True)
    described = json.dumps({case.name: case.described() for case in cases})
    script = [sys.executable, "peers/diglot_train_step_prepare.py", str(data), str(folder)]
    return measure([*script, str(TEXT_BYTES[size]), described]).reported


def in_turn(commands: dict[str, list[str]], repeats: int) -> dict[str, list[Run]]:
    """All runs of all sides, which take turns."""
    runs: dict[str, list[Run]] = {side: [] for side in commands}
    for turn in range(repeats):
        for side, command in commands.items():
            run = measure(command)
            runs[side].append(run)
            seconds = " ".join(f"{each:.2f}" for each in run.reported["seconds"])
            print(f"  {command[3]}: {side}, {turn + 1} of {repeats}: {seconds} s", file=sys.stderr)
    return runs


def typical(runs: list[Run], what: str = "seconds") -> float:
    """The median of the better half of all runs' steps."""
    seconds = sorted(second for run in runs for second in run.reported[what])
    return statistics.median(seconds[: (len(seconds) + 1) // 2])


def add(case: Case, runs: dict[str, list[Run]], rows: list[Row], notes: list[str]) -> None:
    """A case's rows and notes.

    Raises:
        BenchmarkError: the sides' losses say that they don't train the same.
    """
    found = runs["ours"][0].reported
    speed = {side: found["tokens"] / typical(each) for side, each in runs.items()}
    peers = [side for side in runs if side != "ours"]
    for side in peers:
        name = DENSE if side == "dense" else PEERS[side][0]
        rows.append(Row(case.name, "tokens/s", speed["ours"], speed[side], name))
    if not peers:
        rows.append(Row(case.name, "tokens/s", speed["ours"]))
    steps = sum(len(run.reported["seconds"]) for run in runs["ours"])
    notes.append(f"{case.name}: {found['parameters']:,} parameters; {steps} steps a side were timed.")
    if not case.packed:  # it would count attention that nobody computes
        peak = max(run.reported["peak"] for run in runs["ours"])
        per_token = found["flops"] / found["tokens"]
        rows.append(Row(f"{case.name}, MFU", "%", 100 * per_token * speed["ours"] / peak))
        notes.append(f"{case.name}: MFU is of {peak / 1e9:,.0f} GFLOP/s.")
    notes += [agreement(case, side, found, runs[side][0].reported) for side in peers]


def agreement(case: Case, side: str, ours: dict[str, Any], peer: dict[str, Any]) -> str:
    """How far apart the losses are, in words.

    Raises:
        BenchmarkError: too far, or the models are not of one size.
    """
    apart = [abs(one - other) for one, other in zip(ours["losses"], peer["losses"], strict=True)]
    if apart[0] > AGREE or ours["parameters"] != peer["parameters"]:
        raise BenchmarkError(
            f"{case.name}: {side} does not train the same model on the same tokens: losses {peer['losses']} and ours "
            f"{ours['losses']}, parameters {peer['parameters']:,} and ours {ours['parameters']:,}"
        )
    return (
        f"{case.name}: first losses {ours['losses'][0]:.4f} (ours) and {peer['losses'][0]:.4f} ({side}); in "
        f"{len(apart)} steps {max(apart):.1e} apart at most."
    )


def layer_commands(folder: Path) -> dict[str, list[str]]:
    """The processes that measure one layer."""
    script = [sys.executable, "peers/diglot_train_step_attention.py", str(folder), LAYER.name, LAYER.model, LAYER.tokens]  # fmt: skip
    return {form: [*script, form] for form in ("documents", "dense")}


def layer_rows(runs: dict[str, list[Run]]) -> list[Row]:
    """Attention of one layer, and one layer, forward and backward.

    Raises:
        BenchmarkError: both forms don't compute the same.
    """
    ours, dense = (runs[form][0].reported["checksum"] for form in ("documents", "dense"))
    if abs(ours - dense) > 1e-4 * dense:
        raise BenchmarkError(f"attention by document gives {ours}, and with a dense mask {dense}")
    rows = []
    for key, what in (("attention", "attention of a layer"), ("layer", "a layer")):
        took = [1000 * typical(runs[form], key) for form in ("documents", "dense")]
        rows.append(Row(f"{what}, {LAYER.name}", "CPU ms", *took, DENSE, less_is_better=True))
    return rows


if __name__ == "__main__":
    main()
