"""Learning rates: a pure function of the step."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import losses, settings
from tiny_run import train as train_run

from diglot.base.artifact import Inputs
from diglot.base.errors import UserError
from diglot.recipe.train import Phase, Train
from diglot.train import loop
from diglot.train.metrics import read_metrics
from diglot.train.schedule import PhaseSchedule, phase_at, phase_steps, read_resumes, rewarmed, schedule, write_resumes


def train(**changes) -> Train:
    return Train(**{"steps": 100, "learning_rate": 1e-3, "from": {"model": "m", "tokens": "t"}, **changes})


def test_polylm_warm_up_and_cosine() -> None:
    plan = schedule(train(steps=1000, phases=[Phase(name="all", warmup=0.1, shape="cosine")]))
    rates = [phase_at(plan, step).learning_rate(step) for step in range(1000)]
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
    rates = [phase_at(plan, step).learning_rate(step) for step in range(100)]
    assert rates[4:80] == [1e-3] * 76
    assert rates[80] == pytest.approx(1e-3)
    assert rates[99] == pytest.approx(0)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[80:]))


def test_a_warm_up_in_steps_is_as_long_whatever_the_plan() -> None:
    rates = [
        [*map(schedule(train(steps=n, phases=[Phase(name="all", warmup_steps=5)]))[0].learning_rate, range(9))]
        for n in (9, 90)
    ]
    assert rates[0] == rates[1] == [pytest.approx(1e-7 + (1e-3 - 1e-7) * min(n, 5) / 5) for n in range(1, 10)]
    with pytest.raises(ValueError, match="warmup and warmup_steps say the same thing"):
        Phase(name="all", warmup=0.1, warmup_steps=5)


def test_a_phase_may_have_its_own_peak() -> None:
    plan = schedule(train(phases=[Phase(name="a", share=0.5), Phase(name="b", share=0.5, learning_rate=1e-5)]))
    assert [phase.learning_rate(phase.start) for phase in plan] == [1e-3, 1e-5]


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.integers(1, 5000))
def test_phases_fill_the_steps(weights: list[float], steps: int) -> None:
    phases = [Phase(name=f"p{i}", share=weight / sum(weights)) for i, weight in enumerate(weights)]
    counts = phase_steps(phases, steps)
    assert sum(counts) == steps
    assert all(abs(count - phase.share * steps) <= 1 for count, phase in zip(counts, phases))


SHAPES = ["constant", "cosine", "linear", "one-minus-sqrt"]
SHARES = st.floats(0, 1)
PHASES = st.lists(
    st.builds(
        dict, shape=st.sampled_from(SHAPES), warmup=SHARES, final=SHARES, learning_rate=st.floats(1e-6, 1) | st.none()
    ),
    min_size=1,
    max_size=4,
)


def plan_of(steps: int, phases: list[dict], **changes) -> tuple[Train, list[PhaseSchedule]]:
    named = [Phase(name=f"p{i}", share=1 / len(phases), **phase) for i, phase in enumerate(phases)]
    settings = train(steps=steps, phases=named, **changes)
    return settings, schedule(settings)


few = examples(40)


@few
@given(st.integers(1, 300), PHASES)
def test_rates_lie_between_floor_and_peak(steps: int, phases: list[dict]) -> None:
    """The floor of a warm-up is `warmup_from`, that of a shape `final` times the peak."""
    settings, plan = plan_of(steps, phases)
    for step in range(steps):
        part = phase_at(plan, step)
        lowest = min(settings.warmup_from, part.peak)
        if step - part.start >= part.warmup_steps:
            lowest = part.peak if part.shape == "constant" else part.final * part.peak
        assert lowest * (1 - 1e-9) - 1e-15 <= part.learning_rate(step) <= part.peak * (1 + 1e-9)


@few
@given(st.integers(1, 300), PHASES)
def test_phases_tile_the_steps_and_each_rises_then_falls(steps: int, phases: list[dict]) -> None:
    _, plan = plan_of(steps, phases)
    assert [step for part in plan for step in range(part.start, part.start + part.steps)] == list(range(steps))
    for part in plan:
        rates = [part.learning_rate(step) for step in range(part.start, part.start + part.steps)]
        top = max(0, part.warmup_steps - 1)
        assert rates[: top + 1] == sorted(rates[: top + 1])
        falls = [*rates[top:]]
        assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(falls))
        if rates and part.warmup_steps:
            assert rates[top] == pytest.approx(part.peak)
        if part.steps - part.warmup_steps > 1:
            assert rates[-1] == pytest.approx(part.peak * (1 if part.shape == "constant" else part.final))


@few
@given(st.integers(3, 2000), st.sampled_from(SHAPES), SHARES, SHARES)
def test_no_jumps_within_a_phase(steps: int, shape: str, warmup: float, final: float) -> None:
    """No step changes the rate by more than a warm-up's even share, or what the steepest shape does at its start."""
    _, plan = plan_of(steps, [{"shape": shape, "warmup": warmup, "final": final}])
    rates = [plan[0].learning_rate(step) for step in range(steps)]
    rest = max(1, steps - plan[0].warmup_steps - 1)
    steepest = {"constant": 0.0, "linear": 1 / rest, "cosine": math.pi / 2 / rest, "one-minus-sqrt": rest**-0.5}
    allowed = max(steepest[shape] * (1 - final), 1 / max(1, plan[0].warmup_steps) if plan[0].warmup_steps else 0)
    for before, after in itertools.pairwise(rates):
        assert abs(after - before) <= 1e-3 * allowed * (1 + 1e-6) + 1e-15


