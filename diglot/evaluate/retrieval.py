"""Do two languages share a space inside a model? Translations are looked for by hidden states, layer by layer.

Each side of a held-out pair is a text of its own; its vector at a layer is the mean of its tokens' hidden states. Of each text
the nearest in the other language by cosine is taken, after each language's own mean is subtracted: without that, what tells the
languages apart hides what they share (Libovický et al., 2004.05160). Accuracy at 1, both ways; chance is one over the pairs.

    retrieval.json      {"en-ar": {"pairs", "layers": [{"forward", "backward"}, …], "best", "picture": {…}}}

Layer 0 is the embedding. The picture is of the layer with the most right: both languages' vectors, as they are, on the first two
principal components of all of them. In a model that keeps the languages apart they are two clouds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diglot.base.files import write_json
from diglot.evaluate.language_model import LanguageModel, Report
from diglot.read.corpus import two_sides

FILE = "retrieval.json"
FEWEST_PAIRS = 10  # fewer are found by luck
DIGITS = 4


def held_out_pairs(documents: Sequence[dict[str, str]], limit: int) -> dict[str, list[tuple[str, str]]]:
    """By languages (`en-ar`), the two texts of held-out pairs, none of which stands there twice.

    Args:
        documents: held out, of all domains.
        limit: pairs of two languages, at most.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    seen: set[tuple[str, str]] = set()
    for document in documents:
        sides = two_sides(document["text"]) if document["domain"] == "parallel" else None
        if sides is None:
            continue
        # In training either side may stand first; here one order holds for all.
        (first, text), (second, other) = sorted(sides)
        name = f"{first}-{second}"
        # The same text twice would be found in the wrong place.
        if len(found.get(name, [])) < limit and not {(name, text), (name, other)} & seen:
            seen |= {(name, text), (name, other)}
            found.setdefault(name, []).append((text, other))
    return {name: pairs for name, pairs in found.items() if len(pairs) >= FEWEST_PAIRS}


def find_translations(
    model: LanguageModel, pairs: dict[str, list[tuple[str, str]]], report: Report, output: Path
) -> None:
    """Write `retrieval.json`: accuracy at 1 both ways at every layer, by languages, and a picture; nothing without pairs.

    Args:
        model: to be looked into.
        pairs: from `held_out_pairs`.
        report: told about texts.
        output: folder of the file.
    """
    texts = [text for of in pairs.values() for side in zip(*of) for text in side]
    vectors_NLD = mean_states(model, texts, report) if texts else np.zeros((0, 0, 0))
    written, start = {}, 0
    for name, of in pairs.items():
        both_LND = vectors_NLD[start : start + 2 * len(of)].swapaxes(0, 1)
        start += 2 * len(of)
        layers = [accuracies(*np.split(both_ND, 2)) for both_ND in both_LND]
        best = int(np.argmax([forward + backward for forward, backward in layers]))
        written[name] = {
            "pairs": len(of),
            "layers": [{"forward": forward, "backward": backward} for forward, backward in layers],
            "best": best,
            # Each text of the first language, then each of the second.
            "picture": picture(both_LND[best]),
        }
    if written:
        write_json(output / FILE, written)


@torch.inference_mode()
def mean_states(model: LanguageModel, texts: Sequence[str], report: Report) -> np.ndarray:
    """float32 [texts, layers + 1, D]: the mean hidden state of each text's tokens; what stands before it is not counted."""
    ids = [model.encode(text, add_special_tokens=False)[: model.max_length - 1] for text in texts]
    order = sorted(range(len(ids)), key=lambda row: (-len(ids[row]), row))
    found: list[np.ndarray | None] = [None] * len(ids)
    for start in range(0, len(order), model.batch_size):
        rows = order[start : start + model.batch_size]
        tokens_BT = torch.zeros(len(rows), 1 + len(ids[rows[0]]), dtype=torch.long)
        for index, row in enumerate(rows):
            tokens_BT[index, : 1 + len(ids[row])] = torch.tensor([model.prefix_id, *ids[row]])
        # Attention looks back only, so padding behind a text changes nothing of it. No logits but one row's.
        states = model.model(
            input_ids=tokens_BT.to(model.device), output_hidden_states=True, use_cache=False, logits_to_keep=1
        ).hidden_states
        for index, row in enumerate(rows):
            ends = slice(1, 1 + max(1, len(ids[row])))
            found[row] = torch.stack([state[index, ends].float().mean(0) for state in states]).cpu().numpy()
        report(start + len(rows), len(order))
    return np.stack([each for each in found if each is not None])


def accuracies(first_ND: np.ndarray, second_ND: np.ndarray) -> tuple[float, float]:
    """The share of texts whose nearest in the other language is their translation: from the first, and from the second."""
    unit = []
    for vectors_ND in (first_ND, second_ND):
        centred_ND = vectors_ND - vectors_ND.mean(0)
        unit.append(centred_ND / np.maximum(np.linalg.norm(centred_ND, axis=1, keepdims=True), 1e-12))
    similarity_NN = unit[0] @ unit[1].T
    places_N = np.arange(len(similarity_NN))
    right = [float((similarity.argmax(1) == places_N).mean()) for similarity in (similarity_NN, similarity_NN.T)]
    return round(right[0], DIGITS), round(right[1], DIGITS)


def picture(vectors_ND: np.ndarray) -> dict[str, Any]:
    """Vectors on their first two principal components."""
    centred_ND = (vectors_ND - vectors_ND.mean(0)).astype(np.float64)
    left_NK, sizes_K, axes_KD = np.linalg.svd(centred_ND, full_matrices=False)
    # A component's sign is anybody's choice: its largest part is positive.
    signs_K = np.sign(axes_KD[np.arange(len(axes_KD)), np.abs(axes_KD).argmax(1)])
    points_N2 = (left_NK * sizes_K * signs_K)[:, :2]
    shares = sizes_K[:2] ** 2 / max(float((sizes_K**2).sum()), 1e-12)
    x, y = np.round(points_N2, DIGITS).T.tolist()
    return {"x": x, "y": y, "variance": np.round(shares, DIGITS).tolist()}
