"""A real llama.cpp for tests: npm's node-llama-cpp, which brings one that is built.

    npm i --ignore-scripts --prefix FOLDER node-llama-cpp @node-llama-cpp/linux-x64      and DIGLOT_LLAMA_CPP=FOLDER

or `llama-cpp` in $DIGLOT_MODELS, where `real_models.py` puts it.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizer_corpora import real_documents

SCRIPT = Path(__file__).with_suffix(".mjs")
LANGUAGES = ("ar", "en", "id", "th", "zh")
LONGEST = 400  # characters of a text


def folder() -> Path:
    """Where llama.cpp is, or a skipped test."""
    given = os.environ.get("DIGLOT_LLAMA_CPP") or Path(os.environ.get("DIGLOT_MODELS", "none")) / "llama-cpp"
    if not (Path(given) / "node_modules" / "node-llama-cpp").is_dir() or shutil.which("node") is None:
        pytest.skip("no llama.cpp: see tests/helpers/llama_cpp.py")
    return Path(given)


def ask(gguf: Path, texts: Sequence[str], prompts: Sequence[Sequence[int]] = (), length: int = 0) -> dict[str, Any]:
    """What llama.cpp makes of a file: ids of texts, texts of these ids, greedy answers to prompts, special ids."""
    question = {"model": str(gguf.resolve()), "texts": list(texts), "prompts": list(prompts), "length": length}
    environment = {**os.environ, "DIGLOT_LLAMA_CPP": str(folder())}
    with tempfile.TemporaryDirectory() as temporary:
        asked, answer = Path(temporary) / "asked.json", Path(temporary) / "answer.json"
        asked.write_text(json.dumps(question))
        done = subprocess.run(
            ["node", SCRIPT, asked, answer], capture_output=True, text=True, env=environment, timeout=900
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(answer.read_text())


def lines_of_five_languages(data: Path, each: int) -> list[str]:
    """Pieces of real documents, begun anywhere: whole paragraphs and torn ones, code, tables, blanks."""
    found = []
    for language in LANGUAGES:
        own: list[str] = []
        for number, (_, text) in enumerate(real_documents(data, language, 2**24)):
            begins = (number * 97) % max(1, len(text) - LONGEST) if len(text) > LONGEST else 0
            own += [text[at : at + LONGEST] for at in range(begins, len(text), LONGEST)][: 1 + each // 400]
            if len(own) >= each:
                break
        assert len(own) >= each, f"{language}: only {len(own)} texts"
        found += own[:each]
    return found


def with_tokenizer(tokenizer: Path, output: Path, kind: str = "llama", **sizes: Any) -> Path:
    """A tiny model of random weights for a tokenizer that comes without one."""
    shutil.copytree(tokenizer, output)
    # What AutoTokenizer would make of it is no concern here: rows for all ids, and what stands around a text.
    from diglot.tokenizer.folder import generation_ids, load_tokenizer, tokenizer_size

    loaded = load_tokenizer(tokenizer)
    special = generation_ids(tokenizer, loaded)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
             "intermediate_size": 16, "max_position_embeddings": 512}  # fmt: skip
    ids = {f"{role}_token_id": special[f"{role}_token_id"] for role in ("bos", "eos", "pad")}
    config = transformers.CONFIG_MAPPING[kind](vocab_size=tokenizer_size(loaded), **small | ids | sizes)
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(output)
    return output


def greedy(model: Path, prompts: Iterable[Sequence[int]], length: int, stops: Sequence[int]) -> list[list[int]]:
    """Transformers' greedy answers in float32, without the token that ended them."""
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    answers = []
    for prompt in prompts:
        made = loaded.generate(torch.tensor([list(prompt)]), do_sample=False, max_new_tokens=length, eos_token_id=list(stops) or None, pad_token_id=0)  # fmt: skip
        answer = made[0, len(prompt) :].tolist()
        answers.append(answer[:-1] if answer[-1] in stops else answer)
    return answers
