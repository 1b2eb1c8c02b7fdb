"""A model and a judge behind one server in the test: what they say follows from what they are asked, and is kept."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent / "questions"
FILES = {"en": str(HERE / "en.jsonl"), "ar": str(HERE / "ar.jsonl")}
QUALITY = re.compile(r"\(quality (\d+)\)")
MARKED = re.compile(r"<<(\w{8}) ([^>]+)>>\n(.*?)\n<<\1 end>>", re.DOTALL)


class Answering:
    """An ASGI server: `model` answers as `answer` says, `judge` by the last quality that an answer names.

    Attributes:
        bodies: of all requests.
        answer: of the model, by its messages; None refuses.
        verdict: of the judge, by its prompt and what it would say.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answer: Callable[[list[dict[str, str]]], str | None] = lambda messages: (
            f"Answer {len(messages)} (quality 5)"
        )
        self.verdict: Callable[[str, str], str] = lambda prompt, said: said

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["method"] == "GET":
            await self._reply(send, 200, {"data": []})
            return
        text = b""
        while (message := await receive())["type"] == "http.request":
            text += message["body"]
            if not message.get("more_body"):
                break
        body = json.loads(text)
        self.bodies.append(body)
        said = (
            self.answer(body["messages"]) if body["model"] == "model" else self.judged(body["messages"][-1]["content"])
        )
        if said is None:
            await self._reply(send, 400, {"error": {"message": "I do not answer this"}})
            return
        choice = {"message": {"content": said}, "finish_reason": "stop"}
        await self._reply(send, 200, {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})

    def judged(self, prompt: str) -> str:
        """A score is the quality of the answer; of a pair the better one wins."""
        marked = {what: QUALITY.findall(text) for _, what, text in MARKED.findall(prompt)}
        if "answer" in marked:
            said = marked["answer"][-1]
        else:
            a, b = (int(marked[f"answer {side}"][-1]) for side in "AB")
            said = "A" if a > b else "B" if b > a else "tie"
        return self.verdict(prompt, f"Because.\nVerdict: {said}")

    @staticmethod
    async def _reply(send, status: int, value: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(value).encode()})


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]
