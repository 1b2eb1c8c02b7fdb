"""Answers to many requests at a time are those to each alone, with real models of several families."""

import threading
import time
from pathlib import Path

import pytest
import tiny_model
import torch
import transformers
from transformers import TopKLogitsWarper, TopPLogitsWarper

from diglot.evaluate.language_model import LanguageModel
from diglot.serve.answer import Answer, Ending, Piece
from diglot.serve.engine import Asked, Engine, Forward, Full
from diglot.serve.sampling import Sampling, draw, probabilities

GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model.save_tokenizer(folder)
    tiny_model.save_model(folder, length=128)
    return folder


@pytest.fixture(scope="module")
def model(folder) -> LanguageModel:
    return LanguageModel.load(folder)


class Heard:
    """What an answer delivers."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.ended = threading.Event()

    def __call__(self, piece: Piece) -> None:
        self.pieces.append(piece)
        if piece.finish:
            self.ended.set()

    @property
    def text(self) -> str:
        assert self.ended.wait(60)
        return "".join(piece.text for piece in self.pieces)

    @property
    def finish(self) -> str | None:
        assert self.ended.wait(60)
        return self.pieces[-1].finish


def asked(
    model: LanguageModel, ids: list[int], max_tokens: int = 20, number: int = 1, **more
) -> tuple[Asked, list[Heard]]:
    sampling, stops = more.pop("sampling", GREEDY), more.pop("stops", ())
    ending, heard = Ending(max_tokens, frozenset(model.end_ids), stops), [Heard() for _ in range(number)]
    answers = [Answer(model.tokenizer, ending, sampling, each, place, **more) for place, each in enumerate(heard)]
    return Asked(ids, answers), heard


def said(model: LanguageModel, heard: Heard) -> str:
    """The text of all tokens of an answer that tells its log-probabilities."""
    assert heard.ended.wait(60)
    return model.tokenizer.decode([log.token for piece in heard.pieces for log in piece.logs], skip_special_tokens=True)


PROMPTS = ["The baker", "The smith of Lorem sells", "النساج", "a", "The farmer of Nural sells wheat. The weaver"]


def test_rows_that_come_and_go_answer_as_each_alone(model):
    """More requests than rows, of different lengths: all texts are those of transformers' own generation."""
    prompts = [model.encode(text, True) for text in PROMPTS * 2]
    lengths = [5 + 3 * place for place in range(len(prompts))]
    wanted = [model.generate([ids], length)[0].text for ids, length in zip(prompts, lengths)]
    engine = Engine(model, concurrency=4, waiting=20)
    assert engine.forward.way == "together"
    requests = [asked(model, ids, length, num_likeliest=0) for ids, length in zip(prompts, lengths)]
    for request, _ in requests:
        engine.ask(request)
    # A random model says halves of characters, whose text changes with what follows: tokens are compared.
    assert [said(model, heard) for _, [heard] in requests] == wanted
    engine.close()


def config_of(kind: str) -> transformers.PreTrainedConfig:
    size = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3, "max_position_embeddings": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    return {
        "gpt2": lambda: transformers.GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2),
        "mistral": lambda: transformers.MistralConfig(**size, **heads, sliding_window=7),
        "gemma3_text": lambda: transformers.Gemma3TextConfig(**size, **heads, head_dim=8, sliding_window=7, layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
        "bloom": lambda: transformers.BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=4),
        "mamba": lambda: transformers.MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=4),
        "falcon_h1": lambda: transformers.FalconH1Config(**size, **heads, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8, mamba_chunk_size=16),
    }[kind]()  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("mistral", "together"),
        pytest.param("mamba", "anew", marks=pytest.mark.full),
        pytest.param("falcon_h1", "alone", marks=pytest.mark.full),
        pytest.param("gpt2", "together", marks=pytest.mark.full),
        pytest.param("gemma3_text", "together", marks=pytest.mark.full),
        pytest.param("bloom", "together", marks=pytest.mark.full),
    ],
)
def test_families_answer_right_in_the_way_that_they_can(kind, way, folder):
    """Windows of 7 tokens, positions of a table, ALiBi, recurrent states: as a forward pass of everything."""
    torch.manual_seed(1)
    module = transformers.AutoModelForCausalLM.from_config(config_of(kind)).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    loaded = LanguageModel.load(folder)
    model = LanguageModel(module, loaded.tokenizer, folder, 1)
    engine = Engine(model)
    assert engine.forward.way == way
    prompts = [list(range(5, 5 + length)) for length in (3, 17, 9)]
    wanted = []
    for ids in prompts:
        ids = list(ids)
        while len(ids) % 24:
            logits_V = module(torch.tensor([ids]), use_cache=False).logits[0, -1]
            logits_V[list(model.end_ids)] = -torch.inf
            ids.append(int(logits_V.argmax()))
        wanted.append(ids)
    found = [decoded(engine.forward, ids, model.end_ids) for ids in ([*p] for p in prompts)]
    assert found == wanted
    engine.close()


