"""The card of a corpus, README.md of its folder: sources with their licences, what was kept and why the rest was not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diglot import __version__
from diglot.base.artifact import Artifact
from diglot.base.format import number, share, words
from diglot.base.summaries.corpus import CorpusSummary
from diglot.base.table import Table, left, right
from diglot.publish.facts import data_table, languages
from diglot.publish.markdown import table, text
from diglot.publish.model_card import Said
from diglot.report.identity import facts_of as identity_of
from diglot.text.languages import shown_language

SPLITS = {"documents": "train", "heldout": "test"}  # folders of a corpus, and the hub's names
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def data_card(corpus: Artifact, said: Said, folders: Sequence[str]) -> str:
    """README.md of a corpus, of which these folders are published."""
    from huggingface_hub import DatasetCardData  # start-up: half a second

    about = corpus.summary
    assert isinstance(about, CorpusSummary), f"{corpus.stage} is no corpus"
    files = [{"split": SPLITS[folder], "path": f"{folder}/*.parquet"} for folder in folders]
    codes = languages([corpus])
    matter = DatasetCardData(
        language=codes or None,
        license=said.license,
        multilinguality="multilingual" if len(codes) > 1 else "monolingual",
        size_categories=next((name for most, name in _SIZES if about.documents.kept < most), "n>10M"),
        task_categories=["text-generation"],
        pretty_name=said.name,
        tags=["diglot"],
        configs=[{"config_name": "default", "data_files": files}],
    )
    parts = [
        f"# {text(said.name)}",
        f"{number(about.documents.kept)} documents kept of {number(about.documents.read)} "
        f"({share(about.documents.kept, about.documents.read or 1)}), {number(about.documents.held_out)} held out.",
        f"## Languages\n\n{table(_languages(about))}",
        f"## Sources\n\n{table(data_table([corpus], said.data_licenses))}",
        f"## What was dropped\n\n{table(_dropped(about))}",
        _curation(corpus, about),
        "## Limits\n\nFilters and identification of languages err in both directions. Personal data were looked for only where "
        "a rule above says so. Whoever passes the corpus on answers for the licences of its sources.",
        "## How it was made\n\n" + "\n".join(f"- {text(label)}: {text(value)}" for label, value in identity_of([corpus]))
        + f"\n- fingerprint {corpus.fingerprint}, content {corpus.content}\n- This card was written by Diglot {__version__}.",
    ]  # fmt: skip
    return f"---\n{matter.to_yaml().strip()}\n---\n\n" + "\n\n".join(parts) + "\n"


def published_folders(corpus: Path) -> list[str]:
    """The folders of documents that a corpus has."""
    return [folder for folder in SPLITS if any((corpus / folder).glob("*.parquet"))]


def _languages(about: CorpusSummary) -> Table:
    made = Table([*left("language"), *right("documents", "characters", "bytes")])
    for code, counts in about.languages.items():
        made.add(shown_language(code), number(counts.documents), number(counts.characters), number(counts.bytes))
    return made


def _dropped(about: CorpusSummary) -> Table:
    made = Table([*left("reason"), *right("documents", "share")])
    for reason, count in about.dropped.items():
        made.add(words(reason), number(count), share(count, about.documents.read or 1))
    return made


def _curation(corpus: Artifact, about: CorpusSummary) -> str:
    """The settings that decided."""
    settings, lines = corpus.settings, []
    if isinstance(rules := settings.get("rules"), dict):
        lines.append(f"- Rule set: {text(rules.get('set'))}")
    if isinstance(dedup := settings.get("deduplication"), dict):
        kinds = [name for name in ("exact", "url", "minhash", "lines", "paragraphs") if dedup.get(name)]
        lines.append(f"- Deduplication: {', '.join(kinds) or 'none'}")
    sets = about.evaluation_sets
    lines.append(f"- Kept apart from {number(sets.items)} items of evaluation sets" if sets else "- Not compared with evaluation sets")  # fmt: skip
    return "## Curation\n\n" + "\n".join(lines)