@pytest.mark.parametrize(("shape", "half"), [("linear", 0.5), ("one-minus-sqrt", 1 - math.sqrt(0.5)), ("cosine", 0.5)])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_three_decays_after_a_stable_phase(shape: str, half: float, final: float) -> None:
    """All start at the peak and end at `final` of it; half-way they are where their formulas say."""
    phases = [Phase(name="stable", share=0.59, warmup=0.1), Phase(name="decay", share=0.41, shape=shape, final=final)]
    plan = schedule(train(phases=phases))
    rates = [phase_at(plan, step).learning_rate(step) for step in range(59, 100)]
    assert rates[0] == 1e-3
    assert rates[20] == pytest.approx(1e-3 * (final + (1 - final) * half))
    assert rates[40] == pytest.approx(1e-3 * final, abs=1e-18)


# --- warming up again -----------------------------------------------------------------------------------------

RESUMES = st.lists(st.integers(1, 99), max_size=5)


def rates_of(settings: Train, resumed_at: Sequence[int]) -> list[float]:
    plan = schedule(settings)
    return [
        rewarmed(phase_at(plan, step).learning_rate(step), step, resumed_at, settings) for step in range(settings.steps)
    ]


@few
@given(PHASES, RESUMES, st.integers(0, 50))
def test_warming_up_again_touches_only_the_steps_after_a_resume(
    phases: list[dict], resumed_at: list[int], rewarm_steps: int
) -> None:
    stage, _ = plan_of(100, phases, rewarm_steps=rewarm_steps)
    plain, found = rates_of(stage, ()), rates_of(stage, resumed_at)
    for step in range(100):
        near = any(0 <= step - first < rewarm_steps for first in resumed_at)
        assert found[step] <= plain[step] * (1 + 1e-12)
        assert near or found[step] == plain[step]
        assert found[step] >= min(stage.warmup_from, plain[step])
    assert rates_of(stage, [*resumed_at, *resumed_at][::-1]) == found
    # What comes later changes nothing before it.
    for first in resumed_at:
        earlier = [each for each in resumed_at if each <= first]
        assert rates_of(stage, earlier)[: first + 1] == rates_of(stage, resumed_at)[: first + 1]


