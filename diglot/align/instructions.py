"""The stage `gather-instructions`: instruction data in the common forms become conversations in OpenAI's.

train.jsonl, heldout.jsonl   {"id", "source", "language", "messages": [{"role", "content"}, …]}
ledger.json                  what was read, kept, held out and dropped, and why
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diglot.align.gather import gather
from diglot.align.messages import Message, read_conversation, refuse_vocalised
from diglot.base.artifact import Context, Inputs
from diglot.base.summaries.corpus import CorpusSummary
from diglot.recipe.align import GatherInstructions


def run(settings: GatherInstructions, inputs: Inputs, output: Path, context: Context) -> CorpusSummary:
    """Read, check and split conversations.

    Raises:
        UserError: a path cannot be read, or nothing of a source can be used.
    """

    def read(record: dict[str, Any], max_characters: int) -> dict[str, Any]:
        messages = read_conversation(record, max_characters)
        refuse_vocalised(messages, settings.max_vowel_marks)
        return {"messages": messages}

    return gather(settings, inputs, output, context, read, _prompt)


def _prompt(fields: dict[str, Any]) -> list[Message]:
    return fields["messages"][:-1]
