"""The harness's own backend for `evaluate.py`: lm_eval_evaluate.py MODEL REQUESTS BATCH_SIZE ANSWERS"""

import json
import sys
import time
from pathlib import Path

model, file, batch_size, answers = sys.argv[1:]
begin = time.process_time()
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

backend = HFLM(pretrained=model, batch_size=int(batch_size), device="cpu", dtype="float32")
start_seconds = time.process_time() - begin
requests = json.loads(Path(file).read_text())
kind = "loglikelihood" if isinstance(requests[0][1], str) else "generate_until"
instances = [Instance(kind, {}, tuple(request), number) for number, request in enumerate(requests)]
begin = time.process_time()
found = getattr(backend, kind)(instances, disable_tqdm=True)
seconds = time.process_time() - begin
Path(answers).write_text(json.dumps([one if kind == "generate_until" else list(one) for one in found]))
print(json.dumps({"cpu_seconds": seconds, "start_seconds": start_seconds, "requests": len(requests)}))
