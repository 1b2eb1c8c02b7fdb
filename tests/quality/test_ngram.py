"""N-gram models: the smoothing against a plain reference, the files, the stage, and lmplz's own figures."""

import gzip
import hashlib
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from quality_corpora import corpus, document, shuffled

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.quality.arpa import guess_normalization, read_arpa, write_arpa
from diglot.quality.kneser_ney import train
from diglot.quality.ngram import rank, run
from diglot.quality.normalization import Normalization, normalize
from diglot.quality.reference_text import separation
from diglot.quality.trie import Trie, open_trie
from diglot.recipe.quality import TrainNgram

NORMALIZATION = Normalization()
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def texts_of(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def trained(tmp: Path, texts: list[str], order: int = 3, name: str = "model", **options) -> Trie:
    folder, scratch = tmp / name, tmp / f"{name}-scratch"
    folder.mkdir()
    scratch.mkdir()
    train([texts_of(texts)], folder, scratch, order=order, normalization=NORMALIZATION, **options)
    assert not list(scratch.iterdir())
    return open_trie(folder)


def made_up(number: int = 150, seed: int = 0) -> list[str]:
    random_ = random.Random(seed)
    words = [f"w{letter}" for letter in LETTERS] + [f"v{letter}" for letter in LETTERS]
    weights = [1 / (place + 1) for place in range(len(words))]
    return [" ".join(random_.choices(words, weights, k=random_.randrange(1, 14))) for _ in range(number)]


class Reference:
    """Interpolated modified Kneser–Ney, written from Chen and Goodman (1998) as plainly as can be.

    Pruning as KenLM does it: the counts of what is left out go to the back-off weight.
    """

    def __init__(self, sentences: list[list[str]], order: int, prune: int = 0):
        self.order = order
        padded = [["<s>", *words, "</s>"] for words in sentences]
        raw: list[Counter] = [Counter() for _ in range(order + 1)]
        for words in padded:
            for length in range(1, order + 1):
                for begin in range(len(words) - length + 1):
                    raw[length][tuple(words[begin : begin + length])] += 1
        self.adjusted: list[dict] = [{}] * (order + 1)
        for length in range(1, order + 1):
            before = defaultdict(set)
            for gram in raw[length + 1] if length < order else []:
                before[gram[1:]].add(gram[0])
            self.adjusted[length] = {
                gram: count if length == order or gram[0] == "<s>" else len(before[gram])
                for gram, count in raw[length].items()
            }
        self.adjusted[1][("<s>",)] = 0
        self.kept = [set()] + [
            {gram for gram, count in raw[length].items() if length <= 2 or count > prune}
            for length in range(1, order + 1)
        ]
        self.vocabulary = len(raw[1]) + 1 - 1  # with <unk>, without <s>
        self.discounts = [self._discounts(self.adjusted[length].values()) for length in range(order + 1)]
        self.contexts: list[dict] = [defaultdict(list) for _ in range(order + 1)]
        for length in range(1, order + 1):
            for gram, count in self.adjusted[length].items():
                self.contexts[length][gram[:-1]].append((gram, count))

    @staticmethod
    def _discounts(counts) -> list[float]:
        tally = Counter(counts)
        if not (tally[1] and tally[2] and tally[3]):
            return [0, 0.5, 1, 1.5]
        share = tally[1] / (tally[1] + 2 * tally[2])
        found = [0.0] + [n - (n + 1) * share * tally[n + 1] / tally[n] for n in (1, 2, 3)]
        return found if all(0 <= found[n] <= n for n in (1, 2, 3)) else [0, 0.5, 1, 1.5]

    def probability(self, word: str, context: tuple[str, ...]) -> float:
        length = len(context) + 1
        seen = self.contexts[length].get(context)
        lower = 1 / self.vocabulary if not context else self.probability(word, context[1:])
        if not seen:
            return lower
        total = sum(count for _, count in seen)
        discounts = self.discounts[length]
        mass = sum(discounts[min(count, 3)] if gram in self.kept[length] else count for gram, count in seen)
        gram = (*context, word)
        own = 0.0
        if gram in self.kept[length] and self.adjusted[length].get(gram):
            own = self.adjusted[length][gram] - discounts[min(self.adjusted[length][gram], 3)]
        return own / total + mass / total * lower

    def log10(self, words: list[str]) -> float:
        padded, total = ["<s>", *words, "</s>"], 0.0
        for at in range(1, len(padded)):
            total += math.log10(self.probability(padded[at], tuple(padded[max(0, at - self.order + 1) : at])))
        return total


@pytest.mark.parametrize("prune", [0, 1])
@pytest.mark.parametrize("order", [2, 3, 5])
def test_probabilities_are_those_of_a_plain_reference(tmp_path, order, prune):
    texts = made_up(400)
    trie = trained(tmp_path, texts, order, prune=prune)
    reference = Reference([text.split() for text in texts], order, prune)
    unseen = [*made_up(60, seed=1), "wa never wb", "never never", "we we we we we we"]
    totals, tokens = trie.score(texts_of(unseen))
    known = {word for text in texts for word in text.split()}
    expected = [reference.log10([w if w in known else "<unk>" for w in text.split()]) for text in unseen]
    np.testing.assert_allclose(totals, expected, rtol=2e-6)
    assert tokens.tolist() == [len(text.split()) + 1 for text in unseen]


def test_the_probabilities_of_all_words_sum_to_one(tmp_path):
    trie = trained(tmp_path, made_up(300), 3)
    words = trie.vocabulary.to_pylist()
    for context in ("wa ", "wb wc ", "vn wa "):
        following = [word for word in words if word not in ("<s>", "</s>", "<unk>")] + ["absent"]
        # Texts that do not end in a line end are scored without </s>.
        totals, _ = trie.score_normalized(texts_of([f"{context}{word} " for word in following]))
        before, _ = trie.score_normalized(texts_of([context]))
        whole, _ = trie.score_normalized(texts_of([context.strip() + "\n"]))
        assert (10 ** (totals - before[0])).sum() + 10 ** (whole[0] - before[0]) == pytest.approx(1, abs=1e-5)


def test_memory_changes_nothing(tmp_path):
    texts = made_up(2000)
    digests = set()
    for memory in (10**9, 100_000, 377_700):
        trained(tmp_path, texts, 4, f"m{memory}", memory=memory)
        files = sorted((tmp_path / f"m{memory}").iterdir())
        digests.add(hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest())
    assert len(digests) == 1


def test_how_texts_are_batched_changes_nothing(tmp_path):
    texts = made_up(300)
    for name, batches in (("one", [texts_of(texts)]), ("many", [texts_of([text]) for text in texts])):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}-s").mkdir()
        train(batches, tmp_path / name, tmp_path / f"{name}-s", order=3, normalization=NORMALIZATION)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "many" / file.name).read_bytes()


