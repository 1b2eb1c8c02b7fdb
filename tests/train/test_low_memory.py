"""Moments of 8 bits and weights rounded at random, against torchao and against what float32 does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mesh_work import run_on
from pydantic import ValidationError
from tiny_run import losses, settings, train

from diglot.base.artifact import Inputs, content_hash
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.huggingface import load_decoder
from diglot.train import low_memory
from diglot.train.low_memory import borders, code_values, decode, encode, nearest_codes, rounded_at_random
from diglot.train.optimizer import Rows, build_optimizer, set_learning_rates, take_step

CPU = torch.device("cpu")
SMALL = DecoderConfig(
    vocabulary_size=40, num_layers=1, hidden_size=64, intermediate_size=96, num_heads=4, num_key_value_heads=2,
    head_size=16, max_positions=32,
)  # fmt: skip
BFLOAT16 = {"weights": "bfloat16", "precision": "bfloat16"}
EIGHT = {"moments": "8-bit"}


# --- 8 bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_torchaos(signed: bool) -> None:
    theirs = pytest.importorskip("torchao.optim.quant_utils")
    map_256 = torch.tensor(theirs.create_dynamic_map(signed))
    torch.testing.assert_close(code_values(signed, CPU), map_256, rtol=1e-6, atol=0)
    values = torch.randn(30, 1024) * torch.logspace(-6, 3, 30)[:, None]
    values = values if signed else values.square()
    codes, scales = encode(values, signed)
    scaled, wanted = theirs.scale_tensor(values, 256)
    assert torch.equal(scales.flatten(), wanted)
    # At a border between two codes both are as near.
    differ = codes != theirs.quantize_8bit_with_qmap(scaled, map_256)
    assert differ.float().mean() < 1e-4
    assert (codes.int() - theirs.quantize_8bit_with_qmap(scaled, map_256).int()).abs().max() <= 1
    nearest = (scaled[..., None] - map_256).abs().amin(dim=-1)
    found = (decode(codes, torch.ones_like(scales), signed) - scaled).abs()
    torch.testing.assert_close(found, nearest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_those_of_a_search_among_the_borders(signed: bool) -> None:
    between = borders(signed, CPU)
    values = torch.cat([between, code_values(signed, CPU), torch.tensor([0.0, -0.0, 1.0, 1e-30, 1e-7])])
    values = torch.cat([values, values.nextafter(torch.tensor(2.0)), values.nextafter(torch.tensor(-2.0))])
    values = torch.cat([values, torch.rand(100_000), torch.rand(100_000) * 1e-4, 10 ** (-8 * torch.rand(100_000))])
    values = (torch.cat([values, -values]) if signed else values).clamp(min=-1 if signed else 0, max=1)
    wanted = torch.bucketize(values, between, right=True)
    assert torch.equal(nearest_codes(values, signed).long(), wanted)
    assert len(wanted.unique()) == 256


def test_blocks_end_with_their_row() -> None:
    values = torch.randn(7, 300)
    codes, scales = encode(values, True)
    assert (codes.shape, scales.shape) == ((7, 300), (7, 2))
    for row in range(7):
        alone, scale = encode(values[row : row + 1], True)
        assert torch.equal(alone[0], codes[row])
        assert torch.equal(scale[0], scales[row])
    torch.testing.assert_close(scales[:, 1], values[:, 256:].abs().amax(1))


def test_a_step_is_torchaos() -> None:
    adam = pytest.importorskip("torchao.optim.adam")
    state8 = pytest.importorskip("torchao.optim.subclass_8bit").OptimState8bit
    decoder = Decoder(DecoderConfig(**{**vars(SMALL), "hidden_size": 256, "intermediate_size": 512, "head_size": 64}))
    optimizer = build_optimizer(decoder, settings(**EIGHT))
    ours = decoder.layers[0].feed_forward.up.weight
    theirs = ours.detach().clone()
    moments = [state8.zeros(theirs.shape, signed, 256, "cpu") for signed in (True, False)]
    numbers = {"beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "eps": 1e-8}
    for step in range(1, 6):
        ours.grad = torch.randn_like(ours) * 10**-step
        set_learning_rates(optimizer, 1e-3, {})
        take_step(optimizer, {})
        adam.single_param_adam(
            theirs, ours.grad, torch.tensor(float(step)), *moments, None, torch.tensor(1e-3), **numbers,
            IS_ADAMW=True, BF16_STOCHASTIC_ROUND=False,
        )  # fmt: skip
    # At a border between two codes one takes the upper and the other the lower.
    differ = ~torch.isclose(ours.detach(), theirs, rtol=1e-5, atol=2e-6)
    assert differ.float().mean() < 1e-4


# --- rounding at random ---------------------------------------------------------------------------------------


def test_rounding_is_to_a_neighbour_and_right_in_the_mean() -> None:
    values = torch.randn(1, 1000)
    found = torch.stack([rounded_at_random(values, torch.tensor(key), 0)[0].float() for key in range(-500, 500)])
    below = (values.view(torch.int32) & -0x10000).view(torch.float32)  # towards zero
    above = ((values.view(torch.int32) & -0x10000) + 0x10000).view(torch.float32)
    assert ((found == below) | (found == above)).all()
    share = ((values - below) / (above - below))[0].double()
    errors = ((found == above).double().mean(0) - share) / (share * (1 - share) / 1000).sqrt().clamp(min=1e-3)
    assert errors.abs().mean() < 1  # of a normal distribution: 0.8
    assert errors.abs().max() < 6
    exact = values.bfloat16().float()
    assert torch.equal(rounded_at_random(exact, torch.tensor(3), 0).float(), exact)


def test_the_random_numbers_are_those_of_the_place() -> None:
    values, key = torch.randn(40, 50), torch.tensor(-5, dtype=torch.int32)
    whole = rounded_at_random(values, key, 2**31 - 700)  # places beyond 31 bits too
    assert torch.equal(rounded_at_random(values[13:20], key, 2**31 - 700 + 13 * 50), whole[13:20])
    assert not torch.equal(rounded_at_random(values, key + 1, 2**31 - 700), whole)


def test_small_updates_count() -> None:
    """Updates of a thousandth of bfloat16's step at 1 add up, where the nearest rounding would lose each of them."""
    decoder = Decoder(SMALL).to(torch.bfloat16)
    optimizer = build_optimizer(decoder, settings(**BFLOAT16, weight_decay=0.0, epsilon=1e-12))
    weight = decoder.layers[0].feed_forward.up.weight
    weight.data.fill_(1.0)
    for _ in range(200):
        weight.grad = torch.ones_like(weight)
        set_learning_rates(optimizer, 1e-5, {})
        take_step(optimizer, {})
    assert float(weight.detach().float().mean()) == pytest.approx(1 - 200e-5, abs=2e-4)


