"""A server that speaks OpenAI's chat API over HTTP, in a process of its own, and can be told to misbehave.

    python chat_server.py FOLDER        reads FOLDER/behaviour.json, writes FOLDER/port and FOLDER/requests.jsonl

It "translates" the last paragraphs of the prompt (after the first blank line): every word becomes an Arabic word, always
the same one. behaviour.json: `delay` (seconds), `key` (required), `usage` (false: says none), `newer` (knows the limit
as max_completion_tokens only), and `rules`: for texts that contain `word`, for the first `times` of each text: `do`.

A prompt that shows tasks gets tasks for an answer, some of them bad. One that shows answers gets a verdict: of two the one with
more Arabic letters is better (`judge: first`: whatever stands first), and an answer that says "cannot" has refused. A request
with a seed gets an answer with a word of its own.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from corpus_files import ARABIC, ENGLISH

LOCK, SEEN = threading.Lock(), Counter()


class Server:
    """A chat server in a process of its own."""

    def __init__(self, folder, **behaviour):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "behaviour.json").write_text(json.dumps(behaviour))
        (folder / "port").unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, __file__, folder])
        for _ in range(1000):
            if (folder / "port").exists():
                break
            time.sleep(0.02)
        self.port = int((folder / "port").read_text())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    @property
    def requests(self):
        file = self.folder / "requests.jsonl"
        return [json.loads(line) for line in file.read_text().split("\n") if line] if file.exists() else []

    @property
    def texts(self):
        return [request["text"] for request in self.requests]

    def stop(self):
        self.process.kill()
        self.process.wait()


def translated(text: str, words: list[str] = ARABIC) -> str:
    def one(word: str) -> str:
        return words[int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little") % len(words)]

    return "\n".join(" ".join(one(word) for word in line.split()) + "." for line in text.split("\n"))


def written(text: str) -> str:
    """Seventeen tasks in Arabic, always the same for a text; some of them planted faults, by their number."""
    rng = random.Random(text)
    tasks = []
    for number in range(4, 21):
        words = [" ".join(rng.choices(ARABIC, k=rng.randint(7, 12))) for _ in range(3)]
        instruction, given, output = words[0] + "؟", rng.choice(["<noinput>", words[1]]), words[2] + "."
        if number == 5:
            output += " https://example.org"
        if number == 6:
            output = ""
        if number == 7:
            instruction = " ".join(rng.choices(ENGLISH, k=60)) + "?"
        if number == 8:
            instruction = tasks[0].partition("Instruction: ")[2].partition("\n")[0]
        if number == 9:
            given = " ".join(instruction.split()[:3])
        if number == 10:
            given = instruction + " " + words[1]
        tasks.append(f"{number}. Instruction: {instruction}\n{number}. Input:\n{given}\n{number}. Output:\n{output}\n")
    return "\n".join(tasks)


def judged(text: str) -> str:
    """A verdict on what stands between the marks (diglot/endpoint/judging.py)."""
    shown = dict(re.findall(r"^<<\w+ (answer\w*(?: [AB])?)>>\n(.*?)\n<<\w+ end>>$", text, re.S | re.M))
    if "answer" in shown:
        return f"Reasons.\n\nVerdict: {'refused' if 'cannot' in shown['answer'] else 'complied'}"
    arabic = {name: len(re.findall("[\u0620-\u06ff]", shown[f"answer {name}"])) for name in "AB"}
    best = "tie" if arabic["A"] == arabic["B"] else max(arabic, key=arabic.__getitem__)
    return f"Reasons.\n\nVerdict: {'A' if BEHAVIOUR.get('judge') == 'first' else best}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "text/html" if isinstance(value, str) else "application/json")
        self.send_header("content-length", str(len(body)))
        for name, header in (headers or {}).items():
            self.send_header(name, header)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client was killed
            self.wfile.write(body)

    def error(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        self.reply(status, {"error": {"message": message, "code": code}}, headers)

    def do_GET(self) -> None:
        self.reply(200, {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 0, "owned_by": "me"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body["messages"][-1]["content"].partition("\n\n")[2]
        with LOCK:
            SEEN[text] += 1
            number = SEEN[text]
            with (FOLDER / "requests.jsonl").open("a") as stream:
                stream.write(json.dumps({"text": text, "body": body, "time": time.time()}) + "\n")
        time.sleep(BEHAVIOUR.get("delay", 0))
        key = self.headers.get("authorization", "").removeprefix("Bearer ")
        if key != BEHAVIOUR.get("key", key):
            self.error(401, f"Incorrect API key provided: {key}")
        elif body["model"] != "tiny":
            self.error(404, "The model does not exist", "model_not_found")
        elif BEHAVIOUR.get("newer") and "max_tokens" in body:
            self.error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        else:
            if "seed" in body:
                text = f"{text} {body['seed']}"
            rule = next((r for r in BEHAVIOUR.get("rules", []) if r["word"] in text and number <= r["times"]), None)
            self.obey(rule["do"] if rule else "answer", text, key)

    def obey(self, what: str, text: str, key: str) -> None:
        if what == "busy":
            self.error(429, "slow down", **{"retry-after": "1"})
        elif what == "come back tomorrow":
            self.error(429, "slow down", **{"retry-after": "86400"})
        elif what == "broke":
            self.error(429, "no credit", "insufficient_quota")
        elif what == "crash":
            self.error(500, f"internal error; your key is {key}")
        elif what == "refuse":
            self.error(400, "this is not a text that I want to read")
        elif what == "hang":
            time.sleep(3)
        elif what == "hang up":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
        elif what == "busy without a time":
            self.error(429, "slow down")
        elif what == "no choices":
            self.reply(200, {"id": "x", "object": "chat.completion", "choices": []})
        elif what == "no JSON":
            self.reply(200, '{"choices": [{"message": {"content": "Verdict: A')
        elif what == "page":
            self.reply(200, "<html>Welcome to the wireless network of this hotel!</html>")
        elif what == "die":
            os._exit(1)
        else:
            answers = {
                "cut off": translated(text)[:20], "english": translated(text, ENGLISH), "copy": text, "nothing": "",
                "half a character": translated(text) + "\ud83d", "a list": [translated(text)],
                "chatter": translated(text + " word" * 500), "blank lines": "\n\n".join(ARABIC[:3]),
                "cut tasks": written(text)[:-9], "no verdict": "Both have their merits.",
                "forged": "Verdict: A\n" + judged(text) if "<<" in text else "",
            }  # fmt: skip
            own = (
                written(text) if "Instruction: " in text else judged(text) if "Verdict: " in text else translated(text)
            )
            answer = answers.get(what, own)
            usage = {
                "prompt_tokens": "NaN" if what == "no count" else len(text),
                "completion_tokens": len(answer),
                "total_tokens": 0,
            }
            ends = {"cut off": "length", "cut tasks": "length", "filter": "content_filter"}
            finish = ends.get(what, "stop")
            message = {"role": "assistant", "content": answer}
            choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            fields = {"usage": usage} if BEHAVIOUR.get("usage", True) else {}
            self.reply(
                200,
                {"id": "x", "object": "chat.completion", "created": 0, "model": "tiny", "choices": [choice], **fields},
            )


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    BEHAVIOUR = json.loads((FOLDER / "behaviour.json").read_text())
    server = ThreadingHTTPServer(("127.0.0.1", BEHAVIOUR.get("port", 0)), Handler)
    server.daemon_threads = True
    temporary = FOLDER / "port.tmp"
    temporary.write_text(str(server.server_address[1]))
    temporary.replace(FOLDER / "port")
    server.serve_forever()
