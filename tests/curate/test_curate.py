import json
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_files import ARABIC, ENGLISH, SPANISH, sentences, write_jsonl
from curate_run import documents, run
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.read import files
from diglot.recipe.curate import Deduplication, Rules
from diglot.recipe.signals import NAMES, SIGNALS
from diglot.recipe.source import Source

COLUMNS = ["id", "text", "language", "domain", "source", "origin", "url", "cluster_size", *NAMES]


def records(words, number, start=0):
    return [{"id": f"{words[0]}{i}", "text": sentences(words, i)} for i in range(start, start + number)]


def near(text, changes=2):
    words = text.split(" ")
    for place in range(changes):
        words[10 + 40 * place] = "otherwise"
    return " ".join(words)


def faulty_records():
    """Good documents, and one or more for each reason to drop one, by reason."""
    good = records(ENGLISH, 60)
    text, rng = good[0]["text"], random.Random(0)
    long_ones = [sentences(ENGLISH, 1000 + i, 60) for i in range(4)]
    faults = {
        "wrong_language": [sentences(SPANISH, i) for i in range(5)],
        "max_invisible": [sentences(ARABIC, 3).encode().decode("latin-1"), "\ufffd".join(sentences(ENGLISH, 70))],
        "min_characters": ["Too short."],
        "min_words": [" ".join(["conversationally"] * 12)],
        "max_urls": [sentences(ENGLISH, 71) + " https://example.org/abcdefgh" * 12],
        "max_digits": [" ".join(f"it{rng.randrange(10**9):09}" if i % 2 else w for i, w in enumerate(ENGLISH))],
        "max_duplicate_lines": ["\n".join([*ENGLISH, *["we see"] * 60])],
        "max_symbol_to_word": [sentences(ENGLISH, 72).replace(" ", " # ", 40)],
        "exact_duplicate": [text.upper().replace(" ", "  ")],
        "near_duplicate": [near(long_ones[0]), near(long_ones[1], 1)],
        "empty_text": ["", " \n"],
    }
    good += [{"id": f"long{i}", "text": text} for i, text in enumerate(long_ones)]
    bad = [{"id": f"{name}{i}", "text": text} for name, texts in faults.items() for i, text in enumerate(texts)]
    return good, bad, {name: len(texts) for name, texts in faults.items()}


def test_every_fault_is_dropped_under_its_own_reason(tmp_path):
    good, bad, expected = faulty_records()
    file = write_jsonl(tmp_path / "raw" / "a.jsonl", [*good, *bad, {"body": "x"}, {"text": 3}, {"text": "\ud800"}])
    with file.open("ab") as stream:
        stream.write(b'{"text": "\xff"}\n{"text": \n')
    output, summary, ledger = run(tmp_path, {"web": Source(path=str(tmp_path / "raw"), language="en")}, held_out=0.1)
    expected |= {"missing_text": 2, "invalid_utf8": 2, "invalid_json": 1}
    dropped = {reason: counts["documents"] for reason, counts in ledger["web"]["dropped"].items()}
    assert dropped == expected == summary.sources["web"].reasons == summary.dropped
    kept, held_out = documents(output), documents(output, "heldout")
    assert {row["id"] for row in kept + held_out} == {record["id"] for record in good}
    assert len(held_out) == 6 == ledger["web"]["held_out"]["documents"]
    assert list(kept[0]) == COLUMNS
    samples = ledger["web"]["samples"]
    assert set(samples) == set(expected)
    assert {sample["detail"][:27] for sample in samples["near_duplicate"]} == {
        "of long0, similarity about ", "of long1, similarity about "
    }  # fmt: skip
    assert "es " in samples["wrong_language"][0]["detail"]
    assert any("(fields: body)" in sample["detail"] for sample in samples["missing_text"])


