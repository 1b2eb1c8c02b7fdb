"""mergekit's merging, for `merge.py`.

mergekit_merge.py METHOD FOLDER OUTPUT
"""

import json
import sys

import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge

method, folder, output = sys.argv[1:]
first, second = ({"model": f"{folder}/{name}", "parameters": {"weight": weight}} for name, weight in (("first", 0.3), ("second", 0.7)))  # fmt: skip
config = {"merge_method": method.replace("-", "_"), "dtype": "float32", "models": [first, second]}
if method == "slerp":
    config |= {"base_model": f"{folder}/first", "parameters": {"t": 0.7}}
elif method == "linear":
    config |= {"parameters": {"normalize": True}}
else:
    config |= {"base_model": f"{folder}/base"}
if method == "ties":
    for model in (first, second):
        model["parameters"]["density"] = 0.2
    config |= {"parameters": {"normalize": True}}
if method == "dare-ties":
    for model in (first, second):
        model["parameters"]["density"] = 0.2
    config |= {"parameters": {"normalize": True}}
parsed = MergeConfiguration.model_validate(yaml.safe_load(yaml.safe_dump(config)))
run_merge(parsed, output, MergeOptions(copy_tokenizer=False, cuda=False, write_model_card=False))
print()
print(json.dumps({}))
