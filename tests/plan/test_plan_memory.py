"""Memory by formula, against real steps on the CPU, torchtitan's published table, and itself."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import save_tokenizer

from diglot.base.devices import GIB, parse_cluster
from diglot.model.decoder import Decoder, LayerAttention
from diglot.model.huggingface import count_parameters, save_decoder
from diglot.model.presets import PRESETS, initialize, shape
from diglot.plan.estimate import lay_out
from diglot.plan.execution import Execution
from diglot.plan.follow import Known
from diglot.plan.memory import kept_activations, layer_activations, memory
from diglot.plan.states import local_size, parameter_shapes, parameters
from diglot.plan.states import states as parts
from diglot.recipe.model import Shape
from diglot.recipe.train import Train
from diglot.train.optimizer import build_optimizer

HELPERS = Path(__file__).resolve().parents[1] / "helpers"
POLYLM = {"num_layers": 6, "hidden_size": 256, "intermediate_size": 1024, "num_heads": 8}


def states(config, execution):
    """Weights, gradients and optimizer at the end of a step."""
    held = memory(config, replace(execution, accumulates=True), margin=False).categories
    return {name: held[name] for name in ("weights", "optimizer")}


# --- parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_add_up_to_the_decoders(preset):
    config = PRESETS[preset]
    counts = parameters(config)
    assert counts["total"] == count_parameters(config)
    D, inner, S = config.hidden_size, config.intermediate_size, config.head_size
    H, K = config.num_heads, config.num_key_value_heads
    if config.activation == "swiglu":  # Llama, Qwen3: no biases
        layer = 2 * H * S * D + 2 * K * S * D + 3 * D * inner + 2 * D + (2 * S if config.query_key_norm else 0)
    else:  # PolyLM: biases everywhere
        layer = 4 * (D * D + D) + 2 * D * inner + inner + D + 4 * D
    assert counts["layers"] == config.num_layers * layer
    assert counts["embedding"] == config.vocabulary_size * D
    assert counts["head"] == (0 if config.tied_embeddings else counts["embedding"])
    assert counts["positions"] == (config.max_positions * D if config.positions == "learned" else 0)


@given(data_parallel=st.integers(1, 300), power=st.integers(0, 3))
@examples(20)
def test_ranks_together_hold_at_least_everything(data_parallel, power):
    config = PRESETS["qwen3-0.6b"]
    execution = Execution(data_parallel=data_parallel, tensor_parallel=2**power)
    local = {name: local_size(name, size, execution) for name, size in parameter_shapes(config).items()}
    assert sum(local.values()) * data_parallel * 2**power >= parameters(config)["total"]
    if data_parallel == 1 and power == 0:
        assert sum(local.values()) == parameters(config)["total"]


# --- against real steps ---------------------------------------------------------------------------------------


@pytest.fixture
def real_step(tmp_path):
    """Trains a new model for two steps in a process of its own: its shape, and what was held."""

    def run(preset, vocabulary_size, changes, settings, length=512):
        config = shape(preset, vocabulary_size, Shape(**changes))
        save_tokenizer(tmp_path / "tokenizer")
        decoder = Decoder(config)
        initialize(decoder, 0)
        save_decoder(decoder, tmp_path / "model", tmp_path / "tokenizer")
        request = {"folder": str(tmp_path / "model"), "settings": settings, "rows": 4, "length": length}
        command = [sys.executable, str(HELPERS / "real_step.py"), json.dumps(request)]
        # glibc's heap gives everything back at once: what it keeps of freed memory is chance, and no part of the formula.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return config, json.loads(done.stdout.strip().split("\n")[-1])

    return run


@pytest.mark.full  # the ways below hold the same formula, and its settings
@pytest.mark.parametrize(("preset", "changes"), [("polylm-1.7b", POLYLM), ("mini", {})])
def test_a_real_step_holds_what_the_formula_says(real_step, preset, changes):
    config, found = real_step(preset, 8000, changes, {})
    execution = Execution(
        micro_batch_size=4, sequence_length=512, precision="float32", sharded=False, packed=True, host=True
    )
    assert states(config, execution) == {name: found[name] for name in ("weights", "optimizer")}
    assert found["gradients"] == found["weights"]
    assert found["activations"] == pytest.approx(kept_activations(config, execution), rel=0.03)
    held = memory(config, execution)
    # 1.07 times the sum, whatever else runs; with glibc's defaults up to 1.5, for which HOST_MARGIN is there.
    assert 1 < found["resident"] / held.peak < 1.25
    assert found["resident"] < held.total


# Models of 41 million parameters, 4 × 128 tokens: most is weights, gradients and moments.
WAYS = {
    "in full": {},
    "lean": {"precision": "bfloat16", "weights": "bfloat16", "moments": "8-bit"},
    "adapter": {"precision": "bfloat16", "weights": "bfloat16", "adapter": {"rank": 16}},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", ["in full", *(pytest.param(way, marks=pytest.mark.full) for way in ("lean", "adapter"))]
)
def test_a_real_step_of_each_way_holds_what_the_plan_says(real_step, way):
    if "adapter" in WAYS[way]:
        pytest.importorskip("peft")
    config, found = real_step("small", 32_000, {}, WAYS[way], length=128)
    given = {"steps": 1, "batch_size": 4, "sequence_length": 128, **WAYS[way]}
    stage = Train.model_validate({"from": {"model": "a", "tokens": "b"}, **given})
    execution = lay_out(stage, Known(32_000, config), parse_cluster("cpu"))
    held = memory(config, execution)
    (state,) = parts(config, execution)
    assert (found["weights"], found["gradients"], found["optimizer"]) == (
        state.weights,
        state.gradients,
        state.optimizer,
    )
    assert 0.95 < found["resident"] / held.peak < 1.35
    assert found["resident"] < held.total


def saved_bytes(config, rows, length):
    """What a forward pass of one document a row keeps, beside the weights."""
    decoder = Decoder(config)
    weights = {parameter.untyped_storage().data_ptr() for parameter in decoder.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    documents_BT = torch.arange(rows)[:, None].expand(rows, length)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden_BTD = decoder(torch.zeros(rows, length, dtype=torch.int64), None, documents_BT)
    assert hidden_BTD.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("length", [1024, 256])
def test_windows_and_norms_behind_branches_keep_what_the_formula_says(length):
    """As near as for what they differ from; a CPU keeps more than the formula's GPU, most of all of norms."""
    llama = shape("tiny", 512, Shape(num_key_value_heads=4, num_heads=4, hidden_size=128, num_layers=3))
    mistral = replace(llama, layer_attention=(LayerAttention(window=300),) * 3)
    qwen3 = replace(mistral, query_key_norm="head")
    olmo = replace(mistral, norm_placement="after", query_key_norm="projection")
    execution = Execution(
        micro_batch_size=4, sequence_length=length, precision="float32", sharded=False, packed=True, host=True
    )
    for config, plain in ((mistral, llama), (olmo, qwen3)):
        found = saved_bytes(config, 4, length) / saved_bytes(plain, 4, length)
        expected = kept_activations(config, execution) / kept_activations(plain, execution)
        assert found == pytest.approx(expected, rel=0.03)


