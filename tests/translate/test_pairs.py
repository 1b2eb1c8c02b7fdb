import json

import pytest
from commands import diglot
from corpus_files import ARABIC, ENGLISH, sentences, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.artifact import Artifact, Context, Inputs, content_hash
from diglot.base.errors import UserError
from diglot.read.files import Broken, Record, read_records
from diglot.recipe.source import Source
from diglot.recipe.translate import MakeParallel
from diglot.text.parallel import lengths_differ
from diglot.translate import pairs
from diglot.translate.pairs import Pair, grouped, rendered

PARTS = ["lines", "blocks"]


def run(folder, sources, text=None, seed=1, name="parallel", **settings):
    output = folder / name
    output.mkdir()
    context = Context(name="parallel", seed=seed, scratch=folder)
    inputs = Inputs({"text": [text]} if text else {})
    summary = pairs.run(MakeParallel(sources=sources, **settings), inputs, output, context)
    return output, summary, json.loads((output / "ledger.json").read_text())["sources"]


def source(path, **more):
    return Source(path=str(path), language="en", target_language="ar", domain="news", **more)


def lines(file):
    return [json.loads(line) for line in file.read_text().split("\n") if line]


def pair(number, doc=None):
    record = {"src": f"{sentences(ENGLISH, number, 1)}", "tgt": f"{sentences(ARABIC, number, 1)}"}
    return record | ({} if doc is None else {"doc": doc})


def taken_apart(document):
    """The pairs that a document's text shows, whatever its form and direction."""
    sides = {"English": [], "Arabic": []}
    for line in document["text"].split("\n"):
        name, colon, rest = line.partition(": ")
        if colon and name in sides:
            last = sides[name]
            last.append(rest)
        else:
            last.append(line)
    return list(zip(sides["English"], sides["Arabic"], strict=True))


def test_forms():
    sides = [("English", ["One.", "Two."]), ("Arabic", ["أ.", "ب."])]
    assert rendered(sides, "lines") == "English: One.\nArabic: أ.\nEnglish: Two.\nArabic: ب."
    assert rendered(sides, "blocks") == "English: One.\nTwo.\nArabic: أ.\nب."
    assert rendered([(name, texts[:1]) for name, texts in sides], "lines") == "English: One.\nArabic: أ."
    assert rendered([(name, texts[:1]) for name, texts in sides], "blocks") == "English: One.\nArabic: أ."


groups = st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.integers(1, 30), st.integers(1, 30)), max_size=30)


@given(groups, st.integers(1, 100))
def test_groups_are_runs_of_a_document_up_to_a_length(given, characters):
    read = [Pair(str(number), doc, "s" * one, "t" * other) for number, (doc, one, other) in enumerate(given)]
    made = list(grouped(iter(read), characters))
    assert [pair for group in made for pair in group] == read
    sizes = [sum(len(pair.source) + len(pair.target) for pair in group) for group in made]
    for place, group in enumerate(made):
        assert len({pair.group for pair in group}) == 1
        assert len(group) == 1 or (group[0].group is not None and sizes[place] <= characters)
    for place in range(len(made) - 1):
        first, then = made[place][-1], made[place + 1][0]
        if first.group is not None and first.group == then.group:
            assert sizes[place] + len(then.source) + len(then.target) > characters, "cut without need"


def test_every_pair_is_in_a_document_in_its_order(tmp_path):
    records = [pair(number, doc=f"d{number // 10}") for number in range(300)]
    records += [pair(number) for number in range(300, 400)]
    file = write_jsonl(tmp_path / "pairs.jsonl", records)
    output, summary, ledger = run(tmp_path, {"news": source(file)}, characters=600)
    documents = lines(output / "news.jsonl")
    shown = [both for document in documents for both in taken_apart(document)]
    assert shown == [(record["src"], record["tgt"]) for record in records]
    assert all(d["src"].split("\n") == [one for one, _ in taken_apart(d)] for d in documents)
    assert all(d["tgt"].split("\n") == [other for _, other in taken_apart(d)] for d in documents)
    assert all(len(d["src"]) + len(d["tgt"]) <= 600 + d["pairs"] * 2 for d in documents)
    assert [d["pairs"] for d in documents if d["doc"] is None] == [1] * 100
    assert len({d["id"] for d in documents}) == len(documents) == summary.documents
    assert summary.pairs == 400 == ledger["news"]["kept"]["documents"]
    assert ledger["news"]["read"] == ledger["news"]["kept"]
    assert ledger["news"]["read"]["characters"] == sum(len(r["src"] + r["tgt"]) for r in records)
    assert {(d["language"], d["target_language"], d["domain"]) for d in documents} == {("en", "ar", "news")}


