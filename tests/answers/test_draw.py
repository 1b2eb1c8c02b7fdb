"""Answers drawn in process: against transformers, and whatever shares a batch."""

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from diglot.answers.draw import Sampler, choose
from diglot.evaluate.language_model import LanguageModel

QUESTIONS = ["ماذا يبيع الخباز؟", "What does the baker of Lorem sell?", "What?"]


def contexts(model: LanguageModel) -> list[list[int]]:
    return [model.encode_chat([{"role": "user", "content": text}], add_generation_prompt=True)[0] for text in QUESTIONS]


def test_the_likeliest_answers_are_those_of_transformers(model: LanguageModel) -> None:
    given = contexts(model)
    drawn = Sampler(model, 0, 1, 30).draw(given, [0, 1, 2], ["a", "b", "c"])
    for ids, answer in zip(given, drawn, strict=True):
        [output] = model.model.generate(torch.tensor([ids]), max_new_tokens=30)
        new = output[len(ids) :].tolist()
        assert answer.text == model.tokenizer.decode(new, skip_special_tokens=True).strip()
        assert answer.finish_reason == ("stop" if new[-1] in model.end_ids else "length")
        assert answer.tokens == len(new) - (new[-1] in model.end_ids)


def test_an_answer_hangs_on_its_key_and_not_on_its_batch(model: LanguageModel) -> None:
    given, sampler = contexts(model), Sampler(model, 3.0, 0.99, 24)
    keys = [f"{place}/{number}" for place in range(3) for number in range(6)]
    owners = [int(key[0]) for key in keys]
    together = sampler.draw(given, owners, keys)
    alone = [sampler.draw([given[owner]], [0], [key])[0] for owner, key in zip(owners, keys, strict=True)]
    assert together == alone
    assert len(set(together)) > 6  # they do differ
    assert {answer.finish_reason for answer in together} >= {"stop"}
    backwards = sampler.draw(given[::-1], [2 - owner for owner in owners[::-1]], keys[::-1])
    assert backwards[::-1] == together


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_draws_are_those_of_the_distribution_that_transformers_warps_to(temperature: float, top_p: float) -> None:
    """Numbers on a grid of N draw each token N times its probability, to one."""
    number, torch_random = 2000, torch.Generator().manual_seed(1)
    logits_1V = torch.randn(1, 600, generator=torch_random) * 2
    tokens = choose(
        logits_1V.expand(number, -1), [(place + 0.5) / number for place in range(number)], temperature, top_p
    )
    warped_1V = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(temperature)(None, logits_1V))
    shares = torch.softmax(warped_1V[0].double(), 0).tolist()
    counts = Counter(tokens)
    assert counts.total() == number
    for token, share in enumerate(shares):
        assert abs(counts[token] - number * share) <= 1.01, (token, counts[token], number * share)
        if share == 0:
            assert counts[token] == 0


def test_numbers_at_the_ends_draw_tokens_that_are_in() -> None:
    logits_1V = torch.tensor([[math.log(0.5), math.log(0.3), math.log(0.2)]])
    assert choose(logits_1V, [0.0], 1, 0.5) == choose(logits_1V, [1 - 2**-53], 1, 0.5) == [0]
    assert choose(logits_1V, [1 - 2**-53], 1, 0.6) == [1]
    assert choose(logits_1V, [1 - 2**-53], 1, 1) == [2]
    assert choose(logits_1V, [0.99], 0, 1) == [0]


@pytest.mark.full
def test_a_real_models_likeliest_answers_are_those_of_transformers(models: Path) -> None:
    """SmolLM2's, three questions in a batch against each by itself; and drawn ones do not hang on their batch."""
    model = LanguageModel.load(models / "smollm2-135m")
    asked = [
        "What is the capital of France?",
        "Hi!",
        "Name three fruits, please, and say which of them is the sweetest.",
    ]
    given = [
        model.encode_chat([{"role": "user", "content": text}], add_generation_prompt=True)[0]
        if model.tokenizer.chat_template
        else model.encode(text, True)
        for text in asked
    ]
    drawn = Sampler(model, 0, 1, 24).draw(given, [0, 1, 2], ["a", "b", "c"])
    for ids, answer in zip(given, drawn, strict=True):
        [output] = model.model.generate(torch.tensor([ids]), max_new_tokens=24)
        assert answer.text == model.tokenizer.decode(output[len(ids) :], skip_special_tokens=True).strip()
    sampler, keys = Sampler(model, 1.0, 0.9, 16), ["0/1", "1/1", "2/1", "0/2"]
    together = sampler.draw(given, [int(key[0]) for key in keys], keys)
    assert together == [sampler.draw([given[int(key[0])]], [0], [key])[0] for key in keys]
