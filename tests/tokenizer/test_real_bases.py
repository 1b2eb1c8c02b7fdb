"""Real tokenizers are extended to five languages, with all proofs, on real text: what $DIGLOT_MODELS and the data allow."""

from functools import cache
from pathlib import Path

import pytest
from tokenizer_corpora import artifact, real_documents, write_corpus

from diglot.tokenizer.base import below
from diglot.tokenizer.folder import load_tokenizer

BASES = ("llama", "llama3", "qwen3", "gemma3", "gptoss", "smollm2", "mistral", "xlmr")
LANGUAGES = ("ar", "he", "th", "id", "vi")
SHARED = {"id", "vi"}  # whose letters are English's
SHORT = {("mistral", "ar"), ("smollm2", "vi")}  # those of `make test`
NEW_TOKENS, BYTES, HELD_OUT, SHOWN = 1000, 500_000, 20, 5000
# Of a few hundred English lines, with half a megabyte of English to learn from; all of English gives 99.5% and more.
IDENTICAL = 0.97

pytestmark = pytest.mark.slow


@cache
def documents_of(data: Path, language: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Documents to learn from, and some to measure on, of which books are cut short."""
    documents = real_documents(data, language, BYTES)
    return documents[HELD_OUT:], [(code, text[:SHOWN]) for code, text in documents[:HELD_OUT]]


def pairs() -> list:
    """Every base with every language; all but two take longer than `make test` allows."""
    found = [(base, language) for base in BASES for language in LANGUAGES]
    return [pytest.param(*pair, marks=() if pair in SHORT else pytest.mark.full, id="-".join(pair)) for pair in found]


@pytest.mark.parametrize(("base", "language"), pairs())
def test_every_real_base_takes_every_language(base, language, models, data, tmp_path, extend_tokenizer):
    folder = models / "smollm2-135m" if base == "smollm2" else models / "tokenizers" / base
    if not folder.is_dir():
        pytest.skip(f"no {folder}: python tests/helpers/real_models.py FOLDER makes it")
    kept, held_out = ([*one, *other] for one, other in zip(*(documents_of(data, code) for code in ("en", language))))
    corpus = write_corpus(tmp_path / "corpus", kept, held_out)
    extended, summary = extend_tokenizer(artifact(folder, "model"), corpus, languages=[language], new_tokens=NEW_TOKENS)
    failed = {name for name, proof in vars(summary.proofs).items() if proof and not proof.passed}
    assert failed <= ({"identity"} if language in SHARED else set())
    assert summary.proofs.identity.share_without_new_characters >= (IDENTICAL if language in SHARED else 1)
    # Llama-3 knows Vietnamese: of half a megabyte no more than 794 pieces occur twice and are not English too.
    added = summary.new_tokens.added
    assert 500 < added <= NEW_TOKENS if language in SHARED else added == NEW_TOKENS
    assert (summary.proofs.reachable.tokens, summary.proofs.reachable.unreachable) == (added, 0)
    assert bool(summary.warnings()) == (added < NEW_TOKENS)
    assert (summary.proofs.sentencepiece is not None) == (folder / "tokenizer.model").is_file()
    assert summary.fertility[language] < summary.fertility_before[language]
    if language not in SHARED:
        assert summary.measures["en"].tokens == summary.measures_before["en"].tokens
    same_ids_in_transformers(extended.path, [text for _, text in held_out])


def same_ids_in_transformers(folder: Path, texts: list[str]) -> None:
    """What others load is what was proved."""
    from transformers import AutoTokenizer

    automatic, ours = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    lines = [line for text in texts for line in text.split("\n") if line][:500]
    assert automatic(lines, add_special_tokens=False)["input_ids"] == [
        encoding.ids for encoding in ours.encode_batch(lines, add_special_tokens=False)
    ]


def test_new_scores_of_a_model_with_a_very_low_one_are_apart():
    """Mistral's runs of spaces have -1e9, where 1 less is the same float: new pieces then had all one rank."""
    import numpy as np

    scores = [-31740.0, -1e9]
    for _ in range(3):
        scores.append(below(scores[-1]))
    assert below(-31740.0) == -31741.0
    assert scores[1:] == sorted({float(np.float32(score)) for score in scores[1:]}, reverse=True)
