import pytest
import torch
import torch.nn.functional as F
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rounding import rounding

from diglot.model import loss as module
from diglot.model.loss import cross_entropy, token_log_probabilities

N, D, V = 50, 16, 41


def draw(dtype=torch.float32, scale=1.0, ignored=0.3):
    generator = torch.Generator().manual_seed(0)
    hidden = (scale * torch.randn(N, D, generator=generator)).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(V, (N,), generator=generator)
    targets[torch.rand(N, generator=generator) < ignored] = -100
    return hidden, weight, targets


@pytest.fixture(params=[1, 7, 1000], ids=lambda tokens: f"chunk{tokens}")
def chunk(request, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_LOGITS", request.param * V)
    monkeypatch.setattr(module, "MIN_CHUNK", 1)


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=lambda dtype: f"products in {dtype}")
def products(request, monkeypatch):
    """The type of products where bfloat16 is asked for: depends on the processor."""
    monkeypatch.setattr(module, "is_slow_in_bfloat16", lambda: request.param == torch.float32)
    return request.param


@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_values_and_gradients_equal_those_of_whole_logits(chunk, ignored, scale):
    hidden, weight, targets = draw(scale=scale, ignored=ignored)
    total, losses = cross_entropy(hidden, weight, targets)
    expected = F.cross_entropy(hidden @ weight.T, targets, reduction="none")
    torch.testing.assert_close(losses, expected.detach(), atol=1e-5, rtol=1e-5)
    assert torch.all(losses[targets == -100] == 0)
    torch.testing.assert_close(total, expected.sum(), atol=1e-5, rtol=1e-5)
    assert not losses.requires_grad
    ours = torch.autograd.grad(total / 7, (hidden, weight))  # 7: the caller's count of valid tokens
    theirs = torch.autograd.grad(expected.sum() / 7, (hidden, weight))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=1e-5 * scale, rtol=1e-4)


def test_bfloat16_weights(chunk, products):
    hidden, weight, targets = draw(torch.bfloat16)
    total, losses = cross_entropy(hidden, weight, targets)
    assert total.dtype == losses.dtype == torch.float32
    logits = hidden.to(products) @ weight.to(products).T
    expected = F.cross_entropy(logits.float(), targets, reduction="none")
    torch.testing.assert_close(losses, expected.detach(), atol=1e-4, rtol=1e-4)
    exact = F.cross_entropy(hidden.float() @ weight.float().T, targets, reduction="sum")
    theirs = torch.autograd.grad(exact, (hidden, weight))
    for a, b in zip(torch.autograd.grad(total, (hidden, weight)), theirs):
        assert a.dtype == torch.bfloat16
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)


def test_float64_weights_have_losses_and_gradients_too(chunk):
    """The tokens of a chunk are counted by the size of a value: twice as many in bfloat16, but here not none."""
    hidden, weight, targets = draw(torch.float64)
    total, losses = cross_entropy(hidden, weight, targets)
    expected = F.cross_entropy(hidden @ weight.T, targets, reduction="none")
    torch.testing.assert_close(losses, expected.detach().float(), atol=1e-5, rtol=1e-5)
    theirs = torch.autograd.grad(expected.sum(), (hidden, weight))
    for a, b in zip(torch.autograd.grad(total, (hidden, weight)), theirs):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_autocast_gives_float32_losses_and_gradients(chunk, products):
    hidden, weight, targets = draw()
    with torch.autocast("cpu", torch.bfloat16):
        total, losses = cross_entropy(hidden, weight, targets)
    logits = hidden.to(products) @ weight.to(products).T
    expected = F.cross_entropy(logits.float(), targets, reduction="none")
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected.detach(), atol=1e-5, rtol=1e-5)
    gradients = torch.autograd.grad(total, (hidden, weight))
    exact = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    for a, b in zip(gradients, torch.autograd.grad(exact, (hidden, weight))):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=0.15, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_z_loss_equals_that_of_whole_logits(chunk, dtype):
    """The sum holds it, and so do the gradients; the losses by token don't."""
    hidden, weight, targets = draw(dtype)
    total, losses = cross_entropy(hidden, weight, targets, 0.1)
    assert torch.equal(losses, cross_entropy(hidden, weight, targets)[1])
    logits = hidden.float() @ weight.float().T
    valid = targets != -100
    expected = F.cross_entropy(logits, targets, reduction="sum")
    expected = expected + 0.1 * (logits.logsumexp(dim=1)[valid] ** 2).sum()
    exact = 1e-5 if dtype == torch.float32 else 5e-3
    torch.testing.assert_close(total, expected, atol=exact, rtol=exact)
    ours, theirs = (torch.autograd.grad(each / 7, (hidden, weight)) for each in (total, expected))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=2e-2 if dtype == torch.bfloat16 else 1e-5, rtol=2 * exact)


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_soft_caps_equal_those_of_whole_logits(chunk, z_loss):
    """As transformers' Gemma 2 computes them: divided, tanh, multiplied."""
    hidden, weight, targets = draw(scale=3.0)
    logits = torch.tanh((hidden @ weight.T) / 5.0) * 5.0
    expected = F.cross_entropy(logits, targets, reduction="none")
    total, losses = cross_entropy(hidden, weight, targets, z_loss, soft_cap=5.0)
    torch.testing.assert_close(losses, expected.detach(), atol=1e-5, rtol=1e-5)
    whole = expected.sum() + z_loss * (logits.logsumexp(dim=1)[targets != -100] ** 2).sum()
    ours, theirs = (torch.autograd.grad(each / 7, (hidden, weight), retain_graph=True) for each in (total, whole))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)
    by_token = token_log_probabilities(hidden, weight, targets, soft_cap=5.0)
    torch.testing.assert_close(by_token, -expected, atol=1e-5, rtol=1e-5)
    for a, b in zip(*(torch.autograd.grad(each.sum() / 7, (hidden, weight)) for each in (-by_token, expected))):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_half_batches_add_up_to_the_whole():
    """Trap 6: sums divided once by the global count do not depend on how a batch is cut."""
    hidden, weight, targets = draw()
    count = int((targets != -100).sum())
    whole = torch.autograd.grad(cross_entropy(hidden, weight, targets)[0] / count, weight)[0]
    parts = torch.zeros_like(weight)
    for start, end in ((0, 13), (13, N)):
        total, _ = cross_entropy(hidden[start:end], weight, targets[start:end])
        parts += torch.autograd.grad(total / count, weight)[0]
    torch.testing.assert_close(parts, whole, atol=rounding(whole, operations=32), rtol=0)


