"""Tokenizers of the kinds in use, trained here on a little text: what a user would bring as a base.

The files are the real ones of each kind (layout, normalizer, splitting, special tokens); only the vocabulary is small.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.framing import find_framing, special_ids

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def llama_2(folder: Path, texts: Iterable[str], vocabulary_size: int) -> Path:
    """SentencePiece BPE with byte fallback: tokenizer.model, and tokenizer.json as transformers makes it."""
    _sentencepiece(folder, texts, vocabulary_size, model_type="bpe", split_digits=True, byte_fallback=True,
                   normalization_rule_name="identity", remove_extra_whitespaces=False,
                   allow_whitespace_only_pieces=True, character_coverage=0.99995)  # fmt: skip
    tokenizer = transformers.LlamaTokenizer.from_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    return folder


def unigram(folder: Path, texts: Iterable[str], vocabulary_size: int) -> Path:
    """SentencePiece unigram as T5's: normalised (NFKC), no byte fallback."""
    _sentencepiece(folder, texts, vocabulary_size, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    tokenizer = transformers.T5Tokenizer.from_pretrained(str(folder), extra_ids=0)
    tokenizer.save_pretrained(folder)
    return folder


def _sentencepiece(folder: Path, texts: Iterable[str], vocabulary_size: int, **options: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = (line for text in texts for line in text.split("\n") if line.strip())
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_prefix=str(folder / "tokenizer"), vocab_size=vocabulary_size,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, **options,
    )  # fmt: skip
    (folder / "tokenizer.vocab").unlink()


def llama_3(folder: Path, texts: Iterable[str], vocabulary_size: int) -> Path:
    """Byte-level BPE with ignore_merges, and special tokens behind the vocabulary."""
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = _byte_level(texts, vocabulary_size, LLAMA_3, special)
    specification = json.loads(tokenizer.to_str())
    specification["model"]["ignore_merges"] = True
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(specification))
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return _write(folder, tokenizer, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")


def qwen(folder: Path, texts: Iterable[str], vocabulary_size: int) -> Path:
    """Byte-level BPE over NFC text, digits one by one, with ChatML and no beginning-of-text token."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = _byte_level(texts, vocabulary_size, QWEN, special)
    tokenizer.normalizer = normalizers.NFC()
    return _write(folder, tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML)


def gpt_2(folder: Path, texts: Iterable[str], vocabulary_size: int) -> Path:
    """The first byte-level BPE, with its own splitting."""
    tokenizer = _byte_level(texts, vocabulary_size, None, ["<|endoftext|>"])
    return _write(folder, tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def _byte_level(
    texts: Iterable[str], vocabulary_size: int, pattern: str | None, special: list[str]
) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    if pattern is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _write(folder: Path, tokenizer: tokenizers.Tokenizer, **settings: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folder


@contextmanager
def edited(folder: Path) -> Iterator[dict[str, Any]]:
    """tokenizer.json of a folder, which is written as it is left."""
    file = folder / "tokenizer.json"
    specification = json.loads(file.read_text(encoding="utf-8"))
    yield specification
    file.write_text(json.dumps(specification), encoding="utf-8")


def special_ids_of(folder: Path) -> dict[str, int]:
    """The special tokens of a folder by role, as `encode` frames documents with them."""
    tokenizer = load_tokenizer(folder)
    return special_ids(folder, tokenizer, find_framing(folder, tokenizer))


BASES: dict[str, Callable[[Path, Iterable[str], int], Path]] = {
    "llama-2": llama_2,
    "llama-3": llama_3,
    "qwen": qwen,
    "gpt-2": gpt_2,
    "unigram": unigram,
}
