"""Small tokenizers, transformers models and artifacts that the tests of models share."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from diglot.base.artifact import Artifact, Inputs

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = ["▁", *"abcdehlnortuwy"]
MERGES = [("h", "e"), ("t", "he"), ("▁", "the"), ("l", "l"), ("o", "r"), ("▁", "a")]
SIZES = {
    "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64
}  # fmt: skip
LLAMA_SIZES = {"intermediate_size": 48, "num_key_value_heads": 4, "head_dim": 8}  # of most families
SIZES_OF = {  # of those that know no such keys
    "gpt2": {"activation_function": "gelu"},
    "phi3": {"intermediate_size": 48, "num_key_value_heads": 2},
}
# Within the vocabulary where a family's defaults are not.
SPECIAL_IDS = {kind: {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3} for kind in ("phi3", "smollm3")}
NEW_MERGES = [("▁the", "r"), ("▁ther", "e"), ("ك", "ت"), ("كت", "ا"), ("كتا", "ب"), ("▁", "كتاب")]


def megabytes(field: str) -> float:
    """A field of this process's memory, such as VmRSS or VmHWM."""
    line = next(line for line in Path("/proc/self/status").read_text().split("\n") if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def write_tokenizer(
    folder: Path,
    new_merges: tuple | list = (),
    new_letters: str = "",
    new_specials: tuple | list = (),
    order: list[str] | None = None,
) -> Path:
    """A byte-fallback BPE in the form of our own; extensions come after the base's ids."""
    merges = [*MERGES, *new_merges]
    pieces = [*LETTERS, *("".join(pair) for pair in MERGES), *new_letters]
    pieces += ["".join(pair) for pair in new_merges]
    names = order or [*SPECIALS, *BYTES, *pieces, *new_specials]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (*SPECIALS, *new_specials)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    return folder


def vocabulary(folder: Path) -> dict[str, int]:
    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)


def transformers_model(kind: str, **changes) -> transformers.PreTrainedModel:
    """A tiny model of transformers' own with all weights, biases and norms drawn at random."""
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[kind](
        **SIZES | SIZES_OF.get(kind, LLAMA_SIZES) | SPECIAL_IDS.get(kind, {}) | changes
    )
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def save(model: transformers.PreTrainedModel, folder: Path, **changes) -> Path:
    """Write a model folder with a tokenizer, as a user would bring it; `changes` edit its config.json."""
    model.save_pretrained(folder)
    write_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def artifact(path: Path, kind: str) -> Artifact:
    return Artifact(path, path.name, kind, "test", "", "", {}, {}, {}, {})


def inputs(**roles) -> Inputs:
    """Inputs from folders: `inputs(model=folder, tokenizer=other)`."""
    as_lists = {role: paths if isinstance(paths, list) else [paths] for role, paths in roles.items()}
    return Inputs({role: [artifact(path, role) for path in paths] for role, paths in as_lists.items()})


def write_corpus(folder: Path, texts: dict[str, list[str]]) -> Path:
    """A corpus as curate writes it, as far as model stages read it: texts by language."""
    (folder / "documents").mkdir(parents=True)
    for language, own in texts.items():
        rows = [
            {"id": f"{language}-{number}", "language": language, "domain": "web", "text": text}
            for number, text in enumerate(own)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "documents" / f"{language}.parquet")
    return folder
