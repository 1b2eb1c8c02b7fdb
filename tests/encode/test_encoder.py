"""Bulk encoding: the ids are the library's for every tokenizer and every text, whichever engine gives them."""

import itertools
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from base_tokenizers import BASES
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from diglot.base.errors import UserError
from diglot.encode import unit_kernels
from diglot.encode.encoder import Encoder
from diglot.encode.kernel import Kernel
from diglot.tokenizer import byte_fallback, byte_level
from diglot.tokenizer.byte_letters import letters_of
from diglot.tokenizer.folder import load_tokenizer

SENTENCES = [
    "The baker doesn't sell (fresh) bread on Sundays: 12 loaves, 3.50 each!  \n\tif x == _name:\n        return\r\n",
    "الخُبّاز يخبز الخبز في المخبزِ القديم قرب النهر، ولا يبيعه يوم الأحد ١٢٣.",
    "คนทำขนมปังอบขนมปังในร้านเก่าใกล้แม่น้ำ และไม่ขายในวันอาทิตย์ ผู้คนไม่ว่าอะไร",
    "面包师在河边的旧面包店里烤面包，星期天不卖。没有人介意（三十个）。",
    "パン屋は川の近くの古い店でパンを焼く。日曜日には売らない。",
    "Người làm bánh nướng bánh mì 👩‍👩‍👧 ở tiệm cũ gần sông; không ai phiền lòng… ½ ² Ⅷ",
]
# Where text is cut or escaped: what a random string hardly ever has side by side.
SPECIAL = [
    " ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u2028", "\u3000", "▁", "\ue000", "\ue0000", "\ue0001", "0", "1",
    "٣", "½", "é", "e\u0301", "\u200d", "\u200c", "'s", "'LL", "'ſ", "'re", "'", "don't", "</s>", "<s>", "<0x41>", "<|user|>",
    "</s>a", "\n\n\n\n", "<h1>", "\u0651\u064e", "\u064e\u0651", "q\u0323\u0307", "\u1100\u1161", "\ufefb", "…", "ำ",
    "_", "--", "...", "。", "，", "ๆ", "กำ", "ก็", "面包", "ＡＢ", "🙂", "\U000e0101", "\U0010ffff", "\ufffe", "\x00", "\x85", "a", "the", " the",
]  # fmt: skip
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(SPECIAL),
        st.sampled_from([word for sentence in SENTENCES for word in sentence.split(" ")]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
        st.builds(lambda text, times: text * times, st.sampled_from(SPECIAL), st.integers(1, 40)),
    ),
    max_size=30,
).map("".join)
Make = Callable[[str], Path]


