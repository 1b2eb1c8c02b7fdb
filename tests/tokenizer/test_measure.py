import json
from pathlib import Path

import pytest
from base_tokenizers import BASES
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_corpora import ARABIC, ENGLISH
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from diglot.base.errors import UserError
from diglot.tokenizer import byte_fallback, byte_letters, byte_level
from diglot.tokenizer.folder import load_tokenizer, pieces, shown, tokenizer_hash
from diglot.tokenizer.measure import gini, measure, phrases
from diglot.tokenizer.proofs import identity, round_trip_failures, unreachable_tokens

ALPHABET = [*"▁abcdehlot"]
THAI = "ประเทศไทยมีแม่น้ำหลายสาย และคนไทยชอบกินข้าวกับปลา"
CHINESE = "今天天气很好，我们去公园散步。老师和学生都喜欢读书。"
NEVER_IN_UTF8 = {bytes([byte]) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    """A tokenizer of every kind, of four scripts, so that those on bytes have tokens that end inside characters."""
    texts = [*ENGLISH, *ARABIC, *[THAI] * 3, *[CHINESE] * 3]
    folder = tmp_path_factory.mktemp("bases")
    return {name: write(folder / name, texts, 600) for name, write in BASES.items()}


def build(pieces=(), merges=()):
    tokenizer = byte_fallback.build([*ALPHABET, *pieces], list(merges))
    tokenizer.encode_special_tokens = True
    return tokenizer


def test_measures_by_hand():
    tokenizer = build(["▁a", "▁c", "at"], [("▁", "a"), ("▁", "c"), ("a", "t")])
    # a cat at  →  a | ▁c at | ▁a t      é → 2 bytes
    got = measure(tokenizer, ["a cat at", "é"])
    assert got == {
        "documents": 2,
        "words": 4,
        "words_are": "spaces",
        "tokens": 7,
        "fertility": 1.75,
        "characters_per_token": round(9 / 7, 4),
        "bytes_per_token": round(10 / 7, 4),
        "continued_words": 0.75,  # c|at, a|t and the two bytes of é
        "unknown_tokens": 0.0,
    }


def test_punctuation_around_a_word_does_not_continue_it():
    tokenizer = build(["▁a", "at"], [("▁", "a"), ("a", "t")])
    assert measure(tokenizer, ["at, (at) at!"])["continued_words"] == pytest.approx(1 / 3, abs=1e-4)  # only ▁a|t


@pytest.mark.parametrize("name", BASES)
def test_a_word_in_one_token_is_not_continued_in_any_form(bases, name):
    tokenizer = load_tokenizer(bases[name])
    text = "the old baker the old baker"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    got = measure(tokenizer, [text])
    assert got["tokens"] == len(ids)
    whole = [token for token in pieces(tokenizer, text) if token.strip("▁") in ("the", "old", "baker")]
    assert got["continued_words"] == pytest.approx(1 - len(whole) / 6, abs=1e-4)
    assert len(whole) >= 2


def test_words_of_languages_without_spaces_are_segments():
    tokenizer = build()
    text = "今天天气很好，我们去公园散步。"
    got = measure(tokenizer, [text], "zh")
    assert got["words_are"] == "segments"
    assert 5 <= got["words"] <= 9
    assert got["fertility"] == round(3 * len(text) / got["words"], 4)
    assert got["continued_words"] == 1.0
    assert measure(tokenizer, [text])["words"] == 1


def test_unknown_tokens_are_seen(bases):
    tokenizer = load_tokenizer(bases["unigram"])
    assert measure(tokenizer, ["the baker"])["unknown_tokens"] == 0
    assert measure(tokenizer, ["Ωψ ℵ"])["unknown_tokens"] > 0.4
    assert measure(load_tokenizer(bases["gpt-2"]), ["Ωψ ℵ"])["unknown_tokens"] == 0


def test_no_texts_measure_nothing():
    got = measure(build(), [])
    assert (got["documents"], got["tokens"], got["fertility"]) == (0, 0, 0.0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_gini_is_the_mean_difference_over_twice_the_mean(values):
    total = sum(values)
    pairs = sum(abs(left - right) for left in values for right in values)
    expected = pairs / (2 * len(values) * total) if total else 0.0
    assert gini(values) == pytest.approx(expected, abs=1e-9)


def test_gini_by_hand():
    assert gini([5, 5, 5]) == pytest.approx(0)
    assert gini([0, 0, 0, 8]) == pytest.approx(3 / 4)
    assert gini([]) == 0


@pytest.mark.parametrize("name", BASES)
def test_pieces_spell_the_text_in_every_form(bases, name):
    text = "the baker, كتاب 今天"
    cut = pieces(load_tokenizer(bases[name]), text)
    if name == "unigram":
        assert "".join(cut).startswith("▁the▁")
        return
    joined = "".join(cut).replace("▁", " ")
    data = b""
    while joined:
        byte = joined.startswith("<0x")
        data += bytes([int(joined[3:5], 16)]) if byte else joined[0].encode()
        joined = joined[6 if byte else 1 :]
    assert data.decode().removeprefix(" ") == text


def test_byte_level_pieces_are_shown_as_text():
    assert shown(" ك".encode()) == "▁ك"
    assert shown(" ك".encode() + b"\xd8") == "▁ك<0xD8>"
    assert shown(b"\x8a\n") == "<0x8A>\n"
    tokenizer = byte_level.build(["Ġt", "Ùĥ", "ĠÙĥ"], [("Ġ", "t"), ("Ù", "ĥ"), ("Ġ", "Ùĥ")])
    assert pieces(tokenizer, " t كé") == ["▁t", "▁ك", "<0xC3>", "<0xA9>"]


def test_appended_pieces_that_no_merge_reaches_are_found():
    reached, appended = build(["at"], [("a", "t")]), build(["at", "▁cat"], [("a", "t")])
    assert unreachable_tokens(reached, range(264, reached.get_vocab_size())) == []
    assert [appended.id_to_token(n) for n in unreachable_tokens(appended, range(264, 276))] == ["▁cat"]


def test_a_piece_that_an_earlier_merge_always_eats_is_found():
    tokenizer = build(["bc", "ab", "abc"], [("b", "c"), ("a", "b"), ("ab", "c")])
    assert [tokenizer.id_to_token(n) for n in unreachable_tokens(tokenizer, range(264, 277))] == ["abc"]


@pytest.mark.parametrize("name", ["gpt-2", "llama-3", "qwen"])
def test_tokens_that_end_inside_a_character_are_reached(bases, name):
    tokenizer = load_tokenizer(bases[name])
    special = set(tokenizer.get_added_tokens_decoder())
    contents = {
        number: byte_letters.bytes_of(token) for token, number in tokenizer.get_vocab().items() if number not in special
    }
    partial = [data for data in contents.values() if shown(data) != data.decode(errors="replace").replace(" ", "▁")]
    assert len(partial) > 150
    missing = unreachable_tokens(tokenizer, range(tokenizer.get_vocab_size()))
    assert {contents[number] for number in missing} == NEVER_IN_UTF8


def test_a_part_of_a_character_that_no_merge_makes_is_found():
    # The bytes of ك and the first of ل; the second of ك and the first of ل, which (Ù, ĥ) does not always eat.
    reached = byte_level.build(["Ùĥ", "ÙĥÙ", "ĥÙ"], [("Ù", "ĥ"), ("Ùĥ", "Ù"), ("ĥ", "Ù")])
    appended = byte_level.build(["Ùĥ", "ÙĥÙ", "ĥÙ", "ØĥØ"], [("Ù", "ĥ"), ("Ùĥ", "Ù"), ("ĥ", "Ù")])
    new = range(264, reached.get_vocab_size())
    assert unreachable_tokens(reached, new) == []
    assert unreachable_tokens(appended, [*new, new.stop]) == [new.stop]


def test_ignore_merges_reaches_what_is_a_word_of_its_own():
    tokenizer = byte_level.build(["Ġcat"], [])
    assert unreachable_tokens(tokenizer, [264]) == [264]
    specification = json.loads(tokenizer.to_str())
    specification["model"]["ignore_merges"] = True
    assert unreachable_tokens(Tokenizer.from_str(json.dumps(specification)), [264]) == []


def test_a_unigram_piece_is_reached_when_it_is_more_probable_than_its_parts():
    pieces_of_model = [("<unk>", 0.0), ("▁", -2.0), ("a", -2.0), ("b", -2.0), ("ab", -3.9), ("ba", -4.1)]
    tokenizer = Tokenizer(models.Unigram(pieces_of_model, unk_id=0))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    assert unreachable_tokens(tokenizer, range(1, 6)) == [5]


def test_texts_handed_in_are_looked_at():
    tokenizer = build(["tt"], [("t", "t")])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("t", "b"), normalizers.Replace("€", "tt")])
    token = tokenizer.token_to_id("tt")
    assert unreachable_tokens(tokenizer, [token]) == [token]
    assert unreachable_tokens(tokenizer, [token], ["abc", "5 €"]) == []


