"""`diglot data`: what training will read, asked before anything is trained."""

import json
from pathlib import Path

import pytest
from commands import diglot

RECIPE = """
name: small
seed: 3
stages:
  world: {do: world, languages: [en, ar], people: 40, documents: {en: 300, ar: 200}, pairs: 5, instructions: 5,
    preferences: 5, items: 4}
  corpus:
    do: curate
    from: {text: world}
    sources: {english: {path: text/en.jsonl, language: en}, arabic: {path: text/ar.jsonl, language: ar}}
    rules: {limits: {min_words: 20, min_characters: 80}}
  tokenizer: {do: train-tokenizer, from: corpus, vocabulary_size: 500}
  tokens: {do: encode, from: {tokenizer: tokenizer, corpus: corpus}, keep: [cluster_size]}
  model: {do: new-model, from: tokenizer, preset: tiny}
  pretrain:
    do: train
    from: {model: model, tokens: tokens}
    steps: 60
    batch_size: 4
    sequence_length: 64
    document_weights: {en: {column: cluster_size, by: log, low: 1, high: 3}}
    phases:
      - {name: stable, share: 0.5, mixture: {en: 0.8, ar: 0.2}}
      - {name: decay, share: 0.5, mixture: {en: 0.2, ar: 0.8}, ramp: true, max_epochs: {arabic: 4}}
  second: {do: train, from: {model: pretrain, tokens: tokens}, steps: 5, batch_size: 4, sequence_length: 64}
"""


def answer(*arguments: str) -> dict:
    done = diglot("data", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as far as its tokens; no model is there."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "small.yaml").write_text(RECIPE)
    done = diglot("run", str(folder / "small.yaml"), "--run", str(folder / "run"), "--until", "tokens")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_mixtures_are_shown_before_training(run: Path) -> None:
    found = answer(str(run), "--stage", "pretrain", "--mixture")
    stable, decay = found["phases"]["stable"]["sources"], found["phases"]["decay"]["sources"]
    assert stable["english"]["planned"] == pytest.approx(0.8)
    assert stable["english"]["realised"] == pytest.approx(0.8, abs=0.02)
    assert sum(entry["rows"] for entry in decay.values()) == 30 * 4
    assert decay["arabic"]["realised"] == pytest.approx(0.5, abs=0.03)  # on the way from 0.2 to 0.8
    assert decay["arabic"]["max_epochs"] == 4
    assert 0 < stable["arabic"]["epochs"] < decay["arabic"]["epochs"] <= 4
    assert set(answer(str(run))["stages"][1]["phases"]) == {"all"}
    shown = diglot("data", str(run))
    for word in ("pretrain: phase decay, 30 steps, ramping", "second: phase all", "english", "80.00%"):
        assert word in shown.stdout
    assert max(len(line) for line in shown.stdout.split("\n")) <= 100


def test_the_documents_of_a_step_and_the_steps_of_a_document_agree(run: Path) -> None:
    step = answer(str(run), "--stage", "pretrain", "--at-step", "17")
    assert step["phase"] == "stable"
    assert 0.9 < step["packing_efficiency"] <= 1
    assert {entry["row"] for entry in step["documents"]} == {0, 1, 2, 3}
    for entry in step["documents"][:2]:
        document = f"{entry['source']}:{entry['id']}"
        occurrences = answer(str(run), "--stage", "pretrain", "--document", document)["occurrences"]
        assert any(
            (occurrence["step"], occurrence["from"], occurrence["to"], occurrence["epoch"])
            == (17, entry["from"], entry["to"], entry["epoch"])
            for occurrence in occurrences
        )
    first = next(entry for entry in step["documents"] if entry["from"] == 0)
    text = next(
        record["text"]
        for name in ("en", "ar")
        for record in map(json.loads, (run / f"world/text/{name}.jsonl").read_text().strip().split("\n"))
        if record["id"] == first["id"]
    )
    assert first["words"][:10] in " ".join(text.split())
    shown = diglot("data", str(run), "--stage", "pretrain", "--at-step", "17", "--limit", "2")
    assert f"of {len(step['documents'])}; --limit or --json" in shown.stdout
    assert max(len(line) for line in shown.stdout.split("\n")) <= 100


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--at-step", "5"], "--stage: say which train stage; there are: pretrain, second"),
        (["--stage", "tokens"], "--stage tokens: not a train stage of this run; there are: pretrain, second"),
        (["--stage", "pretrain", "--at-step", "61"], "stage 'pretrain' has steps 1 to 60"),
        (["--stage", "pretrain", "--document", "english"], "give SOURCE:ID; sources of stage 'pretrain': arabic, english"),
        (["--stage", "pretrain", "--document", "english:nobody"], "no training document 'nobody'"),
        (["--mixture", "--at-step", "3"], "give one of --mixture, --at-step and --document"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_said(run: Path, given: list[str], says: str) -> None:
    done = diglot("data", str(run), *given)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


def test_without_tokens_there_is_no_answer(run: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_bytes((run / "recipe.json").read_bytes())
    done = diglot("data", str(tmp_path), "--stage", "second")
    assert done.returncode == 2
    assert "stage 'tokens' is not done yet; run the recipe with --until tokens" in done.stderr
