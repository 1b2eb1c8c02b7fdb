"""Conversations made from text: every answer is a piece of its document, the split is the corpus's, all is counted."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from curate_run import run as curate
from pydantic import ValidationError

from diglot.align import make
from diglot.align.messages import Refused, refuse_vocalised
from diglot.align.requests import FILE, load_requests
from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.summaries.summary import Summary
from diglot.read.corpus import two_sides
from diglot.recipe.align import MadeSource, MakeInstructions
from diglot.recipe.curate import Deduplication, Rules
from diglot.recipe.source import Source

ARABIC = ["خبز", "الخباز", "المدينة", "السوق", "يبيع", "الحداد", "الحديد", "كتاب", "بيت", "نهر", "جبل", "شجرة"]
WORDS = ["baker", "town", "bread", "market", "sells", "smith", "iron", "book", "house", "river", "hill", "tree"]
MARKED = "ذَهَبَ الوَلَدُ إلى المَدْرَسَةِ صَبَاحًا."


def text(words: list[str], number: int, sentences: int = 12) -> str:
    """Sentences that differ from those of other numbers."""
    random = Random(number)
    picked = [[random.choice(words) + random.choice(("", "", str(number))) for _ in range(9)] for _ in range(sentences)]
    return " ".join(f"{' '.join(one)}." for one in picked)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Arabic with and without titles, and pairs; a tenth is held out."""
    folder = tmp_path_factory.mktemp("corpus")
    titled = [{"id": f"n{i}", "text": text(ARABIC, i), "headline": f"عنوان الخبر {i}"} for i in range(300)]
    titled[0]["headline"], titled[1]["headline"] = 7, "عنوان\nمن سطرين"
    plain = [{"id": f"p{i}", "text": text(ARABIC, 1000 + i)} for i in range(200)]
    pairs = [{"id": f"q{i}", "src": text(WORDS, i, 1), "tgt": text(ARABIC, 5000 + i, 1)} for i in range(200)]
    for name, rows in {"news": titled, "plain": plain, "pairs": pairs}.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    free: dict[str, Any] = {"language_confidence": 0.0}
    sources = {
        "news": Source(path=str(folder / "news.jsonl"), language="ar", title="headline", **free),
        "plain": Source(path=str(folder / "plain.jsonl"), language="ar", **free),
        "pairs": Source(path=str(folder / "pairs.jsonl"), language="en", target_language="ar", **free),
    }
    output, *_ = curate(
        folder, sources, held_out=0.1, rules=Rules(set="none"), deduplication=Deduplication(minhash=False)
    )
    return artifact(output)


def artifact(path: Path) -> Artifact:
    given = {"fingerprint": "", "content": "", "settings": {}, "inputs": {}, "provenance": {}, "files": {}}
    return Artifact(path=path, stage="corpus", kind="corpus", do="curate", summary=Summary(), **given)


def documents(corpus: Artifact, split: str) -> dict[str, dict[str, Any]]:
    files = sorted((corpus.path / split).iterdir())
    return {row["id"]: row for file in files for row in pq.read_table(file).to_pylist()}


@pytest.fixture
def made(tmp_path: Path, context: Context, corpus: Artifact) -> Callable[..., tuple[list, list, dict]]:
    """Runs the stage: train, heldout, ledger by source."""

    def run(sources: dict[str, dict], **settings: Any) -> tuple[list, list, dict]:
        output = tmp_path / f"output{len(list(tmp_path.glob('output*')))}"
        output.mkdir()
        checked = MakeInstructions.model_validate({"do": "make-instructions", "sources": sources, **settings})
        make.run(checked, Inputs({"corpus": [corpus]}), output, context)
        rows = [
            [json.loads(line) for line in (output / name).read_text(encoding="utf-8").split("\n") if line]
            for name in ("train.jsonl", "heldout.jsonl")
        ]
        return *rows, json.loads((output / "ledger.json").read_text(encoding="utf-8"))["sources"]

    return run


ALL = {
    "into-arabic": {"kind": "translation", "language": "ar"},
    "into-english": {"kind": "translation", "language": "en"},
    "headlines": {"kind": "headline", "language": "ar"},
    "leads": {"kind": "lead", "language": "ar"},
    "continuations": {"kind": "continuation", "language": "ar"},
}


