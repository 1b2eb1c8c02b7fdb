import json
import re
import shutil
from pathlib import Path

import base_tokenizers
import numpy as np
import pytest
import tokenizer_corpora as corpora
import tokenizers
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, processors

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.summaries.tokenizer import NewTokens
from diglot.tokenizer import byte_fallback, extend, proofs
from diglot.tokenizer.byte_letters import BYTE_LETTERS
from diglot.tokenizer.chat import load_chat
from diglot.tokenizer.folder import load_tokenizer, pieces, reader_of_bytes, tokenizer_hash, tokenizer_size
from diglot.tokenizer.plain_texts import plain_texts
from diglot.tokenizer.proofs import round_trip_failures
from diglot.tokenizer.special import CHAT_TEMPLATE


@pytest.fixture
def english(corpus, train_tokenizer):
    return train_tokenizer(corpus, vocabulary_size=450, languages=["en"])[0]


def ids(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_arabic_after_english(english, corpus, extend_tokenizer):
    """A script of its own: English is untouched, and the proofs say so."""
    artifact, summary = extend_tokenizer(english, corpus, languages=["ar"], new_tokens=150)
    base, extended = load_tokenizer(english.path), load_tokenizer(artifact.path)
    assert summary.new_tokens == NewTokens(150, 150, summary.new_tokens.characters, of_base_characters=0)
    assert extended.get_vocab_size() == summary.vocabulary_size == 600
    assert all(extended.token_to_id(token) == number for token, number in base.get_vocab().items())
    assert all(ids(base, text) == ids(extended, text) for text in corpora.ENGLISH)
    for number in range(450, 600):
        text = extended.id_to_token(number).replace("▁", " ")
        assert number in ids(extended, text)
        assert not text.isascii()
    assert summary.fertility["en"] == summary.fertility_before["en"]
    assert summary.fertility["ar"] < summary.fertility_before["ar"] / 3
    assert summary.proofs.identity.passed is summary.proofs.identity.required is True
    assert summary.proofs.identity.share == 1.0
    assert all(proof.passed for proof in vars(summary.proofs).values() if proof)
    example = summary.examples["ar"][0]
    assert len(example.after) < len(example.before)
    assert json.loads((artifact.path / "diglot.json").read_text())["hash"] == tokenizer_hash(artifact.path)


def test_indonesian_after_english_shares_the_alphabet(english, corpus, extend_tokenizer):
    _, summary = extend_tokenizer(english, corpus, languages=["id"], new_tokens=60)
    identity = summary.proofs.identity
    assert summary.languages_sharing_the_alphabet == ["id"]
    assert summary.new_tokens.of_base_characters > 20
    assert identity.required is False
    assert identity.lines == identity.identical + identity.with_new_characters + identity.changed
    assert identity.share_without_new_characters > 0.95
    assert summary.fertility["id"] < summary.fertility_before["id"]
    assert summary.proofs.reachable.unreachable == 0


def test_every_new_merge_comes_after_the_bases(english, corpus, extend_tokenizer):
    artifact, _ = extend_tokenizer(english, corpus, languages=["ar"], new_tokens=50)
    before, after = (json.loads((path / "tokenizer.json").read_text()) for path in (english.path, artifact.path))
    merges = before["model"]["merges"]
    assert after["model"]["merges"][: len(merges)] == merges
    assert len(after["model"]["merges"]) > len(merges)
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor", "added_tokens"):
        assert after[part] == before[part]
    assert (artifact.path / "chat_template.jinja").read_text() == CHAT_TEMPLATE
    assert base_tokenizers.special_ids_of(artifact.path) == base_tokenizers.special_ids_of(english.path)


def test_any_text_survives_and_latin_text_is_cut_as_before(english, corpus, extend_tokenizer):
    artifact, _ = extend_tokenizer(english, corpus, languages=["ar"], new_tokens=150)
    base, extended = load_tokenizer(english.path), load_tokenizer(artifact.path)

    @given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("تعلمال ▁،"), max_size=40))
    @examples(200)
    def survives(text):
        assert round_trip_failures(extended, [text]) == []

    @given(st.text(st.characters(max_codepoint=0x24F), max_size=40))
    @examples(200)
    def unchanged(text):
        assert ids(base, text) == ids(extended, text)

    survives()
    unchanged()


