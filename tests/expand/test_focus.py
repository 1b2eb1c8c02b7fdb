"""The parts of FOCUS against their definitions, and a text in which a new word is used as an old one."""

import numpy as np
import pytest
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from model_builders import inputs, save, transformers_model, vocabulary, write_corpus, write_tokenizer

from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.expand import focus
from diglot.expand.focus import compress, count_contexts, focus_weights, positive_information, sparsemax
from diglot.expand.initialization import Alignment
from diglot.expand.stage import run
from diglot.model.huggingface import load_decoder
from diglot.recipe.expand import Expand


def silent(done, total, unit, note=""):
    pass


def project(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex, by trying every size of its support."""
    order = np.sort(scores)[::-1]
    for size in range(1, len(scores) + 1):
        threshold = (order[:size].sum() - 1) / size
        if size == len(scores) or order[size] <= threshold:
            return np.maximum(scores - threshold, 0)
    raise AssertionError


@given(arrays.arrays(np.float32, st.integers(1, 12), elements=st.floats(-1, 1, width=32)))
def test_sparsemax_is_the_projection_onto_the_simplex(scores):
    places, weights = sparsemax(torch.from_numpy(scores)[None])
    found = torch.zeros(len(scores)).scatter_(0, places[0], weights[0])
    np.testing.assert_allclose(found, project(scores.astype(np.float64)), atol=1e-5)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 5000])
def test_sparsemax_of_many_equal_scores_uses_them_all(size):
    _, weights = sparsemax(torch.full((2, size), 0.3))
    assert weights.shape == (2, size)
    torch.testing.assert_close(weights, torch.full((2, size), 1 / size), atol=1e-6, rtol=1e-3)


@given(st.lists(st.lists(st.integers(0, 9), max_size=15), min_size=1, max_size=5))
@examples(40)
def test_contexts_are_counted_on_both_sides(documents):
    sample = [np.array(ids, dtype=np.int64) for ids in documents]
    totals = np.bincount(np.concatenate(sample), minlength=10)
    frequent = np.flatnonzero(totals >= 2)
    if not len(frequent):
        return
    counts = count_contexts(sample, totals, frequent, silent)
    contexts = sorted(range(10), key=lambda id: (-totals[id], id))[: len(frequent)]
    expected = np.zeros((len(frequent), len(contexts)), dtype=int)
    for ids in documents:
        for here, token in enumerate(ids):
            for there in range(max(0, here - focus.WINDOW), min(len(ids), here + focus.WINDOW + 1)):
                if there != here and token in frequent and ids[there] in contexts:
                    expected[list(frequent).index(token), contexts.index(ids[there])] += 1
    np.testing.assert_array_equal(counts, expected)


def test_information_and_vectors_follow_their_definitions(monkeypatch):
    counts = np.random.default_rng(0).poisson(1.0, (40, 12)).astype(np.uint32)
    counts[5] = 0
    smoothed = counts.sum(0) ** focus.SMOOTHING
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = counts.sum(1, keepdims=True) * (smoothed / smoothed.sum())
        expected = np.where(counts > 0, np.maximum(np.log(counts / chance), 0), 0)
    monkeypatch.setattr(focus, "CHUNK", 7)
    monkeypatch.setattr(focus, "DIMENSIONS", 5)
    information = positive_information(counts.copy())
    np.testing.assert_allclose(information, expected, atol=1e-5)
    left, values, _ = np.linalg.svd(expected)
    turned = left[:, :5] * np.sqrt(values[:5])
    cosines = compress(information).double() @ compress(information).double().T
    length = np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(cosines, (turned / length) @ (turned / length).T, atol=1e-4)


def used_alike(new: int, old: int, others: range, generator: np.random.Generator) -> list[np.ndarray]:
    """Documents in which two tokens stand in the same two surroundings, and others in others."""
    sample = []
    for number in range(400):
        topic = generator.integers(0, 10, 6)
        if number % 2:
            sample.append(np.array([*topic[:3], [new, old][number // 2 % 2], *topic[3:]]))
        else:
            sample.append(np.array([*(10 + topic[:3]), generator.choice(others), *(10 + topic[3:])]))
    return sample


@pytest.mark.parametrize("spelled", [True, False])
def test_a_new_token_is_made_of_the_old_one_that_is_used_alike(spelled):
    sample = used_alike(30, 25, range(20, 25), np.random.default_rng(0))
    sub_tokens = {30: [100], 31: [101]} if spelled else {31: [101]}
    alignment = Alignment([(id + 100, id) for id in range(30)], sub_tokens, [], [] if spelled else [30])
    row_weights = focus_weights(sample, alignment, 32, silent)
    assert list(row_weights) == [30]  # 31 is not in the text
    weights = dict(zip(row_weights[30].old_ids.tolist(), row_weights[30].weights.tolist()))
    assert max(weights, key=weights.__getitem__) == 125
    assert sum(weights.values()) == pytest.approx(1)
    assert weights[125] > 5 * sum(weights.get(id, 0) for id in range(120, 125))


def test_the_number_of_threads_does_not_show():
    generator = np.random.default_rng(1)
    sample = [generator.integers(0, 900, 300) ** 2 // 900 for _ in range(60)]
    alignment = Alignment([(id, id) for id in range(0, 900, 2)], {id: [0] for id in range(1, 900, 2)}, [], [])
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(focus_weights(sample, alignment, 900, silent))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for id, mixture in other.items():
            assert np.array_equal(mixture.old_ids, found[0][id].old_ids)
            assert np.array_equal(mixture.weights, found[0][id].weights)


def test_the_stage_reads_the_corpus_and_repeats_itself(tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    tokenizer = write_tokenizer(tmp_path / "tokenizer", [("t", "o"), ("w", "n")], new_letters="k")
    text = "the ceto wnhe wnal to lor a dot wn the ll "
    corpus = write_corpus(tmp_path / "corpus", {"en": [text * 3, text * 5], "ar": ["to the wn"]})
    roles = inputs(model=model, tokenizer=tokenizer, corpus=corpus)
    stage = {"do": "expand", "initialization": "focus", "from": {"corpus": "corpus"}}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        summary = run(Expand.model_validate(stage), roles, tmp_path / name, context)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    assert summary.focus.tokens_by_similarity == 2
    old, new = vocabulary(model), vocabulary(tokenizer)
    before = load_decoder(model).embedding.weight
    after = load_decoder(tmp_path / "a").embedding.weight
    assert torch.equal(after[[new[token] for token in old]], before[list(old.values())])
    mean = before[[old["t"], old["o"]]].mean(0)
    assert not torch.allclose(after[new["to"]], mean)
    unseen = before[[old[f"<0x{byte:02X}>"] for byte in b"k"]].mean(0)
    torch.testing.assert_close(after[new["k"]], unseen)  # not in the text: the mean of its sub-tokens


def test_without_text_there_is_a_remedy(tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    tokenizer = write_tokenizer(tmp_path / "tokenizer", [("t", "o")])
    (tmp_path / "out").mkdir()
    stage = {"do": "expand", "initialization": "focus", "from": {"corpus": "corpus"}}
    with pytest.raises(UserError, match="give a corpus"):
        run(Expand.model_validate(stage), inputs(model=model, tokenizer=tokenizer), tmp_path / "out", context)
    empty = write_corpus(tmp_path / "empty", {"en": [""]})
    with pytest.raises(UserError, match="no documents to learn new rows from"):
        run(
            Expand.model_validate(stage),
            inputs(model=model, tokenizer=tokenizer, corpus=empty),
            tmp_path / "out",
            context,
        )
