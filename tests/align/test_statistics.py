"""What is counted of conversations and pairs is what stands in the files."""

import json
from pathlib import Path

from diglot.align.statistics import measure, num_words
from diglot.base.summaries.corpus import ConversationStatistics, Lengths


def message(role: str, num: int) -> dict[str, str]:
    return {"role": role, "content": " ".join(["word"] * num)}


def write(folder: Path, records: list[dict]) -> None:
    lines = (json.dumps({"id": str(number), **record}) + "\n" for number, record in enumerate(records))
    (folder / "train.jsonl").write_text("".join(lines))


def test_turns_and_words_by_source(tmp_path: Path) -> None:
    call = {**message("assistant", 0), "tool_calls": [{}]}
    first = [message("system", 9), message("user", 3), call, message("tool", 50), message("assistant", 7)]
    second = [message("user", 8), message("assistant", 1), message("user", 2), message("assistant", 16)]
    chat = [{"source": "chat", "language": "en", "messages": messages} for messages in (first, second)]
    pair = {"prompt": second[:3], "chosen": [message("assistant", 4)], "rejected": [message("assistant", 5)]}
    write(tmp_path, [*chat, {"source": "pairs", "language": "ar", **pair}])
    assert measure(tmp_path) == {
        "chat": ConversationStatistics(
            "en", 2, {"1": 1, "2": 1},
            prompts=Lengths(3, 13, 3.0, [0, 2, 0, 1]),  # 3 and 2; 8
            responses=Lengths(4, 24, 4.0, [2, 0, 1, 0, 1]),  # none and 1; 7; 16
        ),
        "pairs": ConversationStatistics(
            "ar", 1, {"2": 1}, Lengths(2, 10, 5.0, [0, 1, 0, 1]), Lengths(2, 5, 2.5, [1, 0, 1]), Lengths(1, 5, 5.0, [0, 0, 1]),
        ),
    }  # fmt: skip


def test_characters_stand_for_words_where_these_have_no_spaces() -> None:
    assert num_words("面包师烤面包", "zh") == 2
    assert num_words("a baker bakes", "en") == 3


def test_of_nothing_there_is_nothing(tmp_path: Path) -> None:
    write(tmp_path, [])
    assert measure(tmp_path) == {}
