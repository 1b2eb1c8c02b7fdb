"""The data order, measured in a process of its own: `diglot_data_order.py WHAT FOLDER QUICK`, see ../data_order.py."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diglot.recipe.train import DocumentWeight
from diglot.tokens.mixture import PhasePlan
from diglot.tokens.order import Order
from diglot.tokens.shards import GROUP, TokenSource, num_groups, sum_groups

SPECIAL = {"bos": 1, "eos": 2, "pad": 3}
SOURCES = {"web-en": (0.5, 900), "web-ar": (0.3, 700), "books": (0.15, 20_000), "parallel": (0.05, 90)}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds: the machine may be busy."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def write(folder: Path, tokens: int) -> None:
    """Sources with documents of log-normal lengths, as `encode` writes them."""
    rng = np.random.default_rng(0)
    for name, (share, mean) in SOURCES.items():
        number = max(100, int(tokens * share / mean))
        lengths = np.maximum(2, rng.lognormal(np.log(mean) - 0.5, 1, number).astype(np.int64))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        np.save(folder / f"{name}.offsets.npy", offsets)
        np.save(folder / f"{name}.groups.npy", sum_groups(offsets))
        np.save(folder / f"{name}.tokens.npy", rng.integers(8, 60_000, offsets[-1], dtype=np.uint16))


def open_source(folder: Path, name: str) -> TokenSource:
    tokens, offsets, groups = (np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("tokens", "offsets", "groups"))  # fmt: skip
    lengths = np.diff(offsets)
    columns = {"quality": np.log(lengths.astype(np.float32))}
    return TokenSource(
        name, "text", "en", "web", "train", name, SPECIAL, tokens, offsets, None, lengths, folder / name, columns, groups
    )  # fmt: skip


def batches(folder: Path, quick: bool) -> dict[str, float]:
    """Tokens a second of whole batches, from memory-mapped files that the system has in memory."""
    write(folder, 20_000_000 if quick else 200_000_000)
    sources = {name: open_source(folder, name) for name in SOURCES}
    phases = [PhasePlan("stable", 10_000, {name: share for name, (share, _) in SOURCES.items()}), PhasePlan("decay", 10_000, None, {}, True)]  # fmt: skip
    found = {}
    for what, size, length, number in (("512 × 2048", 512, 2048, 8 if quick else 40), ("32 × 256", 32, 256, 200)):
        order = Order(sources, phases, size, length, 0)
        order.batch(0)
        took = min(
            seconds(lambda order=order, part=part, number=number: [order.batch(part * number + step) for step in range(number)])
            for part in (1, 2)
        )  # fmt: skip
        found[f"tokens a second, {what}"] = number * size * length / took
    offsets = sources["web-en"].offsets
    found["documents a second, sums of groups"] = (len(offsets) - 1) / seconds(lambda: sum_groups(offsets))
    rule = {"web-en": DocumentWeight(column="quality")}
    weighted = seconds(lambda: Order({"web-en": sources["web-en"]}, [PhasePlan("all", 10)], 8, 2048, 0, weights=rule))  # fmt: skip
    found["documents a second, weights"] = (len(offsets) - 1) / weighted
    return found


class Counted:
    """A virtual array: element i is worked out from i."""

    def __init__(self, length: int, of: Callable[[np.ndarray], np.ndarray]):
        self._length, self._of = length, of

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, key: np.ndarray | int) -> np.ndarray:
        return self._of(np.asarray(key) % self._length)


def trillion(folder: Path, quick: bool) -> dict[str, float]:
    """Step 10^6 of a plan of a trillion tokens: a billion documents of 1,001 tokens, and a phase that ramps."""
    documents, length = 10**9, 1001
    groups = np.full(num_groups(documents), GROUP * length)
    groups[-1] = (documents - (len(groups) - 1) * GROUP) * length
    offsets = Counted(documents + 1, lambda document: document * length)
    tokens = Counted(documents * length, lambda at: at % 60_000)
    sources = {
        name: TokenSource(name, "text", name, "web", "train", name, SPECIAL, tokens, offsets, None, offsets, folder, {}, groups)  # type: ignore[arg-type]
        for name in ("en", "ar")
    }  # fmt: skip
    steps = 10**6 + 1000
    phases = [PhasePlan("stable", steps // 2, {"en": 0.7, "ar": 0.3}), PhasePlan("ramp", steps - steps // 2, {"en": 0.3, "ar": 0.7}, {"ar": 4}, True)]  # fmt: skip
    Order({"en": sources["en"]}, [PhasePlan("warm", 2)], 1, 8, 0).batch(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plans: list[Order] = []
    plan = seconds(lambda: plans.append(Order(sources, phases, 512, 2048, 0)))
    find = seconds(lambda: plans[0].fragments(10**6))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch = seconds(lambda: plans[0].batch(10**6))
    return {"plan": plan, "find": find, "batch": batch, "megabytes": (after - before) / 1024}


def model(folder: Path, quick: bool) -> dict[str, float]:
    """Tokens a second that training of a 48M model takes: forward, backward and AdamW; one thread, float32."""
    import torch

    from diglot.model.decoder import Decoder, DecoderConfig
    from diglot.model.loss import cross_entropy

    torch.set_num_threads(1)
    shape = {"vocabulary_size": 32_000, "num_layers": 10, "hidden_size": 512, "intermediate_size": 1376}
    decoder = Decoder(DecoderConfig(**shape, num_heads=8, num_key_value_heads=8, head_size=64, max_positions=512))
    optimizer = torch.optim.AdamW(decoder.parameters())
    tokens_BT = torch.randint(32_000, (4, 512))

    def step() -> None:
        hidden_BTD = decoder(tokens_BT)
        loss, _ = cross_entropy(hidden_BTD.flatten(0, 1), decoder.output_weight(), tokens_BT.flatten())
        (loss / tokens_BT.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    took = min(seconds(step) for _ in range(1 if quick else 3))
    size = sum(parameter.numel() for parameter in decoder.parameters())
    return {"tokens a second": tokens_BT.numel() / took, "parameters": size}


if __name__ == "__main__":
    what, folder, quick = sys.argv[1:]
    print(json.dumps({"batches": batches, "trillion": trillion, "model": model}[what](Path(folder), quick == "quick")))
