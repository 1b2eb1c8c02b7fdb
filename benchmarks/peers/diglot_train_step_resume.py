"""Whether a run that goes on from its checkpoint ends in the same bits: for `gpu.py`.

diglot_train_step_resume.py FOLDER CASE MODEL TOKENS DEVICE
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from diglot_train_step_prepare import artifact
from train_step_clock import prepare_device, report

from diglot.base.artifact import Context, Inputs
from diglot.recipe.train import Train
from diglot.train import loop


def main() -> None:
    folder, case, model, tokens, device = sys.argv[1:]
    written = Train.model_validate_json((Path(folder) / case / "settings.json").read_text())
    settings = written.model_copy(update={"steps": 3, "checkpoint_every": 2, "evaluate_every": 3})
    prepare_device(device)
    roles = {"model": model, "tokens": tokens}
    inputs = Inputs({role: [artifact(Path(folder) / name, role)] for role, name in roles.items()})
    weights, resumed = [], False
    with tempfile.TemporaryDirectory() as place:
        for turn in ("whole", "resumed"):  # both with one scratch folder: the second finds the checkpoint of step 2
            output = Path(place) / turn
            output.mkdir()
            resumed = (Path(place) / "checkpoints" / "step-00000002").is_dir()
            loop.run(settings, inputs, output, Context("train", 0, Path(place), workers=1))
            weights.append((output / "model.safetensors").read_bytes())
    report([0.0], resumed=resumed, same=weights[0] == weights[1])


if __name__ == "__main__":
    main()
