"""`diglot init`: a commented recipe in which a language joins a base, from what can be found out of both and of this machine."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
import torch
from pydantic import TypeAdapter, ValidationError

from diglot.base.errors import UserError
from diglot.base.files import expand_home, write_text
from diglot.base.format import digits
from diglot.model.families import read_config
from diglot.model.huggingface import count_parameters
from diglot.model.processor import is_slow_in_bfloat16
from diglot.plan.here import available_memory
from diglot.read.files import find_files, read_records
from diglot.read.records import Broken
from diglot.recipe import json_schema
from diglot.recipe.common import Language, Name
from diglot.text.languages import base_code, label_of, language_name
from diglot.tokenizer.chat import NoChatFormat, load_chat
from diglot.tokenizer.folder import load_tokenizer

SCHEMA = "recipe.schema.json"
SAMPLE = 200  # records that are looked at
COMPRESSED = 3.5  # bytes of text in a byte of a compressed file of text, roughly
NEW_WEIGHTS = 0.05  # of a model's weights may be new rows: what smollm2-arabic has
FEWEST_NEW, MOST_NEW = 4000, 32_000  # the second is what ALLaM and new-languages.yaml add
HUB_BASE = "hf://datasets/HuggingFaceFW/fineweb/sample/10BT/*.parquet"
HUB_TEXT = "hf://datasets/HuggingFaceFW/fineweb-2/data/{}/train/*.parquet"
HUB_DOCUMENTS = 20_000
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
         "special_tokens_map.json")  # fmt: skip


@dataclass
class Text:
    """What is found of a user's text.

    Attributes:
        field: that holds it, if it is not the usual one.
        size: bytes of text, about.
        sample: some of it.
    """

    field: str | None
    size: float
    sample: list[str]


@dataclass
class Base:
    """What is found of a base without its weights."""

    folder: Path
    parameters: int
    hidden_size: int
    tied: bool
    max_positions: int
    has_chat: bool


def start(
    name: str, language: str, base: str, texts: Sequence[str], base_text: str | None, base_language: str,
    instructions: str | None, output: Path, *, force: bool,
) -> list[str]:  # fmt: skip
    """Write a recipe, and the schema that its first line names beside it.

    Args:
        name: of the recipe.
        language: that is learnt.
        base: a folder, or a name on the hub.
        texts: files, folders, globs or URLs in the language; FineWeb-2 where there are none.
        base_text: the same in the base's language; FineWeb where there is none.
        base_language: what the base speaks already.
        instructions: conversations in the language, if there are any.
        output: the recipe's file.
        force: a file of that name is replaced.

    Returns:
        What was found out, in lines.

    Raises:
        UserError: a name that cannot be, text that is not there, a file that is there.
    """
    for what, value, kind in (("NAME", name, Name), ("--language", language, Language), ("--base-language", base_language, Language)):  # fmt: skip
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            raise UserError(f"{what} {value!r}: {error.errors()[0]['msg']}") from error
    if base_code(language) == base_code(base_language):
        raise UserError(f"--language {language}: the base speaks it already (--base-language {base_language})")
    for file in (output, *([] if _is_ours(output.with_name(SCHEMA)) else [output.with_name(SCHEMA)])):
        if file.exists() and not force:
            raise UserError(f"{file} is there already; choose another name, or replace it with --force")
    found, values = _found(language, base, texts, base_text, base_language, instructions)
    values |= {"name": name, "file": output.name, "found": found}
    template = Path(__file__).with_name("starter.yaml.jinja").read_text("utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701  (YAML)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, environment.from_string(template).render(values))
    write_text(output.with_name(SCHEMA), json.dumps(json_schema(), ensure_ascii=False, indent=1) + "\n")
    return found


def _is_ours(file: Path) -> bool:
    """Whether a schema lies there that an earlier `init` wrote, of this version or another."""
    return file.is_file() and '"title": "Recipe"' in file.read_text("utf-8", errors="replace")


def _found(
    language: str, base: str, texts: Sequence[str], base_text: str | None, base_language: str, instructions: str | None
) -> tuple[list[str], dict[str, Any]]:
    """What can be found out, in lines, and what the template wants."""
    looked, reason = _look_at_base(base)
    lines = [_about_base(base, looked, reason)]
    sources: list[dict[str, Any]] = []
    tokens = 0.0
    word = re.sub(r"[^a-z0-9]+", "-", language_name(language).lower()).strip("-") or language
    for number, path in enumerate(texts, 1):
        text = look_at_text(path, f"--text {path}")
        count = _tokens_in(text, looked)
        tokens += count
        source = {"name": word if number == 1 else f"{word}-{number}", "path": _yaml(path), "field": text.field}
        sources.append({**source, "limit": None, "comment": f"about {digits(text.size / 1e6)} MB of text"})
        lines.append(
            f"{path}: about {digits(text.size / 1e6)} MB of text, {digits(count / 1e6)} million tokens of the base"
        )
    if not texts:
        url = HUB_TEXT.format(label_of(language))
        comment = "FineWeb-2, on the hub; text of yours: --text FOLDER"
        sources = [{"name": word, "path": _yaml(url), "field": None, "limit": HUB_DOCUMENTS, "comment": comment}]
    ours = look_at_text(base_text, f"--base-text {base_text}") if base_text else None
    if instructions:
        find_files(instructions, f"--instructions {instructions}", "give a file, a folder or a URL")
    training, lines_of_machine = _training(looked, tokens)
    names = [source["name"] for source in sources]
    base_word = re.sub(r"[^a-z0-9]+", "-", language_name(base_language).lower()).strip("-")
    return [*lines, *lines_of_machine], {
        "language": language,
        "language_name": language_name(language),
        "base": _yaml(base),
        "base_name": base.rstrip("/").rpartition("/")[2],
        "base_language": base_language,
        "base_source": base_word,
        "base_text": base_text,
        "base_path": _yaml(base_text or (HUB_BASE if base_language == "en" else HUB_TEXT.format(label_of(base_language)))),
        "base_field": ours.field if ours else None,
        "base_limit": None if base_text else HUB_DOCUMENTS,
        "sources": sources,
        "instructions": _yaml(instructions) if instructions else None,
        "chat": looked.has_chat if looked else True,
        "target_mixture": ", ".join(f"{name}: 1" for name in names),
        "continued_mixture": ", ".join(f"{name}: {round(3 / len(names), 3):g}" for name in names),
        "new_tokens": _new_tokens(looked),
        **training,
    }  # fmt: skip


def look_at_text(path: str, where: str) -> Text:
    """Which field holds the text, and about how much there is; of URLs nothing is looked at.

    Raises:
        UserError: there is nothing that can be read.
    """
    if "://" in path:
        return Text(None, 0, [])
    files = find_files(path, where, "give files, folders or globs of text")
    size = sum(
        (file.size or 0) * (COMPRESSED if file.path.endswith((".gz", ".zst", ".parquet")) else 1) for file in files
    )
    records = [
        record.value
        for record in islice(read_records(path, stage="corpus", source=where, limit=SAMPLE), SAMPLE)
        if not isinstance(record, Broken)
    ]
    field = _field_of(records, where)
    texts = [record[field] for record in records if isinstance(record.get(field), str)]
    # Fields beside the text take their part of the files.
    written = sum(len(json.dumps(record, ensure_ascii=False, default=str).encode()) for record in records)
    share = sum(len(text.encode()) for text in texts) / max(1, written)
    return Text(None if field == "text" else field, size * min(1.0, share), texts)


def _field_of(records: list[dict[str, Any]], where: str) -> str:
    """`text` where there is one, else the field with most text."""
    sizes = Counter[str]()
    for record in records:
        sizes.update({key: len(value) for key, value in record.items() if isinstance(value, str)})
    if not sizes:
        raise UserError(f"{where}: no record of the first {SAMPLE} has a field with text")
    return "text" if "text" in sizes else sizes.most_common(1)[0][0]


def _look_at_base(base: str) -> tuple[Base | None, str]:
    """What the base's small files say, and why nothing can be said where they cannot be had."""
    folder = expand_home(base)
    try:
        if not folder.is_dir():
            folder = _small_files(base)
        config = read_config(folder)
        try:
            has_chat = bool(load_chat(folder))
        except NoChatFormat:
            has_chat = False
        raw = json.loads((folder / "config.json").read_text("utf-8"))
        tied = bool(raw.get("tie_word_embeddings", False))
        found = Base(folder, count_parameters(config), config.hidden_size, tied, config.max_positions, has_chat)
    except UserError as error:
        if expand_home(base).is_dir():
            raise
        return None, str(error)
    return found, ""


