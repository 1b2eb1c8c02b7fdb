"""A source of raw text: what every stage that reads files says about them."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from diglot.recipe.common import Count, Language, Settings, Share


def _is_encoding(name: str) -> str:
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # there are codecs of bytes too, such as zlib
    except LookupError:
        raise ValueError(
            f"there is no encoding {name!r}; common ones: utf-16, cp1252, cp1256, gb18030, cp932"
        ) from None
    return found.name


class RawFiles(Settings):
    """How raw files are read, whatever is made of their records."""

    encoding: Annotated[str, AfterValidator(_is_encoding)] | None = Field(
        None,
        description="What text files are encoded in, as Python names it (cp1256, gb18030), where that is neither UTF-8 "
        "nor begins with a byte-order mark.",
    )
    columns: list[str] | None = Field(
        None, description="The columns of CSV and TSV files, such as [id, text], where their first line is a row too."
    )


class Source(RawFiles):
    """Raw data with a language and a domain. Paths may be files, folders, globs, or URLs (`hf://…`, `s3://…`)."""

    path: str | list[str] = Field(
        description="JSONL, CSV, TSV, text, HTML or WARC/WET (.gz, .zst), Parquet or Arrow: files, folders, globs or "
        "URLs; relative to the working folder, or to the artifact in `from` where the stage has one."
    )
    language: Language | None = Field(
        None, description="What the texts are in; documents in another language are dropped and counted."
    )
    languages: list[Language] | None = Field(
        None,
        description="Instead of `language`: documents are sorted by the language they are identified as, into sources "
        "called NAME-LANGUAGE; those in none of these are dropped and counted.",
    )
    domain: str = Field("web", description="web, books, wiki, news, science, code, math, parallel, …")
    origin: Literal["natural", "translated"] = Field(
        "natural", description="Who wrote the texts; kept as a column of the corpus."
    )
    text: str | None = Field(
        None,
        description="The field that holds the text: `text`, or `src` for parallel data; `translation.en` is one "
        "within another.",
    )
    html: bool = Field(False, description="The text is an HTML page: take its main text.")
    url: str = Field("url", description="The field that holds the document's address, if any.")
    title: str | None = Field(
        None,
        description="The field that holds the document's title, where it is to be kept: a column of the corpus, of which "
        "make-instructions makes headlines.",
        examples=["title"],
    )
    target_language: Language | None = Field(
        None, description="Parallel data: the records are pairs, written out as bilingual documents."
    )
    target_text: str = Field("tgt", description="Parallel data: the field that holds the text in target_language.")
    target_path: str | list[str] | None = Field(
        None,
        description="Parallel data in two files side by side (Moses, OPUS): the file whose line 7 translates line 7 of "
        "`path`, under any names; as many files as `path` has.",
    )
    each_line: bool = Field(False, description="In text files (.txt) each line is a document, not the whole file.")
    limit: Count | None = Field(None, description="Read at most this many records.")
    language_confidence: Share | None = Field(
        None, description="A cut-off of this source's own; 0 takes all its texts, as bilingual documents need."
    )

    @model_validator(mode="after")
    def _one_language_or_several(self) -> Source:
        if (self.language is None) == (not self.languages):
            raise ValueError("give either language or languages")
        if self.languages and self.target_language:
            raise ValueError("parallel data have one language and one target_language, not languages")
        if self.target_path and not self.target_language:
            raise ValueError("target_path: say in target_language what its lines are in")
        return self

    def text_fields(self) -> tuple[str, ...]:
        """The fields that hold the text, or the texts of a pair."""
        first = self.text or ("src" if self.target_language else "text")
        return (first, self.target_text) if self.target_language else (first,)


def source_paths(stage: Any) -> dict[tuple, str]:
    """The paths of a stage's sources; with `from` they lie inside an artifact, unless absolute or URLs."""
    given = all_source_paths(stage)
    return {key: path for key, path in given.items() if not stage.from_ or path.startswith(("/", "~")) or "://" in path}


def all_source_paths(stage: Any) -> dict[tuple, str]:
    """The paths of a stage's sources, whatever it reads beside them."""
    given: dict[tuple, str] = {}
    for name, source in stage.sources.items():
        for key in ("path", "target_path", "held_out_path"):
            paths = getattr(source, key, None) or []
            if isinstance(paths, str):
                given[("sources", name, key)] = paths
            else:
                given.update({("sources", name, key, index): path for index, path in enumerate(paths)})
    return given


class Decontamination(Settings):
    """Drop documents that share word n-grams with evaluation sets."""

    path: str | list[str] = Field(
        description="Evaluation sets, in any format that a source may have: all text fields of all records."
    )
    fields: list[str] | None = Field(None, description="These fields only.")
    ngram: Count = Field(13, description="Words in a row (GPT-3, appendix C); shorter items are matched whole.")


def decontamination_paths(settings: Decontamination | None) -> dict[tuple, str]:
    """The paths of evaluation sets."""
    given = settings.path if settings else []
    return {
        ("decontamination", "path", place): path
        for place, path in enumerate([given] if isinstance(given, str) else given)
    }
