"""How things are shown to people: texts cut and made safe, names in words, numbers, shares, sizes and durations.

There is one function a kind of thing, and the page, the terminal and the messages use the same ones. What is not known
(None) is a dash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

EXCERPT = 300  # characters
UNKNOWN = "–"
LARGE = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


# --- texts ----------------------------------------------------------------------------------------------------


def excerpt(text: str, characters: int = EXCERPT) -> str:
    """The beginning of a text, cut with an ellipsis, that can be shown anywhere."""
    return printable(text if len(text) <= characters else text[: characters - 1] + "…")


def printable(text: str) -> str:
    """The text with U+FFFD for controls and lone surrogates.

    A page may not hold them, a terminal would obey the ones, and the others cannot be encoded.
    """
    return _CONTROLS.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The text on one line, with a middle dot for each control, tabs and ends of lines included."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "·", text)


def without_password(text: str) -> str:
    """The text with *** for what stands before the @ of an address: `http://me:secret@host` has a password there."""
    return re.sub(r"//\S*@", "//***@", text)


def public_address(url: str) -> str:
    """An address without what may be secret in it: a password, or a key after the question mark."""
    shown = re.sub(r"^(\w+://)?.*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"[?#].*", "", shown, flags=re.DOTALL)


def words(name: str) -> str:
    """A name from a file in words: near_duplicate is near duplicate."""
    return name.replace("_", " ")


def join(parts: Iterable[str]) -> str:
    """Words in a row: a, b and c."""
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


# --- numbers --------------------------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """A count in a sentence: 950, 12,300, 5.2 million."""
    if value is None:
        return UNKNOWN
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if abs(value) >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:,.0f}"


def short(value: float | None) -> str:
    """A count where there is little room: 950, 12,300, 123k, 4.56M, 13.9B, 1.2T."""
    if value is None or not math.isfinite(value):  # a model that is broken scores NaN
        return digits(value)
    for size, letter in LARGE:
        if abs(value) >= max(0.9995 * size, 1e5):  # 999,600 is 1M and not 1000k
            return f"{value / size:.3g}{letter}" if abs(value) < 999.5 * size else f"{value / size:,.0f}{letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def digits(value: float | None, count: int = 3) -> str:
    """A measured number in so many digits, whole from 1,000 on: 0.00412, 31.6, 51,200."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{count}g}"


def scientific(value: float) -> str:
    """A number of any size in three digits, as people write learning rates and FLOPs: 3e-4, 0.3, 8.84e10."""
    if value == 0 or 0.1 <= abs(value) < 1000:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def share(part: float, whole: float = 1) -> str:
    """A share in percent: 12.3%."""
    return f"{part / whole:.1%}" if whole else UNKNOWN


# --- units ----------------------------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 4.2 s, 3 min 12 s, 2 h 05 min, 24.7 days."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{seconds / 86_400:,.1f} days"


def megabytes(value: float | None) -> str:
    """Megabytes with their unit: 1,020 MB."""
    return UNKNOWN if value is None else f"{value:,.0f} MB"


def gibibytes(size: float) -> str:
    """Bytes in GiB, without the unit: 0.25, 12.3, 137."""
    value = size / 2**30
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def energy(kilowatt_hours: float) -> str:
    """Energy with its unit: 412 MWh, 3.1 kWh, 12 Wh."""
    size, unit = next(((s, u) for s, u in ((1e3, "MWh"), (1, "kWh")) if kilowatt_hours >= s), (1e-3, "Wh"))
    return f"{digits(kilowatt_hours / size)} {unit}"
