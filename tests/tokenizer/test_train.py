import hashlib
import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import tokenizer_corpora as corpora
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers

from diglot.base.errors import UserError
from diglot.base.summaries.tokenizer import Reachable, RoundTrip
from diglot.tokenizer import byte_fallback, byte_letters, byte_level, train
from diglot.tokenizer.folder import load_tokenizer, pieces, tokenizer_hash
from diglot.tokenizer.proofs import round_trip_failures, unreachable_tokens
from diglot.tokenizer.special import SPECIAL_TOKENS

AWKWARD = [
    "",
    " ",
    "  a",
    "a ",
    "▁",
    "a▁ b",
    "\ue000",
    "\ue0000▁\ue0001",
    "<s></s><|end|><0x41><unk>",
    "a\r\n\tb\x00",
    "\u200b\ufeff",
    "e\u0301é",
    "𝔘👩‍👩‍👧",
    "كتاب ١٢ ،",
]


FORMS = ("byte-fallback", "byte-level")


@pytest.fixture(params=FORMS)
def kind(request):
    return request.param


@pytest.fixture
def trained(corpus, train_tokenizer, kind):
    """A tokenizer of either kind: the tests that take it hold for both."""
    return train_tokenizer(corpus, vocabulary_size=600, kind=kind)


@pytest.fixture
def characters(corpus, train_tokenizer):
    """A tokenizer with byte fallback."""
    return train_tokenizer(corpus, vocabulary_size=600)


def test_ids_are_in_the_order_of_the_contract(trained, kind):
    artifact, summary = trained
    tokenizer = load_tokenizer(artifact.path)
    assert tokenizer.get_vocab_size() == summary.vocabulary_size == 600
    names = [tokenizer.id_to_token(number) for number in range(600)]
    assert names[:8] == list(SPECIAL_TOKENS)
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    assert names[8:264] == (bytes_ if kind == "byte-fallback" else list(byte_letters.BYTE_LETTERS))
    assert len(set(names)) == 600
    assert (summary.kind, summary.chat_format) == (kind, "diglot")


def test_transformers_loads_it_with_the_same_ids(trained):
    from transformers import AutoTokenizer

    artifact, _ = trained
    automatic, tokenizer = AutoTokenizer.from_pretrained(artifact.path), load_tokenizer(artifact.path)
    for text in [*AWKWARD[:8], *AWKWARD[9:], *corpora.ENGLISH, *corpora.ARABIC, *corpora.INDONESIAN]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert automatic(text)["input_ids"] == [1, *ids]
        assert automatic.decode([1, *ids], skip_special_tokens=True) == text
    assert (automatic.bos_token_id, automatic.eos_token_id, automatic.pad_token_id) == (1, 2, 3)
    assert len(automatic) == 600


def test_saving_through_transformers_keeps_the_hash(trained, tmp_path):
    from transformers import AutoTokenizer

    artifact, _ = trained
    AutoTokenizer.from_pretrained(artifact.path).save_pretrained(tmp_path / "saved")
    assert tokenizer_hash(tmp_path / "saved") == tokenizer_hash(artifact.path)


def test_decoding_undoes_encoding_on_any_text(trained):
    tokenizer = load_tokenizer(trained[0].path)
    assert round_trip_failures(tokenizer, AWKWARD) == []

    text = st.text(st.characters(exclude_categories=["Cs"])) | st.text("▁\ue000 01a\n<s>|ا", max_size=12)

    @given(st.lists(text, max_size=5))
    @examples(200)
    def check(texts):
        assert round_trip_failures(tokenizer, texts) == []

    check()


def test_pieces_never_cross_words(characters):
    tokenizer = load_tokenizer(characters[0].path)
    assert pieces(tokenizer, "12") == ["1", "2"]
    for number in range(byte_fallback.RESERVED, 600):
        piece = tokenizer.id_to_token(number)
        body = piece.lstrip("▁")
        kinds = {"letter" if c.isalpha() else "digit" if c.isdigit() else "other" for c in body}
        assert len(kinds) <= 1, piece
        assert "▁" not in body, piece
        assert not (kinds == {"digit"} and len(piece) > 1), piece


