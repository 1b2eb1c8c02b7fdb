"""Summaries for artifacts that tests write themselves."""

from typing import Any

from diglot.base.summaries.corpus import CorpusSummary, DocumentCounts
from diglot.base.summaries.model import Shape, TrainedModel
from diglot.base.summaries.text import WorldSummary

EMPTY_CORPUS = CorpusSummary(DocumentCounts(0, 0, 0, 0), {}, {}, {})
EMPTY_WORLD = WorldSummary({}, {}, {}, {}, {}, {}, {})
SMALL_SHAPE = Shape(300, 2, 32, 64, 2, 2, 16, 64, tied_embeddings=True)


def trained(**facts: Any) -> TrainedModel:
    """The summary of a train stage, as far as a test does not give it."""
    given: dict[str, Any] = {
        "architecture": "llama",
        "parameters": 1000,
        "shape": SMALL_SHAPE,
        "steps": 10,
        "tokens": 1000,
    }
    given |= {"loss": 2.0, "packing_efficiency": 1.0, "tokens_per_second": 100.0, "mfu": 0.1, "peak_memory_mb": 100}
    return TrainedModel(**given | {"mixture": {}} | facts)
