"""py3langid's side of `identify.py`: the language of JSON lines {"text"}, of their first CHARACTERS (0: of all).

py3langid_identify.py FILE LABELS CHARACTERS
"""

import json
import sys
import time
from pathlib import Path

from py3langid.langid import MODEL_FILE, LanguageIdentifier

texts = [json.loads(line)["text"] for line in Path(sys.argv[1]).read_text("utf-8").split("\n") if line]
characters = int(sys.argv[3]) or None
identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
begin = time.process_time()
found = [identifier.classify(text[:characters]) for text in texts]
seconds = time.process_time() - begin
with Path(sys.argv[2]).open("w", encoding="utf-8") as out:
    for code, confidence in found:
        out.write(json.dumps([code, None, float(confidence)]) + "\n")
print(json.dumps({"bytes": sum(len(text.encode()) for text in texts), "cpu_seconds": seconds}))
