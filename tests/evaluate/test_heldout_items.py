"""Items made from held-out text."""

from diglot.evaluate.heldout import held_out_tasks
from diglot.text.continuations import CHOICE_WORDS, PROMPT_WORDS


def document(number: int, text: str, language: str = "en", domain: str = "web") -> dict[str, str]:
    return {"id": f"{language}-{number}", "text": text, "language": language, "source": "s", "domain": domain}


def long_text(number: int) -> str:
    return " ".join(f"w{number}x{place}" for place in range(PROMPT_WORDS + CHOICE_WORDS + 5))


def test_continuations_have_one_right_choice_of_equal_length() -> None:
    documents = [document(i, long_text(i)) for i in range(20)] + [document(99, "too short")]
    tasks, items = held_out_tasks(documents, 12, 0, "seed")
    assert list(tasks) == ["continuation-en"]
    assert len(items["continuation-en"]) == 12
    for item in items["continuation-en"]:
        number = item["id"].split("-")[1]
        assert len(set(item["choices"])) == 4
        assert {len(choice.split()) for choice in item["choices"]} == {CHOICE_WORDS}
        assert [choice.startswith(f"w{number}x") for choice in item["choices"]].index(True) == item["answer"]
        assert f"{item['prompt']} {item['choices'][item['answer']]}" in long_text(int(number))
    assert len({item["answer"] for item in items["continuation-en"]}) > 1
    assert held_out_tasks(documents, 12, 0, "seed") == (tasks, items)


def test_texts_that_go_on_alike_make_no_items() -> None:
    documents = [document(i, " ".join(["same"] * 60)) for i in range(9)]
    assert held_out_tasks(documents, 5, 5, "seed") == ({}, {})


def test_translations_are_cut_as_they_were_written() -> None:
    documents = [
        document(0, "English: A cat.\nArabic: قطة.", "en", "parallel"),
        document(1, "Arabic: كلب.\nEnglish: A dog: big.", "en", "parallel"),
        document(2, "English: a\nb\nArabic: ج", "en", "parallel"),
        document(3, "no label\nnone", "en", "parallel"),
    ]
    tasks, items = held_out_tasks(documents, 5, 5, "seed")
    assert items == {
        "translate-into-ar": [{"id": "en-0", "prompt": "English: A cat.\nArabic:", "reference": "قطة."}],
        "translate-into-en": [{"id": "en-1", "prompt": "Arabic: كلب.\nEnglish:", "reference": "A dog: big."}],
    }
    assert {name: (task.language, task.kind) for name, task in tasks.items()} == {
        "translate-into-ar": ("ar", "generation"),
        "translate-into-en": ("en", "generation"),
    }


def test_languages_without_spaces_are_left_out() -> None:
    documents = [document(i, long_text(i), "th") for i in range(9)]
    assert held_out_tasks(documents, 5, 0, "seed") == ({}, {})
