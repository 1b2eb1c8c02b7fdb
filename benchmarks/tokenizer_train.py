"""Training a tokenizer of 64,000 entries on 100 MB of text in 18 languages, against SentencePiece and tokenizers.

All train on the same documents of all languages of raw_text, alike where there is enough. SentencePiece trains what our
byte-fallback kind is (BPE of characters with byte fallback, digits one by one), the trainer of the tokenizers library what
our byte-level kind is; each reads its text from a file, ours from Parquet. What they learnt is compared on held-out text.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from common import BENCHMARKS, Row, Run, arguments, finish, measure, measure_in_turn, peer_python

PEERS = BENCHMARKS / "peers"
OURS = str(PEERS / "diglot_tokenizer_train.py")
SIZES = {"quick": (10_000_000, 16_000), "full": (100_000_000, 64_000)}
SENTENCEPIECE, TOKENIZERS = "sentencepiece==0.2.3", "tokenizers==0.23.3"


def main() -> None:
    args = arguments("tokenizer_train", "Training tokenizers, against SentencePiece and tokenizers")
    size, entries = SIZES["quick" if args.quick else "full"]
    pythons = {peer.split("==")[0]: peer_python(peer.split("==")[0], [peer]) for peer in (SENTENCEPIECE, TOKENIZERS)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measure([sys.executable, str(PEERS / "diglot_training_corpus.py"), str(args.data), temporary, str(size), "1.0"])
        text, held_out = str(folder / "text.txt"), str(folder / "heldout.jsonl")
        commands = {
            f"ours, {kind}": [sys.executable, OURS, "learn", temporary, kind, str(entries), str(folder / kind)]
            for kind in ("byte-fallback", "byte-level")
        }
        count = {f"ours, {kind}": [sys.executable, OURS, "tokens", str(folder / kind), temporary]
                 for kind in ("byte-fallback", "byte-level")}  # fmt: skip
        if python := pythons["sentencepiece"]:
            script, out = str(PEERS / "sentencepiece_train.py"), str(folder / "sp")
            commands["sentencepiece"] = [str(python), script, "learn", text, "bpe", str(entries), out]
            count["sentencepiece"] = [str(python), script, "tokens", f"{out}.model", held_out]
        if python := pythons["tokenizers"]:
            script, out = str(PEERS / "tokenizers_train.py"), str(folder / "hf.json")
            commands["tokenizers"] = [str(python), script, "learn", text, "digits", str(entries), out]
            count["tokenizers"] = [str(python), script, "tokens", out, held_out]
        for kind in ("byte-fallback", "byte-level"):  # compiles the kernels
            measure([sys.executable, OURS, "learn", temporary, kind, "1000", str(folder / kind)])
        runs = measure_in_turn(commands, args.repeats)
        tokens = {name: sum(measure(command).reported["tokens"].values()) for name, command in count.items()}
    finish("tokenizer_train", rows(runs, tokens, entries), args, notes=notes(runs, entries))


def rows(runs: dict[str, Run], tokens: dict[str, int], entries: int) -> list[Row]:
    result = []
    for kind, peer, version in (
        ("byte-fallback", "sentencepiece", SENTENCEPIECE), ("byte-level", "tokenizers", TOKENIZERS), ("byte-level", "sentencepiece", SENTENCEPIECE)
    ):  # fmt: skip
        ours, theirs = runs[f"ours, {kind}"], runs.get(peer)
        name = f"{version}, BPE" if peer == "sentencepiece" else version
        result += [
            Row(f"{kind}, {entries:,} entries", "CPU s", ours.seconds, theirs and theirs.seconds, name, less_is_better=True),
            Row(f"{kind}, peak memory", "GB", ours.peak_bytes / 1e9, theirs and theirs.peak_bytes / 1e9, name, less_is_better=True),
            Row(f"{kind}, tokens of held-out text", "", tokens[f"ours, {kind}"], tokens.get(peer), name, less_is_better=True),
        ]  # fmt: skip
    return result


def notes(runs: dict[str, Run], entries: int) -> list[str]:
    def said(name: str, key: str) -> Any:
        return runs[name].reported[key]

    ours = [f"{said(name, 'entries'):,} ({name})" for name in runs]
    return [
        f"{said('ours, byte-fallback', 'bytes') / 1e6:.1f} MB of text of 18 languages, every fiftieth document held out.",
        f"CPU seconds of the work alone, reading the text and writing the tokenizer included. Entries: {', '.join(ours)}.",
        f"Of ours, counting words took {said('ours, byte-fallback', 'counting')} and "
        f"{said('ours, byte-level', 'counting')} s of these.",
        "SentencePiece and ours: byte fallback, characters by a coverage of 99.95%, digits one by one, pieces of 16 "
        "characters at most. SentencePiece cuts words at white space and between scripts, ours by its own rules (see "
        "byte_fallback.py); the tokenizers library cuts by Llama-3's rule with digits one by one, ours likewise but with "
        "marks among the letters. So vocabularies differ.",
    ]


main()
