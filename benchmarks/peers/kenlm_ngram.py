"""KenLM's n-gram models for `ngram.py`.

kenlm_ngram.py train LMPLZ TEXT ARPA
kenlm_ngram.py query ARPA TEXT
"""

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path


def train(lmplz: str, text: Path, arpa: Path) -> dict:
    command = [lmplz, "-o", "5", "-S", "1G", "-T", str(arpa.parent / "lmplz")]
    with text.open("rb") as source, arpa.open("wb") as target:
        subprocess.run(command, stdin=source, stdout=target, stderr=subprocess.DEVNULL, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with arpa.open("rb") as stream:
        counts = [int(count) for count in re.findall(rb"ngram \d+=(\d+)", stream.read(1000))]
    return {"bytes": text.stat().st_size, "cpu_seconds": used.ru_utime + used.ru_stime, "ngrams": counts}


def query(arpa: Path, text: Path) -> dict:
    import kenlm

    model = kenlm.Model(str(arpa))
    lines = text.read_text(encoding="utf-8").split("\n")[:-1]
    tokens = sum(line.count(" ") + 2 for line in lines)
    begin, passes = time.process_time(), 0
    while time.process_time() - begin < 2:
        total = sum(model.score(line) for line in lines)
        passes += 1
    spent = (time.process_time() - begin) / passes
    return {"bytes": text.stat().st_size, "cpu_seconds": spent, "perplexity": 10 ** (-total / tokens)}


what, *rest = sys.argv[1:]
print(
    json.dumps(train(rest[0], Path(rest[1]), Path(rest[2])) if what == "train" else query(Path(rest[0]), Path(rest[1])))
)
