"""What every kind of stage makes of a tiny input: its version, a hash of what is exact, and its floats by and large.

    python tests/helpers/golden.py        writes tests/golden.json anew

Floats may differ a little between processors and libraries, so of each file, column and tensor the mean size of its floats
is kept, and compared with a tolerance; names, texts, whole numbers and shapes are hashed.
"""

import hashlib
import json
import math
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from chat_server import Server
from safetensors import safe_open

from diglot import flow
from diglot.base.artifact import payload
from diglot.load import Where, check
from diglot.recipe import STAGES, Recipe
from diglot.train import data_command

FILE = Path(__file__).resolve().parent.parent / "golden.json"
SAFETY = FILE.parent / "answers" / "safety.jsonl"
QUESTIONS = FILE.parent / "questions" / "ar.jsonl"
WITHOUT = {"report"}  # a page with times and dates
# Of evaluations: which of two choices is the likelier may hang on the last bit, and so does a generated text.
UNSURE = {"generation", "acc", "acc_norm", "acc_bytes", "acc_token"}
FLOAT = re.compile(r"-?\d+\.\d+(?:[eE][-+]?\d+)?")
SIZES = {"batch_size": 4, "sequence_length": 64, "evaluate_tokens": 500}


def recipe(server: str) -> dict[str, Any]:
    """A recipe with every kind of stage but those of `WITHOUT` and import-model, which reads a folder of the first run."""
    world = {"documents": {"en": 240, "ar": 240}, "people": 40, "pairs": 60, "instructions": 40, "preferences": 40}
    texts = {name: {"path": f"text/{name}.jsonl", "language": name} for name in ("en", "ar")}
    rules = {
        "min_words": 10,
        "min_characters": 40,
        "max_top_2gram": 0.5,
        "max_top_3gram": 0.5,
        "max_duplicate_5grams": 0.5,
    }
    pairs = {"path": "parallel/en-ar.jsonl", "language": "en", "target_language": "ar"}

    def gathered(kind: str) -> dict[str, Any]:
        return {
            "from": "world",
            "sources": {kind: {"path": f"{kind}/train.en.jsonl", "language": "en"}},
            "held_out": 0.2,
        }

    return {
        "world": {"do": "world", **world, "items": 6},
        "corpus": {"do": "curate", "from": {"text": "world"}, "sources": texts, "rules": {"limits": rules}, "held_out": 0.1},
        "worse": {"do": "curate", "from": {"text": "world"}, "sources": {"en": texts["en"]}, "rules": {"set": "none"}, "seed": 1},
        "rules": {"do": "learn-rules", "from": {"corpus": "corpus"}, "min_documents": 20},
        "ngram": {"do": "train-ngram", "from": {"corpus": "corpus"}, "order": 3, "held_out_texts": 20},
        "classifier": {"do": "train-classifier", "from": {"corpus": "corpus", "negatives": "worse"}, "languages": ["en"], "epochs": 1, "buckets": 1000, "dimension": 4, "held_out_texts": 20},
        "parallel": {"do": "make-parallel", "from": "world", "sources": {"pairs": pairs}},
        "translated": {"do": "translate", "from": "corpus", "endpoint": {"url": server, "model": "tiny"}, "target_language": "ar", "sources": ["en"], "documents": 5},
        "seeds": {"do": "translate-seed-tasks", "endpoint": {"url": server, "model": "tiny"}, "target_language": "ar"},
        "instructions": {"do": "gather-instructions", **gathered("instructions")},
        "made": {"do": "make-instructions", "from": "corpus", "sources": {"continuations": {"kind": "continuation", "language": "en", "limit": 20}}},
        "written": {"do": "self-instruct", "endpoint": {"url": server, "model": "tiny"}, "languages": ["ar"], "rounds": 2, "first_prompts": 1, "prompts": 2},
        "preferences": {"do": "gather-preferences", **gathered("preferences")},
        "tokenizer": {"do": "train-tokenizer", "from": "corpus", "languages": ["en"], "vocabulary_size": 500},
        "extended": {"do": "extend-tokenizer", "from": {"tokenizer": "tokenizer", "corpus": "corpus"}, "languages": ["ar"], "new_tokens": 100},
        "tokens": {"do": "encode", "from": {"tokenizer": "extended", "corpus": "corpus", "instructions": "instructions", "preferences": "preferences"}},
        "new": {"do": "new-model", "from": "tokenizer", "preset": "tiny"},
        "expanded": {"do": "expand", "from": {"model": "new", "tokenizer": "extended"}},
        "trained": {"do": "train", "from": {"model": "expanded", "tokens": "tokens"}, "steps": 4, "export_every": 2, "learning_rate": 1e-3, "phases": [{"name": "all", "mixture": {"en": 0.5, "ar": 0.5}}], **SIZES},
        "merged": {"do": "merge", "from": ["trained@2", "trained"]},
        "sweep": {"do": "sweep", "from": {"model": "expanded", "tokens": "tokens"}, "steps": 2, "learning_rates": [1e-3, 1e-2], "phases": [{"name": "all", "mixture": {"en": 0.5, "ar": 0.5}}], **SIZES},
        "asked": {"do": "sample", "from": {"instructions": "instructions"}, "endpoint": {"url": server, "model": "tiny"}, "sources": {"safety": {"path": str(SAFETY), "language": "ar"}}, "answers": 2},
        "judged": {"do": "judge", "from": ["asked"], "endpoint": {"url": server, "model": "tiny"}},
        "safety": {"do": "evaluate-safety", "from": "asked", "endpoint": {"url": server, "model": "tiny"}},
        "replied": {"do": "answer-questions", "endpoint": {"url": server, "model": "tiny"}, "questions": {"ar": str(QUESTIONS)}, "limit": 2},
        "mt-bench": {"do": "judge-answers", "from": ["replied"], "endpoint": {"url": server, "model": "tiny"}},
        "scores": {"do": "evaluate", "from": {"model": "merged", "corpus": "corpus", "items": "world", "preferences": "preferences"}, "tasks": {"cloze": {"path": "tasks/cloze.en.jsonl", "language": "en"}}, "max_documents": 10},
    }  # fmt: skip


