"""How things are shown: every kind of number and text in the form that people read."""

import pytest

from diglot.base.format import (
    digits,
    duration,
    energy,
    excerpt,
    gibibytes,
    join,
    megabytes,
    number,
    one_line,
    printable,
    scientific,
    share,
    short,
    words,
)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (number(950), "950"), (number(12_300), "12,300"), (number(5_230_000), "5.23 million"), (number(None), "–"),
        (short(950), "950"), (short(12_300), "12,300"), (short(123_400), "123k"), (short(999_600), "1M"),
        (short(13_906_790_400), "13.9B"), (short(640e9), "640B"), (short(1234e12), "1,234T"), (short(3.14159), "3.142"),
        (short(1234.5), "1,234"), (short(None), "–"),
        (digits(0.00412), "0.00412"), (digits(31.62), "31.6"), (digits(51_200.4), "51,200"), (digits(141.23, 4), "141.2"),
        (digits(float("-inf")), "−∞"), (digits(float("nan")), "–"), (digits(None), "–"),
        (short(float("inf")), "∞"), (short(float("nan")), "–"),
        (scientific(3e-4), "3e-4"), (scientific(2.5e-5), "2.5e-5"), (scientific(0.3), "0.3"), (scientific(1.0), "1"),
        (scientific(8.84e10), "8.84e10"), (scientific(0), "0"),
        (share(1, 8), "12.5%"), (share(0.4), "40.0%"), (share(1, 0), "–"),
        (duration(4.21), "4.2 s"), (duration(59.94), "59.9 s"), (duration(192), "3 min 12 s"), (duration(5400), "1 h 30 min"),
        (duration(7500), "2 h 05 min"), (duration(2_136_752), "24.7 days"), (duration(None), "–"),
        (megabytes(1020.2), "1,020 MB"), (megabytes(None), "–"),
        (gibibytes(2**28), "0.25"), (gibibytes(1.5 * 2**30), "1.5"), (gibibytes(137 * 2**30), "137"),
        (energy(72_900), "72.9 MWh"), (energy(3.1), "3.1 kWh"), (energy(0.00012), "0.12 Wh"),
        (words("near_duplicate"), "near duplicate"), (join("abc"), "a, b and c"), (join([]), ""),
    ],
)  # fmt: skip
def test_numbers_and_names_are_readable(shown: str, text: str) -> None:
    assert shown == text


def test_no_text_can_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\tc\n\x9bd") == "a\ufffd[31mb\ufffd\tc\n\ufffdd"
    assert one_line("a\tb\x00c\u200d\n") == "a·b·c\u200d·"
    assert excerpt("x" * 400) == "x" * 299 + "…"
    assert excerpt("short\x00", 6) == "short\ufffd"
