"""The stage `translate`: the documents of a corpus in another language, through an OpenAI-compatible endpoint.

Half of ALLaM's Arabic is translated English. A document is cut into paragraphs (at blank lines), each is translated by
itself, and what stood between them is put back, so paragraph i of a translation is that of paragraph i of its source:

    # Rivers                    asked for
                                white space: kept
    The Nile is long. It …      asked for; beyond `max_characters` cut at the ends of sentences, joined again
    https://example.org         no letters but in URLs: passed through
    ```python … ```             a fence of code: passed through

Equal paragraphs share one request. Three passes go over the corpus, in its order:

1. ask for every paragraph that is not in the journal (`endpoint.Journal`, in the scratch folder)
2. ask again, a little hotter, for those whose answer does not pass (`Checker`)
3. put the documents together; one with a paragraph that failed twice is dropped, counted by the reason:

       refused · cut_off · empty_answer · untranslated (the source again) · length_ratio · wrong_language ·
       low_confidence · nothing_to_translate (no paragraph to ask for)

Passes 1 and 2 write nothing but the journal, and pass 3 depends on nothing else. So a killed run goes on where it was,
and makes the same bytes as one that was not killed.

The artifact: `SOURCE.jsonl` (`id`, `text`, `language`, `source_id`, `source_language`, `domain`, `origin`, `model`,
`paragraphs`), for a stage `curate`; `pairs/SOURCE.jsonl` (`id`, `src`, `tgt`, `doc`, `src_lang`, `tgt_lang`, `domain`),
for `make-parallel`; `ledger.json`, by source in documents and characters of the *source*: read = kept + dropped, and
`translated`, what came out. Held-out documents of the corpus are not translated; nor are parallel data and sources that
are in the target language already. Memory: about 300 bytes a request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.base.ledger import Sample, SourceLedger, dropped_documents, least
from diglot.base.randomness import key_hash
from diglot.base.summaries.text import TranslationSummary
from diglot.endpoint.client import Client, Completion, Journal, Refused, Request
from diglot.endpoint.translation import RETRY_TEMPERATURE, Failure, check_language, check_settings, judge
from diglot.read.corpus import PARALLEL, CorpusSource, read_documents, read_sources
from diglot.recipe.translate import Translate
from diglot.text.languages import language_name
from diglot.translate.pairs import write_json
from diglot.translate.paragraphs import Piece, join, split

COLUMNS = ["id", "text", "language", "domain", "source"]
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def run(settings: Translate, inputs: Inputs, output: Path, context: Context) -> TranslationSummary:
    """Translate a corpus.

    Raises:
        UserError: the settings cannot be met, the endpoint cannot be used, max_cost is spent, or not one document
            could be translated.
    """
    check_settings(settings)
    corpus = inputs.one("corpus")
    chosen, left_out = _choose_sources(corpus, settings)
    with Journal(context.scratch / "answers.jsonl") as journal, Client(settings.endpoint, settings.max_cost) as client:
        translator = Translator(settings, client, journal)
        # Both rounds write nothing but the journal; what is written depends on that alone.
        for attempt in (1, 2):
            _ask(translator, corpus, chosen, attempt, context)
        ledgers, results = _write(translator, corpus, chosen, output, context)
        tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
        cost = round(client.cost(*tokens.values()), 6)
        requests, server = len(journal), client.served()
    # An artifact without a document would only fail later, in the stage that reads it.
    if not any(ledger.kept.documents for ledger in ledgers.values()):
        raise UserError(_nothing_translated(ledgers))
    entries = {name: {**ledger.as_json(), "translated": results[name]} for name, ledger in ledgers.items()}
    write_json(output / "ledger.json", {"sources": entries})
    came_out = {key: sum(result[key] for result in results.values()) for key in next(iter(results.values()))}
    return TranslationSummary(
        **came_out,
        read=sum(ledger.read.documents for ledger in ledgers.values()),
        dropped=dropped_documents(ledgers.values()),
        requests=requests,
        tokens=tokens,
        cost=cost,
        model=settings.endpoint.model,
        server=server,
        left_out=left_out,
    )


# --- the corpus -----------------------------------------------------------------------------------------------


def _choose_sources(corpus: Artifact, settings: Translate) -> tuple[dict[str, CorpusSource], dict[str, str]]:
    """The sources to translate, and why others are left out.

    Raises:
        UserError: a source that is asked for is not in the corpus, or cannot be translated.
    """
    found = read_sources([corpus])
    wrong = {name: why for name in found if (why := _unsuitable(name, found[name], settings))}
    for name in settings.sources or []:
        if name not in found:
            raise UserError(f"sources: there is no {name!r} in {corpus.path}; it has {', '.join(found)}")
        if name in wrong:
            raise UserError(f"sources: {name!r} {wrong[name]}; leave it out")
    chosen = {name: found[name] for name in sorted(settings.sources or found) if name not in wrong}
    if not chosen:
        reasons = "; ".join(f"{name!r} {why}" for name, why in wrong.items()) or "it is empty"
        raise UserError(f"{corpus.path}: there is nothing to translate: {reasons}")
    return chosen, {} if settings.sources else wrong


def _unsuitable(name: str, source: CorpusSource, settings: Translate) -> str | None:
    if source.language == settings.target_language:
        return f"is in {language_name(settings.target_language)} already"
    if source.domain == PARALLEL:
        return "is in two languages already"
    return None if SAFE_NAME.fullmatch(name) else "has a name that no file should have"


def _documents(corpus: Artifact, chosen: dict[str, Any], limit: int | None) -> Iterator[dict[str, str]]:
    """The documents to translate, in the corpus's order; of each source the first `limit`."""
    taken = dict.fromkeys(chosen, 0)
    for batch in read_documents([corpus], "documents", COLUMNS):
        for document in batch.to_pylist():
            name = document["source"]
            if name in taken and (limit is None or taken[name] < limit):
                taken[name] += 1
                yield document


