import json

import pytest

from diglot.artifact import UserError
from diglot.tokenizer import byte_fallback
from diglot.tokenizer.measure import (
    identity,
    load_tokenizer,
    measure,
    phrases,
    round_trip_failures,
    special_ids,
    tokenizer_hash,
    unreachable_tokens,
)

ALPHABET = [*"▁abcdehlot"]


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
        "tokens": 7,
        "fertility": 1.75,
        "characters_per_token": round(9 / 7, 4),
        "bytes_per_token": round(10 / 7, 4),
    }


def test_appended_pieces_that_no_merge_reaches_are_found():
    reached, appended = build(["at"], [("a", "t")]), build(["at", "▁cat"], [("a", "t")])
    assert unreachable_tokens(reached, range(264, reached.get_vocab_size())) == []
    assert [appended.id_to_token(n) for n in unreachable_tokens(appended, range(264, 276))] == ["▁cat"]


def test_a_piece_that_an_earlier_merge_always_eats_is_found():
    tokenizer = build(["bc", "ab", "abc"], [("b", "c"), ("a", "b"), ("ab", "c")])
    assert [tokenizer.id_to_token(n) for n in unreachable_tokens(tokenizer, range(264, 277))] == ["abc"]


def test_identity_sees_changed_lines_and_tells_new_characters_apart():
    base = build(["at"], [("a", "t")])
    changed = byte_fallback.build([*ALPHABET, "at", "ك", "tt"], [("a", "t"), ("t", "t")])
    result = identity(base, changed, ["cat", "hat", "hatt", "battle ك", "tt"], {"ك"})
    assert {key: result[key] for key in ("lines", "identical", "with_new_characters", "changed")} == {
        "lines": 5,
        "identical": 3,
        "with_new_characters": 1,
        "changed": 1,
    }
    assert result["share"] == 3 / 5
    assert result["share_without_new_characters"] == 3 / 4
    assert [example["text"] for example in result["examples"]] == ["tt"]


def test_a_lossy_tokenizer_fails_the_round_trip():
    from tokenizers import normalizers

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
    byte_fallback.write_folder(tmp_path, build())
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    with pytest.raises(UserError, match="eos_token is not defined"):
        special_ids(tmp_path)


def test_phrases_are_runs_of_words():
    texts = ["- 3 one two, three", "see the old baker bake", "كتب الولد الكبير رسالة"]
    assert phrases(texts, number=2) == ["see the old", "كتب الولد الكبير"]
