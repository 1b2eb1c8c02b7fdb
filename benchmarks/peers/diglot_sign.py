"""Our signatures (128 permutations) and band keys of JSON lines {"text"}.

diglot_sign.py FILE words|characters
"""

import json
import sys
import time
from pathlib import Path

from diglot.text.minhash import band_keys, sign
from diglot.text.unicode import text_array


def main() -> None:
    lines = Path(sys.argv[1]).read_text("utf-8").rstrip("\n").split("\n")
    by_characters = sys.argv[2] == "characters"
    texts = text_array([json.loads(line)["text"].encode() for line in lines])
    band_keys(sign(texts[:1], 128, 5, by_characters)[1], 14, 9)
    begin = time.process_time()
    _, signatures = sign(texts, 128, 5, by_characters)
    signed = time.process_time()
    band_keys(signatures, 14, 9)
    done = time.process_time()
    print(json.dumps({"cpu_seconds": done - begin, "sign_seconds": signed - begin, "band_seconds": done - signed,
                      "bytes": texts.nbytes - 8 * (len(texts) + 1), "documents": len(texts), "start_seconds": begin}))  # fmt: skip


main()
