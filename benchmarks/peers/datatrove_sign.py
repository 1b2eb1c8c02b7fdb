"""datatrove's signatures (14 x 9 permutations) of JSON lines {"text"}: its own code for one text, nothing written.

datatrove_sign.py FILE words|characters: words are what `str.split` gives, in its favour, or every character is one.
"""

import json
import sys
import time
from pathlib import Path

from datatrove.pipeline.dedup import minhash


class CheapWords:
    def __init__(self, by_characters: bool):
        self.by_characters = by_characters

    def word_tokenize(self, text: str) -> list[str]:
        return list(text.replace(" ", "")) if self.by_characters else text.split()


def main() -> None:
    lines = Path(sys.argv[1]).read_text("utf-8").rstrip("\n").split("\n")
    by_characters = sys.argv[2] == "characters"
    texts = [json.loads(line)["text"] for line in lines]
    minhash.load_word_tokenizer = lambda language: CheapWords(by_characters)
    config = minhash.MinhashConfig(n_grams=13 if by_characters else 5, num_buckets=14, hashes_per_bucket=9)
    step = minhash.MinhashDedupSignature("unused", config=config)
    step.get_signature(step.get_shingles(texts[0] * 20))
    begin = time.process_time()
    for text in texts:
        shingles = step.get_shingles(text)
        if shingles.size:
            step.get_signature(shingles)
    seconds = time.process_time() - begin
    size = sum(len(text.encode()) for text in texts)
    print(json.dumps({"cpu_seconds": seconds, "bytes": size, "documents": len(texts), "start_seconds": begin}))


main()
