"""Corpora and tokenizers for `encode.py`, as our stages would have made them.

diglot_encode_prepare.py DATA FOLDER BYTES ENTRIES [TOKENIZER…]: FOLDER/en, ar, th, zh and all (18 languages, mixed) have documents
in Parquet and a ledger; FOLDER/byte-fallback, byte-level and llama-3 are tokenizers of ENTRIES trained on some of `all`.
BYTES of text are taken of each language, 0 being all. Its last line has the ids of BOS and EOS and the number type of ids, for
these tokenizers and the given ones.
"""

import json
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.recipe.tokenizer import TrainTokenizer
from diglot.tokenizer import train
from diglot.tokenizer.folder import load_tokenizer, tokenizer_size
from diglot.tokenizer.framing import find_framing, special_ids

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
TRAINED_BYTES = 600_000  # of text, a language


def documents(folder: Path, size: int) -> list[str]:
    texts = []
    files = sorted(folder.glob("*.jsonl.zst"))
    for file in files:
        taken = 0
        with pa.input_stream(str(file), compression="zstd") as stream:
            for line in filter(None, stream.read().split(b"\n")):
                text = json.loads(line)["text"]
                if text.strip() and (not size or taken < size / len(files)):
                    taken += len(text.encode())
                    texts.append(text)
    random.Random(0).shuffle(texts)
    return texts


def write_corpus(folder: Path, texts: list[tuple[str, str]], size: int = 0) -> None:
    """A corpus of documents with their languages; one source for each where `size` bytes of each are wanted."""
    chosen: dict[str, list[tuple[str, str]]] = {}
    for language, text in texts:
        source = chosen.setdefault(language if size else folder.name, [])
        if not size or sum(len(text.encode()) for _, text in source) < size:
            source.append((language, text))
    sources = {}
    (folder / "documents").mkdir(parents=True)
    (folder / "heldout").mkdir()
    for name, rows in chosen.items():
        columns = {
            "id": [f"{name}/{number}" for number in range(len(rows))],
            "text": [text for _, text in rows],
            "language": [language for language, _ in rows],
            "domain": ["web"] * len(rows),
        }
        file = folder / "documents" / f"{name}-00000.parquet"
        parquet.write_table(pa.table(columns), file, compression="zstd", row_group_size=10_000)
        kept = {"documents": len(rows), "bytes": sum(len(text.encode()) for _, text in rows)}
        none = {"documents": 0, "bytes": 0}
        sources[name] = {"language": rows[0][0], "domain": "web", "kept": kept, "held_out": none}
    (folder / "ledger.json").write_text(json.dumps({"sources": sources}))


def train_ours(kind: str, corpus: Path, folder: Path, entries: int) -> None:
    folder.mkdir()
    artifact = Artifact(corpus, corpus.name, "corpus", "curate", "", "", {}, {}, {}, {})
    settings = TrainTokenizer.model_validate({"do": "train-tokenizer", "kind": kind, "vocabulary_size": entries})
    train.run(settings, Inputs({"corpus": [artifact]}), folder, Context("tokenizer", 0, folder, workers=1))


def train_llama_3(texts: list[str], folder: Path, entries: int) -> None:
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA_3), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=entries, initial_alphabet=alphabet, show_progress=False)
    )
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0], "eos_token": special[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def frame(folder: Path) -> list[str]:
    """What the peer is told of a tokenizer: BOS, EOS and the number type of ids."""
    tokenizer = load_tokenizer(folder)
    special = special_ids(folder, tokenizer, find_framing(folder, tokenizer))
    return [str(special["bos"]), str(special["eos"]), "uint16" if tokenizer_size(tokenizer) <= 1 << 16 else "uint32"]


def main() -> None:
    data, folder = map(Path, sys.argv[1:3])
    size, entries = map(int, sys.argv[3:5])
    everything: list[tuple[str, str]] = []
    for language in sorted((data / "raw_text").iterdir()):
        texts = [(language.name, text) for text in documents(language, size)]
        everything += texts
        if language.name in ("en", "ar", "th", "zh"):
            write_corpus(folder / language.name, texts)
    random.Random(0).shuffle(everything)
    write_corpus(folder / "all", everything)
    write_corpus(folder / "trained on", everything, TRAINED_BYTES)
    for kind in ("byte-fallback", "byte-level"):
        train_ours(kind, folder / "trained on", folder / kind, entries)
    some = everything[: 200 * len(everything) // (200 + len(everything) // 20)] if size else everything[::10]
    train_llama_3([text for _, text in some], folder / "llama-3", entries)
    tokenizers = [*(folder / kind for kind in ("byte-fallback", "byte-level", "llama-3")), *map(Path, sys.argv[5:])]
    frames = {str(tokenizer): frame(tokenizer) for tokenizer in tokenizers}
    print(json.dumps({"documents": len(everything), "frames": frames}))


main()
