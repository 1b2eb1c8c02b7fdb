import math
from typing import get_args

import pytest
import torch
import transformers
from model_builders import inputs, write_tokenizer

from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.model.decoder import Decoder
from diglot.model.families import config_json
from diglot.model.huggingface import count_parameters, load_decoder
from diglot.model.presets import PRESETS, initialize, run, shape
from diglot.recipe.model import NewModel, Preset, Shape

PUBLISHED = {
    "polylm-1.7b": 1_737_084_928,
    "polylm-13b": 13_906_790_400,
    "polylm-1.7b-rope": 1_737_084_928 - 2048 * 2048,
    "polylm-13b-rope": 13_906_790_400 - 2048 * 5120,
    "allam-7b": 6_738_415_616 + 2 * 32_000 * 4096,
    "allam-34b": 34_268_258_304,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3.1-8b": 8_030_261_248,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
}


def test_recipes_know_all_presets() -> None:
    assert set(get_args(Preset)) == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_are_those_of_transformers(preset, tmp_path):
    config = PRESETS[preset]
    count = count_parameters(config)
    values = config_json(config, torch.float32)
    with torch.device("meta"):
        oracle = transformers.AutoModelForCausalLM.from_config(
            transformers.CONFIG_MAPPING[values["model_type"]].from_dict(values)
        )
    assert count == sum(parameter.numel() for parameter in oracle.parameters())
    assert count == PUBLISHED.get(preset, count)


@pytest.mark.parametrize(("preset", "least", "most"), [("tiny", 0.4, 1), ("mini", 3, 8), ("small", 20, 35)])
def test_small_presets_are_small(preset, least, most):
    assert least * 1e6 < count_parameters(shape(preset, 4000 if preset != "tiny" else 2000)) < most * 1e6


def make(tmp_path, name, context, **settings):
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    output = tmp_path / name
    output.mkdir()
    summary = run(NewModel(do="new-model", **settings), inputs(tokenizer=tokenizer), output, context)
    return output, summary


@pytest.mark.parametrize("preset", ["tiny", "polylm-1.7b"])
def test_a_new_model_starts_near_the_uniform_loss(preset, tmp_path, context):
    changes = {} if preset == "tiny" else {"num_layers": 2, "hidden_size": 64, "intermediate_size": 128}
    output, summary = make(tmp_path, "model", context, preset=preset, shape=Shape(**changes))
    model = transformers.AutoModelForCausalLM.from_pretrained(output)
    assert summary.parameters == sum(parameter.numel() for parameter in model.parameters())
    rows = summary.shape.vocabulary_size
    tokens = torch.randint(rows, (4, 32), generator=torch.Generator().manual_seed(0))
    loss = model(tokens, labels=tokens).loss.item()
    assert abs(loss - math.log(rows)) < 0.3


def test_the_vocabulary_is_the_tokenizers_padded(tmp_path, context):
    _, summary = make(tmp_path, "a", context, preset="tiny")
    assert summary.shape.vocabulary_size == 285
    output, summary = make(tmp_path, "b", context, preset="tiny", pad_vocabulary_to=64)
    assert summary.shape.vocabulary_size == 320
    assert len(load_decoder(output).embedding.weight) == 320


def test_the_seed_decides(tmp_path, context):
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        output, _ = make(tmp_path, name, context, preset="tiny", seed=seed)
        hashes.append(content_hash(output))
    assert hashes[0] == hashes[1] != hashes[2]


def test_first_weights_have_the_stated_spread():
    config = shape("mini", 2000)
    decoder = Decoder(config)
    initialize(decoder, 0)
    deviation = {name: p.std().item() for name, p in decoder.named_parameters() if p.ndim > 1}
    for name, value in deviation.items():
        residual = name.endswith(("output.weight", "down.weight"))
        assert value == pytest.approx(0.02 / math.sqrt(12) if residual else 0.02, rel=0.03), name
    decoder = Decoder(shape("polylm-1.7b", 500, Shape(num_layers=1, hidden_size=64, intermediate_size=256)))
    initialize(decoder, 0, xavier=True)
    up = decoder.layers[0].feed_forward.up
    assert up.weight.std().item() == pytest.approx(math.sqrt(2 / (64 + 256)), rel=0.03)
    assert up.bias.abs().max() == 0
    assert decoder.norm.weight.eq(1).all()


def test_shapes_can_be_changed_or_are_refused():
    config = shape("llama-2-7b", 100, Shape(num_layers=2, hidden_size=64, num_heads=8, tied_embeddings=True))
    assert (config.num_layers, config.head_size, config.num_key_value_heads) == (2, 8, 8)
    assert config.tied_embeddings
    with pytest.raises(UserError, match="there is no 'tinny'; did you mean 'tiny'"):
        shape("tinny", 100)
    with pytest.raises(UserError, match=r"hidden_size .65. must be a multiple of num_heads"):
        shape("tiny", 100, Shape(hidden_size=65))
    with pytest.raises(UserError, match="multiple of num_key_value_heads"):
        shape("tiny", 100, Shape(num_key_value_heads=3))
