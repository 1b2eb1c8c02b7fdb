import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest
from corpus_files import ARABIC, ENGLISH

from diglot.base.errors import UserError
from diglot.endpoint.client import Client, Completion, Journal, Refused, Request
from diglot.recipe.endpoint import Endpoint

SECRET = "sk-Zq81-do-not-tell"


def client(server, max_cost=None, **settings):
    return Client(Endpoint(url=server.url, model=settings.pop("model", "tiny"), **settings), max_cost)


def ask(server, text="good morning", **settings):
    with client(server, **settings) as one:
        return one.complete([{"role": "user", "content": f"Translate.\n\n{text}"}], max_tokens=99)


def test_an_answer_with_its_counts(serve):
    server = serve()
    answer = ask(server, "good morning")
    assert answer == Completion(answer.text, len("good morning"), len(answer.text), "stop")
    assert set(answer.text.strip(".").split()) <= set(ARABIC)
    [request] = server.requests
    assert request["body"]["max_tokens"] == 99
    assert client(server, price_in=2.0, price_out=10.0).cost(1_000_000, 500_000) == 7.0


def test_a_busy_server_is_asked_again_when_it_says(serve):
    server = serve(rules=[{"word": "morning", "times": 1, "do": "busy"}])
    assert ask(server).finish_reason == "stop"
    first, second = (request["time"] for request in server.requests)
    assert second - first >= 1.0


@pytest.mark.parametrize("trouble", ["crash", "hang up", "page", "hang"])
def test_troubles_that_pass(serve, trouble):
    server = serve(rules=[{"word": "morning", "times": 1, "do": trouble}])
    assert ask(server, timeout=1.0).finish_reason == "stop"
    assert len(server.texts) == 2


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ("crash", "500.*2 times in a row.*what was answered is kept"),
        ("hang", "no answer in 1 s.*endpoint.timeout"),
        ("page", "no chat completion.*hotel"),
        ("come back tomorrow", "asks to wait for 86,400 s"),
        ("broke", "no credit left"),
    ],
)
def test_troubles_that_last(serve, monkeypatch, trouble, says):
    monkeypatch.setenv("MY_KEY", SECRET)
    server = serve(rules=[{"word": "morning", "times": 99, "do": trouble}])
    with pytest.raises(UserError, match=says) as caught:
        ask(server, retries=1, timeout=1.0, key_variable="MY_KEY")
    assert SECRET not in str(caught.value)
    assert len(server.texts) == (1 if trouble in ("come back tomorrow", "broke") else 2)


