# ruff: noqa: SIM905 (word lists read better as text)
"""Text and files for the tests of the corpus stage: random sentences of real words, cheap and easy to vary."""

import gzip
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diglot.read.files import Broken, Record, read_records

ENGLISH = (
    "the of and to in that it was for on are with they be at one have this from had by word but what some we can "
    "out other were all there when up use your how said an each she which their time will way about many then them "
    "write would like these long make thing see him two look more day could go come did number sound no most people "
    "water over know than call first who may down side been now find river house market teacher morning children "
    "garden winter mountain village letter window"
).split()
ARABIC = (
    "من في على إلى عن مع هذا هذه التي الذي كان كانت بعد قبل عند بين كل بعض غير حتى لقد كما أيضا ثم أو لم لن قد ما لا "
    "الناس البيت المدينة النهر السوق الصباح المدرسة الكتاب المعلم الأطفال الحديقة الشتاء الجبل القرية الرسالة النافذة "
    "العمل اليوم الطريق الماء الشمس الليل الوقت الحياة يكتب يقرأ يذهب يعمل يسكن يقول ذهب كتب قال رأى"
).split()
SPANISH = (
    "el la de que y en un ser se no haber por con su para como estar tener le lo todo pero más hacer o poder decir "
    "este ir otro ese si me ya ver porque dar cuando él muy sin vez mucho saber qué sobre mi alguno mismo yo también "
    "hasta año dos querer entre así primero desde grande eso ni nos llegar pasar tiempo ella sí día uno bien poco"
).split()


def sentences(words: list[str], seed: int, number: int = 12) -> str:
    """Paragraphs of random sentences, different for every seed."""
    rng = random.Random(seed)
    lines = [" ".join(rng.choices(words, k=rng.randint(6, 14))) + "." for _ in range(number)]
    return "\n".join(" ".join(lines[i : i + 3]) for i in range(0, number, 3))


def write_jsonl(file: Path, records: list[dict]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": zstd}


def warc_record(kind: str, block: bytes, number: int = 0, **fields: str) -> bytes:
    """A record of a web archive."""
    head = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{number:032x}>",
        "WARC-Date": "2024-05-01T00:00:00Z",
        "WARC-Target-URI": f"https://example.org/{number}",
        "Content-Type": "application/http; msgtype=response" if kind == "response" else "text/plain",
        **{name.replace("_", "-"): value for name, value in fields.items()},
        "Content-Length": str(len(block)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return b"WARC/1.0\r\n" + lines.encode() + b"\r\n" + block + b"\r\n\r\n"


def http_response(content: bytes, content_type: str = "text/html", status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{headers}\r\n"
    return head.encode() + content


def html_page(text: str, charset: str = "utf-8", declared: str = "") -> bytes:
    """A page with a menu, an article of the text's lines, and a footer."""
    meta = f'<meta charset="{declared}">' if declared else ""
    paragraphs = "".join(f"<p>{line}</p>" for line in text.split("\n"))
    page = f"""<!DOCTYPE html><html><head>{meta}<title>A page</title></head><body>
<nav><ul><li><a href="/">Start</a></li><li><a href="/map">Site map</a></li></ul></nav>
<article>{paragraphs}</article><footer><p>Imprint</p></footer></body></html>"""
    return page.encode(charset)


# Lines with separators that are not line ends.
RECORDS = [{"id": str(number), "text": f"line {number} of \u2028 text\x85" * 40} for number in range(3000)]
DATA = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in RECORDS)


def read(path, **options) -> list[Record | Broken]:
    return list(read_records(str(path), stage="corpus", source="s", **options))


def good(records: list[Record | Broken]) -> list[dict]:
    return [record.value for record in records if isinstance(record, Record)]


def broken(records: list[Record | Broken]) -> list[Broken]:
    return [record for record in records if isinstance(record, Broken)]


def parquet_bytes(**options) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS[:200]), sink, row_group_size=50, **options)
    return sink.getvalue()
