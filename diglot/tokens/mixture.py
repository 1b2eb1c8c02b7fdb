"""Mixtures: from shares of tokens to a table that says which source each row of a batch reads.

Shares are quantised to whole rows of a block of at least 1024 rows, and the rows of a block are dealt out so that
after any number of rows every source has its share to within one row (Tijdeman 1980, "The chairman assignment
problem"); no window of training drifts from the plan by luck. Two windows' ends bound it, so any window is within
two rows.

    shares {en: 0.5, ar: 0.25, parallel: 0.25}  ->  en ar en parallel en ar en parallel …
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from diglot.base.artifact import UserError
from diglot.tokens.shards import TokenSource

Value = TypeVar("Value")
SMALLEST_BLOCK, LARGEST_BLOCK = 1024, 16384
FEWEST_ROWS = 16  # blocks grow until the rarest source has this many rows: its share is then within 1/32 of the plan


def token_shares(
    mixture: Mapping[str, float] | None, sources: Mapping[str, TokenSource], phase: str
) -> dict[str, float]:
    """The share of tokens that each source shall have.

    Args:
        mixture: weights by source name, or by a language code, which stands for that language's text sources
            (parallel text aside) that the mixture does not name themselves, split by size. None: all by size.
        sources: what there is.
        phase: the phase's name, for errors.

    Returns:
        Shares that add up to 1, by source name, in the order of `sources`.

    Raises:
        UserError: a name is neither a source nor a language of one.
    """
    sizes = {name: source.num_tokens for name, source in sources.items()}
    if mixture is None:
        mixture = {name: float(size) for name, size in sizes.items()}
    weights = dict.fromkeys(sources, 0.0)
    for name, weight in mixture.items():
        members = [name] if name in sources else _of_language(name, mixture, sources)
        if not members:
            languages = sorted({source.language for source in sources.values() if _is_plain_text(source)})
            raise UserError(
                f"phase {phase!r}: mixture names {name!r}, which no token source has (or each of that language is "
                f"named itself). Sources: {', '.join(sources) or 'none'}. Languages: {', '.join(languages) or 'none'}"
            )
        total = sum(sizes[member] for member in members)
        for member in members:
            weights[member] += weight * sizes[member] / total
    total_weight = sum(weights.values())
    if total_weight <= 0:
        raise UserError(f"phase {phase!r}: no source has a share in the mixture")
    return {name: weight / total_weight for name, weight in weights.items() if weight > 0}


def _is_plain_text(source: TokenSource) -> bool:
    return source.form == "text" and source.domain != "parallel"


def _of_language(language: str, mixture: Mapping[str, object], sources: Mapping[str, TokenSource]) -> list[str]:
    return [
        name
        for name, source in sources.items()
        if source.language == language and _is_plain_text(source) and name not in mixture
    ]


def with_language(given: Mapping[str, Value], sources: Mapping[str, TokenSource], where: str) -> dict[str, Value]:
    """Settings by source, from settings by source or language; a source's own goes before its language's.

    Raises:
        UserError: a name is neither a source nor a language of plain text.
    """
    found: dict[str, Value] = {}
    for name, value in given.items():
        members = [name] if name in sources else _of_language(name, given, sources)
        if not members:
            raise UserError(f"{where}: names {name!r}; sources: {', '.join(sources) or 'none'}")
        found |= dict.fromkeys(members, value)
    return found


def rows_per_block(shares: np.ndarray, tokens_per_row: np.ndarray) -> np.ndarray:
    """Whole numbers of rows that come closest to shares of tokens.

    Args:
        shares: [S] shares of tokens, all above 0.
        tokens_per_row: [S] mean tokens of a source's rows: packed rows are not quite full.

    Returns:
        int64 [S], each at least 1; their sum is the size of the block.
    """
    weights = shares / tokens_per_row
    weights = weights / weights.sum()
    block = SMALLEST_BLOCK
    while block < LARGEST_BLOCK and block * weights.min() < FEWEST_ROWS and len(weights) > 1:
        block *= 2
    exact = weights * block
    rows = np.maximum(np.floor(exact).astype(np.int64), 1)
    missing = block - int(rows.sum())
    if missing > 0:
        rows[np.argsort(rows - exact, kind="stable")[:missing]] += 1
    while missing < 0:  # very small shares were raised to a row: the largest give way
        rows[np.argmax(rows)] -= 1
        missing += 1
    return rows


def deal(rows: np.ndarray) -> np.ndarray:
    """Deal out the rows of a block: after any number of slots each source is within one row of its share.

    Args:
        rows: int64 [S], rows of each source in a block.

    Returns:
        int32 [block]: the source of each slot.
    """
    # Plain numbers: sixteen thousand slots take 30 ms, where numpy's calls on a few numbers each took 900.
    counts, scale = rows.tolist(), 2 * len(rows) - 2
    block = sum(counts)
    if len(counts) == 1:
        return np.zeros(block, dtype=np.int32)
    dealt, slots = [0] * len(counts), []
    for slot in range(1, block + 1):
        chosen, earliest = -1, math.inf
        for source, count in enumerate(counts):
            # Due: more than 1/scale of a row behind its share. The theorem says that there always is one.
            if scale * (count * slot - dealt[source] * block) >= block:
                deadline = (scale * (dealt[source] + 1) - 1) / count
                if deadline < earliest:
                    chosen, earliest = source, deadline
        slots.append(chosen)
        dealt[chosen] += 1
    return np.array(slots, dtype=np.int32)


def keep_under_caps(weights: np.ndarray, sizes: np.ndarray, caps: np.ndarray) -> np.ndarray:
    """Lower the weights of sources that would be read beyond their caps; the others take over in proportion.

    A capped source is lowered by one factor over the whole phase, so that it lasts to the phase's end instead of
    leaving the mixture in the middle (as UniMax does for languages, Chung et al. 2023).

    Args:
        weights: [K, S] weights of S sources in K stretches of a phase.
        sizes: [K] rows of each stretch.
        caps: [S] most rows of each source in all stretches together; infinite where there is no cap. Together at
            least the rows of the phase.

    Returns:
        [K, S] shares of rows, that add up to 1 in each stretch.
    """
    total = sizes.sum()
    factors = np.where(caps > 0, 1.0, 0.0)
    capped = np.flatnonzero(np.isfinite(caps) & (caps > 0))
    for _ in range(1000):
        shares = weights * factors
        shares = shares / shares.sum(axis=1, keepdims=True)
        used = np.clip((sizes @ shares)[capped] / total, 1e-12, 1 - 1e-12)
        wanted = np.clip(caps[capped] / total, 1e-12, 1 - 1e-12)
        # By odds: with one stretch and one capped source a single turn is exact.
        lowered = np.minimum(1, factors[capped] * (wanted / (1 - wanted)) / (used / (1 - used)))
        if np.allclose(lowered, factors[capped], rtol=1e-9, atol=0):
            break
        factors[capped] = lowered
    return shares