def test_arpa_round_trip(tmp_path):
    trie = trained(tmp_path, made_up(), 4)
    write_arpa(trie, tmp_path / "model.arpa.gz")
    write_arpa(trie, tmp_path / "model.arpa")
    assert gzip.decompress((tmp_path / "model.arpa.gz").read_bytes()) == (tmp_path / "model.arpa").read_bytes()
    back = read_arpa(tmp_path / "model.arpa.gz")
    assert back.counts == trie.counts
    assert back.vocabulary.to_pylist() == trie.vocabulary.to_pylist()
    for name in ("words", "suffixes", "beginnings"):
        np.testing.assert_array_equal(getattr(back, name), getattr(trie, name))
    np.testing.assert_allclose(back.probabilities, trie.probabilities, atol=2e-7)
    texts = texts_of(made_up(50, seed=2))
    np.testing.assert_allclose(back.perplexity(texts), trie.perplexity(texts), rtol=1e-5)


def test_kenlm_reads_our_arpa_and_agrees(tmp_path):
    kenlm = pytest.importorskip("kenlm")
    trie = trained(tmp_path, made_up(500), 5)
    write_arpa(trie, tmp_path / "model.arpa")
    model = kenlm.Model(str(tmp_path / "model.arpa"))
    unseen = [*made_up(100, seed=3), "never wa wb"]
    totals, _ = trie.score(texts_of(unseen))
    np.testing.assert_allclose(totals, [model.score(text) for text in unseen], rtol=1e-5)