def save(tokenizer: Tokenizer, folder: Path) -> Path:
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def trained(tokenizer: Tokenizer, entries: int, alphabet: list[str]) -> dict:
    trainer = trainers.BpeTrainer(vocab_size=entries, min_frequency=1, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    return json.loads(tokenizer.to_str())["model"]


def our_byte_fallback(pieces: int = 500) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer = byte_fallback.normalizer(), byte_fallback.word_splitter()
    model = trained(tokenizer, pieces, ["▁"])
    ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return byte_fallback.build(ordered, [(left, right) for left, right in model["merges"]])


def our_byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level.pre_tokenizer()
    trained(tokenizer, 700, pre_tokenizers.ByteLevel.alphabet())
    return tokenizer


def old_llama(base: Path) -> Tokenizer:
    """Llama-2's as it was written before transformers 5: with a normalizer, without a pre-tokenizer."""
    specification = json.loads((base / "tokenizer.json").read_text())
    specification["pre_tokenizer"] = None
    steps = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    specification["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return Tokenizer.from_str(json.dumps(specification))


def every_split(base: Path) -> Tokenizer:
    """Llama-2's with pieces of other languages, each with all its splits, and spaces inside of pieces."""
    specification = json.loads((base / "tokenizer.json").read_text())
    vocabulary, merges = specification["model"]["vocab"], specification["model"]["merges"]
    for character in sorted(set("".join(SENTENCES)) - {" "}):
        vocabulary.setdefault(character, len(vocabulary))
    for piece in (
        "ขน",
        "ขนม",
        "ปัง",
        "ขนมปัง",
        "面包",
        "面包师",
        "▁d",
        "e▁",
        "e▁t",
        "ال",
        "الخ",
        "▁الخ",
        "n'",
        "n't",
        "▁▁",
        "▁▁▁",
    ):
        vocabulary.setdefault(piece, len(vocabulary))
        splits = [[piece[:cut], piece[cut:]] for cut in range(1, len(piece))]
        merges += [split for split in splits if split[0] in vocabulary and split[1] in vocabulary]
    return Tokenizer.from_str(json.dumps(specification))


def dropping_bytes(base: Path) -> Tokenizer:
    """SmolLM2's kind: digits one by one, and bytes without a token, which are left out of text and join what is around."""
    specification = json.loads((base / "tokenizer.json").read_text())
    digits = {"type": "Digits", "individual_digits": True}
    specification["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, specification["pre_tokenizer"]]}
    model = specification["model"]
    gone = {letters_of(bytes([byte])) for byte in b"~\x00\xf3q"}
    model["merges"] = [merge for merge in model["merges"] if gone.isdisjoint("".join(merge))]
    model["vocab"] = {piece: number for piece, number in model["vocab"].items() if gone.isdisjoint(piece)}
    return Tokenizer.from_str(json.dumps(specification))


def gemma(base: Path) -> Tokenizer:
    """Gemma's kind: a space is ▁ and nothing is split, but around tokens that are found in text."""
    specification = json.loads((base / "tokenizer.json").read_text())
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    specification |= {"normalizer": spaces, "pre_tokenizer": split}
    tokenizer = Tokenizer.from_str(json.dumps(specification))
    # `</s>` is special, so plain text; and yet the library does not find `s>a` in it.
    found = ["\n", "\n\n", "\n\n\n", "\t", "▁▁", "▁▁▁", "<h1>", "</s>a", "s>a", "面包", "0"]
    tokenizer.add_tokens([AddedToken(content, special=False, normalized=False) for content in found])
    return tokenizer


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A tokenizer's folder by name, made once."""
    root = tmp_path_factory.mktemp("tokenizers")

    def folder(name: str) -> Path:
        path = root / name
        if path.exists():
            return path
        if name == "byte-fallback":
            return save(our_byte_fallback(), path)
        if name == "byte-level":
            return save(our_byte_level(), path)
        if name == "llama-2, old":
            return save(old_llama(folder("llama-2")), path)
        if name == "llama-2, extended":
            return save(every_split(folder("llama-2")), path)
        if name == "smollm2":
            return save(dropping_bytes(folder("gpt-2")), path)
        if name == "gemma":
            return save(gemma(folder("llama-2")), path)
        return BASES[name](path, SENTENCES * 3, 450)

    return folder


@pytest.fixture(scope="module")
def pair(make: Make) -> Callable[[str], tuple[Encoder, Tokenizer]]:
    """An encoder by name, and the library's tokenizer of the same folder."""
    made: dict[str, tuple[Encoder, Tokenizer]] = {}

    def encoder_and_library(name: str) -> tuple[Encoder, Tokenizer]:
        if name not in made:
            made[name] = Encoder(make(name)), load_tokenizer(make(name))
        return made[name]

    return encoder_and_library


def rows(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    ids, offsets = encoder.encode(texts)
    assert (ids.dtype, offsets.dtype, offsets[0], offsets[-1]) == (np.uint32, np.int64, 0, len(ids))
    return [ids[begin:end].tolist() for begin, end in itertools.pairwise(offsets)]


def true_rows(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


OURS = ["byte-fallback", "byte-level"]
OTHERS = ["llama-2", "llama-2, old", "llama-2, extended", "gpt-2", "smollm2", "llama-3", "qwen", "gemma", "unigram"]


# --- the same ids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OURS, *OTHERS])
@given(texts=st.lists(TEXTS, max_size=4))
def test_any_text_has_the_ids_of_the_library(
    name: str, texts: list[str], pair: Callable[[str], tuple[Encoder, Tokenizer]]
) -> None:
    encoder, library = pair(name)
    assert encoder.engine == "kernel"
    assert rows(encoder, texts) == true_rows(library, texts)


def test_a_tokenizer_of_another_kind_is_left_to_the_library(make: Make, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder = Encoder(save(tokenizer, tmp_path / "words"))
    assert encoder.engine == "tokenizers"
    assert rows(encoder, ["the the", "a"]) == [[1, 1], [0]]
    assert rows(encoder, []) == []


@given(st.data())
def test_any_merges_give_the_ids_of_the_library(draw: st.DataObject) -> None:
    """Random merges of a small alphabet, in any order: pieces that can never be made, two ways to make one."""
    alphabet = draw.draw(
        st.sampled_from([["▁", "a", "b", "é"], ["▁", "ก", "ข", "ค", "a"], ["▁", "面", "包", "。", "\n"]])
    )
    pieces = list(alphabet)
    merges: list[tuple[str, str]] = []
    for _ in range(draw.draw(st.integers(0, 25))):
        left, right = draw.draw(st.sampled_from(pieces)), draw.draw(st.sampled_from(pieces))
        if (left, right) not in merges:
            merges.append((left, right))
            if left + right not in pieces:
                pieces.append(left + right)
    merges = draw.draw(st.permutations(merges))
    text = draw.draw(st.text(st.sampled_from([*alphabet[1:], " ", "x"]), max_size=80))
    ours = byte_fallback.build(pieces, merges)
    unsplit = json.loads(ours.to_str())
    unsplit["pre_tokenizer"] = None
    for specification in (json.loads(ours.to_str()), unsplit):
        library = Tokenizer.from_str(json.dumps(specification))
        kernel = Kernel.of(specification)
        assert kernel is not None
        ids, _ = kernel(pa.array([text, text[::-1]], pa.large_string()))
        assert ids.tolist() == [*itertools.chain.from_iterable(true_rows(library, [text, text[::-1]]))]


@pytest.mark.parametrize(
    "name",
    [
        "byte-fallback",
        "llama-2",
        *(pytest.param(each, marks=pytest.mark.full) for each in ("byte-level", "gpt-2", "llama-3", "unigram")),
    ],
)
def test_every_character_has_its_class(name: str, pair: Callable[[str], tuple[Encoder, Tokenizer]]) -> None:
    """Every code point in every neighbourhood that could be cut; where none are assigned, every 97th."""
    encoder, library = pair(name)
    codes = [*range(0xD800), *range(0xE000, 0x33480), *range(0x33480, 0x110000, 97), *range(0xE0000, 0xE0200)]
    texts = [
        "".join(f"a{chr(code)} {chr(code)}\t" for code in codes[at : at + 500]) for at in range(0, len(codes), 500)
    ]
    for at in range(0, len(texts), 100):
        assert rows(encoder, texts[at : at + 100]) == true_rows(library, texts[at : at + 100])


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, pytest.param(40, marks=pytest.mark.full)])
def test_real_text_of_every_language_has_the_ids_of_the_library(data: Path, make: Make, number: int) -> None:
    for name in [*OURS, *OTHERS]:
        encoder, library = Encoder(make(name)), load_tokenizer(make(name))
        for file in sorted((data / "raw_text").glob("*/*.jsonl.zst")):
            with pa.input_stream(str(file), compression="zstd") as stream:
                lines = stream.read(10_000 * number).split(b"\n")[:-1]
            texts = [json.loads(line)["text"] for line in lines[:number]]
            assert rows(encoder, texts) == true_rows(library, texts), (name, file.name)


QUICK, FULL = (
    ("smollm2-135m", "xlmr"),
    ("llama2", "llama3", "qwen3", "gptoss", "gemma3", "deepseek_v3", "gpt4o", "gpt2"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(each, marks=pytest.mark.full) for each in FULL)])
def test_real_tokenizers_give_the_ids_of_the_library(name: str, data: Path, models: Path) -> None:
    """On a document of each of 18 languages, and what stands beside letters nowhere else."""
    folder = models / name if (models / name).is_dir() else models / "tokenizers" / name
    encoder, library = Encoder(folder), load_tokenizer(folder)
    assert encoder.engine == "kernel"
    texts = [" ".join(SPECIAL), "".join(SPECIAL[::-1]), "\n\n<think>\u0338</think>▁▁<table>", *SENTENCES]
    for file in sorted((data / "raw_text").glob("*/*.jsonl.zst")):
        with pa.input_stream(str(file), compression="zstd") as stream:
            texts.append(json.loads(stream.read(1_000_000).split(b"\n")[0])["text"][:2000])
    assert rows(encoder, texts) == true_rows(library, texts)


# --- work and memory ------------------------------------------------------------------------------------------


def test_long_words(make: Make) -> None:
    """200,000 letters are one word; merging them in quadratic time would take longer than a test may."""
    encoder, library = Encoder(make("byte-fallback")), load_tokenizer(make("byte-fallback"))
    letters = random.Random(0).choices(sorted(set(SENTENCES[2]) - {" "}), k=200_000)
    for text in ("".join(letters), "e" * 200_000):
        assert encoder.encode([text])[0].tolist() == library.encode(text, add_special_tokens=False).ids


def test_threads_share_an_encoder(make: Make) -> None:
    for name in ("byte-fallback", "llama-3"):
        encoder = Encoder(make(name))
        chunks = [[sentence[shift:] * 20 for sentence in SENTENCES] for shift in range(40)]
        expected = [rows(encoder, chunk) for chunk in chunks]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda chunk, encoder=encoder: rows(encoder, chunk), chunks)) == expected


def test_more_words_than_the_tables_have_slots(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_kernels, "SHORT_LINES", 8)
    monkeypatch.setattr(unit_kernels, "LONG_LINES", 2)
    encoder, library = Encoder(make("byte-fallback")), load_tokenizer(make("byte-fallback"))
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdeร้าน", k=draw.choice([1, 2, 9, 15, 30]))) for _ in range(200)]
    texts = [" ".join(draw.choices(words, k=500)) for _ in range(10)]
    assert rows(encoder, texts) == true_rows(library, texts)


# --- what is not known, and what differs ----------------------------------------------------------------------


def changed(folder: Path, target: Path, change: Callable[[dict], object]) -> Path:
    specification = json.loads((folder / "tokenizer.json").read_text())
    change(specification)
    return save(Tokenizer.from_str(json.dumps(specification)), target)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["model"].update(ignore_merges=True),
        lambda spec: spec["pre_tokenizer"]["pattern"].update(Regex=r"▁?\p{L}+|\p{N}{1,3}|▁+"),
        lambda spec: spec["pre_tokenizer"].update(behavior="MergedWithNext"),
        lambda spec: spec["normalizer"]["normalizers"].append({"type": "NFC"}),
        lambda spec: spec["normalizer"].update(normalizers=spec["normalizer"]["normalizers"][:2]),
    ],
)
def test_an_unknown_part_is_left_to_the_library(change: Callable[[dict], object], make: Make, tmp_path: Path) -> None:
    folder = changed(make("byte-fallback"), tmp_path / "changed", change)
    encoder = Encoder(folder)
    assert encoder.engine == "tokenizers"
    assert rows(encoder, SENTENCES) == true_rows(load_tokenizer(folder), SENTENCES)


