"""Steps of the optimizer: skipped ones leave every bit, Muon is torch's Muon, and shards are one matrix."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mesh_work import run_on
from rounding import drift, rounding
from tiny_run import artifact, losses, settings, train
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from diglot.base.artifact import Inputs, content_hash
from diglot.base.errors import UserError
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.huggingface import load_decoder
from diglot.recipe.train import Phase
from diglot.train import loop, muon
from diglot.train.freezing import Expansion, select
from diglot.train.optimizer import Optimizer, Rows, build_optimizer, take_step

CONFIG = DecoderConfig(
    vocabulary_size=37, num_layers=1, hidden_size=16, intermediate_size=25, num_heads=2, num_key_value_heads=1,
    head_size=8, max_positions=16, tied_embeddings=False,
)  # fmt: skip
METHODS = ["adamw", "muon"]
PLACEMENTS = {"rows": Shard(0), "columns": Shard(1), "copies": Replicate()}
NO_SKIP, SKIP = torch.tensor(0.0), torch.tensor(1.0)
STEPS = 5


def build(method: str, placement: str | None = None) -> tuple[Decoder, Optimizer]:
    """A decoder with every parameter cut in one way (uneven: 37 and 25 rows), and its optimizer."""
    torch.manual_seed(0)
    model = Decoder(CONFIG)
    if placement is not None:
        mesh = init_device_mesh("cpu", (2,))
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                place = PLACEMENTS[placement] if parameter.ndim > 1 else Replicate()
                setattr(module, name, nn.Parameter(distribute_tensor(parameter.detach(), mesh, [place])))
    return model, build_optimizer(model, settings(optimizer=method, learning_rate=1e-2, weight_decay=0.5))


def rows_of(model: Decoder) -> dict[torch.Tensor, Rows]:
    selection = select(model, Expansion(((3, 5), (25, 36))), Phase(name="a", trains="new-rows"))
    return {parameter: rows for parameter, rows in selection.items() if rows is not None}


def set_gradients(model: Decoder, step: int, value: float | None = None) -> None:
    """Gradients that depend on the step only; or one value, in the last element of each."""
    random = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=random)
        if value is not None:
            gradient.view(-1)[-1] = value
        if isinstance(parameter, DTensor):
            gradient = distribute_tensor(gradient, parameter.device_mesh, parameter.placements)
        parameter.grad = gradient


def state(model: Decoder, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Copies of all weights and moments on this process."""
    found = {}
    for name, parameter in model.named_parameters():
        for key, value in {"weight": parameter.detach(), **optimizer.state[parameter]}.items():
            found[f"{name} {key}"] = (value.to_local() if isinstance(value, DTensor) else value).clone()
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def check_skipping(method: str, placement: str | None) -> None:
    """Steps 1 and 3 of five are skipped, with gradients that would spoil everything: as if there were only three."""
    model, optimizer = build(method, placement)
    twin, its_optimizer = build(method, placement)
    for step in range(STEPS):
        by_rows, its_rows = (rows_of(each) if step > 2 else {} for each in (model, twin))
        before = state(model, optimizer)
        for value in (float("nan"), float("inf"), None):
            set_gradients(model, 100 + step, value)
            take_step(optimizer, by_rows, SKIP)
            assert same(state(model, optimizer), before)
        for each, each_optimizer, rows in ((model, optimizer, by_rows), (twin, its_optimizer, its_rows)):
            set_gradients(each, step)
            take_step(each_optimizer, rows, NO_SKIP if each is model else None)
        assert same(state(model, optimizer), state(twin, its_optimizer))
        assert not same(state(model, optimizer), before)


@pytest.mark.parametrize("method", METHODS)
def test_a_skipped_step_leaves_every_bit(method: str) -> None:
    check_skipping(method, None)


