"""The guard: which steps are skipped, going back past bad data, and the same end whatever kills the run in between."""

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from mesh_work import run_on
from rounding import rounding
from tiny_run import settings, train

from diglot.base.artifact import Inputs, content_hash
from diglot.base.errors import UserError
from diglot.recipe.train import GuardSettings, Phase
from diglot.tokens.order import Order, joined
from diglot.train import loop
from diglot.train.data import Data
from diglot.train.data_command import rollbacks_of
from diglot.train.guard import FLOOR, Guard
from diglot.train.metrics import read_metrics
from diglot.train.rollbacks import Rollbacks

GUARD = {"window": 16, "rollback_after": 2, "skip_data": 4, "max_rollbacks": 2}
values = st.floats(0.1, 12) | st.sampled_from([math.nan, math.inf])


def judged(given: GuardSettings, losses: list[float], norms: list[float]) -> list[bool]:
    guard = Guard(given, torch.device("cpu"))
    return [bool(guard.judge(torch.tensor(a), torch.tensor(b))[1]) for a, b in zip(losses, norms)]


def by_hand(given: GuardSettings, losses: list[float], norms: list[float]) -> list[bool]:
    """The rule in plain words: numpy, one step after the other."""
    kept: list[tuple[float, float]] = []
    skips = []
    for loss, norm in zip(losses, norms):
        found = (loss, math.log(norm) if math.isfinite(norm) else math.inf)
        finite = math.isfinite(loss) and math.isfinite(norm)
        if len(kept) < given.window // 2:
            skips.append(not finite)
            kept += [found] if finite else []
            continue
        lately = np.array(kept[-given.window :])
        limits = lately.mean(axis=0) + given.deviations * np.maximum(lately.std(axis=0), FLOOR)
        skips.append(not finite or any(value > limit for value, limit in zip(found, limits)))
        kept += [] if skips[-1] else [found]
    return skips


@examples(60)
@given(st.lists(st.tuples(values, values), max_size=40), st.sampled_from([4, 8, 16]))
def test_the_rule(steps: list[tuple[float, float]], window: int) -> None:
    losses, norms = [a for a, _ in steps], [b for _, b in steps]
    given_ = GuardSettings(window=window, deviations=3.0)
    assert judged(given_, losses, norms) == by_hand(given_, losses, norms)


def test_no_false_alarm_where_noise_is_noise_and_none_missed() -> None:
    random = np.random.default_rng(0)
    losses = 3 * np.exp(-np.arange(2000) / 800) + 2 + 0.1 * random.standard_normal(2000)
    norms = np.exp(0.3 * random.standard_normal(2000))
    assert not any(judged(GuardSettings(), losses.tolist(), norms.tolist()))
    losses[[700, 701, 1500]] += 2
    norms[900] = 40
    skips = judged(GuardSettings(), losses.tolist(), norms.tolist())
    assert np.flatnonzero(skips).tolist() == [700, 701, 900, 1500]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=6))
def test_joined_ranges_cover_the_same_and_are_apart(ranges: list[tuple[int, int]]) -> None:
    spans = [(first, first + length) for first, length in ranges]
    found = joined(spans)
    assert {p for first, end in found for p in range(first, end)} == {p for first, end in spans for p in range(first, end)}  # fmt: skip
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch):
    """Lets the data at some positions be noise."""
    real = Order.batch

    def poison(positions: range) -> None:
        def batch(self: Order, step: int):
            found = real(self, step)
            if self.position(step) in positions:
                noise = np.random.default_rng(self.position(step))
                found.targets_BT[found.targets_BT >= 0] = noise.integers(0, 300, (found.targets_BT >= 0).sum())
            return found

        monkeypatch.setattr(Order, "batch", batch)

    return poison


def long(**changes):
    given = {"steps": 32, "checkpoint_every": 5, "evaluate_every": 20, "guard": GUARD, "phases": [Phase(name="a", warmup=0.1)]}  # fmt: skip
    return settings(**{**given, **changes})


def lines(output: Path, kind: str) -> list[dict]:
    return [line for line in read_metrics(output / "logs" / "metrics.jsonl") if line["type"] == kind]


@pytest.mark.slow
def test_one_bad_step_is_skipped_and_leaves_no_trace_in_the_model(inputs: Inputs, tmp_path: Path, poisoned) -> None:
    poisoned(range(25, 26))
    output = train(inputs, tmp_path, long())
    steps = lines(output, "step")
    assert [line["step"] for line in steps if "skipped" in line] == [26]
    assert steps[25]["skipped"]["documents"]
    assert steps[25]["score"] > 6
    assert not lines(output, "rollback")
    assert [line["step"] for line in steps] == list(range(1, 33))


