"""Held-out batches: exact bytes, fixed documents, and small inputs at the edges."""

from collections.abc import Callable

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from diglot.tokens.packing import IGNORED, _best_fit, heldout_batches, pack
from diglot.tokens.shards import TokenSource

Make = Callable[..., TokenSource]


@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=30),
    sequence_length=st.integers(2, 50),
    max_tokens=st.integers(1, 600),
)
def test_held_out_text_is_read_by_whole_documents_and_its_bytes_are_theirs(
    make_source: Make, lengths: list[int], sequence_length: int, max_tokens: int
) -> None:
    longest = max(sequence_length, max_tokens // 10)  # longer ones are cut: see below
    source = make_source("text", [min(length, longest) for length in lengths])
    batches = list(heldout_batches(source, max_tokens, sequence_length, 3))
    predicted = np.concatenate([batch.targets_BT[batch.targets_BT != IGNORED] for batch in batches])
    assert len(set(predicted.tolist())) == len(predicted)
    document_of = np.repeat(np.arange(source.num_documents), source.lengths)
    documents = np.unique(document_of[predicted - 10])
    assert len(predicted) == int((source.lengths[documents] - 1).sum())
    assert sum(batch.bytes for batch in batches) == int(source.bytes[documents].sum())
    tokens = int(source.lengths[documents].sum())
    assert tokens >= min(max_tokens, source.num_tokens)
    assert tokens < max_tokens + 40  # and no more than the document that reaches the limit


@pytest.mark.parametrize("form", ["chat", "pairs"])
def test_held_out_conversations_that_do_not_fit_are_in_neither_sum(make_source: Make, form: str) -> None:
    source = make_source("chat", [10, 20, 30, 90, 12, 14], form=form)
    batches = list(heldout_batches(source, 1000, 64, 2))
    assert source.targets is not None
    kept = [0, 1, 2, 4, 5] if form == "chat" else [0, 1, 4, 5]
    assert sum(batch.bytes for batch in batches) == int(source.bytes[kept].sum())
    wanted = sum(int(source.targets[source.offsets[number] : source.offsets[number + 1]].sum()) for number in kept)
    assert sum(int((batch.targets_BT != IGNORED).sum()) for batch in batches) == wanted


def test_no_batch_has_empty_rows(make_source: Make) -> None:
    source = make_source("text", [33, 50, 20])
    batches = list(heldout_batches(source, 1000, 16, 4))
    assert [len(batch.tokens_BT) for batch in batches] == [4, 3]
    assert all((batch.documents_BT >= 0).any(axis=1).all() for batch in batches)


@given(st.lists(st.integers(2, 3000), min_size=1, max_size=30), st.integers(1, 4000), st.sampled_from([16, 128]))
@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_long_documents_are_cut_and_their_bytes_with_them(make_source, lengths, max_tokens, sequence_length):
    source = make_source("web", lengths)
    longest = max(sequence_length, max_tokens // 10)
    batches = list(heldout_batches(source, max_tokens, sequence_length, 4))
    read = sum(int((batch.documents_BT >= 0).sum()) for batch in batches)
    assert read <= max_tokens + longest
    per_byte = 3 * sum(min(length, longest) for length in lengths)
    found = sum(batch.bytes for batch in batches)
    assert found <= per_byte + len(batches)
    if sum(min(length, longest) for length in lengths) < max_tokens:  # all of them were read
        assert abs(found - per_byte) <= len(batches)
        predicted = sum(int((batch.targets_BT != IGNORED).sum()) for batch in batches)
        # A cut document's last token predicts the one behind it, but for the last of the stream.
        expected = sum(min(length, longest) - (length <= longest) for length in lengths)
        assert expected - 1 <= predicted <= expected


@given(st.lists(st.integers(1, 64), max_size=200), st.integers(64, 128))
@examples(60)
def test_every_unit_has_a_row_that_it_fits_into(lengths: list[int], capacity: int) -> None:
    sizes = np.array(lengths, np.int64)
    rows = pack(sizes, capacity)
    filled = np.bincount(rows, weights=sizes) if len(rows) else np.zeros(0)
    assert len(rows) == len(lengths)
    assert (filled > 0).all()
    assert (filled <= capacity).all()
    assert len(filled) <= int(_best_fit(sizes, capacity).max(initial=-1)) + 1
    assert np.array_equal(rows, pack(sizes, capacity))


def test_rows_of_units_much_shorter_than_them_are_as_few_as_can_be() -> None:
    """As long as questions about texts are: best fit takes 1.7% more, for ten fit into a row and eleven do not."""
    lengths = np.random.default_rng(0).normal(189, 25, 2600).astype(np.int64).clip(60, 400)
    least = -(-int(lengths.sum()) // 2048)
    assert int(pack(lengths, 2048).max()) + 1 == least
    assert int(_best_fit(lengths, 2048).max()) + 1 > least
