"""The process that runs chat templates: they are programs that come with downloaded models.

Jinja's sandbox keeps them from files and from Python, but not from running for ever or filling the memory (`'a' * 10**10`,
nested loops, `{% set x = x ~ x %}`). So they run in a process of their own, which the system stops: limits on processor
time, memory and what is written. It reads requests and writes answers as lines of JSON:

    {"template": "…", "values": {"messages": […]}}       values: null only compiles
    {"text": "…"}  or  {"fails": "TypeError: …"}

It runs as a script and imports nothing of Diglot: it starts in a tenth of a second.
"""

from __future__ import annotations

import functools
import json
import math
import resource
import sys
import time
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.utils
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

MEMORY_BYTES = 2**30  # of addresses; Python and Jinja take 50 MB
MOST_CHARACTERS = 10_000_000  # that a template may write


def main(seconds: int) -> None:
    """Answer requests until there are no more.

    Args:
        seconds: of processor time that each may take; then the system ends the process.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + seconds, hard))
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(request: dict[str, Any]) -> dict[str, str]:
    """Compile a template, and render it where there are values."""
    try:
        template = compiled(request["template"])
        text = "" if request["values"] is None else template.render(**request["values"])
    except Exception as error:  # somebody else's program
        return {"fails": f"{type(error).__name__}: {str(error)[:1000]}"}
    if len(text) > MOST_CHARACTERS:
        return {"fails": f"it writes more than {MOST_CHARACTERS:,} characters"}
    return {"text": text}


@functools.lru_cache(16)
def compiled(text: str) -> jinja2.Template:
    """A template in the environment that transformers gives it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise,
        "namespace": _Namespace,
        "dict": lambda *pairs, **values: dict(*pairs, **values),  # a class would have methods to call
    }
    return environment.from_string(text)


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


if __name__ == "__main__":
    main(int(sys.argv[1]))
