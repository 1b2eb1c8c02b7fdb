"""What language identification looks at: windows of a text, and plain letters where it has compatibility forms.

Old PDFs have Arabic in presentation forms, and some pages have full-width or mathematical letters. They normalise (NFKC)
to the letters that a language is told by.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diglot.text.unicode import decode, kernel, text_buffers

WINDOW_BYTES = 400
NUM_WINDOWS = 3
FORMS_SHARE = 20  # a text of which one byte in so many is of compatibility forms is normalised


@kernel
def window_of(data, start, end, number):
    """Where a window of a long text begins and ends, on the bounds of characters.

    data uint8; start, end, number int64.
    """
    first = start + (end - start) * (2 * number + 1) // (2 * NUM_WINDOWS) - WINDOW_BYTES // 2
    last = first + WINDOW_BYTES
    while first < last and (data[first] & 0xC0) == 0x80:
        first += 1
    while last > first and (data[last] & 0xC0) == 0x80:
        last -= 1
    return first, last


def in_plain_forms(texts: pa.Array) -> pa.Array:
    """Texts (`large_string`), those normalised (NFKC) that have a twentieth in compatibility forms of letters."""
    data, offsets = text_buffers(texts)
    has_forms = np.zeros(len(texts), np.bool_)
    _find_forms(data, offsets, has_forms)
    if not has_forms.any():
        return texts
    odd = texts.filter(pa.array(has_forms)).to_pylist()
    plain = pa.array([unicodedata.normalize("NFKC", text) for text in odd], pa.large_string())
    return pc.replace_with_mask(texts, pa.array(has_forms), plain)


@kernel
def _find_forms(data, offsets, has_forms):
    """Which texts have compatibility forms in their windows; data uint8, offsets int64 [texts + 1], has_forms bool [texts]."""
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        number = 1 if end - start <= NUM_WINDOWS * WINDOW_BYTES else NUM_WINDOWS
        size = found = 0
        for window in range(number):
            first, last = start, end
            if number > 1:
                first, last = window_of(data, start, end, window)
            size += last - first
            for at in range(first, last):
                if data[at] == 0xEF or data[at] == 0xF0:  # all of them begin so, and few others do
                    found += decode(data, at)[1] if _is_form(decode(data, at)[0]) else 0
        has_forms[document] = FORMS_SHARE * found > size


@kernel
def _is_form(code):
    """Whether a code point (int64) is a compatibility form of letters.

    Ligatures of Latin and Armenian, Hebrew's and Arabic's presentation forms; full-width Latin letters, half-width kana and
    Hangul; mathematical letters.
    """
    return (
        0xFB00 <= code <= 0xFDCF
        or 0xFDF0 <= code <= 0xFDFF
        or 0xFE70 <= code <= 0xFEFC
        or 0xFF21 <= code <= 0xFF3A
        or 0xFF41 <= code <= 0xFF5A
        or 0xFF66 <= code <= 0xFFDC
        or 0x1D400 <= code <= 0x1D7FF
    )