def test_answers_are_pieces_of_their_documents_and_the_split_is_the_corpus(made: Callable, corpus: Artifact) -> None:
    train, heldout, ledger = made(ALL)
    for rows, split in ((train, "documents"), (heldout, "heldout")):
        there = documents(corpus, split)
        assert rows
        for row in rows:
            document = there[row["id"]]
            request, answer = (message["content"] for message in row["messages"])
            if row["kind"] == "translation":
                sides = dict(two_sides(document["text"]) or ())
                assert answer == sides.pop(row["language"])
                assert next(iter(sides.values())) in request
                assert re.search(r"English|Arabic" if row["asked_in"] == "en" else "العربية|الإنجليزية", request)
            elif row["kind"] == "headline":
                assert answer == document["title"]
                assert document["text"][:100] in request
            elif row["kind"] == "lead":
                assert document["title"] in request
                assert document["text"].startswith(answer)
            else:
                assert document["text"][:100] in request
                assert answer in document["text"]
                assert answer not in request
            assert (row["origin"], row["language"]) == ("made", ALL[row["source"]]["language"])
            assert sum(len(message["content"]) for message in row["messages"]) <= 1500
    # A document gives one conversation, and every source got some.
    ids = [row["id"] for row in train + heldout]
    assert len(set(ids)) == len(ids)
    assert {row["source"] for row in train} == {row["source"] for row in heldout} == set(ALL)
    assert {entry["origin"] for entry in ledger.values()} == {"made"}
    titled = {row["id"] for row in train + heldout if row["kind"] in ("headline", "lead")}
    assert titled <= {f"n{number}" for number in range(2, 300)}  # a number or two lines are no title


def test_everything_drawn_is_accounted_for(made: Callable) -> None:
    train, heldout, ledger = made(ALL, min_words=3, max_characters=300)
    for name, entry in ledger.items():
        of_source = [[row for row in rows if row["source"] == name] for rows in (train, heldout)]
        assert [entry["kept"]["documents"], entry["held_out"]["documents"]] == list(map(len, of_source))
        parts = [entry["kept"], entry["held_out"], *entry["dropped"].values()]
        for measure in ("documents", "characters", "bytes"):
            assert entry["read"][measure] == sum(part[measure] for part in parts)
    assert (
        ledger["continuations"]["dropped"]["too_short"]["documents"] > 0
    )  # their sentences are too long for half of that


def test_a_limit_draws_by_the_seed(made: Callable) -> None:
    sources = {"c": {"kind": "continuation", "language": "ar", "limit": 40, "documents": ["plain"]}}
    train, heldout, ledger = made(sources, max_held_out=5)
    assert not ledger["c"]["dropped"]
    assert (len(train), len(heldout)) == (40, 5)
    assert all(row["id"].startswith("p") for row in train + heldout)
    assert made(sources, max_held_out=5)[0] == train
    other = made(sources, max_held_out=5, seed=1)[0]
    assert {row["id"] for row in other} != {row["id"] for row in train}
    # More are the same and some beside them.
    more = made({"c": {**sources["c"], "limit": 80}})[0]
    assert {row["id"] for row in train} < {row["id"] for row in more}


def test_requests_take_turns_in_words_and_languages(made: Callable) -> None:
    train, _, _ = made({"into-arabic": {"kind": "translation", "language": "ar"}})
    assert {row["asked_in"] for row in train} == {"en", "ar"}
    words = {row["messages"][0]["content"].split("\n")[0][:20] for row in train if row["asked_in"] == "ar"}
    assert len(words) >= 4
    train, _, _ = made({"into-arabic": {"kind": "translation", "language": "ar", "asked_in": ["en"]}})
    assert {row["asked_in"] for row in train} == {"en"}


