"""Whether answers are in the language in which they were asked for."""

import pytest

from diglot.align.seeds import seed_tasks
from diglot.text.consistency import in_language, share_right

ASKED = "ما عاصمة مصر؟"


@pytest.mark.parametrize(
    ("answer", "language", "asked", "found"),
    [
        ("عاصمة مصر هي القاهرة.", "ar", ASKED, True),
        ("The capital of Egypt is Cairo, which lies on the Nile.", "ar", ASKED, False),
        ("Cairo", "ar", ASKED, False),
        ("Cairo", "ar", None, None),  # nothing says in what script it should be
        ("42", "en", "What is 6 × 7?", None),
        ("", "ar", ASKED, None),
        ("Roma", "en", "Name the city.", None),
        ("تقع القاهرة على ضفاف نهر النيل في شمال مصر. " * 12 + "The city is the largest in Africa and the Arab world. " * 40, "ar", ASKED, False),
        ("Tala vahpama fi nuta.", "tlh", "Nuq?", None),  # a language that the identifier does not know
        ("عاصمة مصر", "tlh", "Nuq?", False),
    ],
)  # fmt: skip
def test_single_answers(answer: str, language: str, asked: str | None, found: bool | None) -> None:
    assert in_language([answer], language, None if asked is None else [asked]) == [found]


def test_hand_written_tasks_are_in_their_languages_and_in_no_other() -> None:
    """The seed tasks of three languages, each against its own and the two others'."""
    outputs = {
        code: [(seed.instruction, seed.output) for seed in seed_tasks(code) if "output" not in seed.keep]
        for code in ("ar", "en", "id")
    }
    shares = {}
    for wanted in outputs:
        asked = [seed.instruction for seed in seed_tasks(wanted)][:100]
        for written, pairs in outputs.items():
            answers = [output for _, output in pairs][: len(asked)]
            own = [question for question, _ in pairs][: len(asked)] if written == wanted else asked
            shares[wanted, written] = share_right(in_language(answers, wanted, own[: len(answers)]))
    assert all(share > 0.95 for (wanted, written), share in shares.items() if wanted == written), shares
    assert all(share < 0.1 for (wanted, written), share in shares.items() if wanted != written), shares
    assert share_right([None, None]) is None
    assert share_right([True, None, False]) == 0.5
