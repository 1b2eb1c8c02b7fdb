"""Real tokenizers side by side on the same sentences: tokens per word in 18 languages, and PolyLM's figure 1 with XLM-R.

The sentences are NTREX's, 982 that are the same in all languages. The tokenizers are the real ones in MODELS/tokenizers and
MODELS/smollm2-135m (`python tests/helpers/real_models.py MODELS` makes them), and ours of 256,000 entries, trained on the text
of these languages in the data, as PolyLM's is. PolyLM's figure 1 is XLM-R's tokens over a tokenizer's: the column "ratio".
XLM-R's vocabulary is for a hundred languages, and it drops line ends and runs of spaces; it also takes numbers whole.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from common import BENCHMARKS, Row, arguments, finish, measure

PEERS = BENCHMARKS / "peers"
TEXT = "eval/ntrex/multiway18.jsonl.zst"
FIELDS = {
    "ar": "arb", "de": "deu", "en": "eng", "es": "spa", "fr": "fra", "he": "heb", "id": "ind", "it": "ita", "ja": "jpn",
    "ko": "kor", "nl": "nld", "pl": "pol", "pt": "por", "ru": "rus", "th": "tha", "tr": "tur", "vi": "vie", "zh": "zho-CN",
}  # fmt: skip
REAL = ("llama", "mistral", "smollm2", "llama3", "qwen3", "gemma3", "gptoss")
BASELINE = "xlmr"
SIZES = {"quick": (3_000_000, 8000, ("llama",), ("ar", "en")), "full": (0, 256_000, REAL, tuple(FIELDS))}


def main() -> None:
    models = os.environ.get("DIGLOT_MODELS", "")
    args = arguments("tokens_per_word", "Real tokenizers in 18 languages, against XLM-R's", models=models)
    size, entries, names, languages = SIZES["full" if args.full else "quick"]
    folders = {name: Path(args.models) / "tokenizers" / name for name in (*names, BASELINE)}
    folders |= {"smollm2": Path(args.models) / "smollm2-135m"} if "smollm2" in folders else {}
    if missing := [str(folder) for folder in folders.values() if not folder.is_dir()]:
        sys.exit(f"no tokenizer in {', '.join(missing)}: python tests/helpers/real_models.py FOLDER makes them, then --models FOLDER")  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        measure([sys.executable, str(PEERS / "diglot_training_corpus.py"), str(args.data), temporary, str(size), "0.3"])
        ours = Path(temporary) / "byte-fallback"
        measure([sys.executable, str(PEERS / "diglot_tokenizer_train.py"), "stage", temporary, ours.name, str(entries), str(ours)])  # fmt: skip
        given = [f"{name}={folder.resolve()}" for name, folder in {"ours": ours, **folders}.items()]
        texts = [part for code in languages for part in ("--text", f"{code}={args.data / TEXT}:{FIELDS[code]}")]
        command = ["tokenizer", "measure", *given, *texts, "--baseline", BASELINE, "--json"]
        result = measure([sys.executable, "-m", "diglot", *command]).reported
    finish("tokens_per_word", rows(result), args, notes=notes(result))


def rows(result: dict) -> list[Row]:
    """Tokens per word beside XLM-R's: the ratio is that of the tokens, as the words are the same."""
    base = result["measures"][BASELINE]
    return [
        Row(f"{name}, {language}", "tokens per word", its["fertility"], base[language]["fertility"], "XLM-R", less_is_better=True)
        for name, of in result["measures"].items()
        if name != BASELINE
        for language, its in of.items()
    ]  # fmt: skip


def notes(result: dict) -> list[str]:
    found = ["Words of Chinese, Japanese and Thai are BudouX segments."]
    for name, of in result["compression"].items():
        size = result["tokenizers"][name]["vocabulary_size"]
        unknown = [code for code, its in result["measures"][name].items() if its["unknown_tokens"] > 0.01]
        cost = result["cost"]["tokenizers"][name]["gini"]
        found.append(
            f"{name}, {size:,} entries: mean compression against XLM-R {sum(of.values()) / len(of):.3f}; Gini {cost:.3f}"
            + (f"; loses text in {', '.join(unknown)}" if unknown else "")
        )
    return found


if __name__ == "__main__":
    main()
