import gzip
import subprocess
import sys
import zlib
from collections import Counter

import pytest
from corpus_files import ARABIC, ENGLISH, html_page, http_response, sentences, warc_record, write_jsonl, zstd
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.read import web
from diglot.read.files import Broken, Reading, Record, find_files, read_shards

pytest.importorskip("trafilatura")
fastwarc = pytest.importorskip("fastwarc.warc")

TEXT = sentences(ENGLISH, 1)
CYRILLIC = "Это предложение на русском языке, и в нём несколько слов. " * 8
JAPANESE = "これは日本語の文章です。今日は天気がいいので、散歩に行きました。" * 8


def read(path, **options):
    files = find_files(str(path), "source 's'", "give another")
    return [record for shard in read_shards(files, Reading(**options)) for record in shard.records]


def reasons(records):
    return [record.reason if isinstance(record, Broken) else "good" for record in records]


# --- HTML -----------------------------------------------------------------------------------------------------


def test_the_article_is_found_and_the_menu_left_out(tmp_path):
    (tmp_path / "a.html").write_bytes(html_page(TEXT))
    (tmp_path / "b.htm.gz").write_bytes(gzip.compress(html_page(TEXT)))
    (tmp_path / "c.html").write_bytes(b"")
    (tmp_path / "d.html").write_bytes(b"<html><head><title>x</title></head><body></body></html>")
    records = read(tmp_path)
    assert [record.value for record in records[:2]] == [{"text": TEXT}] * 2
    assert reasons(records[2:]) == ["no_main_text"] * 2


def test_pages_in_a_field(tmp_path):
    pages = [html_page(TEXT).decode(), "", 7, None, html_page(sentences(ARABIC, 2)).decode()]
    values = [{"id": str(n), "page": page, "url": "u"} for n, page in enumerate(pages)]
    write_jsonl(tmp_path / "a.jsonl", [*values, {"id": "none"}])
    records = read(tmp_path, fields=["page"], html=True)
    assert reasons(records) == ["good", "no_main_text", "good", "good", "good", "good"]
    assert records[0].value == {"id": "0", "page": TEXT, "url": "u"}
    assert records[2].value == values[2]  # no text: for curate to count
    assert records[4].value["page"] == sentences(ARABIC, 2)
    assert records[1].size == 0


@pytest.mark.parametrize(
    ("text", "charset", "declared", "header"),
    [
        (CYRILLIC, "cp1251", "windows-1251", ""),
        (CYRILLIC, "cp1251", "", "Windows-1251"),
        (CYRILLIC, "koi8-r", "koi8-r", ""),
        (CYRILLIC, "utf-8", "iso-8859-1", "ISO-8859-1"),
        (CYRILLIC, "utf-8-sig", "", ""),
        (CYRILLIC, "utf-16", "", ""),
        (CYRILLIC, "cp1251", "no-such-charset", ""),
        (sentences(ARABIC, 3), "cp1256", "", '"windows-1256"'),
        (JAPANESE, "cp932", "Shift_JIS", ""),
        (JAPANESE, "euc-jp", "", "euc-jp"),
        (JAPANESE, "iso-2022-jp", "iso-2022-jp", ""),
        ("Straße, “quoted” – und länger als ein Wort. " * 8, "cp1252", "iso-8859-1", ""),
    ],
)
def test_the_encoding_of_a_page_is_found(tmp_path, text, charset, declared, header):
    content_type = f"text/html; charset={header}" if header else "text/html"
    page = html_page(text.strip(), charset, declared)
    (tmp_path / "a.warc").write_bytes(warc_record("response", http_response(page, content_type)))
    assert [record.value["text"] for record in read(tmp_path)] == [text.strip()]


@pytest.mark.parametrize(
    "page",
    [
        b"<div>" * 100_000 + b"text", b"<" * 100_000, b"<ul><li>" * 5000, b"<p " + b"a=1 " * 100_000, b"\0" * 5000,
        b"<p>" + b"&#x110000;&#0;" * 1000, bytes(range(256)) * 400, b"<b>" * 20_000 + b"x" + b"</b>" * 20_000,
    ],
)  # fmt: skip
def test_monstrous_pages_are_counted(tmp_path, page):
    (tmp_path / "a.html").write_bytes(page)
    (record,) = read(tmp_path)
    assert isinstance(record, Record) or record.reason in ("no_main_text", "broken_html")