@pytest.mark.slow
def test_after_repeated_spikes_the_run_goes_back_and_past_the_data(inputs: Inputs, tmp_path: Path, poisoned) -> None:
    """The end is that of a run that had skipped the data from the beginning."""
    poisoned(range(22, 26))
    output = train(inputs, tmp_path / "rolled", long(export_optimizer=True))
    (rollback,) = lines(output, "rollback")
    assert (rollback["after"], rollback["step"], rollback["skipped_data"]) == (24, 20, [22, 26])
    assert [each["step"] for each in rollback["skipped"]] == [23, 24]
    assert all(each["documents"] for each in rollback["skipped"])
    assert [line["step"] for line in lines(output, "step")] == list(range(1, 33))
    assert not [line for line in lines(output, "step") if "skipped" in line]
    assert json.loads((output / "continue" / "run.json").read_text())["skipped"] == [[22, 26]]

    (tmp_path / "known" / "scratch").mkdir(parents=True)
    (tmp_path / "known" / "scratch" / "guard.json").write_text(
        json.dumps([{"step": 1, "to": 0, "skipped_data": [22, 26], "skipped": []}])
    )
    known = train(inputs, tmp_path / "known", long(export_optimizer=True))
    assert content_hash(known) == content_hash(output)

    (run := tmp_path / "run").mkdir()
    (run / "train").symlink_to(output)
    assert rollbacks_of(run, "train").ranges() == ((22, 26),)
    tokens = [each.path for each in inputs.many("tokens")]
    data = Data.open("train", long(), tokens, None, None, 0, rollbacks_of(run, "train"))
    plan = Data.open("train", long(steps=50), tokens, None, None, 0, Rollbacks(tmp_path / "none"))
    assert data.at_step(23)["documents"] == plan.at_step(27)["documents"]

    plain = train(inputs, tmp_path / "unguarded", long(guard={**GUARD, "deviations": 1e9}))
    assert lines(output, "evaluation")[-1]["languages"]["en"] < lines(plain, "evaluation")[-1]["languages"]["en"]


@pytest.mark.slow
def test_a_guarded_run_that_is_killed_ends_the_same(
    inputs: Inputs, tmp_path: Path, poisoned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the rollback is seen, and after it (steps are computed one ahead of being judged)."""
    poisoned(range(22, 26))
    whole = train(inputs, tmp_path / "whole", long())
    real, timings = loop.update, {"seconds", "tokens_per_second", "memory_mb", "mfu"}
    for calls in (24, 29):
        count = 0

        def failing(*given, last=calls):
            nonlocal count
            count += 1
            if count == last:
                raise RuntimeError("killed")
            return real(*given)

        monkeypatch.setattr(loop, "update", failing)
        with pytest.raises(RuntimeError):
            train(inputs, tmp_path / f"cut-{calls}", long())
        resumed = train(inputs, tmp_path / f"cut-{calls}", long())
        assert content_hash(resumed) == content_hash(whole)
        logs = [read_metrics(out / "logs" / "metrics.jsonl") for out in (whole, resumed)]
        one, other = ([{k: v for k, v in line.items() if k not in timings} for line in log] for log in logs)
        assert one == other


@pytest.mark.slow
def test_used_up_remedies_stop_the_run_with_what_was_tried(inputs: Inputs, tmp_path: Path, poisoned) -> None:
    poisoned(range(22, 1000))
    with pytest.raises(UserError, match="nothing is left to try") as found:
        train(inputs, tmp_path, long())
    message = str(found.value)
    assert "after step 24 back to 20, 4 steps' data skipped; after step 24 back to 20, 8 steps'" in message
    assert re.search(r"(english|chat):", message)
    assert "Lower learning_rate" in message


@pytest.mark.full
def test_processes_skip_and_go_back_together(inputs: Inputs, tmp_path: Path) -> None:
    """A guard so strict that it finds spikes in good data: two processes decide as one does."""
    strict = {"window": 8, "deviations": 0.3, "rollback_after": 2, "skip_data": 2, "max_rollbacks": 50}
    given = {"steps": 20, "checkpoint_every": 4, "evaluate_every": 20, "evaluate_tokens": 300, "guard": strict}
    given |= {"learning_rate": 1e-5, "phases": [Phase(name="all")]}
    alone = train(inputs, tmp_path / "one", settings(**given))
    run_on(2, {role: inputs.one(role).path for role in ("model", "tokens")}, tmp_path / "two", [given])
    together = tmp_path / "two" / "0" / "out"
    assert lines(together, "rollback") == lines(alone, "rollback") != []
    skips = [[line["step"] for line in lines(out, "step") if "skipped" in line] for out in (alone, together)]
    assert skips[0] == skips[1]
    losses = [[line["loss"] for line in lines(out, "step")] for out in (alone, together)]
    assert losses[0] == pytest.approx(losses[1], abs=rounding(losses[1], operations=16))