# --- against torchtitan's table -------------------------------------------------------------------------------
# docs/performance.md of pytorch/torchtitan (December 2024): H100 with 96 GB, reserved memory in GiB, Llama-3.1,
# sequences of 8,192 tokens unless said, all logits at once.

LLAMA = PRESETS["llama-3.1-8b"]
# Its selective checkpointing keeps, beside a layer's input, the results of every other product and of attention:
# query, key, gate, down, and the attended values.
SELECTIVE = 32 * 2 * (4096 + 1024 + 14_336 + 4096 + 4096)  # bytes a token


@pytest.mark.parametrize(
    ("ranks", "rows", "length", "selective", "theirs"),
    [(8, 2, 8192, True, 82.4), (128, 2, 8192, True, 67.0), (8, 1, 32_768, False, 83.9)],
)
def test_torchtitans_memory_is_met(ranks, rows, length, selective, theirs):
    execution = Execution(
        data_parallel=ranks, micro_batch_size=rows, sequence_length=length, activation_checkpointing=True, loss="whole"
    )
    more = SELECTIVE * execution.tokens if selective else 0
    peak = (memory(LLAMA, execution, margin=False).moments["loss"] + more) / GIB
    assert 1.13 < theirs / peak < 1.20  # reserved over summed: what the margin stands for
    assert theirs == pytest.approx(1.15 * peak + 1, rel=0.04)


