"""What stages say about what they made: a dataclass for every kind of artifact, and for stages that measure more.

A stage returns one; it is written into the manifest, and `diglot show`, the report and the end of a run read its fields.

    class CorpusSummary(Summary, of=("corpus", "instructions", "preferences")): ...   # kinds of artifacts
    class TranslationSummary(Summary, of=("translate",)): ...                          # a kind of stage

A manifest names both kinds; the stage's own class comes first. A field that has its default value is not written, and
what has unknown fields, or lacks one without a default, is of another version of Diglot and is not read.
"""

from diglot.base.summaries import answers, corpus, judgements, model, quality, scores, text, tokenizer

__all__ = ["answers", "corpus", "judgements", "model", "quality", "scores", "text", "tokenizer"]
