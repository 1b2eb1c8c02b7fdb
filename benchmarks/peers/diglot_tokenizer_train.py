"""Our tokenizers.

diglot_tokenizer_train.py learn FOLDER FORM ENTRIES OUT   trains on FOLDER/corpus, everything once; reports the work alone
diglot_tokenizer_train.py stage FOLDER FORM ENTRIES OUT   the whole stage train-tokenizer, with its measures and proofs
diglot_tokenizer_train.py tokens OUT FOLDER               tokens that FOLDER/heldout.jsonl is cut into, by language
"""

import json
import sys
import time
from pathlib import Path

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.recipe.tokenizer import TrainTokenizer
from diglot.tokenizer import byte_fallback, train
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.sample import Sample, Text
from diglot.tokenizer.words import count_by_rule


def settings_of(kind: str, entries: int, alpha: float) -> TrainTokenizer:
    return TrainTokenizer(kind=kind, vocabulary_size=entries, alpha=alpha, max_bytes=10**12)


def corpus_of(folder: Path) -> Artifact:
    return Artifact(folder / "corpus", "corpus", "corpus", "curate", "", "", {}, {}, {}, {})


def learn(folder: Path, kind: str, entries: int, out: Path) -> dict:
    settings, context = settings_of(kind, entries, 1.0), Context("benchmark", 0, out)
    # Kernels are read from their cache before the clock starts.
    tables = count_by_rule([Text("en", "warm up " * 8, 1)], kind)
    train.learn(tables, settings_of(kind, 400, 1.0), context)
    begin = time.process_time()
    sample = Sample([corpus_of(folder)], None, settings.max_bytes, 1.0, "benchmark")
    tables = train.count(sample, {}, kind, context)
    counted = time.process_time()
    tokenizer, _, _ = train.learn(tables, settings, context)
    byte_fallback.write_folder(out, tokenizer)
    done = time.process_time()
    return {
        "bytes": sum(sample.bytes.values()),
        "cpu_seconds": done - begin,
        "counting": round(counted - begin, 2),
        "words": sum(map(len, tables.values())),
        "entries": tokenizer.get_vocab_size(),
    }


def stage(folder: Path, kind: str, entries: int, out: Path) -> dict:
    inputs = Inputs({"corpus": [corpus_of(folder)]})
    summary = train.run(settings_of(kind, entries, 0.3), inputs, out, Context("benchmark", 0, out))
    shown = summary.as_json()
    return {"entries": shown["vocabulary_size"], "proofs": shown["proofs"], "sample": shown["sample"]}


def tokens(model: Path, folder: Path) -> dict:
    tokenizer, counts = load_tokenizer(model), {}
    with (folder / "heldout.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            ids = tokenizer.encode(record["text"], add_special_tokens=False).ids
            counts[record["language"]] = counts.get(record["language"], 0) + len(ids)
    return {"tokens": counts}


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "tokens":
        print(json.dumps(tokens(Path(rest[0]), Path(rest[1]))))
        return
    folder, kind, entries, out = Path(rest[0]), rest[1], int(rest[2]), Path(rest[3])
    out.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"learn": learn, "stage": stage}[what](folder, kind, entries, out)))


main()
