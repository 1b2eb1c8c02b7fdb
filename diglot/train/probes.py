"""What a training measures on its way beside bits per byte: small items made of held-out text, once, before the first step.

    cloze     the first words of a held-out document, then its own next words or those of three others (a quarter is
              chance): the share that the model finds right, and by how many nats the right words are likelier than the
              others' mean. As `evaluate` makes continuations (text/continuations.py).
    context   the same stretch of a document after the text before it, and alone: the bits per byte that the text before
              it saves. In-context learning is the loss late in a document minus that early (Olsson et al., 2209.11895,
              tokens 500 and 50); here the predicted text is the same in both, so that no difference between beginnings
              and middles of documents counts, and it is measured in bytes, not tokens, so that tokenizers compare.

Items are documents in the same fixed order for every run on the same tokens. Each of their texts lies in a row of its own,
so that the loss by row, which every mesh of processes can sum, is the loss by text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from tokenizers import Tokenizer

from diglot.recipe.train import Training
from diglot.text.continuations import continuations
from diglot.text.languages import is_unspaced
from diglot.tokens.packing import IGNORED, Batch
from diglot.tokens.permutation import permutation
from diglot.tokens.shards import TokenSource

FEWEST_ITEMS, MOST_ITEMS = 8, 200  # of a kind and language: below the fewest, chance drowns what there is
BEFORE_CHARACTERS, PREDICTED_CHARACTERS = 320, 160  # of a context item: about three sentences and one and a half
READ_TOKENS = 1000  # of a document: its items lie in its first 500 characters
STEP = 16  # tokens that a width is rounded up to


@dataclass(frozen=True)
class Text:
    """A continuation to be predicted after a context: token ids, and the continuation's UTF-8 bytes."""

    context: list[int]
    continuation: list[int]
    bytes: int = 0

    def __len__(self) -> int:
        """Places in a row: the first token stands before both, the last is only predicted."""
        return len(self.context) + len(self.continuation)


@dataclass(frozen=True)
class Item:
    """The texts of one item, in neighbouring rows; of cloze items `answer` is the right one's place."""

    texts: tuple[Text, ...]
    answer: int = 0


@dataclass(frozen=True)
class Probe:
    """Items of one kind in all languages, in rows of one width.

    Attributes:
        items: by language; languages with too few are left out.
        width: tokens of a row.
    """

    items: Mapping[str, Sequence[Item]]
    width: int

    @property
    def texts(self) -> list[Text]:
        """All texts, in the order of their rows."""
        return [text for items in self.items.values() for item in items for text in item.texts]


@dataclass(frozen=True)
class Probes:
    """All that is measured beside bits per byte, by kind; none of a kind that there are too few items of."""

    by_kind: Mapping[str, Probe] = field(default_factory=dict)
    special: Mapping[str, int] = field(default_factory=dict)


def make_probes(heldout: Mapping[str, TokenSource], tokenizer: Tokenizer, settings: Training) -> Probes:
    """The probes of a training, as many items as `indicator_tokens` allows.

    Args:
        heldout: held-out sources; plain text of one language is what items are made of.
        tokenizer: of the model.
        settings: of the stage.
    """
    sources = [source for source in heldout.values() if source.form == "text" and source.domain != "parallel"]
    if not sources or not (room := settings.tokens_of_indicators):
        return Probes()
    texts = {language: texts_of(sources, language, tokenizer) for language in sorted({s.language for s in sources})}
    by_kind = {}
    for kind, make in MAKERS.items():
        made = {language: make(found, language, tokenizer) for language, found in texts.items()}
        fitting = {language: _fitting(items, settings.sequence_length) for language, items in made.items()}
        # Each kind has its share of the room, each language its share of that.
        each = room // len(MAKERS) // len(texts)
        if probe := _probe(fitting, each, settings):
            by_kind[kind] = probe
    return Probes(by_kind, sources[0].special)


