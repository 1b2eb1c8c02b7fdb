"""What evaluations of a run measure beside bits per byte, against transformers' logits on the same items."""

import functools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import artifact, sentences, settings, train
from transformers import AutoModelForCausalLM

from diglot.base.artifact import Inputs
from diglot.recipe.train import Phase
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokens.shards import TokenSource, open_tokens
from diglot.train.metrics import read_metrics
from diglot.train.probes import FEWEST_ITEMS, Probes, encoded, in_rows, make_probes

ROOM = 40_000
LONG = {"sequence_length": 256, "batch_size": 2, "phases": [Phase(name="all")], "evaluate_tokens": 2000}


@pytest.fixture(scope="module")
def folders(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The tiny model, and tokens of documents that are long enough to make items of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from diglot.base.artifact import Context
    from diglot.encode import stage as encode
    from diglot.recipe.encode import Encode

    folder = tmp_path_factory.mktemp("indicators")
    for split, count, seed in (("documents", 40, 5), ("heldout", 25, 6)):
        (folder / "corpus" / split).mkdir(parents=True)
        lines = sentences(8 * count, seed)
        texts = [" ".join(lines[8 * i : 8 * i + 8]) for i in range(count)]
        table = {"id": [str(i) for i in range(count)], "text": texts}
        table |= {
            key: [value] * count
            for key, value in {"language": "en", "domain": "web", "source": "long", "origin": "natural"}.items()
        }
        pq.write_table(pa.table(table), folder / "corpus" / split / "long-00000.parquet")
    counts = {"kept": {"documents": 40}, "held_out": {"documents": 25}}
    ledger = {"sources": {"long": {"language": "en", "domain": "web", **counts}}}
    (folder / "corpus" / "ledger.json").write_text(json.dumps(ledger))
    (folder / "tokens").mkdir()
    model = inputs.one("model")
    given = Inputs({"tokenizer": [model], "corpus": [artifact(folder / "corpus", "corpus")]})
    encode.run(Encode(), given, folder / "tokens", Context("tokens", 0, folder))
    # With the conversations of the others, for `answers`.
    tokens = [artifact(folder / "tokens", "tokens"), inputs.one("tokens")]
    return Inputs({"model": [model], "tokens": tokens})


def probes_of(folders: Inputs, room: int = ROOM) -> tuple[Probes, dict[str, TokenSource]]:
    heldout = open_tokens([each.path for each in folders.many("tokens")], None, "heldout")
    tokenizer = load_tokenizer(folders.one("model").path)
    return make_probes(heldout, tokenizer, settings(**LONG, indicator_tokens=room)), heldout


@functools.cache
def by_transformers(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def nats(folder: Path, context: list[int], continuation: list[int], bos: int) -> float:
    """By transformers, of one text alone."""
    model = by_transformers(folder)
    ids = torch.tensor([[bos, *context, *continuation]])
    with torch.no_grad():
        log_probabilities_TV = model(ids).logits[0, :-1].log_softmax(-1)
    chosen_T = log_probabilities_TV.gather(1, ids[0, 1:, None])[:, 0]
    return -float(chosen_T[len(context) :].sum())


def test_what_is_logged_is_what_transformers_finds(folders: Inputs, tmp_path: Path) -> None:
    given = settings(**LONG, steps=3, evaluate_every=3, indicator_tokens=ROOM)
    output = train(folders, tmp_path, given)
    lines = [line for line in read_metrics(output / "logs" / "metrics.jsonl") if line["type"] == "evaluation"]
    probes, _ = probes_of(folders)
    bos = probes.special["bos"]
    for folder, line in ((folders.one("model").path, lines[0]), (output, lines[-1])):
        found = line["indicators"]["en"]
        assert list(found) == ["bits_per_byte", "answers", "cloze", "margin", "context"]
        for place, item in enumerate(probes.by_kind["cloze"].items["en"][:3]):
            losses = [nats(folder, text.context, text.continuation, bos) for text in item.texts]
            others = losses[: item.answer] + losses[item.answer + 1 :]
            assert found["margin"]["values"][place] == pytest.approx(sum(others) / 3 - losses[item.answer], abs=1e-3)
            assert found["cloze"]["values"][place] == (losses[item.answer] < min(others))
        after, alone = probes.by_kind["context"].items["en"][0].texts
        saved = nats(folder, [], alone.continuation, bos) - nats(folder, after.context, after.continuation, bos)
        assert found["context"]["values"][0] == pytest.approx(saved / math.log(2) / after.bytes, abs=1e-4)
        # Of bits per byte the whole stands there too, as it is by language.
        assert found["bits_per_byte"]["value"] == pytest.approx(line["languages"]["en"])
        assert found["answers"]["value"] == line["sources"]["chat"]["bits_per_byte"]
        for name, of in found.items():
            assert of["value"] == pytest.approx(np.mean(of["values"]), rel=0.1, abs=1e-3), name


def test_a_text_in_a_narrow_row_predicts_its_continuation_alone(folders: Inputs) -> None:
    tokenizer = load_tokenizer(folders.one("model").path)
    text = encoded("the old cat", " sees a small bird", tokenizer)
    assert tokenizer.decode(text.continuation).strip() == "sees a small bird"
    assert text.bytes == len(" sees a small bird")
    special = probes_of(folders)[0].special
    batch = next(in_rows([text, replace(text, context=[])], 64, special, 2))
    first = len(text.context)
    assert batch.targets_BT[0, first : first + len(text.continuation)].tolist() == text.continuation
    assert batch.targets_BT[1, : len(text.continuation)].tolist() == text.continuation
    assert (batch.targets_BT != -100).sum() == 2 * len(text.continuation)
    # A target is the token after its place.
    whole = [special["bos"], *text.context, *text.continuation]
    assert batch.tokens_BT[0, : len(text)].tolist() == whole[:-1]
    assert (batch.documents_BT >= 0).sum() == len(text) + len(text.continuation)


def test_items_keep_within_their_room_and_too_few_are_none(folders: Inputs) -> None:
    def places(room: int) -> int:
        return sum(probe.width * len(probe.texts) for probe in probes_of(folders, room)[0].by_kind.values())

    assert 0 < places(ROOM) <= ROOM
    few = probes_of(folders, 20_000)[0].by_kind
    assert all(len(items) >= FEWEST_ITEMS for probe in few.values() for items in probe.items.values())
    assert places(3_000) == 0  # fewer than eight items are not measured, and take no time
    assert places(0) == 0
