"""datatrove's side of `curate.py`, as its own FineWeb example does it, one language after another.

datatrove_curate.py FOLDER OUTPUT WORDS: Gopher repetition, C4 and Gopher quality filters → Parquet → MinHash
signatures → buckets → clusters → kept Parquet. With WORDS `cheap` words are what `str.split` gives and sentences
end at punctuation, in datatrove's favour; with `own` it uses the tokenizers that it has for each language. Its language
filter needs a model from the network: left out, in its favour. No stop words outside English: its list is English. The
page texts (`web`) are taken for English, which drops most of the others early, in its favour too.
"""

import functools
import json
import re
import shutil
import sys
import time
from pathlib import Path

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils import text as datatrove_text
from datatrove.utils import word_tokenizers
from loguru import logger

LANGUAGES = {
    "ar": "arb_Arab", "de": "deu_Latn", "en": "eng_Latn", "es": "spa_Latn", "fr": "fra_Latn", "he": "heb_Hebr",
    "id": "ind_Latn", "it": "ita_Latn", "ja": "jpn_Jpan", "ko": "kor_Hang", "nl": "nld_Latn", "pl": "pol_Latn",
    "pt": "por_Latn", "ru": "rus_Cyrl", "th": "tha_Thai", "tr": "tur_Latn", "vi": "vie_Latn", "zh": "cmn_Hani",
    "web": "eng_Latn",
}  # fmt: skip
MINHASH = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=9)


class CheapWords:
    """Words and sentences as cheap as they can be: in Chinese, Japanese and Thai two characters are a word."""

    sentence = re.compile(r"[^.!?。！？؟]+[.!?。！？؟]*")
    pair = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]{1,2}|[^\s\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]+")

    def __init__(self, language: str):
        self.unspaced = language in ("cmn_Hani", "jpn_Jpan", "tha_Thai")

    def word_tokenize(self, text: str) -> list[str]:
        return self.pair.findall(text) if self.unspaced else text.split()

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [found.span() for found in self.sentence.finditer(text)]


def use_cheap_words() -> None:
    for module in (word_tokenizers, datatrove_text, sys.modules[MinhashDedupSignature.__module__]):
        if hasattr(module, "load_word_tokenizer"):
            module.load_word_tokenizer = functools.lru_cache(CheapWords)  # type: ignore[attr-defined]


def through(*steps: PipelineStep) -> int:
    """Run steps one into another; gives the number of documents that come out."""
    data = None
    for step in steps:
        data = step.run(data, 0, 1)
    return sum(1 for _ in data or ())


def curate(folder: Path, name: str, output: Path, limit: int = -1) -> int:
    language = LANGUAGES[name]
    reader = JsonlReader(str(folder), glob_pattern=f"{name}.jsonl.zst", compression="zstd", limit=limit)
    stop_words = 2 if language == "eng_Latn" else 0
    through(
        reader,
        GopherRepetitionFilter(language=language),
        C4QualityFilter(filter_no_terminal_punct=False, language=language),
        GopherQualityFilter(min_stop_words=stop_words, language=language),
        ParquetWriter(str(output / "filtered"), output_filename="${rank}.parquet", compression="zstd"),
    )
    if not (output / "filtered").exists():  # nothing passed the filters
        return 0
    again = functools.partial(ParquetReader, str(output / "filtered"))
    through(again(), MinhashDedupSignature(str(output / "signatures"), config=MINHASH, language=language))
    for bucket in range(MINHASH.num_buckets):
        step = MinhashDedupBuckets(str(output / "signatures"), str(output / "buckets"), config=MINHASH)
        step.run(None, bucket, MINHASH.num_buckets)
    MinhashDedupCluster(str(output / "buckets"), str(output / "remove"), config=MINHASH).run(None, 0, 1)
    writer = ParquetWriter(str(output / "kept"), output_filename="${rank}.parquet", compression="zstd")
    return through(again(), MinhashDedupFilter(str(output / "remove")), writer)


def main() -> None:
    folder, output, words = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    logger.remove()
    shutil.rmtree(output, ignore_errors=True)
    if words == "cheap":
        use_cheap_words()
    sources = json.loads((folder / "sources.json").read_text())
    for name in sources:
        curate(folder, name, output / "warm" / name, limit=3)
    started = time.process_time()
    kept = {name: curate(folder, name, output / name) for name in sources}
    done = time.process_time()
    read = {key: sum(source[key] for source in sources.values()) for key in ("documents", "bytes")}
    print(json.dumps({"cpu_seconds": done - started, "start_seconds": started, **read, "kept": sum(kept.values()), "kept_of": kept}))  # fmt: skip


main()
