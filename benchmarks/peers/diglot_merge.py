"""Diglot's merging, and the models that both sides merge, for `merge.py`.

diglot_merge.py make FOLDER HIDDEN LAYERS       three float32 models: FOLDER/base, /first, /second
diglot_merge.py merge METHOD FOLDER OUTPUT
diglot_merge.py compare OUTPUT OTHER            the largest difference, and how many values differ by over 1e-4
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.merge import stage as merge
from diglot.model.decoder import DecoderConfig
from diglot.model.families import config_json
from diglot.model.huggingface import huggingface_shapes
from diglot.model.weights import StoredWeights, write_weights
from diglot.recipe.merge import Merge

SETTINGS = {
    "linear": {"weights": [0.3, 0.7]},
    "slerp": {"weights": [0.3, 0.7]},
    "task-arithmetic": {"weights": [0.3, 0.7]},
    "ties": {"weights": [0.3, 0.7], "density": 0.2},
    "dare-ties": {"weights": [0.3, 0.7], "density": 0.2},
}
VOCABULARY = 8_000


def make(folder: Path, hidden: int, layers: int) -> dict:
    """The base at random; the others a tenth away from it, as branches are."""
    config = DecoderConfig(
        vocabulary_size=VOCABULARY, num_layers=layers, hidden_size=hidden, intermediate_size=3 * hidden, num_heads=8,
        num_key_value_heads=8, head_size=hidden // 8, max_positions=2048, tied_embeddings=False,
    )  # fmt: skip
    shapes = huggingface_shapes(config)

    def values(name: str, number: int) -> torch.Tensor:
        def drawn(which: int) -> torch.Tensor:
            generator = torch.Generator().manual_seed(sorted(shapes).index(name) * 3 + which)
            return torch.randn(shapes[name].shape, generator=generator)

        return drawn(0) if number == 0 else drawn(0) + 0.1 * drawn(number)

    for number, model in enumerate(("base", "first", "second")):
        (folder / model).mkdir(parents=True)
        write_weights(folder / model, shapes, lambda name, number=number: values(name, number), 200_000_000)
        (folder / model / "config.json").write_text(json.dumps(config_json(config, torch.float32)))
        names = {f"t{i}": i for i in range(VOCABULARY)}
        Tokenizer(models.WordLevel(names, unk_token="t0")).save(str(folder / model / "tokenizer.json"))
    size = sum(file.stat().st_size for file in (folder / "base").glob("*.safetensors"))
    return {"bytes": size}


def run(method: str, folder: Path, output: Path) -> dict:
    def artifact(name: str) -> Artifact:
        return Artifact(folder / name, name, "model", "outside", "", "", {}, {}, {}, {})

    roles = {"models": [artifact("first"), artifact("second")]}
    if method not in ("linear", "slerp"):
        roles["base"] = [artifact("base")]
    output.mkdir()
    merge.run(Merge(do="merge", method=method, **SETTINGS[method]), Inputs(roles), output, Context("x", 0, output))
    return {}


def compare(one: Path, other: Path) -> dict:
    ours, theirs = StoredWeights(one), StoredWeights(other)
    names = set(ours.shapes())
    assert names == set(theirs.shapes())
    largest, differ, values = 0.0, 0, 0
    for name in names:
        difference = (ours.tensor(name) - theirs.tensor(name)).abs()
        largest = max(largest, difference.max().item())
        differ += int((difference > 1e-4).sum())
        values += difference.numel()
    return {"largest_difference": largest, "differ": differ, "values": values}


what, *rest = sys.argv[1:]
if what == "make":
    print(json.dumps(make(Path(rest[0]), int(rest[1]), int(rest[2]))))
elif what == "merge":
    print(json.dumps(run(rest[0], Path(rest[1]), Path(rest[2]))))
else:
    print(json.dumps(compare(Path(rest[0]), Path(rest[1]))))
