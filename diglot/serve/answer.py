"""An answer as it grows: from tokens to text that can be shown, up to a stop string, an end token or its longest length.

Text is given out once it cannot change any more: a character of several tokens when it is whole, and what may be the
beginning of a stop string when it turns out not to be one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from diglot.serve.sampling import Sampling, draw

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what bytes that are no whole character are decoded to


class TokenLog(NamedTuple):
    """A token with its log-probability in nats, and the likeliest ones in its place with theirs."""

    token: int
    log_probability: float
    likeliest: list[tuple[int, float]]


class Piece(NamedTuple):
    """What is new of an answer.

    Attributes:
        text: that can be shown now; may be empty.
        logs: of the tokens since the piece before, if they were asked for.
        finish: why the answer ends here: `stop` or `length`; `error` where the engine failed. None: it goes on.
    """

    text: str
    logs: list[TokenLog]
    finish: Literal["stop", "length", "error"] | None = None


@dataclass(frozen=True)
class Ending:
    """What ends an answer.

    Attributes:
        max_tokens: it has at most, the end token counted.
        ids: tokens that end it, and are not part of its text.
        stops: strings that end it, and are not part of its text.
    """

    max_tokens: int
    ids: frozenset[int] = frozenset()
    stops: tuple[str, ...] = ()


class Answer:
    """One answer.

    Attributes:
        num_tokens: so far, with the one that ended it.
        cancelled: nobody waits for it any more; anyone may set this.
        begun: when it was, by the monotonic clock.
    """

    def __init__(
        self,
        tokenizer: Any,
        ending: Ending,
        sampling: Sampling,
        deliver: Callable[[Piece], None],
        number: int = 0,
        num_likeliest: int | None = None,
    ) -> None:
        """Begin.

        Args:
            tokenizer: transformers' class around the model's.
            ending: what ends it.
            sampling: how its tokens are drawn.
            deliver: is given the pieces, the last one with a reason; called by whoever calls `add`.
            number: among the answers to the same request; its draws are others'.
            num_likeliest: tokens to tell in each one's place; None for no log-probabilities.
        """
        self._tokenizer, self._ending, self._sampling, self._deliver = tokenizer, ending, sampling, deliver
        self._generator = sampling.generator(number)
        self._num_likeliest = num_likeliest
        self._ids: list[int] = []
        self._logs: list[TokenLog] = []
        self._shown = 0  # characters of the decoded text
        self.num_tokens = 0
        self.cancelled = False
        self.begun = 0.0

    def add(self, logits_V: torch.Tensor) -> int | None:
        """Draw the next token, and deliver what can be shown.

        Args:
            logits_V: of the next token, float32 on the CPU.

        Returns:
            The token; None where the answer ends with it.
        """
        token = draw(logits_V, self._sampling, self._generator)
        self.num_tokens += 1
        if token in self._ending.ids:
            self._show(self._text(), "stop")
            return None
        self._ids.append(token)
        if self._num_likeliest is not None:
            self._logs.append(_log_of(token, logits_V, self._num_likeliest))
        text = self._text()
        at = self._stop_in(text)
        if at is not None:
            self._show(text[:at], "stop")
        elif self.num_tokens == self._ending.max_tokens:
            self._show(text, "length")
        else:
            self._show(text[: len(text) - self._held_back(text)], None)
            return token
        return None

    def fail(self) -> None:
        """End the answer where it stands: the engine cannot go on with it."""
        self.cancelled = True
        self._deliver(Piece("", [], "error"))

    def _text(self) -> str:
        return self._tokenizer.decode(self._ids, skip_special_tokens=True)

    def _show(self, text: str, finish: Literal["stop", "length"] | None) -> None:
        new, self._shown = text[self._shown :], max(self._shown, len(text))
        if new or finish:
            self._deliver(Piece(new, self._logs, finish))
            self._logs = []

    def _stop_in(self, text: str) -> int | None:
        """Where the first stop string begins, in text that was not there before the last token."""
        # What was shown holds no beginning of a stop string, so none begins there.
        places = [text.find(stop, self._shown) for stop in self._ending.stops]
        return min((place for place in places if place >= 0), default=None)

    def _held_back(self, text: str) -> int:
        """Characters at the end that may change yet."""
        unfinished = len(text) - len(text.rstrip(UNFINISHED))
        longest = max(map(len, self._ending.stops), default=1) - 1
        for length in range(min(longest, len(text) - self._shown), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._ending.stops):
                return max(length, unfinished)
        return unfinished


def _log_of(token: int, logits_V: torch.Tensor, num_likeliest: int) -> TokenLog:
    """Log-probabilities of the model's own distribution, before temperature and limits."""
    logs_V = torch.log_softmax(logits_V, dim=-1)
    top = logs_V.topk(min(num_likeliest, len(logs_V)))
    return TokenLog(token, float(logs_V[token]), list(zip(top.indices.tolist(), top.values.tolist())))
