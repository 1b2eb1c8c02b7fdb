"""Translations found by hidden states: the states are transformers' own, accuracy on vectors that are made, and the section."""

import json

import numpy as np
import pytest
import tiny_model
import torch
from transformers import AutoModelForCausalLM

from diglot.base.artifact import Artifact
from diglot.evaluate.retrieval import accuracies, find_translations, held_out_pairs, mean_states, picture
from diglot.report.crosslingual import crosslingual
from diglot.report.figures import Colours
from diglot.report.page import render
from diglot.report.reading import Run


def silent(done: int, total: int) -> None:
    pass


def test_states_are_those_of_each_text_alone(random_folder, random_model):
    texts = [*tiny_model.ENGLISH[:3], *tiny_model.ARABIC, "The"]  # of several lengths, so that batches are padded
    found_NLD = mean_states(random_model, texts, silent)
    model = AutoModelForCausalLM.from_pretrained(random_folder, dtype=torch.float32).eval()
    for text, found_LD in zip(texts, found_NLD):
        ids = [random_model.prefix_id, *random_model.encode(text, False)]
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        for state, own in zip(states, found_LD, strict=True):
            assert own == pytest.approx(state[0, 1:].mean(0).numpy(), abs=1e-5)


def test_accuracy_of_vectors_that_are_made():
    draw = np.random.default_rng(1)
    first_ND = draw.normal(size=(50, 16))
    assert accuracies(first_ND, 3 * first_ND + 100) == (1.0, 1.0)  # a language's own mean and scale are no matter
    assert max(accuracies(first_ND, draw.normal(size=(50, 16)))) < 0.2
    # Half of the pairs are translations.
    half_ND = first_ND.copy()
    half_ND[:25] = draw.normal(size=(25, 16))
    forward, backward = accuracies(first_ND, half_ND)
    assert 0.5 <= forward < 0.8
    assert 0.5 <= backward < 0.8


def test_a_picture_keeps_the_distances_of_two_dimensions():
    draw = np.random.default_rng(2)
    flat_N2 = draw.normal(size=(20, 2)) * [3, 1]
    axes_DD = np.linalg.qr(draw.normal(size=(8, 8)))[0]
    found = picture(flat_N2 @ axes_DD[:2] + 5)
    points_N2 = np.array([found["x"], found["y"]]).T
    distances = [np.linalg.norm(each[:, None] - each[None], axis=2) for each in (points_N2, flat_N2)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-3)
    assert sum(found["variance"]) == pytest.approx(1)


def pair(number: int, other: int | None = None) -> dict:
    text = f"Arabic: النص {number}\nEnglish: Text {number if other is None else other}"
    return {"id": str(number), "text": text, "domain": "parallel", "language": "ar", "source": "pairs"}


def test_pairs_are_those_of_two_lines_and_none_twice(learnt_model, tmp_path):
    documents = [pair(n) for n in range(12)] + [
        pair(20, other=3),
        {**pair(30), "domain": "web"},
        {**pair(31), "text": "one line"},
    ]
    found = held_out_pairs(documents, 11)
    assert list(found) == ["ar-en"]
    assert found["ar-en"] == [(f"النص {n}", f"Text {n}") for n in range(11)]
    assert ("النص 20", "Text 3") not in held_out_pairs(documents, 100)["ar-en"]
    assert held_out_pairs(documents[:5], 100) == {}  # too few to say anything
    find_translations(learnt_model, {}, silent, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_written_is_drawn(random_model, learnt_model, tmp_path):
    pairs = held_out_pairs([pair(n) for n in range(12)], 100)
    stages = []
    for name, model in (("before", random_model), ("after", learnt_model)):
        (tmp_path / name).mkdir()
        find_translations(model, pairs, silent, tmp_path / name)
        stages.append(Artifact(tmp_path / name, name, "scores", "evaluate", name, name, {}, {}, {}, {}))
    written = json.loads((tmp_path / "after" / "retrieval.json").read_text())["ar-en"]
    assert (written["pairs"], len(written["layers"]), len(written["picture"]["x"])) == (12, 3, 24)
    sums = [layer["forward"] + layer["backward"] for layer in written["layers"]]
    assert sums[written["best"]] == max(sums)
    section = crosslingual(Run(stages), Colours(["en", "ar"], {}))
    assert [row[1].text for row in section.data["tables"][0].rows] == ["before", "after"]
    assert len(section.data["plots"]) == 3
    assert f"{max(sums) / 2:.0%} in after" in section.finding
    assert "Translations found" in render("A page", [section])
    assert crosslingual(Run([]), Colours([], {})) is None