def test_a_page_that_the_extractor_fails_on_is_counted(tmp_path, monkeypatch):
    def fail(html):
        raise RecursionError("too deep")

    monkeypatch.setattr(web, "_extractor", lambda: fail)
    (tmp_path / "a.html").write_bytes(html_page(TEXT))
    (record,) = read(tmp_path)
    assert (record.reason, record.detail) == ("broken_html", "RecursionError: too deep")
    assert record.size == len(html_page(TEXT))


@pytest.mark.parametrize("module", ["trafilatura", "fastwarc.warc"])
def test_the_missing_extra_is_named(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    web._extractor.cache_clear()
    (tmp_path / "a.warc").write_bytes(warc_record("response", http_response(html_page(TEXT))))
    with pytest.raises(UserError, match=r"pip install 'diglot\[web\]'"):
        read(tmp_path)
    web._extractor.cache_clear()


def test_texts_do_not_depend_on_the_hash_seed(data):
    program = (
        "import hashlib, sys; from diglot.read.files import *\n"
        "files = find_files(sys.argv[1], 's', 'r')\n"
        "reading = Reading(fields=['html'], html=True, limit=20)\n"
        "print(hashlib.sha256(repr(list(read_shards(files, reading))).encode()).hexdigest())"
    )
    file = data / "raw_web" / "html_pages.jsonl.zst"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program, file], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


# --- archives -------------------------------------------------------------------------------------------------


def pages(number):
    return [warc_record("response", http_response(html_page(sentences(ENGLISH, n))), n) for n in range(number)]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.WARC.GZ"])
def test_responses_are_documents_and_the_rest_is_not(tmp_path, name):
    deflated = zlib.compress(html_page(TEXT))
    chunked = b"5\r\n<html\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(html_page(TEXT)) - 15, b">" + html_page(TEXT)[16:])
    records = [
        warc_record("warcinfo", b"software: x"),
        warc_record("request", b"GET / HTTP/1.1\r\n\r\n", 1),
        warc_record("response", http_response(html_page(TEXT)), 2),
        warc_record("response", http_response(gzip.compress(html_page(TEXT)), headers="Content-Encoding: gzip\r\n"), 3),
        warc_record("response", http_response(deflated, headers="Content-Encoding: deflate\r\n"), 4),
        warc_record("response", http_response(chunked, headers="Transfer-Encoding: chunked\r\n"), 5),
        warc_record("response", http_response(html_page(TEXT), status="404 Not Found"), 6),
        warc_record("response", http_response(b"", status="301 Moved"), 7),
        warc_record("response", http_response(b"GIF89a", "image/gif"), 8),
        warc_record("response", http_response(b"<html></html>"), 9),
        warc_record("resource", html_page(TEXT), 10, Content_Type="text/html; charset=utf-8"),
        warc_record("metadata", b"x: y", 11),
        warc_record("revisit", b"", 12),
        warc_record("response", b"no http at all", 13),
    ]
    join = (lambda parts: b"".join(map(gzip.compress, parts))) if name.lower().endswith("gz") else b"".join
    (tmp_path / name).write_bytes(join(records))
    found = read(tmp_path)
    assert [(record.line, reason) for record, reason in zip(found, reasons(found), strict=True)] == [
        (3, "good"), (4, "good"), (5, "good"), (6, "good"), (7, "http_status"), (8, "http_status"), (9, "not_html"),
        (10, "no_main_text"), (11, "good"), (14, reasons(found)[-1]),
    ]  # fmt: skip
    assert found[-1].reason in ("not_html", "broken_warc_record")
    assert found[0].value == {
        "id": f"urn:uuid:{2:032x}", "url": "https://example.org/2", "date": "2024-05-01T00:00:00Z", "text": TEXT,
    }  # fmt: skip
    assert {record.value["text"] for record in found if isinstance(record, Record)} == {TEXT}


def chunked(body: bytes) -> bytes:
    return b"".join(
        b"%x\r\n%s\r\n" % (len(body[at : at + 500]), body[at : at + 500]) for at in range(0, len(body), 500)
    ) + (b"0\r\n\r\n")


def bare_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