def test_proofs_and_measures_are_reported(trained):
    _, summary = trained
    assert summary.proofs.reachable == Reachable(passed=True, unreachable=0)
    assert summary.proofs.round_trip == RoundTrip(passed=True, documents=60)
    assert set(summary.fertility) == {"en", "ar", "id"}
    for language, measures in summary.measures.items():
        assert measures.measured_on == "heldout"
        assert 1 < summary.fertility[language] < 4
    for example in summary.examples["ar"]:
        assert "".join(example.after).replace("▁", " ") == example.text
    for language, points in summary.curve.items():
        merges, fertility = zip(*points, strict=True)
        assert (merges[0], merges[-1]) == (0, 600 - 264 - summary.alphabet)
        assert sorted(merges) == list(merges)
        assert sorted(fertility, reverse=True) == list(fertility)
        assert fertility[-1] == pytest.approx(summary.fertility[language], abs=1e-3)


def test_merges_are_those_of_the_library(corpus, train_tokenizer, kind):
    """An oracle: the library's own trainer learns as many merges from the same words, and text costs the same."""
    artifact, _ = train_tokenizer(corpus, vocabulary_size=700, kind=kind, alpha=1.0)
    ours = load_tokenizer(artifact.path)
    merges = json.loads(ours.to_str())["model"]["merges"]
    theirs = Tokenizer(models.BPE())
    if kind == "byte-level":
        theirs.pre_tokenizer = byte_level.pre_tokenizer()
        alphabet = list(byte_letters.BYTE_LETTERS)
    else:
        theirs.normalizer, theirs.pre_tokenizer = byte_fallback.normalizer(), byte_fallback.word_splitter()
        first = len(ours.get_vocab()) - len(merges)
        alphabet = [ours.id_to_token(number) for number in range(byte_fallback.RESERVED, first)]
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + len(merges), initial_alphabet=alphabet, limit_alphabet=len(alphabet),
        max_token_length=16, min_frequency=2, show_progress=False,
    )  # fmt: skip
    texts = pq.read_table(corpus.path / "documents")["text"].to_pylist()
    theirs.train_from_iterator(texts, trainer)

    def cost(tokenizer):
        return sum(len(each.ids) for each in tokenizer.encode_batch(texts, add_special_tokens=False))

    assert cost(ours) == pytest.approx(cost(theirs), rel=0.005)  # ties are broken otherwise


def test_indentation_is_a_token(train_tokenizer, tmp_path, kind):
    code = "def f(x):\n    if x:\n        return x\n\t\tpass\n" * 20
    corpus = corpora.write_corpus(tmp_path / "corpus", [("en", code + f"y{n} = {n}") for n in range(50)])
    artifact, _ = train_tokenizer(corpus, vocabulary_size=400, kind=kind)
    tokenizer = load_tokenizer(artifact.path)
    assert pieces(tokenizer, "\n        return") in (["\n", "▁▁▁▁▁▁▁", "▁return"],)
    assert "\t" in "".join(pieces(tokenizer, "\t\tpass"))
    assert len(pieces(tokenizer, "\t\tpass")) == 2
    assert round_trip_failures(tokenizer, [code]) == []


@pytest.mark.parametrize(
    ("kind", "new", "merges", "piece"),
    [
        (byte_level, ["čĊ", "čĊĠ"], [("č", "Ċ"), ("čĊ", "Ġ")], "\r\n "),
        (byte_fallback, ["\t", "\n", "\n\t"], [("\n", "\t")], "\n\t"),
    ],
)
def test_pieces_are_reached_among_white_space_of_other_kinds(kind, new, merges, piece):
    """White space of several kinds is one word: alone, these pieces' text is two."""
    tokenizer = kind.build(new, merges)
    last = tokenizer.get_vocab_size() - 1
    assert tokenizer.decode([last]) == piece
    assert tokenizer.encode(piece, add_special_tokens=False).ids != [last]
    assert unreachable_tokens(tokenizer, [last]) == [last]
    assert unreachable_tokens(tokenizer, [last], train.among_white_space(tokenizer, [last])) == []


