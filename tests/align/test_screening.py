"""What is kept out of instructions and preferences: evaluation sets, near repetitions, other languages."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus_files import ENGLISH, sentences

from diglot.align import instructions, preferences
from diglot.align.messages import Refused
from diglot.align.screen import Decontaminator, LanguageCheck, NearDuplicates
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.recipe.align import GatherInstructions, GatherPreferences
from diglot.recipe.source import Decontamination

ITEM = "the old lighthouse keeper counted thirteen ships before the fog rolled over the quiet northern harbour"
ENGLISH_TEXT = (
    "Bread is baked in the early morning, when the streets of the town are still dark and the ovens of the bakers have been "
    "hot for hours; by the time that the first customers arrive, the loaves are on the shelves and the whole shop smells of them."
)
ARABIC_TEXT = (
    "يخبز الخباز الخبز في الصباح الباكر حين تكون شوارع المدينة مظلمة وتكون الأفران ساخنة منذ ساعات، وعندما يصل الزبائن الأوائل تكون "
    "الأرغفة على الرفوف ورائحتها تملأ المكان كله، ثم يذهب الناس إلى أعمالهم."
)


def write(file: Path, records: list) -> str:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(file)


@pytest.fixture
def gather(tmp_path: Path, context: Context) -> Callable[..., tuple[Any, list[dict], dict]]:
    """Gathers records: summary, train, ledger."""

    def run(records: list[dict], language: str = "en", kind: str = "instructions", **settings: Any) -> tuple:
        schema, module = {
            "instructions": (GatherInstructions, instructions),
            "preferences": (GatherPreferences, preferences),
        }[kind]
        output = tmp_path / f"output{len(list(tmp_path.glob('output*')))}"
        output.mkdir()
        source = {"path": write(tmp_path / "data.jsonl", records), "language": language}
        checked = schema.model_validate({"sources": {"chat": source}, "held_out": 0.0, **settings})
        summary = module.run(checked, Inputs({}), output, context)
        assert not list(context.scratch.iterdir())
        lines = (output / "train.jsonl").read_text(encoding="utf-8").split("\n")
        ledger = json.loads((output / "ledger.json").read_text(encoding="utf-8"))["sources"]["chat"]
        return summary, [json.loads(line) for line in lines if line], ledger

    return run


def said(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize("place", ["question", "answer", "first turn"])
def test_what_shares_text_with_an_evaluation_set_is_dropped(gather: Callable, tmp_path: Path, place: str) -> None:
    evaluation = {"path": write(tmp_path / "eval.jsonl", [{"question": ITEM, "id": "x"}]), "fields": ["question"]}
    hidden = "Well: " + ITEM.upper().replace(" ", ",  ") + "!"
    bad = said(hidden, "yes") if place == "question" else said("What?", hidden)
    if place == "first turn":
        bad["messages"] += said("And then?", "Nothing.")["messages"]
    near = said("Why?", " ".join(ITEM.split()[:12]) + " and then it was noon")  # 12 words are no run of 13
    summary, train, ledger = gather([said("Who?", "I."), bad, near], decontamination=evaluation)
    assert [record["messages"][0]["content"] for record in train] == ["Who?", "Why?"]
    assert summary.dropped == {"contaminated": 1}
    assert ledger["samples"]["contaminated"][0]["detail"] == "shares text with evaluation item eval.jsonl:1"
    assert (summary.evaluation_sets.items, summary.evaluation_sets.texts) == (1, 1)


def test_pairs_are_compared_with_evaluation_sets_too(gather: Callable, tmp_path: Path) -> None:
    pairs = [{"prompt": f"Q{n}", "chosen": "good", "rejected": ITEM if n == 1 else "bad"} for n in range(3)]
    evaluation = {"path": write(tmp_path / "eval.jsonl", [{"text": ITEM}])}
    summary, train, _ = gather(pairs, kind="preferences", decontamination=evaluation)
    assert (len(train), summary.dropped) == (2, {"contaminated": 1})


def test_texts_without_spaces_are_compared_by_characters(tmp_path: Path, context: Context) -> None:
    """Whatever the source says: a message says itself what script it is in."""
    item = "昔々ある所に灯台守が住んでいて、毎晩十三隻の船を数えてから静かな北の港に霧が流れ込むのを見ていた。"
    settings = Decontamination(path=write(tmp_path / "eval.jsonl", [{"text": item}, {"text": ITEM}]))
    decontaminator = Decontaminator(settings, None, context)
    for text in (f"はい。{item}", ITEM):
        with pytest.raises(Refused, match="contaminated"):
            decontaminator.check(["x", text])
    decontaminator.check([item[:25], "", "\ud800"])


def test_near_repetitions_are_dropped_by_exact_similarity(gather: Callable) -> None:
    """Equal to a search of all pairs in plain Python."""
    rng = random.Random(0)
    texts = []
    for number in range(150):
        words = rng.choice(texts).split() if texts and number % 2 else sentences(ENGLISH, number, 12).split()
        for _ in range(rng.randrange(5)):
            words[rng.randrange(len(words))] = rng.choice(ENGLISH)
        texts.append(" ".join(words))

    def shingles(text: str) -> set[tuple[str, ...]]:
        words = "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()
        return {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))}

    kept: list[str] = []
    for text in dict.fromkeys(texts):
        own = shingles(text)
        if all(len(own & shingles(other)) / len(own | shingles(other)) < 0.8 for other in kept):
            kept.append(text)
    records = [said(text, f"Answer {number}.") for number, text in enumerate(dict.fromkeys(texts))]
    summary, train, _ = gather(records, near_duplicates=0.8)
    assert [record["messages"][0]["content"] for record in train] == kept
    assert summary.dropped == {"near_duplicate": len(records) - len(kept)}
    assert 10 < len(kept) < len(records) - 10, (len(kept), len(records))
    assert len(gather(records)[1]) == len(records)  # off where it is not asked for


def test_short_and_empty_questions_repeat_nothing_but_themselves() -> None:
    earlier = NearDuplicates(0.5)
    for number, text in enumerate(["Why?", "Who?", "?!", "?!", "نعم"]):
        earlier.check(str(number), text)
    with pytest.raises(Refused, match=r"near_duplicate: 1.00 similar to 0"):
        earlier.check("9", "why")


def test_several_pairs_of_a_question_are_no_repetitions(gather: Callable) -> None:
    pairs = [
        {"prompt": ENGLISH_TEXT, "chosen": sentences(ENGLISH, n, 3), "rejected": sentences(ENGLISH, 9 + n, 3)}
        for n in range(4)
    ]
    assert len(gather(pairs, kind="preferences", near_duplicates=0.8)[1]) == 4


CODE = (
    "```python\n" + "\n".join(f"def the_{n}(): return 'this is written in English words'" for n in range(9)) + "\n```"
)


@pytest.mark.parametrize(
    ("record", "is_kept"),
    [
        (said(ARABIC_TEXT, ARABIC_TEXT), True),
        (said("ما هذا؟", "خبز"), True),
        (said(ENGLISH_TEXT, ENGLISH_TEXT), False),
        (said("What?", ENGLISH_TEXT), False),
        (said("ترجم إلى الإنجليزية: " + ARABIC_TEXT, ENGLISH_TEXT), True),  # translations both ways
        (said(ENGLISH_TEXT, ARABIC_TEXT), True),
        (said("اكتب برنامجا", CODE), True),
        (said("اكتب", CODE + "\n" + ENGLISH_TEXT), True),  # one of two
        (said("Hi", "Hello"), True),  # too short to tell
        ({"messages": [*said("ما هذا؟", ENGLISH_TEXT)["messages"], *said(ENGLISH_TEXT, ENGLISH_TEXT)["messages"]]}, False),
    ],
)  # fmt: skip
def test_conversations_in_another_language_are_dropped_and_translations_are_not(record: dict, is_kept: bool) -> None:
    check = LanguageCheck(0.5, ["ar"])
    if is_kept:
        check.check(record["messages"], "ar")
    else:
        with pytest.raises(Refused, match=r"wrong_language: .*% of its messages: en"):
            check.check(record["messages"], "ar")


def test_the_language_is_checked_where_that_is_asked_for(gather: Callable) -> None:
    records = [said(ARABIC_TEXT, "نعم"), said("What?", ENGLISH_TEXT), said(ARABIC_TEXT, ENGLISH_TEXT)]
    assert gather(records, "ar")[0].dropped == {}
    assert gather(records, "ar", check_language=0.5)[0].dropped == {"wrong_language": 1}
    assert gather(records, "ar", check_language=0.0)[0].dropped == {"wrong_language": 2}
    pairs = [{"prompt": ARABIC_TEXT, "chosen": "نعم", "rejected": ENGLISH_TEXT}]  # rejected, perhaps for its language
    assert gather(pairs, "ar", "preferences", check_language=0.0)[0].dropped == {}
    with pytest.raises(UserError, match="check_language: the built-in identifier does not know 'xx'"):
        gather(records, "xx", check_language=0.5)


def test_real_languages_are_told(gather: Callable, data: Path, tmp_path: Path, context: Context) -> None:
    """Of the first 200 of LIMA in Vietnamese 15 were left in English: questions about code; as Arabic all but short ones are wrong."""
    source = {"path": str(data / "instruct" / "lima_vi.jsonl.zst"), "limit": 200}
    for language, wrong in (("vi", 15), ("ar", 193)):
        output = tmp_path / language
        output.mkdir()
        settings = GatherInstructions.model_validate(
            {"sources": {"x": {**source, "language": language}}, "check_language": 0.5, "max_characters": 100_000}
        )
        summary = instructions.run(settings, Inputs({}), output, context)
        assert summary.dropped["wrong_language"] == wrong
