"""The formulas of merging: against plain ones written value by value, and the properties they promise."""

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diglot.merge import methods
from diglot.merge.methods import disjoint_mean, drop_and_rescale, largest, linear, merger, slerp

METHODS = ["linear", "slerp", "task-arithmetic", "ties", "dare", "dare-ties"]


def random_tensors(count: int, *shape: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def plain_ties(base: list, models: list[list], weights: list[float], density: float, scale: float) -> list:
    """TIES (2306.01708, algorithm 1) with numbers in lists."""
    trimmed = []
    for model in models:
        task = [value - start for value, start in zip(model, base)]
        kept = sorted(range(len(task)), key=lambda i: -abs(task[i]))[: max(1, int(density * len(task)))]
        trimmed.append([value if i in kept else 0.0 for i, value in enumerate(task)])
    merged = []
    for place, start in enumerate(base):
        weighted = [weight * task[place] for weight, task in zip(weights, trimmed)]
        positive = sum(weighted) >= 0
        agree = [(w, x) for w, x in zip(weights, weighted) if x != 0 and (x > 0) == positive]
        mean = sum(x for _, x in agree) / sum(w for w, _ in agree) if agree else 0.0
        merged.append(start + scale * mean)
    return merged


@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, 0.3, 0.2]])
def test_ties_is_its_algorithm(density: float, weights: list[float]) -> None:
    base, *models = random_tensors(4, 211)
    merged = merger("ties", weights, density=density, scale=0.7)("x", models, base)
    wanted = plain_ties(base.tolist(), [model.tolist() for model in models], weights, density, 0.7)
    torch.testing.assert_close(merged, torch.tensor(wanted), atol=1e-6, rtol=1e-6)


def test_task_arithmetic_adds_what_was_learnt() -> None:
    base, first, second = random_tensors(3, 7, 5)
    merged = merger("task-arithmetic", [0.3, -0.2], scale=2.0)("x", [first, second], base)
    wanted = base + 2.0 * (0.3 * (first - base) - 0.2 * (second - base))
    torch.testing.assert_close(merged, wanted)


def test_slerp_of_a_right_angle() -> None:
    first, second = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    half = math.sqrt(2.0)
    torch.testing.assert_close(slerp(first, second, 0.5), torch.tensor([[half, half]]))
    third = slerp(first, second, 1 / 3)
    torch.testing.assert_close(third, 2 * torch.tensor([[math.cos(math.pi / 6), math.sin(math.pi / 6)]]))


@given(st.floats(0, 1), st.integers(0, 5))
def test_slerp_keeps_the_length_and_has_no_direction(share: float, seed: int) -> None:
    first, second = random_tensors(2, 6, 8, seed=seed)
    second *= first.norm() / second.norm()
    between = slerp(first, second, share)
    assert between.norm().item() == pytest.approx(first.norm().item(), rel=1e-5)
    torch.testing.assert_close(between, slerp(second, first, 1 - share), atol=1e-5, rtol=1e-5)


def test_slerp_of_neighbours_is_exact() -> None:
    """A cosine near 1 loses digits: against float64, no more than rounding."""
    base, first, second = (tensor.double() for tensor in random_tensors(3, 200, 300))
    first, second = base + 0.1 * first, base + 0.1 * second
    angle = math.acos((first * second).sum() / first.norm() / second.norm())
    wanted = (math.sin(0.3 * angle) * first + math.sin(0.7 * angle) * second) / math.sin(angle)
    torch.testing.assert_close(slerp(first.float(), second.float(), 0.7).double(), wanted, atol=1e-6, rtol=1e-6)


def test_slerp_of_nearly_parallel_and_of_zero_tensors_is_straight() -> None:
    first = random_tensors(1, 64)[0]
    torch.testing.assert_close(slerp(first, 1.5 * first, 0.5), 1.25 * first)
    assert torch.equal(slerp(torch.zeros(4), first[:4], 0.5), first[:4] / 2)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_merged_with_itself_is_itself(method: str) -> None:
    """With the model as its own base too: dare drops what was learnt, which is nothing."""
    model = random_tensors(1, 9, 4)[0]
    base = None if method in ("linear", "slerp") else model
    assert torch.equal(merger(method, [0.5, 0.5])("x", [model, model], base), model)


