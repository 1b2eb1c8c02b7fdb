"""The prompts that are to be answered: conversations of the run's artifacts and of files, up to the last question.

A prompt is known by what it says: two records with the same one are one prompt, in every stage and every round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from diglot.align.gather import Size, digest, drop, refuse_broken, size_of, strings
from diglot.align.messages import Message, Refused, check_conversation, read_conversation
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import read_lines
from diglot.base.ledger import SourceLedger
from diglot.base.randomness import key_hash
from diglot.read.files import Broken, read_records
from diglot.recipe.answers import PromptSource, Sample

ABOUT = ("kind", "origin")  # of a safety prompt; kept beside it
# A prompt is a conversation whose last answer is missing: this stands in its place while it is read.
STAND_IN = "…"
ASKING = ("user", "human", "prompter")


class Prompt(NamedTuple):
    """A prompt.

    Attributes:
        key: a hash of its messages (32 hex digits): what draws hang on.
        id: of the record; unique in its source.
        source, language: of the record.
        messages: in OpenAI's form, the user's last.
        about: its `kind` and `origin`, where it has them.
        size: of the record, for the ledger.
    """

    key: str
    id: str
    source: str
    language: str
    messages: list[Message]
    about: dict[str, str]
    size: Size


def read_prompt(record: dict[str, Any], max_characters: int) -> list[Message]:
    """The messages of a record up to the last one of the user.

    Args:
        record: a conversation in any form (align/messages.py), or one without its last answer; or a preference pair.
        max_characters: of the messages together.

    Raises:
        Refused: as `read_conversation`; no_question, tools.
    """
    messages = _messages(record, max_characters)
    places = [place for place, message in enumerate(messages) if message["role"] == "user"]
    if not places:
        raise Refused("no_question", "no message of the user")
    if record.get("tools") or any(m["role"] == "tool" or "tool_calls" in m for m in messages[: places[-1]]):
        raise Refused("tools", "a conversation with tools; pairs have none")
    prompt = [{"role": message["role"], "content": message["content"]} for message in messages[: places[-1] + 1]]
    check_conversation([*prompt, {"role": "assistant", "content": STAND_IN}], max_characters + len(STAND_IN))
    return prompt


def _messages(record: dict[str, Any], max_characters: int) -> list[Message]:
    """A record's messages as they stand there; an answer is put where the form has one and the record none."""
    said = record.get("messages") or record.get("conversations")
    if said:
        last = said[-1] if isinstance(said, list) else None
        if isinstance(last, dict) and last.get("role", last.get("from")) in ASKING:
            key = "messages" if record.get("messages") else "conversations"
            record = {**record, key: [*said, {"role": "assistant", "content": STAND_IN}]}
    elif "prompt" in record:
        prompt = record["prompt"]
        is_turns = isinstance(prompt, list) and prompt and isinstance(prompt[0], str)
        record = {**record, "response": [STAND_IN] * len(prompt) if is_turns else STAND_IN}
    elif "instruction" in record and "instances" not in record:
        record = {**record, "output": record.get("output") or STAND_IN}
    return read_conversation(record, 10 * max_characters)  # the answers before do not count


def read_prompts(settings: Sample, inputs: Inputs, context: Context) -> tuple[list[Prompt], dict[str, SourceLedger]]:
    """All prompts, each once, in the order of inputs and files; and the ledgers of what was read and dropped, by source.

    Raises:
        UserError: a file cannot be read, or two sources have one name.
    """
    ledgers: dict[str, SourceLedger] = {}
    found: dict[str, Prompt] = {}
    limits: dict[str, int] = {}
    for source, language, id_, record in _records(settings, inputs, context, ledgers):
        size = size_of(record)
        ledger = ledgers[source]
        ledger.read.add(*size)
        try:
            given = record.get("language")
            if isinstance(given, str) and given and given != language:
                raise Refused("other_language", f"language is {given}, the source's is {language}")
            messages = read_prompt(record, settings.max_characters)
            key = digest(messages).hex()
            if key in found:
                raise Refused("duplicate")
        except Refused as refused:
            drop(ledger, refused, size, id_, "\n".join(strings(record)))
            continue
        about = {name: value for name in ABOUT if isinstance(value := record.get(name), str)}
        found[key] = Prompt(key, id_, source, language, messages, about, size)
        limits[source] = limits.get(source, 0) + 1
    return _drawn(settings, list(found.values()), ledgers, f"{context.seed}/{settings.seed}"), ledgers


def _drawn(settings: Sample, prompts: list[Prompt], ledgers: dict[str, SourceLedger], seed: str) -> list[Prompt]:
    """As many of each source as are wanted; a smaller limit draws some of what a larger one does."""
    if settings.limit is None:
        return prompts
    ranks: dict[str, list[tuple[int, str]]] = {}
    for prompt in prompts:
        ranks.setdefault(prompt.source, []).append((key_hash(f"{seed}/prompts/{prompt.key}"), prompt.key))
    wanted = {key for each in ranks.values() for _, key in sorted(each)[: settings.limit]}
    for prompt in prompts:
        if prompt.key not in wanted:
            refused = Refused("over_limit", f"limit is {settings.limit}")
            drop(ledgers[prompt.source], refused, prompt.size, prompt.id, "\n".join(strings(prompt.messages)))
    return [prompt for prompt in prompts if prompt.key in wanted]


def _records(
    settings: Sample, inputs: Inputs, context: Context, ledgers: dict[str, SourceLedger]
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Source, language, id and content of every record; makes the ledgers, and counts what cannot be read."""
    for artifact in [*inputs.many("instructions"), *inputs.many("preferences")]:
        for record in read_lines(artifact.file(f"{settings.part}.jsonl")):
            source = ledgers.setdefault(record["source"], SourceLedger(record["language"], "chat"))
            yield record["source"], source.language, record["id"], _as_prompt(record)
    for name, given in settings.sources.items():
        if name in ledgers:
            raise UserError(f"sources.{name}: an artifact in `from` has a source of that name; give it another")
        ledgers[name] = SourceLedger(given.language, "chat")
        yield from _records_of(name, given, context, ledgers[name])


def _as_prompt(record: dict[str, Any]) -> dict[str, Any]:
    """A record of an artifact, without the answers of a pair."""
    return {key: value for key, value in record.items() if key not in ("chosen", "rejected")}


def _records_of(
    name: str, source: PromptSource, context: Context, ledger: SourceLedger
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    ids: set[str] = set()
    for record in read_records(source.path, stage=context.name, source=name, base=None, limit=None, how=source):
        place = f"{name}/{record.file}:{record.line}"
        if isinstance(record, Broken):
            refuse_broken(ledger, record, place)
            continue
        given = record.value.get("id", record.value.get("question_id"))
        id_ = str(given) if isinstance(given, str | int) and str(given) else place
        id_ = place if id_ in ids else id_  # an id that is there twice names nothing
        ids.add(id_)
        yield name, source.language, id_, record.value
