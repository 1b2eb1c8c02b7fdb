"""Indicators: what each evaluation of a run measures by language, item by item; what the items are is in `probes.py`.

    bits_per_byte   of held-out text, of rows of it                      as `languages` of the same line of the metrics
    answers         bits per byte of held-out instructions' answers, of rows of them
    cloze           share of items whose right words are the likeliest   chance 0.25
    margin          nats by which they are likelier than the others' mean   chance 0
    context         bits per byte that the text before a stretch saves   chance 0

    "indicators": {"ar": {"cloze": {"value": 0.5, "chance": 0.25, "values": [1, 0, …]}, …}}

`values` are the items' own, the same items in the same order in every evaluation of the run, so that two evaluations can be
compared item by item: what is hard is hard for both, and the difference scatters less than either number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diglot.tokens.packing import Batch
from diglot.tokens.shards import TokenSource
from diglot.train.job import Job
from diglot.train.metrics import rounded
from diglot.train.objectives import micro_batches
from diglot.train.probes import Item, Probe, in_rows

MOST_VALUES = 64  # of bits per byte: neighbouring rows are taken together
DIGITS = 4
CHANCE = {"cloze": 0.25, "margin": 0.0, "context": 0.0}
Series = dict[str, Any]


def sums_by_row(job: Job, batch: Batch, rows: int) -> Tensor:
    """Loss, units and what is measured on pairs of each row, float64 [B, 2 + M]: the parts of this process's micro-batches.

    Args:
        job: of the run.
        batch: whole; each row counts as a source of its own, so that the loss sums it apart on every mesh.
        rows: in memory at a time.
    """
    apart = replace(batch, sources_B=np.arange(len(batch.tokens_BT), dtype=np.int32))
    sums_BM = torch.zeros(len(batch.tokens_BT), 2 + job.num_measures, dtype=torch.float64)
    for micro in micro_batches(job.mesh.rows(apart), rows, job.device):
        # With the weights of the first step, so that losses of all evaluations can be compared.
        sums_BM += job.loss(micro, len(batch.tokens_BT)).found_SM.cpu()
    return sums_BM


def of_text(rows_by_source: Sequence[tuple[TokenSource, Tensor, int]]) -> dict[str, dict[str, Series]]:
    """By language, bits per byte of plain text and of answers.

    Args:
        rows_by_source: each source with nats and tokens by row, float64 [B, 2], and its bytes.
    """
    found: dict[str, dict[str, Series]] = {}
    wholes: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for source, sums_B2, num_bytes in rows_by_source:
        if source.form == "pairs" or source.domain == "parallel":
            continue
        name = "answers" if source.form == "chat" else "bits_per_byte"
        series = found.setdefault(source.language, {}).setdefault(name, {"value": None, "values": []})
        # A row's bytes are not known, but how many a token has on the whole; they are the same in every evaluation.
        groups = sums_B2.tensor_split(min(MOST_VALUES, len(sums_B2)))
        nats_tokens = torch.stack([group.sum(0) for group in groups])
        bytes_a_token = num_bytes / float(nats_tokens[:, 1].sum())
        bits_G = nats_tokens[:, 0] / math.log(2) / (nats_tokens[:, 1] * bytes_a_token)
        series["values"] += _rounded(bits_G.tolist())
        wholes.setdefault((source.language, name), []).append((float(nats_tokens[:, 0].sum()), num_bytes))
    for (language, name), parts in wholes.items():
        nats, size = (sum(part) for part in zip(*parts))
        found[language][name]["value"] = rounded(nats / math.log(2) / size) if size else None
    return found


def of_probes(job: Job, report: Callable[[str], None]) -> dict[str, dict[str, Series]]:
    """By language, what the probes find."""
    found: dict[str, dict[str, Series]] = {}
    for kind, probe in job.probes.by_kind.items():
        nats = iter(_nats(job, probe, report, f"evaluating {kind}"))
        for language, items in probe.items.items():
            by_item = [[next(nats) for _ in item.texts] for item in items]
            for name, values in _values(kind, items, by_item).items():
                value = rounded(sum(values) / len(values))
                series = {"value": value, "chance": CHANCE[name], "values": _rounded(values)}
                found.setdefault(language, {})[name] = series
    return found


def _nats(job: Job, probe: Probe, report: Callable[[str], None], doing: str) -> list[float]:
    """The loss of each text of a probe, in nats."""
    # Narrow rows: as many more of them lie in memory at a time.
    rows = job.rows * max(1, job.settings.sequence_length // probe.width)
    sums = []
    for number, batch in enumerate(in_rows(probe.texts, probe.width, job.probes.special, rows * job.mesh.data_size), 1):
        report(f"{doing}, batch {number}")
        sums.append(sums_by_row(job, batch, rows))
    return job.mesh.sum(torch.cat(sums))[:, 0].tolist()


def _values(kind: str, items: Sequence[Item], nats: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """What the losses of items' texts say: by the name of a series, a value an item."""
    if kind == "context":
        # The second text is the stretch alone, the first the same tokens after what stands before them.
        saved = [
            (alone - after) / math.log(2) / item.texts[0].bytes
            for item, (after, alone) in zip(items, nats, strict=True)
        ]
        return {"context": saved}
    right, margins = [], []
    for item, losses in zip(items, nats, strict=True):
        others = [loss for place, loss in enumerate(losses) if place != item.answer]
        right.append(float(losses[item.answer] < min(others)))
        margins.append(sum(others) / len(others) - losses[item.answer])
    return {"cloze": right, "margin": margins}


def _rounded(values: Sequence[float]) -> list[float | None]:
    return [round(value, DIGITS) if math.isfinite(value) else None for value in values]
