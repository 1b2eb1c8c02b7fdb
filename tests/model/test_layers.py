"""New layers that start as the identity, what an expanded model says of itself, and how little memory it takes."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from model_builders import NEW_MERGES, inputs, save, transformers_model, vocabulary, write_tokenizer

from diglot.expand.stage import ranges, run, spread
from diglot.model.weights import StoredWeights
from diglot.recipe.expand import Expand

MODELS = {
    "llama": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"num_key_value_heads": 2}),
    "polylm": ("gpt2", {}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0, 1]}),
    "olmo3": ("olmo3", {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention", "full_attention"]}),
    "phi3": ("phi3", {"sliding_window": 9}),
}
TOKENS = torch.randint(285, (2, 30), generator=torch.Generator().manual_seed(0))


def expand(model, tokenizer, output, context, **settings):
    output.mkdir()
    return run(Expand(do="expand", **settings), inputs(model=model, tokenizer=tokenizer), output, context)


@given(st.integers(1, 80), st.integers(0, 100))
def test_new_layers_are_spread_evenly_and_stand_on_the_layer_they_copy(num_layers, new_layers):
    layers = spread(num_layers, new_layers)
    assert [old for old, is_new in layers if not is_new] == list(range(num_layers))
    assert sum(is_new for _, is_new in layers) == new_layers
    assert not layers[0][1]
    below = None
    for old, is_new in layers:
        assert not is_new or old == below
        below = old
    if 0 < new_layers <= num_layers:
        copied = [-1, *(old for old, is_new in layers if is_new)]
        assert copied[-1] == num_layers - 1
        steps = [after - before for before, after in itertools.pairwise(copied)]
        assert max(steps) - min(steps) <= 1


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_new_layers_leave_the_logits_as_they_were(name, tmp_path, context):
    kind, changes = MODELS[name]
    model = save(transformers_model(kind, vocab_size=285, num_hidden_layers=3, **changes), tmp_path / "model")
    summary = expand(model, model, tmp_path / "out", context, new_layers=2)
    assert summary.new_layers == [2, 4]
    assert summary.shape.num_layers == 5
    before = transformers.AutoModelForCausalLM.from_pretrained(model).eval()
    after, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert after.config.num_hidden_layers == 5
    assert torch.equal(before(TOKENS).logits, after.eval()(TOKENS).logits)
    facts = json.loads((tmp_path / "out" / "diglot-expansion.json").read_text())
    assert facts == {"new_rows": [], "new_layers": [2, 4]}


def test_a_new_layer_attends_as_the_one_below(tmp_path, context):
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    changes = {"sliding_window": 9, "layer_types": kinds, "num_hidden_layers": 3, "vocab_size": 285}
    model = save(transformers_model("olmo3", **changes), tmp_path / "model")
    expand(model, model, tmp_path / "out", context, new_layers=3)
    after = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    assert after.layer_types == [kind for kind in kinds for _ in range(2)]


def test_new_layers_behind_norms_learn(tmp_path, context):
    """OLMo's norms would multiply the gradients of projections of zeros by 1 / sqrt(epsilon): the norms are zero instead."""
    model = save(transformers_model("olmo2", vocab_size=285, rms_norm_eps=1e-6), tmp_path / "model")
    expand(model, model, tmp_path / "out", context, new_layers=1)
    after = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    after(TOKENS, labels=TOKENS).loss.backward()
    old, new = after.model.layers[1], after.model.layers[2]
    assert new.self_attn.o_proj.weight.any()
    for name in ("post_attention_layernorm", "post_feedforward_layernorm"):
        weight, other = getattr(new, name).weight, getattr(old, name).weight
        assert not weight.any()
        assert 0 < weight.grad.norm() < 10 * other.grad.norm()


def test_new_layers_learn(tmp_path, context):
    """A layer of zeros alone would get no gradient and stay the identity for ever."""
    model = save(transformers_model("llama", vocab_size=285), tmp_path / "model")
    expand(model, model, tmp_path / "out", context, new_layers=1)
    after = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    after(TOKENS, labels=TOKENS).loss.backward()
    new = after.model.layers[2]
    for weight in (new.self_attn.o_proj.weight, new.mlp.down_proj.weight):
        assert not weight.any()
        assert weight.grad.abs().max() > 0


