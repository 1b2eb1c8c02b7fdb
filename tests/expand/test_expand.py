import json

import pytest
import torch
import transformers
from model_builders import NEW_MERGES, inputs, save, transformers_model, vocabulary, write_tokenizer
from rounding import rounding

from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.expand.initialization import Alignment, align, expand_rows, sub_token_weights
from diglot.expand.stage import run
from diglot.model.huggingface import load_decoder
from diglot.recipe.expand import Expand
from diglot.tokenizer.folder import load_tokenizer

SHAPES = {
    "tied": ("llama", {"tie_word_embeddings": True}),
    "untied": ("llama", {}),
    "polylm": ("gpt2", {}),
    "exact rows": ("qwen3", {"vocab_size": 285}),
}


def extend(folder, **changes):
    return write_tokenizer(folder, NEW_MERGES, new_letters="كتاب", new_specials=["<|tool|>", "<|think|>"], **changes)


def expand(model, tokenizer, output, context, **settings):
    output.mkdir()
    return run(Expand(do="expand", **settings), inputs(model=model, tokenizer=tokenizer), output, context)


@pytest.fixture(params=SHAPES)
def model(request, tmp_path):
    kind, changes = SHAPES[request.param]
    return save(transformers_model(kind, **changes), tmp_path / "model")


def matrices(folder):
    decoder = load_decoder(folder, dtype=None)
    return [decoder.embedding.weight] + ([] if decoder.head is None else [decoder.head.weight])


@torch.no_grad()
def test_old_rows_stay_and_new_rows_are_the_mean_of_their_sub_tokens(model, tmp_path, context):
    tokenizer = extend(tmp_path / "tokenizer")
    summary = expand(model, tokenizer, tmp_path / "out", context)
    old_ids, new_ids = vocabulary(model), vocabulary(tokenizer)
    old_tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    assert summary.rows_after == len(new_ids) == 285 + 4 + 6 + 2
    assert summary.new_tokens == 12
    for before, after in zip(matrices(model), matrices(tmp_path / "out")):
        for token, old_id in old_ids.items():
            assert torch.equal(before[old_id], after[new_ids[token]]), token
        for left, right in NEW_MERGES:
            surface = (left + right).replace("▁", " ")
            pieces = old_tokenizer(surface, add_special_tokens=False).input_ids
            torch.testing.assert_close(after[new_ids[left + right]], before[pieces].mean(0))
        known = before[list(old_ids.values())]
        for special in ("<|tool|>", "<|think|>"):
            distance = (after[new_ids[special]] - known.mean(0)).norm() / known.std(0).norm()
            assert 0 < distance < 0.03
        assert not torch.equal(after[new_ids["<|tool|>"]], after[new_ids["<|think|>"]])


@torch.no_grad()
def test_old_text_gets_the_old_logits_from_transformers(model, tmp_path, context):
    tokenizer = extend(tmp_path / "tokenizer")
    expand(model, tokenizer, tmp_path / "out", context)
    before = transformers.AutoModelForCausalLM.from_pretrained(model)
    after, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    ids = torch.tensor([[1, 264, 270, 280, 12]])
    # Not bit for bit: a product with more rows may be cut into other blocks, which sum in another order.
    torch.testing.assert_close(
        before(ids).logits[..., :285],
        after(ids).logits[..., :285],
        atol=rounding(before(ids).logits, operations=16),
        rtol=0,
    )
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (tokenizer / "tokenizer.json").read_bytes()


def test_rows_that_were_padding_are_initialised(tmp_path, context):
    """Trap 3: 320 rows hold the 297 new entries, so a check of shapes would find nothing to do."""
    model = save(transformers_model("llama", tie_word_embeddings=True), tmp_path / "model")
    tokenizer = extend(tmp_path / "tokenizer")
    summary = expand(model, tokenizer, tmp_path / "out", context, pad_vocabulary_to=64)
    assert (summary.rows_before, summary.rows_after) == (320, 320)
    before, after = matrices(model)[0], matrices(tmp_path / "out")[0]
    changed = (before != after).any(1).nonzero().flatten().tolist()
    assert changed == list(range(285, 297))


