"""The peer of `train_step_real.py`: transformers' own module in a plain loop, with the product's clipping and AdamW.

transformers_train_step_real.py FOLDER SETTINGS
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from train_step_clock import Clock, report
from transformers import AutoModelForCausalLM


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(settings["threads"])
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).train()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    # Every step at the full learning rate, as ours without a warm-up.
    optimizer = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    tokens, targets = (torch.from_numpy(np.load(folder / f"{name}.npy")).long() for name in ("tokens", "targets"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew, as ours does
    mixed = settings["precision"] == "bfloat16"
    losses, clock = [], Clock("cpu")
    for tokens_BT, targets_BT in zip(tokens, targets):
        clock.mark()
        with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
            loss = model(input_ids=tokens_BT, labels=targets_BT, shift_labels=targets_BT, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    clock.mark()
    status = Path("/proc/self/status").read_text()
    held = next(int(line.split()[1]) for line in status.split("\n") if line.startswith("VmHWM:")) // 1024
    report(clock.seconds(), losses=losses, memory_mb=held)


if __name__ == "__main__":
    main()