def test_the_folder_says_which_rows_are_new(tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    plain = vocabulary(write_tokenizer(tmp_path / "plain", NEW_MERGES, new_letters="كتاب"))
    names = sorted(plain, key=plain.__getitem__)
    names.insert(3, names.pop())  # a new token among the old ones
    tokenizer = write_tokenizer(tmp_path / "tokenizer", NEW_MERGES, new_letters="كتاب", order=names)
    expand(model, tokenizer, tmp_path / "out", context, new_layers=1, pad_vocabulary_to=64)
    facts = json.loads((tmp_path / "out" / "diglot-expansion.json").read_text())
    assert facts == {"new_rows": [[3, 4], [286, 295]], "new_layers": [2]}
    old, new = vocabulary(model), vocabulary(tokenizer)
    marked = {id for start, end in facts["new_rows"] for id in range(start, end)}
    assert marked == {id for token, id in new.items() if token not in old}


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_exactly_their_ids(ids):
    found = ranges(sorted(ids))
    assert [id for start, end in found for id in range(start, end)] == sorted(ids)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(found))


def test_the_old_models_stops_stay_under_their_new_ids(tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 270]}))
    stop = next(token for token, id in vocabulary(model).items() if id == 270)
    names = sorted(vocabulary(model), key=lambda name: name.encode()[::-1])
    tokenizer = write_tokenizer(tmp_path / "tokenizer", order=names)
    expand(model, tokenizer, tmp_path / "out", context)
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    new = vocabulary(tokenizer)
    assert set(generation.eos_token_id) == {new["</s>"], new[stop], new["<|end|>"]}


# --- memory ---------------------------------------------------------------------------------------------------

MAKE = """
import json, sys, torch
from pathlib import Path
from diglot.model.families import config_json
from diglot.model.decoder import DecoderConfig
from diglot.model.huggingface import huggingface_shapes
from diglot.model.weights import write_weights

config = DecoderConfig(vocabulary_size=32_000, num_layers=20, hidden_size=768, intermediate_size=2048, num_heads=12,
                       num_key_value_heads=12, head_size=64, max_positions=2048, tied_embeddings=False)
folder = Path(sys.argv[1])
shapes = huggingface_shapes(config)
write_weights(folder, shapes, lambda name: torch.randn(shapes[name].shape), 100_000_000)
(folder / "config.json").write_text(json.dumps(config_json(config, torch.float32)))
"""
HELPERS = Path(__file__).resolve().parents[1] / "helpers"
MEASURE = """
import sys
from pathlib import Path
from model_builders import inputs, megabytes
from diglot.base.artifact import Context
from diglot.expand import stage as expand
from diglot.model import imported, proof
from diglot.recipe.expand import Expand
from diglot.recipe.model import ImportModel
from diglot.tokenizer.folder import load_tokenizer
from transformers import CONFIG_MAPPING; CONFIG_MAPPING["llama"]  # loaded before, as it is not the model's memory

proof.MAX_PARAMETERS = 0  # comparing logits loads the model: that is not what is measured
what, model, tokenizer, output = sys.argv[1], *map(Path, sys.argv[2:])
context = Context("x", 0, output)
load_tokenizer(tokenizer)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = megabytes("VmRSS")
if what == "import":
    imported.run(ImportModel(do="import-model", path=str(model)), inputs(), output, context)
else:
    settings = Expand(do="expand", new_layers=2, initialization=what, pad_vocabulary_to=40_000)
    expand.run(settings, inputs(model=model, tokenizer=tokenizer), output, context)
print(megabytes("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Iterator[Path]:
    """A model of 760 MB in 9 shards; its largest tensor has 98 MB."""
    folder = tmp_path_factory.mktemp("large")
    write_tokenizer(folder)
    subprocess.run([sys.executable, "-c", MAKE, str(folder)], check=True)
    shards = [*folder.glob("model-*.safetensors")]
    assert len(shards) > 5
    assert sum(shard.stat().st_size for shard in shards) > 6e8
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["mean", *(pytest.param(what, marks=pytest.mark.full) for what in ("import", "random"))]
)
def test_a_large_model_passes_through_little_memory(what, large, tmp_path):
    tokenizer = write_tokenizer(tmp_path / "tokenizer", NEW_MERGES, new_letters="كتاب")
    (tmp_path / "out").mkdir()
    arguments = [what, str(large), str(tokenizer), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, cwd=HELPERS)
    assert done.returncode == 0, done.stderr
    # A tensor of 98 MB and one of 123, and what converting a chunk of rows takes; the model itself has 760 MB.
    assert float(done.stdout.split()[-1]) < 260
    if what == "import":
        one, other = StoredWeights(large), StoredWeights(tmp_path / "out")
        for name in list(one.shapes())[::25]:
            assert torch.equal(one.tensor(name), other.tensor(name))
    shutil.rmtree(tmp_path / "out")  # pytest keeps what tests leave
