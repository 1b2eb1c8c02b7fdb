"""What has which type under bfloat16. Nothing fails where a type is wrong, so hooks look: on one process and on two."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file
from tiny_run import settings, train

from diglot.base.artifact import Inputs
from diglot.model.attention import attend
from diglot.model.loss import cross_entropy
from diglot.model.processor import training_ways
from diglot.train import loop
from diglot.train.mesh import Mesh
from diglot.train.optimizer import build_optimizer, take_step
from diglot.train.parts import local

MIXED, KEPT = {"precision": "bfloat16"}, {"precision": "bfloat16", "float32_residual": True}
TENSOR = {"parallel": {"tensor": 2}}


def observe(model_folder: Path, changes: dict) -> dict[str, str]:
    """One step; the types of all that passes through the second layer and of what is left of the step."""
    given = settings(**changes)
    mesh = Mesh(given.parallel)
    model = mesh.load(model_folder, given)
    seen: dict[str, set[str]] = {}

    def note(what: str, *tensors: torch.Tensor) -> None:
        seen.setdefault(what, set()).update(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)

    def look_at_attention(query, key, value, layout, **kind):
        note("attention", query, key, value)
        return attend(query, key, value, layout, **kind)

    layer = model.layers[1]
    layer.attention.attend = look_at_attention
    layer.register_forward_pre_hook(lambda _, args: note("stream", args[0]))
    layer.register_forward_pre_hook(lambda _, args: note("rotation", *args[1]))
    layer.register_forward_hook(lambda _, args, out: note("stream", out))
    for branch in (layer.attention, layer.feed_forward):
        branch.register_forward_pre_hook(lambda _, args: note("branch input", args[0]))
        branch.register_forward_hook(lambda _, args, out: note("branch output", out))
    layer.register_forward_pre_hook(lambda module, _: note("weights", module.feed_forward.up.weight))
    tokens_BT = torch.randint(300, (2, 64), generator=torch.Generator().manual_seed(mesh.data_rank))
    with mesh.autocast(given.precision):
        hidden_BTD = model(tokens_BT, None, torch.arange(4).repeat_interleave(32).view(2, 64))
        loss, losses_N = cross_entropy(hidden_BTD.flatten(0, 1), model.output_weight(), tokens_BT.flatten())
    note("hidden states", hidden_BTD)
    note("losses", losses_N, loss)
    loss.backward()
    optimizer = build_optimizer(model, given)
    gradients = [local(parameter.grad) for parameter in model.parameters()]
    note("gradients", *gradients)
    rounded = all(torch.equal(each, each.bfloat16().float()) for each in gradients)
    take_step(optimizer, {})
    note("trained weights", *(local(parameter) for parameter in model.parameters()))
    note("moments", *(local(value) for state in optimizer.state.values() for value in state.values()))
    return {what: " ".join(sorted(types)) for what, types in seen.items()} | {"rounded": str(rounded)}


def work(rank: int, model_folder: Path, output: Path, given: list[dict]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{output}/meeting", rank=rank, world_size=2)
    found = [observe(model_folder, changes) for changes in given]
    (output / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def on_two(model_folder: Path, output: Path, given: list[dict]) -> list[dict[str, str]]:
    mp.start_processes(work, (model_folder, output, given), nprocs=2, start_method="fork")
    first, second = (json.loads((output / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    return first


ALWAYS = {
    "rotation": "float32",
    "losses": "float32",
    "gradients": "float32",
    "trained weights": "float32",
    "moments": "float32",
    "rounded": "False",  # gradients are summed in float32: their values are not those of bfloat16
}


@pytest.fixture
def model_folder(inputs: Inputs) -> Path:
    return inputs.one("model").path


def test_one_process(model_folder: Path) -> None:
    """Under autocast the stream is float32 anyway; what is kept is attention."""
    always = ALWAYS | {"weights": "float32", "stream": "float32", "branch input": "float32"}
    always |= {"branch output": "bfloat16", "hidden states": "float32"}
    assert observe(model_folder, MIXED) == always | {"attention": "bfloat16"}
    assert observe(model_folder, KEPT) == always | {"attention": "float32"}


def test_two_processes(model_folder: Path, tmp_path: Path) -> None:
    """Shards and tensor parallel; without the setting, and with it, also where layers are computed twice."""
    recomputed = KEPT | {"activation_checkpointing": True}
    given = [changes | parallel for parallel in ({}, TENSOR) for changes in ({}, MIXED, KEPT, recomputed)]
    found = on_two(model_folder, tmp_path, given)
    always = ALWAYS | {"weights": "bfloat16", "branch input": "bfloat16", "branch output": "bfloat16"}
    always |= {"hidden states": "bfloat16"}
    for summed, (plain, mixed, *kept) in (("False", found[:4]), ("True", found[4:])):
        always |= {"rounded": summed}  # under tensor parallel 2 of 2 nobody else has a gradient to add
        assert set(plain.values()) == {"float32", "False"}
        assert mixed == always | {"stream": "bfloat16", "attention": "bfloat16"}
        assert kept == [always | {"stream": "float32", "attention": "float32"}] * 2


def test_float32_is_float32_everywhere(model_folder: Path) -> None:
    assert set(observe(model_folder, {}).values()) == {"float32", "False"}


def test_settings_that_would_do_nothing_are_refused() -> None:
    for name in ("float32_residual", "float8"):
        with pytest.raises(ValueError, match=f"{name} would do nothing: precision is float32"):
            settings(**{name: True})
    for name in ("compile", "float8"):
        with pytest.raises(ValueError, match=f"{name} is for parallel.tensor 1"):
            settings(**MIXED | TENSOR | {name: True})
    with pytest.raises(ValueError, match="z_loss is for lm and sft"):
        settings(objective="dpo", z_loss=1e-4)


def test_new_memory_need_not_be_filled(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's deterministic ways fill new memory with NaN; training turns that off, and the weights are the same bits."""
    weights = {}
    for filled in (True, False):
        with monkeypatch.context() as patch:
            if filled:
                patch.setattr(loop, "training_ways", filling)
            output = train(inputs, tmp_path / str(filled), settings(steps=4))
        weights[filled] = load_file(output / "model.safetensors")
    for name, tensor in weights[True].items():
        assert torch.equal(tensor, weights[False][name]), name


@contextlib.contextmanager
def filling() -> Iterator[None]:
    with training_ways():
        torch.utils.deterministic.fill_uninitialized_memory = True
        yield