def test_the_climb_after_a_resume() -> None:
    settings = train(rewarm_steps=4, warmup_from=0.0, learning_rate=1.0)
    assert rates_of(settings, (10,))[9:15] == [1.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates_of(settings, (10, 12))[9:17] == [1.0, 0.25, 0.5, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates_of(train(), (10, 12)) == rates_of(train(), ())


def test_resumes_are_kept_in_a_file(tmp_path: Path) -> None:
    """A resume from an older checkpoint takes back those after it; two at one step are one."""
    file, found = tmp_path / "resumes.json", []
    for start in (0, 40, 60, 60, 80, 60, 0):
        write_resumes(file, read_resumes(file, start))
        found.append(read_resumes(file, start))
    assert found == [(), (40,), (40, 60), (40, 60), (40, 60, 80), (40, 60), ()]
    file.write_text("{")
    with pytest.raises(UserError, match=r"resumes\.json: not readable as JSON"):
        read_resumes(file, 1)


def test_a_resumed_run_warms_up_again(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in its fifth step, resumed after the fourth: the rates and the losses before are those of a whole run."""
    given = settings(steps=8, phases=[Phase(name="all")], rewarm_steps=3, checkpoint_every=2)
    whole = train_run(inputs, tmp_path / "whole", given)
    real = loop.update

    def failing(job, batch, step, begun):
        if step == 4:
            raise RuntimeError("killed")
        return real(job, batch, step, begun)

    monkeypatch.setattr(loop, "update", failing)
    with pytest.raises(RuntimeError):
        train_run(inputs, tmp_path / "cut", given)
    monkeypatch.setattr(loop, "update", real)
    resumed = train_run(inputs, tmp_path / "cut", given)
    lines = [
        [line for line in read_metrics(folder / "logs" / "metrics.jsonl") if line["type"] == "step"]
        for folder in (whole, resumed)
    ]
    assert [line["learning_rate"] for line in lines[0]] == [1e-3] * 8
    assert [line["learning_rate"] for line in lines[1]] == pytest.approx(
        [1e-3] * 4 + [1e-7 + (1e-3 - 1e-7) / 3, 1e-7 + (1e-3 - 1e-7) * 2 / 3] + [1e-3] * 2
    )
    assert losses(whole)[:5] == losses(resumed)[:5]
    assert losses(whole)[5:] != losses(resumed)[5:]


@given(share=st.floats(0.05, 0.95), steps=st.integers(10, 400), shape=st.sampled_from(["cosine", "linear", "constant"]))
def test_a_curve_that_is_continued_is_one_curve(share: float, steps: int, shape: str) -> None:
    """Phases that only change the data: the rates are those of one phase over all steps."""
    first = Phase(name="a", share=share, shape=shape, warmup=0.0)
    second = Phase(name="b", share=1 - share, shape="continue", learning_rate_multipliers={"embeddings": 0.5})
    plan = schedule(train(steps=steps, phases=[first, second]))
    whole = schedule(train(steps=steps, phases=[Phase(name="all", shape=shape)]))[0]
    assert [phase_at(plan, step).learning_rate(step) for step in range(steps)] == [
        whole.learning_rate(step) for step in range(steps)
    ]
    assert plan[1].multipliers == {"embeddings": 0.5}
    assert not plan[0].multipliers


def test_a_curve_that_is_continued_has_no_settings_of_its_own() -> None:
    """Refused where they say something; not where all settings are given, as to the other processes of a launcher."""
    phase = Phase(name="b", shape="continue")
    assert Phase.model_validate_json(phase.model_dump_json()) == phase
    for name, value in {"learning_rate": 1e-3, "warmup": 0.1, "final": 0.5}.items():
        with pytest.raises(ValueError, match=f"{name} would do nothing"):
            Phase(name="b", shape="continue", **{name: value})
