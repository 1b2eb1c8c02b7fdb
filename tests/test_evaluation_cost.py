"""What evaluations cost: at most a stated share of the training, whatever its size."""

from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.load import Where, check, load_recipe
from diglot.recipe import Recipe
from diglot.recipe.evaluate import FEWEST_BYTES, MAX_BYTES, MOST_BYTES, Evaluate
from diglot.recipe.train import Train

RECIPES = sorted((Path(__file__).resolve().parent.parent / "recipes").glob("*.yaml"))
FORWARD = 1 / 3  # of a training step


def train(**settings) -> Train:
    return Train.model_validate({"from": {"model": "a", "tokens": "b"}, "steps": 10, **settings})


@given(
    steps=st.integers(1, 10**6),
    batch_size=st.integers(1, 4096),
    sequence_length=st.integers(8, 8192),
    evaluate_every=st.integers(1, 1000),
    sources=st.integers(1, 20),
)
@examples(200)
def test_evaluations_within_a_training_take_a_twentieth_of_it(
    steps, batch_size, sequence_length, evaluate_every, sources
):
    given = train(steps=steps, batch_size=batch_size, sequence_length=sequence_length, evaluate_every=evaluate_every)
    each = given.tokens_an_evaluation(sources)
    assert 1 <= each <= 50_000
    assert given.num_evaluations * given.tokens_of_indicators * FORWARD <= 0.02 * given.tokens
    if each > 1:
        together = sources * each + given.tokens_of_indicators
        assert given.num_evaluations * together * FORWARD <= 0.05 * given.tokens
    assert given.num_evaluations == len({0, steps, *range(evaluate_every, steps, evaluate_every)})


def test_a_given_number_is_taken():
    assert train(evaluate_tokens=10**9).tokens_an_evaluation(7) == 10**9
    assert train(indicator_tokens=10**9).tokens_of_indicators == 10**9
    # dpo measures pairs, and its 5% are theirs.
    assert train(objective="dpo").tokens_of_indicators == 0
    assert train(objective="dpo").tokens_an_evaluation(50) > train().tokens_an_evaluation(50)


def recipe(steps: int, **settings) -> Recipe:
    sources = {"web": {"path": "x", "languages": ["ar", "en"]}, "books": {"path": "y", "language": "en"}}
    evaluate = {"do": "evaluate", "from": {"model": "trained", "corpus": "corpus"}, **settings}
    stages = {
        "corpus": {"do": "curate", "sources": sources},
        "trained": {"do": "train", "from": {"model": "base", "tokens": "tokens"}, "steps": steps, "batch_size": 8, "sequence_length": 512},
        "before": {**evaluate, "from": {"model": "base", "corpus": ["corpus"]}},
        "after": evaluate,
    }  # fmt: skip
    return check(Recipe, {"name": "test", "stages": stages}, Where("r"))


@pytest.mark.parametrize("steps", [1, 44, 1000, 30_000, 10**6])
def test_evaluations_after_a_training_take_a_twentieth_of_it(steps):
    found = recipe(steps).stages
    size = found["after"].max_bytes
    assert size == found["before"].max_bytes  # the same text, or they could not be compared
    cost = 2 * 3 * size / 3 * FORWARD  # two evaluations of three sources, in tokens
    if FEWEST_BYTES < size < MOST_BYTES:
        assert 0.02 < cost / (steps * 8 * 512) <= 0.05
    assert FEWEST_BYTES <= size <= MOST_BYTES


def test_what_is_given_stays_and_what_has_no_training_has_a_default():
    assert recipe(1000, max_bytes=5).stages["after"].max_bytes == 5
    alone = {"name": "t", "stages": {"e": {"do": "evaluate", "from": {"model": "m", "corpus": "c"}}}}
    assert check(Recipe, alone, Where("r")).stages["e"].max_bytes == MAX_BYTES
    again = check(Recipe, recipe(1000).model_dump(mode="json", by_alias=True), Where("r"))
    assert again == recipe(1000)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_all_evaluations_of_our_recipes_read_as_much(file):
    """None is given a number of its own: what is before a training could not be compared with what is after it."""
    loaded, _ = load_recipe(file)
    sizes = {stage.max_bytes for stage in loaded.stages.values() if isinstance(stage, Evaluate)}
    assert len(sizes) <= 1
    assert sizes <= {2**power for power in range(14, 20)}
