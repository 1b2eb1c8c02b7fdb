"""`diglot init` writes recipes that hold, for languages and bases of any kind, and overwrites nothing."""

import json
import re
from pathlib import Path

import pytest
import tiny_model
from commands import diglot

from diglot.base.errors import UserError
from diglot.flow import foresee, graph, plan
from diglot.load import load_recipe
from diglot.recipe import json_schema
from diglot.starter import look_at_text, start
from diglot.text.languages import NAMES, codes_of_labels, label_of


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.save_tokenizer(folder)
    tiny_model.save_model(folder, length=256)
    return folder


def write(file: Path, texts: list[str], field: str = "text") -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "".join(json.dumps({"id": str(n), field: text}, ensure_ascii=False) + "\n" for n, text in enumerate(texts))
    )
    return str(file)


def made(tmp_path: Path, base: object, language: str = "ar", **changes: object) -> tuple[Path, list[str]]:
    given = {"texts": [], "base_text": None, "base_language": "en", "instructions": None, "force": False, **changes}
    return tmp_path / "mine.yaml", start("mine", language, str(base), output=tmp_path / "mine.yaml", **given)


def test_a_recipe_of_ones_own_text_is_ready_to_run(base, tmp_path):
    """Everything that is asked before a run is asked, and nothing is wrong."""
    arabic = write(tmp_path / "my text/ar.jsonl", tiny_model.ARABIC * 50, "body")
    english = write(tmp_path / "en.jsonl", tiny_model.ENGLISH * 20)
    chats = write(tmp_path / "chats.jsonl", ["x"])
    file, found = made(tmp_path, base, texts=[arabic], base_text=english, instructions=chats)
    recipe, where = load_recipe(file)
    foresee(plan(recipe, tmp_path / "runs", where), where)
    assert list(graph(recipe, where)) == [
        "corpus", "instructions", "base", "tokenizer", "expanded", "tokens", "trained", "chat", "evaluate-base",
        "evaluate-trained", "evaluate-chat", "report",
    ]  # fmt: skip
    source = recipe.stages["corpus"].sources["arabic"]
    assert (source.path, source.text, source.language) == (arabic, "body", "ar")
    trained = recipe.stages["trained"]
    assert trained.sequence_length == 256  # the base has no more positions
    assert trained.steps == 20  # there is next to no text
    assert any("256 positions, its own chat format" in line for line in found)
    assert not re.search(r"\n\n +[a-z]", file.read_text().partition("corpus:")[2].partition("instructions:")[0])
    # The schema that editors look for lies beside it.
    first = file.read_text().split("\n")[0]
    assert json.loads((tmp_path / first.rpartition("=")[2]).read_text()) == json_schema()


@pytest.mark.parametrize("language", ["zh-Hant", "fil"])
def test_text_of_the_hub_where_there_is_none(base, tmp_path, language):
    file, _ = made(tmp_path, base, language)
    recipe, where = load_recipe(file)
    graph(recipe, where)
    [own, other] = [source.path for source in recipe.stages["corpus"].sources.values()]
    assert "fineweb/" in own
    assert f"/{label_of(language)}/" in other


def test_labels_are_those_of_the_languages():
    assert [label_of(code) for code in ("he", "ar", "id", "th", "zh", "zh-Hans", "ja", "ko", "fil", "no", "en")] == [
        "heb_Hebr", "arb_Arab", "ind_Latn", "tha_Thai", "cmn_Hani", "cmn_Hans", "jpn_Jpan", "kor_Hang", "fil_Latn", "nob_Latn",
        "eng_Latn",
    ]  # fmt: skip
    back = {code: codes_of_labels([label_of(code)])[0] for code in NAMES}
    assert {code: found for code, found in back.items() if found != code} == {"no": "nb"}


def test_a_base_that_cannot_be_reached_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    file, found = made(tmp_path, "no-such-owner/no-such-model", "th")
    assert "not looked at" in found[0]
    assert load_recipe(file)[0].stages["base"].path == "no-such-owner/no-such-model"


def test_sizes_and_fields(tmp_path):
    text = look_at_text(write(tmp_path / "a.jsonl", ["word " * 100] * 30, "content"), "here")
    assert text.field == "content"
    assert text.size == pytest.approx(500 * 30, rel=0.05)
    assert look_at_text(write(tmp_path / "b.jsonl", ["x " * 50]), "here").field is None
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "page.txt").write_text("قال الراوي " * 100)
    assert look_at_text(str(tmp_path / "c"), "here").size == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language": "klingon!"}, "--language 'klingon!'"),
        ({"language": "en"}, "speaks it already"),
        ({"texts": ["nowhere"]}, "there is no file or folder"),
        ({"instructions": "nowhere"}, "there is no file or folder"),
        ({"base": "nowhere"}, "neither a folder nor the name"),
    ],
)
def test_what_cannot_be(base, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        made(tmp_path, **{"base": base, **changes})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_without_force(base, tmp_path):
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"mine\.yaml is there already"):
        made(tmp_path, base)
    made(tmp_path, base, force=True)
    assert (tmp_path / "mine.yaml").read_text() != "mine"
    (tmp_path / "recipe.schema.json").write_text("{}")  # somebody else's
    (tmp_path / "mine.yaml").unlink()
    with pytest.raises(UserError, match=r"recipe\.schema\.json is there already"):
        made(tmp_path, base)


@pytest.mark.full
def test_from_nothing_to_a_report(models, data, tmp_path):
    """Hebrew joins SmolLM2, from the command line alone: `init`, then `try`."""
    done = diglot(
        "init", "hebrew", "--language", "he", "--base", models / "smollm2-135m", "--text", data / "raw_text/he",
        "--base-text", data / "raw_text/en/wikipedia_mlqa.jsonl.zst", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tried = diglot("try", "hebrew.yaml", cwd=tmp_path)
    assert tried.returncode == 0, tried.stderr + tried.stdout
    assert (tmp_path / "runs/hebrew-try/report/report.html").is_file()
