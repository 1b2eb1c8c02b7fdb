"""The stage `gather-preferences`: preference pairs in the common forms become prompt, chosen and rejected.

    train.jsonl, heldout.jsonl   {"id", "source", "language", "prompt": […], "chosen": […], "rejected": […]}
    ledger.json                  what was read, kept, held out and dropped, and why

`prompt + chosen` and `prompt + rejected` are whole conversations. A prompt never has pairs on both sides of the
split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diglot.align.gather import Reading, gather
from diglot.align.messages import Message, read_pair
from diglot.base.artifact import Context, Inputs
from diglot.base.summaries.corpus import CorpusSummary
from diglot.recipe.align import GatherPreferences


def run(settings: GatherPreferences, inputs: Inputs, output: Path, context: Context) -> CorpusSummary:
    """Read, check and split preference pairs.

    Raises:
        UserError: a path cannot be read, or nothing of a source can be used.
    """
    # A rejected answer may be rejected for its language, and questions have many pairs: all of one is compared.
    return gather(settings, inputs, output, context, Reading(_read, _prompt, _all, _wanted, _all))


def _read(record: dict[str, Any], max_characters: int) -> dict[str, Any]:
    return read_pair(record, max_characters)._asdict()


def _prompt(fields: dict[str, Any]) -> list[Message]:
    return fields["prompt"]


def _wanted(fields: dict[str, Any]) -> list[Message]:
    return fields["prompt"] + fields["chosen"]


def _all(fields: dict[str, Any]) -> list[Message]:
    return fields["prompt"] + fields["chosen"] + fields["rejected"]
