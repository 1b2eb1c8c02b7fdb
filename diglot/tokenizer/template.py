"""Chat templates: the Jinja texts in a tokenizer's folder that say how a conversation is written.

They come with downloaded models, so they run in Jinja's sandbox, in a process with limits (template_process.py), and in
the environment that transformers gives them, but for one thing: there is no clock (`strftime_now`). Templates that write
today's date have a fixed one for that case (Llama-3.2: 26 Jul 2024), and a corpus must be encoded alike on every day.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError

FILE = "chat_template.jinja"
SECONDS = 10  # of processor time for one conversation; those of real models take a thousandth


def read_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The chat template of a tokenizer's folder.

    Args:
        folder: a Hugging Face folder.
        config: its tokenizer_config.json, where older folders have the template: a text, or several by name.

    Raises:
        UserError: it is not UTF-8 text.
    """
    file = folder / FILE
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not UTF-8 text (byte {error.start})") from error
    template = config.get("chat_template")
    if isinstance(template, list):
        entries = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = entries[-1].get("template") if entries else None
    if template is not None and not isinstance(template, str):
        raise UserError(f"{folder}: chat_template: a text is wanted, not {type(template).__name__}")
    return template


class TemplateFailure(Exception):
    """A chat template that does not work."""


class Template:
    """A chat template.

    Args:
        text: Jinja; kept.
        special: the tokenizer's special tokens by name (`bos_token`, …), which templates write by these names.

    Raises:
        TemplateFailure: `text` is not Jinja.
    """

    def __init__(self, text: str, special: Mapping[str, str]):
        self.text, self._special = text, dict(special)
        answer = _process().ask({"template": text, "values": None})
        if "fails" in answer:
            raise TemplateFailure(f"it is not Jinja: {answer['fails']}")

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The text of a conversation, and of the tools that it may call.

        Raises:
            TemplateFailure: the template raises an exception, by accident or because it does not take such messages, or it
                takes too long, too much memory, or writes too much.
        """
        values = {
            "messages": [dict(message) for message in messages],
            "add_generation_prompt": add_generation_prompt,
            "tools": [dict(tool) for tool in tools] or None,
            "documents": None,
            **self._special,
        }
        answer = _process().ask({"template": self.text, "values": values})
        if "fails" in answer:
            roles = ", ".join(message["role"] for message in messages)
            raise TemplateFailure(f"given {roles}, it raises {answer['fails']}")
        return answer["text"]


class _Process:
    """The process that runs the templates of this one, one at a time; see template_process.py."""

    def __init__(self) -> None:
        self.owner, self._lock = os.getpid(), threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, str]:
        """The answer to a request; a process that did not survive it is replaced at the next one."""
        with self._lock:
            child = self._child = self._child or self._start()
            assert child.stdin is not None
            assert child.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(json.dumps(request) + "\n")
                child.stdin.flush()
            if line := child.stdout.readline():
                return dict(json.loads(line))
            self._child, ended = None, child.wait()
            child.stdin.close()
            child.stdout.close()
        if ended == -signal.SIGXCPU:
            return {"fails": f"no end: it ran for {SECONDS} seconds"}
        return {"fails": f"an end of its process (exit code {ended})"}

    def _start(self) -> subprocess.Popen[str]:
        # Of its own session: Ctrl-C is for us. It ends when its input does, that is with us.
        script = Path(__file__).with_name("template_process.py")
        return subprocess.Popen(  # noqa: S603  (our own file)
            [sys.executable, "-P", str(script), str(SECONDS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip

    def end(self) -> None:
        """End the process, if it is ours: a fork comes here too."""
        if self._child and self.owner == os.getpid():
            self._child.kill()
            self._child.wait()


_ours: _Process | None = None


def _process() -> _Process:
    """The one of this process; a fork of another has that one's, whose answers would mix with its own."""
    global _ours
    if _ours is None or _ours.owner != os.getpid():
        _ours = _Process()
        atexit.register(_ours.end)
    return _ours