def test_extending_twice(english, corpus, extend_tokenizer):
    once, _ = extend_tokenizer(english, corpus, languages=["ar"], new_tokens=80)
    twice, summary = extend_tokenizer(once, corpus, languages=["id"], new_tokens=40)
    assert load_tokenizer(twice.path).get_vocab_size() == 450 + 80 + 40
    assert set(summary.base_languages) == {"en", "ar"}
    assert ids(load_tokenizer(twice.path), corpora.ARABIC[0]) == ids(load_tokenizer(once.path), corpora.ARABIC[0])


def test_too_little_text_gives_fewer_tokens_and_says_so(english, extend_tokenizer, tmp_path):
    corpus = corpora.write_corpus(tmp_path / "c", [("ar", "باب باب"), ("en", "a cat")])
    artifact, summary = extend_tokenizer(english, corpus, languages=["ar"], new_tokens=500)
    assert summary.new_tokens.requested == 500
    assert 0 < summary.new_tokens.added < 10
    (warning,) = summary.warnings()
    assert warning.startswith(f"{summary.new_tokens.added} of 500 new tokens")
    assert load_tokenizer(artifact.path).get_vocab_size() == 450 + summary.new_tokens.added


def test_without_base_language_text_identity_is_not_claimed(english, extend_tokenizer, tmp_path):
    corpus = corpora.write_corpus(tmp_path / "c", corpora.varied("ar", corpora.ARABIC, 50))
    _, summary = extend_tokenizer(english, corpus, languages=["ar"], new_tokens=50)
    assert summary.base_languages == []
    assert summary.new_tokens.of_base_characters == 0
    assert summary.proofs.identity.lines == 0
    assert summary.proofs.identity.passed is None


def llama2_style(folder: Path) -> Artifact:
    """A base in the form of Llama-2's tokenizer.json: a space put in front, no pre-tokenizer, no chat tokens."""
    letters = sorted({*"".join(corpora.ENGLISH).replace(" ", "▁").replace("\n", "").replace("\t", ""), "ا", "ل"})
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("e", "r"), ("▁", "b"), ("▁", "▁"), (".", "▁")]
    names = ["<unk>", "<s>", "</s>", *byte_fallback.BYTES, *letters, *("".join(merge) for merge in merges)]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    byte_fallback.write_json(folder / "tokenizer_config.json", {**config, "legacy": False})
    return corpora.artifact(folder, "model")


