"""A conversation with a model in the terminal: `diglot chat RUN`.

The whole conversation is encoded anew for every answer in the model's chat format, so that nothing a user types
can pass for a special token; what the model computed for the common beginning is kept (`DynamicCache.crop`) and only
the new tokens run. When a conversation outgrows the model's context, its oldest turns are forgotten, and the terminal
says so. Right-to-left text is printed in logical order: terminals do the reordering.

    /new    forget the conversation          Ctrl-C   stop the answer
    /quit   leave                            Ctrl-D   leave
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text
from transformers import DynamicCache

from diglot.base.console import make_console
from diglot.base.errors import UserError
from diglot.base.format import printable
from diglot.evaluate.language_model import LanguageModel, Message


class Conversation:
    """A conversation with a model, and how its answers are drawn.

    Attributes:
        messages: what was said so far; a system message, if any, comes first.
        forgotten: turns that no longer fit into the model's context.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        system: str | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.7,
        seed: int = 0,
    ):
        self.model, self.max_new_tokens, self.temperature = model, max_new_tokens, temperature
        self.system: list[Message] = [{"role": "system", "content": system}] if system else []
        self.random = torch.Generator(device="cpu").manual_seed(seed)
        self.new()

    def new(self) -> None:
        """Forget the conversation, but for the system message."""
        self.messages: list[Message] = list(self.system)
        self.forgotten = 0
        self._seen: list[int] = []
        self._cache = DynamicCache()

    def answer(self, question: str) -> Generator[str, None, None]:
        """Say something and stream the answer, piece by piece.

        What has been streamed becomes part of the conversation, also where the consumer stops early.

        Raises:
            UserError: the question does not fit into the model's context.
        """
        ids = self._prompt({"role": "user", "content": question})
        text = ""
        answer: list[int] = []
        try:
            for token in self._tokens(ids):
                answer.append(token)
                whole = self.model.tokenizer.decode(answer, skip_special_tokens=True)
                # A character of several byte tokens is shown once it is complete.
                if not whole.endswith("\N{REPLACEMENT CHARACTER}"):
                    new, text = whole[len(text) :], whole
                    yield printable(new)
            if answer and whole != text:
                new, text = whole[len(text) :], whole
                yield printable(new)
        finally:
            self.messages.append({"role": "assistant", "content": text})

    def _prompt(self, question: Message) -> list[int]:
        """Add the question; the token ids of the conversation, without its oldest turns where it is too long."""
        room = self.model.max_length - self.max_new_tokens
        turns, forgotten = [*self.messages[len(self.system) :], question], 0
        while True:
            ids, _ = self.model.encode_chat([*self.system, *turns], add_generation_prompt=True)
            if len(ids) <= room:
                break
            if len(turns) == 1:
                raise UserError(
                    f"{len(ids)} tokens are too many: the model can attend to {self.model.max_length}, of which "
                    f"{self.max_new_tokens} are kept for the answer"
                )
            turns, forgotten = turns[2:], forgotten + 1
        self.messages = [*self.system, *turns]
        self.forgotten += forgotten
        return ids

    @torch.inference_mode()
    def _tokens(self, ids: list[int]) -> Iterator[int]:
        same = 0
        while same < min(len(ids) - 1, len(self._seen)) and ids[same] == self._seen[same]:
            same += 1
        if same < len(self._seen):
            self._cache.crop(same - len(self._seen))  # a negative number: how many to drop
        self._seen, new = ids[:same], ids[same:]
        for _ in range(self.max_new_tokens):
            logits_V = self._step(new)
            token = self._draw(logits_V)
            if token in self.model.end_ids:
                return
            yield token
            new = [token]

    def _step(self, new: list[int]) -> torch.Tensor:
        tokens_BT = torch.tensor([new], device=self.model.device)
        output = self.model.model(input_ids=tokens_BT, past_key_values=self._cache, logits_to_keep=1)
        self._seen = self._seen + new
        return output.logits[0, -1].float().cpu()

    def _draw(self, logits_V: torch.Tensor) -> int:
        if self.temperature == 0:
            return int(logits_V.argmax())
        shares_V = torch.softmax(logits_V / self.temperature, dim=-1)
        return int(torch.multinomial(shares_V, 1, generator=self.random))


def chat(
    model: Path, *, prompt: str | None, system: str | None, max_new_tokens: int, temperature: float, seed: int
) -> None:
    """Talk to a model in the terminal, or print one answer.

    Args:
        model: a model folder with a chat template.
        prompt: answer this and return; None for a conversation.
        system: a system message.
        max_new_tokens: longest answer.
        temperature: 0 takes the likeliest token, 1 draws from the model's distribution.
        seed: of the draws.

    Raises:
        UserError: not a model folder, no chat template, or settings that cannot be.
    """
    if temperature < 0:
        raise UserError(f"temperature: 0 or more, not {temperature}")
    loaded = LanguageModel.load(model)
    if not 0 < max_new_tokens < loaded.max_length:
        raise UserError(f"max_new_tokens: 1 to {loaded.max_length - 1} for this model, not {max_new_tokens}")
    _ = loaded.chat  # says so where there is no chat template
    conversation = Conversation(
        loaded, system=system, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
    )
    console = make_console(soft_wrap=True)
    if prompt is not None:
        _show(console, conversation.answer(prompt))
    else:
        _converse(console, conversation, model)


def _converse(console: Console, conversation: Conversation, model: Path) -> None:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # what is not UTF-8 could be given to no tokenizer
    console.print(Text(f"{model}", style="bold"), Text("  /new  /quit  Ctrl-C stops an answer", style="dim"))
    while True:
        try:
            question = console.input("[bold green]you ›[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if question == "/quit":
            return
        if question == "/new":
            conversation.new()
            console.print("a new conversation", style="dim")
        elif question.startswith("/"):
            console.print("commands: /new, /quit", style="dim")
        elif question:
            forgotten = conversation.forgotten
            console.print("model ›", style="bold cyan", end=" ")
            try:
                _show(console, conversation.answer(question))
            except UserError as error:
                console.print(Text(str(error), style="red"))
            if conversation.forgotten > forgotten:
                console.print("(the oldest turns no longer fit and were forgotten)", style="dim")


def _show(console: Console, pieces: Generator[str, None, None]) -> None:
    try:
        with contextlib.closing(pieces):  # so that what was shown is in the conversation before the next question
            for piece in pieces:
                console.print(Text(piece), end="")
    except KeyboardInterrupt:
        console.print(" (stopped)", style="dim", end="")
    console.print()
