"""Learning rates: a pure function of the step."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.recipe import Phase, Train
from diglot.train.schedule import phase_at, phase_steps, schedule


def train(**changes) -> Train:
    return Train(**{"steps": 100, "learning_rate": 1e-3, "from": {"model": "m", "tokens": "t"}, **changes})


def test_polylm_warm_up_and_cosine() -> None:
    plan = schedule(train(steps=1000, phases=[Phase(name="all", warmup=0.1, shape="cosine")]))
    rates = [phase_at(plan, step).rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-7 + (1e-3 - 1e-7) / 100)
    assert rates[99] == pytest.approx(1e-3)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4)
    assert rates[100 + 450] == pytest.approx(1e-3 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 450 / 899))))


def test_warm_up_stable_decay() -> None:
    phases = [
        Phase(name="stable", share=0.8, warmup=0.05),
        Phase(name="decay", share=0.2, shape="one-minus-sqrt", final=0.0),
    ]
    plan = schedule(train(phases=phases))
    rates = [phase_at(plan, step).rate(step) for step in range(100)]
    assert rates[4:80] == [1e-3] * 76
    assert rates[80] == pytest.approx(1e-3)
    assert rates[99] == pytest.approx(0)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[80:]))


def test_a_phase_may_have_its_own_peak() -> None:
    plan = schedule(
        train(phases=[Phase(name="a", share=0.5), Phase(name="b", share=0.5, learning_rate=1e-5)])
    )
    assert [phase.rate(phase.start) for phase in plan] == [1e-3, 1e-5]


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.integers(1, 5000))
def test_phases_fill_the_steps(weights: list[float], steps: int) -> None:
    phases = [Phase(name=f"p{i}", share=weight / sum(weights)) for i, weight in enumerate(weights)]
    counts = phase_steps(phases, steps)
    assert sum(counts) == steps
    assert all(abs(count - phase.share * steps) <= 1 for count, phase in zip(counts, phases))


@given(
    st.sampled_from(["constant", "cosine", "linear", "one-minus-sqrt"]),
    st.integers(1, 300),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_rates_stay_between_floor_and_peak(shape: str, steps: int, warmup: float, final: float) -> None:
    plan = schedule(train(steps=steps, phases=[Phase(name="p", shape=shape, warmup=warmup, final=final)]))
    for step in range(steps):
        assert 0 <= phase_at(plan, step).rate(step) <= 1e-3 * (1 + 1e-9)
