"""The requests of a benchmark, for both sides of `evaluate.py`: diglot_evaluate_requests.py TASK DATA NUMBER FILE

Whole sentences as the harness's XNLI has them, choices after a common premise as its XCOPA, and PolyLM's translation.
"""

import json
import sys
from pathlib import Path

from diglot.evaluate.benchmarks import read_benchmarks
from diglot.recipe.evaluate import Benchmarks

task, data, number, file = sys.argv[1:]
name = {"xnli": "xnli-en", "xcopa": "xcopa-it", "wmt20": "wmt20-de-en"}[task]
items = read_benchmarks(Benchmarks(path=str(Path(data, "eval")), names=[name]))[0][0].items[: int(number)]
requests: list = []
for place, item in enumerate(items):
    if task == "xnli":
        requests += [["", f"{item['prompt']} {choice}"] for choice in item["choices"]]
    elif task == "xcopa":
        requests += [[item["prompt"], f" {choice}"] for choice in item["choices"]]
    else:
        shot = items[place - 1]
        context = f"{shot['prompt']} {shot['reference']}\n\n{item['prompt']}"
        requests.append([context, {"until": ["\n"], "max_gen_toks": 64, "do_sample": False}])
Path(file).write_text(json.dumps(requests))
print(json.dumps({"requests": len(requests)}))