def test_a_model_of_srilm_without_all_suffixes(tmp_path):
    file = tmp_path / "foreign.arpa"
    file.write_text(
        "made by hand\n\n\\data\\\nngram 1=5\nngram 2=2\nngram 3=1\n\n\\1-grams:\n-1.0\t</s>\n-99\t<s>\t-0.5\n"
        "-0.7\tthe\t-0.4\n-0.9\tCat\t-0.3\n-1.2\tsat\n\n\\2-grams:\n-0.2 <s> the -0.1\n-0.3\tthe Cat\t-0.05\n\n"
        "\\3-grams:\n-1.5e-1\t<s> the Cat\n\n\\end\\\n"
    )
    trie = read_arpa(file)
    assert not trie.normalization.lower
    totals, tokens = trie.score(texts_of(["the Cat sat", "sat unseen"]))
    # <s> the | <s> the Cat | the Cat sat backs off twice | sat </s>
    assert totals[0] == pytest.approx(-0.2 - 0.15 + (-0.05 - 0.3 - 1.2) - 1.0)
    assert totals[1] == pytest.approx(-0.5 - 1.2 - 100 - 1.0)  # without <unk>: KenLM's -100
    assert tokens.tolist() == [4, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "no \\data\\ section"),
        ("\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n-1 a\n\n\\2-grams:\n-1 a b\n\n\\end\\\n", "line 9"),
        ("\\data\\\nngram 1=2\nngram 2=0\n\n\\1-grams:\n-1 a\n\n\\2-grams:\n\n\\end\\\n", "1 1-grams where"),
        ("\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\nx a\n\n", "line 6: not a probability"),
        ("\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n-1 a\n\n\\2-grams:\n-1 a a\n", "may be cut off"),
    ],
)
def test_a_broken_arpa_file_is_refused_with_its_line(tmp_path, text, said):
    file = tmp_path / "broken.arpa"
    file.write_text(text)
    with pytest.raises(UserError, match=r"broken\.arpa") as error:
        read_arpa(file)
    assert said in str(error.value)


@examples(60)
@given(st.data())
def test_cut_and_changed_arpa_files_never_crash(tmp_path_factory, data):
    tmp = tmp_path_factory.mktemp("arpa")
    whole = (
        b"\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1 <unk>\n-1 <s> -0.5\n-1 </s>\n-1 a -0.3\n\n"
        b"\\2-grams:\n-1 <s> a\n-0.5 a </s>\n\n\\end\\\n"
    )
    changed = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3)) if changed else 0):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    (tmp / "x.arpa").write_bytes(bytes(changed) or b"\n")
    try:
        read_arpa(tmp / "x.arpa")
    except UserError as error:
        assert "x.arpa" in str(error)


def test_normalization_is_guessed(tmp_path):
    def guess(words):
        return guess_normalization(texts_of(["<unk>", "<s>", "</s>", *words]), Path("m.arpa"))

    assert guess(["the", "cat", "0000", ","]) == Normalization()
    assert guess(["The", "cat", "1984", "it's"]) == Normalization(lower=False, zeros=False, split=False)
    assert guess(["a", "b", "中"]).characters
    with pytest.raises(UserError, match="SentencePiece"):
        guess(["▁the", "▁c", "at"])


@given(st.text(max_size=80), st.booleans())
@examples(200)
def test_normalising(text, characters):
    normalization = Normalization(characters=characters)
    (once,) = normalize(texts_of([text]), normalization).to_pylist()
    assert "  " not in once
    assert "\n\n" not in once
    assert once == "" or once.endswith("\n")
    assert not set(once) & set("123456789")
    assert all(line == line.strip(" ") for line in once.split("\n"))
    if characters:
        assert all(len(token) == 1 for line in once.split("\n") for token in line.split(" ") if line)
    else:
        assert normalize(texts_of([once]), normalization).to_pylist() == [once]