def golden(folder: Path) -> dict[str, dict[str, Any]]:
    """Run everything in a folder; what each kind of stage made."""
    server = Server(folder / "server")
    try:
        given = check(Recipe, {"name": "golden", "stages": recipe(server.url)}, Where("golden"))
        flow.run(given, folder / "run", Where("golden"))
    finally:
        server.stop()
    more = {"imported": {"do": "import-model", "path": str(folder / "run" / "merged")}}
    again = check(Recipe, {"name": "golden", "stages": more}, Where("golden"))
    flow.run(again, folder / "run", Where("golden"))
    stages = {**given.stages, **again.stages}
    assert {stage.do for stage in stages.values()} == {*STAGES} - WITHOUT
    found = {name: {"version": stage.version, **made(folder / "run" / name)} for name, stage in stages.items()}
    steps = [data_command.answers(given, folder / "run", "trained", False, step, None) for step in (1, 4)]
    found["trained"]["order"] = _hash(steps)
    return found


def made(folder: Path) -> dict[str, Any]:
    """The exact part of an artifact's payload, hashed, and the mean size of its floats by file and column."""
    exact, floats = hashlib.sha256(), {}
    for name, file in payload(folder).items():
        for part, value in contents(file):
            if isinstance(value, list) and value:
                floats[f"{name} {part}".strip()] = float(f"{_mean(value):.6g}")
            elif not isinstance(value, list):
                exact.update(f"{name} {part} {value}\n".encode())
    return {"exact": exact.hexdigest()[:16], "floats": floats}


def contents(file: Path) -> Iterator[tuple[str, str | list[float]]]:
    """The parts of a file: what is exact as a text, floats as a list."""
    if file.suffix == ".npy":
        yield from _array("", np.load(file))
    elif file.suffix == ".safetensors":
        with safe_open(file, "np") as stream:
            for name in stream.keys():  # noqa: SIM118
                yield from _array(name, stream.get_tensor(name))
    elif file.suffix == ".parquet":
        table = pq.read_table(file)
        for column in table.column_names:
            of_floats = pa.types.is_floating(table.schema.field(column).type)
            values = table[column].to_pylist()
            yield column, [value for value in values if value is not None] if of_floats else _hash(values)
    elif file.suffix in (".json", ".jsonl"):
        lines = file.read_text("utf-8").split("\n") if file.suffix == ".jsonl" else [file.read_text("utf-8")]
        floats: list[float] = []
        exact = [_without_floats(json.loads(line), floats) for line in lines if line.strip()]
        yield from (("", _hash(exact)), ("", floats))
    else:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        numbers = [float(number) for number in FLOAT.findall(text)] if file.suffix in (".arpa", ".yaml") else []
        yield from (("", _hash(FLOAT.sub("", text) if numbers else text)), ("", numbers))


def _array(name: str, values: np.ndarray) -> Iterator[tuple[str, str | list[float]]]:
    yield name, f"{values.dtype} {values.shape}"
    if values.dtype.kind == "f":
        yield name, values.astype(np.float64).ravel().tolist()
    else:
        yield name, hashlib.sha256(values.tobytes()).hexdigest()


def _without_floats(value: Any, floats: list[float]) -> Any:
    if isinstance(value, float):
        floats.append(value)
        return None
    if isinstance(value, list):
        return [_without_floats(item, floats) for item in value]
    if isinstance(value, dict):
        return {key: _without_floats(item, floats) for key, item in value.items() if key not in UNSURE}
    return value


def _mean(values: list[float]) -> float:
    finite = [abs(value) for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else 0.0


def _hash(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        FILE.write_text(json.dumps(golden(Path(place)), indent=1) + "\n")
    sys.stdout.write(f"{FILE}\n")
