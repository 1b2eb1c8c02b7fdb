"""OpenAI's forms: what a request may say, and how answers look.

Of OpenAI's parameters those that change nothing of the text here are ignored (IGNORED). Those that would, and are not there,
are refused unless they say what is done anyway (NEUTRAL); so is any other name, as OpenAI does. `top_k` is vLLM's.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diglot.base.files import parse_json
from diglot.base.format import excerpt
from diglot.base.plain_yaml import LARGEST
from diglot.serve.answer import TokenLog
from diglot.serve.sampling import Sampling
from diglot.serve.web import Refusal

# Who asks, where it is kept, what is hidden: no part of what a model is asked.
IGNORED = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "prompt_cache_options", "parallel_tool_calls", "tool_choice",
}  # fmt: skip
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "echo": (False,),
    "suffix": ("",),
    "best_of": (1,),
}
LEAST_LOG = -9999.0  # in place of minus infinity, which JSON has not; OpenAI's number
Tokens = Annotated[int, Field(ge=1, le=LARGEST)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Asked = TypeVar("Asked", bound="Request")


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StreamOptions(_Form):
    """How an answer is streamed."""

    include_usage: bool = False
    include_obfuscation: bool = False  # OpenAI's padding of pieces; there is none here


class Request(_Form):
    """What chat completions and completions have in common."""

    model: str
    n: int = Field(1, ge=1, le=128)
    temperature: float = Field(1.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1, le=LARGEST)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stop | list[Stop] = Field([], max_length=1000)
    max_tokens: Tokens | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""
        return Sampling(self.temperature, self.top_p, max(self.top_k, 0), self.seed)

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wanted_tokens(self) -> int | None:
        """The longest answer that is wanted; None: as long as the model can."""
        return self.max_tokens

    @property
    def num_likeliest(self) -> int | None:
        """Likeliest tokens to tell beside each one; None: no log-probabilities."""
        raise NotImplementedError


class Part(_Form):
    """A part of a message; only text is read here."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """A message; what clients keep of an answer beside its text is ignored, but no calls of tools."""

    model_config = ConfigDict(strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None

    def plain(self) -> dict[str, str]:
        """As chat formats take it: `developer` is OpenAI's newer word for `system`."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class ChatRequest(Request):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: Tokens | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)

    @property
    def wanted_tokens(self) -> int | None:
        """By either name: the longer one is OpenAI's newer."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def num_likeliest(self) -> int | None:
        """As asked."""
        return self.top_logprobs if self.logprobs else None


class CompletionRequest(Request):
    """`POST /v1/completions`. OpenAI's default of 16 tokens holds."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: Tokens | None = 16
    logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def num_likeliest(self) -> int | None:
        """As asked."""
        return self.logprobs

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """Each prompt, as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt  # type: ignore[return-value]


def read(form: type[Asked], body: bytes) -> Asked:
    """A request's body.

    Raises:
        Refusal: it is no such request, or asks for what is not there.
    """
    try:
        value = parse_json(body)
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON that can be read: {excerpt(str(error))}", "invalid_json") from error
    if not isinstance(value, dict):
        raise Refusal(400, "the body must be a JSON object", "invalid_json")
    given = {}
    for name, item in value.items():
        if item is None or name in IGNORED or item in NEUTRAL.get(name, ()):
            continue
        if name in NEUTRAL:
            message = f"{name}: this server has nothing of the kind; leave it out"
            raise Refusal(400, message, "unsupported_parameter", name)
        given[name] = item
    try:
        return form.model_validate(given)
    except ValidationError as error:
        [first, *_] = error.errors()
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            message = f"Unrecognized request argument supplied: {excerpt(place)}"  # in OpenAI's words
            raise Refusal(400, message, "unknown_parameter", excerpt(place)) from error
        raise Refusal(400, f"{place}: {excerpt(first['msg'])}", "invalid_value", place) from error


# --- answers --------------------------------------------------------------------------------------------------


class Form:
    """How answers to one request look.

    Attributes:
        is_chat: a chat completion; else a completion.
    """

    def __init__(self, is_chat: bool, model: str, bytes_of: Callable[[int], bytes]) -> None:
        """Prepare.

        Args:
            is_chat: see above.
            model: its name.
            bytes_of: the text of a token.
        """
        self.is_chat, self._bytes_of = is_chat, bytes_of
        self._kind = "chat.completion" if is_chat else "text_completion"
        prefix = "chatcmpl" if is_chat else "cmpl"
        self._head = {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        """All answers at once."""
        return {**self._head, "object": self._kind, "choices": choices, "usage": usage}

    def choice(self, index: int, text: str, logs: Sequence[TokenLog] | None, finish: str) -> dict[str, Any]:
        """A whole answer; without `logs` it tells no log-probabilities."""
        message = {"role": "assistant", "content": text, "refusal": None}
        said: dict[str, Any] = {"message": message} if self.is_chat else {"text": text}
        return {"index": index, **said, "logprobs": self._logs(logs), "finish_reason": finish}

    def chunk(
        self, index: int, text: str | None, logs: Sequence[TokenLog] | None, finish: str | None = None
    ) -> dict[str, Any]:
        """A piece of a streamed answer; `text` None is what a chat answer begins with."""
        said: dict[str, Any] = {"text": text or ""}
        if self.is_chat and text is None:
            said = {"delta": {"role": "assistant", "content": ""}}
        elif self.is_chat:
            said = {"delta": {"content": text} if text else {}}
        choice = {"index": index, **said, "logprobs": self._logs(logs or None), "finish_reason": finish}
        return {**self._streamed, "choices": [choice]}

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        """What ends a stream if it is asked for."""
        return {**self._streamed, "choices": [], "usage": usage}

    @property
    def _streamed(self) -> dict[str, Any]:
        return {**self._head, "object": f"{self._kind}.chunk" if self.is_chat else self._kind}

    def _logs(self, logs: Sequence[TokenLog] | None) -> dict[str, Any] | None:
        if logs is None:
            return None
        if self.is_chat:
            content = [
                {
                    **self._told(log.token, log.log_probability),
                    "top_logprobs": [self._told(*one) for one in log.likeliest],
                }
                for log in logs
            ]
            return {"content": content, "refusal": None}
        return {
            "tokens": [self._text_of(log.token) for log in logs],
            "token_logprobs": [max(log.log_probability, LEAST_LOG) for log in logs],
            "top_logprobs": [
                {self._text_of(token): max(number, LEAST_LOG) for token, number in log.likeliest} for log in logs
            ],
            "text_offset": [],
        }

    def _told(self, token: int, log_probability: float) -> dict[str, Any]:
        data = self._bytes_of(token)
        return {
            "token": data.decode("utf-8", "replace"),
            "logprob": max(log_probability, LEAST_LOG),
            "bytes": list(data),
        }

    def _text_of(self, token: int) -> str:
        return self._bytes_of(token).decode("utf-8", "replace")


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """What a request took."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
