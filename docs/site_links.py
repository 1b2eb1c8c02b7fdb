"""Links of the pages to files of the repository: on the site, which does not hold those, they are names of files.

The README is the repository's first page; the site's is `index.md`.
"""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[((?:[^\]\[]|\[[^\]]*\])*)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Take `[text](../file)` for the text, with the file's name behind it where the text is another."""

    def named(link: re.Match[str]) -> str:
        text, file = link[1], link[2]
        return text if file in text else f"{text} (`{file}`)"

    return OUTSIDE.sub(named, markdown)
