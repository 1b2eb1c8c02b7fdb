"""`diglot tokenizer measure`: what it computes, prints and writes, and what it says to bad input."""

import json
import subprocess
from pathlib import Path

import pytest
from base_tokenizers import BASES
from commands import diglot
from summaries import EMPTY_CORPUS
from tokenizer_corpora import ARABIC, ENGLISH, INDONESIAN, write_corpus

from diglot.base.artifact import Artifact, write_manifest
from diglot.base.errors import UserError
from diglot.tokenizer.compare import compare, named_tokenizers, parallel_languages, texts_of_files, texts_to_compare
from diglot.tokenizer.folder import load_tokenizer

PARALLEL = {
    "en": ["The baker bakes bread in the old bakery.", "The river is long.", "Nobody minds the rain today."],
    "ar": ["يخبز الخباز الخبز في المخبز القديم.", "النهر طويل.", "لا أحد يهتم بالمطر اليوم."],
    "id": ["Tukang roti membuat roti di toko tua.", "Sungai itu panjang.", "Tidak ada yang peduli hujan hari ini."],
}  # fmt: skip


def measure(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return diglot("tokenizer", "measure", *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two tokenizers, one of English alone and one of three languages; parallel texts, and a corpus."""
    place = tmp_path_factory.mktemp("measure")
    BASES["llama-2"](place / "english", ENGLISH, 400)
    BASES["qwen"](place / "three", [*ENGLISH, *ARABIC, *INDONESIAN], 600)
    BASES["unigram"](place / "lossy", ENGLISH, 100)
    for language, lines in PARALLEL.items():
        (place / f"{language}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_corpus(place / "corpus", [("en", ENGLISH[0]), ("ar", ARABIC[1])], [("en", ENGLISH[1]), ("ar", ARABIC[0])])
    manifest = dict.fromkeys(("stage", "do", "fingerprint", "content"), "corpus") | {"kind": "corpus"}
    manifest |= {key: {} for key in ("settings", "inputs", "provenance")} | {"summary": EMPTY_CORPUS}
    write_manifest(place / "corpus", Artifact(path=place / "corpus", **manifest))
    return place


def texts(folder: Path, *languages: str) -> list[str]:
    return [part for code in languages for part in ("--text", f"{code}={folder / code}.txt")]


def test_tables_fit_a_terminal_and_the_page_is_written(folder, tmp_path):
    done = measure(
        folder / "english", f"many={folder / 'three'}", *texts(folder, "en", "ar", "id"), "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    for title in (
        "Tokens per word",
        "more than one token",
        "Characters per token",
        "Bytes per token",
        "Compression against english = 1",
        "Tokens per sentence",
        "Premium",
        "Gini",
    ):
        assert title in done.stdout
    tables, _, examples = done.stdout.partition("\nEnglish  ")
    assert max(map(len, tables.split("\n"))) <= 100
    assert "Arabic  \u2067" in examples
    assert all(line.count("\u2067") == line.count("\u2069") for line in examples.split("\n"))
    written = json.loads((tmp_path / "out" / "measures.json").read_text())
    assert set(written["tokenizers"]) == {"english", "many"}
    page = (tmp_path / "out" / "measure.html").read_text()
    assert "Inequality between languages" in page
    assert 'dir="rtl"' in page


def test_json_is_what_compare_computes(folder):
    arguments = [folder / "three", folder / "english", *texts(folder, "en", "ar"), "--baseline", "english"]
    done = measure(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    given, parallel = texts_to_compare([f"{code}={folder / code}.txt" for code in ("en", "ar")], [])
    folders = {"three": folder / "three", "english": folder / "english"}
    assert result == compare(folders, given, parallel, "english")


def test_compression_premium_and_gini_follow_from_the_tokens(folder):
    given = texts_of_files([f"{code}={folder / code}.txt" for code in PARALLEL])
    folders = {name: folder / name for name in ("english", "three")}
    result = compare(folders, given, parallel_languages(given), None)
    for name in folders:
        tokenizer = load_tokenizer(folder / name)
        tokens = {
            code: sum(len(tokenizer.encode(line, add_special_tokens=False).ids) for line in lines)
            for code, lines in PARALLEL.items()
        }
        cost = result["cost"]["tokenizers"][name]
        base = {code: result["measures"]["english"][code]["tokens"] for code in tokens}
        assert {code: of["tokens"] for code, of in result["measures"][name].items()} == tokens
        assert result["compression"][name] == {code: round(base[code] / tokens[code], 4) for code in tokens}
        assert cost["premium"] == {code: round(count / min(tokens.values()), 4) for code, count in tokens.items()}
        assert cost["tokens_per_sentence"] == {code: round(count / 3, 3) for code, count in tokens.items()}
        low, middle, high = sorted(tokens.values())
        assert cost["gini"] == pytest.approx(2 * (high - low) / (3 * (low + middle + high)), abs=1e-4)
    assert result["cost"]["tokenizers"]["english"]["gini"] > result["cost"]["tokenizers"]["three"]["gini"]
    assert [example["text"] for example in result["examples"]] == [lines[0] for lines in PARALLEL.values()]


def test_texts_of_other_lengths_are_not_parallel(folder, tmp_path):
    (tmp_path / "de.txt").write_text("Ein Satz.\n")
    given = texts_of_files([f"en={folder}/en.txt", f"de={tmp_path}/de.txt", f"ar={folder}/ar.txt"])
    assert parallel_languages(given) == ["en", "ar"]
    assert parallel_languages(texts_of_files([f"en={folder}/en.txt", f"de={tmp_path}/de.txt"])) == []


def test_held_out_documents_of_a_corpus(folder):
    done = measure(folder / "three", "--corpus", folder / "corpus", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["languages"]["en"] == {"texts": 1, "origin": "heldout", "words_are": "spaces"}
    assert set(result["measures"]["three"]) == {"ar", "en"}
    assert result["cost"] is None


def test_what_loses_text_is_marked(folder):
    done = measure(folder / "lossy", folder / "three", *texts(folder, "en", "ar"))
    assert done.returncode == 0, done.stderr
    assert "† loses text" in done.stdout
    (line,) = (line for line in done.stdout.partition("Words cut")[0].split("\n") if "Arabic" in line)
    assert line.split()[1].endswith("†")
    assert not line.split()[2].endswith("†")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{0}/none"], "there is no such folder"),
        (["{0}", "--text", "en={0}/en.txt"], "no tokenizer.json"),
        (["{0}/three"], "nothing to measure on"),
        (["{0}/three", "--text", "{0}/en.txt"], "write LANGUAGE=FILE"),
        (["{0}/three", "--text", "en={0}/fr.txt"], "fr.txt does not exist"),
        (["{0}/three", "--text", "en={0}/en.txt:field"], "en.txt:1: .*without a field"),
        (["{0}/three", "--text", "en={0}/en.txt", "--text", "en={0}/ar.txt"], "en is given twice"),
        (["{0}/three", "--text", "en={0}/en.txt", "--baseline", "other"], "no such tokenizer; there are: three"),
        (["{0}/three", "{0}/three", "--text", "en={0}/en.txt"], "two tokenizers are called 'three'"),
        (["{0}/three", "--corpus", "{0}"], "there is no corpus"),
        (["{0}/three", "--corpus", "{0}/corpus", "--text", "en={0}/en.txt"], "the corpus has this language too"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_to_do(folder, arguments, says):
    names = [text.format(folder) for text in arguments]
    options = [names[at + 1] for at, name in enumerate(names) if name == "--text"]
    corpora = [Path(names[at + 1]) for at, name in enumerate(names) if name == "--corpus"]
    baseline = names[names.index("--baseline") + 1] if "--baseline" in names else None
    tokenizers = names[: next((at for at, name in enumerate(names) if name.startswith("--")), len(names))]
    with pytest.raises(UserError, match=says):
        compare(named_tokenizers(tokenizers), *texts_to_compare(options, corpora), baseline)


def test_errors_are_printed_without_a_traceback(folder):
    done = measure(folder / "three", "--text", "en=nothing.txt")
    assert done.returncode == 2
    assert done.stderr.startswith("error: nothing.txt does not exist")
    assert "Traceback" not in done.stderr


def test_on_real_parallel_text(folder, data):
    """NTREX: 982 sentences; English-trained tokenizers charge Thai several times what they charge English."""
    file = data / "eval" / "ntrex" / "multiway18.jsonl.zst"
    if not file.is_file():
        pytest.skip(f"no parallel text: {file}")
    given, parallel = texts_to_compare([f"en={file}:eng", f"ar={file}:arb", f"th={file}:tha"], [])
    result = compare({"english": folder / "english"}, given, parallel, None)
    assert result["cost"]["sentences"] == 982
    assert result["cost"]["tokenizers"]["english"]["premium"]["th"] > 3
    assert result["measures"]["english"]["th"]["words_are"] == "segments"
    assert 3 < result["measures"]["english"]["th"]["words"] / result["measures"]["english"]["th"]["documents"] < 60