def test_a_llama2_style_base_is_extended_and_gets_the_chat_format(corpus, extend_tokenizer, tmp_path):
    from transformers import AutoTokenizer

    base_artifact = llama2_style(tmp_path / "base")
    artifact, summary = extend_tokenizer(base_artifact, corpus, languages=["ar"], new_tokens=100)
    base, extended = load_tokenizer(base_artifact.path), load_tokenizer(artifact.path)
    assert summary.chat_tokens_added == ["<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    assert summary.vocabulary_size == base.get_vocab_size() + 5 + 100
    assert [extended.token_to_id(token) for token in summary.chat_tokens_added] == [
        *range(base.get_vocab_size() + 100, base.get_vocab_size() + 105)
    ]
    assert all(proof.passed for proof in vars(summary.proofs).values() if proof)
    assert all(ids(base, text) == ids(extended, text) for text in corpora.ENGLISH)
    assert "▁تعلم" in pieces(extended, corpora.ARABIC[2])

    automatic = AutoTokenizer.from_pretrained(artifact.path)
    assert automatic("تعلم the cat")["input_ids"] == [1, *ids(extended, "تعلم the cat")]
    messages = [{"role": "user", "content": "the bread"}, {"role": "assistant", "content": "الخبز"}]
    assert automatic.apply_chat_template(messages, return_dict=False) == load_chat(artifact.path).encode(messages)[0]
    assert automatic.pad_token == "<pad>"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.BPE(vocab={"a": 0, "<s>": 1}, merges=[]), "neither byte tokens nor a byte-level alphabet"),
        (models.BPE(vocab={"a": 0}, merges=[], end_of_word_suffix="</w>"), "end_of_word_suffix is set"),
        (models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"), "of kind WordPiece"),
    ],
)
def test_other_kinds_of_base_are_refused(model, message, corpus, extend_tokenizer, tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    tokenizers.Tokenizer(model).save(str(folder / "tokenizer.json"))
    with pytest.raises(UserError, match=f"{message}.*can be extended"):
        extend_tokenizer(corpora.artifact(folder, "model"), corpus, languages=["ar"], new_tokens=10)


def test_a_failed_proof_is_an_error():
    """The proofs find what a careless extension would do: appended pieces, moved ids, merges of base letters."""
    letters = sorted({*"".join(corpora.ENGLISH).replace(" ", "▁")})
    base = byte_fallback.build(letters, [])
    appended = byte_fallback.build([*letters, "▁the"], [])
    merged = byte_fallback.build([*letters, "he"], [("h", "e")])
    with pytest.raises(UserError, match="reachable: no text gives 1 of the new tokens, such as '▁the'"):
        proofs.prove_reachable(appended, ["▁the"], corpora.ENGLISH)
    with pytest.raises(UserError, match="base ids"):
        proofs.prove_base_ids(base, byte_fallback.build(letters[::-1], []))
    with pytest.raises(UserError, match=r"identity: .* base-language lines are cut differently"):
        proofs.prove_identity(base, merged, corpora.ENGLISH, ["en"], frozenset(), shared=False)
    lossy = byte_fallback.build(letters, [])
    lossy.normalizer = normalizers.NFKC()
    with pytest.raises(UserError, match="round trip"):
        proofs.prove_round_trip(base, lossy, corpora.ENGLISH, corpora.ENGLISH)


def test_a_changed_special_token_or_template_is_an_error(english, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(english.path, other)

    def prove(our_chat: bool) -> None:
        was, now = load_tokenizer(english.path), load_tokenizer(other)
        proofs.prove_special_tokens(english.path, other, was, now, [], our_chat)

    prove(our_chat=False)
    (other / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(UserError, match="chat template is not the base's"):
        prove(our_chat=False)
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace('"special": true', '"special": false', 1))
    with pytest.raises(UserError, match="added_tokens is not the base's"):
        prove(our_chat=True)


def test_a_latin_language_needs_text_of_the_base_language(english, extend_tokenizer, tmp_path):
    """Without it nobody could say what the new tokens do to the base language."""
    corpus = corpora.write_corpus(tmp_path / "c", corpora.varied("id", corpora.INDONESIAN, 50))
    with pytest.raises(UserError, match="id shares the base language's alphabet"):
        extend_tokenizer(english, corpus, languages=["id"], new_tokens=50)


def test_as_many_tokens_as_are_worth_it(english, corpus, extend_tokenizer, monkeypatch):
    """With minimum_gain, the last stretch gained enough and the next would not; new_tokens is then a limit."""
    monkeypatch.setattr(extend, "STRETCH", 20)
    _, all_ = extend_tokenizer(english, corpus, languages=["ar"], new_tokens=400)
    _, some = extend_tokenizer(english, corpus, languages=["ar"], new_tokens=400, minimum_gain=0.05)
    added, characters = some.new_tokens.added, some.new_tokens.characters
    assert characters < added < all_.new_tokens.added
    assert (added - characters) % 20 == 0
    points = dict(map(tuple, some.curve["ar"]))
    assert list(points.values()) == sorted(points.values(), reverse=True)
    assert points[added] == pytest.approx(some.fertility["ar"], abs=1e-3)


def test_enough():
    """Gains of 50, 33, 25, 20 and 17% a stretch."""
    tokens = np.array([[1e6 / (1 + merges / 1000)] for merges in range(5001)])
    assert [extend.enough(tokens, gain) for gain in (0, 0.18, 0.22, 0.6)] == [5000, 4000, 3000, 0]


def test_our_chat_format_can_be_asked_for(corpus, extend_tokenizer, tmp_path):
    """A base with a format of its own keeps it, unless ours is asked for."""
    base = corpora.artifact(base_tokenizers.qwen(tmp_path / "qwen", list(corpora.ENGLISH), 400), "model")
    kept, summary = extend_tokenizer(base, corpus, languages=["ar"], new_tokens=100)
    assert (summary.chat_format, summary.chat_tokens_added) == ("chatml", [])
    ours, summary = extend_tokenizer(base, corpus, languages=["ar"], new_tokens=100, chat="diglot")
    assert summary.chat_format == "diglot"
    assert summary.chat_tokens_added == ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    assert (ours.path / "chat_template.jinja").read_text() == CHAT_TEMPLATE
    assert not (kept.path / "chat_template.jinja").exists()
    # A template that is `null` is none, so ours comes unasked.
    settings = json.loads((base.path / "tokenizer_config.json").read_text()) | {"chat_template": None}
    (base.path / "tokenizer_config.json").write_text(json.dumps(settings))
    _, summary = extend_tokenizer(base, corpus, languages=["ar"], new_tokens=100)
    assert summary.chat_format == "diglot"


# --- what is the base's stays the base's --------------------------------------------------------------------------

# In the Arabic text alone, as in manuals: the base language's sample need not hold them.
MARKUP = "اذهب إلى **المشاريع** \\> \u200f\\> é {x} \\frac{ا}{ب} <b>تعلم</b> a\\_b \u200f– \u200f«الخبز» 🙂👩\u200d👩 "


@pytest.mark.parametrize("kind", ["ours", "llama-2", "gpt-2", "llama-3", "unigram"])
def test_rare_characters_of_the_base_get_no_new_pieces(kind, train_tokenizer, extend_tokenizer, tmp_path):
    """Whatever the new language's text is full of: what holds no letter of it is cut as before."""
    arabic = [("ar", MARKUP * 3 + text) for _, text in corpora.varied("ar", corpora.ARABIC, 60)]
    english = corpora.varied("en", corpora.ENGLISH, 60)
    corpus = corpora.write_corpus(tmp_path / "c", [*arabic, *english], [*arabic[:5], *english[:5]])
    if kind == "ours":
        base = train_tokenizer(corpus, vocabulary_size=420, languages=["en"])[0]
    else:
        texts = [text for _, text in english]
        base = corpora.artifact(base_tokenizers.BASES[kind](tmp_path / "b", texts, 420), "model")
    artifact, summary = extend_tokenizer(base, corpus, languages=["ar"], new_tokens=150)
    was, now = load_tokenizer(base.path), load_tokenizer(artifact.path)
    arabic_letter = re.compile("[\u0600-\u06ff]")
    texts = [arabic_letter.sub("", MARKUP), "1. Go to **Projects** \\> x", "\u200f\\>\u200f", *plain_texts()]
    assert [text for text in texts if ids(was, text) != ids(now, text)] == []
    identity = summary.proofs.identity
    assert (identity.required, identity.changed, identity.other_texts_changed) == (True, 0, 0)
    assert identity.other_texts > 500
    assert summary.fertility["ar"] < summary.fertility_before["ar"]


def test_a_shared_alphabet_gives_pieces_of_letters_alone(corpus, english, extend_tokenizer, tmp_path):
    code = " ".join(["roti\\>\\> {{x}} \\frac{12}{34} yang(): 2024-2024"] * 3)
    indonesian = [("id", f"{code} {text}") for _, text in corpora.varied("id", corpora.INDONESIAN, 60)]
    both = corpora.write_corpus(tmp_path / "c", [*indonesian, *corpora.varied("en", corpora.ENGLISH, 60)])
    base = corpora.artifact(base_tokenizers.gpt_2(tmp_path / "b", list(corpora.ENGLISH), 400), "model")
    for either in (english, base):
        artifact, summary = extend_tokenizer(either, both, languages=["id"], new_tokens=60)
        now, first = load_tokenizer(artifact.path), summary.base_vocabulary_size
        read = reader_of_bytes(now)
        new = [read(number).decode() for number in range(first, first + summary.new_tokens.added)]
        assert len(new) > 20
        assert [piece for piece in new if not piece.removeprefix(" ").isalpha()] == []


def careless(letters: list[str], *merges: tuple[str, str]) -> tokenizers.Tokenizer:
    return byte_fallback.build([*letters, *map("".join, merges)], [*merges])


def test_code_and_arbitrary_text_are_part_of_the_proof_of_identity():
    letters = sorted({*"".join(corpora.ENGLISH).replace(" ", "▁"), "\\", ">", "\u200f", "ك"})
    base = byte_fallback.build(letters, [])
    for merge in (("\\", ">"), ("▁", "\u200f"), ("\u200f", "\\")):
        with pytest.raises(UserError, match=r"identity: .* of .* lines of code and other text are cut differently"):
            proofs.prove_identity(base, careless(letters, merge), corpora.ENGLISH, ["en"], frozenset("ك"), shared=False)
    good = proofs.prove_identity(
        base, careless(letters, ("▁", "ك")), corpora.ENGLISH, ["en"], frozenset("ك"), shared=False
    )
    assert (good.passed, good.other_texts_changed) == (True, 0)


def test_a_line_that_quotes_the_new_language_is_cut_as_before_around_it():
    letters = sorted({*"".join(corpora.ENGLISH).replace(" ", "▁"), "\\", ">", "ك"})
    base, extended = byte_fallback.build(letters, []), careless(letters, ("\\", ">"), ("ك", "ك"))
    found = proofs.identity(base, extended, ["the كك", "the كك \\>", "the"], frozenset("ك"))
    assert (found["identical"], found["with_new_characters"], found["changed"]) == (1, 1, 1)
    assert found["set_aside_for"] == {"ك": 1}
    assert [example.text for example in found["examples"]] == ["the كك \\>"]


def test_a_proof_that_leaves_out_too_much_is_none():
    letters = sorted({*"".join(corpora.ENGLISH).replace(" ", "▁"), "ك"})
    base, extended = byte_fallback.build(letters, []), careless(letters, ("ك", "ك"))
    lines = ["the bread"] * 95 + ["كك"] * 5
    assert proofs.prove_identity(base, extended, lines, ["en"], frozenset("ك"), shared=False).with_new_characters == 5
    with pytest.raises(UserError, match=r"identity: 6 of 101 base-language lines hold .*'ك' in 6.* leave out 5%"):
        proofs.prove_identity(base, extended, [*lines, "كك"], ["en"], frozenset("ك"), shared=False)


def test_a_base_that_changes_most_text_cannot_be_proved():
    base = byte_fallback.build([*"abc"], [])
    base.normalizer = normalizers.Sequence([normalizers.Lowercase(), base.normalizer])
    with pytest.raises(UserError, match=r"round trip: the base itself changes 2 of 3 lines .*, such as 'ABC'"):
        proofs.prove_round_trip(base, base, ["abc"], ["ABC", "abc", "CAB"])
    assert proofs.prove_round_trip(base, base, ["abc", "ABC"], ["ABC", "abc"]).exact >= 1


# --- bases in use: bytes and ids that they lack, patterns that look at case --------------------------------------

LACKING = "\x04\x1d"  # bytes that SmolLM2's vocabulary lacks, as F1 and F2


def lacking_bytes(folder: Path) -> Path:
    """GPT-2's kind without tokens for some bytes, numbered through, as what was trained on text without them."""
    base_tokenizers.gpt_2(folder, list(corpora.ENGLISH), 400)
    with base_tokenizers.edited(folder) as specification:
        vocabulary = specification["model"]["vocab"]
        for byte in (0x04, 0x1D, 0xC0, 0xC1, 0xF1, *range(0xF5, 0x100)):
            del vocabulary[BYTE_LETTERS[byte]]
        specification["model"]["vocab"] = {token: number for number, token in enumerate(vocabulary)}
        specification["added_tokens"][0]["id"] = len(vocabulary)
    return folder


def test_bytes_that_a_base_lacks_become_tokens(corpus, extend_tokenizer, tmp_path):
    base = corpora.artifact(lacking_bytes(tmp_path / "base"), "model")
    artifact, summary = extend_tokenizer(base, corpus, languages=["ar"], new_tokens=100)
    was, now = load_tokenizer(base.path), load_tokenizer(artifact.path)
    assert (summary.new_tokens.added, summary.new_tokens.bytes, summary.new_tokens.characters) == (100, 3, 0)
    assert [was.decode(ids(was, text)) for text in LACKING] == ["", ""]
    assert round_trip_failures(now, [*LACKING, "a\x04b\x1d", "\U00040000", "\U0007ffff"]) == []
    assert [text for text in corpora.ENGLISH if ids(was, text) != ids(now, text)] == []
    assert (summary.proofs.identity.changed, summary.proofs.identity.other_texts_changed) == (0, 0)


def test_characters_that_the_base_drops_are_told_apart(tmp_path):
    was = load_tokenizer(lacking_bytes(tmp_path / "base"))
    now = load_tokenizer(base_tokenizers.gpt_2(tmp_path / "whole", list(corpora.ENGLISH), 400))
    assert proofs.lost_characters(was, now, ["the cat\x04", "é\U00040000"]) == {"\x04", "\U00040000"}
    assert proofs.lost_characters(was, was, ["the cat\x04"]) == frozenset()


def with_gaps(folder: Path) -> Path:
    """Special tokens far behind the others, as GPT-4o's: ids between them are of no token."""
    base_tokenizers.gpt_2(folder, list(corpora.ENGLISH), 400)
    with base_tokenizers.edited(folder) as specification:
        vocabulary, (end,) = specification["model"]["vocab"], specification["added_tokens"]
        end["id"] = vocabulary[end["content"]] = len(vocabulary) + 5
        vocabulary["Ġbread"] = vocabulary.get("Ġbread", len(vocabulary) + 1)
    return folder


def test_ids_without_a_token_stay_without_one(corpus, extend_tokenizer, tmp_path):
    base = corpora.artifact(with_gaps(tmp_path / "base"), "model")
    artifact, summary = extend_tokenizer(base, corpus, languages=["ar"], new_tokens=100)
    was, now = load_tokenizer(base.path), load_tokenizer(artifact.path)
    size = tokenizer_size(was)
    gaps = set(range(size)) - set(was.get_vocab().values())
    assert len(gaps) >= 4
    assert set(range(size + 105)) - set(now.get_vocab().values()) == gaps
    assert (summary.base_vocabulary_size, summary.vocabulary_size) == (size, size + 105)
    assert [now.token_to_id(token) for token in summary.chat_tokens_added] == [*range(size + 100, size + 105)]
    assert all(now.token_to_id(token) == number for token, number in was.get_vocab().items())
    messages = [{"role": "user", "content": "تعلم the bread"}]
    chat = load_chat(artifact.path)
    assert max(chat.encode(messages)[0]) == now.token_to_id("<|end|>")


def test_ids_that_are_no_numbering_are_refused(corpus, extend_tokenizer, tmp_path):
    folder = with_gaps(tmp_path / "base")
    good = json.loads((folder / "tokenizer.json").read_text())
    for number, message in ((12, "have one id, 12; give each its own"), (900_000, "has the id 900000, but")):
        specification = json.loads(json.dumps(good))
        specification["added_tokens"][0]["id"] = specification["model"]["vocab"]["<|endoftext|>"] = number
        (folder / "tokenizer.json").write_text(json.dumps(specification))
        with pytest.raises(UserError, match=message):
            extend_tokenizer(corpora.artifact(folder, "model"), corpus, languages=["ar"], new_tokens=10)


def test_a_piece_that_a_pattern_cuts_off_before_some_letters_alone_is_found(extend_tokenizer, tmp_path):
    """GPT-4o's pattern: وG is one word before a small letter or an Arabic one, and two words alone."""
    pattern = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lo}]*[\p{Ll}\p{Lo}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lo}]+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
    tokenizer = base_tokenizers._byte_level(list(corpora.ENGLISH), 300, pattern, ["<|end|>"])
    base = corpora.artifact(base_tokenizers._write(tmp_path / "b", tokenizer, eos_token="<|end|>"), "model")
    arabic = [("ar", f"{text}{' وGا وGب وGت وGث' * 3}") for _, text in corpora.varied("ar", corpora.ARABIC, 40)]
    corpus = corpora.write_corpus(tmp_path / "c", arabic, corpora.varied("ar", corpora.ARABIC, 5))
    artifact, summary = extend_tokenizer(base, corpus, languages=["ar"], new_tokens=300)
    now = load_tokenizer(artifact.path)
    read = reader_of_bytes(now)
    new = {read(number): number for number in range(summary.base_vocabulary_size, summary.vocabulary_size)}
    piece = new[" وG".encode()]
    assert piece not in {*ids(now, " وG"), *ids(now, " وGا وGب وGت وGث")}  # which have pieces of their own
    assert piece in ids(now, " وGك")
    assert summary.proofs.reachable.passed


@pytest.mark.slow
def test_real_arabic_after_real_english(data, train_tokenizer, extend_tokenizer, tmp_path):
    """Held-out real text: English identical, no token unreachable, Arabic fertility falls as ALLaM's did."""
    english, arabic = (corpora.real_documents(data, language, 4_000_000) for language in ("en", "ar"))
    held_out = [*english[:60], *arabic[:60]]
    corpus = corpora.write_corpus(tmp_path / "corpus", [*english[60:], *arabic[60:]], held_out)
    base, _ = train_tokenizer(corpus, vocabulary_size=4000, languages=["en"])
    _, summary = extend_tokenizer(base, corpus, languages=["ar"], new_tokens=4000)
    identity = summary.proofs.identity
    assert identity.changed == 0
    assert identity.share > 0.99
    assert summary.proofs.reachable.unreachable == 0
    assert summary.fertility_before["ar"] > 8
    assert summary.fertility["ar"] < summary.fertility_before["ar"] / 3