@pytest.mark.parametrize("method", METHODS)
def test_not_skipped_steps_are_torchs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several steps against torch.optim.AdamW, and torch.optim.Muon for the matrices (which computes in bfloat16)."""
    real = muon.orthogonal
    monkeypatch.setattr(muon, "orthogonal", lambda matrix, dtype: real(matrix, torch.bfloat16))
    model, optimizer = build(method)
    twin, _ = build(method)
    named = dict(twin.named_parameters())
    matrices = [name for name in named if name.startswith("layers.") and named[name].ndim > 1]
    assert len(matrices) == 7
    of_muon = [name for name in matrices if method == "muon"]
    plain = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8}
    others: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [p for name, p in named.items() if p.ndim > 1 and name not in of_muon], weight_decay=0.5, **plain
        ),
        torch.optim.AdamW([p for p in named.values() if p.ndim == 1], weight_decay=0.0, **plain),
    ]
    if of_muon:
        others.append(
            torch.optim.Muon(
                [named[name] for name in of_muon], lr=1e-2, weight_decay=0.5, adjust_lr_fn="match_rms_adamw"
            )
        )
    for step in range(STEPS):
        for each in (model, twin):
            set_gradients(each, step)
        take_step(optimizer, {}, NO_SKIP)
        for other in others:
            other.step()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, named[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(48, 48), (30, 80), (80, 30), (1, 9)])
def test_orthogonal_is_that_of_the_singular_vectors(shape: tuple[int, int]) -> None:
    """Same singular vectors, singular values near 1: the polar factor, roughly; scale does not matter."""
    matrix_RC = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found_RC = muon.orthogonal(matrix_RC, torch.float32)
    left, _, right = torch.linalg.svd(matrix_RC, full_matrices=False)
    inside = left.T @ found_RC @ right.T
    values = inside.diagonal()
    assert (inside - torch.diag(values)).abs().max() < 1e-4
    assert values.min() > 0.3
    assert values.max() < 1.25
    torch.testing.assert_close(muon.orthogonal(1e6 * matrix_RC, torch.float32), found_RC, atol=1e-4, rtol=0)
    assert not muon.orthogonal(torch.zeros(shape), torch.float32).any()


def test_an_update_of_muon_has_the_size_of_adamws() -> None:
    """Root mean square of about 0.2 times the rate, for every shape (Moonlight 2502.16982, 2.2)."""
    model, optimizer = build("muon")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    set_gradients(model, 0)
    take_step(optimizer, {}, NO_SKIP)
    for name, parameter in model.layers.named_parameters(prefix="layers"):
        if parameter.ndim > 1:
            size = (parameter.detach() - before[name]).square().mean().sqrt().item()
            assert 0.1 * 1e-2 < size < 0.25 * 1e-2


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for method in METHODS:
        for placement in PLACEMENTS:
            check_skipping(method, placement)
            model, optimizer = build(method, placement)
            for step in range(STEPS):
                set_gradients(model, step)
                take_step(optimizer, {}, NO_SKIP)
            found = {name: parameter.full_tensor().detach() for name, parameter in model.named_parameters()}
            torch.save(found, f"{folder}/{method}-{placement}-{rank}.pt")
    dist.destroy_process_group()


def test_shards_are_skipped_and_stepped_as_one_tensor(tmp_path: Path) -> None:
    """Rows, columns and copies on two processes; uneven rows."""
    mp.start_processes(_work, (str(tmp_path),), nprocs=2, start_method="fork")
    for method in METHODS:
        alone, optimizer = build(method)
        for step in range(STEPS):
            set_gradients(alone, step)
            take_step(optimizer, {}, NO_SKIP)
        for placement in PLACEMENTS:
            for rank in range(2):
                found = torch.load(tmp_path / f"{method}-{placement}-{rank}.pt", weights_only=True)
                for name, parameter in alone.named_parameters():
                    torch.testing.assert_close(
                        found[name], parameter.detach(), rtol=0, atol=rounding(parameter, operations=64)
                    )


# --- in the loop ----------------------------------------------------------------------------------------------

MUON = {"optimizer": "muon", "steps": 6}


def assert_same_weights(found: Path, expected: Path) -> None:
    theirs = load_decoder(expected).state_dict()
    for name, weight in load_decoder(found).state_dict().items():
        torch.testing.assert_close(weight, theirs[name], atol=drift(1e-3, MUON["steps"]), rtol=0)


@pytest.fixture(scope="module")
def alone(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(inputs, tmp_path_factory.mktemp("alone"), settings(**MUON, export_optimizer=True))


@pytest.mark.full
def test_muon_learns_at_the_rate_that_adamw_learns_at(inputs: Inputs, tmp_path: Path) -> None:
    given = {"steps": 30, "learning_rate": 3e-3, "evaluate_every": 30, "checkpoint_every": 30}
    found = {}
    for method in METHODS:
        phases = [Phase(name="all", warmup=0.1)]
        found[method] = losses(train(inputs, tmp_path / method, settings(**given, optimizer=method, phases=phases)))
    assert found["adamw"][0] == found["muon"][0] > 5.5
    assert found["adamw"][-1] < 2.3
    assert found["muon"][-1] < 2.3


@pytest.mark.parametrize(
    ("world", "parallel"),
    [(2, [{}, {"tensor": 2}, {"replicas": 2}]), pytest.param(4, [{"tensor": 2}], marks=pytest.mark.full)],
)
def test_every_mesh_gives_the_run_of_one_process(
    inputs: Inputs, tmp_path: Path, alone: Path, world: int, parallel: list[dict]
) -> None:
    folders = {role: inputs.one(role).path for role in ("model", "tokens")}
    phases = [phase.model_dump() for phase in settings().phases]
    given = [MUON | {"phases": phases, "parallel": each} for each in parallel]
    run_on(world, folders, tmp_path / "together", given)
    for number in range(len(parallel)):
        found = tmp_path / "together" / str(number) / "out"
        assert losses(found) == pytest.approx(losses(alone), abs=rounding(losses(alone), operations=16))
        assert_same_weights(found, alone)


def kill_at(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    real = loop.update

    def failing(job, batch, step, begun):
        if step == last:
            raise RuntimeError("killed")
        return real(job, batch, step, begun)

    monkeypatch.setattr(loop, "update", failing)


@pytest.mark.parametrize("world", [1, 2])
def test_a_killed_run_of_muon_goes_on_on_any_number_of_processes(
    inputs: Inputs, tmp_path: Path, alone: Path, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one, bit for bit; on two, to rounding."""
    given = settings(**MUON, export_optimizer=True)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        kill_at(patch, 3)
        train(inputs, tmp_path / "0", given)
    if world == 1:
        assert content_hash(train(inputs, tmp_path / "0", given)) == content_hash(alone)
        return
    folders = {role: inputs.one(role).path for role in ("model", "tokens")}
    run_on(2, folders, tmp_path, [given.model_dump(mode="json", by_alias=True)])
    assert len(losses(tmp_path / "0" / "out")) == 6
    assert_same_weights(tmp_path / "0" / "out", alone)


def test_another_optimizer_does_not_take_over_the_moments(inputs: Inputs, tmp_path: Path, alone: Path) -> None:
    after = Inputs({"model": [artifact(alone, "model")], "tokens": inputs.many("tokens")})
    train(after, tmp_path / "muon", settings(**MUON, continues="optimizer"))
    with pytest.raises(UserError, match=r"holds momentum of .*, but this stage's optimizer has"):
        train(after, tmp_path / "adamw", settings(continues="optimizer"))
