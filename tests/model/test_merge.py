import pytest
import torch
import transformers
from model_builders import inputs, save, transformers_model, vocabulary, write_tokenizer

from diglot.artifact import UserError, content_hash
from diglot.model import weights as weights_module
from diglot.model.huggingface import load_decoder, save_decoder
from diglot.model.merge import run
from diglot.recipe import Merge


def make(folder, seed, kind="llama", **changes):
    model = transformers_model(kind, **changes)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return save(model, folder)


def merge(models, output, context, **settings):
    output.mkdir()
    return run(Merge(do="merge", **settings), inputs(models=models), output, context)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("weights", [None, [3.0, 1.0], [1.5, -0.5]])
def test_the_merge_is_the_weighted_mean(tmp_path, context, kind, weights):
    models = [make(tmp_path / name, seed, kind) for seed, name in enumerate("ab")]
    summary = merge(models, tmp_path / "out", context, weights=weights)
    first = 0.5 if weights is None else weights[0] / sum(weights)
    assert summary["models"] == pytest.approx({"a": first, "b": 1 - first})
    a, b, merged = (
        transformers.AutoModelForCausalLM.from_pretrained(path).state_dict()
        for path in (*models, tmp_path / "out")
    )
    assert set(merged) == set(a)
    for name in a:
        torch.testing.assert_close(
            merged[name], first * a[name] + (1 - first) * b[name], atol=1e-6, rtol=1e-5
        )


def test_a_model_merged_with_itself_is_itself(tmp_path, context):
    model = make(tmp_path / "a", 0)
    merge([model, model], tmp_path / "out", context)
    for (name, one), other in zip(
        load_decoder(model).state_dict().items(), load_decoder(tmp_path / "out").state_dict().values()
    ):
        assert torch.equal(one, other), name


def test_rows_are_aligned_by_token(tmp_path, context):
    """Trap 10: the same tokens under other numbers."""
    a = make(tmp_path / "a", 0)
    tokenizer = write_tokenizer(tmp_path / "reversed", order=list(vocabulary(a))[::-1])
    old, new = vocabulary(a), vocabulary(tokenizer)
    decoder = load_decoder(a)
    with torch.no_grad():
        for weight in (decoder.embedding.weight, decoder.head.weight):
            rows = weight.clone()
            for token, row in new.items():
                weight[row] = rows[old[token]]
    save_decoder(decoder, tmp_path / "b", tokenizer)
    summary = merge([a, tmp_path / "b"], tmp_path / "out", context)
    assert summary["reordered_rows"]["a"] == 0
    assert summary["reordered_rows"]["b"] > 200
    for (name, one), other in zip(
        load_decoder(a).state_dict().items(), load_decoder(tmp_path / "out").state_dict().values()
    ):
        assert torch.equal(one, other), name
    assert vocabulary(tmp_path / "out") == old


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
            load_decoder(tmp_path / f"{name}32", dtype=torch.bfloat16),
            tmp_path / name,
            tmp_path / f"{name}32",
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
