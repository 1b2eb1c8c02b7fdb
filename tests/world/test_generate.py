"""The files that the stage writes: deterministic, counted, and refused where settings cannot be met."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from world_files import SETTINGS, Generated, generate

from diglot.base.errors import UserError
from diglot.world import faults
from diglot.world.generate import split

CHOICE_TASKS = ("cloze", "facts", "transfer")
LANGUAGES = SETTINGS["languages"]

SMALL = """
import sys
from pathlib import Path
from world_files import generate
generate(Path(sys.argv[1]), people=60, documents={"en": 60, "ar": 60, "id": 60}, pairs=50, instructions=40,
         preferences=30, items=20)
"""


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_settings_give_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    made = []
    root = Path(__file__).resolve().parents[1] / "helpers"
    for hash_seed in ("0", "1", "77"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root.parents[1])}
        subprocess.run([sys.executable, "-c", SMALL, str(folder)], check=True, env=environment, cwd=root)
        made.append(digests(folder))
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 3 + 2 + 6 + 6 + 4 * 3 + 4 + 1


def test_another_seed_gives_another_world(tmp_path: Path, generated: Generated) -> None:
    other = generate(tmp_path / "other", seed=6, documents={"en": 30, "ar": 30, "id": 30}, pairs=10, items=5)
    assert other.world.people["p0"].facts != generated.world.people["p0"].facts


def test_adding_a_language_does_not_change_the_people(tmp_path: Path) -> None:
    sizes = {"people": 60, "pairs": 5, "instructions": 5, "preferences": 5, "items": 5}
    two = generate(tmp_path / "two", languages=["en", "ar"], documents={"en": 9, "ar": 9}, **sizes)
    three = generate(tmp_path / "three", documents={"en": 9, "ar": 9, "id": 9}, **sizes)
    assert [p.facts for p in two.world.people.values()] == [p.facts for p in three.world.people.values()]


def test_the_summary_counts_what_is_in_the_files(generated: Generated) -> None:
    summary = generated.summary
    for language in LANGUAGES:
        records = generated.records(f"text/{language}")
        assert len(records) == summary.documents[language] == SETTINGS["documents"][language]
        assert sum(len(record["text"]) for record in records) == summary.characters[language]
        found = Counter(record["fault"] for record in records if record["fault"])
        assert found == summary.faults[language]
        assert found.total() == round(SETTINGS["faults"] * len(records))
        assert set(found) == set(faults.FAULTS)
        assert len({record["id"] for record in records}) == len(records)
        assert {record["domain"] for record in records} == {"wiki", "news", "books", "dialogue"}
    for name, count in summary.items.items():
        assert len(generated.items(name)) == count > 0
    for name in ("instructions", "preferences"):
        for part, count in getattr(summary, name).items():
            assert len(generated.split(name, part)) == count
    assert summary.instructions["train"] == 3 * SETTINGS["instructions"]
    for pair, count in summary.pairs.items():
        assert len(generated.records(f"parallel/{pair}")) == count


def test_choices_are_four_and_answers_are_balanced(generated: Generated) -> None:
    positions: Counter[int] = Counter()
    for task in CHOICE_TASKS:
        for language in LANGUAGES:
            for item in generated.items(f"{task}.{language}"):
                assert len(set(item["choices"])) == 4, item
                assert item["prompt"] == item["prompt"].strip()
                assert all(choice and choice == choice.strip() for choice in item["choices"]), item
                positions[item["answer"]] += 1
    assert set(positions) == {0, 1, 2, 3}
    for count in positions.values():
        assert 0.2 < count / positions.total() < 0.3


def test_the_right_choice_is_no_more_frequent_than_the_wrong_ones(generated: Generated) -> None:
    """Guessing the choice that is most often right over all items must stay near chance."""
    for task in ("cloze", "facts"):
        items = generated.items(f"{task}.en")
        right = Counter(item["choices"][item["answer"]] for item in items)
        offered = Counter(choice for item in items for choice in item["choices"])
        rate = {choice: right[choice] / offered[choice] for choice in offered}
        frequent = [choice for choice, count in offered.items() if count >= 20]
        assert all(rate[choice] < 0.7 for choice in frequent), sorted(rate.items(), key=lambda x: -x[1])[:5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"people": 5}, "people is 5"),
        ({"people": 9999}, "people is 9999"),
        ({"documents": {"en": 5}}, "documents says no number for ar, id"),
        ({"languages": ["en"], "documents": {"en": 5, "ar": 5}}, "documents has ar"),
        ({"languages": ["en", "en"], "documents": {"en": 5}}, "each may come once"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(tmp_path: Path, changes: dict, words: str) -> None:
    small = {"documents": {"en": 5, "ar": 5, "id": 5}, "pairs": 5, "instructions": 5, "preferences": 5, "items": 2}
    with pytest.raises(UserError, match=words):
        generate(tmp_path / "refused", **{**small, **changes})


def test_asking_for_more_than_the_world_holds_is_refused() -> None:
    made = [(f"question {i}", i % 2 == 0) for i in range(100)]
    assert sum(not heldout for _, heldout in split(iter(made), 40)) == 40
    assert list(split(iter(made), 0)) == []
    with pytest.raises(UserError, match="ask for fewer"):
        list(split(iter(made), 60))


def test_one_language_alone_works(tmp_path: Path) -> None:
    alone = generate(tmp_path / "alone", languages=["ar"], documents={"ar": 80})
    assert set(alone.summary.items) == {"cloze.ar", "facts.ar", "answers.ar"}
    assert alone.summary.pairs == {}
