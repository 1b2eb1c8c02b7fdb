"""Mixtures: from shares of tokens to a table that says which source each row of a batch reads.

Shares are quantised to whole rows of a block of at least 1024 rows, and the rows of a block are dealt out so that
after any number of rows every source has its share to within one row (Tijdeman 1980, "The chairman assignment
problem"); no window of training drifts from the plan by luck. Two windows' ends bound it, so any window is within
two rows.

    shares {en: 0.5, ar: 0.25, parallel: 0.25}  ->  en ar en parallel en ar en parallel …
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diglot.artifact import UserError
from diglot.tokens.shards import TokenSource

SMALLEST_BLOCK, LARGEST_BLOCK = 1024, 16384
FEWEST_ROWS = (
    16  # blocks grow until the rarest source has this many rows: its share is then within 1/32 of the plan
)


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


def _of_language(
    language: str, mixture: Mapping[str, float], sources: Mapping[str, TokenSource]
) -> list[str]:
    return [
        name
        for name, source in sources.items()
        if source.language == language and _is_plain_text(source) and name not in mixture
    ]


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
    block, scale = int(rows.sum()), 2 * len(rows) - 2
    slots = np.zeros(block, dtype=np.int32)
    if len(rows) == 1:
        return slots
    dealt = np.zeros_like(rows)
    for slot in range(block):
        # Due: more than 1/scale of a row behind its share. The theorem says that there always is one.
        due = scale * (rows * (slot + 1) - dealt * block) >= block
        deadlines = np.where(due, (scale * (dealt + 1) - 1) / rows, np.inf)
        slots[slot] = chosen = int(np.argmin(deadlines))
        dealt[chosen] += 1
    return slots
