"""Answers to many requests at a time, in this process: a small continuous batch on a processor.

Every step of a batch computes the next token of each of its rows in one forward pass, which for few rows costs little more
than for one: the weights are read once. A request that comes joins after its prompt has been computed alone; a row that ends
leaves. Keys and values of the rows lie in one `DynamicCache`, padded on the left.

Not every model of every family can be treated so: recurrent states have no padding, and some families keep nothing that is
known here. So the first thing that an engine does is to try (`Forward`): two short sequences, together, then alone with what
was kept, must give the logits of a plain forward pass; else every step computes the whole sequence anew.

Shapes: B rows, T cached positions, V vocabulary.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

from diglot.evaluate.language_model import LanguageModel
from diglot.serve.answer import Answer

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.03}  # of logits, over their standard deviation
PROBE = (11, 5)  # tokens of the two sequences that a new engine tries
LONGEST_RETRY = 60  # seconds
WAYS = ("together", "alone", "anew")


class Full(Exception):
    """No more answers are taken in now; for so many seconds, as far as one knows."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"for {seconds} s")
        self.seconds = seconds


@dataclass
class Asked:
    """A prompt's ids and the answers wanted to it."""

    prompt: list[int]
    answers: list[Answer]


@dataclass
class Rows:
    """Rows that are computed together.

    Attributes:
        ids: of each row, from its prompt's first token on; the last one is not in the cache yet.
        cache: of all tokens before the last ones, padded on the left; None where nothing is kept.
        padding: cached positions of each row that stand for nothing.
    """

    ids: list[list[int]]
    cache: Any
    padding: list[int]

    def join(self, other: Rows) -> None:
        """Take in the rows of another batch; the shorter ones are padded on the left."""
        lengths = self.cache.get_seq_length(), other.cache.get_seq_length()
        mine, theirs = (max(lengths) - length for length in lengths)
        for layer, more in zip(self.cache.layers, other.cache.layers):
            # (B, heads, T, head width)
            layer.keys = torch.cat([pad(layer.keys, (0, 0, mine, 0)), pad(more.keys, (0, 0, theirs, 0))])
            layer.values = torch.cat([pad(layer.values, (0, 0, mine, 0)), pad(more.values, (0, 0, theirs, 0))])
        self.padding = [width + mine for width in self.padding] + [width + theirs for width in other.padding]
        self.ids += other.ids

    def keep(self, rows: list[int]) -> None:
        """Leave only some rows, and of the padding what they need."""
        if len(rows) == len(self.ids) or not rows:
            return
        self.ids, padding = [self.ids[row] for row in rows], [self.padding[row] for row in rows]
        common = min(padding)
        self.padding = [width - common for width in padding]
        for layer in self.cache.layers:
            layer.keys = layer.keys[rows, :, common:]
            layer.values = layer.values[rows, :, common:]


