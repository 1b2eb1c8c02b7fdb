"""The official client against our server, and our own client, over real connections."""

import asyncio
import contextlib
import itertools
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import tiny_model
import torch
from commands import Command
from web_server import ask, serving

from diglot.align import self_instruct
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.endpoint.client import Journal
from diglot.evaluate.language_model import LanguageModel
from diglot.recipe.endpoint import Endpoint
from diglot.recipe.self_instruct import SelfInstruct
from diglot.serve.api import make_app
from diglot.serve.command import vllm_arguments, vllm_environment
from diglot.serve.engine import Engine
from diglot.serve.web import Guard

QUESTION, ANSWER = (message["content"] for message in tiny_model.conversation(tiny_model.ENGLISH[0]))
MESSAGES = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model that knows its answers by heart."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.save_tokenizer(folder)
    tiny_model.save_model(folder, length=4096)
    encoder = LanguageModel.load(folder)
    texts = [encoder.encode_chat(tiny_model.conversation(text))[0] for text in tiny_model.ENGLISH]
    texts.append(
        encoder.encode_chat([{"role": "user", "content": "Arabic?"}, {"role": "assistant", "content": "عربي 🙂"}])[0]
    )
    tiny_model.save_model(folder, texts, length=4096, steps=100)
    return folder


@pytest.fixture(scope="module")
def model(folder) -> LanguageModel:
    return LanguageModel.load(folder)


@contextlib.contextmanager
def served(model: LanguageModel, key: str = "", **limits: int) -> Iterator[tuple[int, Engine]]:
    engine = Engine(model, **limits)
    with serving(Guard(make_app(model, engine, "tiny", key))) as port:
        yield port, engine
    engine.close()


@pytest.fixture(scope="module")
def port(model) -> Iterator[int]:
    with served(model, "secret") as (port, _):
        yield port


@pytest.fixture(scope="module")
def client(port) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0)


def test_models(client):
    assert [each.id for each in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "diglot"
    with pytest.raises(openai.NotFoundError) as found:
        client.models.retrieve("other/one")
    assert found.value.code == "model_not_found"


def test_a_chat(client, model):
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0)
    ids, _ = model.encode_chat(MESSAGES, add_generation_prompt=True)
    assert answer.choices[0].message.content == ANSWER == model.generate([ids], 60)[0].text
    assert answer.choices[0].finish_reason == "stop"
    # The end token is counted, as vLLM does.
    said = len(model.encode_answer(MESSAGES, ANSWER).continuation) + 1
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(ids), said)
    assert answer.usage.total_tokens == len(ids) + said


def test_what_an_openai_client_may_add_changes_nothing(client):
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]
    more = {"user": "me", "frequency_penalty": 0, "logit_bias": {}, "response_format": {"type": "text"}, "tools": [],
            "max_completion_tokens": 60, "metadata": {"a": "b"}, "store": False}  # fmt: skip
    answer = client.chat.completions.create(model="tiny", messages=parts, temperature=0, **more)
    assert answer.choices[0].message.content == ANSWER
    first = [{"role": "developer", "content": "Be brief."}, *MESSAGES]
    assert client.chat.completions.create(model="tiny", messages=first, max_tokens=1).usage.prompt_tokens > (
        answer.usage.prompt_tokens
    )
    # An answer as the client holds it goes back into the conversation.
    told = [*MESSAGES, answer.choices[0].message.model_dump(), {"role": "user", "content": "Arabic?"}]
    assert client.chat.completions.create(model="tiny", messages=told, temperature=0, max_tokens=3).choices


def test_streams(client):
    stream = client.chat.completions.create(
        model="tiny", messages=MESSAGES, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert len(chunks) > 5
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert last.choices == []
    whole = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0)
    assert last.usage == whole.usage
    arabic = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Arabic?"}], temperature=0, stream=True
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in arabic]
    assert "".join(texts) == "عربي 🙂"
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in texts)


def test_several_answers_and_seeds(client):
    def texts(**more):
        answer = client.chat.completions.create(
            model="tiny", messages=MESSAGES, n=3, temperature=3.0, max_tokens=12, **more
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        return [choice.message.content for choice in answer.choices]

    first = texts(seed=1)
    assert texts(seed=1) == first
    assert len(set(first)) == 3
    assert texts(seed=2) != first
    assert texts(seed=1, extra_body={"top_k": 1}) == [
        ANSWER[: len(each)] for each in texts(seed=1, extra_body={"top_k": 1})
    ]
    streamed = [""] * 3
    for chunk in client.chat.completions.create(
        model="tiny", messages=MESSAGES, n=3, temperature=3.0, max_tokens=12, seed=1, stream=True
    ):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == first


def test_stops_and_lengths(client):
    def choice(**more):
        return client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, **more).choices[0]

    stopped = choice(stop=["sells", "never"])
    assert (stopped.message.content, stopped.finish_reason) == (ANSWER.split("sells")[0], "stop")
    short = choice(max_tokens=3)
    assert short.finish_reason == "length"
    assert ANSWER.startswith(short.message.content)
    assert len(short.message.content) < len(ANSWER)


