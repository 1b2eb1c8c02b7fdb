"""The finer settings of the stage: sorting by language, URLs, repeated lines, contamination, models, learnt rules."""

import json
import random

import pytest
from corpus_files import ARABIC, ENGLISH, SPANISH, sentences, write_jsonl
from curate_run import documents, run
from summaries import EMPTY_CORPUS

from diglot.base.artifact import Artifact, Context, Inputs, write_manifest
from diglot.base.errors import UserError
from diglot.curate import learn_rules
from diglot.quality import classifier, ngram
from diglot.recipe.curate import Deduplication, LearnRules, Rules
from diglot.recipe.quality import TrainClassifier, TrainNgram
from diglot.recipe.source import Decontamination, Source


def balanced(ledger):
    for name, account in ledger.items():
        parts = [account["kept"], account["held_out"], *account["dropped"].values()]
        assert account["read"]["documents"] == sum(part["documents"] for part in parts), name
    return True


def artifact(path, kind, do, summary=EMPTY_CORPUS):
    """A folder that a stage wrote, as the next one is given it."""
    artifact = Artifact(path, path.name, kind, do, "f", "c", {}, {}, summary, {})
    write_manifest(path, artifact)
    return artifact


def test_a_source_is_sorted_by_language(tmp_path):
    texts = [sentences(words, i) for i in range(30) for words in (ENGLISH, ARABIC, SPANISH)]
    write_jsonl(tmp_path / "web.jsonl", [*({"text": text} for text in texts), {"body": "x"}, {"text": ""}])
    source = Source(path=str(tmp_path / "web.jsonl"), languages=["ar", "en", "de"], domain="web")
    output, summary, ledger = run(tmp_path, {"web": source}, held_out=0.1)
    assert set(ledger) == {"web", "web-ar", "web-en"}
    assert balanced(ledger)
    assert {name: account["language"] for name, account in ledger.items()} == {
        "web": "und", "web-ar": "ar", "web-en": "en",
    }  # fmt: skip
    assert ledger["web-ar"]["read"]["documents"] == ledger["web-en"]["read"]["documents"] == 30
    assert ledger["web"]["dropped"]["wrong_language"]["documents"] == 30
    assert ledger["web"]["dropped"]["missing_text"]["documents"] == 1
    assert summary.documents.read == 92
    for row in documents(output) + documents(output, "heldout"):
        assert row["source"] == f"web-{row['language']}"
        assert any("\u0600" <= letter <= "\u06ff" for letter in row["text"]) == (row["language"] == "ar")
    with pytest.raises(UserError, match="'web-ar'; give one of them another name"):
        run(tmp_path, {"web": source, "web-ar": Source(path=str(tmp_path / "web.jsonl"), language="ar")})


def test_cut_offs_by_language_and_by_source(tmp_path):
    mixed = [f"{sentences(ENGLISH, i, 2)} {sentences(SPANISH, i, 2)}" for i in range(40)]
    write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in mixed + [sentences(ENGLISH, i) for i in range(9)]])
    given = {"path": str(tmp_path / "a.jsonl"), "language": "en"}
    strict = run(tmp_path, {"s": Source(**given)}, language_confidence_of={"en": 0.99})[2]["s"]
    free = run(tmp_path, {"s": Source(**given, language_confidence=0.0)})[2]["s"]
    lost = [sum(a["dropped"].get(r, {"documents": 0})["documents"] for r in ("wrong_language", "low_confidence"))
            for a in (strict, free)]  # fmt: skip
    assert lost[0] > 10
    assert lost[1] == 0


def test_of_documents_with_the_same_url_the_first_stays(tmp_path):
    records = [{"id": f"d{i}", "link": f"https://x.org/{i % 10}", "text": sentences(ENGLISH, i)} for i in range(15)]
    write_jsonl(tmp_path / "a.jsonl", [*records, {"id": "none", "text": sentences(ENGLISH, 99)}])
    source = Source(path=str(tmp_path / "a.jsonl"), language="en", url="link")
    output, _, ledger = run(tmp_path, {"s": source}, held_out=0.0)
    assert ledger["s"]["dropped"]["same_url"]["documents"] == 5
    rows = {row["id"]: row for row in documents(output)}
    assert set(rows) == {f"d{i}" for i in range(10)} | {"none"}
    assert [rows[f"d{i}"]["cluster_size"] for i in (0, 4, 5)] == [2, 2, 1]
    assert rows["d3"]["url"] == "https://x.org/3"
    assert rows["none"]["url"] is None
    assert len(documents(run(tmp_path, {"s": source}, held_out=0.0, deduplication=Deduplication(url=False))[0])) == 16