def test_marks_stay_with_their_letters_in_byte_level(train_tokenizer, tmp_path):
    """Llama-3's own splitting breaks Thai at every vowel above or below the line."""
    corpus = corpora.write_corpus(tmp_path / "corpus", [("th", "ที่นี่ ที่นั่น " * 20)])
    artifact, _ = train_tokenizer(corpus, vocabulary_size=400, kind="byte-level")
    assert pieces(load_tokenizer(artifact.path), "ที่นั่น ที่นี่")[-1] == "▁ที่นี่"


def test_languages_alike_by_unimax(corpus, train_tokenizer, tmp_path):
    documents = [*corpora.varied("en", corpora.ENGLISH, 400), *corpora.varied("ar", corpora.ARABIC, 10)]
    corpus = corpora.write_corpus(tmp_path / "corpus", documents)
    _, summary = train_tokenizer(corpus, vocabulary_size=500, balance="unimax", max_repeats=3)
    assert summary.sample.balance == "unimax"
    assert summary.sample.times_read["ar"] == 3
    assert summary.sample.times_read["en"] < 1


def test_parity_makes_the_same_content_cost_the_same(train_tokenizer, tmp_path):
    documents = [*corpora.varied("en", corpora.ENGLISH, 400), *corpora.varied("ar", corpora.ARABIC, 20)]
    corpus = corpora.write_corpus(tmp_path / "corpus", documents)
    lines = 3
    (tmp_path / "en.txt").write_text("\n".join(text.split("\n")[0] for text in corpora.ENGLISH[:lines]) + "\n")
    rows = [json.dumps({"arb": text.split("\n")[0]}) for text in corpora.ARABIC[:lines]]
    (tmp_path / "ar.jsonl").write_text("\n".join(rows) + "\n")
    parity = {"en": str(tmp_path / "en.txt"), "ar": f"{tmp_path / 'ar.jsonl'}:arb"}
    settings = {"vocabulary_size": 450, "kind": "byte-level", "alpha": 1.0}
    plain, _ = train_tokenizer(corpus, **settings)
    fair, summary = train_tokenizer(corpus, **settings, parity=parity)
    texts = {language: train.read_texts(source) for language, source in parity.items()}
    before, after = (train.token_costs(load_tokenizer(each.path), texts) for each in (plain, fair))
    assert after == summary.parity
    assert after.texts == lines
    assert after.gini < before.gini / 2
    assert after.tokens["ar"] < before.tokens["ar"]


def test_parallel_text_must_fit(corpus, train_tokenizer, tmp_path):
    for language, number in (("en", 3), ("ar", 2), ("id", 3)):
        (tmp_path / f"{language}.txt").write_text("line\n" * number)
    files = {language: str(tmp_path / f"{language}.txt") for language in ("en", "ar", "id")}
    with pytest.raises(UserError, match=r"parity: no parallel text in id.*languages: \[ar, en\]"):
        train_tokenizer(corpus, vocabulary_size=600, parity={"en": files["en"], "ar": files["ar"]})
    with pytest.raises(UserError, match="parity: ar is not trained on"):
        train_tokenizer(corpus, vocabulary_size=600, languages=["en", "id"], parity=files)
    with pytest.raises(UserError, match="'ar': 2"):
        train_tokenizer(corpus, vocabulary_size=600, parity=files)