def test_special_tokens_are_not_asked_of(bases):
    tokenizer = load_tokenizer(bases["llama-3"])
    assert unreachable_tokens(tokenizer, tokenizer.get_added_tokens_decoder()) == []


def test_identity_sees_changed_lines_and_tells_new_characters_apart():
    base = build(["at"], [("a", "t")])
    changed = byte_fallback.build([*ALPHABET, "at", "ك", "tt"], [("a", "t"), ("t", "t")])
    result = identity(base, changed, ["cat", "hat", "hatt", "battle ك", "tt"], frozenset("ك"))
    assert {key: result[key] for key in ("lines", "identical", "with_new_characters", "changed")} == {
        "lines": 5,
        "identical": 3,
        "with_new_characters": 1,
        "changed": 1,
    }
    assert result["share"] == 3 / 5
    assert result["share_without_new_characters"] == 3 / 4
    assert [example.text for example in result["examples"]] == ["tt"]


def test_a_lossy_tokenizer_fails_the_round_trip():
    lossy = build()
    lossy.normalizer = normalizers.Sequence([normalizers.Lowercase(), lossy.normalizer])
    assert round_trip_failures(lossy, ["abc", "Abc"]) == ["Abc"]


def test_the_hash_is_of_what_determines_ids(tmp_path):
    byte_fallback.write_folder(tmp_path, build(["at"], [("a", "t")]))
    original = tokenizer_hash(tmp_path)
    file = tmp_path / "tokenizer.json"
    specification = json.loads(file.read_text())

    def hash_with(**changes):
        file.write_text(json.dumps({**specification, **changes}))
        return tokenizer_hash(tmp_path)

    model = specification["model"]
    assert len(original) == 32
    assert hash_with(truncation=None, model={**model, "merges": ["a t"]}) == original
    assert hash_with(model={**model, "merges": []}) != original
    assert hash_with(normalizer=None) != original
    assert hash_with(added_tokens=specification["added_tokens"][1:]) != original


def test_special_tokens_in_text_are_plain_text(tmp_path):
    byte_fallback.write_folder(tmp_path, build())
    ids = load_tokenizer(tmp_path).encode("</s>", add_special_tokens=False).ids
    assert len(ids) == 4
    assert min(ids) >= 8


def test_folders_that_are_no_tokenizers_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="not a tokenizer that can be read"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["gpt-2", "llama-3"])
@given(text=st.text())
def test_byte_level_gives_back_any_text(bases, name, text):
    assert round_trip_failures(load_tokenizer(bases[name]), [text]) == []


def test_phrases_are_runs_of_words():
    texts = ["- 3 one two, three", "see the old baker bake", "كتب الولد الكبير رسالة"]
    assert phrases(texts, number=2) == ["see the old", "كتب الولد الكبير"]
