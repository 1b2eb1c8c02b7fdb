"""Models, tokens and batches for `train_step.py`, as our stages make them.

diglot_train_step_prepare.py DATA FOLDER BYTES CASES: CASES is JSON, {name: {"model", "shape", "tokens", "settings"}}.
FOLDER gets

    tokenizer, NAME's model    of 16,384 entries (rows of padding where the text does not give so many), random weights
    documents, book            token artifacts: BYTES of web pages and news a source; the same text as one long document
    NAME/settings.json         of the train stage
    NAME/tokens.npy, …         the batches that our data order gives, for the peers: [steps, rows, tokens]

Without DATA/raw_text the text is that of the invented world.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.encode import stage as encode
from diglot.model import presets
from diglot.recipe.encode import Encode
from diglot.recipe.model import NewModel
from diglot.recipe.tokenizer import TrainTokenizer
from diglot.recipe.train import Train
from diglot.recipe.world import World
from diglot.tokenizer import train as train_tokenizer
from diglot.train.job import prepare
from diglot.world import generate

ENTRIES = 16_384
SOURCES = {
    "pages": ("en", ("c4_demo", "webtext_noisy", "wikipedia_mlqa", "abc_news_au")),
    "news": ("ar", ("saudi_newsnet",)),
}


def texts(data: Path, size: int) -> dict[str, list[str]]:
    """Documents by source."""
    if (data / "raw_text").is_dir():
        return {
            source: some([data / "raw_text" / language / f"{name}.jsonl.zst" for name in names], size)
            for source, (language, names) in SOURCES.items()
        }
    with tempfile.TemporaryDirectory() as folder:
        settings = World(documents={"en": 2000, "ar": 2000}, pairs=0, instructions=0, preferences=0, items=0)
        generate.run(settings, Inputs({}), Path(folder), Context("world", 0, Path(folder), workers=1))
        files = {source: Path(folder) / "text" / f"{language}.jsonl" for source, (language, _) in SOURCES.items()}
        return {source: some([file], size) for source, file in files.items()}


def some(files: list[Path], size: int) -> list[str]:
    """The first documents of files, about the same size of each."""
    found = []
    for file in files:
        taken = 0
        compression = "zstd" if file.suffix == ".zst" else None
        with pa.input_stream(str(file), compression=compression) as stream:
            for line in filter(None, stream.read().split(b"\n")):
                text = json.loads(line)["text"]
                if text.strip() and taken < size / len(files):
                    taken += len(text.encode())
                    found.append(text)
    return found


def write_corpus(folder: Path, by_source: dict[str, list[str]]) -> Artifact:
    """As `curate` would write it, with nothing held out."""
    (folder / "documents").mkdir(parents=True)
    (folder / "heldout").mkdir()
    ledger = {}
    for source, documents in by_source.items():
        language = SOURCES[source][0]
        columns = {"id": [str(number) for number in range(len(documents))], "text": documents}
        columns |= {"language": [language] * len(documents), "domain": ["web"] * len(documents)}
        pa.parquet.write_table(pa.table(columns), folder / "documents" / f"{source}-00000.parquet")
        counts = {"kept": {"documents": len(documents)}, "held_out": {"documents": 0}}
        ledger[source] = {"language": language, "domain": "web", **counts}
    (folder / "ledger.json").write_text(json.dumps({"sources": ledger}))
    return artifact(folder, "corpus")


def artifact(path: Path, kind: str) -> Artifact:
    """An artifact that no recipe wrote."""
    return Artifact(path, path.name, kind, "benchmark", "", "", {}, {}, {}, {})


def make(folder: Path, kind: str, stage: Any, settings: Any, **inputs: Artifact) -> Artifact:
    """Run a stage into a folder."""
    folder.mkdir(parents=True)
    given = Inputs({role: [each] for role, each in inputs.items()})
    with tempfile.TemporaryDirectory() as scratch:
        stage.run(settings, given, folder, Context(folder.name, 0, Path(scratch), workers=1))
    return artifact(folder, kind)


def write_case(folder: Path, name: str, case: dict[str, Any]) -> float:
    """A case's settings, and its batches; gives the documents a row."""
    settings = Train.model_validate(case["settings"])
    (folder / name).mkdir()
    (folder / name / "settings.json").write_text(json.dumps(case["settings"]))
    with tempfile.TemporaryDirectory() as scratch:
        context = Context("train", 0, Path(scratch), workers=1)
        order = prepare(settings, folder / case["model"], [folder / case["tokens"]], context).order
    batches = [order.batch(number) for number in range(settings.steps)]
    np.save(folder / name / "tokens.npy", np.stack([batch.tokens_BT for batch in batches]))
    np.save(folder / name / "targets.npy", np.stack([batch.targets_BT for batch in batches]))
    rows = sum(len(batch.tokens_BT) for batch in batches)
    return sum(int(batch.documents_BT.max()) + 1 for batch in batches) / rows


def main() -> None:
    data, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    cases = json.loads(sys.argv[4])
    by_source = texts(data, size)
    corpus = write_corpus(folder / "corpus", by_source)
    book = write_corpus(folder / "book corpus", {"pages": ["\n\n".join(by_source["pages"])]})
    tokenizer = make(
        folder / "tokenizer", "tokenizer", train_tokenizer, TrainTokenizer(vocabulary_size=ENTRIES), corpus=corpus
    )
    make(folder / "documents", "tokens", encode, Encode(), tokenizer=tokenizer, corpus=corpus)
    make(folder / "book", "tokens", encode, Encode(), tokenizer=tokenizer, corpus=book)
    number = {}
    for name, case in cases.items():
        if not (folder / case["model"]).exists():
            shape = NewModel.model_validate({"preset": "small", "shape": case["shape"], "pad_vocabulary_to": ENTRIES})
            make(folder / case["model"], "model", presets, shape, tokenizer=tokenizer)
        number[name] = write_case(folder, name, case)
    print(
        json.dumps(
            {"documents a row": number, "real text": (data / "raw_text").is_dir(), "cuda": torch.cuda.is_available()}
        )
    )


if __name__ == "__main__":
    main()
