import pytest
import tokenizer_corpora as corpora
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.tokenizer.sample import SLICE, Sample, _slices, texts_to_measure, unimax


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """900 documents of English and 100 of Arabic (twice the bytes each)."""
    documents = [*(("en", f"{n:0100}") for n in range(900)), *(("ar", "ب" * 97 + f"{n:06}") for n in range(100))]
    return corpora.write_corpus(tmp_path_factory.mktemp("corpus"), documents)


def bytes_of(sample: Sample) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for language, text, times in sample:
        sizes[language] = sizes.get(language, 0) + times * len(text.encode())
    return sizes


def test_languages_are_sampled_by_share_to_the_alpha(corpus):
    english, arabic = 900 * 100, 100 * 200
    sizes = bytes_of(Sample([corpus], None, 40_000, 0.3, "seed"))
    ratio = (english / arabic) ** 0.3
    assert sum(sizes.values()) == pytest.approx(40_000, rel=0.1)
    assert sizes["en"] / sizes["ar"] == pytest.approx(ratio, rel=0.2)


def test_a_language_owed_more_than_it_has_is_repeated(corpus):
    sample = Sample([corpus], None, 10**9, 0.0, "seed")
    sizes = bytes_of(sample)
    assert sample.bytes == {"ar": 55_000, "en": 55_000}
    assert sizes["ar"] == pytest.approx(55_000, rel=0.1)
    times = {times for language, _, times in sample if language == "ar"}
    assert times == {2, 3}


def test_unimax_is_even_but_repeats_little(corpus):
    """English 90,000 bytes, Arabic 20,000: 55,000 each would read Arabic 2.75 times."""
    assert Sample([corpus], None, 10**9, 0.3, "seed", max_repeats=4).bytes == {"ar": 55_000, "en": 55_000}
    sample = Sample([corpus], None, 10**9, 0.3, "seed", max_repeats=2)
    assert sample.bytes == {"ar": 40_000, "en": 70_000}
    assert {times for language, _, times in sample if language == "ar"} == {2}
    assert Sample([corpus], None, 30_000, 0.3, "seed", max_repeats=1).bytes == {"ar": 15_000, "en": 15_000}


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**6), min_size=1),
    st.integers(1, 10**7),
    st.integers(1, 9),
)
def test_unimax_spends_the_budget_and_no_language_gets_more_than_a_larger_one(sizes, budget, max_repeats):
    parts = unimax(sizes, budget, max_repeats)
    assert sum(parts.values()) == pytest.approx(min(budget, max_repeats * sum(sizes.values())))
    for language, size in sizes.items():
        assert parts[language] <= max_repeats * size + 1e-6
        for other in sizes:
            if parts[other] > parts[language] + 1e-6:  # only because this one has no more to give
                assert parts[language] == pytest.approx(max_repeats * size)


def test_everything_is_read_once_where_all_fits_and_alpha_is_one(corpus):
    assert bytes_of(Sample([corpus], None, 10**9, 1.0, "seed")) == {"en": 90_000, "ar": 20_000}


def test_the_seed_chooses_and_the_order_of_corpora_does_not(corpus, tmp_path):
    other = corpora.write_corpus(tmp_path / "other", [("id", f"kata {n:0100}") for n in range(100)])

    def chosen(corpora, seed):
        return sorted(text for _, text, _ in Sample(corpora, None, 30_000, 0.3, seed))

    assert chosen([corpus, other], "a") == chosen([other, corpus], "a") != chosen([corpus, other], "b")


def test_bilingual_documents_are_left_out_unless_there_is_nothing_else(corpus, tmp_path):
    parallel = corpora.write_corpus(
        tmp_path / "parallel", [("en", "English: cat\nFrench: chat"), ("fr", "French: chat")], domain="parallel"
    )
    texts = {text for _, text, _ in Sample([corpus, parallel], ["en", "fr"], 10**9, 1.0, "seed")}
    assert "French: chat" in texts
    assert "English: cat\nFrench: chat" not in texts


def test_slices_join_to_the_text():
    text = ("word " * 30_000) + "x" * (2 * SLICE) + "\n\nend"
    parts = list(_slices(text))
    assert "".join(parts) == text
    assert max(map(len, parts)) <= SLICE
    assert parts[0].endswith(" ")


def test_held_out_text_is_preferred_for_measuring(tmp_path):
    corpus = corpora.write_corpus(tmp_path / "c", [("en", "kept"), ("ar", "بقي")], [("en", "held out")])
    assert texts_to_measure([corpus], "en", 10**6) == ("heldout", ["held out"])
    assert texts_to_measure([corpus], "ar", 10**6) == ("documents", ["بقي"])
    assert texts_to_measure([corpus], "fr", 10**6) == ("documents", [])


def test_an_empty_corpus_is_refused(tmp_path):
    with pytest.raises(UserError, match="no documents"):
        Sample([corpora.artifact(tmp_path, "corpus")], None, 1000, 0.3, "seed")
