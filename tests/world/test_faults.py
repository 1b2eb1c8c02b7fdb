"""Labelled faults are what their labels say, and clean documents are clean."""

from collections import defaultdict
from random import Random

from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from world_files import SETTINGS, Generated

from diglot.world import faults

TEXT = st.lists(
    st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]), max_size=40
).map(" ".join)


def oracle(one: str, other: str) -> float:
    """Jaccard of word 5-grams, written another way."""
    grams = [{" ".join(text.split()[i : i + 5]) for i in range(max(0, len(text.split()) - 4))} for text in (one, other)]
    union = grams[0].union(grams[1])
    return len(grams[0].intersection(grams[1])) / len(union) if union else 0.0


@given(TEXT, TEXT)
@examples(100)
def test_jaccard_agrees_with_another_implementation(one: str, other: str) -> None:
    assert faults.jaccard(one, other) == oracle(one, other) == faults.jaccard(other, one)


def test_duplicates_have_the_similarity_of_their_label(generated: Generated) -> None:
    similarities = []
    for language in SETTINGS["languages"]:
        records = {record["id"]: record for record in generated.records(f"text/{language}")}
        for record in records.values():
            assert (
                ("of" in record)
                == ("similarity" in record)
                == (record["fault"] in ("near_duplicate", "exact_duplicate"))
            )
            if "of" in record:
                original = records[record["of"]]
                assert original["fault"] is None
                assert abs(record["similarity"] - oracle(original["text"], record["text"])) < 1e-6
                if record["fault"] == "exact_duplicate":
                    assert record["text"] == original["text"]
                else:
                    assert record["text"] != original["text"]
                    similarities.append(record["similarity"])
    assert 0.3 < min(similarities) < 0.6
    assert max(similarities) > 0.85


def test_clean_documents_are_not_duplicates_of_each_other(generated: Generated) -> None:
    for language in SETTINGS["languages"]:
        grams = [
            faults.shingles(record["text"])
            for record in generated.records(f"text/{language}")
            if record["fault"] is None
        ]
        holders = defaultdict(list)
        for index, shingles in enumerate(grams):
            for shingle in shingles:
                holders[shingle].append(index)
        shared: dict[tuple[int, int], int] = defaultdict(int)
        for indexes in holders.values():
            for i, one in enumerate(indexes):
                for other in indexes[i + 1 :]:
                    shared[one, other] += 1
        worst = max(count / (len(grams[a]) + len(grams[b]) - count) for (a, b), count in shared.items())
        assert worst < 0.6


def test_faults_look_like_what_they_are_called(generated: Generated) -> None:
    for language in SETTINGS["languages"]:
        for record in generated.records(f"text/{language}"):
            text, fault = record["text"], record["fault"]
            arabic = sum("\u0600" <= c <= "\u06ff" for c in text) / sum(c.isalpha() for c in text)
            if fault is None:
                assert (arabic > 0.99) if language == "ar" else (text.isascii() and arabic == 0), record
                assert "  " not in text
            elif fault == "wrong_language" and language == "ar":
                assert arabic == 0
            elif fault == "broken_encoding":
                assert any(0x80 <= ord(c) < 0x100 or c == "\ufffd" for c in text), record
            elif fault == "repeated_lines":
                assert max(text.split("\n").count(line) for line in text.split("\n")) >= 12
            elif fault == "spam":
                assert "http" in text or sum(not c.isalnum() and c != " " for c in text) > 10


@given(st.integers())
@examples(50)
def test_mojibake_can_be_undone(seed: int) -> None:
    """It is real text, wrongly decoded: encoding it back gives the Arabic again."""
    text = "تعيش ميريلا فيلسو في أومبر. هي خبازة."
    broken = faults.broken_encoding(Random(seed), text)
    if "\ufffd" not in broken:
        while broken != text:
            broken = broken.encode("latin-1").decode()
