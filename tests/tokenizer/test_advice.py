"""Whether an extension is worth it: the verdict, and the curve that it is given on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from base_tokenizers import BASES
from commands import diglot
from safetensors.numpy import save_file
from summaries import EMPTY_CORPUS
from tokenizer_corpora import ARABIC, ENGLISH, artifact, varied, write_corpus

from diglot.base.artifact import Artifact, write_manifest
from diglot.tokenizer.advice import BaseModel, advise, at_steps
from diglot.tokenizer.gain import curve_of, model_of

LLAMA_2 = [(0, 5.42), (1000, 2.9), (2000, 2.5), (4000, 2.1), (8000, 1.8), (16_000, 1.63), (32_000, 1.52)]
LARGE, SMALL = BaseModel(4096, False, 6_738_415_616), BaseModel(576, True, 134_515_008)


def test_as_many_as_double_at_a_profit():
    advice = advise(LLAMA_2)
    assert (advice.grade, advice.new_tokens) == ("worth it", 32_000)
    assert advice.saved == pytest.approx(1 - 1.52 / 5.42)
    assert "More were not looked at" in advice.reason
    flat = advise([*LLAMA_2[:-1], (32_000, 1.6)])  # the last doubling saves 1.8%
    assert flat.new_tokens == 16_000
    assert "up to 32,000, would save 1.8% more, too little" in flat.reason


def test_rows_weigh_in_a_small_model():
    """32,000 rows of SmolLM2 are 13.7% of it: the last doubling saves 6.7% of the tokens and costs 6.4% a token."""
    assert advise(LLAMA_2, LARGE).new_tokens == 32_000
    assert advise(LLAMA_2, SMALL).new_tokens == 16_000
    assert LARGE.rows(8000) == 8000 * 4096 * 2
    assert SMALL.rows(8000) == 8000 * 576
    assert "65.5 million" in advise(LLAMA_2[:5], LARGE).reason
    assert advise(LLAMA_2[:5], LARGE).as_json()["new_parameters"] == 65_536_000


def test_a_language_that_the_base_knows_is_left_alone():
    advice = advise([(0, 1.31), (1000, 1.30), (8000, 1.27), (32_000, 1.24)])
    assert (advice.grade, advice.new_tokens) == ("not worth it", 0)
    assert "1.31 tokens per word, and 32,000 new tokens would still leave 1.24, 5.3% fewer" in advice.reason
    assert advise([(0, 2.0)]).grade == "not worth it"
    assert advise([(0, 2.3), (1000, 2.1), (2000, 1.95), (4000, 1.8)]).grade == "perhaps"


def test_a_curve_is_read_at_its_steps():
    points = [(0, 5.0), *((place, 5 - 4 * place / 5000) for place in range(500, 5001, 500))]
    steps = at_steps(points)
    assert [place for place, _ in steps] == [0, 1000, 2000, 4000, 5000]
    assert [value for _, value in steps] == pytest.approx([5.0, 4.2, 3.4, 1.8, 1.0])
    assert at_steps([(0, 3.0)]) == [(0, 3.0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An English base beside a model, and a corpus with Arabic to learn."""
    place = tmp_path_factory.mktemp("advice")
    BASES["llama-2"](place / "base", ENGLISH, 400)
    (place / "base" / "config.json").write_text(json.dumps({"hidden_size": 16}), encoding="utf-8")
    weights = {"model.embed_tokens.weight": (400, 16), "lm_head.weight": (400, 16), "model.norm.weight": (16,)}
    save_file(
        {name: np.zeros(shape, np.float32) for name, shape in weights.items()}, place / "base" / "model.safetensors"
    )
    languages = (("en", ENGLISH), ("ar", ARABIC))
    kept = [document for code, text in languages for document in varied(code, text, 200)]
    held_out = [document for code, text in languages for document in varied(code, text, 20, seed=1)]
    write_corpus(place / "corpus", kept, held_out)
    manifest = dict.fromkeys(("stage", "do", "fingerprint", "content"), "corpus") | {"kind": "corpus"}
    manifest |= {key: {} for key in ("settings", "inputs", "provenance")} | {"summary": EMPTY_CORPUS}
    write_manifest(place / "corpus", Artifact(path=place / "corpus", **manifest))
    return place


def test_the_curve_ends_where_the_extension_does(folder, context, extend_tokenizer):
    """A point is what the stage itself comes to with so many new tokens, on the same held-out text."""
    corpus = artifact(folder / "corpus", "corpus")
    curve = curve_of(folder / "base", [corpus], "ar", context)
    for number, fertility in curve[1:]:
        _, summary = extend_tokenizer(artifact(folder / "base", "model"), corpus, languages=["ar"], new_tokens=number)
        assert (summary.new_tokens.added, summary.fertility["ar"]) == (number, fertility)
    assert curve[0] == (0, summary.fertility_before["ar"])


def test_the_model_beside_a_tokenizer(folder, tmp_path):
    model = BaseModel(16, False, 2 * 400 * 16 + 16)
    assert model_of(folder / "base") == model
    assert model_of(tmp_path) is None
    # Mistral's folders hold the weights a second time, by other names.
    shutil.copytree(folder / "base", tmp_path, dirs_exist_ok=True)
    save_file({"output.weight": np.zeros((400, 16), np.float32)}, tmp_path / "consolidated.safetensors")
    assert model_of(tmp_path) == model
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 16, "text_config": None}), encoding="utf-8")
    assert model_of(tmp_path) == model


def test_advice_of_the_command(folder, tmp_path):
    arguments = [folder / "base", "--corpus", folder / "corpus", "--advise", "ar"]
    done = diglot("tokenizer", "measure", *arguments, "--json", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["advice"]["base"]["ar"]
    assert found["curve"][0][1] > found["curve"][-1][1]
    assert found["model"] == {"hidden_size": 16, "tied": False, "parameters": 12_816}
    page = (tmp_path / "out" / "measure.html").read_text()
    assert "Would an extension be worth it?" in page
    assert found["reason"][:40] in page
    refused = diglot("tokenizer", "measure", folder / "base", "--text", f"ar={__file__}", "--advise", "ar")
    assert (refused.returncode, "give --corpus DIR" in refused.stderr) == (2, True)
    unknown = diglot("tokenizer", "measure", *arguments, "--advise", "th")
    assert (unknown.returncode, "the corpus has no text in it" in unknown.stderr) == (2, True)
