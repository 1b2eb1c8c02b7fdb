"""rouge-score for `rouge.py`, called as Stanford Alpaca does: rouge_score_pool.py WORDS COUNT"""

import json
import sys
import time
from pathlib import Path

from rouge_score import rouge_scorer

new, pool = json.loads(Path(sys.argv[1]).read_text())
begin = time.process_time()
nearest = [max(rouge_scorer._score_lcs(words, other).fmeasure for other in pool) for words in new[: int(sys.argv[2])]]
print(json.dumps({"cpu_seconds": time.process_time() - begin, "nearest": nearest}))
