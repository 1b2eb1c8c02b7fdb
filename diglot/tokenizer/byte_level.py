r"""The other kind of the tokenizers we train: byte-level BPE, as Llama-3's and Qwen's.

    "A  café, 12"  ──words──►  A │ ␣ │ ␣café │ , │ ␣ │ 1 │ 2  ──bytes──►  A │ Ġ │ ĠcafÃ© │ , │ …  ──BPE──►  ids

1. There is no normalizer: decode(encode(text)) == text for every text. (Qwen's NFC would change some.)
2. Words: Llama-3's splitting with two changes. Digits stand one by one (PolyLM 3.1), and combining marks and joiners
   belong to the letters, as in GPT-4o's: Llama-3's \p{L}+ breaks Thai, Hindi and vocalised Arabic at every mark.
   A word is a run of letters with one character before it that is no letter (" the", "(self", "_name"), a digit, or a
   run of punctuation, with a space before it and line ends behind it; runs of white space leave their last space to the
   word behind them.
3. BPE on the UTF-8 bytes of each word, which are written in GPT-2's letters: tokenizer.json holds text, and not every
   byte is one. A piece may end inside a character; every byte is a token, so nothing is unknown.

This is the kind for code. Held-out files of Python's standard library, 16,000 merges learnt on others and as much text in
four languages, characters per token on code and on text:

    BYTE_LEVEL_WORDS  3.68  2.91        GPT-2's splitting, digits one by one  3.59  2.76
                                        BYTE_FALLBACK_WORDS                   3.40  2.85

Indentation is one token in all of them; here line ends hang on the punctuation before them, and one sign on the name
after it ("(self", "_name").

No word holds a special token of the chat format (`<s` and `>` are two words), so no merge can spell one.
"""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from diglot.text.words import BYTE_LEVEL_WORDS
from diglot.tokenizer.byte_fallback import add_special_tokens
from diglot.tokenizer.byte_letters import BYTE_LETTERS
from diglot.tokenizer.special import SPECIAL_TOKENS


def pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Cuts text into words and writes their bytes as letters."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(BYTE_LEVEL_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )


def build(pieces: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    """A tokenizer with the special tokens, the bytes, and these pieces, in this order of ids."""
    vocabulary = {piece: number for number, piece in enumerate((*SPECIAL_TOKENS, *BYTE_LETTERS, *pieces))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    add_special_tokens(tokenizer)
    return tokenizer
