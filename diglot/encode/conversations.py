"""Conversations and preference pairs as tokens with marks on what is to be predicted, none longer than a row.

What is predicted stands in the messages: every answer but those that say `train: false`. Of a conversation some may say so
themselves, and `conversation_loss` and `pair_loss` say it of others. So do those of a pair's prompt.

A conversation becomes a document and a pair becomes two, which share a row of training. Four things may change that:

- **Thoughts.** Where the chat template drops the thoughts of earlier answers, every answer of a conversation that loses
  some gets a document of its own: what the model would be prompted with, and the whole answer.
- **Templates.** A conversation that the template writes otherwise than its format does is left out, `tools_differ` if it has
  tools.
- **Marks.** A conversation of which no answer is to be learnt is left out.
- **Length.** What is longer than a row (`conversation_tokens`, `pair_tokens`) is, by `too_long`,

      split    into pieces of whole turns, each with the system message; of pairs and single answers the oldest turns go
      cut      at the row's end; a pair's two answers share the row, and held-out ones are not cut but left out
      refuse   left out

  What one turn alone makes too long is left out of a split, what has no word of an answer left is left out of a cut.

All of it is counted, for the stage's summary.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from diglot.base.files import read_lines
from diglot.base.summaries.tokenizer import Fitted
from diglot.encode.origins import Encoded, Origin
from diglot.recipe.encode import Encode
from diglot.tokenizer.chat import Chat, uses_tools
from diglot.tokens.shards import Split

CHUNK_ROWS = 1000
Message = dict[str, Any]


class Said(NamedTuple):
    """A conversation.

    Attributes:
        messages: answers that are not to be predicted say `train: false`.
        whole: how many of the last messages have to stay together; None: pieces of whole turns will do.
        tools: that the template describes.
    """

    messages: list[Message]
    whole: int | None
    tools: list[dict[str, Any]]

    @property
    def system(self) -> list[Message]:
        """The system message, if there is one."""
        return [message for message in self.messages[:1] if message["role"] == "system"]

    @property
    def is_learnt(self) -> bool:
        """Whether an answer is to be predicted."""
        return any(is_learnt(message) for message in self.messages)

    def starts(self) -> list[int]:
        """Where turns begin before what has to stay: a question, answers and results of tools to the next question."""
        asked = range(len(self.messages) - (self.whole or 0))
        return [number for number in asked if self.messages[number]["role"] == "user"]

    def without_oldest(self, number: int) -> Said:
        """Without so many of its turns, the oldest ones; the last of `starts` has to be left."""
        return self._replace(messages=self.system + self.messages[self.starts()[number] :])


class Conversations:
    """Encodes the records of one source.

    Attributes:
        split_up: units (conversations or pairs) that became several, or lost their oldest turns.
        cut: units that were cut.
        left_out: units that were left out, by reason.
        difference: what the template writes otherwise, of one of those.
    """

    def __init__(self, origin: Origin, chat: Chat, settings: Encode):
        self.origin, self.chat, self.how = origin, chat, settings.too_long
        self.settings = settings
        self.limit = settings.pair_tokens if origin.form == "pairs" else settings.conversation_tokens
        self.split_up = self.cut = 0
        self.left_out: Counter[str] = Counter()
        self.difference = ""

    def encode(self, split: Split) -> Iterator[tuple[int, list[Encoded]]]:
        """Encode one split, a chunk at a time: how many records of it there were, and their documents."""
        number, chunk = 0, list[Encoded]()
        for record in read_lines(self.origin.artifact.file(f"{split}.jsonl")):
            if record["source"] != self.origin.name:
                continue
            number += 1
            for unit in units(record, self.chat, self.settings):
                chunk += self._fitting(record["id"], unit, split)
            if number == CHUNK_ROWS:
                yield number, chunk
                number, chunk = 0, []
        if number:
            yield number, chunk

    def _fitting(self, id_: str, unit: list[Said], split: Split) -> list[Encoded]:
        """The documents of what shares a row; none where it is left out."""
        for said in unit:
            if not said.is_learnt:
                self.left_out["nothing_to_learn"] += 1
                return []
            if difference := self.chat.difference(said.messages, said.tools):
                has_tools = uses_tools(said.messages, said.tools)
                self.left_out["tools_differ" if has_tools else "template_differs"] += 1
                self.difference = self.difference or f"{id_}: {difference}"
                return []
        documents = [self._document(id_, said) for said in unit]
        if self._fits(documents):
            return documents
        shortened: list[Encoded] = []
        if self.how == "split":
            shortened = self._shorter(id_, unit) if unit[0].whole else self._pieces(id_, unit[0])
            self.split_up += bool(shortened)
        elif self.how == "cut" and split == "train":  # bits per byte of held-out answers are of whole ones
            shortened = self._cut(documents)
            self.cut += bool(shortened)
        if not shortened:
            self.left_out["too_long"] += 1
        return shortened

    def _fits(self, documents: list[Encoded]) -> bool:
        return self.limit is None or sum(len(document.ids) for document in documents) <= self.limit

    def _shorter(self, id_: str, unit: list[Said]) -> list[Encoded]:
        """The unit without as many of its oldest turns as it takes."""

        def without(number: int) -> list[Encoded]:
            return [self._document(id_, said.without_oldest(number)) for said in unit]

        # Each turn that goes takes tokens with it, so the fewest that have to go are found by halving: with one after
        # another, a conversation of 60 answers with thoughts took 7.8 s in place of 1.3.
        most = min(len(said.starts()) for said in unit) - 1
        number = bisect.bisect_left(range(most + 1), True, lo=1, key=lambda number: self._fits(without(number)))
        return without(number) if number <= most else []

    def _pieces(self, id_: str, said: Said) -> list[Encoded]:
        """As many turns together as fit, each in one piece; a turn that does not fit alone is left out of them.

        A piece of which no answer is to be learnt is none.
        """
        starts = said.starts()
        turns = [said.messages[begin:end] for begin, end in zip(starts, [*starts[1:], None])]
        pieces: list[Encoded] = []
        lost = 0
        while turns:
            number, longest = self._longest(id_, said, turns)
            pieces += [piece for piece in longest if any(piece.targets or [])]
            lost += not longest
            turns = turns[max(number, 1) :]
        if pieces and lost:
            self.left_out["turn_too_long"] += lost
        return pieces

    def _longest(self, id_: str, said: Said, turns: Sequence[list[Message]]) -> tuple[int, list[Encoded]]:
        """How many of the first turns fit together behind the system message, and the piece of them."""

        @functools.cache
        def piece(number: int) -> Encoded:
            return self._document(
                id_, said._replace(messages=[*said.system, *itertools.chain.from_iterable(turns[:number])])
            )

        def too_long(number: int) -> bool:
            return not self._fits([piece(number)])

        # Doubled, then halved: with one more each time, 400 short turns in rows of 4,096 tokens took 1.3 s, not 0.13.
        most, reach = len(turns), 1
        while reach < most and not too_long(reach):
            reach = min(2 * reach, most)
        number = bisect.bisect_left(range(reach + 1), True, lo=reach // 2 + 1, key=too_long) - 1
        return number, [piece(number)] if number else []

    def _cut(self, documents: list[Encoded]) -> list[Encoded]:
        """Documents cut to a row: each gets an equal part of it, and what the other leaves over."""
        assert self.limit is not None
        part = self.limit // len(documents)
        rooms = [
            max(part, self.limit - sum(len(d.ids) for d in documents if d is not document)) for document in documents
        ]
        found = [
            document._replace(ids=document.ids[:room], targets=(document.targets or [])[:room])
            for document, room in zip(documents, rooms, strict=True)
        ]
        # What is cut in the prompt teaches nothing, and no more does a pair that is cut before its answers part.
        useless = not all(any(document.targets or []) for document in found)
        alike = len(found) > 1 and found[0].ids == found[1].ids
        return [] if useless or alike else found

    def _document(self, id_: str, said: Said) -> Encoded:
        ids, targets = self.chat.encode(said.messages, tools=said.tools)
        predicted = (self.chat.spoken(message) for message in said.messages if is_learnt(message))
        return Encoded(id_, ids, targets, sum(len(text.encode()) for text in predicted))

    @property
    def fitted(self) -> Fitted:
        """What became of the records so far."""
        left_out = dict(self.left_out.most_common())
        return Fitted(sum(self.origin.documents.values()), self.split_up, self.cut, left_out)

    def told(self) -> list[str]:
        """What to say of the source; nothing where all records are there as they were."""
        example = f"; the chat template writes some otherwise than its format says: {self.difference}"
        return [text + (example if self.difference else "") for text in self.fitted.told(self.origin.name)]


def units(record: dict[str, Any], chat: Chat, settings: Encode) -> Iterator[list[Said]]:
    """What shares a row, of one record: the two answers of a pair, a conversation, or each answer of one."""
    if "prompt" in record:
        answers = [record[name] for name in ("chosen", "rejected")]
        yield [
            _ending(record["prompt"] + answer, 1 if settings.pair_loss == "last" else len(answer)) for answer in answers
        ]
        return
    messages, tools = _learnt(record["messages"], settings.conversation_loss), record.get("tools") or []
    if chat.forgetting(messages):
        ends = [number + 1 for number, message in enumerate(messages) if is_learnt(message)]
        yield from ([_ending(messages[:end], 1, tools)] for end in ends)
    else:
        yield [Said(messages, 1 if settings.conversation_loss == "last" else None, tools)]


def is_learnt(message: Message) -> bool:
    """Whether a message is to be predicted."""
    return message["role"] == "assistant" and message.get("train") is not False


def _learnt(messages: list[Message], which: str) -> list[Message]:
    """Messages of a conversation, whose answers all say `train: false` that are not to be predicted."""
    if which == "last":
        return _unlearnt(messages[:-1]) + messages[-1:]
    if which == "marked":
        return [message if message.get("train") else {**message, "train": False} for message in messages]
    return messages


def _ending(messages: list[Message], number: int, tools: Sequence[dict[str, Any]] = ()) -> Said:
    """A conversation of which the last messages alone are to be predicted, and have to stay together."""
    return Said(_unlearnt(messages[:-number]) + messages[-number:], number, list(tools))


def _unlearnt(messages: list[Message]) -> list[Message]:
    return [{**message, "train": False} for message in messages]