def test_torchtitans_tensor_parallel_is_met():
    """70B on 256 H100, 32 × 8: 71.9 GiB, and 67.6 with asynchronous tensor parallel."""
    llama = replace(PRESETS["llama-2-70b"], vocabulary_size=128_256, max_positions=8192)
    execution = Execution(
        data_parallel=32,
        tensor_parallel=8,
        micro_batch_size=16,
        sequence_length=8192,
        activation_checkpointing=True,
        loss="whole",
    )
    assert memory(llama, execution).total / GIB == pytest.approx(67.6, rel=0.2)


# --- in itself ------------------------------------------------------------------------------------------------

executions = st.builds(
    Execution,
    data_parallel=st.sampled_from([2, 8, 64]),
    tensor_parallel=st.sampled_from([1, 2, 4]),
    context_parallel=st.sampled_from([1, 2, 4]),
    micro_batch_size=st.integers(1, 16),
    sequence_length=st.sampled_from([128, 2048]),
    precision=st.sampled_from(["float32", "bfloat16"]),
    activation_checkpointing=st.booleans(),
    float32_residual=st.booleans(),
    accumulates=st.booleans(),
    reference=st.booleans(),
)


@given(execution=executions, preset=st.sampled_from(["tiny", "qwen3-0.6b", "polylm-1.7b", "llama-3-8b"]))
@examples(60)
def test_more_work_holds_more_and_more_ranks_hold_less(execution, preset):
    config = PRESETS[preset]
    held = memory(config, execution)
    assert held.peak == max(held.moments.values()) == pytest.approx(sum(held.categories.values()))
    assert min(held.categories.values()) >= 0
    assert memory(config, replace(execution, data_parallel=128)).peak < held.peak
    larger = replace(execution, micro_batch_size=execution.micro_batch_size + 1)
    assert memory(config, larger).peak >= held.peak
    assert layer_activations(config, larger) > layer_activations(config, execution)
    if not execution.float32_residual:
        assert memory(config, replace(execution, float32_residual=True)).peak >= held.peak
    cut = replace(execution, context_parallel=2 * execution.context_parallel)
    assert memory(config, cut).peak < held.peak
    assert layer_activations(config, cut) > layer_activations(config, execution) / 2  # keys and values are gathered
    kept = kept_activations(config, replace(execution, activation_checkpointing=True))
    assert kept < kept_activations(config, replace(execution, activation_checkpointing=False))


def test_sixteen_bytes_a_parameter():
    """What DeepSpeed's ZeRO counts for mixed precision without its 16-bit copies: 4 + 4 + 8."""
    config = PRESETS["llama-3-8b"]
    held = memory(config, Execution(micro_batch_size=1, sequence_length=64, sharded=False, precision="float32"))
    assert held.moments["optimizer step"] == pytest.approx(16 * parameters(config)["total"], rel=1e-6)


def test_an_asynchronous_checkpoint_takes_its_copy_where_there_is_one_memory():
    """5.9 GB were held where 4.2 GB had been planned: weights and moments lay there twice."""
    config = PRESETS["qwen3-0.6b"]
    execution = Execution(sharded=False, precision="float32", host=True)
    without, with_copy = (memory(config, replace(execution, copies=copies)) for copies in (False, True))
    state = 12 * parameters(config)["total"]
    assert with_copy.peak - without.peak == pytest.approx(state, rel=1e-6)
    assert with_copy.categories["copy"] == with_copy.categories["weights"] + with_copy.categories["optimizer"]
    assert with_copy.margin == pytest.approx(0.4 * with_copy.peak + GIB)


def test_muon_keeps_one_moment_of_the_layers_matrices():
    config = shape("tiny", 1000)
    given = Train.model_validate({"from": {"model": "a", "tokens": "b"}, "steps": 1, "optimizer": "muon"})
    states = build_optimizer(Decoder(config), given).state.values()
    held = memory(config, Execution(sharded=False, precision="float32", optimizer="muon"))
    assert held.categories["optimizer"] == sum(t.nbytes for state in states for t in state.values())


def test_the_chunked_loss_spares_the_logits():
    config = shape("polylm-1.7b", 256_000)
    execution = Execution(data_parallel=8, micro_batch_size=4)
    whole = memory(config, replace(execution, loss="whole"), margin=False).peak
    logits = 4 * 4 * 2048 * 256_000
    assert whole - memory(config, execution, margin=False).peak > 2 * logits