def test_completions_and_their_log_probabilities(client, model):
    prompts = ["The baker", "The smith of Lorem"]
    answer = client.completions.create(model="tiny", prompt=prompts, temperature=0, max_tokens=5, logprobs=2)
    for prompt, choice in zip(prompts, answer.choices, strict=True):
        ids = model.encode(prompt, True)
        assert choice.text == model.generate([ids], 5)[0].text
        with torch.inference_mode():
            logs_V = torch.log_softmax(model.model(torch.tensor([ids])).logits[0, -1].float(), -1)
        assert choice.logprobs.token_logprobs[0] == pytest.approx(float(logs_V.max()), abs=1e-4)
        assert len(choice.logprobs.top_logprobs[0]) == 2
    by_ids = client.completions.create(model="tiny", prompt=model.encode(prompts[0], True), temperature=0, max_tokens=5)
    assert by_ids.choices[0].text == answer.choices[0].text
    assert client.completions.create(model="tiny", prompt="", temperature=0).usage.prompt_tokens >= 1
    streamed = client.completions.create(model="tiny", prompt=prompts[0], temperature=0, max_tokens=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == answer.choices[0].text


def test_log_probabilities_of_a_chat(client):
    answer = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Arabic?"}], temperature=0, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert b"".join(bytes(each.bytes) for each in content).decode() == "عربي 🙂"
    assert all(-0.5 < each.logprob <= 0 and len(each.top_logprobs) == 3 for each in content)
    assert sum(math.exp(each.logprob) for each in content[0].top_logprobs) <= 1.0001


@pytest.mark.parametrize(
    ("changes", "kind", "param", "code"),
    [
        ({"model": "other"}, openai.NotFoundError, "model", "model_not_found"),
        ({"messages": []}, openai.BadRequestError, "messages", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, openai.BadRequestError, "messages.0.role", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x " * 3000}]}, openai.BadRequestError, "messages", "context_length_exceeded"),
        ({"max_tokens": 4090}, openai.BadRequestError, "messages", "context_length_exceeded"),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens", "invalid_value"),
        ({"temperature": -1}, openai.BadRequestError, "temperature", "invalid_value"),
        ({"temperature": "hot"}, openai.BadRequestError, "temperature", "invalid_value"),
        ({"top_p": 0}, openai.BadRequestError, "top_p", "invalid_value"),
        ({"n": 100}, openai.BadRequestError, "n", "invalid_value"),
        ({"stop": ""}, openai.BadRequestError, "stop.constrained-str", "invalid_value"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "tools", "unsupported_parameter"),
        ({"frequency_penalty": 0.5}, openai.BadRequestError, "frequency_penalty", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "response_format", "unsupported_parameter"),
        ({"extra_body": {"wishes": 3}}, openai.BadRequestError, "wishes", "unknown_parameter"),
    ],
)  # fmt: skip
def test_what_is_refused(client, changes, kind, param, code):
    with pytest.raises(kind) as refused:
        client.chat.completions.create(**{"model": "tiny", "messages": MESSAGES, **changes})
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 5000, b'{"model": NaN}', b"{}"])
def test_bodies_that_are_no_requests(port, body):
    status, _, answer = ask(port, "POST", "/v1/chat/completions", body, Authorization="Bearer secret")
    assert status == 400
    assert json.loads(answer)["error"]["message"]


def test_keys_paths_and_methods(port):
    address = f"http://127.0.0.1:{port}/v1"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=address, api_key="wrong", max_retries=0).models.list()
    assert ask(port, path="/v1/models")[0] == 401
    assert ask(port, path="/health")[0] == 200
    status, _, body = ask(port, path="/nowhere")
    assert (status, json.loads(body)["error"]["type"]) == (404, "invalid_request_error")
    assert ask(port, "GET", "/v1/chat/completions")[0] == 405
    assert ask(port, path="/v1/models", Host="evil.example", Authorization="Bearer secret")[0] == 403


