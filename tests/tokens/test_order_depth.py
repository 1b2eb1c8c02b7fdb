"""The order in depth: ramps, caps, weights, skipped windows, sources of any size, and the way back to steps."""

import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.recipe.train import DocumentWeight
from diglot.tokens import epochs, mixture, shards
from diglot.tokens.mixture import SMALLEST_STAIR, PhasePlan, cut, keep_under_caps
from diglot.tokens.order import Order, position_of, step_of
from diglot.tokens.packing import IGNORED
from diglot.tokens.shards import TokenSource

Make = Callable[..., TokenSource]
function_scoped = examples(30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of 8 documents, so that a small source has many."""
    monkeypatch.setattr(shards, "GROUP", 8)


def sources_of_rows(order: Order) -> np.ndarray:
    """The source of every row of the plan."""
    return np.concatenate([order.batch(step).sources_B for step in range(order.num_steps)])


# --- groups ---------------------------------------------------------------------------------------------------


@function_scoped
@given(lengths=st.lists(st.integers(2, 40), min_size=1, max_size=60), sequence_length=st.integers(2, 24))
def test_over_many_groups_each_token_is_still_predicted_once_an_epoch(
    make_source: Make, small_groups: None, lengths: list[int], sequence_length: int
) -> None:
    source = make_source("text", lengths)
    rows = Order({"text": source}, [PhasePlan("all", 1)], 1, sequence_length, 1)._rows[0].rows_before(2)
    order = Order({"text": source}, [PhasePlan("all", rows)], 1, sequence_length, 1)
    predicted: Counter[int] = Counter()
    for step in range(rows):
        targets = order.batch(step).targets_BT
        predicted.update(targets[targets != IGNORED].tolist())
    firsts = set(source.tokens[source.offsets[:-1]].tolist())
    assert predicted == Counter({token: 2 for token in source.tokens.tolist() if token not in firsts})


def test_stored_sums_of_groups_give_the_same_order(make_source: Make, small_groups: None) -> None:
    source = make_source("text", list(range(2, 90)))
    stored = replace(source, groups=shards.sum_groups(source.offsets))
    assert stored.groups is not None
    assert stored.groups.sum() == source.num_tokens
    orders = [Order({"text": each}, [PhasePlan("all", 40)], 2, 16, 1) for each in (source, stored)]
    for step in range(40):
        assert np.array_equal(orders[0].batch(step).tokens_BT, orders[1].batch(step).tokens_BT)


def test_neighbours_in_the_corpus_are_not_read_together(make_source: Make, small_groups: None) -> None:
    source = make_source("text", [16] * 4000)
    order = Order({"text": source}, [PhasePlan("all", 250)], 16, 16, 1)
    read = np.concatenate([order.fragments(step).document for step in range(250)])
    assert np.abs(np.diff(read)).mean() == pytest.approx(4000 / 3, rel=0.1)
    assert abs(np.corrcoef(np.arange(len(read)), read)[0, 1]) < 0.05


# --- the way back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "chat", "pairs"])
def test_the_steps_of_a_document_are_those_that_read_it(make_source: Make, small_groups: None, form: str) -> None:
    rng = np.random.default_rng(5)
    sources = {
        "a": make_source("a", rng.integers(4, 60, 40).tolist(), form=form),
        "b": make_source("b", rng.integers(4, 60, 20).tolist(), form=form, first_token=10_000),
    }
    phases = [
        PhasePlan("one", 30, {"a": 0.8, "b": 0.2}),
        PhasePlan("none", 0),
        PhasePlan("two", 40, {"b": 1.0}),
        PhasePlan("three", 40, {"a": 1.0, "b": 1.0}, ramp=True),
    ]
    order = Order(sources, phases, 3, 128, 1).skipping([(10, 15), (50, 52)])
    seen: dict[tuple[str, str], list[tuple[int, int, int, int]]] = {}
    for step in range(order.num_steps):
        for name, document_id, *piece in order.documents(step):
            seen.setdefault((name, document_id), []).append((step, *piece))
    for name in order.names:
        for document in range(order.sources[order.names.index(name)].num_documents):
            found = [tuple(occurrence) for occurrence in order.occurrences(name, document)]
            assert sorted(found) == sorted(seen.get((name, f"{name}/{document}"), []))


def test_documents_are_found_by_id(make_source: Make) -> None:
    source = make_source("text", [5] * 30)
    assert source.find_documents("text/17") == [17]
    assert source.find_documents("text/99") == []
    assert source.document_ids([29, 3, 3]) == ["text/29", "text/3", "text/3"]


# --- ramps ----------------------------------------------------------------------------------------------------


@function_scoped
@given(
    weights=st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=2, max_size=5),
    steps=st.integers(1, 700),
)
def test_a_ramp_keeps_to_the_line_in_every_window(
    make_source: Make, weights: list[tuple[float, float]], steps: int
) -> None:
    sources = {f"s{number}": make_source(f"s{number}", [64, 64]) for number in range(len(weights))}
    begin, end = (np.array([pair[side] for pair in weights]) for side in (0, 1))
    begin, end = begin / begin.sum(), end / end.sum()
    mixtures = [dict(zip(sources, each.tolist(), strict=True)) for each in (begin, end)]
    phases = [PhasePlan("flat", 10, mixtures[0]), PhasePlan("ramp", steps, mixtures[1], ramp=True)]
    order = Order(sources, phases, 4, 16, 1)
    rows = np.concatenate(
        [segment.locate(segment.first_row + np.arange(segment.num_rows))[0] for segment in order._segments]
    )[40:]
    number = 4 * steps
    assert len(rows) == number
    line = np.arange(number + 1)[:, None]
    planned = begin * line + (end - begin) * line**2 / (2 * number)
    counted = np.concatenate([np.zeros((1, len(begin))), np.cumsum(rows[:, None] == np.arange(len(begin)), axis=0)])
    # A row that a stair rounds, a row within a stair, and what the stair is away from the line in its middle.
    stair = max(SMALLEST_STAIR, -(-number // 256))
    away = np.abs(end - begin) * stair * min(stair, number) / (8 * number)
    assert (np.abs(counted - planned) < 2 + away + 1e-9).all()


def test_a_long_ramp_climbs_evenly(make_source: Make) -> None:
    sources = {"a": make_source("a", [64]), "b": make_source("b", [64])}
    phases = [PhasePlan("flat", 5, {"a": 1.0}), PhasePlan("ramp", 10**8, {"b": 1.0}, ramp=True)]
    order = Order(sources, phases, 1, 16, 1)
    for place in (0.01, 0.25, 0.5, 0.9):
        first = 5 + int(place * 10**8)
        rows = np.array([order.batch(step).sources_B[0] for step in range(first, first + 400)])
        assert np.mean(rows == order.names.index("b")) == pytest.approx(place, abs=1 / 256 + 2 / 400)
    assert order.realised("ramp")["b"]["realised"] == pytest.approx(0.5, abs=0.001)


def test_a_first_phase_cannot_ramp(make_source: Make) -> None:
    with pytest.raises(UserError, match="'only': there is no phase before it"):
        Order({"a": make_source("a", [64])}, [PhasePlan("only", 5, ramp=True)], 1, 16, 1)


# --- caps -----------------------------------------------------------------------------------------------------


@function_scoped
@given(
    sizes=st.lists(st.integers(100, 6000), min_size=2, max_size=5),
    caps=st.lists(st.floats(0.1, 3), min_size=1, max_size=4),
    steps=st.integers(1, 200),
    ramp=st.booleans(),
)
def test_no_source_is_read_beyond_its_cap_and_the_others_take_over(
    make_source: Make, sizes: list[int], caps: list[float], steps: int, ramp: bool
) -> None:
    sources = {f"s{number}": make_source(f"s{number}", [size]) for number, size in enumerate(sizes)}
    limits = {f"s{number}": cap for number, cap in enumerate(caps[: len(sizes) - 1])}
    equal_shares = dict.fromkeys(sources, 1.0)
    phases = [
        PhasePlan("before", 20, {**equal_shares, "s0": 0.2}, limits),
        PhasePlan("capped", steps, equal_shares, limits, ramp),
    ]
    order = Order(sources, phases, 2, 16, 1)
    realised = order.realised("capped")
    assert sum(entry["rows"] for entry in realised.values()) == 2 * steps
    for name, cap in limits.items():
        assert realised[name]["epochs"] <= cap + 1e-9
    free = [entry["tokens"] for name, entry in realised.items() if name not in limits]
    assert max(free) - min(free) <= 0.01 * max(free) + 3 * 16  # in proportion, here alike
    for step in (0, 19, 20, 19 + steps):
        order.batch(step)


def test_a_capped_source_lasts_to_the_end_of_the_phase(make_source: Make) -> None:
    sources = {"big": make_source("big", [160_000]), "small": make_source("small", [8_000], language="ar")}
    order = Order(sources, [PhasePlan("all", 2000, {"big": 0.5, "ar": 0.5}, {"ar": 1})], 1, 16, 1)
    rows = sources_of_rows(order) == order.names.index("small")
    assert rows.sum() == pytest.approx(500, abs=2)
    assert order.realised("all")["small"]["epochs"] <= 1
    for begin in range(0, 2000, 100):  # a quarter of every window, instead of a half of the first thousand rows
        assert rows[begin : begin + 100].sum() == pytest.approx(25, abs=3)


def test_shares_under_caps_add_up_and_stay_in_proportion() -> None:
    weights, caps = np.array([[0.5, 0.3, 0.15, 0.05]]), np.array([100, np.inf, np.inf, 10])
    shares = keep_under_caps(weights, np.array([1000]), caps)
    assert shares.sum() == pytest.approx(1)
    assert shares[0, [0, 3]] == pytest.approx([0.1, 0.01], rel=1e-6)
    assert shares[0, 1] / shares[0, 2] == pytest.approx(2)


def test_caps_that_leave_too_little_are_refused(make_source: Make) -> None:
    source = make_source("text", [161])
    with pytest.raises(UserError, match=r"'all': max_epochs leaves 20 rows, and its 30 steps need 30"):
        Order({"text": source}, [PhasePlan("all", 30, None, {"en": 2})], 1, 16, 1)
    assert Order({"text": source}, [PhasePlan("all", 20, None, {"en": 2})], 1, 16, 1).num_steps == 20
    with pytest.raises(UserError, match=r"max_epochs: names 'fr'; sources: text"):
        Order({"text": source}, [PhasePlan("all", 20, None, {"fr": 2})], 1, 16, 1)


@given(
    shares=st.lists(st.floats(0.001, 1), min_size=1, max_size=6),
    owed=st.lists(st.floats(-1, 1), min_size=6, max_size=6),
    dead=st.sets(st.integers(1, 5)),
    total=st.integers(1, 100),
)
def test_rows_of_a_stair_add_up_and_go_to_live_sources(
    shares: list[float], owed: list[float], dead: set[int], total: int
) -> None:
    live = np.array([number not in dead for number in range(len(shares))])
    weights = np.array(shares) * live
    wanted = np.array(owed[: len(shares)]) + weights / weights.sum() * total
    rows = mixture._apportion(wanted, live, total)
    assert rows.sum() == total
    assert rows.min() >= 0
    assert not rows[~live].any()


# --- windows that are passed over, and branches ---------------------------------------------------------------


@given(ranges=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 9)), max_size=6), steps=st.integers(1, 60))
def test_positions_are_all_but_the_skipped_ones_in_order(ranges: list[tuple[int, int]], steps: int) -> None:
    skipped, end = [], 0
    for gap, length in ranges:
        skipped.append((end + gap, end + gap + length))
        end += gap + length
    passed_over = {position for first, end in skipped for position in range(first, end)}
    positions = [position_of(step, skipped) for step in range(steps)]
    kept = [position for position in range(max(positions) + 1) if position not in passed_over]
    assert positions == kept
    assert [step_of(position, skipped) for position in positions] == list(range(steps))
    assert all(step_of(position, skipped) is None for position in passed_over)


def test_a_skipped_window_is_not_read_and_the_end_goes_on_in_the_last_phase(make_source: Make) -> None:
    source = make_source("text", [30] * 50)
    order = Order({"text": source}, [PhasePlan("a", 10), PhasePlan("b", 10)], 2, 16, 1)
    longer = Order({"text": source}, [PhasePlan("a", 10), PhasePlan("b", 20)], 2, 16, 1)
    skipping = order.skipping([(5, 9)])
    wanted = [*range(5), *range(9, 24)]
    for step, position in enumerate(wanted):
        assert np.array_equal(skipping.batch(step).tokens_BT, longer.batch(position).tokens_BT)
    assert skipping.phase(19) == "b"
    with pytest.raises(IndexError):
        skipping.batch(20)
    assert order.skipped == ()


@pytest.mark.parametrize("left_after", [3, 40, 70, 100])
def test_a_branch_goes_on_where_the_plan_was_left(make_source: Make, left_after: int) -> None:
    """Ramps and caps depend on the whole phase, so a phase that was left is kept whole with where it was left."""
    sources = {"a": make_source("a", [64] * 20), "b": make_source("b", [64] * 20, first_token=10_000)}
    trunk = [PhasePlan("flat", 40, {"a": 0.7, "b": 0.3}, {"b": 0.4}), PhasePlan("ramp", 60, {"b": 1.0}, ramp=True)]
    previous = cut(trunk, left_after)
    assert sum(plan.done for plan in previous) == left_after
    decay = [PhasePlan("flat", 20, {"a": 0.5, "b": 0.5})]
    branch = Order(sources, decay, 4, 16, 1, previous=previous)
    whole = Order(sources, trunk, 4, 16, 1)
    assert branch.num_steps == 20
    read = Counter(sources_of_rows(branch).tolist())
    assert read == {number: branch.realised("flat")[name]["rows"] for number, name in enumerate(branch.names)}
    rows_behind = np.zeros(2, dtype=np.int64)
    for step in range(left_after):
        rows_behind += np.bincount(whole.batch(step).sources_B, minlength=2)
    assert branch._own_phases[0].start.tolist() == rows_behind.tolist()


# --- weights --------------------------------------------------------------------------------------------------


def weighted(make_source: Make, rule: DocumentWeight, column: list[float], steps: int) -> Order:
    rng = np.random.default_rng(2)
    source = make_source("text", rng.integers(4, 40, len(column)).tolist())
    source = replace(source, columns={"number": np.array(column, dtype=np.float32)})
    return Order({"text": source}, [PhasePlan("all", steps)], 1, 16, 1, weights={"en": rule})


def visits_by_pass(order: Order) -> np.ndarray:
    """[epochs, documents]: beginnings of each document."""
    source = order.sources[0]
    seen = np.zeros((64, source.num_documents), dtype=np.int64)
    for step in range(order.num_steps):
        fragments = order.fragments(step)
        begins = fragments.first == 0
        np.add.at(seen, (fragments.epoch[begins], fragments.document[begins]), 1)
    return seen


@function_scoped
@given(column=st.lists(st.sampled_from([0.1, 0.5, 0.75, 1.0, 1.5, 2.25, 4.0, float("nan")]), min_size=3, max_size=40))
def test_over_eight_passes_each_document_is_read_by_its_weight(
    make_source: Make, small_groups: None, column: list[float]
) -> None:
    rule = DocumentWeight(column="number", by="value", low=0.25, high=3)
    rows = weighted(make_source, rule, column, 1)._rows[0].rows_before(8)
    seen = visits_by_pass(weighted(make_source, rule, column, rows))
    weights = np.array([1.0 if np.isnan(value) else min(max(value, 0.25), 3) for value in column])
    assert seen[:8].sum(axis=0).tolist() == (8 * weights).tolist()
    assert not seen[8:].any()
    for epochs_done in range(1, 8):  # and before, to within one
        assert (np.abs(seen[:epochs_done].sum(axis=0) - epochs_done * weights) < 1).all()


def test_repeats_are_spread_over_the_pass(make_source: Make, small_groups: None) -> None:
    rule = DocumentWeight(column="number", by="value", low=0.5, high=2)
    order = weighted(make_source, rule, [2.0] * 800, 1)
    order = weighted(make_source, rule, [2.0] * 800, order._rows[0].rows_before(1))
    steps: dict[int, list[int]] = {}
    for step in range(order.num_steps):
        fragments = order.fragments(step)
        for document in fragments.document[fragments.first == 0].tolist():
            steps.setdefault(document, []).append(step)
    assert all(len(where) == 2 for where in steps.values())
    distances = np.array([second - first for first, second in steps.values()])
    assert distances.mean() == pytest.approx(order.num_steps / 3, rel=0.3)


def test_quantiles_and_logarithms_become_weights(make_source: Make) -> None:
    numbers = np.random.default_rng(0).permutation(1000).astype(float)
    rule = DocumentWeight(column="number", by="quantile", low=0.5, high=2)
    order = weighted(make_source, rule, numbers.tolist(), 1)
    text = order._rows[0].layout
    assert isinstance(text, epochs.TextEpochs)
    assert text._weights is not None
    eighths = text._weights.eighths(np.arange(1000))
    wanted = 8 * (0.5 + 1.5 * numbers / 999)
    assert np.abs(eighths - wanted).max() < 0.6
    sizes = [1.0, 2.0, 10.0, 1e6]
    logarithm = weighted(make_source, DocumentWeight(column="number", by="log", low=1, high=3), sizes, 1)
    text = logarithm._rows[0].layout
    assert isinstance(text, epochs.TextEpochs)
    assert text._weights is not None
    assert text._weights.eighths(np.arange(4)).tolist() == [8, 14, 24, 24]  # 1 + ln 2 = 1.69, in eighths


def test_weights_that_cannot_be_are_refused(make_source: Make) -> None:
    rule = DocumentWeight(column="quality")
    text, chat = make_source("text", [30] * 5), make_source("chat", [30] * 5, form="chat", language="ar")
    both, phases = {"text": text, "chat": chat}, [PhasePlan("all", 1)]
    with pytest.raises(UserError, match=r"'text' has no column 'quality'.*it has: none.*`keep`"):
        Order(both, phases, 1, 64, 1, weights={"text": rule})
    with pytest.raises(UserError, match="'chat' has no columns; only text"):
        Order(both, phases, 1, 64, 1, weights={"chat": rule})
    none = replace(text, columns={"quality": np.zeros(5, dtype=np.float32)})
    nothing = DocumentWeight(column="quality", by="value", low=0, high=1)
    with pytest.raises(UserError, match="'text': its document_weights leave nothing to read"):
        Order({"text": none}, phases, 1, 16, 1, weights={"text": nothing})
    with pytest.raises(ValueError, match="is above high"):
        DocumentWeight(column="quality", low=3, high=2)


# --- a trillion tokens ----------------------------------------------------------------------------------------


class Counted:
    """A virtual array: element i is worked out from i. Stands for files of many gigabytes."""

    def __init__(self, length: int, of: Callable[[np.ndarray], np.ndarray]):
        self._length, self._of = length, of

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, key: np.ndarray | int) -> np.ndarray:
        return self._of(np.asarray(key) % self._length)  # -1 is the last


def virtual_source(documents: int, length: int) -> TokenSource:
    """Documents of one length each, so that what the groups hold is known without adding up a billion numbers."""
    groups = np.full(shards.num_groups(documents), shards.GROUP * length)
    groups[-1] = (documents - (len(groups) - 1) * shards.GROUP) * length
    return TokenSource(
        name="web",
        form="text",
        language="en",
        domain="web",
        split="train",
        content=f"{documents} × {length}",
        special={"bos": 1, "eos": 2, "pad": 3},
        tokens=Counted(documents * length, lambda at: at % 30_000),  # type: ignore[arg-type]
        offsets=Counted(documents + 1, lambda document: document * length),  # type: ignore[arg-type]
        targets=None,
        bytes=Counted(documents, lambda document: document),  # type: ignore[arg-type]
        ids_file=Path("none"),
        groups=groups,
    )


def test_any_step_of_a_trillion_tokens_is_found_within_a_second_and_little_memory() -> None:
    source = virtual_source(10**9, 1001)
    steps = 2 * 10**12 // (512 * 2048)  # two epochs
    phases = [PhasePlan("all", steps // 2), PhasePlan("ramp", steps - steps // 2, None, {"web": 2}, ramp=True)]
    tracemalloc.start()
    clock = time.process_time()
    order = Order({"web": source}, phases, 512, 2048, 1)
    batch = order.batch(10**6)
    seconds, (_, peak) = time.process_time() - clock, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 3  # measured: see benchmarks/data_order.py; here without haste, on a busy machine
    assert peak < 300e6  # a batch itself takes 100 MB while it is put together
    assert (batch.documents_BT >= 0).all()
    document = int(order.fragments(10**6).document[7])
    assert 10**6 in [occurrence.step for occurrence in order.occurrences("web", document)]
