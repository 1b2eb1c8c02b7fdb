"""Checkpoints against plain torch.distributed.checkpoint: how long training is held, and what verifying costs.

The state is a Llama shape with AdamW's moments, in float32, in one process and sharded over two. Both sides write the
same tensors to the same disk and sync them; ours also hashes every file. They take turns within one process, because the
state has to be the same and a first save is slower than later ones. Times are wall clock: what counts is how long the
training waits.
"""

from __future__ import annotations

import sys
import tempfile

from common import Row, arguments, finish, measure

SHAPES = {"quick": ["256", "4"], "full": ["512", "12"]}  # hidden size, layers


def main() -> None:
    """Run the benchmark."""
    args = arguments("checkpoint", "Checkpoints, against torch.distributed.checkpoint", needs_data=False)
    rows, notes = [], []
    turns = str(args.repeats + 2)  # the first fills the buffers
    for world in (1, 2):
        with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as folder:
            script = [
                "peers/diglot_checkpoint.py",
                folder,
                str(world),
                *SHAPES["full" if args.full else "quick"],
                turns,
            ]
            found = measure([sys.executable, *script], timeout=900).reported
        rows += rows_of("1 process" if world == 1 else f"{world} processes", found["seconds"])
        if world == 1:
            notes.append(f"{found['parameters']:,} parameters; a checkpoint has {found['bytes'] / 1e6:,.0f} MB.")
        save = best(found, "save")
        first = found["seconds"]["ours held"][0] / found["seconds"]["save"][0]
        extra = (best(found, "train and save") - best(found, "train")) / save
        notes.append(
            f"Processes: {world}. Training is held for {best(found, 'ours held') / save:.1%} of torch's save ({first:.1%} the "
            f"first time, when buffers are made), {extra:.1%} with what writing takes from training on the same cores."
        )
    notes.append(f"Best of {turns} turns; the processes and whatever else ran shared the cores (see load).")
    finish("checkpoint", rows, args, notes=notes)


def best(found: dict, name: str) -> float:
    return min(found["seconds"][name])


def rows_of(where: str, seconds: dict[str, list[float]]) -> list[Row]:
    """Ours beside torch's; all in seconds."""
    least = {name: min(times) for name, times in seconds.items()}
    whole = min(held + rest for held, rest in zip(seconds["ours held"], seconds["ours, then whole"]))

    def row(what: str, ours: float, peer: str) -> Row:
        return Row(f"{where}: {what}", "s", ours, least[peer], f"torch {peer.split()[0]}", less_is_better=True)

    return [
        row("training held", least["ours held"], "save"),
        row("training held", least["ours held"], "async_save held"),
        row("until whole, hashed and renamed", whole, "save"),
        row("load, every file verified", least["verify"] + least["ours load"], "load"),
        row("load, not verified", least["ours load"], "load"),
    ]


if __name__ == "__main__":
    main()
