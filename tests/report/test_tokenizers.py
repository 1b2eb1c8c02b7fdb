"""The tokenizer section of a run's report, and the page and tables of tokenizers side by side."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_run import tokenizer_measures

from diglot.base.artifact import Artifact
from diglot.base.table import Cell, show
from diglot.report.figures import Colours
from diglot.report.measured import measure_page, write_measures
from diglot.report.page import render
from diglot.report.reading import Run
from diglot.report.tokenizer_figures import fertility_bars, side_by_side
from diglot.report.tokenizer_tables import isolated, language_labels, tables
from diglot.report.tokenizers import piece_parts, tokenizer


def values(tokens: int, fertility: float, unknown: float = 0.0) -> dict:
    return {
        "tokens": tokens, "fertility": fertility, "continued_words": fertility / 20, "characters_per_token": 5 / fertility,
        "bytes_per_token": 6 / fertility, "unknown_tokens": unknown,
    }  # fmt: skip


@pytest.fixture
def result() -> dict:
    """What `compare` returns for two tokenizers, of which one loses Arabic."""
    premium = {"ours": {"ar": 1.3, "en": 1.0, "zh": 1.1}, "<b>theirs</b>": {"ar": 1.0, "en": 2.0, "zh": 5.0}}
    return {
        "tokenizers": {"ours": {"vocabulary_size": 900}, "<b>theirs</b>": {"vocabulary_size": 500}},
        "languages": {
            "en": {"texts": 9, "origin": "en.txt", "words_are": "spaces"},
            "ar": {"texts": 9, "origin": "ar.txt", "words_are": "spaces"},
            "zh": {"texts": 9, "origin": "zh.txt", "words_are": "segments"},
        },
        "measures": {
            "ours": {"en": values(100, 1.5), "ar": values(130, 1.9), "zh": values(110, 1.4)},
            "<b>theirs</b>": {"en": values(120, 1.7), "ar": values(60, 0.9, 0.4), "zh": values(300, 3.6)},
        },
        "baseline": "ours",
        "compression": {"ours": dict.fromkeys(("en", "ar", "zh"), 1.0), "<b>theirs</b>": {"en": 0.83, "ar": 2.2, "zh": 0.37}},
        "cost": {
            "languages": ["en", "ar", "zh"],
            "sentences": 9,
            "tokenizers": {
                name: {"gini": 0.05, "tokens_per_sentence": {"en": 11.1, "ar": 14.4, "zh": 12.2}, "premium": premium[name]}
                for name in premium
            },
        },
        "examples": [
            {"language": "ar", "text": "كتاب <i>", "pieces": {"ours": ["▁كتا", "ب<0xD8>", "<0xA7>", "<i>"], "<b>theirs</b>": ["<unk>"]}},
        ],
    }  # fmt: skip


def changed(artifacts: list[Artifact], stage: str, **facts: Any) -> list[Artifact]:
    """The same run, had a stage said something else."""
    return [replace(a, summary=replace(a.summary, **facts)) if a.stage == stage else a for a in artifacts]


def test_a_run_shows_form_chat_format_curve_proofs_and_measures(artifacts: list[Artifact]) -> None:
    run = Run(artifacts)
    section = tokenizer(run, Colours(run.languages(), run.source_languages()))
    assert section is not None
    trained, extended = section.data["stages"]
    assert ("kind", "BPE with byte fallback") in trained["tiles"]
    assert ("Gini of token cost", "0.123") in trained["tiles"]
    assert ("chat format", "Llama-3") in extended["tiles"]
    assert [item.name for item in trained["plots"]] == ["curve-base-tokenizer"]
    assert [item.name for item in extended["plots"]] == ["fertility-tokenizer", "curve-tokenizer"]
    proofs = [proof["text"] for proof in extended["proofs"]]
    assert "435 documents and 2,000 arbitrary texts come back from encoding and decoding as they were" in proofs
    assert "special tokens and chat template are the base's" in proofs
    assert (
        "tokenizer.json and tokenizer.model cut 12,000 texts alike (3 on which those of the base differ left out)"
        in proofs
    )
    english, arabic, thai = extended["measures"].rows
    assert english[2] == Cell("1.21")
    assert arabic[2] == Cell("1.34", lead="7.40 →")
    assert arabic[5] == Cell("21.0%", lead="99.8% →")
    assert arabic[1].text == "198 training documents"
    assert thai[2] == Cell("1.70")
    assert "in Thai a segment" in extended["measures"].notes[0]
    page = render("run", [section])
    assert '<th class="n">words cut</th>' in page


def test_a_chat_format_of_none_is_said(artifacts: list[Artifact]) -> None:
    artifacts = changed(artifacts, "base-tokenizer", chat_format=None)
    run = Run(artifacts)
    section = tokenizer(run, Colours(run.languages(), run.source_languages()))
    assert section is not None
    assert ("chat format", "none") in section.data["stages"][0]["tiles"]


def test_unknown_tokens_are_shown_where_there_are_some(artifacts: list[Artifact]) -> None:
    run = Run(artifacts)
    colours = Colours(run.languages(), run.source_languages())
    section = tokenizer(run, colours)
    assert section is not None
    assert "unknown tokens" not in [column.heading for column in section.data["stages"][1]["measures"].columns]
    before = tokenizer_measures("documents", 198, 7.4, 0.998)
    loses = changed(artifacts, "tokenizer", measures_before={"ar": replace(before, unknown_tokens=0.47)})
    section = tokenizer(Run(loses), colours)
    assert section is not None
    measures = section.data["stages"][1]["measures"]
    assert measures.columns[-1].heading == "unknown tokens"
    assert measures.rows[1][-1] == Cell("0.0%", lead="47.0% →")


def test_pieces_have_bytes_apart() -> None:
    assert piece_parts("▁ك<0xD8>") == [{"byte": False, "text": "·ك"}, {"byte": True, "text": "D8"}]
    assert piece_parts("<0xD8><0xA7>") == [{"byte": True, "text": "D8"}, {"byte": True, "text": "A7"}]
    assert piece_parts("<0x>") == [{"byte": False, "text": "<0x>"}]


def test_languages_of_one_name_keep_apart() -> None:
    labels = language_labels(["pt", "pt-BR", "ar"])
    assert labels == {"pt": "Portuguese (pt)", "pt-BR": "Portuguese (pt-BR)", "ar": "Arabic"}
    figure = fertility_bars({}, {"pt": 1.5, "pt-BR": 1.4}, Colours(["pt", "pt-BR"], {}))
    assert len(set(figure.data[0].y)) == 2


def test_the_page_marks_what_loses_text_and_escapes_names(result: dict, tmp_path: Path) -> None:
    file = write_measures(result, tmp_path / "new" / "folder")
    page = file.read_text()
    assert json.loads((file.parent / "measures.json").read_text()) == result
    assert "<b>theirs" not in page
    assert "0.90†" in page
    assert "loses text" in page
    for anchor in (
        "fertility",
        "continued",
        "characters",
        "bytes",
        "compression",
        "cost",
        "premium",
        "gini",
        "examples",
    ):
        assert f'<section id="{anchor}">' in page
    assert page.count("data-plot=") == 8 + page.count("script[data-plot=")
    assert page.count('class="plot"') == 8
    assert 'dir="rtl"' in page
    assert "&lt;i&gt;" in page
    assert '<b class="byte">D8</b>' in page
    assert measure_page(result) == page
    assert 'http-equiv="Content-Security-Policy"' in page


def test_a_tokenizer_that_loses_text_is_never_best(result: dict) -> None:
    figure = side_by_side({"a": {"en": 1.0, "ar": 2.0}}, "tokens", lossy={"a": ["ar"]})
    marks = [trace.marker.symbol for trace in figure.data if trace.mode == "markers" and trace.x[0] is not None]
    assert marks == [("circle-open", "circle")]
    page = measure_page(result)
    assert "ours does best in all languages." in page


def test_without_parallel_text_nothing_is_said_of_cost(result: dict) -> None:
    page = measure_page({**result, "cost": None})
    assert 'id="gini"' not in page
    assert 'id="compression"' in page


def test_tables_in_the_terminal(result: dict) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    show(console, tables({**result, "examples": [{**result["examples"][0], "text": "a\x1b[31mb"}]}))
    shown = console.export_text()
    assert max(map(len, shown.split("\n"))) <= 100
    assert "0.90†" in shown
    assert "a·[31mb" in shown
    assert "\x1b" not in shown
    assert "\u2067▁كتا | ب<D8> | <A7> | <i>\u2069" in shown


def test_text_keeps_its_direction() -> None:
    assert isolated("سلام", True) == "\u2067سلام\u2069"
    assert isolated("hello", False) == "hello"


def test_the_report_says_what_would_be_advised(artifacts: list[Artifact]) -> None:
    """From the extension's own curve: 4.0 → 2.0 tokens per word with 2,000, and nothing with as many more."""
    curve = {"ar": [(100, 3.5), (1000, 2.5), (2000, 2.0), (4000, 1.99)]}
    run = Run(changed(artifacts, "tokenizer", curve=curve, fertility_before={"ar": 4.0, "en": 1.5}))
    section = tokenizer(run, Colours(run.languages(), run.source_languages()))
    assert section is not None
    trained, extended = section.data["stages"]
    assert (trained["advice"], len(extended["advice"])) == ([], 1)
    assert extended["advice"][0].startswith("Arabic: worth it. 2,000 new tokens take 4.00 tokens per word to 2.00")
    assert "50.0% fewer tokens" in extended["advice"][0]
    assert "million parameters in new rows" in extended["advice"][0]  # of the model that is expanded to it
    (curves,) = (item for item in extended["plots"] if item.name == "curve-tokenizer")
    assert "a dot is as many as are advised" in curves.caption
    assert '"x":[2000],"y":[2.0]' in curves.json
    assert extended["advice"][0] in render("Report", [section])
