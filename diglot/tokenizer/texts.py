r"""Reading texts that lie outside the corpus: a list of texts from one file, such as one side of parallel text.

    ntrex.ar.txt                 plain text: a line is a text, and line 7 of one language translates line 7 of another
    ntrex.jsonl.zst:arb          JSON lines: the field `arb` of every line (`translation.ar`: a field within a field)

Both may end in `.gz` or `.zst`. Text is UTF-8, or UTF-16 with its mark. Lines end in `\n` alone. An empty line of plain
text is an empty text, so that the lines of parallel files stay side by side; in JSON lines an empty line is no record.

Files are read whole: this is for sentences to measure on, thousands of them, not for a corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diglot.base.errors import UserError
from diglot.base.files import expand_home, is_encodable
from diglot.read.decompress import TruncatedError
from diglot.read.encoding import guess_encoding
from diglot.read.records import Broken, DataFile, Reading, field_of, parse_json, text_of

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
FIELD = "text"  # of JSON lines where none is named


def read_texts(source: str) -> list[str]:
    """Read the texts of a file.

    Args:
        source: `FILE` or `FILE:FIELD`; a field means JSON lines. A file whose name holds a colon is taken as it is.

    Returns:
        One text a line of plain text, or a record of JSON lines, in the order of the file.

    Raises:
        UserError: the file cannot be read, is broken or not UTF-8, or a record lacks the field; with file and line.
    """
    file, field = split_source(source)
    name = Path(file.stem if file.suffix.lower() in COMPRESSIONS else file.name)
    if field is None and name.suffix.lower() not in JSON_LINES:
        return list(_decoded(file, _lines(file)))
    return list(_field_of_records(file, field or FIELD))


def split_source(source: str) -> tuple[Path, str | None]:
    """The file and the field that `FILE` or `FILE:FIELD` names.

    Raises:
        UserError: there is no such file.
    """
    if not Path(source).exists() and ":" in source:
        file, _, field = source.rpartition(":")
    else:
        file, field = source, ""
    path = expand_home(file)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {kind}: give a file, or FILE:FIELD for a field of JSON lines")
    return path, field or None


def _lines(file: Path) -> list[bytes]:
    """The lines of a file, decompressed, without their ends."""
    compression = COMPRESSIONS.get(file.suffix.lower())
    try:
        data = b"".join(text_of(DataFile(str(file), file.name, "lines", compression, str(file)), Reading()))
    except TruncatedError as error:
        raise UserError(f"{file}: cannot be decompressed {error}; copy or download it again") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def _decoded(file: Path, lines: list[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            likely = guess_encoding(b"\n".join([*lines, b""]))
            looks = f", from {likely} by its looks" if likely else ""
            raise UserError(
                f"{file}:{number}: not UTF-8 text (byte {error.start} of the line); convert the file to UTF-8{looks}"
            ) from error


def _field_of_records(file: Path, field: str) -> Iterator[str]:
    opened = DataFile(str(file), file.name, "lines", None, str(file))
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        record = parse_json(opened, number, line)
        if isinstance(record, Broken):
            raise UserError(
                f"{file}:{number}: {record.detail}; one JSON object a line is wanted, for plain text give FILE without a field"
            )
        text = field_of(record.value, field)
        if not isinstance(text, str):
            held = "no" if text is None else f"no text but {type(text).__name__} in"
            names = ", ".join(sorted(map(str, record.value)))
            raise UserError(f"{file}:{number}: {held} field {field!r}; give FILE:FIELD, fields are: {names}")
        if not is_encodable(text):
            raise UserError(f"{file}:{number}: field {field!r} holds half of a surrogate pair; take it out of the text")
        yield text