def texts_of(sources: Sequence[TokenSource], language: str, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Number and beginning of held-out documents in a language, from each of its sources in turn."""

    def documents(source: TokenSource) -> Iterator[tuple[str, str]]:
        for document in permutation(source.num_documents, f"indicators/{source.name}")[: 2 * MOST_ITEMS].tolist():
            begin, end = int(source.offsets[document]), int(source.offsets[document + 1])
            ids = source.tokens[begin : min(end, begin + READ_TOKENS)].tolist()
            yield f"{source.name}/{document}", tokenizer.decode(ids, skip_special_tokens=True)

    turns = itertools.zip_longest(*(documents(source) for source in sources if source.language == language))
    return [found for turn in turns for found in turn if found is not None]


def _cloze(texts: Sequence[tuple[str, str]], language: str, tokenizer: Tokenizer) -> list[Item]:
    if is_unspaced(language):
        return []
    made = continuations(texts, Random(f"indicators/{language}"))[:MOST_ITEMS]
    return [
        Item(
            tuple(encoded(item["prompt"], f" {choice}", tokenizer) for choice in item["choices"]), answer=item["answer"]
        )
        for item in made
    ]


def _context(texts: Sequence[tuple[str, str]], language: str, tokenizer: Tokenizer) -> list[Item]:
    items = []
    for _, text in texts:
        at = BEFORE_CHARACTERS
        if not is_unspaced(language):  # cut where a word begins, if there is one near
            space = text.rfind(" ", 0, at)
            at = space if space > at // 2 else at
        predicted = text[at : at + PREDICTED_CHARACTERS]
        if len(predicted) == PREDICTED_CHARACTERS:
            after = encoded(text[:at], predicted, tokenizer)
            items.append(Item((after, Text([], after.continuation, after.bytes))))
    return items[:MOST_ITEMS]


Maker = Callable[[Sequence[tuple[str, str]], str, Tokenizer], list[Item]]
MAKERS: dict[str, Maker] = {"cloze": _cloze, "context": _context}


def encoded(context: str, continuation: str, tokenizer: Tokenizer) -> Text:
    """Encode both together and cut behind the context's own tokens, as lm-evaluation-harness does."""
    whole = tokenizer.encode(context + continuation, add_special_tokens=False).ids
    length = len(tokenizer.encode(context, add_special_tokens=False).ids)
    return Text(whole[:length], whole[length:], len(continuation.encode()))


def _fitting(items: Sequence[Item], sequence_length: int) -> list[Item]:
    """Items whose texts fit a row; a tokenizer may join a continuation with its context, and leave nothing of it."""
    return [item for item in items if all(t.continuation and len(t) <= sequence_length for t in item.texts)]


def _probe(items: Mapping[str, Sequence[Item]], room: int, settings: Training) -> Probe | None:
    """As many items a language as fit into `room` tokens, padding included."""
    longest = max((len(text) for of in items.values() for item in of for text in item.texts), default=0)
    # Processes that share rows cut them into pieces; compiled layers were compiled for one width.
    step = STEP * settings.parallel.context * settings.parallel.tensor
    width = settings.sequence_length if settings.compile else min(settings.sequence_length, -(-longest // step) * step)
    kept = {}
    for language, of in items.items():
        number = room // (width * len(of[0].texts)) if of else 0
        if min(number, len(of)) >= FEWEST_ITEMS:
            kept[language] = of[:number]
    return Probe(kept, width) if kept else None


def in_rows(texts: Sequence[Text], width: int, special: Mapping[str, int], rows: int) -> Iterator[Batch]:
    """Batches of a text a row, `rows` at a time; only continuations are predicted."""
    for start in range(0, len(texts), rows):
        part = texts[start : start + rows]
        shape = (len(part), width)
        tokens_BT = np.full(shape, special.get("pad", special["eos"]), dtype=np.int64)
        targets_BT, positions_BT = np.full(shape, IGNORED, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        documents_BT = np.full(shape, -1, dtype=np.int32)
        for row, text in enumerate(part):
            ids, length = [special["bos"], *text.context, *text.continuation], len(text)
            tokens_BT[row, :length], positions_BT[row, :length] = ids[:-1], np.arange(length)
            targets_BT[row, len(text.context) : length] = text.continuation
            documents_BT[row, :length] = row
        yield Batch(tokens_BT, targets_BT, positions_BT, documents_BT, np.arange(len(part), dtype=np.int32))
