"""What frames a document of plain text is the model's own end of text, not the end of a message."""

import json
from pathlib import Path

import pytest
from base_tokenizers import special_ids_of
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from diglot.base.errors import UserError
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.framing import Framing, find_framing

CHATML = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"


def folder(path: Path, tokens: list[str], plain: tuple[str, ...] = (), **settings: object) -> Path:
    letters = {letter: number for number, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in plain])
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def framing(folder: Path, *given: str, **named: str) -> Framing:
    return find_framing(folder, load_tokenizer(folder), *given, **named)


IM = ["<|im_start|>", "<|im_end|>"]
LLAMA_3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]


@pytest.mark.parametrize(
    ("tokens", "settings", "wanted"),
    [
        (["<s>", "</s>"], {"bos_token": "<s>", "eos_token": "</s>"}, ("<s>", "</s>")),
        # SmolLM2-Instruct, Qwen, Llama-3-Instruct, Gemma-it, gpt-oss
        (["<|endoftext|>", *IM], {"bos_token": IM[0], "eos_token": IM[1]}, ("<|endoftext|>", "<|endoftext|>")),
        (["<|endoftext|>", *IM], {"bos_token": None, "eos_token": IM[1]}, ("<|endoftext|>", "<|endoftext|>")),
        (LLAMA_3, {"bos_token": LLAMA_3[0], "eos_token": {"content": LLAMA_3[2]}}, (LLAMA_3[0], LLAMA_3[1])),
        (["<bos>", "<eos>", "<end_of_turn>"], {"bos_token": "<bos>", "eos_token": "<end_of_turn>"}, ("<bos>", "<eos>")),
        (
            ["<s>", "<|endoftext|>", "<|return|>"],
            {"bos_token": "<s>", "eos_token": "<|return|>"},
            ("<s>", "<|endoftext|>"),
        ),
        # only a template shows that a name unknown here ends messages
        (
            ["<|endoftext|>", "<|over|>"],
            {"eos_token": "<|over|>", "chat_template": "{{ m['content'] + eos_token }}"},
            ("<|endoftext|>", "<|endoftext|>"),
        ),
        # a base's own name, nothing better, and Llama-2, whose end of text ends its answers too
        (["<|endoftext|>", "<|over|>"], {"eos_token": "<|over|>"}, ("<|over|>", "<|over|>")),
        (IM, {"bos_token": IM[0], "eos_token": IM[1], "chat_template": CHATML}, (IM[1], IM[1])),
        (
            ["<s>", "</s>", "<|endoftext|>"],
            {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ bos_token + m['content'] + eos_token }}"},
            ("<s>", "</s>"),
        ),
    ],
)
def test_the_end_of_text_is_found(tmp_path, tokens, settings, wanted):
    assert framing(folder(tmp_path, tokens, **settings))[:2] == wanted


def test_a_token_for_html_ends_no_document(tmp_path):
    gemma = folder(tmp_path, ["<eos>", "<end_of_turn>"], plain=("</s>",), eos_token="<end_of_turn>")
    assert framing(gemma).end == "<eos>"
    tags_alone = folder(tmp_path, ["<end_of_turn>"], plain=("</s>",), eos_token="<end_of_turn>")
    assert framing(tags_alone).end == "<end_of_turn>"


def test_what_was_chosen_is_said(tmp_path):
    smol = folder(tmp_path, ["<|endoftext|>", *IM], bos_token=IM[0], eos_token=IM[1])
    remark = framing(smol).remark
    assert remark == "the tokenizer's bos <|im_start|> and eos <|im_end|> belong to its chat format"
    assert special_ids_of(smol) == {"bos": 256, "eos": 256}
    base = folder(tmp_path, ["<s>", "</s>"], bos_token="<s>", eos_token="</s>")
    assert framing(base).remark == ""


def test_it_can_be_set(tmp_path):
    smol = folder(tmp_path, ["<|endoftext|>", *IM], bos_token=IM[0], eos_token=IM[1])
    assert framing(smol, *IM) == (*IM, "")
    assert framing(smol, end="<|im_end|>")[:2] == ("<|im_end|>", "<|im_end|>")
    with pytest.raises(UserError, match="document_end: '</doc>' is not in the vocabulary"):
        framing(smol, end="</doc>")


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="eos_token is not defined"):
        framing(folder(tmp_path, ["<x>"]))
    with pytest.raises(UserError, match="eos_token: '<gone>' is not in the vocabulary"):
        framing(folder(tmp_path, ["<x>"], eos_token="<gone>"))