def decoded(forward: Forward, prompt: list[int], never: set[int]) -> list[int]:
    """Greedy tokens up to a multiple of 24, beside a row of another length where rows go together."""
    logits_V, [rows] = forward.begin(prompt, 1)
    rows.ids[0].append(greedy(logits_V, never))
    if forward.way == "together":
        other_V, [other] = forward.begin([7, 8, 9, 10, 11], 1)
        other.ids[0].append(greedy(other_V, never))
        rows.join(other)
    while len(rows.ids[0]) % 24:
        for ids, logits_V in zip(rows.ids, forward.step(rows)):
            ids.append(greedy(logits_V, never))
    return rows.ids[0]


def greedy(logits_V: torch.Tensor, never: set[int]) -> int:
    logits_V = logits_V.clone()
    logits_V[list(never)] = -torch.inf
    return int(logits_V.argmax())


def test_rows_leave_their_padding_behind(model):
    forward = Forward(model)
    _, [long] = forward.begin(list(range(4, 40)), 1)
    _, [short] = forward.begin([4, 5], 2)
    long.ids[0].append(9)
    for ids in short.ids:
        ids.append(9)
    long.join(short)
    assert long.padding == [0, 34, 34]
    long.keep([1, 2])
    assert (long.padding, long.cache.get_seq_length()) == ([0, 0], 2)
    alone = forward._anew([4, 5, 9])[0]
    torch.testing.assert_close(forward.step(long), torch.stack([alone, alone]))


def test_distributions_are_those_of_transformers():
    logits_V = torch.randn(50, generator=torch.Generator().manual_seed(0)) * 3
    for top_k, top_p in ((0, 1.0), (7, 1.0), (0, 0.6), (7, 0.6), (1, 1.0), (0, 1e-9), (80, 0.999)):
        scores_V = logits_V[None] / 0.7
        if top_k:
            scores_V = TopKLogitsWarper(top_k)(None, scores_V)
        if top_p < 1:
            scores_V = TopPLogitsWarper(top_p)(None, scores_V)
        ours_V = probabilities(logits_V, Sampling(0.7, top_p, top_k))
        torch.testing.assert_close(ours_V, torch.softmax(scores_V, -1)[0])
        generator, wanted = Sampling(seed=3).generator(), Sampling(seed=3).generator()
        expected = int(torch.multinomial(ours_V, 1, generator=wanted))
        assert draw(logits_V, Sampling(0.7, top_p, top_k), generator) == expected


def test_seeds_decide_and_answers_to_one_request_differ(model):
    engine, ids = Engine(model), model.encode("The", True)

    def texts(seed: int) -> list[str]:
        request, heard = asked(model, ids, 12, 3, sampling=Sampling(temperature=2.0, seed=seed))
        engine.ask(request)
        return [each.text for each in heard]

    first = texts(5)
    assert texts(5) == first
    assert len(set(first)) == 3
    assert texts(6) != first
    engine.close()