# --- asking ---------------------------------------------------------------------------------------------------


class Translator:
    """Turns pieces into requests, and answers into translations."""

    def __init__(self, settings: Translate, client: Client, journal: Journal):
        self.settings, self.client, self.journal = settings, client, journal
        self.language = language_name(settings.target_language)

    def request(self, document: dict[str, str], piece: Piece, attempt: int) -> Request:
        """What to ask for a piece."""
        settings = self.settings
        prompt = settings.prompt.format(
            source_language=language_name(document["language"]), target_language=self.language, text=piece.text
        )
        temperature = settings.temperature if attempt == 1 else max(settings.temperature, RETRY_TEMPERATURE)
        options = {"max_tokens": settings.max_tokens, "temperature": temperature}
        return Request([{"role": "user", "content": prompt}], options, attempt)

    def requests(self, document: dict[str, str], attempt: int) -> list[Request]:
        """What to ask for a document: at first for all pieces, then for those that have no good answer."""
        pieces = [piece for piece in split(document["text"], self.settings.max_characters)[0] if piece.asks]
        if attempt > 1:
            outcomes = self.outcomes(document, pieces, 1)
            pieces = [piece for piece, o in zip(pieces, outcomes, strict=True) if isinstance(o, Failure)]
        return [self.request(document, piece, attempt) for piece in pieces]

    def outcomes(self, document: dict[str, str], pieces: list[Piece], attempt: int) -> list[str | Failure]:
        """The translations of pieces, or what is wrong with them."""
        keys = [self.client.key(self.request(document, piece, attempt)) for piece in pieces]
        answers = [self.journal.get(key) for key in keys]
        outcomes = [accept(piece.text, answer) for piece, answer in zip(pieces, answers, strict=True)]
        texts = [outcome if isinstance(outcome, str) else "" for outcome in outcomes]
        for place, failure in enumerate(self.check_language(texts, document["language"])):
            if failure and texts[place]:
                outcomes[place] = failure
        return outcomes

    def translate(self, document: dict[str, str], pieces: list[Piece]) -> list[str] | Failure:
        """The texts of all pieces of a document, or what is wrong with the first that failed twice."""
        asking = [piece for piece in pieces if piece.asks]
        if not asking:
            return Failure("nothing_to_translate", "no paragraph has letters outside URLs and code")
        outcomes = self.outcomes(document, asking, 1)
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, Failure):
                [again] = self.outcomes(document, [asking[place]], 2)
                if isinstance(again, Failure):
                    return again if again.reason != "refused" else outcome
                outcomes[place] = again
        translated = iter(outcomes)
        return [str(next(translated)) if piece.asks else piece.text for piece in pieces]

    def check_language(self, texts: list[str], source_language: str) -> list[Failure | None]:
        """What is wrong with the language of answers."""
        settings = self.settings
        return check_language(texts, source_language, settings.target_language, settings.language_confidence)


def accept(source: str, answer: Completion | None) -> str | Failure:
    """A paragraph's translation, as far as can be said without knowing languages.

    Blank lines in it become line ends, and line ends become spaces where the source has none: paragraphs stay aligned.
    """
    text = judge(source, answer)
    if isinstance(text, Failure):
        return text
    return re.sub(r"\n\s*\n" if "\n" in source else r"\s*\n\s*", "\n" if "\n" in source else " ", text)


def _ask(translator: Translator, corpus: Artifact, chosen: dict[str, Any], attempt: int, context: Context) -> None:
    """Ask for what is not in the journal, and say how it goes."""

    def requests() -> Iterator[Request]:
        for document in _documents(corpus, chosen, translator.settings.documents):
            yield from translator.requests(document, attempt)

    client, journal = translator.client, translator.journal
    held = len(journal)
    missing = client.num_missing(requests(), journal)
    refused = 0
    for done, outcome in enumerate(client.ask_all(requests(), journal), 1):
        refused += isinstance(outcome, Refused)
        notes = [f"cost {client.cost(journal.prompt_tokens, journal.completion_tokens):.4g}"]
        notes += [f"{held:,} answered before"] if held and attempt == 1 else []
        notes += [f"{refused:,} refused"] if refused else []
        context.progress(done, missing, ("paragraphs", "second tries")[attempt - 1], "; ".join(notes))


