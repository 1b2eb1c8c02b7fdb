"""Documents that share text with an evaluation item are found, and no others."""

import random

import pyarrow as pa
import pytest
from corpus_files import ARABIC, ENGLISH, sentences, write_jsonl

from diglot.base.errors import UserError
from diglot.read import decontaminate
from diglot.recipe.source import Decontamination
from diglot.text.languages import is_unspaced


def table_of(folder, records, **settings):
    file = write_jsonl(folder / "items.jsonl", records)
    decontaminate.build(Decontamination(path=str(file), **settings), folder / "table.npz", None, "corpus")
    return decontaminate.load(folder / "table.npz")


def found(table, texts, language="en"):
    hits, items = decontaminate.contaminated(pa.array(texts, pa.large_string()), is_unspaced(language), table)
    return hits.tolist(), dict(zip(hits.nonzero()[0].tolist(), items, strict=True))


def naive(texts, items, n):
    """Whether a text has n words in a row of an item, or a shorter item of 8 words at least; plain Python."""

    def words(text):
        kept = "".join(c for c in text.lower() if c.isalnum() or c.isspace())
        return tuple(kept.split())

    runs = set()
    for item in map(words, items):
        if 8 <= len(item) < n:
            runs.add(item)
        runs |= {item[at : at + n] for at in range(len(item) - n + 1)}
    lengths = {len(run) for run in runs}
    return [
        any(own[at : at + size] in runs for size in lengths for at in range(len(own) - size + 1))
        for own in map(words, texts)
    ]


@pytest.mark.parametrize("n", [8, 13])
def test_found_as_plain_python_finds_them(tmp_path, n):
    rng = random.Random(n)
    items = [" ".join(rng.choices(ENGLISH, k=rng.randint(3, 40))) for _ in range(60)]
    texts = []
    for place in range(200):
        own = sentences(ENGLISH, place, 8)
        item = rng.choice(items).split()
        begin = rng.randrange(len(item))
        part = " ".join(item[begin : begin + rng.randint(5, 20)])
        texts.append(f"{own} {part.upper()}, {own[:40]}" if place % 2 else own)
    table = table_of(tmp_path, [{"question": item} for item in items], ngram=n)
    hits, _ = found(table, texts)
    assert hits == naive(texts, items, n)
    assert 10 < sum(hits) < 190


def test_the_item_is_named_and_fields_can_be_chosen(tmp_path):
    text = sentences(ARABIC, 5, 4)
    records = [{"q": "x", "a": "y"}, {"q": {"deep": [text]}, "a": sentences(ARABIC, 6, 4)}]
    document = sentences(ARABIC, 7, 3) + " " + text
    _, details = found(table_of(tmp_path, records), [sentences(ARABIC, 8, 9), document], "ar")
    assert details == {1: "shares text with evaluation item items.jsonl:2"}
    assert not any(found(table_of(tmp_path, records, fields=["a"]), [document], "ar")[0])


def test_unspaced_text_is_matched_by_characters(tmp_path):
    item = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜"
    texts = ["前面的话。" + item[:32] + "。后面的话", "前面的话。" + item[:25], "别的内容" * 20]
    assert found(table_of(tmp_path, [{"text": item}]), texts, "zh")[0] == [True, False, False]


def test_short_items_are_counted_and_fields_without_text_refused(tmp_path):
    file = str(
        write_jsonl(tmp_path / "items.jsonl", [{"q": "Who?", "a": sentences(ENGLISH, 1)}, {"q": "天地", "n": 3}])
    )
    built = decontaminate.build(Decontamination(path=file), tmp_path / "t.npz", None, "corpus")
    assert built == decontaminate.Built(items=2, texts=3, too_short=2)
    with pytest.raises(UserError, match="answer"):
        decontaminate.build(Decontamination(path=file, fields=["answer"]), tmp_path / "t.npz", None, "corpus")


def test_no_items_find_nothing_and_a_missing_set_is_said(tmp_path):
    assert found(table_of(tmp_path, [{"a": "short"}]), ["some text", ""])[0] == [False, False]
    with pytest.raises(UserError, match="nowhere"):
        decontaminate.build(Decontamination(path="nowhere"), tmp_path / "t.npz", tmp_path, "corpus")


@pytest.mark.slow
def test_real_contexts_are_found_in_text_that_holds_them(tmp_path, data):
    settings = Decontamination(path=str(data / "eval" / "xquad"), fields=["context"])
    decontaminate.build(settings, tmp_path / "table.npz", None, "corpus")
    table = decontaminate.load(tmp_path / "table.npz")
    from diglot.read.files import read_records

    records = [
        record.value
        for record in read_records(str(data / "eval" / "xquad"), stage="s", source="s")
        if "context" in record.value
    ]
    contexts = [record["context"] for record in records if record["context"].isascii()][:200]
    assert contexts
    clean = [sentences(ENGLISH, place, 20) for place in range(200)]
    hits, _ = found(table, [f"{text}\n{context}" for text, context in zip(clean, contexts, strict=False)] + clean)
    assert hits == [True] * len(contexts) + [False] * 200