def _small_files(base: str) -> Path:
    """A folder with a base's configuration and tokenizer from the hub, without its weights.

    Raises:
        UserError: there is no such model, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download  # start-up: only for a model on the hub

    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", base):
        raise UserError(f"--base {base!r} is neither a folder nor the name of a model on the Hugging Face hub")
    try:
        return Path(snapshot_download(base, allow_patterns=list(FILES)))
    except Exception as error:  # no network, no such model, gated: one remedy
        raise UserError(f"not looked at: {type(error).__name__}") from error


def _about_base(base: str, found: Base | None, reason: str) -> str:
    if found is None:
        if "neither" in reason:
            raise UserError(reason)
        return f"{base}: {reason}; numbers below are for a model of 100 million to a billion parameters"
    chat = "its own chat format" if found.has_chat else "no chat format"
    return f"{base}: {digits(found.parameters / 1e6)} million parameters, {found.max_positions:,} positions, {chat}"


def _tokens_in(text: Text, base: Base | None) -> float:
    """Tokens of the base in a text; a token has about three bytes of a language that it was not made for."""
    data = sum(len(each.encode()) for each in text.sample)
    if base is None or not data:
        return text.size / 3
    tokenizer = load_tokenizer(base.folder)
    count = sum(len(each.ids) for each in tokenizer.encode_batch(text.sample, add_special_tokens=False))
    return text.size * count / data


def _new_tokens(base: Base | None) -> int:
    """As many rows as NEW_WEIGHTS of the weights, in thousands."""
    if base is None:
        return 16_000
    rows = NEW_WEIGHTS * base.parameters / base.hidden_size / (1 if base.tied else 2)
    return int(max(FEWEST_NEW, min(MOST_NEW, round(rows, -3))))


def _training(base: Base | None, tokens: float) -> tuple[dict[str, Any], list[str]]:
    """Sizes of batches and number of steps for this machine, and lines about it."""
    gpu, parameters = torch.cuda.is_available(), base.parameters if base else 500_000_000
    batch, length = (64, 2048) if gpu else (4, 512)
    length = min(length, base.max_positions if base else length)
    most = 3000 if gpu else 200  # a day or so on a GPU, an afternoon on two cores
    # A quarter of what is read is the base's language; text of the new one is read twice at most.
    wanted = int(2 * tokens / 0.75 / (batch * length)) if tokens else most
    steps = max(20, min(most, wanted))
    precision = "bfloat16" if gpu or not is_slow_in_bfloat16() else "float32"
    needed = 16 * parameters  # weights, gradients and two moments in float32
    memory = torch.cuda.get_device_properties(0).total_memory if gpu else available_memory()
    lines = [f"this machine: {'a GPU' if gpu else 'no GPU'}, so {steps} steps of {batch} × {length} tokens"]
    if needed > 0.8 * memory:
        lines.append(
            f"training all weights takes {digits(needed / 2**30)} GiB, and {digits(memory / 2**30)} are there: "
            "`diglot plan` says which settings fit (adapters, four bits)"
        )
    return {
        "steps": steps, "batch_size": batch, "sequence_length": length, "precision": precision,
        "micro_batch_size": (4 if parameters > 1e9 else 8) if gpu else 2, "checkpointing": gpu and parameters > 1e9,
        "learning_rate": "3e-4" if parameters < 1e9 else "5e-5", "every": max(10, steps // 4),
        "sft_steps": max(20, steps // 4), "tokens_comment": f"{digits(steps * batch * length / 1e6)} million tokens",
    }, lines  # fmt: skip


def _yaml(text: str) -> str:
    """A text as YAML takes it in any place."""
    return text if re.fullmatch(r"[A-Za-z0-9._/][\w./-]*", text) else json.dumps(text, ensure_ascii=False)
