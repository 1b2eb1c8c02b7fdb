"""Completions hold the bytes that they complete, and there are some for all bytes that text can hold."""

from hypothesis import given
from hypothesis import strategies as st

from diglot.tokenizer.completions import completions, whole_text


@st.composite
def parts_of_text(draw) -> bytes:
    data = draw(st.text(min_size=1, max_size=4)).encode()
    start = draw(st.integers(0, len(data) - 1))
    return data[start : draw(st.integers(start + 1, len(data)))]


@given(parts_of_text())
def test_every_completion_holds_the_bytes(data):
    found = list(completions(data))
    assert found
    assert all(data in text.encode() for text in found)
    assert len(found) < 10_000


def test_neighbours_of_the_script_come_first():
    assert next(completions("ب".encode() + b"\xd9")) == "ب\u0640"
    assert "بك" in set(completions(b"\xa8" + "ك".encode()))
    assert any("😀" in text for text in completions(b"\xf0\x9f\x98"))


def test_bytes_that_are_no_part_of_text_have_none():
    assert list(completions(b"\xff")) == []
    assert list(completions(b"a\xc3b")) == []
    assert whole_text(b"\xd9") is None
    assert whole_text("ك".encode()) == "ك"
