"""Merging whole models: rows by token, what is refused, and how much memory it takes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from model_builders import inputs, save, transformers_model, vocabulary, write_tokenizer

from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.merge.methods import merger
from diglot.merge.stage import run
from diglot.model import weights as weights_module
from diglot.model.huggingface import load_decoder, save_decoder
from diglot.recipe.merge import Merge


def make(folder, seed, kind="llama", **changes):
    model = transformers_model(kind, **changes)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return save(model, folder)


def merge(models, output, context, base=None, **settings):
    output.mkdir()
    roles = {"models": models} | ({"base": base} if base else {})
    return run(Merge(do="merge", **settings), inputs(**roles), output, context)


def state(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("weights", [None, [3.0, 1.0], [1.5, -0.5]])
def test_the_merge_is_the_weighted_mean(tmp_path, context, kind, weights):
    models = [make(tmp_path / name, seed, kind) for seed, name in enumerate("ab")]
    summary = merge(models, tmp_path / "out", context, weights=weights)
    first = 0.5 if weights is None else weights[0] / sum(weights)
    assert summary.models == pytest.approx({"a": first, "b": 1 - first})
    a, b, merged = (
        transformers.AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (*models, tmp_path / "out")
    )
    assert set(merged) == set(a)
    for name in a:
        torch.testing.assert_close(merged[name], first * a[name] + (1 - first) * b[name], atol=1e-6, rtol=1e-5)


def test_a_model_merged_with_itself_is_itself(tmp_path, context):
    model = make(tmp_path / "a", 0)
    merge([model, model], tmp_path / "out", context)
    for (name, one), other in zip(
        load_decoder(model).state_dict().items(), load_decoder(tmp_path / "out").state_dict().values()
    ):
        assert torch.equal(one, other), name


def renumbered(model, folder):
    """The same model with the same tokens under other numbers."""
    tokenizer = write_tokenizer(folder.with_name(f"{folder.name}-tokenizer"), order=list(vocabulary(model))[::-1])
    old, new = vocabulary(model), vocabulary(tokenizer)
    decoder = load_decoder(model)
    with torch.no_grad():
        for weight in (decoder.embedding.weight, decoder.head.weight):
            rows = weight.clone()
            for token, row in new.items():
                weight[row] = rows[old[token]]
    save_decoder(decoder, folder, tokenizer)
    return folder


@pytest.mark.parametrize("method", ["slerp", "task-arithmetic", "ties", "dare", "dare-ties"])
def test_every_tensor_is_merged_by_the_method(tmp_path, context, method):
    """Rows of the second model, and of the base, stand elsewhere."""
    a, b, base = (make(tmp_path / name, seed) for seed, name in enumerate(("a", "b", "base")))
    moved_b, moved_base = renumbered(b, tmp_path / "moved-b"), renumbered(base, tmp_path / "moved-base")
    of_means = method == "slerp"
    settings = {"method": method, "weights": [0.25, 0.75]} | ({} if of_means else {"scale": 0.5})
    summary = merge([a, moved_b], tmp_path / "out", context, None if of_means else moved_base, **settings)
    assert summary.method == method
    assert summary.models == {"a": 0.25, "moved-b": 0.75}
    assert summary.base == (None if of_means else "moved-base")
    assert summary.density == {"ties": 0.2, "dare": 0.1, "dare-ties": 0.1}.get(method)
    reference = merger(method, [0.25, 0.75], scale=1.0 if of_means else 0.5, seed="0/0")
    parts, merged = [state(folder) for folder in (a, b, base)], state(tmp_path / "out")
    for name, tensor in merged.items():
        wanted = reference(name, [parts[0][name], parts[1][name]], None if of_means else parts[2][name])
        assert torch.equal(tensor, wanted), name


def test_the_last_models_of_a_run_are_averaged(tmp_path, context):
    """Oldest first, the last one included; steps are numbers: 90 comes before 100."""
    run_ = make(tmp_path / "run", 0)
    for seed, step in ((1, 80), (2, 90), (3, 100)):
        make(run_ / "steps" / str(step), seed)
    summary = merge([run_], tmp_path / "out", context, last=3, weights=[1.0, 2.0, 5.0])
    assert summary.models == {"run@90": 0.125, "run@100": 0.25, "run": 0.625}
    parts = [state(folder) for folder in (run_ / "steps" / "90", run_ / "steps" / "100", run_)]
    for name, tensor in state(tmp_path / "out").items():
        wanted = sum(w * part[name] for w, part in zip((0.125, 0.25, 0.625), parts))
        torch.testing.assert_close(tensor, wanted, atol=1e-6, rtol=1e-5)
    with pytest.raises(UserError, match="5 models asked for, but run keeps 3 beside its last; set export_every"):
        merge([run_], tmp_path / "out2", context, last=5)
    with pytest.raises(UserError, match="give that stage alone"):
        merge([run_, run_], tmp_path / "out3", context, last=2)


def test_what_is_new_in_the_model_stays_known(tmp_path, context):
    """For training that starts with new rows: the rows stand where the first model has them."""
    models = [make(tmp_path / name, seed) for seed, name in enumerate("ab")]
    (models[0] / "diglot-expansion.json").write_text('{"new_layers": [], "new_rows": [[300, 310]]}')
    merge(models, tmp_path / "out", context)
    expansion = [folder / "diglot-expansion.json" for folder in (models[0], tmp_path / "out")]
    assert expansion[0].read_text() == expansion[1].read_text()


def test_rows_are_aligned_by_token(tmp_path, context):
    """Trap 10: the same tokens under other numbers."""
    a = make(tmp_path / "a", 0)
    renumbered(a, tmp_path / "b")
    summary = merge([a, tmp_path / "b"], tmp_path / "out", context)
    assert summary.reordered_rows["a"] == 0
    assert summary.reordered_rows["b"] > 200
    for (name, one), other in zip(
        load_decoder(a).state_dict().items(), load_decoder(tmp_path / "out").state_dict().values()
    ):
        assert torch.equal(one, other), name
    assert vocabulary(tmp_path / "out") == vocabulary(a)


def test_shards_give_the_same_weights_and_merging_is_deterministic(tmp_path, context, monkeypatch):
    models = [make(tmp_path / name, seed) for seed, name in enumerate("abc")]
    for name in ("one", "two"):
        merge(models, tmp_path / name, context)
    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "two")
    monkeypatch.setattr(weights_module, "MAX_SHARD_BYTES", 30_000)
    merge(models, tmp_path / "sharded", context)
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    whole, sharded = load_decoder(tmp_path / "one"), load_decoder(tmp_path / "sharded")
    for one, other in zip(whole.parameters(), sharded.parameters()):
        assert torch.equal(one, other)


def test_bfloat16_models_are_averaged_in_float32(tmp_path, context):
    models = []
    for seed, name in enumerate("abcd"):
        make(tmp_path / f"{name}32", seed)
        save_decoder(
            load_decoder(tmp_path / f"{name}32", dtype=torch.bfloat16), tmp_path / name, tmp_path / f"{name}32"
        )
        models.append(tmp_path / name)
    merge(models, tmp_path / "out", context)
    parts = [load_decoder(model).embedding.weight for model in models]
    merged = load_decoder(tmp_path / "out", dtype=None).embedding.weight
    assert torch.equal(merged, (sum(parts) / 4).bfloat16())


def test_models_that_do_not_fit_are_refused(tmp_path, context):
    a = make(tmp_path / "a", 0)
    other = make(tmp_path / "other", 0, intermediate_size=40)
    with pytest.raises(UserError, match="a and other differ in intermediate_size: 48 and 40"):
        merge([a, other], tmp_path / "out1", context)
    foreign = make(tmp_path / "foreign", 0)
    write_tokenizer(foreign, new_letters="ك")
    with pytest.raises(UserError, match=r"different vocabularies: 1 tokens .* 'ك' \(only in foreign\)"):
        merge([a, foreign], tmp_path / "out2", context)
    with pytest.raises(UserError, match="at least two"):
        merge([a], tmp_path / "out3", context)
    with pytest.raises(UserError, match="3 given for 2 models"):
        merge([a, a], tmp_path / "out4", context, weights=[1.0, 1.0, 1.0])
    with pytest.raises(UserError, match="sum must be positive"):
        merge([a, a], tmp_path / "out5", context, weights=[1.0, -1.0])
    with pytest.raises(UserError, match="slerp goes from one model to another; 3 are given"):
        merge([a, a, a], tmp_path / "out6", context, method="slerp")
    with pytest.raises(UserError, match="method ties needs the model that all began from"):
        merge([a, a], tmp_path / "out7", context, method="ties")
    with pytest.raises(UserError, match="method linear has no base"):
        merge([a, a], tmp_path / "out8", context, base=a)
    with pytest.raises(UserError, match="a and foreign have different vocabularies"):
        merge([a, a], tmp_path / "out9", context, base=foreign, method="ties")
    gpt2 = make(tmp_path / "gpt2", 0, "gpt2")
    with pytest.raises(UserError, match="a and gpt2 differ in architecture: llama and gpt2"):
        merge([a, gpt2], tmp_path / "out10", context)


# --- memory ---------------------------------------------------------------------------------------------------

MAKE = """
import json, sys, torch
from pathlib import Path
from diglot.model.families import config_json
from diglot.model.decoder import DecoderConfig
from diglot.model.huggingface import huggingface_shapes
from diglot.model.weights import write_weights

