"""A source of raw text: what every stage that reads files says about them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from diglot.recipe.common import Count, Language, Settings, Share


class Source(Settings):
    """Raw data with a language and a domain. Paths may be files, folders, globs, or URLs (`hf://…`, `s3://…`)."""

    path: str | list[str] = Field(
        description="JSONL (.gz, .zst), Parquet, text, HTML or WARC/WET: files, folders, globs or URLs; relative to the working "
        "folder, or to the artifact in `from` where the stage has one."
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
    target_language: Language | None = Field(
        None, description="Parallel data: the records are pairs, written out as bilingual documents."
    )
    target_text: str = Field("tgt", description="Parallel data: the field that holds the text in target_language.")
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
        return self


def source_paths(stage: Any) -> dict[tuple, str]:
    """The paths of a stage's sources; with `from` they lie inside an artifact, unless absolute or URLs."""
    given: dict[tuple, str] = {}
    for name, source in stage.sources.items():
        for key in ("path", "held_out_path"):
            paths = getattr(source, key, None) or []
            if isinstance(paths, str):
                given[("sources", name, key)] = paths
            else:
                given.update({("sources", name, key, index): path for index, path in enumerate(paths)})
    return {key: path for key, path in given.items() if not stage.from_ or path.startswith(("/", "~")) or "://" in path}
