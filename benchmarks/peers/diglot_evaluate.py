"""Diglot for `evaluate.py`: diglot_evaluate.py MODEL REQUESTS BATCH_SIZE ANSWERS"""

import json
import sys
import time
from pathlib import Path

model, file, batch_size, answers = sys.argv[1:]
begin = time.process_time()
from lm_eval.api.instance import Instance  # noqa: E402

from diglot.evaluate.harness import Adapter  # noqa: E402
from diglot.evaluate.language_model import LanguageModel  # noqa: E402

adapter = Adapter(LanguageModel.load(Path(model), int(batch_size)), lambda unit: lambda done, total: None)
start_seconds = time.process_time() - begin
requests = json.loads(Path(file).read_text())
kind = "loglikelihood" if isinstance(requests[0][1], str) else "generate_until"
instances = [Instance(kind, {}, tuple(request), number) for number, request in enumerate(requests)]
begin = time.process_time()
found = getattr(adapter, kind)(instances)
seconds = time.process_time() - begin
Path(answers).write_text(json.dumps([str(one) if kind == "generate_until" else list(one) for one in found]))
print(json.dumps({"cpu_seconds": seconds, "start_seconds": start_seconds, "requests": len(requests)}))
