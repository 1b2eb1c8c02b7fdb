"""diglot_extension.py FOLDER ENTRIES base | FOLDER ENTRIES LANGUAGE TOKENS

`base` trains the Llama-2-style English base into FOLDER/base; otherwise it is extended by a language, as the stage does.
FOLDER/corpus is what diglot_training_corpus.py made.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet
import sentencepiece
import transformers

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.recipe.tokenizer import ExtendTokenizer
from diglot.tokenizer import extend


def corpus_of(folder: Path, *languages: str) -> Artifact:
    """The corpus with these languages only."""
    part = folder / f"corpus-{'-'.join(languages)}"
    for split in ("documents", "heldout"):
        (part / split).mkdir(parents=True, exist_ok=True)
        for language in languages:
            link = part / split / f"{language}-00000.parquet"
            if not link.exists():
                link.symlink_to(folder / "corpus" / split / link.name)
    return Artifact(part, "corpus", "corpus", "curate", "", "", {}, {}, {}, {})


def train_base(folder: Path, entries: int) -> None:
    texts = pyarrow.parquet.read_table(folder / "corpus/documents/en-00000.parquet").column("text").to_pylist()
    (folder / "base").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.split("\n") if line.strip()),
        model_prefix=str(folder / "base" / "tokenizer"), vocab_size=entries, model_type="bpe", byte_fallback=True,
        split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, character_coverage=0.99995, num_threads=1, minloglevel=2,
    )  # fmt: skip
    transformers.LlamaTokenizer.from_pretrained(str(folder / "base")).save_pretrained(folder / "base")
    print(json.dumps({"entries": entries}))


def write_texts(folder: Path, language: str) -> None:
    """What the peer reads: the language's documents, and the held-out English ones."""
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as out:
        for split, of in (("heldout", "en"), ("heldout", language), ("documents", language)):
            for text in pyarrow.parquet.read_table(folder / "corpus" / split / f"{of}-00000.parquet")[
                "text"
            ].to_pylist():
                record = {"language": of, "heldout": split == "heldout", "text": text}
                out.write(json.dumps(record, ensure_ascii=False) + "\n")


def main() -> None:
    folder, entries, what = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if what == "base":
        train_base(folder, entries)
        return
    tokens = int(sys.argv[4])
    write_texts(folder, what)
    output = folder / f"ours-{what}-{tokens}"
    output.mkdir()
    base = Artifact(folder / "base", "base", "model", "outside", "", "", {}, {}, {}, {})
    inputs = Inputs({"tokenizer": [base], "corpus": [corpus_of(folder, "en", what)]})
    begin = time.process_time()
    stage = ExtendTokenizer(languages=[what], new_tokens=tokens)
    summary = extend.run(stage, inputs, output, Context("extended", 0, folder / "scratch"))
    identity, reachable = summary.proofs.identity, summary.proofs.reachable
    print(
        json.dumps(
            {
                "cpu_seconds": time.process_time() - begin,
                "identical": 100 * identity.share_without_new_characters,
                "lines": identity.lines,
                "unreachable": 100 * reachable.unreachable / reachable.tokens,
                "fertility": summary.fertility[what],
                "before": summary.fertility_before[what],
                "words": summary.measures[what].words,
                "english": summary.fertility["en"],
                "english_words": summary.measures["en"].words,
                "english_before": summary.fertility_before["en"],
            }
        )
    )


main()
