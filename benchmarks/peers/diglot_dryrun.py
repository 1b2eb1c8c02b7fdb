"""One dry run on fake ranks, and the formula for the same: diglot_dryrun.py PRESET RANKS ROWS LENGTH CHECKPOINTING."""

import json
import sys

from diglot.model.presets import PRESETS
from diglot.plan.dryrun import dry_run
from diglot.plan.execution import Execution
from diglot.plan.memory import memory

preset, ranks, rows, length, checkpointing = sys.argv[1], *map(int, sys.argv[2:])
execution = Execution(
    data_parallel=ranks, micro_batch_size=rows, sequence_length=length, activation_checkpointing=bool(checkpointing)
)
found = dry_run(PRESETS[preset], execution)
formula = memory(PRESETS[preset], execution, margin=False)
print(json.dumps({**found, "formula": formula.peak, "moment": formula.moment}))