def test_a_token_that_is_found_in_text_is_left_to_the_library(make: Make, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(make("byte-fallback") / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("baker", special=False)])
    folder = save(tokenizer, tmp_path / "added")
    encoder = Encoder(folder)
    assert encoder.engine == "tokenizers"
    assert rows(encoder, ["the baker"]) == true_rows(load_tokenizer(folder), ["the baker"])


def test_special_tokens_in_text_are_text(make: Make) -> None:
    for name in ("byte-fallback", "llama-3", "llama-2"):
        tokenizer = load_tokenizer(make(name))
        special = {token_id for token_id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        text = "".join(token.content for token in tokenizer.get_added_tokens_decoder().values())
        assert special
        assert not special & set(rows(Encoder(make(name)), [text])[0])


def test_where_ids_differ_the_library_takes_over_and_the_text_is_kept(make: Make, tmp_path: Path) -> None:
    encoder = Encoder(make("byte-fallback"))
    encoder.check(SENTENCES)
    assert (encoder.engine, encoder.checked, encoder.difference) == ("kernel", len(SENTENCES), None)
    other = changed(
        make("byte-fallback"),
        tmp_path / "other",
        lambda spec: spec["model"].update(merges=spec["model"]["merges"][:-60]),
    )
    encoder._encode = Encoder(other)._encode  # an engine with an error: it lacks some merges
    encoder.check(["A", *SENTENCES])
    assert encoder.engine == "tokenizers"
    assert encoder.difference is not None
    assert any(encoder.difference in sentence for sentence in SENTENCES)
    assert rows(encoder, SENTENCES) == true_rows(load_tokenizer(make("byte-fallback")), SENTENCES)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Encoder(tmp_path)
