"""Ours for `packing.py`: diglot_packing.py DATA TOKENIZER LENGTH LENGTHS [LIMIT]

Gathers all instruction files, encodes them with a tokenizer that has a chat template, and packs each source's conversations;
writes their tokens to LENGTHS for the peer.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from diglot.align import instructions
from diglot.base.artifact import Artifact, Context, Inputs
from diglot.encode.conversations import Conversations
from diglot.encode.origins import Origin
from diglot.recipe.align import GatherInstructions
from diglot.recipe.encode import Encode
from diglot.tokenizer.chat import load_chat
from diglot.tokens.packing import WholeRows
from diglot.tokens.permutation import permutation

data, tokenizer, length, file = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
limit = int(sys.argv[5]) if len(sys.argv) > 5 else None
sources = {
    path.name.split(".")[0].replace("_", "-").lower() + ("-seeds" if path.parent.name == "seed_tasks" else ""): {
        "path": str(path), "language": "en", "limit": limit,
    }
    for path in sorted((data / "instruct").rglob("*.jsonl*"))
}  # fmt: skip
with tempfile.TemporaryDirectory() as temporary:
    output, scratch = Path(temporary, "instructions"), Path(temporary, "scratch")
    output.mkdir()
    scratch.mkdir()
    settings = GatherInstructions.model_validate({"sources": sources, "max_characters": 10**6, "held_out": 0.0})
    instructions.run(settings, Inputs({}), output, Context(name="instructions", seed=0, scratch=scratch))
    artifact = Artifact(output, "instructions", "instructions", "", "", "", {}, {}, {}, {})
    chat, encoding = load_chat(tokenizer), Encode.model_validate({"conversation_tokens": length})
    lengths: dict[str, list[int]] = {}
    for name in sources:
        origin = Origin(name, "chat", "en", "chat", artifact, {"train": 0, "heldout": 0})
        conversations = Conversations(origin, chat, encoding)
        lengths[name] = [len(each.ids) for _, chunk in conversations.encode("train") for each in chunk]
file.write_text(json.dumps(lengths))
begin, rows, tokens = time.process_time(), 0, 0
for name, of in lengths.items():
    packed = WholeRows(permutation(len(of), f"{name}/0"), np.array(of, np.int64), length, 1)
    rows, tokens = rows + packed.num_rows, tokens + packed.num_tokens
seconds = time.process_time() - begin
assert tokens == sum(map(sum, lengths.values()))
least = sum(-(-sum(of) // length) for of in lengths.values())  # no packing of the sources takes fewer rows
told = {
    "conversations": sum(map(len, lengths.values())),
    "sources": len(lengths),
    "rows": rows,
    "least": least,
    "tokens": tokens,
}
print(json.dumps({"cpu_seconds": seconds, **told}))