@pytest.mark.parametrize("method", METHODS)
def test_weights_one_and_zero_are_the_first_model(method: str) -> None:
    base, first, second = random_tensors(3, 9, 4)
    merge = merger(method, [1.0, 0.0], density=1.0)
    merged = merge("x", [first, second], None if method in ("linear", "slerp") else base)
    torch.testing.assert_close(merged, first, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", ["linear", "slerp", "task-arithmetic", "ties"])
def test_the_order_of_the_models_does_not_matter(method: str) -> None:
    base, first, second = random_tensors(3, 9, 40)
    base = None if method in ("linear", "slerp") else base
    forth = merger(method, [0.7, 0.3])("x", [first, second], base)
    back = merger(method, [0.3, 0.7])("x", [second, first], base)
    torch.testing.assert_close(forth, back, atol=1e-6, rtol=1e-6)


def test_without_trimming_and_with_one_sign_ties_is_the_mean() -> None:
    base, *tasks = random_tensors(4, 30)
    models = [base + task.abs() for task in tasks]
    merged = merger("ties", [1 / 3] * 3, density=1.0)("x", models, base)
    torch.testing.assert_close(merged, sum(models) / 3, atol=1e-6, rtol=1e-6)


def test_signs_that_lose_the_vote_are_left_out() -> None:
    tasks = [torch.tensor([3.0, -1.0, 0.0]), torch.tensor([-1.0, -3.0, 2.0])]
    assert disjoint_mean(tasks, [1.0, 1.0]).tolist() == [3.0, -2.0, 2.0]
    assert disjoint_mean(tasks, [0.1, 0.9]).tolist() == pytest.approx([-1.0, -2.8, 2.0])


@given(arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(-4, 4, width=32)), st.floats(0.01, 1))
def test_trimming_keeps_the_largest(values: np.ndarray, density: float) -> None:
    task = torch.from_numpy(values)
    trimmed = largest(task, density)
    kept = trimmed != 0
    assert torch.equal(trimmed[kept], task[kept])
    count = max(1, int(density * len(values)))
    assert int(kept.sum()) >= min(count, int((task != 0).sum()))
    if kept.any() and (~kept).any():
        assert task[kept].abs().min() > task[~kept].abs().max() or not task[~kept].any()


def test_dare_drops_at_random_and_keeps_the_mean() -> None:
    task = torch.ones(200_000)
    dropped = drop_and_rescale(task, 0.1, "seed/name/0")
    assert set(dropped.unique().tolist()) == {0.0, 10.0}
    assert (dropped != 0).float().mean().item() == pytest.approx(0.1, abs=0.003)
    assert torch.equal(dropped, drop_and_rescale(task, 0.1, "seed/name/0"))
    assert not torch.equal(dropped, drop_and_rescale(task, 0.1, "seed/name/1"))
    assert not torch.equal(dropped, drop_and_rescale(task, 0.1, "other/name/0"))


def test_dare_is_task_arithmetic_of_what_it_kept() -> None:
    base, first, second = random_tensors(3, 500)
    merged = merger("dare", [0.6, 0.4], density=0.3, scale=0.5, seed="s")("x", [first, second], base)
    kept = [drop_and_rescale(model - base, 0.3, f"s/x/{n}") for n, model in enumerate((first, second))]
    torch.testing.assert_close(merged, base + 0.5 * linear(kept, [0.6, 0.4]))


@pytest.mark.parametrize("method", METHODS)
def test_threads_and_chunks_change_nothing(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base, *models = random_tensors(3, 300, 501)
    base = None if method in ("linear", "slerp") else base
    merge, found = merger(method, [0.6, 0.4], seed="s"), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(merge("x", models, base))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    monkeypatch.setattr(methods, "CHUNK", 1000)
    torch.testing.assert_close(merge("x", models, base), found[0])
