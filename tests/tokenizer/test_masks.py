"""What is predicted of a conversation is what TRL trains on, with real chat templates and tokenizers."""

from pathlib import Path

import base_tokenizers
import pytest
from chat_templates import published, with_published
from transformers import AutoTokenizer

from diglot.tokenizer.chat import load_chat

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who bakes it,\nwhere?"},
    {"role": "assistant", "content": "A baker, 12.\n\nخبز"},
    {"role": "user", "content": "And what?"},
    {"role": "assistant", "content": "Bread."},
]
# Template: the tokenizer, and what TRL predicts besides, before an answer and behind its end: line ends which the prompt ends
# in, or which stand behind the token that ends a generation. No model is ever to write them.
TEMPLATES = {
    "llama3": ("llama3", (), ()),
    "qwen2_5": ("qwen3", ("Ċ",), ("Ċ",)),
    "qwen3": ("qwen3", (), ("Ċ",)),
    "qwen3_instruct_2507": ("qwen3", (), ("Ċ",)),
    "qwen2_5_vl": ("qwen3", (), ("Ċ",)),
    "qwen3_vl": ("qwen3", (), ("Ċ",)),
    "qwen3_8": ("qwen3", (), ("Ċ",)),
    "gemma": ("gemma3", (), ("\n",)),
    "gemma3": ("gemma3", (), ("\n",)),
    "cohere": ("qwen3", (), ()),
    "lfm2": ("qwen3", (), ("Ċ",)),
    "lfm2_v2": ("qwen3", (), ("Ċ",)),
}
# TRL writes empty thoughts before every answer of Qwen3, the model's own template before the last alone: so answers one by one.
SINGLE = ("qwen3",)


@pytest.mark.full
@pytest.mark.parametrize("name", TEMPLATES)
def test_masks_are_those_that_trl_trains_on(name: str, models: Path, tmp_path: Path) -> None:
    compare(name, models / "tokenizers" / TEMPLATES[name][0], tmp_path)


@pytest.mark.parametrize(("name", "base"), [("llama3", "llama-3"), ("qwen2_5", "qwen")])
def test_masks_of_small_tokenizers_are_those_that_trl_trains_on(name: str, base: str, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base_tokenizers.BASES[base](
        tmp_path / "base", ["who bakes it, where? a baker, bread. be brief, and what?"] * 3, 300
    )
    compare(name, tmp_path / "base", tmp_path)


def compare(name: str, tokenizer: Path, path: Path) -> None:
    """Our ids and marks of conversations with those of transformers, with the template that TRL trains with."""
    _, before, behind = TEMPLATES[name]
    config = {"eos_token": "<|END_OF_TURN_TOKEN|>"} if name == "cohere" else {}
    folder = with_published(tokenizer, name, path / "tokenizer", **config)
    chat, automatic = load_chat(folder), AutoTokenizer.from_pretrained(folder)
    training = published(f"{name}_training")
    said = [CONVERSATION[:3], CONVERSATION[1:3], *([] if name in SINGLE else [CONVERSATION, CONVERSATION[1:]])]
    asked = [messages for messages in said if chat.takes_system or messages[0]["role"] == "user"]
    for messages in asked:
        ids, targets = chat.encode(messages)
        oracle = automatic.apply_chat_template(
            messages, chat_template=training, return_dict=True, return_assistant_tokens_mask=True
        )
        assert ids == oracle["input_ids"]
        assert wider(automatic, ids, targets, before, behind) == oracle["assistant_masks"]
        assert sum(targets) > 5


Tokens = tuple[str, ...]


def wider(automatic, ids: list[int], targets: list[int], before: Tokens, behind: Tokens) -> list[int]:
    """Marks that take in what is wanted before and behind each run of them; it has to be there."""
    tokens, found = automatic.convert_ids_to_tokens(ids), list(targets)
    for place in range(1, len(ids)):
        for wanted, step, is_border in (
            (before, -1, targets[place] > targets[place - 1]),
            (behind, 1, targets[place] < targets[place - 1]),
        ):
            if wanted and is_border:
                other = place - (step < 0)
                for token in wanted:
                    assert tokens[other] == token
                    found[other] = 1
                    other += step
    return found


@pytest.mark.full
def test_these_are_the_templates_that_trl_takes(models: Path, tmp_path: Path) -> None:
    from trl.chat_template_utils import get_training_chat_template

    for name, (tokenizer, *_) in TEMPLATES.items():
        folder = with_published(models / "tokenizers" / tokenizer, name, tmp_path / name)
        assert get_training_chat_template(AutoTokenizer.from_pretrained(folder)) == published(f"{name}_training"), name
