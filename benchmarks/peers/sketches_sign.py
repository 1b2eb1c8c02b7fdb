"""datasketch's and rensa's signatures (128 permutations) of JSON lines {"text"}; neither makes shingles, Python does.

sketches_sign.py FILE words|characters datasketch|rensa: lower-cased text, words of `str.split`, no other normalising.
datasketch hashes with xxhash, which is quicker than its own choice.
"""

import json
import sys
import time
from pathlib import Path

import datasketch
import rensa
import xxhash


def shingles(text: str, by_characters: bool) -> list[str]:
    if by_characters:
        text = "".join(text.lower().split())
        return [text[i : i + 13] for i in range(max(len(text) - 12, 1))]
    words = text.lower().split()
    return [" ".join(words[i : i + 5]) for i in range(max(len(words) - 4, 1))]


def main() -> None:
    lines = Path(sys.argv[1]).read_text("utf-8").rstrip("\n").split("\n")
    by_characters, library = sys.argv[2] == "characters", sys.argv[3]
    texts = [json.loads(line)["text"] for line in lines]
    begin, made = time.process_time(), 0.0
    for first in range(0, len(texts), 100):
        before = time.process_time()
        batch = [shingles(text, by_characters) for text in texts[first : first + 100]]
        made += time.process_time() - before
        if library == "rensa":
            rensa.RMinHash.digest_matrix_from_token_sets(batch, 128, 1)
        else:
            for tokens in batch:
                sketch = datasketch.MinHash(num_perm=128, hashfunc=xxhash.xxh32_intdigest)
                sketch.update_batch(tokens)
    seconds = time.process_time() - begin
    size = sum(len(text.encode()) for text in texts)
    print(json.dumps({"cpu_seconds": seconds, "shingle_seconds": made, "bytes": size, "documents": len(texts)}))


main()
