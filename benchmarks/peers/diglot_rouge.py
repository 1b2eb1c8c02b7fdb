"""Our ROUGE-L for `rouge.py`: diglot_rouge.py DATA POOL NEW WORDS SCORES

Cuts English instructions into words (WORDS: [new, pool]) and writes the nearest score of each new one (SCORES).
"""

import json
import sys
import time
from pathlib import Path

import pyarrow as pa

from diglot.align.rouge import Pool, cut_words

data, pool_size, new_size, words_file, scores_file = sys.argv[1:]
texts = []
for name in ("alpaca_en_demo", "alpaca_en_12k"):
    with pa.input_stream(str(Path(data, "instruct", f"{name}.jsonl.zst")), compression="zstd") as stream:
        texts += [json.loads(line)["instruction"] for line in stream.read().split(b"\n") if line]
words = cut_words(texts[: int(new_size) + int(pool_size)], "en")
new, old = words[: int(new_size)], words[int(new_size) :]
Path(words_file).write_text(json.dumps([new, old]))
Pool().take_new(new[:2], 0.7)  # imports
begin = time.process_time()
pool = Pool()
for each in old:
    pool.add(each)
scores = pool.nearest(new)
spent = time.process_time() - begin
Path(scores_file).write_text(json.dumps(scores.tolist()))
print(json.dumps({"cpu_seconds": spent, "pool": len(old), "new": len(new)}))