PAGE = html_page(TEXT)
GZIPPED, CHUNKED = "Content-Encoding: gzip\r\n", "Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (GZIPPED, PAGE),
        (GZIPPED, gzip.compress(PAGE) + b"\0" * 30),
        (GZIPPED, gzip.compress(PAGE) + b"garbage"),
        (GZIPPED, gzip.compress(PAGE)[:-9]),
        (GZIPPED + CHUNKED, PAGE),
        (GZIPPED + CHUNKED, gzip.compress(PAGE)),
        (GZIPPED + CHUNKED, chunked(gzip.compress(PAGE))),
        (GZIPPED + CHUNKED, chunked(PAGE)),
        (CHUNKED, PAGE),
        (CHUNKED, b"12\n" + PAGE),
        (CHUNKED, chunked(PAGE)[:-9]),
        ("Content-Encoding: x-gzip\r\n", gzip.compress(PAGE)),
        ("content-encoding: GZIP\r\n", gzip.compress(PAGE)),
        ("Content-Encoding: gzip, gzip\r\n", gzip.compress(gzip.compress(PAGE))),
        ("Content-Encoding: deflate\r\n", zlib.compress(PAGE)),
        ("Content-Encoding: deflate\r\n", bare_deflate(PAGE)),
        ("Content-Encoding: deflate\r\n", PAGE),
        ("Content-Encoding: br\r\n", PAGE),
        ("Content-Encoding: br\r\n", b"\xef\xbb\xbf" + PAGE),
        ("Content-Encoding: zstd\r\n", zstd(PAGE)),
        ("Content-Encoding: UTF-8\r\n", PAGE),
        ("Content-Encoding: none\r\n", PAGE),
        ("", gzip.compress(PAGE)),
    ],
)
def test_a_body_is_read_as_it_is_stored_whatever_its_headers_say(tmp_path, headers, body):
    (tmp_path / "a.warc").write_bytes(warc_record("response", http_response(body, headers=headers)))
    (record,) = read(tmp_path)
    assert record.value["text"].endswith(TEXT)


def test_a_page_s_type_is_seen_where_the_server_said_none(tmp_path):
    comments = b"<!---->" * 100  # a search that tries every end of theirs would take for ever
    bodies = (PAGE, comments + PAGE, comments + b"x", b"GIF89a", b"{}")
    responses = [b"HTTP/1.1 200 OK\r\n\r\n" + body for body in bodies]
    (tmp_path / "a.warc").write_bytes(b"".join(warc_record("response", one) for one in responses))
    assert reasons(read(tmp_path)) == ["good", "good", *["not_html"] * 3]


def test_what_a_body_unpacks_to_is_bounded(tmp_path):
    bomb = gzip.compress(PAGE + b" " * 50_000_000)
    (tmp_path / "a.warc").write_bytes(warc_record("response", http_response(bomb, headers=GZIPPED)))
    (file,) = find_files(str(tmp_path), "s", "r")
    [(_, _, record)] = web.raw_warc(file, iter([(tmp_path / "a.warc").read_bytes()]), 1 << 20)
    assert len(web._http(record, 100_000)[2]) < 102_000


@pytest.mark.parametrize("name", ["a.wet", "a.wet.gz", "a.warc.wet.gz"])
def test_texts_of_wet_are_taken_as_they_are(tmp_path, name):
    texts = [sentences(ARABIC, 1), "short", "  <b>no\u2028tag</b>\r\n\r\nWARC/1.0\r\n\r\n"]
    records = [warc_record("conversion", text.encode(), n) for n, text in enumerate(texts)]
    content = b"".join([warc_record("warcinfo", b"x"), *records, warc_record("conversion", b"\xff", 9)])
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    *found, last = read(tmp_path)
    assert [record.value["text"] for record in found] == texts
    assert last.reason == "invalid_utf8"


