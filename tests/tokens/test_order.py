"""The order is a function of the step: nothing lost, nothing twice, shares kept, resumable, explainable."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.tokens.mixture import PhasePlan
from diglot.tokens.order import Order
from diglot.tokens.packing import IGNORED, Batch
from diglot.tokens.shards import TokenSource

Make = Callable[..., TokenSource]
function_scoped = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
lengths = st.lists(st.integers(2, 40), min_size=1, max_size=30)


def one_source(source: TokenSource, steps: int, batch_size: int = 2, sequence_length: int = 16) -> Order:
    return Order({source.name: source}, [PhasePlan("all", steps)], batch_size, sequence_length, seed=1)


def equal(first: Batch, second: Batch) -> bool:
    return all(np.array_equal(value, getattr(second, name)) for name, value in vars(first).items())


@function_scoped
@given(lengths=lengths, sequence_length=st.integers(2, 24), epochs=st.integers(1, 3))
def test_each_token_of_a_text_is_predicted_once_an_epoch(
    make_source: Make, lengths: list[int], sequence_length: int, epochs: int
) -> None:
    source = make_source("text", lengths)
    rows = one_source(source, 1, 1, sequence_length)._rows[0].rows_before(1)
    order = one_source(source, rows * epochs, 1, sequence_length)
    predicted: Counter[int] = Counter()
    for step in range(order.num_steps):
        batch = order.batch(step)
        wanted = batch.targets_BT != IGNORED
        predicted.update(batch.targets_BT[wanted].tolist())
        # Tokens are numbered as they lie: the next token of the same document is the next number.
        assert np.array_equal(batch.targets_BT[wanted], batch.tokens_BT[wanted] + 1)
    first_tokens = set((source.tokens[source.offsets[:-1]]).tolist())
    assert predicted == Counter({token: epochs for token in source.tokens.tolist() if token not in first_tokens})
    assert order.realised("all")["text"]["epochs"] == epochs


@function_scoped
@given(lengths=lengths, form=st.sampled_from(["text", "chat", "pairs"]), batch_size=st.integers(1, 4))
def test_positions_and_documents_never_reach_across(
    make_source: Make, lengths: list[int], form: str, batch_size: int
) -> None:
    source = make_source("source", lengths * 2, form=form)  # an even number, for pairs
    sequence_length = 96
    order = one_source(source, 3, batch_size, sequence_length)
    document_of = np.repeat(np.arange(source.num_documents), source.lengths)
    for step in range(3):
        batch = order.batch(step)
        present = batch.documents_BT >= 0
        numbers = batch.documents_BT[present]
        assert set(np.diff(numbers).tolist()) <= {0, 1}  # rising in row order, none left out
        assert numbers.min() == 0
        assert (batch.tokens_BT[~present] == source.special["pad"]).all()
        assert (batch.targets_BT[~present] == IGNORED).all()
        for number in range(int(numbers.max()) + 1):
            places = np.argwhere(batch.documents_BT == number)
            assert len(set(places[:, 0].tolist())) == 1  # within a row
            inside = batch.documents_BT == number
            assert batch.positions_BT[inside].tolist() == list(range(int(inside.sum())))
            tokens = batch.tokens_BT[inside]
            assert len(set(document_of[tokens - 10].tolist())) == 1
            assert (np.diff(tokens) == 1).all()


@pytest.mark.parametrize("form", ["chat", "pairs"])
def test_conversations_are_whole_pairs_together_and_each_is_seen_once_an_epoch(make_source: Make, form: str) -> None:
    rng = np.random.default_rng(0)
    source = make_source("source", rng.integers(4, 60, 200).tolist(), form=form)
    assert source.targets is not None
    rows = one_source(source, 1, 1, 128)._rows[0].rows_before(1)
    order = one_source(source, 2 * rows, 1, 128)
    for epoch in range(2):
        seen: list[int] = []
        for step in range(epoch * rows, (epoch + 1) * rows):
            fragments = order.fragments(step)
            assert (fragments.first == 0).all()
            assert np.array_equal(fragments.length, source.lengths[fragments.document])
            if form == "pairs":
                assert np.array_equal(fragments.document[::2] + 1, fragments.document[1::2])
                assert (fragments.document[::2] % 2 == 0).all()
            batch = order.batch(step)
            wanted = batch.targets_BT != IGNORED
            assert (source.targets[batch.targets_BT[wanted] - 10] == 1).all()
            seen += fragments.document.tolist()
        assert sorted(seen) == list(range(200))
    predicted = sum(int((order.batch(step).targets_BT != IGNORED).sum()) for step in range(rows))
    assert predicted == int(source.targets.sum())


def test_epochs_differ_and_packing_wastes_little(make_source: Make) -> None:
    rng = np.random.default_rng(0)
    source = make_source("chat", rng.integers(10, 120, 2000).tolist(), form="chat")
    rows = one_source(source, 1, 1, 256)._rows[0]
    assert rows.packing_efficiency > 0.98
    order = one_source(source, 2 * rows.rows_before(1), 1, 256)
    first = [order.documents(step)[0][1] for step in range(20)]
    second = [order.documents(rows.rows_before(1) + step)[0][1] for step in range(20)]
    assert first != second


def test_what_is_too_long_for_a_row_is_counted(make_source: Make) -> None:
    source = make_source("chat", [10, 20, 30, 40], form="chat")
    assert one_source(source, 4, 1, 30).dropped == {"chat": 1}
    pairs = make_source("pairs", [10, 15, 20, 40], form="pairs")
    assert one_source(pairs, 4, 1, 30).dropped == {"pairs": 2}
    with pytest.raises(UserError, match="longer than a sequence of 8 tokens"):
        one_source(source, 4, 1, 8)


def mixed(make_source: Make, seed: int = 1, steps: int = 300) -> Order:
    rng = np.random.default_rng(3)
    sources = {
        "english": make_source("english", rng.integers(5, 300, 200).tolist(), language="en"),
        "arabic": make_source("arabic", rng.integers(5, 300, 100).tolist(), language="ar", first_token=100_000),
        "chat": make_source("chat", rng.integers(5, 90, 300).tolist(), form="chat", first_token=200_000),
    }
    phases = [
        PhasePlan("stable", steps - 100, {"en": 0.7, "ar": 0.3}),
        PhasePlan("decay", 100, {"en": 0.3, "ar": 0.5, "chat": 0.2}),
    ]
    return Order(sources, phases, batch_size=4, sequence_length=64, seed=seed)


def test_a_batch_depends_on_its_step_alone(make_source: Make) -> None:
    straight = mixed(make_source)
    batches = [straight.batch(step) for step in range(300)]
    for step in [299, 0, 150, 200, 199, 3]:  # another object, another way round: a resume at any step
        assert equal(mixed(make_source).batch(step), batches[step])
        assert equal(straight.batch(step), batches[step])
    assert not equal(mixed(make_source, seed=2).batch(0), batches[0])


def test_shares_of_tokens_hold_in_every_window(make_source: Make) -> None:
    order = mixed(make_source, steps=1100)
    tokens = np.zeros((1100, 3))
    for step in range(1100):
        batch = order.batch(step)
        for row, source in enumerate(batch.sources_B.tolist()):
            tokens[step, source] += (batch.documents_BT[row] >= 0).sum()
    index = [order.names.index(name) for name in ("english", "arabic", "chat")]
    for first, last, planned in [(0, 1000, [0.7, 0.3, 0]), (1000, 1100, [0.3, 0.5, 0.2])]:
        for begin in range(first, last - 24, 25):
            window = tokens[begin : begin + 25].sum(axis=0)
            share = (window / window.sum())[index]
            # Two rows of 64 tokens, and the epoch's last row of a text, which is not full.
            assert np.abs(share - planned).max() < 4 * 64 / window.sum(), begin
        window = tokens[first:last].sum(axis=0)
        assert np.abs((window / window.sum())[index] - planned).max() < 0.01


def test_realised_says_what_the_batches_hold(make_source: Make) -> None:
    order = mixed(make_source)
    stable, decay = order.realised("stable"), order.realised(1)
    assert set(stable) == {"english", "arabic"}
    assert stable["english"]["planned"] == pytest.approx(0.7)
    assert stable["english"]["realised"] == pytest.approx(0.7, abs=0.01)
    rows: Counter[str] = Counter()
    for step in range(200, 300):
        rows.update(order.names[source] for source in order.batch(step).sources_B.tolist())
    assert rows == {name: entry["rows"] for name, entry in decay.items()}
    assert order.phase(199) == "stable"
    assert order.phase(200) == "decay"
    with pytest.raises(IndexError):
        order.batch(300)


def test_a_new_phase_goes_on_where_the_last_one_stopped(make_source: Make) -> None:
    """Over both phases, no document is read again before the epoch has ended."""
    order = mixed(make_source)
    seen: dict[tuple[str, int], Counter[tuple[str, int]]] = {}
    for step in range(300):
        for source, document, epoch, first, _ in order.documents(step):
            seen.setdefault((source, epoch), Counter())[(document, first)] += 1
    assert all(max(counter.values()) == 1 for counter in seen.values())
    for source in order.sources:  # and an epoch that has ended has read every document
        epochs = sorted(epoch for name, epoch in seen if name == source.name)
        assert epochs == list(range(len(epochs)))
        for epoch in epochs[:-1]:
            assert len({document for document, _ in seen[source.name, epoch]}) == source.num_documents
    assert max(epoch for _, epoch in seen) >= 1


def test_documents_name_what_the_batch_holds(make_source: Make) -> None:
    order = mixed(make_source)
    batch, documents = order.batch(250), order.documents(250)
    assert len(documents) == batch.documents_BT.max() + 1
    for number, (name, document_id, _, first, end) in enumerate(documents):
        source = order.sources[order.names.index(name)]
        document = int(document_id.split("/")[1])
        start = source.offsets[document]
        tokens = batch.tokens_BT[batch.documents_BT == number]
        assert tokens.tolist() == source.tokens[start + first : start + end].tolist()


def test_the_fingerprint_covers_plan_and_data_and_not_the_order_of_sources(make_source: Make) -> None:
    text, chat = make_source("text", [30, 40]), make_source("chat", [20, 20], form="chat")
    phases = [PhasePlan("all", 4)]
    order = Order({"text": text, "chat": chat}, phases, 2, 64, 1)
    turned = Order({"chat": chat, "text": text}, phases, 2, 64, 1)
    assert order.fingerprint == turned.fingerprint
    assert all(equal(order.batch(step), turned.batch(step)) for step in range(4))
    others = [
        Order({"text": make_source("text", [30, 41]), "chat": chat}, phases, 2, 64, 1),
        Order({"text": text, "chat": chat}, [PhasePlan("all", 5, max_epochs={"text": 9})], 2, 64, 1),
        Order({"text": text, "chat": chat}, [PhasePlan("all", 6, max_epochs={"text": 9})], 2, 64, 1),
        Order({"text": text, "chat": chat}, [PhasePlan("all", 3), PhasePlan("more", 1)], 2, 64, 1),
        Order({"text": text, "chat": chat}, phases, 2, 64, 2),
        Order({"text": text, "chat": chat}, phases, 2, 32, 1),
        Order({"text": text, "chat": chat}, [PhasePlan("all", 4, {"text": 1.0})], 2, 64, 1),
    ]
    assert len({order.fingerprint, *(other.fingerprint for other in others)}) == 8


@pytest.mark.parametrize("mixture", [None, {"text": 2.0, "chat": 1.0}])
def test_more_steps_of_one_mixture_begin_as_the_fewer(make_source: Make, mixture: dict | None) -> None:
    """So a checkpoint of a shorter plan says that it is of this order, and it is."""
    sources = {"text": make_source("text", [30, 40, 90]), "chat": make_source("chat", [20, 20, 33], form="chat")}
    before = [PhasePlan("first", 3, {"text": 1.0})]
    short, long = (Order(sources, [*before, PhasePlan("rest", steps, mixture)], 4, 64, 1) for steps in (5, 500))
    assert short.fingerprint == long.fingerprint
    assert all(equal(short.batch(step), long.batch(step)) for step in range(8))
