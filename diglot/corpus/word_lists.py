"""Lists of words by language: stop words (stopwords-iso) and the user's banned words."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from diglot.artifact import UserError
from diglot.corpus.languages import base_code
from diglot.corpus.lexicon import GOPHER_STOP_WORDS, WordLists


@functools.cache
def word_lists(language: str, banned: str | None) -> WordLists:
    """The lists of a language.

    Args:
        language: its code.
        banned: a JSONL file with a language and its words in each line (`{"lang": "en", "words": […]}`), or a folder
            with a file for each language, named by its code, with an entry in each line (LDNOOBW's own form).

    Raises:
        UserError: the banned words cannot be read.
    """
    import stopwordsiso

    code = base_code(language)
    return WordLists(
        stop_words=tuple(sorted(stopwordsiso.stopwords(code))) if stopwordsiso.has_lang(code) else None,
        banned_words=_banned_words(Path(banned).expanduser()).get(code) if banned else None,
        gopher_stop_words=GOPHER_STOP_WORDS if code == "en" else None,
    )


@functools.cache
def _banned_words(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if 2 <= len(file.name) <= 3]
            return {file.name: tuple(filter(None, file.read_text("utf-8").split("\n"))) for file in files}
        lines = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
        return {line["lang"]: tuple(line["words"]) for line in lines}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"banned_words: {path} cannot be read ({error}); give a JSONL file with lang and words in each line, or a "
            "folder with a file for each language"
        ) from error
