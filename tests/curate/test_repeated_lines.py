"""Repeated lines and paragraphs are taken out of all documents but the first, as plain Python does it."""

import json
import random
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from corpus_files import ARABIC, ENGLISH, sentences
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.curate.dedup import repeated_lines

MENU = "Home | About us | Contact | Login"
COOKIES = "نستخدم ملفات تعريف الارتباط لتحسين تجربتك"


def run(folder, shards, kind, limit, order=None):
    """Both passes over shards of texts; returns what is left by shard, and all that `remove` returned."""
    files = [folder / f"{number}.npy" for number in range(len(shards))]
    for number in order or range(len(shards)):
        repeated_lines.write_units(files[number], pa.array(shards[number], pa.large_string()), kind, number)
    repeated_lines.build_table(files, limit, folder / "table.npy", map)
    table = repeated_lines.load(folder / "table.npy", kind)
    taken = [repeated_lines.remove(pa.array(texts, pa.large_string()), n, table) for n, texts in enumerate(shards)]
    return [texts.to_pylist() for texts, _, _ in taken], taken


def split(text, kind):
    """Units with what ends them: lines, or paragraphs with the blank lines before and one after."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    if kind == "lines":
        return lines
    units, unit = [], ""
    for line in lines:
        begun = any(not is_punctuation(c) and not c.isspace() for c in unit)
        unit += line
        if not line.strip() and begun and line.endswith("\n"):
            units.append(unit)
            unit = ""
    return [*units, unit]


def is_punctuation(character):
    category = unicodedata.category(character)
    return category[0] in "PS" or category in ("Cc", "Cf")


def normal(unit):
    kept = "".join(c.lower() if len(c.lower()) == 1 else c for c in unit if c.isspace() or not is_punctuation(c))
    letters = sum(len(c.encode()) for c in kept if not c.isspace())
    return " ".join(kept.split()) if letters >= repeated_lines.SHORTEST else None


def naive(shards, kind, limit):
    first, documents = {}, Counter()
    for number, texts in enumerate(shards):
        for row, text in enumerate(texts):
            for unit in {normal(unit) for unit in split(text, kind)} - {None}:
                documents[unit] += 1
                first.setdefault(unit, (number, row))
    goes = {unit for unit, count in documents.items() if count > limit}
    return [
        [
            "".join(u for u in split(text, kind) if normal(u) not in goes or first[normal(u)] == (number, row))
            for row, text in enumerate(texts)
        ]
        for number, texts in enumerate(shards)
    ]


def corpus(seed, documents=60):
    rng = random.Random(seed)
    texts = []
    for place in range(documents):
        lines = sentences(rng.choice([ENGLISH, ARABIC]), seed * 1000 + place, 6).split("\n")
        for common in (MENU, MENU.upper() + "!", f"\n{COOKIES}\n", "Short one", "", "  "):
            if rng.random() < 0.3:
                lines.insert(rng.randrange(len(lines) + 1), common)
        texts.append("\n".join(lines))
    return [texts[:20], [], texts[20:21], texts[21:]]


@pytest.mark.parametrize("kind", ["lines", "paragraphs"])
@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_as_plain_python(tmp_path, kind, limit):
    shards = corpus(limit)
    left, taken = run(tmp_path, shards, kind, limit)
    assert left == naive(shards, kind, limit)
    for (texts, characters, _), before in zip(taken, shards, strict=True):
        after = [len(text) for text in texts.to_pylist()]
        assert (characters + after).tolist() == [len(text) for text in before]
    assert (left != shards) == (limit < 1000)


units = st.lists(
    st.sampled_from([MENU, MENU.lower(), COOKIES, "ok", "", " ", "\t", "© ™", "a longer line of text, once or twice", "İstanbul'da bir gün geçirdik"]),
    max_size=8,
).map("\n".join)  # fmt: skip


@examples(150)
@given(st.lists(st.lists(units, max_size=4), min_size=1, max_size=4), st.sampled_from(["lines", "paragraphs"]), st.integers(1, 3))  # fmt: skip
def test_any_layout_as_plain_python(tmp_path_factory, shards, kind, limit):
    assert run(tmp_path_factory.mktemp("units"), shards, kind, limit)[0] == naive(shards, kind, limit)


def test_neither_the_order_of_shards_nor_the_ranges_of_the_count_matter(tmp_path, monkeypatch):
    shards = corpus(7)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    plain = run(tmp_path / "one", shards, "lines", 2)
    monkeypatch.setattr(repeated_lines, "MEMORY", 2000)
    ranged = run(tmp_path / "two", shards, "lines", 2, order=[3, 1, 0, 2])
    assert plain[0] == ranged[0]
    assert (tmp_path / "one" / "table.npy").read_bytes() == (tmp_path / "two" / "table.npy").read_bytes()
    assert sorted(file.name for file in (tmp_path / "two").iterdir()) == [
        "0.npy",
        "1.npy",
        "2.npy",
        "3.npy",
        "table.npy",
    ]


def test_the_commonest_are_shown_as_they_first_stand(tmp_path):
    shards = corpus(9)
    _, taken = run(tmp_path, shards, "lines", 3)
    shown = dict(unit for _, _, shown in taken for unit in shown)
    both = sum(any("home" in line.lower() for line in text.split("\n")) for texts in shards for text in texts)
    menus = [count for line, count in shown.items() if "home" in line.lower()]
    assert menus == [both]
    cookies = sum(COOKIES in text.split("\n") for texts in shards for text in texts)
    assert shown[COOKIES] == cookies


def test_documents_past_a_word_of_bits_are_told_apart(tmp_path):
    """20,000 documents in a shard, and shards with large numbers."""
    texts = pa.array([f"{MENU}\nNumber {place} of many documents" for place in range(20_000)], pa.large_string())
    numbers = [1, (5000 << 20 | 3) << 8 | 2]
    files = [tmp_path / f"{number}.npy" for number in numbers]
    for file, number in zip(files, numbers, strict=True):
        repeated_lines.write_units(file, texts, "lines", number)
    repeated_lines.build_table(files, 10, tmp_path / "table.npy", map)
    table = repeated_lines.load(tmp_path / "table.npy", "lines")
    assert np.sort(table.units["documents"]).tolist() == [40_000]
    first, second = (repeated_lines.remove(texts, number, table)[1] for number in numbers)
    assert first.tolist() == [0] + [len(MENU) + 1] * 19_999
    assert second.tolist() == [len(MENU) + 1] * 20_000


def test_the_boilerplate_of_the_invented_world_is_found(tmp_path, context):
    """Every notice is taken out of all documents but the first, and nothing else is."""
    from diglot.recipe.world import World
    from diglot.world import generate
    from diglot.world.faults import BOILERPLATE

    wanted = World(documents={"en": 1500, "ar": 1500}, pairs=0, instructions=0, preferences=0, items=20)
    generate.run(wanted, {}, tmp_path, context)
    for language in ("en", "ar"):
        content = (tmp_path / "text" / f"{language}.jsonl").read_text("utf-8")
        records = [json.loads(line) for line in content.split("\n") if line]
        assert sum(record.get("fault") == "boilerplate" for record in records) > 15
        texts = [record["text"] for record in records]
        (tmp_path / language).mkdir()
        left, taken = run(tmp_path / language, [texts[:700], texts[700:]], "lines", 15)
        lines_left = Counter(line for part in left for text in part for line in text.split("\n"))
        assert {lines_left[notice] for notice in BOILERPLATE[language]} == {1}
        assert {unit for _, _, shown in taken for unit, _ in shown} == set(BOILERPLATE[language])
