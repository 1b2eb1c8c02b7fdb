"""transformers' side of `train_step.py`: its Trainer, LlamaForCausalLM, on the same batches in the same order.

transformers_train_step.py FOLDER CASE MODEL DEVICE
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_step_clock import Clock, prepare_device, report
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments


class Rows(torch.utils.data.Dataset):
    """The rows of all batches; the next tokens are given as they are (`shift_labels`), as for padding-free batches."""

    def __init__(self, folder: Path):
        self.tokens, self.targets = (np.concatenate(np.load(folder / f"{name}.npy")) for name in ("tokens", "targets"))  # fmt: skip

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        tokens_T, targets_T = torch.from_numpy(self.tokens[row]), torch.from_numpy(self.targets[row])
        return {"input_ids": tokens_T, "labels": targets_T, "shift_labels": targets_T}


class Marks(TrainerCallback):
    """Marks when steps begin, and when the last is over."""

    def __init__(self, clock: Clock):
        self.clock = clock

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.clock.mark()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == state.max_steps:
            self.clock.mark()


class Kept(Trainer):
    """Keeps each step's loss."""

    losses: list[torch.Tensor]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss)
        return loss


def main() -> None:
    folder, case, model_name, device = sys.argv[1:]
    settings = json.loads((Path(folder) / case / "settings.json").read_text())
    prepare_device(device)
    model = AutoModelForCausalLM.from_pretrained(Path(folder) / model_name, dtype=torch.float32)
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output, max_steps=settings["steps"], per_device_train_batch_size=settings["batch_size"],
            learning_rate=settings["learning_rate"], lr_scheduler_type="constant", weight_decay=0.1, adam_beta2=0.95,
            max_grad_norm=1.0, optim="adamw_torch_fused", bf16=settings["precision"] == "bfloat16", use_cpu=device == "cpu",
            train_sampling_strategy="sequential", dataloader_num_workers=0, remove_unused_columns=False,
            save_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = Kept(model, arguments, train_dataset=Rows(Path(folder) / case), callbacks=[Marks(clock)])
        trainer.losses = []
        trainer.train()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    report(clock.seconds(), losses=[float(loss) for loss in trainer.losses], parameters=parameters)


if __name__ == "__main__":
    main()
