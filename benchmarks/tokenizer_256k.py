"""256,000 entries over 18 languages (PolyLM 3.1): what training takes, and compression by language (PolyLM's figure 1).

Compression is tokens of a baseline over tokens of a tokenizer on the same held-out text: above 1, it needs fewer. PolyLM's
baseline is XLM-R's tokenizer, which cannot be had without a network. Its part is played by a stand-in trained here by
XLM-R's recipe on the text that ours sees: SentencePiece unigram, 250,000 entries, languages by share^0.3. Beside it stand
an English-heavy BPE of 32,000 entries (Llama-2's recipe, nine tenths English) and a byte-level BPE of 50,257 (GPT-2's
recipe, the same text), and two real vocabularies that a package on PyPI carries: Mistral-7B's and Mistral's Tekken.
The real ones were trained on other text, ours and the stand-ins on text of the sources that the held-out text is from:
against them, part of the ratio is that.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import BENCHMARKS, Row, Run, arguments, finish, measure, peer_python

PEERS = BENCHMARKS / "peers"
SIZES = {"quick": (10_000_000, 10_000_000, 32_000, 20_000), "full": (0, 40_000_000, 256_000, 250_000)}
LIMIT = 6e9  # bytes of memory
SENTENCEPIECE, TOKENIZERS, MISTRAL = "sentencepiece==0.2.3", "tokenizers==0.23.3", "mistral-common==1.13.1"


def main() -> None:
    args = arguments("tokenizer_256k", "256,000 entries over 18 languages, against other vocabularies")
    size, sampled, entries, unigram = SIZES["quick" if args.quick else "full"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measure([sys.executable, str(PEERS / "diglot_training_corpus.py"), str(args.data), temporary, str(size), "0.3", str(sampled)])  # fmt: skip
        ours = [sys.executable, str(PEERS / "diglot_tokenizer_train.py")]
        runs, tokens = {}, {}
        for kind in ("byte-fallback", "byte-level"):
            out = str(folder / kind)
            runs[kind] = measure([*ours, "stage", temporary, kind, str(entries), out])
            tokens[kind] = measure([*ours, "tokens", out, temporary]).reported["tokens"]
        others, made = baselines(folder, unigram, args.quick)
    finish("tokenizer_256k", rows(runs, tokens, others, entries), args, notes=notes(runs, tokens, others, made))


def baselines(folder: Path, unigram: int, quick: bool) -> tuple[dict[str, dict[str, int]], dict[str, Run]]:
    """Tokens of the held-out text, by baseline and language; and the runs of those that were trained here."""
    held_out, tokens, made = str(folder / "heldout.jsonl"), {}, {}
    small, medium = (8_000, 12_000) if quick else (32_000, 50_257)
    if python := peer_python("sentencepiece", [SENTENCEPIECE]):
        script = [str(python), str(PEERS / "sentencepiece_train.py")]
        for name, text, kind, number in (
            ("as XLM-R", "text.txt", "unigram", unigram), ("as Llama-2", "english.txt", "bpe", small)
        ):  # fmt: skip
            out = str(folder / kind)
            made[name] = measure([*script, "learn", str(folder / text), kind, str(number), out])
            tokens[name] = measure([*script, "tokens", f"{out}.model", held_out]).reported["tokens"]
    if python := peer_python("tokenizers", [TOKENIZERS]):
        script, out = [str(python), str(PEERS / "tokenizers_train.py")], str(folder / "gpt-2.json")
        made["as GPT-2"] = measure([*script, "learn", str(folder / "english.txt"), "gpt-2", str(medium), out])
        tokens["as GPT-2"] = measure([*script, "tokens", out, held_out]).reported["tokens"]
    if python := peer_python("mistral-common", [MISTRAL, SENTENCEPIECE]):
        for name in ("mistral-7b", "tekken"):
            tokens[name] = measure([str(python), str(PEERS / "mistral_tokens.py"), name, held_out]).reported["tokens"]
    return tokens, made


def rows(
    runs: dict[str, Run], tokens: dict[str, dict[str, int]], others: dict[str, dict[str, int]], entries: int
) -> list[Row]:
    result = []
    for kind, run in runs.items():
        result += [
            Row(f"{kind}, {run.reported['entries']:,} entries", "CPU s", run.cpu_seconds, less_is_better=True),
            Row(f"{kind}, peak memory", "GB", run.peak_bytes / 1e9, LIMIT / 1e9, "limit", less_is_better=True),
        ]
    for name, its_tokens in others.items():
        for language in sorted(its_tokens):
            own = tokens["byte-fallback"][language]
            result.append(Row(f"tokens, {language}", "", own, its_tokens[language], name, less_is_better=True))
    return result


def notes(
    runs: dict[str, Run], tokens: dict[str, dict[str, int]], others: dict[str, dict[str, int]], made: dict[str, Run]
) -> list[str]:
    result = [
        "The whole stage is measured, with measures and proofs; its sample is as large as the corpus (share^0.3). "
        f"Every piece reachable: {all(run.reported['proofs']['reachable']['passed'] for run in runs.values())}.",
        "Tokens are those of our byte-fallback kind; the ratio is its compression against the named tokenizer.",
        "The stand-in of XLM-R has all its entries for these 18 languages, where XLM-R's are for 100; and as XLM-R's, it is "
        "lossy (NFKC, line ends and runs of spaces become one space) and takes numbers whole. Ours pays for line ends, "
        "indentation and every digit, and gives every text back.",
        *(f"{name}: trained on {run.reported['bytes'] / 1e6:.0f} MB in {run.seconds:.0f} CPU s, {run.peak_bytes / 1e9:.1f} GB; "
          f"{run.reported['entries']:,} entries." for name, run in made.items()),
    ]  # fmt: skip
    if "as XLM-R" in others:
        result.append("As in PolyLM's figure 1, against the stand-in of XLM-R:")
        for name, its_tokens in {**tokens, **others}.items():
            ratios = {language: others["as XLM-R"][language] / count for language, count in sorted(its_tokens.items())}
            shown = " ".join(f"{language} {ratio:.2f}" for language, ratio in ratios.items())
            result.append(f"{name}: {shown}; mean {sum(ratios.values()) / len(ratios):.2f}")
    return result


main()
