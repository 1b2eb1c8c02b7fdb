"""Real text of all kinds and languages in one corpus: every document is accounted for, whatever it looks like."""

from collections import Counter

import pyarrow as pa
import pytest
from curate_run import documents, run

from diglot.recipe.curate import Deduplication, Rules
from diglot.recipe.source import Decontamination, Source

pytestmark = pytest.mark.slow
LANGUAGES = ["ar", "de", "en", "es", "fr", "he", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "vi", "zh"]


def lines_in(folder):
    """Records in all files of a folder, counted by themselves."""
    total = 0
    for file in folder.rglob("*.jsonl.zst"):
        with pa.CompressedInputStream(pa.OSFile(str(file)), "zstd") as stream:
            total += sum(1 for line in stream.read().split(b"\n") if line.strip())
    return total


@pytest.fixture(scope="module", params=[150, pytest.param(None, marks=pytest.mark.full)])
def limit(request):
    """Of documents in each language's source; without one, all the text there is."""
    return request.param


@pytest.fixture(scope="module")
def corpus(data, limit, tmp_path_factory):
    sources = {code: Source(path=str(data / "raw_text" / code), language=code, limit=limit) for code in LANGUAGES}
    web = data / "raw_web"
    sources |= {
        "html": Source(path=str(web / "html_pages.jsonl.zst"), html=True, text="html", languages=["de", "en", "fr"]),
        "wet": Source(path=str(web / "wet_like.jsonl.zst"), languages=LANGUAGES),
        "warc": Source(path=str(web / "warc"), languages=["en", "fr"]),
        "tweets": Source(path=str(web / "ar_tweets.jsonl.zst"), language="ar", language_confidence=0.3),
    }
    return run(
        tmp_path_factory.mktemp("real"), sources, rules=Rules(limits={"min_characters": 60, "min_words": 10}),
        deduplication=Deduplication(lines=20, paragraphs=10), banned_words=str(data / "lists" / "ldnoobw.jsonl"),
        decontamination=Decontamination(path=str(data / "eval" / "xquad"), fields=["context"]),
    )  # fmt: skip


def test_the_ledger_balances_to_the_document(corpus, limit, data):
    output, _, ledger = corpus
    for name, account in ledger.items():
        parts = [account["kept"], account["held_out"], *account["dropped"].values()]
        assert account["read"]["documents"] == sum(part["documents"] for part in parts), name
        characters = sum(part["characters"] for part in [*parts, *account["corrected"].values()])
        assert account["read"]["characters"] == characters, name
    for code in LANGUAGES:
        assert ledger[code]["read"]["documents"] == (limit or lines_in(data / "raw_text" / code)), code
    wet = sum(account["read"]["documents"] for name, account in ledger.items() if name.split("-")[0] == "wet")
    assert wet == 1210
    dropped = Counter((row["source"], row["reason"]) for row in documents(output, "dropped"))
    assert dropped == {
        (name, reason): counts["documents"]
        for name, account in ledger.items()
        for reason, counts in account["dropped"].items()
    }


@pytest.mark.full
@pytest.mark.parametrize("limit", [None], indirect=True)
def test_each_language_keeps_a_sane_share(corpus):
    _, _, ledger = corpus
    for code in LANGUAGES:
        account = ledger[code]
        share = (account["kept"]["documents"] + account["held_out"]["documents"]) / account["read"]["documents"]
        assert 0.4 < share < 0.99, (code, share)


def test_ids_are_unique_and_nothing_is_held_out_and_kept(corpus):
    output, summary, _ = corpus
    kept, held_out = ([row["id"] for row in documents(output, part)] for part in ("documents", "heldout"))
    assert len(set(kept)) == len(kept) == summary.documents.kept
    assert not set(kept) & set(held_out)


@pytest.mark.full
@pytest.mark.parametrize("limit", [None], indirect=True)
def test_what_is_known_to_be_there_is_found(corpus):
    output, _, ledger = corpus
    assert ledger["warc"]["dropped"]["not_html"]["documents"] > 100
    assert sum("contaminated" in account["dropped"] for account in ledger.values()) >= 1
    assert ledger["en"]["corrected"]["repeated"]["documents"] > 0
    languages = Counter(row["language"] for row in documents(output) if row["source"].startswith("wet-"))
    assert languages["de"] > languages["en"] > languages["fr"] > 0
