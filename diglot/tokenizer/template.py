"""Chat templates: the Jinja texts in a tokenizer's folder that say how a conversation is written.

They come with downloaded models, so they run in Jinja's sandbox, in the environment that transformers gives them, but
for one thing: there is no clock (`strftime_now`). Templates that write today's date have a fixed one for that case
(Llama-3.2: 26 Jul 2024), and a corpus must be encoded alike on every day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.utils
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from diglot.base.errors import UserError

FILE = "chat_template.jinja"


def read_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The chat template of a tokenizer's folder.

    Args:
        folder: a Hugging Face folder.
        config: its tokenizer_config.json, where older folders have the template: a text, or several by name.

    Raises:
        UserError: the file is not UTF-8 text.
    """
    file = folder / FILE
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not UTF-8 text (byte {error.start})") from error
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template


class TemplateFailure(Exception):
    """A chat template that does not work."""


class Template:
    """A compiled chat template.

    Args:
        text: Jinja; kept.
        special: the tokenizer's special tokens by name (`bos_token`, …), which templates write by these names.

    Raises:
        TemplateFailure: `text` is not Jinja.
    """

    def __init__(self, text: str, special: Mapping[str, str]):
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {
            "raise_exception": _raise,
            "namespace": _Namespace,
            "dict": lambda *pairs, **values: dict(*pairs, **values),  # a class would have methods to call
        }
        self.text, self._special = text, dict(special)
        try:
            self._template = environment.from_string(text)
        except jinja2.TemplateError as error:
            raise TemplateFailure(f"it is not Jinja: {error}") from error

    def render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """The text of a conversation.

        Raises:
            TemplateFailure: the template raises an exception, by accident or because it does not take such messages.
        """
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self._special,
            )
        except Exception as error:  # somebody else's program
            roles = ", ".join(message["role"] for message in messages)
            raise TemplateFailure(f"given {roles}, it raises {type(error).__name__}: {error}") from error


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's words for those who train with transformers; here it is mere text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's `namespace` without underscored names, by which templates have left the sandbox."""

    def __init__(*args: Any, **values: Any) -> None:
        self, *rest = args
        values = dict(*rest, **values)
        for name in values:
            _refuse_underscore(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        super().__setitem__(name, value)


def _refuse_underscore(name: object) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a namespace must not have the name {name!r}")


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})  # Jinja's own would escape for HTML