def test_many_at_a_time_are_answered_as_one_alone(port):
    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0
        ) as client:
            asked = [tiny_model.conversation(text)[:1] for text in tiny_model.ENGLISH]
            answers = await asyncio.gather(
                *(client.chat.completions.create(model="tiny", messages=each, temperature=0) for each in asked)
            )
        return [answer.choices[0].message.content for answer in answers]

    assert asyncio.run(all_of_them()) == tiny_model.ENGLISH


def test_a_full_server_says_when_and_clients_come_again(model):
    with served(model, concurrency=1, waiting=0) as (port, engine):
        address = f"http://127.0.0.1:{port}/v1"
        impatient = openai.OpenAI(base_url=address, api_key="-", max_retries=0)
        stream = impatient.completions.create(
            model="tiny", prompt="The", temperature=5, seed=0, max_tokens=250, stream=True, logprobs=0
        )
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as full:
            impatient.chat.completions.create(model="tiny", messages=MESSAGES)
        assert int(full.value.response.headers["retry-after"]) >= 1
        # Who goes away makes room: the answer is given up.
        stream.close()
        for _ in range(500):
            if not engine._open:
                break
            time.sleep(0.01)
        assert not engine._open
        patient = openai.OpenAI(base_url=address, api_key="-", max_retries=3)
        done = patient.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0)
        assert done.choices[0].message.content == ANSWER


def test_a_whole_answer_is_given_up_too_when_its_client_leaves(model):
    with served(model, concurrency=1, waiting=0) as (port, engine):
        held, [add] = threading.Event(), [engine._advance]
        engine._advance = lambda: (held.wait(0.02), add())  # slow
        with pytest.raises(openai.APITimeoutError):
            openai.OpenAI(
                base_url=f"http://127.0.0.1:{port}/v1", api_key="-", max_retries=0, timeout=0.3
            ).completions.create(model="tiny", prompt="The", temperature=5, seed=0, max_tokens=250)
        begun = time.monotonic()
        while engine._open:
            assert time.monotonic() - begun < 3
            time.sleep(0.01)


def test_self_instruct_asks_our_server(port, tmp_path, monkeypatch):
    """Both speak the same protocol: every request of the stage is answered, counted and judged."""
    monkeypatch.setenv("TINY_KEY", "secret")
    seeds = [
        {"instruction": f"What does {number} sell?", "input": "", "output": text}
        for number, text in enumerate(tiny_model.ENGLISH[:3])
    ]
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(each) + "\n" for each in seeds))
    endpoint = Endpoint(
        url=f"http://127.0.0.1:{port}/v1", model="tiny", key_variable="TINY_KEY", concurrency=4, retries=0
    )
    stage = SelfInstruct(
        endpoint=endpoint, seed_tasks={"en": str(tmp_path / "seeds.jsonl")}, languages=["en"], rounds=1, first_prompts=3,
        max_tokens=12,
    )  # fmt: skip
    for name in ("made", "scratch"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="among 3 records: 3 format"):  # a model of one trade writes no tasks
        self_instruct.run(stage, Inputs({}), tmp_path / "made", Context("made", 1, tmp_path / "scratch"))
    with Journal(next((tmp_path / "scratch").rglob("answers.jsonl"))) as journal:
        assert len(journal) == 3
        assert journal.uncounted == 0
        assert 3 <= journal.completion_tokens <= 36


@pytest.mark.slow
def test_the_command(folder):
    """On a free port, until it is interrupted; the port's own line says where."""
    with contextlib.closing(Serving(folder)) as server:
        client = openai.OpenAI(base_url=server.address, api_key="-", max_retries=0)
        done = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0)
        assert done.choices[0].message.content == ANSWER
    assert server.ended.returncode == 0
    assert "Traceback" not in server.ended.stderr


class Serving:
    """`diglot serve` in a process of its own."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.command = Command("serve", folder, "--port", "0", *more)
        for _ in itertools.count():
            printed = Path(self.command._folder.name, "stdout").read_text()
            if "Ctrl-C" in printed:
                break
            assert self.command.running(), self.command.end().stderr
            time.sleep(0.02)
        self.address = printed.split(": ", 1)[1].split(" ")[0]

    def close(self) -> None:
        os.kill(self.command.pid, signal.SIGINT)
        self.ended = self.command.end(30)


def test_vllm_gets_our_arguments_and_the_key_out_of_sight(monkeypatch, folder):
    arguments = vllm_arguments(folder, "quickstart/merged", "127.0.0.1", 8000, 16)
    named = dict(itertools.pairwise(arguments))
    assert named["--served-model-name"] == "quickstart/merged"
    assert named["--max-num-seqs"] == "16"
    assert not any("secret" in argument for argument in arguments)
    assert vllm_environment("secret")["VLLM_API_KEY"] == "secret"
    assert "--trust-remote-code" not in arguments