@pytest.mark.parametrize("workers", [1, 3])
def test_lines_and_paragraphs_found_too_often_stay_in_the_first_document_only(tmp_path, workers):
    notice, menu = "We use cookies to improve your experience.", "Home | About this site | Contact us today"
    texts = []
    for i in range(60):
        own = sentences(ENGLISH, i, 20)
        texts.append(
            f"{menu}\n{own}\n\n{notice.upper() if i % 2 else notice}\n\nmore of {own[40:90]}" if i % 3 else own
        )
    write_jsonl(tmp_path / "a.jsonl", [{"id": f"{i:02}", "text": text} for i, text in enumerate(texts)])
    source = Source(path=str(tmp_path / "a.jsonl"), language="en")
    output, _, ledger = run(
        tmp_path, {"s": source}, workers, held_out=0.0, deduplication=Deduplication(lines=10, paragraphs=10)
    )
    assert balanced(ledger)
    rows = sorted(documents(output), key=lambda row: row["id"])
    assert [row["id"] for row in rows if "cookies" in row["text"].lower()] == ["01"]
    assert [row["id"] for row in rows if menu in row["text"]] == ["01"]
    taken = ledger["s"]["corrected"]["repeated"]
    assert taken["documents"] == 39
    assert taken["characters"] >= 39 * (len(menu) + len(notice))
    shown = {unit["line"]: unit["documents"] for unit in json.loads((output / "repeated.json").read_text())}
    assert shown == {menu: 40, notice.upper(): 40}


