"""Compiled layers give what layers give, with a bounded number of compilations; float8 says what it needs."""

import shutil
from pathlib import Path

import pytest
import torch
from mesh_work import run_on
from rounding import rounding
from tiny_run import losses, settings, train
from torch import nn

from diglot.base.artifact import Inputs
from diglot.base.errors import UserError
from diglot.model.decoder import Decoder
from diglot.model.loss import cross_entropy
from diglot.model.presets import initialize, shape
from diglot.train.mesh import compile_layers, runs_in_float8, train_in_float8

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
PIECES, FORMS = 4, 3  # a layer breaks at attention; with gradients, without, and one row


def batches(number: int, one_row: bool):
    """Rows of documents whose number and lengths differ from batch to batch."""
    generator = torch.Generator().manual_seed(0)
    for step in range(number):
        rows = 1 if one_row and step == number - 1 else 2 + step % 3
        tokens_BT = torch.randint(97, (rows, 64), generator=generator)
        starts_BT = torch.rand(rows, 64, generator=generator) < 0.05 + 0.2 * (step % 2)
        yield tokens_BT, starts_BT.cumsum(1) + 100 * torch.arange(rows)[:, None]


@needs_compiler
@pytest.mark.full  # the compiler takes 40 s a form
@pytest.mark.parametrize("forms", [1, FORMS])
def test_compiled_layers_equal_layers_and_compile_a_few_times(monkeypatch: pytest.MonkeyPatch, forms: int) -> None:
    """Whatever the lengths of documents; with all forms, without gradients and on one row as well."""
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = Decoder(shape("tiny", 97)), Decoder(shape("tiny", 97))
    initialize(plain, 0)
    compiled.load_state_dict(plain.state_dict())
    compile_layers(compiled)
    for step, (tokens_BT, documents_BT) in enumerate(batches(20, forms == FORMS)):
        found = []
        for model in (plain, compiled):
            model.zero_grad()
            with torch.set_grad_enabled(forms == 1 or step % 5 != 4):
                hidden_BTD = model(tokens_BT, None, documents_BT)
                loss, _ = cross_entropy(hidden_BTD.flatten(0, 1), model.output_weight(), tokens_BT.flatten())
            if loss.requires_grad:
                loss.backward()
            found.append(loss.detach())
        torch.testing.assert_close(*found, atol=rounding(*found, operations=16), rtol=0)
        for one, other in zip(plain.parameters(), compiled.parameters()):
            torch.testing.assert_close(one.grad, other.grad, atol=3e-5, rtol=1e-4)
    counters = torch._dynamo.utils.counters
    assert PIECES <= counters["stats"]["unique_graphs"] <= PIECES * forms
    assert not counters["recompile_limit"]


@needs_compiler
@pytest.mark.full
def test_compiled_runs_equal_runs(inputs: Inputs, tmp_path: Path) -> None:
    """Through the loop: on one process with recomputed layers, and on two with shards."""
    base = {"steps": 4, "checkpoint_every": 1000, "evaluate_every": 4, "evaluate_tokens": 300}
    compiled = base | {"compile": True}
    alone = losses(train(inputs, tmp_path / "alone", settings(**base)))
    recomputed = train(inputs, tmp_path / "one", settings(**compiled, activation_checkpointing=True))
    assert losses(recomputed) == pytest.approx(alone, abs=rounding(alone, operations=16))
    folders = {role: inputs.one(role).path for role in ("model", "tokens")}
    run_on(2, folders, tmp_path / "two", [compiled])
    assert losses(tmp_path / "two" / "0" / "out") == pytest.approx(alone, abs=rounding(alone, operations=16))


def test_without_a_compiler_compile_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        compile_layers(Decoder(shape("tiny", 97)))


def test_float8_needs_a_gpu_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Decoder(shape("tiny", 97))
    with pytest.raises(UserError, match=r"capability 8\.9 or later .* runs on the CPU"):
        train_in_float8(model, torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(UserError, match=r"a GPU of capability 8\.0"):
        train_in_float8(model, torch.device("cuda", 0))


def test_float8_is_for_the_layers_linear_maps() -> None:
    with torch.device("meta"):
        model = Decoder(shape("qwen3-0.6b", 97))
    names = {name for name, module in model.named_modules() if runs_in_float8(module, name)}
    assert len(names) == 7 * len(model.layers)
    assert all(isinstance(model.get_submodule(name), nn.Linear) for name in names)
    assert not any(name.startswith(("embedding", "head")) for name in names)
    assert runs_in_float8(nn.Linear(32, 48), "layers.0.feed_forward.up")
    assert not runs_in_float8(nn.Linear(32, 24), "layers.0.feed_forward.up")


def test_float8_layers_come_near_to_layers() -> None:
    """torchao's own emulation of float8 products, on any device."""
    float8 = pytest.importorskip("torchao.float8", reason="torchao is not installed")
    plain, converted = Decoder(shape("tiny", 97)).bfloat16(), Decoder(shape("tiny", 97)).bfloat16()
    initialize(plain, 0)
    converted.load_state_dict(plain.state_dict())
    config = float8.Float8LinearConfig(emulate=True)
    float8.convert_to_float8_training(converted, module_filter_fn=runs_in_float8, config=config)
    assert set(converted.state_dict()) == set(plain.state_dict())
    tokens_BT = torch.arange(64)[None]
    one, other = plain(tokens_BT).float(), converted(tokens_BT).float()
    assert 0 < (one - other).norm() / one.norm() < 0.1
    other.sum().backward()
    assert all(parameter.grad is not None for parameter in converted.parameters())
