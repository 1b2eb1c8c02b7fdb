"""What the plan says is held of every parameter, against what training allocates: byte for byte."""

import json

import pytest
import torch
from tiny_model import save_tokenizer
from tiny_run import settings

from diglot.base.devices import parse_cluster
from diglot.model.decoder import Decoder
from diglot.model.huggingface import save_decoder
from diglot.model.presets import initialize, shape
from diglot.model.weights import EXPANSION
from diglot.plan.estimate import lay_out
from diglot.plan.follow import Known
from diglot.plan.states import states, trainable_shapes
from diglot.recipe.model import Shape
from diglot.recipe.train import Parallel, Phase
from diglot.train.adapter import adapter_parameters, add_adapter, four_bit
from diglot.train.freezing import held_moments, read_expansion, select
from diglot.train.mesh import Mesh
from diglot.train.optimizer import build_optimizer

SHAPES = {
    "untied": shape("tiny", 420, Shape(tied_embeddings=False, num_layers=4, intermediate_size=320)),
    # Rows of 352 numbers are no whole blocks of four bits.
    "tied": shape("tiny", 420, Shape(num_layers=4)),
    "polylm": shape("polylm-1.7b", 420, Shape(num_layers=4, hidden_size=96, intermediate_size=256, num_heads=4)),
}
BFLOAT16 = {"precision": "bfloat16", "weights": "bfloat16"}
VARIANTS = {
    "full": {},
    "8 bits": {"moments": "8-bit"},
    "lean": {"moments": "8-bit", **BFLOAT16},
    "bfloat16": BFLOAT16,
    "lora": {"adapter": {"rank": 5}},
    "dora": {"adapter": {"rank": 3, "kind": "dora", "targets": "attention"}, **BFLOAT16},
    "feed-forward": {"adapter": {"rank": 3, "targets": "feed-forward"}, **BFLOAT16},
    "nf4": {"adapter": {"rank": 5}, "precision": "bfloat16", "weights": "nf4"},
    "dpo": {"adapter": {"rank": 5}, "objective": "dpo", **BFLOAT16},
    "rows": {"phases": [Phase(name="a", trains="new-rows")]},
    "layers": {"phases": [Phase(name="a", trains="new-layers")]},
    "both": {"phases": [Phase(name="a", trains="new-rows-and-layers")]},
    "embeddings": {"phases": [Phase(name="a", trains="embeddings")]},
    "frozen": {"phases": [Phase(name="a", learning_rate_multipliers={"matrices": 0})]},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model of every shape that was expanded by rows and by one layer."""
    found, tokenizer = {}, tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(tokenizer)
    for name, config in SHAPES.items():
        found[name] = tmp_path_factory.mktemp("models") / name
        decoder = Decoder(config)
        initialize(decoder, 0)
        save_decoder(decoder, found[name], tokenizer)
        (found[name] / EXPANSION).write_text(json.dumps({"new_rows": [[300, 310]], "new_layers": [1]}))
    return found


def held(model_shape, stage):
    """By the plan, on one process."""
    model = Known(420, SHAPES[model_shape], new_rows=True, new_layers=1)
    return lay_out(stage, model, parse_cluster("cpu:1"))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model_shape", SHAPES)
def test_weights_and_gradients_are_those_of_training(folders, model_shape, variant):
    if "adapter" in VARIANTS[variant]:
        pytest.importorskip("peft")
    if variant == "nf4":
        pytest.importorskip("bitsandbytes")
    stage, folder = settings(**{"phases": [Phase(name="a")], **VARIANTS[variant]}), folders[model_shape]
    model = Mesh(Parallel()).load(folder, stage)
    expansion = read_expansion(folder, model.config)
    selection = select(model, expansion, stage.phases[0])
    for parameter in model.parameters():  # as `prepare` does
        parameter.requires_grad_(parameter in selection)
    execution = held(model_shape, stage)
    (planned,) = states(SHAPES[model_shape], execution)
    coarse = sum(_four_bits(module.weight) for module in four_bit(model).values())
    plain = [parameter for parameter in model.parameters() if parameter.dtype != torch.uint8]
    assert planned.weights == coarse + sum(parameter.nbytes for parameter in plain)
    assert planned.gradients == planned.moved == sum(parameter.nbytes for parameter in selection)
    optimizer = build_optimizer(model, stage, 0, selection)
    assert planned.optimizer == sum(tensor.nbytes for state in optimizer.state.values() for tensor in state.values())
    # Which layer is new is left open; all else is the same by name.
    names = {
        name.replace(".base_layer.", ".") for name, parameter in model.named_parameters() if parameter in selection
    }
    assert {name.replace("layers.3.", "layers.1.") for name in planned.trained} == {
        name.replace("layers.3.", "layers.1.") for name in names
    }


def _four_bits(weight):
    state = weight.quant_state
    outer = [state.absmax, state.code, state.state2.absmax, state.state2.code]
    return weight.nbytes + sum(tensor.nbytes for tensor in outer) + 4  # and the offset


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("model_shape", SHAPES)
def test_an_adapter_has_pefts_shapes(model_shape, kind):
    pytest.importorskip("peft")
    stage = settings(adapter={"rank": 7, "kind": kind})
    with torch.device("meta"):
        decoder = Decoder(SHAPES[model_shape])
    add_adapter(decoder, stage.adapter)
    theirs = {name.replace(".base_layer.", "."): tuple(p.shape) for name, p in decoder.named_parameters()}
    assert trainable_shapes(SHAPES[model_shape], held(model_shape, stage)) == theirs
    assert len(adapter_parameters(decoder)) == sum(".lora_" in name for name in theirs)


@pytest.mark.parametrize("trains", [("new-rows", "all"), ("all", "new-rows"), ("embeddings", "all"), ("new-rows", "new-layers"),
                                    ("new-layers", "new-rows", "new-layers"), ("all", "new-rows", "all")])  # fmt: skip
@pytest.mark.parametrize("continues", [False, True])
def test_moments_are_those_of_every_phase(folders, trains, continues):
    """What no later phase goes on with is freed; where another stage goes on, all stays."""
    phases = [Phase(name=f"p{number}", share=1 / len(trains), trains=each) for number, each in enumerate(trains)]
    stage = settings(phases=phases, export_optimizer=continues)
    model = Mesh(Parallel()).load(folders["untied"], stage)
    expansion = read_expansion(folders["untied"], model.config)
    selections = [select(model, expansion, phase) for phase in phases]
    found = states(SHAPES["untied"], held("untied", stage))
    for index, planned in enumerate(found):
        kept = set().union(*selections) if continues else held_moments(selections, index)
        optimizer = build_optimizer(model, stage, 0, kept)
        assert planned.optimizer == sum(t.nbytes for state in optimizer.state.values() for t in state.values())