def test_half_of_each_direction_and_form(tmp_path):
    file = write_jsonl(tmp_path / "pairs.jsonl", [pair(n, doc=n // 4) for n in range(2400)])
    output, *_ = run(tmp_path, {"x": source(file)}, characters=9999)
    documents = lines(output / "x.jsonl")
    assert len(documents) == 600
    counts = {}
    for document in documents:
        first = document["text"].partition(":")[0]
        form = "lines" if document["text"].count("English: ") == 4 else "blocks"
        counts[first, form] = counts.get((first, form), 0) + 1
    assert len(counts) == 4
    assert all(110 <= number <= 190 for number in counts.values()), counts  # 150, and 3.8 standard deviations
    for form in PARTS:
        output, *_ = run(tmp_path, {"x": source(file)}, name=form, form=form)
        assert {d["text"].count("English: ") for d in lines(output / "x.jsonl")} == {4 if form == "lines" else 1}
    same, *_ = run(tmp_path, {"x": source(file)}, name="same", characters=9999)
    other, *_ = run(tmp_path, {"x": source(file)}, name="other", characters=9999, seed=2)
    assert content_hash(same) == content_hash(tmp_path / "parallel") != content_hash(other)


def test_what_is_no_pair_is_counted(tmp_path):
    good = pair(1)
    faults = {
        "empty_text": [{**good, "src": " \n"}, {**good, "tgt": ""}],
        "untranslated": [{**good, "tgt": good["src"] + " "}],
        "length_ratio": [{**good, "tgt": good["tgt"] * 9}, {**good, "src": "a"}],
        "missing_text": [{"src": "a"}, {**good, "tgt": None}, {**good, "src": 3}, {**good, "tgt": ["x"]}],
        "invalid_utf8": [{**good, "src": "lone \ud800 surrogate"}],
    }
    file = write_jsonl(tmp_path / "pairs.jsonl", [good, *(r for records in faults.values() for r in records), pair(2)])
    with file.open("ab") as stream:
        stream.write(b'{"src": "cut o\n\xff\xfe\n')
    output, summary, ledger = run(tmp_path, {"x": source(file)})
    dropped = {reason: counts["documents"] for reason, counts in ledger["x"]["dropped"].items()}
    wanted = {reason: len(records) for reason, records in faults.items()} | {"invalid_json": 1}
    wanted["invalid_utf8"] += 1
    assert dropped == wanted == summary.dropped
    assert [document["src"] for document in lines(output / "x.jsonl")] == [good["src"], pair(2)["src"]]
    for unit in ("documents", "characters", "bytes"):
        total = ledger["x"]["kept"][unit] + sum(counts[unit] for counts in ledger["x"]["dropped"].values())
        assert ledger["x"]["read"][unit] == total
    details = [sample["detail"] for sample in ledger["x"]["samples"]["missing_text"]]
    assert "field 'tgt' is not there (fields: src)" in details


def test_mistakes_in_the_settings(tmp_path):
    file = write_jsonl(tmp_path / "pairs.jsonl", [{"en": "a b", "ar": "ا ب"}])
    with pytest.raises(UserError, match=r"field 'src' is not there \(fields: ar, en\).*parallel.sources.x.text="):
        run(tmp_path, {"x": source(file)})
    with pytest.raises(UserError, match="'x': pairs have a language and a target_language"):
        run(tmp_path, {"x": Source(path=str(file), language="en")}, name="again")
    output, *_ = run(tmp_path, {"x": source(file, text="en", target_text="ar")}, name="right")
    assert [document["src"] for document in lines(output / "x.jsonl")] == ["a b"]


def test_paths_inside_an_artifact(tmp_path):
    write_jsonl(tmp_path / "world" / "parallel" / "en-ar.jsonl", [pair(1)])
    text = Artifact(tmp_path / "world", "world", "text", "world", "", "", {}, {}, {}, {})
    output, *_ = run(tmp_path, {"x": source("parallel/en-ar.jsonl")}, text=text)
    assert lines(output / "x.jsonl")[0]["pairs"] == 1


def test_a_language_may_be_paired_with_itself(tmp_path):
    file = write_jsonl(tmp_path / "pairs.jsonl", [{"src": "He is ill.", "tgt": "He is not well."}])
    paraphrases = Source(path=str(file), language="en", target_language="en")
    output, *_ = run(tmp_path, {"x": paraphrases})
    text = lines(output / "x.jsonl")[0]["text"].split("\n")
    assert sorted(text) == ["English: He is ill.", "English: He is not well."]


def test_lengths():
    assert not lengths_differ("Hello, my dear friends.", "你好，朋友们。")
    assert not lengths_differ("No.", "كلا، ليس كذلك البتة")
    assert lengths_differ("No.", sentences(ARABIC, 1, 1))
    assert lengths_differ(sentences(ENGLISH, 1, 8), sentences(ARABIC, 1, 2))


@pytest.mark.parametrize("language", ["ar", "zh", "ko", "ru"])
def test_real_pairs(tmp_path, data, language):
    folder = data / "parallel" / f"en-{language}"
    given = Source(path=str(folder), language="en", target_language=language, domain="parallel")
    output, summary, ledger = run(tmp_path, {"real": given}, group="source", characters=1000)
    entry = ledger["real"]
    records = list(read_records(str(folder), stage="test", source="real"))
    assert not any(isinstance(record, Broken) for record in records)
    assert entry["read"]["documents"] == len(records)
    assert entry["read"]["documents"] == entry["kept"]["documents"] + sum(
        c["documents"] for c in entry["dropped"].values()
    )
    assert entry["kept"]["documents"] >= 0.985 * entry["read"]["documents"]
    assert entry["dropped"].get("length_ratio", {"documents": 0})["documents"] < 0.001 * len(records)
    documents = lines(output / "real.jsonl")
    assert sum(document["pairs"] for document in documents) == entry["kept"]["documents"] == summary.pairs
    kept = {str(record.value["src"]).strip() for record in records if isinstance(record, Record)}
    assert all(one in kept for one in documents[0]["src"].split("\n"))
    assert max(len(d["text"]) for d in documents if d["pairs"] > 1) < 3000


def test_the_command(tmp_path):
    file = write_jsonl(tmp_path / "pairs.jsonl", [pair(n, doc="d") for n in range(9)])
    sources = json.dumps({"x": {"path": str(file), "language": "en", "target_language": "ar"}})
    command = ["make-parallel", "--out", tmp_path / "o" / "out", "--sources"]
    done = diglot(*command, sources)
    assert done.returncode == 0, done.stderr
    assert "pairs 9" in done.stdout
    assert sum(document["pairs"] for document in lines(tmp_path / "o" / "out" / "x.jsonl")) == 9
    bad = diglot(*command, sources.replace("target_language", "target"))
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr
