"""Hostile chat templates end in a message, in bounded time and memory; others are rendered as before."""

import multiprocessing
from collections.abc import Iterator

import pytest

from diglot.tokenizer import template
from diglot.tokenizer.template import Template, TemplateFailure

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that gives each template a second."""
    monkeypatch.setattr(template, "SECONDS", 1)
    monkeypatch.setattr(template, "_ours", None)
    yield
    template._process().end()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "no end: it ran for 1 sec"),
        ("{{ lipsum(n=100000, html=False) }}", "no end: it ran for 1 sec"),
        ("{{ 10 ** (10 ** 9) }}", "no end: it ran for 1 sec"),
        ("{% for a in range(10 ** 10) %}{% endfor %}", "OverflowError"),
        ("{% set ns = namespace(x='a') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}", "MemoryError|no end"),
        ("{{ 'a' * 10 ** 10 }}", "MemoryError"),
        ("{{ 'a'.ljust(10 ** 10) }}", "MemoryError"),
        ("{{ '%09999999999d' % 1 }}", "MemoryError|OverflowError|ValueError"),
        ("{{ '{:>9999999999}'.format(1) }}", "MemoryError|ValueError|OverflowError"),
        ("{{ 'a' * 10 ** 8 }}", "writes more than 10,000,000 characters"),
        ("{{ messages|tojson(indent=10 ** 10) }}", "MemoryError"),
        ("{% macro x() %}{{ x() }}{% endmacro %}{{ x() }}", "RecursionError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages[0].role.undefined.thing }}", "UndefinedError"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("impatient")
def test_a_hostile_template_ends(text: str, says: str) -> None:
    with pytest.raises(TemplateFailure, match=says):  # some already where constants are folded
        Template(text, {}).render(HELLO, False)
    assert Template("{{ messages[0].content }}", {}).render(HELLO, False) == "hello"  # the next one is answered


@pytest.mark.parametrize("text", ["{{ " + "(" * 50_000, "{{ " + "[" * 3000 + "]" * 3000 + " }}", "{% if 1 %}" * 5000])
def test_deep_nesting_is_no_template(text: str) -> None:
    with pytest.raises(TemplateFailure, match="it is not Jinja: "):
        Template(text, {})


def test_what_is_said_arrives_as_it_is() -> None:
    echo = Template("{{ bos_token }}{{ messages[0].content }}{{ add_generation_prompt }}", {"bos_token": "<s>"})
    for content in ("عربي \U0001f600", "a\nb\r\n\u2028c", "\ud800", "\x00\x1b", "</s>{{ 7 * 7 }}", "x" * 100_000):
        assert echo.render([{"role": "user", "content": content}], True) == f"<s>{content}True"


def _render(answers: multiprocessing.Queue) -> None:
    answers.put([Template("{{ messages[0].content }}", {}).render(HELLO, False) for _ in range(50)])


def test_a_fork_has_a_process_of_its_own() -> None:
    ours = Template("{{ messages[0].role }}", {})
    assert ours.render(HELLO, False) == "user"
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue = context.Queue()
    fork = context.Process(target=_render, args=(answers,))
    fork.start()
    assert [ours.render(HELLO, False) for _ in range(50)] == ["user"] * 50
    assert answers.get(timeout=60) == ["hello"] * 50
    fork.join()
    assert ours.render(HELLO, False) == "user"
