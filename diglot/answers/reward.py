"""A reward model as the judge: a sequence classifier with one label, which gives a conversation a number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from diglot.answers.candidates import Candidates
from diglot.base.errors import UserError
from diglot.evaluate.language_model import load_pretrained
from diglot.tokenizer.chat import Chat, NoChatFormat, load_chat


def judge_by_reward(
    folder: Path, batch_size: int, candidates: list[Candidates], report: Callable[[int, int], None]
) -> None:
    """Give every answer its reward.

    Raises:
        UserError: the folder holds no such model, or no chat template, or a conversation is longer than the model takes.
    """
    model = _load(folder)
    chat = _chat(folder)
    places = [(one, answer.text) for one in candidates for answer in one.answers]
    ids = [chat.encode([*one.prompt, {"role": "assistant", "content": text}])[0] for one, text in places]
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest and ids and max(map(len, ids)) > longest:
        raise UserError(
            f"{folder}: a conversation has {max(map(len, ids))} tokens, and the reward model takes {longest}; lower "
            "max_characters or max_new_tokens of the answers"
        )
    rewards = [0.0] * len(ids)
    order = sorted(range(len(ids)), key=lambda place: (-len(ids[place]), place))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        for place, reward in zip(batch, _rewards(model, [ids[place] for place in batch]), strict=True):
            rewards[place] = reward
        report(start + len(batch), len(order))
    for one in candidates:
        one.scores, rewards = rewards[: len(one.answers)], rewards[len(one.answers) :]


def _load(folder: Path) -> Any:
    """The model.

    Raises:
        UserError: it cannot be loaded, lacks weights (a language model has no `score`), or has several labels.
    """
    model = load_pretrained(AutoModelForSequenceClassification, folder, "a reward model")
    if model.config.num_labels != 1:
        raise UserError(f"reward_model {folder}: it has {model.config.num_labels} labels; one is wanted, the reward")
    return model


def _chat(folder: Path) -> Chat:
    try:
        return load_chat(folder)
    except NoChatFormat as error:
        raise UserError(f"reward_model {folder}: {error}") from error


@torch.inference_mode()
def _rewards(model: Any, ids: list[list[int]]) -> list[float]:
    """The rewards of a batch, padded on the right."""
    width = max(map(len, ids))
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        # The reward is read at the last token that is not this one: one that ends no conversation will do.
        config.pad_token_id = next(token for token in range(config.vocab_size) if token not in {row[-1] for row in ids})
    pad = config.pad_token_id
    tokens_BT = torch.tensor([row + [pad] * (width - len(row)) for row in ids], device=model.device)
    mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids], device=model.device)
    return model(input_ids=tokens_BT, attention_mask=mask_BT).logits[:, 0].float().tolist()