def fed(model: LanguageModel, text: str, stops: tuple[str, ...], max_tokens: int = 99) -> Heard:
    """An answer that is made to say a text, token by token."""
    heard = Heard()
    answer = Answer(model.tokenizer, Ending(max_tokens, frozenset(model.end_ids), stops), GREEDY, heard)
    end = min(model.end_ids)
    for token in [*model.encode(text, False), end]:
        if answer.add(torch.nn.functional.one_hot(torch.tensor(token), model.vocabulary_size).float()) is None:
            break
    return heard


@pytest.mark.parametrize(
    ("text", "stops", "shown", "finish"),
    [
        ("The baker sells bread.", (), "The baker sells bread.", "stop"),
        ("The baker sells bread.", (" sells",), "The baker", "stop"),
        ("The baker sells bread.", ("er s", "ker"), "The ba", "stop"),  # the one that begins first, once it is there
        ("The baker sells", ("sells iron", "sellsx"), "The baker sells", "stop"),  # held back, and given in the end
        ("عربي 🙂 الخبز", ("🙂",), "عربي ", "stop"),
        ("عربي 🙂 الخبز", (), "عربي 🙂 الخبز", "stop"),
    ],
)
def test_stop_strings_and_whole_characters(model, text, stops, shown, finish):
    heard = fed(model, text, stops)
    assert (heard.text, heard.finish) == (shown, finish)
    assert not any("\N{REPLACEMENT CHARACTER}" in piece.text for piece in heard.pieces)
    assert all(piece.text for piece in heard.pieces[:-1])
    assert len(heard.pieces) > 1


def test_nothing_of_a_stop_string_is_ever_shown(model):
    """However it is cut into tokens."""
    for start in range(len("sells bread.")):
        stop = "The baker sells bread."[start : start + 6]
        assert fed(model, "The baker sells bread.", (stop,)).text == "The baker sells bread."[:start]


def test_the_longest_length(model):
    heard = fed(model, "The baker sells bread.", (), max_tokens=3)
    assert heard.finish == "length"
    assert heard.text == model.tokenizer.decode(model.encode("The baker sells bread.", False)[:3])


def test_log_probabilities_are_the_models(model):
    engine, ids = Engine(model), model.encode("The baker", True)
    request, [heard] = asked(model, ids, 6, num_likeliest=2)
    engine.ask(request)
    assert said(model, heard) == model.generate([ids], 6)[0].text
    logs = [log for piece in heard.pieces for log in piece.logs]
    with torch.inference_mode():
        logits_TV = model.model(torch.tensor([ids + [log.token for log in logs]])).logits[0].float()
    wanted_TV = torch.log_softmax(logits_TV, -1)[len(ids) - 1 : -1]
    for log, wanted_V in zip(logs, wanted_TV, strict=True):
        assert log.log_probability == pytest.approx(float(wanted_V[log.token]), abs=1e-4)
        assert log.likeliest[0][0] == log.token
        assert [token for token, _ in log.likeliest] == wanted_V.topk(2).indices.tolist()
    engine.close()


def test_so_many_and_no_more(model):
    engine, ids = Engine(model, concurrency=1, waiting=1), model.encode("The", True)
    hold = threading.Event()
    first, [heard] = asked(model, ids, 50)
    first.answers[0]._deliver = lambda piece: (hold.wait(20), heard(piece))
    engine.ask(first)
    second, [waits] = asked(model, ids, 5)
    engine.ask(second)
    with pytest.raises(Full) as full:
        engine.ask(asked(model, ids, 5)[0])
    assert 1 <= full.value.seconds <= 60
    second.answers[0].cancelled = True
    hold.set()
    assert heard.finish in ("stop", "length")
    for _ in range(200):
        if not engine._open:
            break
        time.sleep(0.02)
    assert not engine._open
    assert waits.pieces == []  # what was cancelled is not computed
    engine.close()


def test_what_fails_ends_and_the_others_go_on(model):
    engine, ids = Engine(model), model.encode("The", True)
    broken, [heard] = asked(model, [10**9], 5)  # no row of the embedding
    engine.ask(broken)
    assert heard.finish == "error"
    request, [fine] = asked(model, ids, 5)
    engine.ask(request)
    assert fine.finish in ("stop", "length")
    engine.close()
    assert not engine._open