def test_tokens_are_matched_by_string_when_ids_move(tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    names = list(vocabulary(extend(tmp_path / "plain")))
    names.sort(key=lambda name: hash_free_key(name))
    tokenizer = extend(tmp_path / "moved", order=names)
    expand(model, tokenizer, tmp_path / "out", context)
    old_ids, new_ids = vocabulary(model), vocabulary(tokenizer)
    assert sum(new_ids[token] != old_ids[token] for token in old_ids) > 200
    for before, after in zip(matrices(model), matrices(tmp_path / "out")):
        for token, old_id in old_ids.items():
            assert torch.equal(before[old_id], after[new_ids[token]]), token


def hash_free_key(name: str) -> bytes:
    return name.encode()[::-1]


def test_random_is_drawn_from_the_old_rows_distribution(tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    merges = [(a, b) for a in "كتابمن" for b in "كتابمن"]
    tokenizer = write_tokenizer(tmp_path / "tokenizer", merges, new_letters="كتابمن")
    summary = expand(model, tokenizer, tmp_path / "out", context, initialization="random")
    before, after = matrices(model)[0], matrices(tmp_path / "out")[0]
    assert torch.equal(before[:285], after[:285])
    new = after[285:]
    assert new.std().item() == pytest.approx(before[:285].std().item(), rel=0.1)
    assert abs((new - before[:285].mean(0)).mean()) < 0.005
    assert summary.initialization == "random"
    assert summary.norms["embedding"].new == pytest.approx(summary.norms["embedding"].old, rel=0.15)


def test_the_same_seed_gives_the_same_bytes_and_the_type_is_kept(tmp_path, context):
    model = save(transformers_model("llama").bfloat16(), tmp_path / "model")
    tokenizer = extend(tmp_path / "tokenizer")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        expand(model, tokenizer, tmp_path / name, context, seed=seed)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b") != content_hash(tmp_path / "c")
    assert matrices(tmp_path / "a")[0].dtype == torch.bfloat16
    before, after = matrices(model)[0], matrices(tmp_path / "a")[0]
    assert torch.equal(before[:285], after[:285])


def test_the_number_of_threads_does_not_show():
    old = torch.randn(30_000, 64, generator=torch.Generator().manual_seed(0))
    kept = [(row, row) for row in range(30_000)]
    alignment = Alignment(kept, {30_000 + n: [n, 7 * n, 11 * n] for n in range(2000)}, [32_000, 32_001], [])
    row_weights = sub_token_weights(alignment)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append([expand_rows(old, alignment, 32_010, 0, mixed) for mixed in (row_weights, None)])
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other))
    random = results[0][1]
    known = old.mean(0), old.std(0)
    torch.testing.assert_close(random[30_000:32_002].mean(0), known[0], atol=0.1, rtol=0)
    torch.testing.assert_close(random[30_000:32_002].std(0), known[1], atol=0.1, rtol=0)


def test_nothing_new_is_the_identity(tmp_path, context):
    model = save(transformers_model("llama", vocab_size=285), tmp_path / "model")
    summary = expand(model, write_tokenizer(tmp_path / "tokenizer"), tmp_path / "out", context)
    assert summary.new_tokens == 0
    for before, after in zip(matrices(model), matrices(tmp_path / "out")):
        assert torch.equal(before, after)


def test_another_tokenizer_is_refused(tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    write_tokenizer(model, new_letters="ك")
    with pytest.raises(UserError, match="not an extension of the model's own: it lacks 1 of its tokens, such as 'ك'"):
        expand(model, write_tokenizer(tmp_path / "tokenizer"), tmp_path / "out", context)


def test_a_byte_level_token_is_spelled_with_byte_level_pieces(tmp_path):
    """GPT-2's alphabet: part of a letter's bytes can be a token, which no text would spell."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    for name, merges in (("old", []), ("new", [("Ù", "ģ"), ("Ġ", "Ùģ")])):
        pieces = [*alphabet, *("".join(pair) for pair in merges)]
        tokenizer = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        (tmp_path / name).mkdir()
        tokenizer.save(str(tmp_path / name / "tokenizer.json"))
    old, new = load_tokenizer(tmp_path / "old"), load_tokenizer(tmp_path / "new")
    alignment = align(old, new)
    spelled = {new.id_to_token(i): [old.id_to_token(p) for p in ids] for i, ids in alignment.sub_tokens.items()}
    assert spelled == {"Ùģ": ["Ù", "ģ"], "ĠÙģ": ["Ġ", "Ù", "ģ"]}
    assert not alignment.special


def test_a_prefix_space_of_the_normaliser_does_not_get_into_the_spelling(tmp_path):
    """Llama-2's normaliser puts ▁ before every text; a continuation piece has none."""
    old_folder, new_folder = write_tokenizer(tmp_path / "old"), extend(tmp_path / "new")
    for folder in (old_folder, new_folder):
        content = json.loads((folder / "tokenizer.json").read_text())
        content["normalizer"] = {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, content["normalizer"]],
        }
        (folder / "tokenizer.json").write_text(json.dumps(content))
    old, new = load_tokenizer(old_folder), load_tokenizer(new_folder)
    assert old.encode("كت").tokens[0] == "▁"
    spelling = align(old, new).sub_tokens[new.token_to_id("كت")]
    assert [old.id_to_token(piece) for piece in spelling] == ["<0xD9>", "<0x83>", "<0xD8>", "<0xAA>"]