# --- steps ----------------------------------------------------------------------------------------------------


def prepared(**changes):
    torch.manual_seed(0)
    decoder = Decoder(SMALL)
    given = settings(**changes)
    if given.weights == "bfloat16":
        decoder.to(torch.bfloat16)
    optimizer = build_optimizer(decoder, given)
    set_learning_rates(optimizer, 1e-2, {})
    return decoder, optimizer


def snapshot(decoder, optimizer) -> list[torch.Tensor]:
    found = []
    for parameter in decoder.parameters():
        found += [parameter.detach().clone(), *(value.clone() for value in optimizer.state[parameter].values())]
    return found


@pytest.mark.parametrize("changes", [BFLOAT16, EIGHT, BFLOAT16 | EIGHT], ids=["weights", "moments", "both"])
def test_a_skipped_step_changes_nothing(changes: dict) -> None:
    decoder, optimizer = prepared(**changes)
    for bad in (False, True):
        for parameter in decoder.parameters():
            parameter.grad = torch.randn_like(parameter) if not bad else torch.full_like(parameter, float("nan"))
        before = snapshot(decoder, optimizer)
        take_step(optimizer, {}, skip=torch.tensor(float(bad)))
        after = snapshot(decoder, optimizer)
        assert all(torch.equal(one, other) for one, other in zip(before, after)) == bad


