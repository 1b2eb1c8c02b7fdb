"""A small tokenizer and a small Llama, built in the test: real files, loaded the ordinary way."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from diglot.tokenizer import byte_fallback

TRADES = {"baker": "bread", "smith": "iron", "weaver": "cloth", "farmer": "wheat"}
TOWNS = ["Lorem", "Tamar", "Nural"]
ENGLISH = [f"The {who} of {town} sells {what}." for who, what in TRADES.items() for town in TOWNS]
ARABIC = ["الخباز يبيع الخبز في السوق.", "الحداد يبيع الحديد في السوق.", "النساج يبيع القماش."]


def conversation(sentence: str) -> list[dict[str, str]]:
    """A question and the sentence as its answer."""
    subject = sentence.split(" sells")[0].removeprefix("The ")
    return [{"role": "user", "content": f"What does the {subject} sell?"}, {"role": "assistant", "content": sentence}]


def save_tokenizer(folder: Path, vocabulary_size: int = 200) -> None:
    """A tokenizer of the project's form with some 200 pieces, trained on the sentences above."""
    trained = Tokenizer(models.BPE())
    trained.normalizer, trained.pre_tokenizer = byte_fallback.normalizer(), byte_fallback.word_splitter()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary_size, show_progress=False)
    trained.train_from_iterator(ENGLISH + ARABIC, trainer)
    pieces = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    byte_fallback.write_folder(folder, byte_fallback.build(pieces, merges))


def save_model(folder: Path, texts: list[list[int]] | None = None, steps: int = 150, length: int = 64) -> None:
    """A random Llama, or one that has learnt the given token sequences by heart."""
    size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=length,
        initializer_range=0.2 if texts is None else 0.02,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    model = LlamaForCausalLM(config)
    if texts is not None:
        _learn(model, texts, steps)
    model.save_pretrained(folder)


def _learn(model: LlamaForCausalLM, texts: list[list[int]], steps: int) -> None:
    width = max(map(len, texts))
    tokens_BT = torch.tensor([ids + [3] * (width - len(ids)) for ids in texts])
    labels_BT = torch.tensor([ids + [-100] * (width - len(ids)) for ids in texts])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        model(input_ids=tokens_BT, labels=labels_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