def test_normalising_words_and_characters():
    texts = texts_of(["Hello, World!\n\nIn 1984", "سَلاَمٌ عليكم، ١٢", "中文 abc。", ""])
    assert normalize(texts, Normalization()).to_pylist() == [
        "hello , world !\nin 0000\n", "سلام عليكم ، 00\n", "中 文 abc 。\n", "",
    ]  # fmt: skip
    assert normalize(texts[2:3], Normalization(characters=True)).to_pylist() == ["中 文 ▁ a b c 。\n"]


def stage(inputs: dict, output: Path, context: Context, **options):
    output.mkdir()
    return run(TrainNgram(**{"from": dict.fromkeys(inputs, "x"), **options}), Inputs(inputs), output, context)


def test_the_stage_tells_sentences_from_shuffled_words(tmp_path, context):
    random_ = random.Random(0)
    good = [("en", document("en", random_)) for _ in range(150)] + [("ar", document("ar", random_)) for _ in range(30)]
    bad = [("en", shuffled(document("en", random_), random_)) for _ in range(60)]
    inputs = {"corpus": [corpus(tmp_path / "good", good)], "negatives": [corpus(tmp_path / "bad", bad)]}
    summary = stage(inputs, tmp_path / "out", context, order=4, held_out_texts=15).languages
    assert set(summary) == {"ar", "en"}
    assert summary["en"].separation.auc > 0.98
    assert summary["en"].held_out == 15
    assert summary["ar"].separation is None  # no negatives in Arabic
    trie = open_trie(tmp_path / "out" / "en")
    held_out = np.load(tmp_path / "out" / "en" / "heldout.npy")
    ranks = rank(trie.perplexity(texts_of([bad[0][1], "", good[0][1]])), held_out)
    assert ranks[0] > 0.9
    assert np.isnan(ranks[1])
    assert 0 <= ranks[2] <= 1
    foreign = read_arpa(tmp_path / "out" / "en" / "model.arpa.gz")
    assert foreign.counts == trie.counts


def test_held_back_documents_are_not_trained_on(tmp_path, context):
    texts = [("en", f"the secret word is secret{LETTERS[place]}xyz today") for place in range(26)]
    summary = stage({"corpus": [corpus(tmp_path / "c", texts)]}, tmp_path / "out", context).languages["en"]
    assert summary.held_out == 2  # a tenth at most
    words = (tmp_path / "out" / "en" / "vocabulary.txt").read_text().split("\n")
    assert sum(word.endswith("xyz") for word in words) == 24


def test_held_out_documents_of_the_corpus_are_used(tmp_path, context):
    random_ = random.Random(0)
    good, held_out = ([("en", document("en", random_)) for _ in range(n)] for n in (40, 7))
    artifact = corpus(tmp_path / "c", good, held_out)
    summary = stage({"corpus": [artifact]}, tmp_path / "out", context).languages["en"]
    assert summary.held_out == 7


def test_too_little_text_is_said(tmp_path, context):
    artifact = corpus(tmp_path / "c", [("en", "one two three")] * 3)
    with pytest.raises(UserError, match="en: too few documents"):
        stage({"corpus": [artifact]}, tmp_path / "out", context)
    with pytest.raises(UserError, match="no document in th"):
        stage({"corpus": [artifact]}, tmp_path / "out2", context, languages=["th"])


def test_separation():
    assert separation(np.array([3.0, 4, 5]), np.array([0.0, 1, np.nan])).auc == 1
    half = separation(np.array([1.0, 1.0]), np.array([1.0]))
    assert half.auc == 0.5
    mixed = separation(np.array([1.0, 3, 4]), np.array([2.0, 0]))
    assert mixed.auc == pytest.approx(5 / 6, abs=1e-3)
    assert mixed.threshold == 1
    assert mixed.precision == 0.75
    assert mixed.recall == 1
    assert separation(np.zeros(0), np.ones(3)) is None