def test_what_is_oversized_is_not_held(tmp_path):
    huge = warc_record("conversion", b"x" * 3_000_000, 1)
    unasked = warc_record("metadata", b"x" * 3_000_000, 2)
    (tmp_path / "a.warc").write_bytes(huge + unasked + pages(1)[0])
    records = read(tmp_path, max_record_bytes=100_000)
    assert reasons(records) == ["oversized_record", "good"]
    assert records[0].size == len(huge) - 4


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda r: [r[0], b"garbage\r\n" * 20, r[1]], ["good", "broken_warc_record", "good"]),
        (lambda r: [b"x" * 200_000, b"\r\n", r[0]], ["broken_warc_record", "good"]),
        (lambda r: [r[0], r[1].replace(b"Content-Length: ", b"Content-Length: x"), r[2]], None),
        (lambda r: [r[0], r[1].replace(b"Content-Length: ", b"Content-Length: -"), r[2]], None),
        (lambda r: [r[0], r[1].replace(b"WARC-Type", b"WARC-Kind"), r[2]], None),
        (lambda r: [r[0], r[1][:-100], r[2], r[0]], ["good", "broken_warc_record", "good"]),
        (lambda r: [r[0], r[1], r[2][:-100]], ["good", "good", "truncated_archive"]),
        (lambda r: [r[0], r[1], r[2][:60]], ["good", "good", "broken_warc_record"]),
        (lambda r: [r[0], r[1][:-4], r[2][:-4]], ["good", "good", "good"]),
        (lambda r: [part.replace(b"\r\n", b"\n") for part in (warc_record("conversion", b"a"),)] * 2, ["good"] * 2),
    ],
)
def test_a_broken_record_costs_itself_and_at_most_its_neighbour(tmp_path, damage, expected):
    (tmp_path / "a.warc").write_bytes(b"".join(damage(pages(3))))
    assert reasons(read(tmp_path)) == (expected or ["good", "broken_warc_record", "good"])


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.99])
def test_a_truncated_archive_is_read_up_to_its_end(tmp_path, share):
    """And says that it is truncated, which fastwarc does not."""
    content = b"".join(map(gzip.compress, pages(30)))
    (tmp_path / "a.warc.gz").write_bytes(content[: int(len(content) * share)])
    found = read(tmp_path)
    assert reasons(found) == ["good"] * (len(found) - 1) + ["truncated_archive"]
    assert 30 * share - 3 < len(found) <= 30 * share + 2


@given(st.lists(st.sampled_from(["response", "request", "conversion", "garbage"]), max_size=8), st.integers(1, 40))
@examples(60, suppress_health_check=list(HealthCheck))
def test_records_are_cut_out_whatever_the_chunks(tmp_path_factory, kinds, chunk):
    parts = {
        "response": warc_record("response", http_response(b"x", "text/plain")),
        "request": warc_record("request", b"GET / HTTP/1.1\r\n\r\n"),
        "conversion": warc_record("conversion", b"text\r\nWARC/1.0\r\n"),
        "garbage": b"garbage\r\n\r\nmore\r\n",
    }
    content = b"".join(parts[kind] for kind in kinds)
    file = find_files(str(_written(tmp_path_factory, content)), "s", "r")[0]
    cut = [
        list(web.raw_warc(file, iter([content[at : at + size] for at in range(0, len(content), size)]), 10_000))
        for size in (chunk, len(content) or 1)
    ]
    assert cut[0] == cut[1]
    stretches = sum(
        kind == "garbage" and before != "garbage" for before, kind in zip(["", *kinds], kinds, strict=False)
    )
    assert len(cut[0]) == kinds.count("response") + kinds.count("conversion") + stretches


def _written(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("warc") / "a.warc"
    file.write_bytes(content)
    return file


def test_real_archives_agree_with_fastwarc(data):
    """The same documents as fastwarc's reader finds, each counted; their bytes too."""
    for file in sorted((data / "raw_web" / "warc").glob("*.warc.gz")):
        known = Counter()
        for record in fastwarc.ArchiveIterator(str(file)):
            if record.record_type in (fastwarc.WarcRecordType.response, fastwarc.WarcRecordType.resource):
                is_page = record.http_content_type == "text/html" and record.http_headers.status_code == 200
                known["page" if is_page else "other"] += 1
        assert Counter(_kinds(file)) == known


def _kinds(file):
    """Whether documents are pages, without extracting them (a second a megabyte)."""
    (archive,) = find_files(str(file), "s", "r")
    for _, _, record in web.raw_warc(archive, iter([gzip.decompress(file.read_bytes())]), 1 << 30):
        status, content_type, _ = web._http(record, 1 << 30)
        yield "page" if status == 200 and content_type.startswith("text/html") else "other"


def test_a_real_archive_gives_texts(data):
    records = read(data / "raw_web" / "warc" / "IAH-urls-wget.warc.gz")
    assert Counter(reasons(records)) == {"http_status": 9, "not_html": 8, "good": 2}
    assert all("Forums" in record.value["text"] for record in records if isinstance(record, Record))
