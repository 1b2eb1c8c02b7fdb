"""A tokenizer's folder is read whole, whichever of its files says a thing; ids are never given twice."""

import json
import shutil
from pathlib import Path

import base_tokenizers
import pytest
import sentencepiece
import tokenizer_corpora
from tokenizers import Tokenizer

from diglot.base.errors import UserError
from diglot.tokenizer.base import read_base
from diglot.tokenizer.chat import load_chat
from diglot.tokenizer.description import read_settings, read_specification
from diglot.tokenizer.folder import generation_ids, load_tokenizer, tokenizer_hash
from diglot.tokenizer.framing import find_framing

IM = ("<|im_end|>", "<|im_start|>")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with tokenizer.model and tokenizer.json."""
    return base_tokenizers.llama_2(tmp_path_factory.mktemp("llama"), tokenizer_corpora.ENGLISH, 400)


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "folder"))


def settings_of(folder: Path) -> dict:
    return read_settings(folder, load_tokenizer(folder))


def write(folder: Path, **files: object) -> None:
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def change(folder: Path, **changes: object) -> None:
    old = json.loads((folder / "tokenizer_config.json").read_text())
    kept = {key: value for key, value in (old | changes).items() if value is not ...}
    write(folder, tokenizer_config=kept)


def size(folder: Path) -> int:
    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()


def decoder(first: int) -> dict[str, dict]:
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    return {str(first + n): {"content": token, **flags, "special": True} for n, token in enumerate(IM)}


# --- added tokens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["added_tokens.json", "added_tokens_decoder"])
def test_added_tokens_that_other_files_name_have_their_ids(folder, where):
    first, before = size(folder), tokenizer_hash(folder)
    if where == "added_tokens.json":
        write(folder, added_tokens={IM[1]: first + 1, IM[0]: first}, special_tokens_map={"eos_token": IM[0]})
    else:
        change(folder, added_tokens_decoder=decoder(first))
    tokenizer = load_tokenizer(folder)
    assert [tokenizer.token_to_id(token) for token in IM] == [first, first + 1]
    assert tokenizer.encode("<|im_end|>", add_special_tokens=False).ids != [first]  # text is text
    base = read_base(folder)
    assert (base.size, base.kind.ids[IM[1]]) == (first + 2, first + 1)
    assert tokenizer_hash(folder) != before


def test_a_fine_tune_with_its_tokens_in_another_file_speaks_its_chat(folder):
    change(folder, added_tokens_decoder=decoder(size(folder)), chat_template=base_tokenizers.CHATML)
    assert load_chat(folder).name == "chatml"


def test_tokenizer_json_is_the_truth_about_ids(folder):
    before = tokenizer_hash(folder)
    write(folder, added_tokens={"</s>": 77, "<s>": 78})
    assert load_tokenizer(folder).token_to_id("</s>") == 2
    assert tokenizer_hash(folder) == before


@pytest.mark.parametrize(
    ("number", "message"), [(5, "has the id 5 in .*but that is '<0x02>'"), (1000, "has the id 1000, and ids before it")]
)
def test_ids_that_are_taken_or_leave_a_gap_are_refused(folder, number, message):
    write(folder, added_tokens={"<|im_end|>": number})
    with pytest.raises(UserError, match=message):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("added_tokens", {"<x>": "seven"}),
        ("added_tokens", {"<x>": -1}),
        ("added_tokens", {"<x>": True}),
        ("tokenizer_config", {"added_tokens_decoder": ["<x>"]}),
        ("tokenizer_config", {"added_tokens_decoder": {"x": {"content": "<x>"}}}),
        ("tokenizer_config", {"added_tokens_decoder": {"7": "<x>"}}),
        ("tokenizer_config", {"added_tokens_decoder": {"7": {"content": None}}}),
        ("tokenizer_config", {"eos_token": 5}),
        ("tokenizer_config", {"eos_token": {"content": ["</s>"]}}),
        ("tokenizer_config", {"additional_special_tokens": [5]}),
        ("special_tokens_map", {"bos_token": [1]}),
        ("config", {"bos_token_id": "one"}),
        ("generation_config", {"pad_token_id": [2.5]}),
    ],
)
def test_values_of_a_wrong_type_are_refused(folder, name, value):
    write(folder, **{name: value})
    with pytest.raises(UserError, match=rf"{name}.json"):
        settings_of(folder)


# --- special tokens -------------------------------------------------------------------------------------------


def unnamed(folder: Path) -> None:
    change(folder, bos_token=..., eos_token=..., unk_token=..., pad_token=...)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)


def test_special_tokens_that_only_the_map_names_are_found(folder):
    unnamed(folder)
    write(folder, special_tokens_map={"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}})
    assert generation_ids(folder, load_tokenizer(folder)) == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
        "stops": [2],
    }
    assert find_framing(folder, load_tokenizer(folder)) == ("<s>", "</s>", "")


def test_special_tokens_that_only_a_models_ids_name_are_found(folder):
    unnamed(folder)
    write(folder, config={"bos_token_id": 1, "eos_token_id": [2, 9], "pad_token_id": -1})
    write(folder, generation_config={"pad_token_id": 0, "eos_token_id": [2, 11]})
    found = {key: settings_of(folder).get(key) for key in ("bos_token", "eos_token", "pad_token")}
    assert found == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}
    assert generation_ids(folder, load_tokenizer(folder))["stops"] == [2, 9, 11]


def test_what_tokenizer_config_says_comes_first(folder):
    change(folder, bos_token=None, eos_token="</s>")
    write(folder, special_tokens_map={"bos_token": "<s>", "eos_token": "<unk>"}, config={"bos_token_id": 1})
    found = settings_of(folder)
    assert (found["bos_token"], found["eos_token"]) == (None, "</s>")


# --- tokenizer.model alone ------------------------------------------------------------------------------------


def test_a_folder_with_only_a_tokenizer_model_is_read(folder):
    (folder / "tokenizer.json").unlink()
    library = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    write(folder, added_tokens={token: library.vocab_size() + n for n, token in enumerate(IM)})
    tokenizer = load_tokenizer(folder)
    for text in (*tokenizer_corpora.ENGLISH[:20], " two  spaces", "1. a\\> b", "ü€"):
        assert tokenizer.encode(text, add_special_tokens=False).ids == library.encode(text)
    assert tokenizer.token_to_id("<|im_start|>") == library.vocab_size() + 1
    assert len(tokenizer_hash(folder)) == 32
    assert read_base(folder).size == library.vocab_size() + 2


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [({"add_bos_token": True}, [1, ...]), ({"add_bos_token": True, "add_eos_token": True}, [1, ..., 2]), ({}, [...])],
)
def test_settings_beside_a_tokenizer_model_frame_a_text(folder, settings, wanted):
    (folder / "tokenizer.json").unlink()
    write(folder, tokenizer_config={"bos_token": "<s>", "eos_token": "</s>", **settings})
    tokenizer = load_tokenizer(folder)
    alone = tokenizer.encode("bread", add_special_tokens=False).ids
    around = [number for part in wanted for number in (alone if part is ... else [part])]
    assert tokenizer.encode("bread").ids == around
    assert tokenizer.encode("bread", "bread").ids == around * 2


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer\.json and no tokenizer\.model"):
        read_specification(tmp_path)
