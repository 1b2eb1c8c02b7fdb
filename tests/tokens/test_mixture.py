"""Shares hold in every window, and names in mixtures are understood or refused."""

from collections.abc import Callable

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.tokens.mixture import SMALLEST_BLOCK, deal, rows_per_block, token_shares
from diglot.tokens.shards import TokenSource

counts = st.lists(st.integers(1, 60), min_size=1, max_size=9)


@given(rows=counts)
def test_after_any_number_of_rows_each_source_is_within_one_row_of_its_share(rows: list[int]) -> None:
    slots = deal(np.array(rows))
    assert np.array_equal(np.bincount(slots, minlength=len(rows)), rows)
    twice = np.concatenate([slots, slots])  # blocks follow each other
    for source, count in enumerate(rows):
        seen = np.cumsum(twice == source)
        planned = np.arange(1, len(twice) + 1) * count / len(slots)
        assert np.abs(seen - planned).max() < 1


@examples(50)
@given(
    weights=st.lists(st.floats(0.001, 1), min_size=1, max_size=8),
    efficiency=st.lists(st.floats(0.3, 1), min_size=8, max_size=8),
)
def test_rows_come_within_one_row_of_the_shares_of_tokens(weights: list[float], efficiency: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    tokens_per_row = 256 * np.array(efficiency[: len(weights)])
    rows = rows_per_block(shares, tokens_per_row)
    block = rows.sum()
    assert block >= SMALLEST_BLOCK
    wanted = shares / tokens_per_row / (shares / tokens_per_row).sum() * block
    assert np.abs(rows - wanted).max() <= 1
    assert rows.min() >= 1


def test_a_share_below_a_row_still_gets_one() -> None:
    rows = rows_per_block(np.array([1 - 3e-6, 1e-6, 1e-6, 1e-6]), np.full(4, 256.0))
    assert rows[1:].tolist() == [1, 1, 1]
    assert rows.sum() == 16384


@pytest.fixture
def sources(make_source: Callable[..., TokenSource]) -> dict[str, TokenSource]:
    made = [
        make_source("wiki", [300], language="en"),
        make_source("books", [100], language="en"),
        make_source("pairs", [500], language="en", domain="parallel"),
        make_source("arabic", [200], language="ar"),
        make_source("chat", [100], form="chat", language="ar"),
    ]
    return {source.name: source for source in made}


def test_without_a_mixture_shares_go_by_size(sources: dict[str, TokenSource]) -> None:
    shares = token_shares(None, sources, "all")
    assert shares == {"wiki": 0.25, "books": 1 / 12, "pairs": 5 / 12, "arabic": 1 / 6, "chat": 1 / 12}


def test_a_language_stands_for_its_text_by_size(sources: dict[str, TokenSource]) -> None:
    shares = token_shares({"en": 2, "ar": 1, "chat": 1}, sources, "all")
    assert shares == {"wiki": 0.375, "books": 0.125, "arabic": 0.25, "chat": 0.25}


def test_a_source_that_is_named_is_not_in_its_languages_share(sources: dict[str, TokenSource]) -> None:
    assert token_shares({"en": 0.5, "wiki": 0.5}, sources, "all") == {"wiki": 0.5, "books": 0.5}


def test_an_unknown_name_is_refused_with_what_there_is(sources: dict[str, TokenSource]) -> None:
    with pytest.raises(UserError, match=r"phase 'decay'.*'fr'.*Sources: wiki, books.*Languages: ar, en"):
        token_shares({"fr": 1.0}, sources, "decay")