def test_characters_too_rare_for_a_token_are_bytes(train_tokenizer, tmp_path):
    texts = [*corpora.varied("en", corpora.ENGLISH, 300), ("en", "one snowman ☃ and a cat")]
    artifact, _ = train_tokenizer(corpora.write_corpus(tmp_path / "corpus", texts), vocabulary_size=500)
    tokenizer = load_tokenizer(artifact.path)
    assert tokenizer.token_to_id("☃") is None
    assert pieces(tokenizer, "☃") == ["<0xE2>", "<0x98>", "<0x83>"]


def test_a_small_corpus_gives_fewer_entries_and_says_so(train_tokenizer, tmp_path):
    corpus = corpora.write_corpus(tmp_path / "corpus", [("en", "a cat and a cat and a dog")])
    artifact, summary = train_tokenizer(corpus, vocabulary_size=5000)
    assert summary.requested == 5000
    assert summary.vocabulary_size == load_tokenizer(artifact.path).get_vocab_size() < 300
    assert summary.measures["en"].measured_on == "documents"


def test_a_piece_has_at_most_16_characters_whatever_their_bytes(train_tokenizer, tmp_path):
    texts = [("en", "antidisestablishmentarianism\n" * 50), ("ar", "والاستراتيجيات\n" * 50)]
    artifact, _ = train_tokenizer(corpora.write_corpus(tmp_path / "corpus", texts), vocabulary_size=400)
    names = [name for name in load_tokenizer(artifact.path).get_vocab() if not name.startswith("<")]
    assert "والاستراتيجيات" in names
    assert 10 < max(len(name) for name in names if name.isascii()) <= 16


def test_bad_settings_are_refused(corpus, train_tokenizer):
    with pytest.raises(UserError, match=r"vocabulary_size: 300 is too small: 264 entries .* at least 328"):
        train_tokenizer(corpus, vocabulary_size=300)
    with pytest.raises(UserError, match="max_bytes: a sample of 3 bytes has not one document"):
        train_tokenizer(corpus, vocabulary_size=600, max_bytes=3)
    with pytest.raises(UserError, match="languages: the corpus has no text in fr; it has: ar, en, id"):
        train_tokenizer(corpus, vocabulary_size=600, languages=["fr"])


def test_the_same_bytes_whatever_the_threads_and_hash_seed(corpus, tmp_path):
    """The library trains with hash maps and threads: its result must not show it."""
    code = (
        "import sys, pathlib; from diglot.base.artifact import Artifact, Context, Inputs;"
        "from diglot.recipe.tokenizer import ExtendTokenizer, TrainTokenizer; from diglot.tokenizer import extend, train;"
        "corpus, output = map(pathlib.Path, sys.argv[1:]);"
        "made = lambda path: Artifact(path, 'x', 'x', 'x', '', '', {}, {}, {}, {});"
        "[(output / name).mkdir(parents=True) for name in ('base', 'bytes', 'extended')];"
        "context = Context('x', 0, output);"
        "train.run(TrainTokenizer(vocabulary_size=500, languages=['en', 'id']), Inputs({'corpus': [made(corpus)]}),"
        " output / 'base', context);"
        "train.run(TrainTokenizer(vocabulary_size=500, kind='byte-level', balance='unimax'),"
        " Inputs({'corpus': [made(corpus)]}), output / 'bytes', context);"
        "extend.run(ExtendTokenizer(languages=['ar'], new_tokens=100),"
        " Inputs({'tokenizer': [made(output / 'base')], 'corpus': [made(corpus)]}), output / 'extended', context)"
    )
    hashes = set()
    for threads, seed in (("1", "1"), ("4", "2")):
        output = tmp_path / threads
        environment = {
            **os.environ,
            "RAYON_NUM_THREADS": threads,
            "PYTHONHASHSEED": seed,
            "TOKENIZERS_PARALLELISM": "true",
        }
        subprocess.run([sys.executable, "-c", code, corpus.path, output], env=environment, check=True)
        files = sorted(file for file in output.rglob("*") if file.is_file())
        assert len(files) == 15
        digest = hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files))
        hashes.add(digest.hexdigest())
    assert len(hashes) == 1