def test_without_gradients_no_gradient_work_is_done(monkeypatch):
    hidden, weight, targets = draw()
    expected = cross_entropy(hidden, weight, targets)[1]
    with torch.no_grad():
        total, losses = cross_entropy(hidden, weight, targets)
    assert total.grad_fn is None
    assert torch.equal(losses, expected)
    frozen = weight.detach()
    total, _ = cross_entropy(hidden, frozen, targets)
    assert total.grad_fn.gradients[1] is None
    assert torch.autograd.grad(total, hidden)[0].abs().sum() > 0


def test_backward_twice_is_an_error():
    hidden, weight, targets = draw()
    total, _ = cross_entropy(hidden, weight, targets)
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward runs once"):
        total.backward()


def test_a_tied_weight_gets_both_gradients():
    torch.manual_seed(0)
    weight = torch.randn(V, D, requires_grad=True)
    tokens, targets = torch.randint(V, (N,)), torch.randint(V, (N,))
    ours = torch.autograd.grad(cross_entropy(torch.tanh(weight[tokens]), weight, targets)[0], weight)[0]
    whole = F.cross_entropy(torch.tanh(weight[tokens]) @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(ours, torch.autograd.grad(whole, weight)[0], atol=2e-5, rtol=1e-4)


@examples(30)
@given(st.lists(st.sampled_from([-100, 0, 3, V - 1]), min_size=1, max_size=20), st.integers(0, 100))
def test_log_probabilities_equal_log_softmax(targets, seed):
    torch.manual_seed(seed)
    targets = torch.tensor(targets)
    hidden = torch.randn(len(targets), D, requires_grad=True)
    weight = torch.randn(V, D, requires_grad=True)
    upstream = torch.randn(len(targets))
    ours = token_log_probabilities(hidden, weight, targets)
    everything = (hidden @ weight.T).log_softmax(-1)
    expected = everything.gather(1, targets.clamp(min=0)[:, None])[:, 0].where(targets >= 0, torch.zeros(()))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    gradients = torch.autograd.grad((ours * upstream).sum(), (hidden, weight))
    theirs = torch.autograd.grad((expected * upstream).sum(), (hidden, weight))
    for a, b in zip(gradients, theirs):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_log_probabilities_are_minus_the_losses(chunk, products):
    hidden, weight, targets = draw()
    with torch.autocast("cpu", torch.bfloat16):
        logprobs = token_log_probabilities(hidden, weight, targets)
        losses = cross_entropy(hidden, weight, targets)[1]
    torch.testing.assert_close(logprobs, -losses, atol=1e-5, rtol=1e-5)
    logprobs.sum().backward()
    assert hidden.grad.isfinite().all()
    with torch.no_grad():
        torch.testing.assert_close(
            token_log_probabilities(hidden, weight, targets), -cross_entropy(hidden, weight, targets)[1]
        )
