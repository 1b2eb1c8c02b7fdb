"""OpenAI's API in front of an engine: the Starlette application of `diglot serve`.

    GET  /v1/models, /v1/models/NAME     POST /v1/chat/completions     POST /v1/completions     GET /health

An answer whose client has gone away is given up. The messages of a conversation are encoded in the model's chat format, each
content as plain text, so that nobody forges a role by writing it; in `prompt` too what looks like a special token is text,
and only token ids can be special ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from diglot.base.errors import UserError
from diglot.evaluate.language_model import LanguageModel
from diglot.serve.answer import Answer, Ending, Piece, TokenLog
from diglot.serve.engine import Asked, Engine, Full
from diglot.serve.protocol import ChatRequest, CompletionRequest, Form, Request, read, usage_of
from diglot.serve.web import Refusal
from diglot.tokenizer.folder import reader_of_bytes

Endpoint = Callable[[HttpRequest], Awaitable[Response]]
Pieces = AsyncGenerator[tuple[int, Piece, int]]  # whose answer, what is new, tokens so far


def make_app(model: LanguageModel, engine: Engine, name: str, key: str = "") -> Starlette:
    """The application; it belongs behind a `Guard`.

    Args:
        model: whose engine it is.
        engine: answers.
        name: what the model is called.
        key: that clients must give, as `Authorization: Bearer KEY`; empty for none.
    """
    api = _Api(model, engine, name)

    def keyed(endpoint: Endpoint) -> Endpoint:
        async def checked(request: HttpRequest) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if key and not hmac.compare_digest(given.encode("latin-1", "replace"), key.encode()):
                raise Refusal(401, "this server wants a key: Authorization: Bearer KEY", "invalid_api_key")
            return await endpoint(request)

        return checked

    async def health(request: HttpRequest) -> Response:
        return Response()

    routes = [
        Route("/v1/models", keyed(api.models), methods=["GET"]),
        Route("/v1/models/{name:path}", keyed(api.model_named), methods=["GET"]),
        Route("/v1/chat/completions", keyed(api.chat), methods=["POST"]),
        Route("/v1/completions", keyed(api.complete), methods=["POST"]),
        Route("/health", health, methods=["GET"]),
    ]
    handlers: dict[Any, Any] = {Refusal: _refused, HTTPException: _not_there, Exception: _fault}
    return Starlette(routes=routes, exception_handlers=handlers)


async def _refused(request: HttpRequest, refusal: Refusal) -> Response:
    headers = {"retry-after": str(refusal.retry_after)} if refusal.retry_after else {}
    return JSONResponse(refusal.as_json(), refusal.status, headers)


async def _not_there(request: HttpRequest, error: HTTPException) -> Response:
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(Refusal(error.status_code, message).as_json(), error.status_code, error.headers)


async def _fault(request: HttpRequest, error: Exception) -> Response:
    return JSONResponse(Refusal(500, "a fault of the server; its terminal says which").as_json(), 500)


class _Api:
    """The endpoints."""

    def __init__(self, model: LanguageModel, engine: Engine, name: str) -> None:
        self.model, self.engine, self.name = model, engine, name
        self._bytes_of = reader_of_bytes(model.tokenizer.backend_tokenizer)
        about = (model.folder / "config.json").stat()
        self._card = {"id": name, "object": "model", "created": int(about.st_mtime), "owned_by": "diglot",
                      "root": str(model.folder), "max_model_len": model.max_length}  # fmt: skip

    async def models(self, request: HttpRequest) -> Response:
        """What is served."""
        return JSONResponse({"object": "list", "data": [self._card]})

    async def model_named(self, request: HttpRequest) -> Response:
        """The model by its name."""
        self._check_name(request.path_params["name"])
        return JSONResponse(self._card)

    async def chat(self, request: HttpRequest) -> Response:
        """Answer a conversation."""
        asked = read(ChatRequest, await request.body())
        self._check_name(asked.model)
        messages = [message.plain() for message in asked.messages]
        try:
            ids, _ = await run_in_threadpool(self.model.encode_chat, messages, True)
        except UserError as error:
            raise Refusal(400, str(error), "invalid_value", "messages") from error
        return await self._answer(request, asked, [ids], is_chat=True)

    async def complete(self, request: HttpRequest) -> Response:
        """Go on after a prompt, or after each of several."""
        asked = read(CompletionRequest, await request.body())
        self._check_name(asked.model)
        prompts = [await run_in_threadpool(self._ids_of, prompt) for prompt in asked.prompts]
        return await self._answer(request, asked, prompts, is_chat=False)

    def _check_name(self, name: str) -> None:
        if name != self.name:
            raise Refusal(
                404, f"there is no model {name[:100]!r} here; there is {self.name!r}", "model_not_found", "model"
            )

    def _ids_of(self, prompt: str | list[int]) -> list[int]:
        """A prompt's token ids; an empty one is what stands before a document."""
        ids = self.model.encode(prompt, add_special_tokens=True) if isinstance(prompt, str) else prompt
        if not all(0 <= id < self.model.vocabulary_size for id in ids):
            raise Refusal(
                400, f"token ids are 0 to {self.model.vocabulary_size - 1} with this model", "invalid_value", "prompt"
            )
        return ids or [self.model.prefix_id]

    async def _answer(
        self, http: HttpRequest, asked: Request, prompts: Sequence[list[int]], *, is_chat: bool
    ) -> Response:
        """Have the engine answer, and send what it says: at once, or as it comes."""
        if not 0 < len(prompts) * asked.n <= self.engine.most:
            message = f"{len(prompts)} prompts with {asked.n} answers each: this server takes 1 to {self.engine.most}"
            raise Refusal(400, message, "invalid_value", "n")
        pieces = self._ask(asked, prompts, "messages" if is_chat else "prompt")
        form = Form(is_chat, self.name, self._bytes_of)
        if asked.stream:
            await anext(pieces)  # raises what the engine refuses, before the answer begins
            return StreamingResponse(self._stream(pieces, form, asked, prompts), media_type="text/event-stream")
        return await _unless_gone(http, self._whole(pieces, form, asked, prompts))

    async def _ask(self, asked: Request, prompts: Sequence[list[int]], param: str) -> Pieces:
        """The pieces of all answers as they come: whose, what, and tokens of that answer so far.

        The first one is empty, and comes as soon as the engine has taken the request.

        Raises:
            Refusal: it has not.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Piece]]()

        def deliver(index: int, piece: Piece) -> None:
            with contextlib.suppress(RuntimeError):  # the server has closed meanwhile
                loop.call_soon_threadsafe(queue.put_nowait, (index, piece))

        requests: list[Asked] = []
        for place, ids in enumerate(prompts):
            ending = self._ending(asked, len(ids), param)
            answers = [
                Answer(
                    self.model.tokenizer,
                    ending,
                    asked.sampling,
                    functools.partial(deliver, place * asked.n + number),
                    number,
                    asked.num_likeliest,
                )
                for number in range(asked.n)
            ]
            requests.append(Asked(ids, answers))
        all_answers = [answer for each in requests for answer in each.answers]
        try:
            self.engine.ask(*requests)
        except Full as full:
            message = f"so many requests are under way that no more are taken; try again in {full.seconds} s"
            raise Refusal(429, message, "rate_limit_exceeded", retry_after=full.seconds) from full
        try:
            yield 0, Piece("", []), 0
            open_answers = len(all_answers)
            while open_answers:
                index, piece = await queue.get()
                open_answers -= piece.finish is not None
                yield index, piece, all_answers[index].num_tokens
        finally:
            for answer in all_answers:
                answer.cancelled = True  # of those that have ended nothing is left to cancel

    def _ending(self, asked: Request, length: int, param: str) -> Ending:
        """What ends an answer to a prompt of so many tokens.

        Raises:
            Refusal: it leaves no room for the answer that is wanted.
        """
        room, wanted = self.model.max_length - length, asked.wanted_tokens
        if room < (wanted or 1):
            message = (
                f"This model's maximum context length is {self.model.max_length} tokens: {length} of the prompt"
                + (f" and {wanted} of the answer" if wanted else "")
                + " are too many"
            )
            raise Refusal(400, message, "context_length_exceeded", param)
        return Ending(wanted or room, frozenset(self.model.end_ids), asked.stops)

    async def _whole(self, pieces: Pieces, form: Form, asked: Request, prompts: Sequence[list[int]]) -> Response:
        number = len(prompts) * asked.n
        texts, logs, finishes = [""] * number, [list[TokenLog]() for _ in range(number)], [""] * number
        tokens = [0] * number
        async with contextlib.aclosing(pieces):  # so that answers are given up as soon as this is cancelled
            async for index, piece, count in pieces:
                if piece.finish == "error":
                    raise _failed()
                texts[index] += piece.text
                logs[index] += piece.logs
                finishes[index], tokens[index] = piece.finish or "", count
        told = logs if asked.num_likeliest is not None else [None] * number
        choices = [form.choice(index, texts[index], told[index], finishes[index]) for index in range(number)]
        return JSONResponse(form.whole(choices, usage_of(sum(map(len, prompts)), sum(tokens))))

    async def _stream(
        self, pieces: Pieces, form: Form, asked: Request, prompts: Sequence[list[int]]
    ) -> AsyncIterator[str]:
        """Server-sent events, as OpenAI has them."""
        number = len(prompts) * asked.n
        tokens = [0] * number
        if form.is_chat:
            for index in range(number):
                yield _event(form.chunk(index, None, None))
        async with contextlib.aclosing(pieces):
            async for index, piece, count in pieces:
                if piece.finish == "error":
                    yield _event(_failed().as_json())
                    return
                tokens[index] = count
                if piece.text or piece.logs or piece.finish:
                    yield _event(form.chunk(index, piece.text, piece.logs, piece.finish))
        if asked.stream_options.include_usage:
            yield _event(form.usage_chunk(usage_of(sum(map(len, prompts)), sum(tokens))))
        yield "data: [DONE]\n\n"


def _failed() -> Refusal:
    return Refusal(500, "the engine could not go on; the server's terminal says why")


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def _unless_gone(http: HttpRequest, answering: Awaitable[Response]) -> Response:
    """Wait for an answer as long as its client does."""

    async def gone() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass

    answer, leaving = asyncio.ensure_future(answering), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({answer, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await answer if answer.done() else Response(status_code=499)  # nobody reads it
    finally:
        answer.cancel()
        leaving.cancel()
