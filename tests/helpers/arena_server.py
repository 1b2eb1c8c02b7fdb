"""An arena over HTTP for tests: files of answers, and a person who votes."""

import http.client
import json
from pathlib import Path
from typing import Any

QUESTIONS = {
    "q1": ("ar", ["ما عاصمة مصر؟", "وما نهرها؟"]),
    "q2": ("ar", ["اكتب جملة بالإنجليزية."]),
    "q3": ("ar", ["من أنت؟"]),
    "e1": ("en", ["What is <b>bold</b>?"]),
}


def write_answers(file: Path, name: str) -> Path:
    """The answers of an entrant; two entrants never write the same."""
    rows = [
        {"id": id_, "language": language, "turns": turns, "answers": [f"جواب {name[::-1]} {place}" for place in range(len(turns))]}
        for id_, (language, turns) in QUESTIONS.items()
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return file


class Person:
    """One who uses the page; `status` is that of the last answer."""

    def __init__(self, port: int, language: str = "ar") -> None:
        self.connection, self.language, self.token = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=60),
            language,
            "",
        )
        self.status = 0

    def post(self, path: str, value: Any, **headers: str) -> dict[str, Any]:
        sent = {"content-type": "application/json", **({"x-arena-token": self.token} if self.token else {})}
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.connection.request("POST", f"/api/{path}", body, sent)
        response = self.connection.getresponse()
        self.status = response.status
        found: dict[str, Any] = json.loads(response.read())
        return found

    def begin(self) -> "Person":
        self.token = self.post("voter", {"language": self.language})["token"]
        return self

    def battle(self) -> dict[str, Any]:
        return self.post("battle", {"language": self.language})

    def vote(self, battle: str, choice: str, **headers: str) -> dict[str, Any]:
        return self.post("vote", {"battle": battle, "choice": choice}, **headers)
