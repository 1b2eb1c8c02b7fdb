"""TRL for `packing.py`, packing as its SFTTrainer does by default (`bfd`): trl_packing.py LENGTHS LENGTH"""

import json
import sys
import time
from pathlib import Path

from datasets import Dataset
from trl.data_utils import pack_dataset

lengths, length = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])
rows, seconds = 0, 0.0
for of in lengths.values():
    if of:
        dataset = Dataset.from_dict({"input_ids": [[0] * number for number in of]})
        begin = time.process_time()
        rows += len(pack_dataset(dataset, length, "bfd"))
        seconds += time.process_time() - begin
print(json.dumps({"cpu_seconds": seconds, "rows": rows}))