@pytest.mark.parametrize("changes", [BFLOAT16, EIGHT, BFLOAT16 | EIGHT], ids=["weights", "moments", "both"])
def test_rows_and_chunks_step_as_the_whole(changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for chunk, by_rows in ((2**22, False), (100, False), (300, True)):
        monkeypatch.setattr(low_memory, "CHUNK", chunk)
        decoder, optimizer = prepared(**changes)
        rows = {decoder.embedding.weight: Rows([slice(3, 9), slice(20, 40)], [])} if by_rows else {}
        for _ in range(2):
            torch.manual_seed(1)
            for parameter in decoder.parameters():
                parameter.grad = torch.randn_like(parameter)
            take_step(optimizer, rows)
        results.append(snapshot(decoder, optimizer))
        if by_rows:
            table, start = decoder.embedding.weight, prepared(**changes)[0].embedding.weight
            moved = (table != start).any(dim=1)
            assert moved.nonzero().flatten().tolist() == [*range(3, 9), *range(20, 40)]
            first = results[0][0]
            assert torch.equal(table[moved], first[moved])
    assert all(torch.equal(one, other) for one, other in zip(*results[:2]))


# --- runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [BFLOAT16, BFLOAT16 | EIGHT], ids=["weights", "both"])
def test_a_run_learns_and_a_killed_one_ends_as_if_it_was_not(
    inputs: Inputs, tmp_path: Path, killed_at: Callable[..., None], changes: dict
) -> None:
    given = settings(**changes)
    whole = train(inputs, tmp_path / "whole", given)
    killed_at(4)
    with pytest.raises(RuntimeError, match="killed"):
        train(inputs, tmp_path / "cut", given)
    resumed = train(inputs, tmp_path / "cut", given)
    assert content_hash(resumed) == content_hash(whole)
    assert load_decoder(whole, dtype=None).embedding.weight.dtype == torch.bfloat16
    usual = losses(train(inputs, tmp_path / "usual", settings(precision="bfloat16")))
    assert losses(whole) == pytest.approx(usual, abs=0.03)


@pytest.mark.full
def test_two_processes_round_as_one_does(inputs: Inputs, tmp_path: Path) -> None:
    """With moments of 8 bits in float32 the runs agree to rounding, on the CPU's memory too."""
    folders = {role: inputs.one(role).path for role in ("model", "tokens")}
    given = [EIGHT, EIGHT | {"offload": True}, BFLOAT16 | EIGHT]
    run_on(2, folders, tmp_path / "together", given)
    for number, changes in enumerate([EIGHT, EIGHT, BFLOAT16 | EIGHT]):
        alone = losses(train(inputs, tmp_path / str(number), settings(**changes)))
        together = losses(tmp_path / "together" / str(number) / "out")
        assert together == pytest.approx(alone, abs=2e-3 if number < 2 else 0.02)


def test_one_process_offloads_too(inputs: Inputs, tmp_path: Path) -> None:
    """In a process group of one; and the stage after it is what it would have been without the group."""
    folders = {role: inputs.one(role).path for role in ("model", "tokens")}
    run_on(1, folders, tmp_path / "offloaded", [{"offload": True}, {}])
    alone = train(inputs, tmp_path / "alone", settings())
    for number in range(2):
        found = tmp_path / "offloaded" / str(number) / "out"
        assert losses(found) == pytest.approx(losses(alone), abs=1e-4)
    assert content_hash(tmp_path / "offloaded" / "1" / "out") == content_hash(alone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "bfloat16"}, "needs precision: bfloat16"),
        ({"weights": "nf4", "precision": "bfloat16"}, "needs an adapter"),
        (EIGHT | {"optimizer": "muon"}, "moments is for optimizer: adamw"),
        (EIGHT | {"export_optimizer": True}, "export_optimizer is for moments: float32"),
        (EIGHT | {"continues": "run"}, "moments: 8-bit is for continues: weights"),
        (EIGHT | {"parallel": {"tensor": 2}}, "moments: 8-bit is for parallel.tensor 1"),
        (BFLOAT16 | {"float8": True}, "weights was not tried with float8"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**changes)
