"""The corpus from the command line: made, shown in depth, refused plainly."""

from pathlib import Path

import pytest
from commands import diglot


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world, and a corpus of it sorted by language, made by the commands of these stages."""
    folder = tmp_path_factory.mktemp("command")
    world = diglot(
        "world", "--out", str(folder / "world"), "--documents", "{en: 300, ar: 300}", "--pairs", "5",
        "--instructions", "5", "--preferences", "5", "--items", "4", "--people", "40",
    )  # fmt: skip
    assert world.returncode == 0, world.stderr
    sources = "{web: {path: 'text/*.jsonl', languages: [en, ar]}}"
    made = diglot(
        "curate", "--out", str(folder / "corpus"), "--text", str(folder / "world"), "--sources", sources,
        "--rules.limits", "{min_words: 20, min_characters: 80}", "--deduplication.lines", "10",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder / "corpus"


def test_a_corpus_is_shown_in_depth(corpus: Path) -> None:
    shown = diglot("show", str(corpus))
    assert shown.returncode == 0, shown.stderr
    for word in ("web-en", "web-ar", "wrong language", "exact duplicate"):
        assert word in " ".join(shown.stdout.split())  # reasons are folded
    shown = diglot("show", str(corpus), "--source", "web-ar")
    assert shown.returncode == 0, shown.stderr
    for word in ("dropped, by the first reason", "Signals with a limit", "max invisible", "kept"):
        assert word in shown.stdout


def test_an_unknown_source_is_refused(corpus: Path) -> None:
    shown = diglot("show", str(corpus), "--source", "wbe-ar")
    assert shown.returncode == 2
    assert "no source 'wbe-ar'" in shown.stderr
    assert "web-ar" in shown.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--rules.limits", "{min_wrods: 3}"], "did you mean 'min_words'"),
        (["--rules.set", "golfer"], "gopher"),
        (["--rules.limits", "{max_perplexity_rank: 0.9}"], "from: {quality: STAGE}"),
        (["--deduplication.bands", "20"], "bands × rows is 180"),
        (["--language-model", "nowhere.bin"], "nowhere.bin"),
        (["--banned-words", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--decontamination", "{path: nowhere}"], "nowhere"),
    ],
)
def test_what_cannot_be_is_said(corpus: Path, tmp_path: Path, given: list[str], says: str) -> None:
    sources = "{web: {path: text/en.jsonl, language: en}}"
    world = str(corpus.parent / "world")
    done = diglot("curate", "--out", str(tmp_path / "c"), "--text", world, "--sources", sources, *given)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert not (tmp_path / "c").exists()
