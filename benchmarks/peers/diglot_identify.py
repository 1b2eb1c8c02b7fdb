"""Ours: the language of JSON lines {"text", "language"}; prints CPU seconds of identifying alone.

diglot_identify.py FILE LABELS: LABELS is where the languages go, one a line, with the probability of the expected one.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow as pa

from diglot.text.language_id import load_identifier

texts = [json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").split("\n") if line]
array = pa.array([record["text"] for record in texts], pa.large_string())
expected = sorted({record["language"] for record in texts})
identifier = load_identifier()
identifier.identify(array.slice(0, 1), expected)
begin = time.process_time()
found = identifier.identify(array, expected)
seconds = time.process_time() - begin
with Path(sys.argv[2]).open("w", encoding="utf-8") as out:
    for row, record in enumerate(texts):
        code = identifier.codes[found.language[row]] if found.language[row] >= 0 else "none"
        accepted = float(found.accepted[row, expected.index(record["language"])])
        out.write(json.dumps([code, accepted, float(found.confidence[row])]) + "\n")
print(json.dumps({"bytes": sum(len(r["text"].encode()) for r in texts), "cpu_seconds": seconds}))
