"""How often a document is read: weights from columns of the corpus that `encode` kept beside the tokens.

    document_weights:
      web-ar: {column: cluster_size, by: log, low: 1, high: 3}       1 + ln(size of its cluster of duplicates)
      web-en: {column: classifier, by: quantile, low: 0.5, high: 2}  the worst half as often, the best twice

A weight is a number of visits a pass, in eighths. A document of weight 1.5 is visited once in one pass and twice in
the next: pass p visits it floor(w(p + 1) + u) - floor(w·p + u) times, where u in [0, 1) is a keyed hash of the
document. So over any passes it has its weight's visits to within one, over every eight passes exactly, and which
pass it is in is as good as drawn. Documents whose column has no number have weight 1.
"""

from __future__ import annotations

import hashlib

import numpy as np

from diglot.recipe.train import DocumentWeight
from diglot.tokens.permutation import Permutation, mix

PASSES = 8  # weights are multiples of 1/PASSES; after so many passes everything repeats, in another order
QUANTILES = 256
SAMPLE = 100_000  # documents that quantiles are taken from


class Weights:
    """The weights of a source's documents.

    Attributes:
        most: no document is visited more often in a pass.
    """

    def __init__(self, column: np.ndarray, rule: DocumentWeight, key: str):
        """Take a column.

        Args:
            column: [documents] numbers.
            rule: how they become weights.
            key: of the hash that says in which pass a fraction of a visit falls.
        """
        self._column, self._rule = column, rule
        self._key = np.frombuffer(hashlib.sha256(key.encode()).digest(), "<u8", count=1).astype(np.uint64)
        self.most = -(-round(rule.high * PASSES) // PASSES)
        self._edges = self._quantiles() if rule.by == "quantile" else None

    def _quantiles(self) -> np.ndarray:
        number = len(self._column)
        # Whose quantiles these are does not depend on the run's seed: a document's weight is its own.
        sample = np.sort(Permutation(number, "quantiles").at(np.arange(min(number, SAMPLE))))
        values = np.asarray(self._column[sample], dtype=np.float64)
        values = values[np.isfinite(values)]
        return np.quantile(values, np.linspace(0, 1, QUANTILES + 1)) if len(values) else np.zeros(1)

    def eighths(self, documents: np.ndarray) -> np.ndarray:
        """int64: the documents' weights times `PASSES`."""
        values = np.asarray(self._column[documents], dtype=np.float64)
        low, high = self._rule.low, self._rule.high
        if self._edges is not None:
            below = np.searchsorted(self._edges, values, "left") + np.searchsorted(self._edges, values, "right")
            weights = low + (high - low) * below / (2 * len(self._edges))
        elif self._rule.by == "log":
            weights = np.clip(1 + np.log(np.maximum(values, 1e-9)), low, high)
        else:
            weights = np.clip(values, low, high)
        return np.rint(np.where(np.isfinite(values), weights, 1.0) * PASSES).astype(np.int64)

    def visits(self, documents: np.ndarray, eighths: np.ndarray, number: int) -> np.ndarray:
        """int64: how often pass `number` visits each document."""
        drawn = (mix(documents.astype(np.uint64) + self._key) >> np.uint64(32)) % np.uint64(PASSES)
        begin = eighths * (number % PASSES) + drawn.astype(np.int64)
        return (begin + eighths) // PASSES - begin // PASSES
