"""The stage `gather-instructions`: instruction data in the common forms become conversations in OpenAI's.

train.jsonl, heldout.jsonl   {"id", "source", "language", "messages": [{"role", "content"}, …], "tools"?}
ledger.json                  what was read, kept, held out and dropped, and why

An answer that says `train: false` is there to be read, and not to be learnt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diglot.align.gather import Reading, gather
from diglot.align.messages import Message, plain, read_conversation, read_tools, refuse_vocalised
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
        tools = read_tools(record)
        return {"messages": messages, "tools": tools} if tools else {"messages": messages}

    return gather(settings, inputs, output, context, Reading(read, _prompt, _prompt, _messages, _messages))


def _prompt(fields: dict[str, Any]) -> list[Message]:
    return plain(fields["messages"][:-1])


def _messages(fields: dict[str, Any]) -> list[Message]:
    return fields["messages"]
