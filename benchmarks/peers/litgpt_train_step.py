"""litgpt's side of `train_step.py`: its model and its loss in a plain loop, with the product's clipping and AdamW.

litgpt_train_step.py FOLDER CASE MODEL DEVICE
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from litgpt import GPT, Config
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
from litgpt.utils import chunked_cross_entropy
from safetensors.torch import load_file
from train_step_clock import Clock, prepare_device, report


def load(folder: Path, length: int) -> GPT:
    """The model of a Hugging Face folder, through litgpt's own conversion."""
    described = json.loads((folder / "config.json").read_text())
    config = Config(
        name="benchmark", block_size=length, vocab_size=described["vocab_size"], padded_vocab_size=described["vocab_size"],
        n_layer=described["num_hidden_layers"], n_embd=described["hidden_size"], n_head=described["num_attention_heads"],
        n_query_groups=described["num_key_value_heads"], intermediate_size=described["intermediate_size"],
        rotary_percentage=1.0, rope_base=10_000, parallel_residual=False, bias=False, norm_class_name="RMSNorm",
        norm_eps=described["rms_norm_eps"], mlp_class_name="LLaMAMLP",
    )  # fmt: skip
    state: dict[str, torch.Tensor] = {}
    weights = {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}  # fmt: skip
    copy_weights_hf_llama(config, {}, state, weights)
    model = GPT(config)
    model.load_state_dict(state, strict=True)
    return model


def optimizer_of(model: GPT, settings: dict) -> torch.optim.AdamW:
    """With no decay of norms, as ours."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(0.9, 0.95), eps=1e-8, fused=True)


def main() -> None:
    folder, case, model_name, device = sys.argv[1:]
    settings = json.loads((Path(folder) / case / "settings.json").read_text())
    prepare_device(device)
    model = load(Path(folder) / model_name, settings["sequence_length"]).to(device)
    optimizer = optimizer_of(model, settings)
    tokens, targets = (torch.from_numpy(np.load(Path(folder) / case / f"{name}.npy")) for name in ("tokens", "targets"))  # fmt: skip
    mixed = settings["precision"] == "bfloat16"
    losses, clock = [], Clock(device)
    for tokens_BT, targets_BT in zip(tokens, targets):
        clock.mark()
        with torch.autocast(device, torch.bfloat16) if mixed else nullcontext():
            logits_BTV = model(tokens_BT.to(device))
            loss = chunked_cross_entropy(logits_BTV, targets_BT.to(device), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
    clock.mark()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    report(clock.seconds(), losses=[float(loss) for loss in losses], parameters=parameters)


if __name__ == "__main__":
    main()
