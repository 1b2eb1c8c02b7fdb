"""The texts that `dedup.py` signs: {"text"} a line; words.jsonl of languages with spaces, characters.jsonl of those without.

diglot_texts.py DATA FOLDER BYTES: of each file of DATA/raw_text an equal share, about BYTES a language in all.
"""

import json
import sys
from pathlib import Path

from diglot.read.files import Record, read_records
from diglot.text.languages import is_unspaced


def main() -> None:
    data, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    written = {"words": 0, "characters": 0}
    for language in sorted(path.name for path in (data / "raw_text").iterdir()):
        kind = "characters" if is_unspaced(language) else "words"
        files = sorted((data / "raw_text" / language).glob("*.jsonl.zst"))
        with (folder / f"{kind}.jsonl").open("a", encoding="utf-8") as out:
            for file in files:
                left = size / len(files)
                for record in read_records(str(file), stage="benchmark", source=language):
                    if isinstance(record, Record) and record.value["text"].strip():
                        out.write(json.dumps({"text": record.value["text"]}, ensure_ascii=False) + "\n")
                        left -= len(record.value["text"].encode())
                        written[kind] += len(record.value["text"].encode())
                    if left <= 0:
                        break
    print(json.dumps(written))


main()
