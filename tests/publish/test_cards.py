"""Cards: front matter that huggingface_hub reads, numbers that are the run's, and nothing of others as markup."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from examples import examples
from huggingface_hub import DatasetCard, ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from model_builders import save, transformers_model
from small_run import write_run
from tokenizer_corpora import ENGLISH, varied, write_corpus

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.format import share
from diglot.base.summaries.corpus import SourceSummary
from diglot.base.summaries.model import MixturePart, TrainedModel
from diglot.publish import folder as published
from diglot.publish.data_card import data_card
from diglot.publish.facts import ancestors, facts_of
from diglot.publish.markdown import text
from diglot.publish.model_card import Said, evaluation_results, model_card
from diglot.publish_command import publish_command
from diglot.report.results import results, scores_of

ATTACK = "</td><script>alert(1)</script>|[x](javascript:alert(1))![](http://evil.example/a.png) <img src=x> `a` *b* www.evil.example #1 @you\n# Title\n- item"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """The small run; its corpus says what its ledger does."""
    found = write_run(tmp_path_factory.mktemp("run") / "run")
    sources = {
        "english": SourceSummary(
            "en", "web", 12_000, 9_000, 200, 2_800, 4_000_000, 4_000_000, {"exact_duplicate": 2_800}
        ),
        "arabic": SourceSummary(
            "ar", "web", 12_000, 9_500, 200, 2_300, 3_000_000, 5_000_000, {"wrong_language": 2_300}
        ),
    }
    for number, each in enumerate(found):
        if each.kind == "corpus":
            found[number] = dataclasses.replace(each, summary=dataclasses.replace(each.summary, sources=sources))
        if isinstance(each.summary, TrainedModel):
            mixture = {"all": {"english": MixturePart(0.25, 0.5, 10, 1234, 0.75, 1.0)}}
            found[number] = dataclasses.replace(each, summary=dataclasses.replace(each.summary, mixture=mixture))
    return found


def last_model(artifacts: list[Artifact]) -> Artifact:
    return [each for each in artifacts if each.kind == "model"][-1]


def test_the_front_matter_is_read_by_the_hubs_own_class(artifacts: list[Artifact]) -> None:
    facts = facts_of(last_model(artifacts), artifacts)
    assert facts.after is not None
    card = ModelCard(model_card(facts, Said("a model", "apache-2.0"), True))
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "text-generation")
    assert data.language == ["en", "ar"]
    measured = {(r.name, r.metric, r.value) for r in results(scores_of(facts.after)) if r.kind == "task"}
    read = {(each.dataset_type, each.metric_name, each.metric_value) for each in data.eval_results}
    assert {(name, metric, round(value, 6)) for name, metric, value in measured} <= read
    assert [vars(each) for each in data.eval_results] == [vars(each) for each in evaluation_results(facts.after)]


def test_no_licence_is_guessed(artifacts: list[Artifact]) -> None:
    card = model_card(facts_of(last_model(artifacts), artifacts), Said("a model"), False)
    assert "license" not in yaml.safe_load(card.split("---")[1])
    assert "not said" in card


def test_the_card_has_the_numbers_of_the_run(artifacts: list[Artifact]) -> None:
    said = Said("a model", None, {"english": "cc0-1.0", "*": "cc-by-4.0"}, price=3.0)
    card = model_card(facts_of(last_model(artifacts), artifacts), said, True)
    assert "cloze-ar 26% → 76% (chance 25%)" in card
    for words in (
        "## Evaluation",
        "## Data",
        "### Mixture",
        "## Training",
        "## Limits",
        "## Energy and cost",
        "## Responsible use",
    ):
        assert words in card
    rows = {line.split(" | ")[1].strip(): line for line in card.split("\n") if line.count(" | ") == 8}
    assert "cc0-1.0" in rows["english"]
    assert "cc-by-4.0" in rows["arabic"]
    assert f"| english | {share(0.25)} | {share(0.5)} | 1,234 | 0.75 |" in card
    seconds = sum(each.provenance["seconds"] for each in ancestors(last_model(artifacts), artifacts))
    assert f"Cost: {seconds / 3600 * 3:,.2f} at 3 an hour" in card


def test_a_model_is_described_by_what_it_was_made_of(artifacts: list[Artifact]) -> None:
    base = next(each for each in artifacts if each.stage == "base")
    facts = facts_of(base, artifacts)
    assert base in facts.stages
    assert not {"sft", "dpo", "trunk"} & {each.stage for each in facts.stages}
    assert facts.before is None
    assert facts_of(None, artifacts).stages == ()
    assert "nothing is claimed" in model_card(facts_of(None, ()), Said("x"), False)


def test_an_evaluation_of_the_last_step_is_not_that_of_another(artifacts: list[Artifact]) -> None:
    last = last_model(artifacts)
    kept = dataclasses.replace(last, stage=f"{last.stage}@2")
    assert facts_of(last, artifacts).after is not None
    assert facts_of(kept, artifacts).after is None
    card = model_card(facts_of(kept, artifacts), Said("x"), True)
    assert f"Taken after step 2 of {last.stage}" in card
    assert "model-index" not in card


def hostile(artifacts: list[Artifact]) -> list[Artifact]:
    """The run with an attack in every name and text that its manifests may hold."""

    def spoilt(value: object) -> object:
        if isinstance(value, dict):
            return {(ATTACK if key in ("english", "arabic") else key): spoilt(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoilt(item) for item in value]
        return ATTACK if isinstance(value, str) and value in ("web", "text.jsonl") else value

    changed = []
    for each in artifacts:
        summary = type(each.summary).from_json(spoilt(each.summary.as_json()))
        provenance = {**each.provenance, "system": ATTACK, "recipe": {"name": ATTACK, "file": ATTACK, "commit": None, "changed": None, "overrides": [ATTACK]}}  # fmt: skip
        changed.append(
            dataclasses.replace(each, settings=spoilt(each.settings), summary=summary, provenance=provenance)
        )
    return changed


def rendered(card: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(card.split("---\n", 2)[2])


def is_plain(page: str) -> bool:
    return not re.search(r"<(script|img|a|iframe)\b", page) and page.count("<h1>") == 1


def test_what_others_wrote_is_text_in_a_card(artifacts: list[Artifact]) -> None:
    changed = hostile(artifacts)
    said = Said(ATTACK, data_licenses={"*": ATTACK}, gguf=[ATTACK], remarks=[ATTACK])
    card = model_card(facts_of(last_model(changed), changed), said, True)
    page = rendered(card)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert is_plain(page)
    assert is_plain(rendered(data_card(next(each for each in changed if each.kind == "corpus"), said, ["documents"])))
    assert ModelCard(card).data.model_name == ATTACK


@examples(30)
@given(st.text(st.sampled_from("<>&|[](){}!*_`#~$@\\\n\r\t:/.-+=1 aw"), max_size=40))
def test_any_text_is_the_same_text_on_the_page(value: str) -> None:
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render("x " + text(value))
    words = re.fullmatch(r"<p>(.*)</p>\n", page, re.DOTALL)
    assert words
    assert "<" not in words[1]
    alone = MarkdownIt("commonmark", {"html": True}).enable("table").render(text(value) + "\n\nx")
    assert alone.startswith("<p>")


# --- folders --------------------------------------------------------------------------------------------------


def test_a_model_from_elsewhere_is_published_whole(tmp_path: Path) -> None:
    model = save(transformers_model("llama"), tmp_path / "model")
    (model / "private.txt").write_text("not for others")
    said = Said("My model!")
    remarks = published.publish_model(model, None, [], tmp_path / "out", said, ["float16"])
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                     "tokenizer_config.json", "chat_template.jinja", "My-model-float16.gguf"}  # fmt: skip
    for name in names - {"README.md", "My-model-float16.gguf"}:
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()
    assert remarks == []
    assert ModelCard.load(tmp_path / "out" / "README.md").data.tags == ["diglot", "gguf", "llama.cpp"]
    with pytest.raises(UserError, match="is there already"):
        published.publish_model(model, None, [], tmp_path / "out", said, [])


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    model = save(transformers_model("llama"), tmp_path / "model")
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (model / "added_tokens.json").symlink_to(secret)
    with pytest.raises(UserError, match=r"added_tokens.json: something else lies where"):
        published.publish_model(model, None, [], tmp_path / "out", Said("x"), [])
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_where_it_fails(tmp_path: Path) -> None:
    model = save(transformers_model("phi3"), tmp_path / "model")
    with pytest.raises(UserError, match="family phi3"):
        published.publish_model(model, None, [], tmp_path / "out", Said("x"), ["float16"])
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_a_corpus_has_its_splits_and_its_card(tmp_path: Path, artifacts: list[Artifact]) -> None:
    documents = varied("en", ENGLISH, 20)
    place = write_corpus(tmp_path / "corpus", documents, documents[:3]).path
    corpus = dataclasses.replace(next(each for each in artifacts if each.kind == "corpus"), path=place)
    published.publish_corpus(corpus, tmp_path / "out", Said("A corpus", "odc-by", {"*": "cc0-1.0"}))
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    files = card.data.to_dict()["configs"][0]["data_files"]
    assert [(each["split"], each["path"]) for each in files] == [("train", "documents/*.parquet"), ("test", "heldout/*.parquet")]  # fmt: skip
    for each in files:
        assert list((tmp_path / "out").glob(each["path"]))
    assert (card.data.license, card.data.language) == ("odc-by", ["en", "ar"])
    for reason, count in corpus.summary.dropped.items():
        assert f"| {reason.replace('_', ' ')} | {count:,} |" in card.content
    assert "cc0-1.0" in card.content


def test_the_command_says_what_is_wrong_and_uploads_nothing_without_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)  # whoever runs the tests may have one
    model = save(transformers_model("llama"), tmp_path / "model")
    cases = {
        ("--license", "My License"): "the hub's identifier is wanted",
        ("--push", "no-slash"): "ORG/NAME",
        ("--data-license", "web=cc0-1.0"): "no such source; there are: none",
        ("--push", "me/model"): "no token of the Hugging Face hub",
    }
    for number, (options, words) in enumerate(cases.items()):
        with pytest.raises(UserError, match=words):
            publish_command.main(
                [str(model), "--out", str(tmp_path / f"out-{number}"), *options], standalone_mode=False
            )
    # What was asked for beside the upload is there.
    assert json.loads((tmp_path / "out-3" / "config.json").read_text())["model_type"] == "llama"
    assert not (tmp_path / "out-0").exists()
