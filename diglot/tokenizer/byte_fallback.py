r"""The first kind of the tokenizers we train: BPE with byte fallback, as Llama-2's, but exact on every text.

Text goes through three steps; decoding undoes them:

    "A  café, 12"  ──normalise──►  "A▁▁café,▁12"  ──words──►  A │ ▁ │ ▁café │ , │ ▁ │ 1 │ 2  ──BPE──►  ids

1. A space becomes ▁ (no space is put in front of the text). A ▁ of the text itself would come back as a space, so it
   is escaped, with a private-use character, and that character too: this makes decode(encode(text)) == text for every
   text.
2. Words: a run of letters (with its combining marks and joiners) or of punctuation, each with one space before it;
   digits one by one (PolyLM 3.1); runs of spaces, of line ends, of other white space. Pieces never cross words.
3. BPE on the characters of each word. A character outside the vocabulary becomes its UTF-8 bytes, which have a token
   each and never merge.

Because letters and punctuation never share a piece, no merge can spell a special token or a byte token (`<s>`,
`<0x41>`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from diglot.base.files import write_json, write_text
from diglot.text.words import BYTE_FALLBACK_WORDS
from diglot.tokenizer.description import GENERIC
from diglot.tokenizer.folder import SPACE
from diglot.tokenizer.special import BEGIN, CHAT_TEMPLATE, END, PADDING, ROLES, SPECIAL_TOKENS, STOP, UNKNOWN

ESCAPE = "\ue000"  # private use: no writing system has it
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
RESERVED = len(SPECIAL_TOKENS) + len(BYTES)


def normalizer() -> normalizers.Normalizer:
    """Spaces to ▁, with ▁ itself escaped."""
    return normalizers.Sequence(
        [
            normalizers.Replace(ESCAPE, ESCAPE + "0"),
            normalizers.Replace(SPACE, ESCAPE + "1"),
            normalizers.Replace(" ", SPACE),
        ]
    )


def decoder() -> decoders.Decoder:
    """Bytes to characters, ▁ to spaces, escapes undone; in this order, each is exact."""
    return decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(SPACE, " "),
            decoders.Replace(ESCAPE + "1", SPACE),
            decoders.Replace(ESCAPE + "0", ESCAPE),
        ]
    )


def word_splitter() -> pre_tokenizers.PreTokenizer:
    """Cuts normalised text into the words that pieces never cross."""
    return pre_tokenizers.Split(Regex(BYTE_FALLBACK_WORDS), "isolated")


def build(alphabet_and_pieces: list[str], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    """A tokenizer with the special tokens, the bytes, and these pieces, in this order of ids."""
    vocabulary = {piece: number for number, piece in enumerate((*SPECIAL_TOKENS, *BYTES, *alphabet_and_pieces))}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token=UNKNOWN, fuse_unk=True)
    )
    tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = word_splitter()
    tokenizer.decoder = decoder()
    add_special_tokens(tokenizer)
    return tokenizer


def add_special_tokens(tokenizer: tokenizers.Tokenizer) -> None:
    """Declare the special tokens, which stand in the vocabulary; `<s>` begins a text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN}:1 $B:1", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])


def tokenizer_config() -> dict[str, Any]:
    """tokenizer_config.json. The class is the generic one, which takes tokenizer.json as it is.

    LlamaTokenizer of transformers 5 would rebuild normalizer and decoder by its own rules.
    """
    return {
        **GENERIC,
        **special_tokens_map(),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
        "padding_side": "left",
    }


def special_tokens_map() -> dict[str, Any]:
    """special_tokens_map.json."""
    return {
        "bos_token": BEGIN,
        "eos_token": STOP,
        "unk_token": UNKNOWN,
        "pad_token": PADDING,
        "additional_special_tokens": [*ROLES.values(), END],
    }


def write_folder(output: Path, tokenizer: tokenizers.Tokenizer) -> None:
    """Write a tokenizer of ours as a Hugging Face folder."""
    write_text(output / "tokenizer.json", tokenizer.to_str(pretty=True))
    write_json(output / "tokenizer_config.json", tokenizer_config(), indent=2)
    write_json(output / "special_tokens_map.json", special_tokens_map(), indent=2)
    write_text(output / "chat_template.jinja", CHAT_TEMPLATE)