def test_what_a_user_can_put_right_is_not_tried_again(serve, monkeypatch):
    server = serve(key=SECRET)
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UserError, match=r"401.*MY_KEY, and it is not set"):
        ask(server, key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", SECRET + "x")
    with pytest.raises(UserError, match="the key in it is wrong") as caught:
        ask(server, key_variable="MY_KEY")
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("MY_KEY", f" {SECRET}\n")
    assert ask(server, key_variable="MY_KEY").text
    with pytest.raises(UserError, match=r"no model 'huge'; correct endpoint.model: it has tiny"):
        ask(server, key_variable="MY_KEY", model="huge")
    monkeypatch.setenv("MY_KEY", "ключ")
    with pytest.raises(UserError, match="MY_KEY: holds characters that are in no key"):
        ask(server, key_variable="MY_KEY")
    server.stop()
    monkeypatch.setenv("MY_KEY", SECRET)
    begun = time.monotonic()
    with pytest.raises(UserError, match="nothing answers there; start the server") as caught:
        ask(server, key_variable="MY_KEY")
    assert time.monotonic() - begun < 5
    assert SECRET not in str(caught.value)
    with pytest.raises(UserError, match="an address such as http"):
        Client(Endpoint(url="127.0.0.1:80", model="x"))
    with pytest.raises(UserError, match="price_in"):
        Client(Endpoint(url="http://127.0.0.1:80", model="x"), max_cost=1.0)


def test_the_newer_name_of_the_limit(serve):
    server = serve(newer=True)
    with client(server) as one:
        for _ in range(2):
            assert one.complete([{"role": "user", "content": "x\n\ny"}], max_tokens=7).text
    named = [[key for key in request["body"] if key.startswith("max")] for request in server.requests]
    assert named == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


def test_many_requests_each_once_and_many_at_a_time(serve, tmp_path):
    server = serve(delay=1, rules=[{"word": "five", "times": 99, "do": "refuse"}])
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    requests = [Request([{"role": "user", "content": f"T.\n\n{word}"}]) for word in [*words, *words]]
    begun = time.monotonic()
    with Journal(tmp_path / "answers.jsonl") as journal, client(server, concurrency=8) as one:
        outcomes = list(one.ask_all(requests, journal))
        taken = time.monotonic() - begun
        assert Counter(map(type, outcomes)) == {Completion: 7, Refused: 1}
        assert sorted(server.texts) == sorted(words)
        assert taken < len(words), "one after the other"  # that takes a second each at least
        assert not list(one.ask_all([r for r in requests if "five" not in str(r)], journal))
        assert one.key(requests[0]) != one.key(Request(requests[0].messages, attempt=2))


def test_many_refusals_in_a_row_end_no_run_where_a_greeting_is_answered(serve, tmp_path):
    """Such as the second time that all of them are asked for."""
    server = serve(rules=[{"word": "bad", "times": 99, "do": "refuse"}])
    requests = [Request([{"role": "user", "content": f"T.\n\nbad {n}"}]) for n in range(50)]
    with Journal(tmp_path / "answers.jsonl") as journal, client(server, concurrency=8) as one:
        outcomes = list(one.ask_all(requests, journal))
        assert Counter(map(type, outcomes)) == {Refused: 50}
        assert len(journal) == 0
    assert Counter(server.texts)[""] == 2  # greetings


def test_the_journal_survives_what_a_kill_leaves(tmp_path):
    file = tmp_path / "answers.jsonl"
    answers = {f"{n:032x}": Completion(f"نص {n}\n\u2028\x85", n, 2 * n, "stop") for n in range(20)}
    with Journal(file) as journal:
        for key, answer in answers.items():
            journal.add(key, answer)
        assert all(journal.get(key) == answer for key, answer in answers.items())
    whole = file.read_bytes()
    for cut in random.Random(0).sample(range(len(whole)), 60):
        file.write_bytes(whole[:cut])
        number = whole[:cut].count(b"\n")
        with Journal(file) as journal:
            held = {key: journal.get(key) for key in answers if key in journal}
            assert held == dict(list(answers.items())[:number])
            assert (len(journal), journal.prompt_tokens) == (number, sum(range(number)))
            for key in list(answers)[number:]:
                journal.add(key, answers[key])
        assert file.read_bytes() == whole
    damaged = whole.replace(b'"' + b"0" * 31 + b"7", b'"' + b"z" * 31 + b"7")
    file.write_bytes(damaged)
    with Journal(file) as journal:
        assert len(journal) == 19


# --- a server that is not ours ---------------------------------------------------------------------------------


@pytest.fixture
def random_model(tmp_path):
    """A tiny model of random weights that can be chatted with."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokens = ["<s>", "</s>", "<unk>", *ENGLISH, *ARABIC]
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(dict.fromkeys(tokens))}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }} {% endfor %}"
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=0, eos_token_id=1, max_position_embeddings=256,
    )  # fmt: skip
    folder = tmp_path / "model"
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_the_protocol_of_transformers_serve(tmp_path, random_model):
    """The client against a server that is not ours; the model is random, so its words mean nothing."""
    pytest.importorskip("fastapi", reason="transformers serve needs fastapi and uvicorn")
    pytest.importorskip("uvicorn", reason="transformers serve needs fastapi and uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    serving = subprocess.Popen(
        [sys.executable, "-c", start, "serve", str(random_model), "--port", str(port), "--device", "cpu"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    endpoint = Endpoint(url=f"http://127.0.0.1:{port}/v1", model=str(random_model), concurrency=2)
    requests = [Request([{"role": "user", "content": words}], {"max_tokens": 5}) for words in ENGLISH[:6]]
    try:
        with Client(endpoint) as client, Journal(tmp_path / "answers.jsonl") as journal:
            wait_for(port, serving)
            outcomes = list(client.ask_all(requests, journal))
            assert len(journal) == 6
            assert any(outcome.text for outcome in outcomes)
    finally:
        serving.kill()
        serving.wait()
    for outcome in outcomes:
        assert isinstance(outcome, Completion)
        assert (outcome.prompt_tokens > 0, outcome.completion_tokens <= 5) == (True, True)
        assert outcome.finish_reason in ("stop", "length")


def wait_for(port, process):
    for _ in range(600):
        assert process.poll() is None, "the server did not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the server does not answer")
