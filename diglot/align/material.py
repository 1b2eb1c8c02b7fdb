"""Texts that hold their own answers, drawn from a corpus and from reading data, for `make-instructions`.

Which of its sources takes a document is drawn among those that can; of what a source could take, those with the least keyed
hashes of their ids are drawn, up to its limit, so memory holds these alone and the order of files does not matter.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from diglot.align.gather import refuse, refuse_broken, size_of, strings
from diglot.align.messages import Refused
from diglot.base.artifact import Artifact, Context
from diglot.base.ledger import SourceLedger
from diglot.base.randomness import key_hash, uniform
from diglot.read.corpus import PARALLEL, Split, read_documents, read_schema, read_sources, two_sides
from diglot.read.files import Broken, read_records
from diglot.recipe.align import MadeSource, MakeInstructions


class Material(NamedTuple):
    """One text.

    Attributes:
        id: of the document or question.
        text: the passage, or the side to be translated.
        language: of that.
        beside: its title, or the question about it.
        answer: where it is not in one of these.
    """

    id: str
    text: str
    language: str
    beside: str = ""
    answer: str = ""


class Pool:
    """What is drawn for one source: of training and of held-out documents, those with the least hashes."""

    def __init__(self, limit: int, max_held_out: int):
        self._limits = {"documents": limit, "heldout": max_held_out}
        self._heaps: dict[str, list[tuple[int, Material]]] = {split: [] for split in self._limits}

    def offer(self, split: Split, rank: int, material: Material) -> None:
        """Take a text, if its rank is among the least so far."""
        heap, entry = self._heaps[split], (-rank, material)  # the first of the heap is the one to go
        if len(heap) < self._limits[split]:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)

    def _drawn(self, split: Split) -> list[Material]:
        return [material for _, material in sorted(self._heaps[split], reverse=True)]

    @property
    def train(self) -> list[Material]:
        """In the order of their ranks."""
        return self._drawn("documents")

    @property
    def held_out(self) -> list[Material]:
        """In the order of their ranks."""
        return self._drawn("heldout")


def of_corpus(settings: MakeInstructions, corpora: Sequence[Artifact], seed: str, context: Context) -> dict[str, Pool]:
    """Draw from all documents, by source of the stage."""
    pools = {name: Pool(one.limit, settings.max_held_out) for name, one in settings.sources.items()}
    splits: tuple[Split, ...] = ("documents", "heldout")
    origins = read_sources(corpora)  # opens every file
    for split in splits:
        for place, origin in enumerate(origins, 1):
            has_title = "title" in read_schema(corpora, split, origin).names
            columns = ["id", "text", "language", "domain", *(["title"] if has_title else [])]
            wanted = {
                name: one for name, one in settings.sources.items() if one.documents is None or origin in one.documents
            }
            for batch in read_documents(corpora, split, columns, source=origin) if wanted else ():
                for row in batch.to_pylist():
                    _offer(row, wanted, pools, split, seed)
            context.progress(place, len(origins), "sources", split)
    return pools


def _offer(row: dict[str, Any], wanted: dict[str, MadeSource], pools: dict[str, Pool], split: Split, seed: str) -> None:
    """Give a document to one of the sources that can take it."""
    found = {name: material for name, one in wanted.items() if (material := _material(row, one)) is not None}
    if not found:
        return
    key = f"{seed}/{row['id']}"
    name = list(found)[key_hash(f"{key}/source") % len(found)]
    pools[name].offer(split, key_hash(key), found[name])


def _material(row: dict[str, Any], source: MadeSource) -> Material | None:
    """What a source could make of a document; None: nothing."""
    if source.kind == "translation":
        sides = two_sides(row["text"]) if row["domain"] == PARALLEL else None
        # The document's order says nothing about which side was written first: either may be the answer.
        for side, other in (sides, sides[::-1]) if sides else ():
            if other[0] == source.language:
                return Material(row["id"], side[1], side[0], answer=other[1])
        return None
    if source.kind == "question" or row["domain"] == PARALLEL or row["language"] != source.language:
        return None
    title = (row.get("title") or "").strip()
    if source.kind in ("headline", "lead") and (not title or "\n" in title):
        return None
    return Material(row["id"], row["text"], row["language"], beside=title)


# --- reading data -------------------------------------------------------------------------------------------------


def of_reading_data(
    settings: MakeInstructions, pools: dict[str, Pool], ledger: dict[str, SourceLedger], seed: str, context: Context
) -> None:
    """Draw questions; those of a passage are all held out or none is. What cannot be read is counted at once."""
    for name, source in settings.sources.items():
        if source.path is None:
            continue
        for record in read_records(source.path, stage=context.name, source=name):
            place = f"{name}/{record.file}:{record.line}"
            if isinstance(record, Broken):
                refuse_broken(ledger[name], record, place)
                continue
            try:
                material = _question(record.value, place, source.language)
            except Refused as refused:
                refuse(ledger[name], refused, size_of(record.value), place, "\n".join(strings(record.value)))
                continue
            is_held_out = uniform(f"{seed}/passage/{material.text}") < settings.held_out
            pools[name].offer("heldout" if is_held_out else "documents", key_hash(f"{seed}/{place}"), material)


def _question(record: dict[str, Any], place: str, language: str) -> Material:
    """The question in a row of SQuAD's form."""
    context, question, answers = (record.get(key) for key in ("context", "question", "answers"))
    texts: Iterable[Any]
    if isinstance(answers, dict):  # as `datasets` has them: {"text": [...], "answer_start": [...]}
        texts = answers.get("text") or []
    else:
        texts = [one.get("text") for one in answers or [] if isinstance(one, dict)] if isinstance(answers, list) else []
    answer = next((one.strip() for one in texts if isinstance(one, str) and one.strip()), None)
    if not isinstance(context, str) or not isinstance(question, str):
        raise Refused("unknown_form", f"fields: {', '.join(map(str, record))}")
    if answer is None:
        raise Refused("empty_answer", "the question has no answer")
    return Material(place, context.strip(), language, beside=question.strip(" -\n\t"), answer=answer.rstrip(" ,;،؛"))
