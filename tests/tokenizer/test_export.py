"""What is written for transformers gives everyone the ids of tokenizer.json, and keeps what the base had."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import base_tokenizers
import pytest
import tokenizer_corpora
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from diglot.tokenizer.description import read_json
from diglot.tokenizer.export import Written, as_transformers, write_for_transformers
from diglot.tokenizer.folder import load_tokenizer

GENERIC = "PreTrainedTokenizerFast"
TEXTS = ("In 1987 the town had 12345 people", "  it's\n\n done…", "e\u0301l café", "الخبز ٣", "don't</s>")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    for name, make in base_tokenizers.BASES.items():
        make(folder / name, tokenizer_corpora.ENGLISH, 420)
    return folder


@pytest.fixture
def passed_on(bases: Path, tmp_path: Path) -> Callable[..., tuple[Path, Written]]:
    """Writes a base anew, with another tokenizer_config.json and a config.json."""

    def write(name: str, model_type: str | None = None, **settings: object) -> tuple[Path, Written]:
        source, output = tmp_path / "source", tmp_path / "output"
        shutil.copytree(bases / name, source, dirs_exist_ok=True)
        config = read_json(source / "tokenizer_config.json") | settings
        (source / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
        if model_type:
            (source / "config.json").write_text(json.dumps({"model_type": model_type}))
        shutil.copytree(source, output)
        return output, write_for_transformers(source, output)

    return write


def same_ids(folder: Path, source: Path | None = None) -> None:
    ours = load_tokenizer(source or folder)
    for automatic in (AutoTokenizer.from_pretrained(folder), as_transformers(folder)):
        for text in TEXTS:
            assert automatic(text, split_special_tokens=True)["input_ids"] == ours.encode(text).ids


@pytest.mark.parametrize(
    ("base", "named", "written"),
    [
        ("gpt-2", "GPT2Tokenizer", "GPT2Tokenizer"),
        ("gpt-2", "GPT2TokenizerFast", "GPT2TokenizerFast"),
        ("qwen", "Qwen2Tokenizer", "Qwen2Tokenizer"),
        # each cut by rules of its own under these names
        ("llama-3", "GPT2Tokenizer", GENERIC),
        ("llama-3", "Qwen2Tokenizer", GENERIC),
        ("llama-3", "GPTNeoXTokenizer", GENERIC),
        ("qwen", "LlamaTokenizer", GENERIC),
        ("unigram", "LlamaTokenizer", GENERIC),
        # transformers 4 has no class of these names
        ("llama-3", "TokenizersBackend", GENERIC),
        ("llama-3", "TokenizerOfOurs", GENERIC),
        ("llama-3", ..., GENERIC),
    ],
)
def test_the_class_is_kept_where_it_gives_our_ids(passed_on, base, named, written):
    folder, told = passed_on(base, tokenizer_class=named, pad_token="<|endoftext|>" if base == "qwen" else None)
    assert (told.named, told.written, told.difference) == (None if named is ... else named, written, None)
    assert read_json(folder / "tokenizer_config.json")["tokenizer_class"] == written
    same_ids(folder)


def test_what_the_base_had_is_kept(passed_on):
    settings = {"model_max_length": 77, "truncation_side": "left", "clean_up_tokenization_spaces": True}
    folder, _ = passed_on("llama-2", tokenizer_class="LlamaTokenizer", **settings)  # which pads on the left by itself
    config = read_json(folder / "tokenizer_config.json")
    assert config | settings == config
    assert (config["padding_side"], config["model_input_names"]) == ("left", ["input_ids", "attention_mask"])
    automatic = AutoTokenizer.from_pretrained(folder)
    assert (automatic.padding_side, automatic.truncation_side, automatic.model_max_length) == ("left", "left", 77)
    assert set(automatic("bread")) == {"input_ids", "attention_mask"}


def test_names_are_written_where_everyone_reads_them(passed_on):
    lists = {"extra_special_tokens": ["<|eot_id|>", "<gone>"], "additional_special_tokens": ["<|start_header_id|>"]}
    token = {"__type": "AddedToken", "content": "<|end_of_text|>", "lstrip": False}
    folder, told = passed_on(
        "llama-3", eos_token=token, pad_token="[PAD]", auto_map={"AutoTokenizer": ["x.py", None]}, **lists
    )
    config, named = read_json(folder / "tokenizer_config.json"), read_json(folder / "special_tokens_map.json")
    assert sorted(told.dropped) == ["<gone>", "[PAD]"]
    assert config["eos_token"] == named["eos_token"] == "<|end_of_text|>"
    assert config["additional_special_tokens"] == ["<|start_header_id|>", "<|eot_id|>"]
    assert not {"extra_special_tokens", "auto_map"} & set(config)
    # transformers 4 fails on a map with this, and takes an object of names in tokenizer_config.json alone.
    assert "extra_special_tokens" not in named
    automatic = AutoTokenizer.from_pretrained(folder)
    assert len(automatic) == len(as_transformers(folder)) == load_tokenizer(folder).get_vocab_size()
    assert automatic.pad_token is None


def test_tokens_of_other_files_stand_in_tokenizer_json(passed_on, bases):
    size = load_tokenizer(bases / "llama-2").get_vocab_size()
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False) | {"special": True}
    folder, _ = passed_on(
        "llama-2", added_tokens_decoder={size: {"content": "<|im_end|>", **flags}}, eos_token="<|im_end|>"
    )
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("<|im_end|>") == size
    assert "added_tokens_decoder" not in read_json(folder / "tokenizer_config.json")
    assert AutoTokenizer.from_pretrained(folder).eos_token_id == size


def test_a_tokenizer_model_alone_becomes_a_whole_folder(bases, tmp_path):
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    shutil.copy(bases / "llama-2" / "tokenizer.model", source)
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    shutil.copytree(source, output)
    assert write_for_transformers(source, output).difference is None
    same_ids(output, source)
    assert AutoTokenizer.from_pretrained(output)("bread")["input_ids"][0] == 1


def test_a_type_of_model_that_overrules_every_name_is_reported(passed_on):
    folder, told = passed_on("llama-3", model_type="qwen2")
    assert told.difference is not None
    ours, generic = load_tokenizer(folder), PreTrainedTokenizerFast.from_pretrained(folder)
    assert all(generic(text, split_special_tokens=True)["input_ids"] == ours.encode(text).ids for text in TEXTS)


def test_our_own_loading_overrules_every_class(bases, tmp_path):
    """Also where nothing was imported, as `evaluate` and `chat` take any folder."""
    tokenizer = Tokenizer.from_file(str(bases / "gpt-2" / "tokenizer.json"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = (
        normalizers.Lowercase(),
        pre_tokenizers.ByteLevel(False, use_regex=False),
    )
    shutil.copytree(bases / "gpt-2", tmp_path, dirs_exist_ok=True)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = read_json(tmp_path / "tokenizer_config.json") | {
        "tokenizer_class": "GPT2Tokenizer",
        "pad_token": "<none>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours, loaded, automatic = (
        load_tokenizer(tmp_path),
        as_transformers(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    assert loaded("The BAKER")["input_ids"] == ours.encode("The BAKER").ids != automatic("The BAKER")["input_ids"]
    assert len(loaded) == ours.get_vocab_size()
    assert loaded.decode(ours.encode("it 's , so").ids) == "it 's , so"