def test_the_ledger_balances_and_says_what_is_in_the_files(tmp_path):
    good, bad, _ = faulty_records()
    dirty = [{**record, "text": record["text"].replace(" the ", "  the\u200b https://a.b/c ")} for record in good]
    write_jsonl(tmp_path / "a.jsonl", [*dirty, *bad])
    output, summary, ledger = run(tmp_path, {"web": Source(path=str(tmp_path / "a.jsonl"), language="en")})
    account = ledger["web"]
    for part, folder in (("kept", "documents"), ("held_out", "heldout")):
        texts = [row["text"] for row in documents(output, folder)]
        assert account[part] == {
            "documents": len(texts), "characters": sum(map(len, texts)), "bytes": sum(len(t.encode()) for t in texts),
        }  # fmt: skip
    read = [record["text"] for record in dirty + bad]
    assert account["read"]["documents"] == len(read)
    assert account["read"]["characters"] == sum(map(len, read))
    assert account["read"]["bytes"] == sum(len(text.encode()) for text in read)
    reasons = Counter(row["reason"] for row in documents(output, "dropped"))
    assert reasons == {reason: counts["documents"] for reason, counts in account["dropped"].items()}
    parts = [account["kept"], account["held_out"], *account["dropped"].values()]
    assert account["read"]["documents"] == sum(part["documents"] for part in parts)
    removed = sum(part["characters"] for part in account["corrected"].values())
    assert account["read"]["characters"] == sum(part["characters"] for part in parts) + removed
    assert account["corrected"]["urls"]["characters"] >= 13 * 50
    assert vars(summary.languages["en"]) == account["kept"]


def test_signals_are_counted_with_their_thresholds(tmp_path):
    good, bad, expected = faulty_records()
    write_jsonl(tmp_path / "a.jsonl", [*good, *bad])
    output, _, _ = run(tmp_path, {"web": Source(path=str(tmp_path / "a.jsonl"), language="en")})
    histograms = json.loads((output / "signals.json").read_text())["web"]
    duplicates = expected["exact_duplicate"] + expected["near_duplicate"]
    for name in (signal.name for signal in SIGNALS if signal.needs != "quality" and signal.name != "banned_words"):
        counts = histograms[name]
        assert len(counts["edges"]) == len(counts["kept"]) + 1 == len(counts["dropped"]) + 1
        assert sum(counts["kept"]) == len(good) + duplicates, name
        assert sum(counts["kept"]) + sum(counts["dropped"]) == len(good) + len(bad)
    assert [histograms["words"][side] for side in ("low", "high")] == [30, 100_000]
    assert [histograms["language_confidence"][side] for side in ("low", "high")] == [0.6, None]
    row = documents(output)[0]
    assert row["characters"] == len(row["text"])


@pytest.fixture
def several_shards(monkeypatch):
    monkeypatch.setattr(files, "SHARD_BYTES", 8000)


def two_sources(folder):
    good, bad, _ = faulty_records()
    write_jsonl(folder / "en" / "a.jsonl", [*good[:30], *bad])
    write_jsonl(folder / "en" / "b.jsonl", good[20:])
    write_jsonl(folder / "ar.jsonl", records(ARABIC, 40))
    pairs = [{"src": sentences(ENGLISH, i, 1), "tgt": sentences(ARABIC, i, 1)} for i in range(200)]
    write_jsonl(folder / "pairs.jsonl", pairs)
    return {
        "english": Source(path=str(folder / "en"), language="en", domain="books"),
        "arabic": Source(path=str(folder / "ar.jsonl"), language="ar", origin="translated"),
        "pairs": Source(path=str(folder / "pairs.jsonl"), language="en", target_language="ar"),
    }


def test_the_same_bytes_whatever_the_number_of_threads(tmp_path, several_shards):
    sources = two_sources(tmp_path)
    one, *others = [content_hash(run(tmp_path, sources, workers)[0]) for workers in (1, 4, 3)]
    assert others == [one, one]
    assert len(list((tmp_path / "corpus" / "documents").iterdir())) > 10