def test_questions_of_a_passage_are_on_one_side(made: Callable, tmp_path: Path) -> None:
    rows = [
        {
            "context": text(ARABIC, number // 4, 3),
            "question": f" - كم عدد الكتب {number}؟ ",
            "answers": {"text": [f"{number}"], "answer_start": [0]} if number % 2 else [{"text": f" {number} "}],
        }
        for number in range(120)
    ]
    bad = [{"context": "x", "question": "y", "answers": []}, {"text": "x"}]
    file = tmp_path / "squad.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *bad]) + "{\n", encoding="utf-8")
    sources = {"reading": {"kind": "question", "language": "ar", "path": str(file)}}
    train, heldout, ledger = made(sources, held_out=0.2)
    sides = [{row["id"] for row in rows} for rows in (train, heldout)]
    assert min(map(len, sides)) >= 8
    assert len(sides[0] | sides[1]) == 120
    passages = [{int(row["messages"][1]["content"]) // 4 for row in side} for side in (train, heldout)]
    assert not passages[0] & passages[1]
    assert {row["messages"][1]["content"] for row in train + heldout} == {str(number) for number in range(120)}
    assert {reason: of["documents"] for reason, of in ledger["reading"]["dropped"].items()} == {
        "empty_answer": 1, "unknown_form": 1, "invalid_json": 1,
    }  # fmt: skip
    # The texts of a record as they stand there; what is no record has its bytes alone.
    assert {reason: of["characters"] for reason, of in ledger["reading"]["dropped"].items()} == {
        "empty_answer": 2, "unknown_form": 1, "invalid_json": 0,
    }  # fmt: skip


def test_vocalised_answers_are_refused_and_others_are_not() -> None:
    def said(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": MARKED}, {"role": "assistant", "content": answer}]

    with pytest.raises(Refused, match=r"vowel_marks: 0\.61"):
        refuse_vocalised(said(MARKED), 0.1)
    refuse_vocalised(said(MARKED), None)
    for plain in ("ذهب الولد إلى المدرسة صباحًا.", "Good morning.", "123", "חדשות היום"):
        refuse_vocalised(said(plain), 0.1)
    with pytest.raises(Refused, match="vowel_marks"):
        refuse_vocalised(said("חֲדָשׁוֹת הַיּוֹם"), 0.1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"kind": "continuation", "language": "th"},
            r"no requests of kind continuation in th; set asked_in to .*en, ar",
        ),
        ({"kind": "continuation", "language": "ar", "asked_in": ["id"]}, "no requests of kind continuation in id"),
        (
            {"kind": "headline", "language": "ar", "documents": ["plain"]},
            r"no documents with titles in \['plain'\]; say",
        ),
        ({"kind": "translation", "language": "fr"}, "the corpus has no pairs with a side in fr"),
        ({"kind": "continuation", "language": "en"}, "there are no documents in en"),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_to_do(made: Callable, source: dict, message: str) -> None:
    with pytest.raises(UserError, match=f"source 's': .*{message}"):
        made({"s": source})


def test_settings_that_do_nothing_are_refused() -> None:
    for wrong in (
        {"kind": "question"},
        {"kind": "lead", "path": "x.jsonl"},
        {"kind": "question", "path": "x.jsonl", "documents": ["news"]},
    ):
        with pytest.raises(ValidationError, match=r"path: for kind question|documents would do nothing"):
            MadeSource.model_validate({"language": "ar", **wrong})


def test_the_words_that_come_with_the_package() -> None:
    """Every kind has several in both languages, each with the places that it needs, and no two are alike."""
    needs = {
        "translation": {"text", "language"}, "headline": {"text"}, "lead": {"title"}, "continuation": {"text"},
        "question": {"text", "question"},
    }  # fmt: skip
    words = load_requests().words
    assert set(words) == set(needs) == set(make.MAKERS)
    for kind, by_language in words.items():
        assert set(by_language) == {"en", "ar"}
        for language, texts in by_language.items():
            assert len(set(texts)) == len(texts) >= 5
            for one in texts:
                assert set(re.findall(r"\{(\w*)\}", one)) == needs[kind]
                letters = re.sub(r"\{\w+\}", "", one)
                assert bool(re.search("[A-Za-z]", letters)) == (language == "en") or not letters.strip()
    names = yaml.safe_load(FILE.read_text("utf-8"))["languages"]["ar"]
    assert all(name.startswith("ال") or name == "العربية" for name in names.values())