config = DecoderConfig(vocabulary_size=16_000, num_layers=16, hidden_size=768, intermediate_size=2048, num_heads=12,
                       num_key_value_heads=12, head_size=64, max_positions=2048, tied_embeddings=False)
folder = Path(sys.argv[1])
torch.manual_seed(int(sys.argv[2]))
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
from diglot.merge import stage as merge
from diglot.recipe.merge import Merge
from diglot.tokenizer.folder import load_tokenizer
from transformers import CONFIG_MAPPING; CONFIG_MAPPING["llama"]  # loaded before, as it is not the model's memory

method, first, second, base, output = sys.argv[1], *map(Path, sys.argv[2:])
load_tokenizer(first)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = megabytes("VmRSS")
roles = {"models": [first, second]} | ({} if method == "linear" else {"base": base})
merge.run(Merge(do="merge", method=method), inputs(**roles), output, Context("x", 0, output))
print(megabytes("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> list[Path]:
    """Three models of 550 MB in shards; the largest tensor has 49 MB."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second", "base")]
    for seed, folder in enumerate(folders):
        write_tokenizer(folder)
        subprocess.run([sys.executable, "-c", MAKE, str(folder), str(seed)], check=True)
    assert all(len([*folder.glob("model-*.safetensors")]) > 4 for folder in folders)
    assert sum(shard.stat().st_size for shard in folders[0].glob("*.safetensors")) > 5e8
    return folders


@pytest.mark.slow
@pytest.mark.parametrize(("method", "limit"), [("linear", 200), pytest.param("ties", 560, marks=pytest.mark.full)])
def test_large_models_pass_through_little_memory(method, limit, large, tmp_path):
    """Models of 550 MB each: copies of one tensor of 49 MB are in memory, three (linear) or ten (ties)."""
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, method, *map(str, large), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=HELPERS,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < limit
