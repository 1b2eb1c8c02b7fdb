"""Languages as people read them."""

import pytest

from diglot.text.languages import is_right_to_left, shown_language


@pytest.mark.parametrize(
    ("key", "shown"),
    [("ar", "Arabic"), ("en-ar", "English–Arabic"), ("zh-Hant", "Chinese"), ("my-web", "my-web"), ("", "")],
)
def test_languages_are_shown_by_name(key: str, shown: str) -> None:
    assert shown_language(key) == shown


def test_the_direction_of_a_language_is_that_of_its_base_code() -> None:
    assert is_right_to_left("ar")
    assert is_right_to_left("fa-AF")
    assert not is_right_to_left("en")
