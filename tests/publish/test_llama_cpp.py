"""A real llama.cpp loads what is written: same ids on ten thousand texts, same greedy answers as transformers."""

from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from model_builders import save, transformers_model
from tokenizer_corpora import artifact, real_documents, write_corpus

from diglot.base.artifact import Context, Inputs
from diglot.expand import stage as expand
from diglot.publish.gguf_file import write_gguf
from diglot.recipe.expand import Expand
from diglot.recipe.tokenizer import ExtendTokenizer, TrainTokenizer
from diglot.tokenizer import extend, train
from diglot.tokenizer.folder import generation_ids, load_tokenizer

EACH = 2000  # texts of each of five languages
PROMPTS = ("The capital of France is", "مرحبا بالعالم", "Once upon a time", "1, 2, 3,")
# llama.cpp's name of the pattern, and whether some of the texts are cut otherwise.
TOKENIZERS = {
    "gpt2": ("trillion", False),
    "llama": ("default", False),
    "llama2": ("default", False),
    "llama3": ("llama-bpe", False),
    "mistral": ("default", False),
    "qwen3": ("qwen2", True),
    "smollm2": ("trillion", False),
}

pytestmark = pytest.mark.full  # quick: test_gguf.py reads the file back with the package


def of(models: Path, name: str) -> Path:
    return models / "smollm2-135m" if name == "smollm2" else models / "tokenizers" / name


def corpus_of(data: Path, folder: Path) -> Any:
    kept, held_out = [], []
    for language in ("en", "ar"):
        documents = real_documents(data, language, 500_000)
        kept += documents[20:]
        held_out += [(code, text[:5000]) for code, text in documents[:20]]
    return write_corpus(folder, kept, held_out)


def extended(base: Path, data: Path, tmp_path: Path, context: Context) -> Path:
    """A tokenizer with a thousand tokens for Arabic."""
    inputs = Inputs({"tokenizer": [artifact(base, "model")], "corpus": [corpus_of(data, tmp_path / "corpus")]})
    output = tmp_path / "extended"
    output.mkdir()
    extend.run(ExtendTokenizer(languages=["ar"], new_tokens=1000), inputs, output, context)
    return output


def same_ids(model: Path, data: Path, tmp_path: Path) -> tuple[str, int]:
    """The pattern's name, and how many texts are cut otherwise: all of these were named."""
    vocabulary = write_gguf(model, tmp_path / "model.gguf", "float16")
    texts = llama_cpp.lines_of_five_languages(data, EACH)
    expected = [each.ids for each in load_tokenizer(model).encode_batch(texts, add_special_tokens=False)]
    found = llama_cpp.ask(tmp_path / "model.gguf", texts)
    other = [text for text, ours, theirs in zip(texts, expected, found["ids"]) if ours != theirs]
    assert [text for text in other if vocabulary.difference(text) is None] == []
    if not vocabulary.remarks():
        assert found["written"] == texts
    special = {role: number for role, number in vocabulary.special.items() if role in ("bos", "eos", "eot") and number is not None}  # fmt: skip
    assert {role: found["special"][role] for role in special} == special
    assert found["template"] == vocabulary.template
    return vocabulary.pre, len(other)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_same_ids_with_the_tokenizers_of_real_models(name: str, models: Path, data: Path, tmp_path: Path) -> None:
    llama_cpp.folder()
    model = llama_cpp.with_tokenizer(of(models, name), tmp_path / "model")
    pre, other = same_ids(model, data, tmp_path)
    assert (pre, other > 0) == TOKENIZERS[name]


@pytest.mark.parametrize("name", ["llama", "llama3", "mistral", "qwen3"])
def test_same_ids_after_an_extension(name: str, models: Path, data: Path, tmp_path: Path, context: Context) -> None:
    llama_cpp.folder()
    tokenizer = extended(of(models, name), data, tmp_path, context)
    pre, other = same_ids(llama_cpp.with_tokenizer(tokenizer, tmp_path / "model"), data, tmp_path)
    assert (pre, other > 0) == TOKENIZERS[name]


@pytest.mark.parametrize(("kind", "pre"), [("byte-fallback", "sarvam-moe"), ("byte-level", "qwen35")])
def test_same_ids_with_tokenizers_of_ours(kind: str, pre: str, data: Path, tmp_path: Path, context: Context) -> None:
    llama_cpp.folder()
    inputs = Inputs({"corpus": [corpus_of(data, tmp_path / "corpus")]})
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    train.run(TrainTokenizer(kind=kind, vocabulary_size=8000), inputs, tokenizer, context)
    model = llama_cpp.with_tokenizer(tokenizer, tmp_path / "model")
    assert same_ids(model, data, tmp_path)[0] == pre


def same_answers(model: Path, tmp_path: Path, prompts: list[list[int]], length: int) -> None:
    write_gguf(model, tmp_path / "model.gguf", "float32")
    stops = generation_ids(model, load_tokenizer(model))["stops"]
    found = llama_cpp.ask(tmp_path / "model.gguf", [], prompts, length)
    assert found["answers"] == llama_cpp.greedy(model, prompts, length, stops)
    assert sum(map(len, found["answers"])) > length


def test_smollm2_with_arabic_answers_as_in_transformers(
    models: Path, data: Path, tmp_path: Path, context: Context
) -> None:
    llama_cpp.folder()
    tokenizer = extended(of(models, "smollm2"), data, tmp_path, context)
    inputs = Inputs({"model": [artifact(of(models, "smollm2"), "model")], "tokenizer": [artifact(tokenizer, "tokenizer")]})  # fmt: skip
    model = tmp_path / "expanded"
    model.mkdir()
    expand.run(Expand(), inputs, model, context)
    loaded = load_tokenizer(model)
    same_answers(model, tmp_path, [loaded.encode(text).ids for text in PROMPTS], 24)
    assert same_ids(model, data, tmp_path) == ("trillion", 0)


LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 32, "rope_theta": 10000.0}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
        ("llama", {"rope_parameters": LLAMA_3}),
        ("qwen2", {"num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
        ("qwen3", {"num_key_value_heads": 2, "head_dim": 16}),
        ("gpt2", {"activation_function": "gelu_new"}),
    ],
    ids=["llama", "llama-biases", "llama-linear", "llama-3.1", "qwen2", "qwen3", "gpt2"],
)
def test_every_family_answers_as_in_transformers(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    llama_cpp.folder()
    model = save(transformers_model(kind, **changes), tmp_path / "model")
    same_answers(model, tmp_path, [[1, 270, 271, 272], list(range(10, 40)), [300]], 16)