def test_documents_with_evaluation_items_are_dropped(tmp_path):
    items = [{"question": sentences(ENGLISH, 500 + i, 2), "answers": ["yes"]} for i in range(5)]
    write_jsonl(tmp_path / "eval.jsonl", items)
    records = [{"id": f"d{i}", "text": sentences(ENGLISH, i)} for i in range(20)]
    records[7]["text"] += "\n" + items[3]["question"].upper()
    write_jsonl(tmp_path / "a.jsonl", records)
    _output, _, ledger = run(
        tmp_path, {"s": Source(path=str(tmp_path / "a.jsonl"), language="en")},
        decontamination=Decontamination(path=str(tmp_path / "eval.jsonl")),
    )  # fmt: skip
    assert ledger["s"]["dropped"] == {"contaminated": ledger["s"]["dropped"]["contaminated"]}
    (sample,) = ledger["s"]["samples"]["contaminated"]
    assert (sample["id"], sample["detail"]) == ("d7", "shares text with evaluation item eval.jsonl:4")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A reference corpus, one of shuffled words, and models that tell them apart."""
    folder = tmp_path_factory.mktemp("judged")
    rng = random.Random(1)
    follows = {word: rng.sample(ENGLISH, 4) for word in ENGLISH}

    def told(number):
        words = ["the"]
        while len(words) < 150:
            words.append(rng.choice(follows[words[-1]]))
        return {"text": " ".join(words) + f" {number}."}

    good = [told(number) for number in range(600)]
    bad = [{"text": " ".join(rng.sample(words, len(words)))} for words in (told(n)["text"].split() for n in range(600))]
    corpora = {}
    for name, records in (("good", good), ("bad", bad)):
        write_jsonl(folder / f"{name}.jsonl", records)
        place = folder / name
        place.mkdir()
        source = Source(path=str(folder / f"{name}.jsonl"), language="en")
        output, *_ = run(place, {name: source}, language_confidence=0.0, rules=Rules(set="none"),
                         deduplication=Deduplication(minhash=False))  # fmt: skip
        corpora[name] = artifact(output, "corpus", "curate")
    models = []
    for settings, stage in ((TrainNgram(order=3), ngram), (TrainClassifier(), classifier)):
        output = folder / settings.do
        output.mkdir()
        scratch = folder / f"scratch-{settings.do}"
        scratch.mkdir()
        inputs = Inputs({"corpus": [corpora["good"]], "negatives": [corpora["bad"]]})
        summary = stage.run(settings, inputs, output, Context("q", 1, scratch))
        assert summary.languages["en"].separation.auc > 0.9
        models.append(artifact(output, "quality", settings.do, summary))
    return folder, corpora, models


def test_quality_models_are_signals_that_rules_look_at(judged, tmp_path):
    folder, _, models = judged
    records = [
        {**json.loads(line), "id": f"{name}{place}"}
        for name in ("good", "bad")
        for place, line in enumerate((folder / f"{name}.jsonl").read_text().split("\n")[:200])
    ]
    write_jsonl(tmp_path / "both.jsonl", records)
    sources = {"both": Source(path=str(tmp_path / "both.jsonl"), language="en")}
    limits = {"max_perplexity_rank": 0.98, "min_quality": 0.02}
    output, _, ledger = run(
        tmp_path, sources, inputs=Inputs({"quality": models}), language_confidence=0.0, held_out=0.0,
        rules=Rules(set="none", limits=limits), deduplication=Deduplication(minhash=False),
    )  # fmt: skip
    kept = [row["id"] for row in documents(output)]
    assert sum(name.startswith("good") for name in kept) > 180
    assert sum(name.startswith("bad") for name in kept) < 20
    assert set(ledger["both"]["dropped"]) <= {"max_perplexity_rank", "min_quality"}
    row = documents(output)[0]
    assert 0 <= row["perplexity_rank"] <= 0.98
    assert row["perplexity"] > 1
    with pytest.raises(UserError, match=r"max_perplexity_rank .*from: \{quality: STAGE\}"):
        run(tmp_path, sources, rules=Rules(limits=limits))


def test_limits_learnt_from_reference_text_are_applied(judged, tmp_path):
    folder, corpora, _ = judged
    output = tmp_path / "learnt"
    output.mkdir()
    inputs = Inputs({"corpus": [corpora["good"]]})
    learn_rules.learn(LearnRules(quantile=0.02), inputs, output, Context("learn", 1, tmp_path))
    source = Source(path=str(folder / "good.jsonl"), language="en")
    _, _, ledger = run(
        tmp_path, {"good": source}, inputs=Inputs({"rules": [artifact(output, "rules", "learn-rules")]}),
        language_confidence=0.0,
    )  # fmt: skip
    dropped = sum(counts["documents"] for counts in ledger["good"]["dropped"].values())
    assert 0 < dropped < 0.25 * 600
    assert json.loads((tmp_path / "corpus" / "signals.json").read_text())["good"]["top_2gram"]["high"] != 0.2


def test_samples_are_random_and_the_same_whatever_the_workers(tmp_path):
    records = [{"id": f"d{i:03}", "text": sentences(ENGLISH, i)} for i in range(300)]
    write_jsonl(tmp_path / "a.jsonl", records + [{"id": f"short{i:03}", "text": f"Too short {i}"} for i in range(100)])
    source = Source(path=str(tmp_path / "a.jsonl"), language="en")
    (_, _, one), (_, _, other) = (run(tmp_path, {"s": source}, workers) for workers in (1, 4))
    assert one == other
    shown = [sample["id"] for sample in one["s"]["samples"]["min_characters"]]
    assert len(set(shown)) == 5
    assert shown != sorted(shown) or shown[0] != "short000"
    assert len(one["s"]["kept_samples"]) == 5


def test_what_is_shown_holds_no_controls(tmp_path):
    texts = ["\x1b[31mred\x00 and short", "\x07\x9b0m bell", *(sentences(ENGLISH, i) for i in range(9))]
    write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    output, _, ledger = run(tmp_path, {"s": Source(path=str(tmp_path / "a.jsonl"), language="en")})
    assert sum(len(samples) for samples in ledger["s"]["samples"].values()) == 2
    shown = (output / "ledger.json").read_text()
    assert not [character for character in json.loads(json.dumps(shown)) if ord(character) < 32 and character != "\n"]
    assert "\\u001b" not in shown
    assert "\ufffd[31mred" in shown


def test_a_field_within_another(tmp_path):
    records = [{"translation": {"en": sentences(ENGLISH, i, 2), "ar": sentences(ARABIC, i, 2)}} for i in range(20)]
    write_jsonl(tmp_path / "a.jsonl", [*records, {"translation": {"en": "only English"}}, {"translation": "none"}])
    source = Source(
        path=str(tmp_path / "a.jsonl"), language="en", target_language="ar", text="translation.en",
        target_text="translation.ar",
    )  # fmt: skip
    _, _, ledger = run(tmp_path, {"pairs": source})
    assert ledger["pairs"]["kept"]["documents"] + ledger["pairs"]["held_out"]["documents"] == 20
    assert ledger["pairs"]["dropped"]["missing_text"]["documents"] == 2


def test_pairs_keep_the_lines_that_repeat(tmp_path):
    notice = "We use cookies to improve your experience."
    pairs = [{"src": f"{sentences(ENGLISH, i, 1)}\n{notice}", "tgt": sentences(ARABIC, i, 1)} for i in range(30)]
    write_jsonl(tmp_path / "a.jsonl", pairs)
    source = Source(path=str(tmp_path / "a.jsonl"), language="en", target_language="ar")
    output, _, _ = run(tmp_path, {"pairs": source}, deduplication=Deduplication(lines=3), held_out=0.0)
    rows = documents(output)
    assert len(rows) == 30
    assert all(notice in row["text"] for row in rows)