def test_shards_change_nothing_but_the_files(tmp_path, monkeypatch):
    sources = two_sources(tmp_path)
    whole = run(tmp_path, sources)
    monkeypatch.setattr(files, "SHARD_BYTES", 8000)
    parts = run(tmp_path, sources)
    assert parts[1:] == whole[1:]
    for part in ("documents", "heldout"):
        by_source = [
            sorted(documents(output, part), key=lambda row: (row["source"], row["id"]))
            for output in (whole[0], parts[0])
        ]
        assert by_source[0] == by_source[1]
    assert (parts[0] / "duplicates.json").read_text() == (whole[0] / "duplicates.json").read_text()


def test_nothing_held_out_is_trained_on(tmp_path):
    """Copies and near copies of every document, in two sources: none is on the other side."""
    texts = [sentences(ENGLISH, i, 60) for i in range(80)]
    write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts + [near(text, 1) for text in texts]])
    write_jsonl(
        tmp_path / "b.jsonl",
        [
            {"text": text}
            for text in [t.upper() for t in texts[:60]] + [sentences(ENGLISH, i, 60) for i in range(100, 130)]
        ],
    )
    sources = {name: Source(path=str(tmp_path / f"{name}.jsonl"), language="en") for name in "ab"}
    output, summary, _ = run(tmp_path, sources, held_out=0.3, max_held_out=20)
    assert summary.dropped == {"near_duplicate": 80, "exact_duplicate": 60}
    held_out = documents(output, "heldout")
    assert [sum(row["source"] == name for row in held_out) for name in "ab"] == [20, 9]
    trained = {gram for row in documents(output) for gram in grams(row["text"])}
    for row in held_out:
        own = grams(row["text"])
        assert len(own & trained) / len(own) < 0.1


def grams(text):
    words = text.lower().split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_pairs_become_bilingual_documents(tmp_path):
    pairs = [{"src": sentences(ENGLISH, i, 1), "tgt": sentences(ARABIC, i, 1)} for i in range(400)]
    odd = [{"src": "OK", "tgt": "OK"}, {"src": "", "tgt": "نعم"}, pairs[5], {"src": "Hi."}]
    write_jsonl(tmp_path / "pairs.jsonl", pairs + odd)
    source = Source(path=str(tmp_path / "pairs.jsonl"), language="en", target_language="ar")
    output, summary, _ = run(tmp_path, {"pairs": source}, held_out=0.0)
    rows = documents(output)
    forms = {f"English: {p['src']}\nArabic: {p['tgt']}": 0 for p in pairs}
    forms |= {f"Arabic: {p['tgt']}\nEnglish: {p['src']}": 1 for p in pairs}
    assert len(rows) == 400
    assert 150 < sum(forms[row["text"]] for row in rows) < 250
    assert {(row["language"], row["domain"], row["source"]) for row in rows} == {("en", "parallel", "pairs")}
    assert summary.dropped == {"empty_text": 1, "exact_duplicate": 1, "missing_text": 1, "untranslated": 1}


def test_a_title_is_kept_where_the_source_names_its_field(tmp_path):
    rows = [{"text": sentences(ENGLISH, i), "meta": {"title": f"Title {i}"}} for i in range(4)]
    rows[1]["meta"], rows[2]["meta"]["title"] = None, "\ud800"
    write_jsonl(tmp_path / "a.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / "b.parquet")
    sources = {name: Source(path=str(tmp_path / name), language="en") for name in ("a.jsonl", "b.parquet")}
    named = {"a": sources["a.jsonl"].model_copy(update={"title": "meta.title"}), "plain": sources["a.jsonl"]}
    off = Deduplication(exact=False, minhash=False, url=False)
    output, _, _ = run(tmp_path, named, held_out=0.0, deduplication=off)
    titles = {(row["source"], row["text"]): row.get("title", "no column") for row in documents(output)}
    texts = [row["text"] for row in rows]
    assert [titles["a", text] for text in texts] == ["Title 0", None, None, "Title 3"]
    assert [titles["plain", text] for text in texts] == ["no column"] * 4
    parquet = {"b": sources["b.parquet"].model_copy(update={"title": "meta.title"})}
    output, _, _ = run(tmp_path, parquet, held_out=0.0)
    assert [row["title"] for row in documents(output)] == ["Title 0"]


def test_ids_are_unique_and_stable(tmp_path):
    write_jsonl(tmp_path / "x" / "a.jsonl", [{"id": "one", "text": sentences(ENGLISH, i)} for i in range(3)])
    write_jsonl(tmp_path / "y" / "a.jsonl", [{"id": i or None, "text": sentences(ENGLISH, 10 + i)} for i in range(3)])
    write_jsonl(
        tmp_path / "z" / "a.jsonl", [{"id": "one#2", "text": sentences(ENGLISH, 20)}, {"text": sentences(ENGLISH, 21)}]
    )
    source = Source(path=[str(tmp_path / name) for name in "xyz"], language="en")
    output, _, _ = run(tmp_path, {"s": source}, held_out=0.0)
    ids = [row["id"] for row in documents(output)]
    assert ids == [
        "one",
        "one#4",  # not #2, which is the name of another document
        "one#3",
        "s/a.jsonl:1",
        "s/a.jsonl:2",
        "s/a.jsonl:3",
        "one#2",
        "s/a.jsonl:2#2",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"language": "ar"}, ["'web'", "language ar", "in another language", "100% in en", "language_confidence: 0"]),
        ({"language": "qqq"}, ["'qqq'", "language_confidence: 0"]),
        ({"text": "body"}, ["no field 'body' (fields: id, text)", "corpus.sources.web.text=FIELD"]),
        ({"path": "nowhere"}, ["nowhere", "corpus.sources.web.path=FOLDER"]),
    ],
)
def test_a_source_that_is_not_what_it_says_is_refused(tmp_path, change, words):
    write_jsonl(tmp_path / "a.jsonl", records(ENGLISH, 20))
    source = Source(**{"path": str(tmp_path / "a.jsonl"), "language": "en"} | change)
    with pytest.raises(UserError) as error:
        run(tmp_path, {"web": source})
    for word in ["source 'web'", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [
        ("\n".join(sentences(ARABIC, number) for number in range(5)), "cp1256", "set encoding: cp1256"),
        ("\n".join(sentences(ENGLISH, number) for number in range(99)), "utf-8", "set each_line: true"),
    ],
)
def test_a_text_file_that_is_read_amiss_is_refused_with_the_setting_that_reads_it(tmp_path, text, encoding, words):
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    source = Source(path=str(tmp_path / "a.txt"), language="en")
    with pytest.raises(UserError, match=f"source 'web': no record has a usable text.*a.txt.*{words}"):
        run(tmp_path, {"web": source}, max_record_bytes=5000)


def test_an_empty_result_is_refused_with_its_reasons(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", records(ENGLISH, 20))
    source = Source(path=str(tmp_path / "a.jsonl"), language="en")
    with pytest.raises(UserError, match=r"'web'.* of 20 documents none .*20 × min_words"):
        run(tmp_path, {"web": source}, rules=Rules(limits={"min_words": 500}))
    with pytest.raises(UserError, match=r"'again'.*20 × exact_duplicate"):
        run(tmp_path, {"web": source, "again": source})
    with pytest.raises(ValidationError, match=r"bands × rows is 200"):
        Deduplication(bands=20, rows=10)


def test_everything_can_be_switched_off(tmp_path):
    _, bad, _ = faulty_records()
    texts = [record for record in bad if record["text"].strip()]
    write_jsonl(tmp_path / "a.jsonl", texts)
    output, _, _ = run(
        tmp_path, {"web": Source(path=str(tmp_path / "a.jsonl"), language="qqq")}, rules=Rules(set="none"), language_confidence=0.0,
        corrections=False, deduplication=Deduplication(exact=False, minhash=False, url=False), held_out=0.0,
    )  # fmt: skip
    assert [(row["id"], row["text"]) for row in documents(output)] == [(r["id"], r["text"]) for r in texts]


lines = st.binary(max_size=40) | st.text(max_size=40).map(lambda text: json.dumps({"text": text}).encode())


@given(st.lists(lines, max_size=12))
@examples(25)
def test_the_ledger_balances_whatever_is_read(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("fuzz")
    file = write_jsonl(folder / "a.jsonl", records(ENGLISH, 2))
    content = file.read_bytes() + b"\n".join(lines)
    file.write_bytes(content)
    try:
        _, summary, _ = run(folder, {"s": Source(path=str(file), language="en")})
    except UserError as error:
        assert "in another language" in str(error)
        return
    assert summary.documents.read == sum(1 for line in content.split(b"\n") if line.strip())


@pytest.mark.slow
def test_real_text_keeps_a_sane_share(tmp_path, data):
    sources = {language: Source(path=str(data / "raw_text" / language), language=language) for language in ("ar", "en")}
    sources["en-ar"] = Source(path=str(data / "parallel" / "en-ar"), language="en", target_language="ar", limit=5000)
    output, summary, ledger = run(tmp_path, sources)
    for name, account in ledger.items():
        share = (account["kept"]["documents"] + account["held_out"]["documents"]) / account["read"]["documents"]
        assert 0.75 < share < 0.99, name
    rows = documents(output)
    ids = {row["id"] for row in rows}
    assert len(ids) == len(rows) == summary.documents.kept
    assert not ids & {row["id"] for row in documents(output, "heldout")}
    arabic = [row["text"] for row in rows if row["source"] == "ar"]
    letters = np.mean([sum("\u0600" <= c <= "\u06ff" for c in text) / len(text) for text in arabic])
    assert letters > 0.6


@pytest.mark.slow
def test_the_hash_seed_of_python_changes_nothing(tmp_path):
    import os
    import subprocess
    import sys
    from pathlib import Path

    write_jsonl(tmp_path / "a.jsonl", records(ENGLISH, 30))
    script = (
        "import sys; from pathlib import Path; from diglot.base.artifact import *; from diglot.recipe.curate import Curate\n"
        "from diglot.recipe.source import Source\n"
        "from diglot.curate import stage as curate; out = Path(sys.argv[2]); out.mkdir(); Path(str(out) + 's').mkdir()\n"
        "curate.run(Curate(sources={'s': Source(path=sys.argv[1], language='en')}), Inputs({}), out,\n"
        "           Context(name='c', seed=0, scratch=Path(str(out) + 's')))\n"
        "print(content_hash(out))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script, tmp_path / "a.jsonl", tmp_path / f"out{seed}"],
            env={**os.environ, "PYTHONHASHSEED": seed}, cwd=Path(__file__).parents[2], check=True, capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(hashes) == 1


def test_a_corpus_for_tests_alone_is_held_out_whole(tmp_path):
    """More than `max_held_out`, and nothing to train on is no fault then."""
    records = [{"id": str(n), "text": f"Text {n} tells of river {n * 7} and of town {n * 13}."} for n in range(600)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    sources = {"test": {"path": str(tmp_path / "a.jsonl"), "language": "en"}}
    options = {"language_confidence": 0, "rules": {"set": "none"}, "deduplication": {"minhash": False}}
    output, summary, ledger = run(tmp_path, sources, held_out=1.0, **options)
    assert len(documents(output, "heldout")) == 600
    assert documents(output) == []
    assert (summary.documents.kept, summary.documents.held_out) == (0, 600)
    assert ledger["test"]["held_out"]["documents"] == 600


def test_pairs_in_two_files_are_bilingual_documents(tmp_path):
    """Moses: `train.en` and `train.ar`, of no known suffix, a line each."""
    for language, words in (("en", ENGLISH), ("ar", ARABIC)):
        lines = [sentences(words, number, 3).replace("\n", " ") for number in range(40)]
        (tmp_path / f"train.{language}").write_text("\n".join(lines) + "\n")
    sides = {"path": str(tmp_path / "train.en"), "target_path": str(tmp_path / "train.ar")}
    output, _, ledger = run(tmp_path, {"pairs": Source(**sides, language="en", target_language="ar")})
    assert len(documents(output)) + len(documents(output, "heldout")) == 40 == ledger["pairs"]["read"]["documents"]
    assert all("English: " in row["text"] and "\nArabic: " in "\n" + row["text"] for row in documents(output))