class Forward:
    """The forward pass of a model, in the best of WAYS in which it gives the right logits.

    Attributes:
        way: `together`: rows in one pass; `alone`: a pass a row, with a cache; `anew`: without one.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.device = model.model, model.device
        self._takes = set(inspect.signature(model.model.forward).parameters)
        generator = torch.Generator().manual_seed(0)
        probes = [torch.randint(model.vocabulary_size, (length,), generator=generator).tolist() for length in PROBE]
        self.way = next(way for way in WAYS if self._is_right(way, probes))

    @torch.inference_mode()
    def _is_right(self, way: str, probes: list[list[int]]) -> bool:
        """Whether sequences whose last token is computed with what was kept have the logits that they have anew."""
        self.way = way
        try:
            parts = [self.begin(probe[:-1], 1)[1][0] for probe in probes]
            for rows, probe in zip(parts, probes):
                rows.ids[0].append(probe[-1])
            if way == "together":
                parts[0].join(parts.pop())
            found_BV = torch.cat([self.step(rows) for rows in parts])
        except Exception as error:  # of families that keep something else, transformers raises many kinds
            logging.getLogger(__name__).info("%s: %s", way, error)
            return False
        wanted_BV = torch.cat([self._anew(probe) for probe in probes])
        bound = TOLERANCE.get(next(self.model.parameters()).dtype, 0.1) * wanted_BV.std()
        return bool((found_BV - wanted_BV).abs().max() <= bound)

    @torch.inference_mode()
    def begin(self, prompt: list[int], number: int) -> tuple[torch.Tensor, list[Rows]]:
        """Compute a prompt.

        Args:
            prompt: token ids.
            number: of answers to it.

        Returns:
            The logits of the next token, (V,), and the rows of the answers: in one batch, or in one each.
        """
        if self.way == "anew":
            return self._anew(prompt)[0], [Rows([list(prompt)], None, [0]) for _ in range(number)]
        if "past_key_values" not in self._takes:
            raise TypeError("keeps something else")
        batches = []
        # A plain cache keeps all positions of all layers, so that rows can be padded; windows are masks then.
        for _ in range(1 if self.way == "together" else number):
            cache = DynamicCache() if self.way == "together" else DynamicCache(config=self.model.config)
            logits_BV = self._run(torch.tensor([prompt]), past_key_values=cache, use_cache=True)
            batches.append(Rows([list(prompt)], cache, [0]))
        if self.way == "together" and number > 1:
            for layer in cache.layers:
                layer.batch_repeat_interleave(number)
            batches = [Rows([list(prompt) for _ in range(number)], cache, [0] * number)]
        return logits_BV[0], batches

    @torch.inference_mode()
    def step(self, rows: Rows) -> torch.Tensor:
        """Compute the last token of each row: the logits of the next one, (B, V)."""
        if rows.cache is None:
            return torch.cat([self._anew(ids) for ids in rows.ids])
        given: dict[str, Any] = {}
        if any(rows.padding):
            length, padding_B1 = rows.cache.get_seq_length(), torch.tensor(rows.padding)[:, None]
            given["attention_mask"] = (torch.arange(length + 1) >= padding_B1).long().to(self.device)
            if "position_ids" in self._takes:
                given["position_ids"] = (length - padding_B1).to(self.device)
        return self._run(
            torch.tensor([[ids[-1]] for ids in rows.ids]), past_key_values=rows.cache, use_cache=True, **given
        )

    def _anew(self, ids: list[int]) -> torch.Tensor:
        return self._run(torch.tensor([ids]), use_cache=False)

    def _run(self, tokens_BT: torch.Tensor, **given: Any) -> torch.Tensor:
        kept = {"logits_to_keep": 1} if "logits_to_keep" in self._takes else {}
        return self.model(input_ids=tokens_BT.to(self.device), **kept, **given).logits[:, -1].float().cpu()


class Engine:
    """Answers what it is asked, in a thread of its own."""

    def __init__(self, model: LanguageModel, concurrency: int = 8, waiting: int = 32) -> None:
        """Start.

        Args:
            model: answers.
            concurrency: answers computed at a time.
            waiting: answers that may wait beside those.
        """
        self.forward, self.concurrency, self.most = Forward(model), concurrency, concurrency + waiting
        self._changed = threading.Condition()
        self._waiting: deque[Asked] = deque()
        self._running: list[tuple[Rows, list[Answer]]] = []
        self._open: set[Answer] = set()  # all that were asked for and have not ended
        self._closed = False
        self._seconds = 1.0  # that an answer takes, of late
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def ask(self, *asked: Asked) -> None:
        """Have prompts answered, all or none; the answers deliver their pieces from the engine's thread.

        Raises:
            Full: too many answers are under way.
        """
        answers = [answer for each in asked for answer in each.answers]
        with self._changed:
            if len(self._open) + len(answers) > self.most:
                raise Full(max(1, min(LONGEST_RETRY, round(self._seconds))))
            self._open.update(answers)
            self._waiting.extend(asked)
            self._changed.notify()

    def close(self) -> None:
        """End; answers under way fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._running or self._closed):
                    self._changed.wait()
                new = self._next()
            if self._closed:
                self._fail(list(self._open))
                return
            if new:
                self._start(new)
            else:
                self._advance()

    def _next(self) -> Asked | None:
        """The request that waits longest, if there is room for its answers."""
        while self._waiting and all(answer.cancelled for answer in self._waiting[0].answers):
            self._open.difference_update(self._waiting.popleft().answers)
        if not self._waiting:
            return None
        # One that wants more answers than are computed at a time has them all the same, once it is alone.
        room = self.concurrency - sum(len(answers) for _, answers in self._running)
        fits = len(self._waiting[0].answers) <= room or not self._running
        return self._waiting.popleft() if fits else None

    def _start(self, asked: Asked) -> None:
        begun = time.monotonic()
        for answer in asked.answers:
            answer.begun = begun
        try:
            logits_V, batches = self.forward.begin(asked.prompt, len(asked.answers))
            size = len(asked.answers) // len(batches)
            for number, rows in enumerate(batches):
                answers = asked.answers[number * size : (number + 1) * size]
                going = self._take(rows, answers, logits_V.expand(size, -1))
                if going and self.forward.way == "together" and self._running:
                    self._running[0][0].join(rows)
                    self._running[0][1].extend(going)
                elif going:
                    self._running.append((rows, going))
        except Exception:
            self._give_up(asked.answers)

    def _advance(self) -> None:
        """A token more of every answer."""
        running, self._running = self._running, []
        for rows, answers in running:
            try:
                if going := self._take(rows, answers, self.forward.step(rows)):
                    self._running.append((rows, going))
            except Exception:
                self._give_up(answers)

    def _take(self, rows: Rows, answers: list[Answer], logits_BV: torch.Tensor) -> list[Answer]:
        """Draw the next token of each row; returns the answers that go on, and leaves only their rows."""
        kept = []
        for number, answer in enumerate(answers):
            token = None if answer.cancelled else answer.add(logits_BV[number])
            if token is None:
                self._open.discard(answer)
                self._seconds += 0.1 * (time.monotonic() - answer.begun - self._seconds)
            else:
                rows.ids[number].append(token)
                kept.append(number)
        rows.keep(kept)
        return [answers[number] for number in kept]

    def _give_up(self, answers: list[Answer]) -> None:
        """Say what went wrong (out of memory, …), end these answers, and live on for the others."""
        logging.getLogger(__name__).exception("answers were given up")
        self._fail(answers)

    def _fail(self, answers: list[Answer]) -> None:
        self._open.difference_update(answers)
        for answer in answers:
            answer.fail()
