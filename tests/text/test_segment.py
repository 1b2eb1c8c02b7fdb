import json
from importlib import resources

import budoux
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.text.segment import model_name, segment
from diglot.text.unicode import text_array

MODELS = ("ja", "ja_word", "th", "zh-hans", "zh-hant")
LANGUAGES = {"ja": ("ja", "ja_word"), "zh": ("zh-hans", "zh-hant"), "th": ("th",), "en": ("ja_word", "th")}


def package_segments(text: str, name: str) -> list[str]:
    """What the package's own parser says, stretch by stretch between whitespace."""
    model = json.loads(resources.files("budoux").joinpath("models", f"{name}.json").read_text("utf-8"))
    parser = budoux.Parser(model)
    return [segment for stretch in text.split() for segment in parser.parse(stretch)]


def check(texts: list[str], name: str) -> None:
    found = segment(text_array([text.encode() for text in texts]), name)
    assert found == [package_segments(text, name) for text in texts]


@pytest.mark.parametrize("name", MODELS)
def test_segments_are_the_packages_on_written_examples(name):
    texts = [
        "今日は天気です。",
        "无论你使用哪种操作系统，你一定会遇到某个行为失常的应用",
        "กลุ่มสามารถเพิ่มผู้ใช้ภายนอก",
        "",
        " ",
        "a",
        "今 日",
        "x\n今日は\n\n天気",
    ]
    check(texts, name)


@given(
    st.lists(st.text(st.sampled_from("今日は天気です。、の中国人操作系统กลุ่มสามารถ ab1\n😀"), max_size=40), max_size=4),
    st.sampled_from(MODELS),
)
@examples(200)
def test_segments_are_the_packages_on_any_text(texts, name):
    check(texts, name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_segments_are_the_packages_on_real_text(data, language):
    from diglot.read.files import Record, read_records

    records = read_records(str(data / "raw_text" / language), stage="t", source="t", limit=60)
    texts = [record.value["text"][:3000] for record in records if isinstance(record, Record)]
    for name in LANGUAGES[language]:
        check(texts, name)


def test_each_language_has_its_model():
    languages = ("zh", "zh-Hant", "zh-TW", "yue", "ja", "th", "en", "lo", "ko", None)
    expected = ["zh-hans", "zh-hant", "zh-hant", "zh-hant", "ja_word", "th", None, None, None, None]
    assert [model_name(language) for language in languages] == expected