# --- writing --------------------------------------------------------------------------------------------------


def _write(
    translator: Translator, corpus: Artifact, chosen: dict[str, CorpusSource], output: Path, context: Context
) -> tuple[dict[str, SourceLedger], dict[str, dict[str, int]]]:
    """Put the documents together; returns the ledger and what came out, by source."""
    settings = translator.settings
    ledgers = {name: SourceLedger(source.language, source.domain) for name, source in chosen.items()}
    results = {name: dict.fromkeys(("documents", "paragraphs", "characters", "bytes"), 0) for name in chosen}
    (output / "pairs").mkdir()
    with ExitStack() as stack:
        streams = {
            (folder, name): stack.enter_context(
                (output / folder / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n")
            )
            for folder in ("", "pairs")
            for name in chosen
        }
        # The same documents, in the same order, as were asked for.
        for number, document in enumerate(_documents(corpus, chosen, settings.documents), 1):
            name, text = document["source"], document["text"]
            pieces, end = split(text, settings.max_characters)
            translated = translator.translate(document, pieces)
            _account(ledgers[name], document, translated, context)
            if isinstance(translated, Failure):  # counted by its reason
                continue
            record = _record(document, pieces, translated, end, settings)
            streams["", name].write(json.dumps(record, ensure_ascii=False) + "\n")
            for pair in _pairs(document, pieces, record["paragraphs"], settings):
                streams["pairs", name].write(json.dumps(pair, ensure_ascii=False) + "\n")
            counts = (1, len(record["paragraphs"]), len(record["text"]), len(record["text"].encode()))
            for key, count in zip(results[name], counts, strict=True):
                results[name][key] += count
            if number % 1000 == 0:
                context.progress(number, None, "documents", "written")
    for name, ledger in ledgers.items():
        ledger.check(name)
    return ledgers, results


def _account(ledger: SourceLedger, document: dict[str, str], translated: list[str] | Failure, context: Context) -> None:
    id_, text = document["id"], document["text"]
    size = (1, len(text), len(text.encode()))
    ledger.read.add(*size)
    shown = Sample(key_hash(f"{context.seed}/samples/{id_}"), id_, excerpt(text), "")
    if isinstance(translated, Failure):
        ledger.drop(translated.reason, *size)
        ledger.sample(translated.reason, [shown._replace(detail=translated.detail)])
    else:
        ledger.kept.add(*size)
        shown = shown._replace(detail=excerpt("\n".join(translated)))
        ledger.kept_samples = least([*ledger.kept_samples, shown])


def _record(
    document: dict[str, str], pieces: list[Piece], translated: list[str], end: str, settings: Translate
) -> dict[str, Any]:
    language = settings.target_language
    paragraphs = []
    for _, both in groupby(zip(pieces, translated, strict=True), lambda both: both[0].paragraph):
        parts, texts = zip(*both, strict=True)
        paragraphs.append(join([parts[0]._replace(before=""), *parts[1:]], list(texts), "", language))
    return {
        "id": f"{document['id']}/translated",
        "text": join(pieces, translated, end, language),
        "language": language,
        "source_id": document["id"],
        "source_language": document["language"],
        "domain": document["domain"],
        "origin": "translated",
        "model": settings.endpoint.model,
        "paragraphs": paragraphs,
    }


def _pairs(
    document: dict[str, str], pieces: list[Piece], paragraphs: list[str], settings: Translate
) -> Iterator[dict[str, str]]:
    """The paragraphs of a document with their translations, but for those that were passed through."""
    for number, group in groupby(pieces, lambda piece: piece.paragraph):
        parts = list(group)
        if any(piece.asks for piece in parts):
            yield {
                "id": f"{document['id']}/{number}",
                "src": "".join(piece.before + piece.text for piece in parts)[len(parts[0].before) :],
                "tgt": paragraphs[number],
                "doc": document["id"],
                "src_lang": document["language"],
                "tgt_lang": settings.target_language,
                "domain": document["domain"],
            }


def _nothing_translated(ledgers: dict[str, SourceLedger]) -> str:
    dropped = [
        (counts.documents, reason, ledger) for ledger in ledgers.values() for reason, counts in ledger.dropped.items()
    ]
    dropped.sort(key=lambda found: (-found[0], found[1]))
    listed = ", ".join(f"{number:,} × {reason}" for number, reason, _ in dropped[:5])
    _, reason, ledger = dropped[0]
    sample = ledger.samples[reason][0]
    return (
        f"not one document could be translated ({listed}; such as {sample.id}: {sample.detail or reason}); see what "
        "the model answers, and change the endpoint, the prompt or the limits"
    )
