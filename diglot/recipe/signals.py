"""The catalogue of signals: what each is called here and elsewhere, what it means, and who measures it.

It imports nothing of ours, so that recipes can be checked against it without loading a kernel. Words used below:

- a **word** stands between whitespace; in Chinese, Japanese and Thai it is a segment of BudouX, in Lao, Khmer,
  Burmese and Tibetan a letter with its marks (`segment`);
- a **bare word** is a word in lower case without punctuation, where something is left of it ("Don't" is `dont`;
  RedPajama-v2's normalised words, but it takes ASCII's punctuation only away);
- a **piece** is a run of letters with their marks, digits and underscores, or of other characters that are not
  whitespace ("Don't" is three; RedPajama-v2's raw words, nltk's WordPunctTokenizer, but it cuts at marks);
- a **line** stands between newlines, without the whitespace around it; blank ones are not counted;
- a **paragraph** is what stands between blank lines.

`elsewhere` gives the name that a source has for a signal: `rpv2` (RedPajama-v2), `ccnet`, `gopher` (Rae et al. 2021:
the rule's words or its row in table A1), `c4`, `fineweb`, `fineweb2`, `polylm` (section 3.1), `allam` (filtering slide).
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Signal(NamedTuple):
    """A number measured on a document.

    Attributes:
        name: here; its rules are `min_<name>` and `max_<name>`.
        meaning: in one sentence, with how it differs from the definition elsewhere.
        elsewhere: its name by source.
        scale: `count`, whole numbers over many decades; `size`, the same but not whole; `share`, from 0 to 1;
            `ratio`, from 0, mostly below 1 but not bound to be; `length`, mean characters, mostly below 20;
            `entropy`, nats, mostly below 10.
        needs: what measures it: `text` (`signals.measure`), `lines` (`lines.correct`), `language` (`identify`), or
            a `quality` model.
    """

    name: str
    meaning: str
    elsewhere: dict[str, str]
    scale: Literal["count", "size", "share", "ratio", "length", "entropy"]
    needs: Literal["text", "lines", "language", "quality"] = "text"


SIGNALS: tuple[Signal, ...] = (
    # Sizes.
    Signal("characters", "Characters (code points).", {"ccnet": "ccnet_length", "polylm": "length"}, "count"),
    Signal("words", "Words. datatrove counts only those with something but punctuation: see bare_words.", {"gopher": "number of words"}, "count"),
    Signal("bare_words", "Bare words.", {"rpv2": "rps_doc_word_count"}, "count"),
    Signal("lines", "Lines. CCNet's text has no blank lines.", {"ccnet": "ccnet_nlines"}, "count"),
    Signal("paragraphs", "Paragraphs.", {}, "count"),
    Signal("sentences", "Sentences: beginnings of a word after a sentence's end mark or the start. RedPajama knows . ! ? only; here all of Unicode's sentence terminals count. Thai has none.", {"rpv2": "rps_doc_num_sentences", "c4": "sentences in a page"}, "count"),
    Signal("mean_word_length", "Mean characters of words.", {"gopher": "mean word length"}, "length"),
    Signal("mean_bare_word_length", "Mean characters of bare words. RedPajama counts an accented letter twice (NFD).", {"rpv2": "rps_doc_mean_word_length"}, "length"),
    Signal("longest_word", "Characters of the longest word.", {"c4": "lines with a word over 1000 characters"}, "count"),
    Signal("long_words", "Share of words of more than 30 characters; those over 100 are taken out before (lines).", {"polylm": "long words"}, "share"),
    Signal("mean_line_length", "Mean characters of lines.", {}, "size"),
    Signal("mean_line_words", "Mean bare words of lines.", {"rpv2": "rps_lines_num_words, averaged"}, "size"),
    # Symbols.
    Signal("symbol_to_word", "The commoner of \"#\" and the ellipsis (… or ...), over words: Gopher has the same limit for both.", {"gopher": "symbol-to-word ratio, either symbol", "polylm": "symbol-to-word ratio"}, "ratio"),
    Signal("hash_to_word", "\"#\" over words.", {"gopher": "symbol-to-word ratio, hash"}, "ratio"),
    Signal("ellipsis_to_word", "… and ..., over words.", {"gopher": "symbol-to-word ratio, ellipsis", "polylm": "ratio of ellipsis"}, "ratio"),
    Signal("all_symbols_to_word", "#, … and ... together, over pieces.", {"rpv2": "rps_doc_symbol_to_word_ratio", "allam": "rps_doc_symbol_to_word_ratio"}, "ratio"),
    Signal("curly_brackets", "{ and } over characters.", {"rpv2": "rps_doc_curly_bracket", "c4": "curly bracket (any drops the page)"}, "share"),
    Signal("lorem_ipsum", "Bare words `lorem ipsum` in a row, over characters of bare words and the spaces between them.", {"rpv2": "rps_doc_lorem_ipsum", "allam": "rps_doc_lorem_ipsum", "c4": "lorem ipsum (any drops the page)"}, "share"),
    Signal("digits", "Decimal digits of any script over characters.", {"polylm": "numbers"}, "share"),
    Signal("numerals", "Numeric characters (½ and 三 too) over characters within lines.", {"rpv2": "rps_lines_numerical_chars_fraction, by length of line"}, "share"),
    Signal("uppercase", "Capital letters over characters within lines.", {"rpv2": "rps_lines_uppercase_letter_fraction, by length of line"}, "share"),
    Signal("dates", "Dates in figures (2024-05-31, 31.5.24, 5/31/2024, 2024年5月31日) over words.", {"polylm": "dates"}, "ratio"),
    # Lines.
    Signal("bullet_lines", "Share of lines that begin with one of • ‣ ▪ ● ◦ * -; datatrove has • and - only.", {"gopher": "lines starting with a bullet point"}, "share"),
    Signal("symbol_bullet_lines", "Share of lines that begin with one of • ‣ ▶ ◀ ◦ ■ □ ▪ ▫ –.", {"rpv2": "rps_lines_start_with_bulletpoint, averaged"}, "share"),
    Signal("ellipsis_lines", "Share of lines that end in … or ....", {"gopher": "lines ending with an ellipsis", "rpv2": "rps_doc_frac_lines_end_with_ellipsis", "allam": "rps_doc_frac_lines_end_with_ellipsis"}, "share"),
    Signal("punctuated_lines", "Share of lines that end in one of Unicode's sentence terminals (. ! ? 。 ؟ । …).", {"fineweb": "line_punct_ratio"}, "share"),
    Signal("terminal_lines", "Share of lines that end in one of . ! ? ”. C4 takes \" for ”.", {"rpv2": "rps_lines_ending_with_terminal_punctution_mark, averaged"}, "share"),
    Signal("short_lines", "Share of lines of at most 30 characters.", {"fineweb": "short_line_ratio"}, "share"),
    Signal("javascript_lines", "Share of lines with the bare word `javascript`.", {"rpv2": "rps_lines_javascript_counts, lines with any", "c4": "lines with the word Javascript"}, "share"),
    Signal("newlines_to_word", "Newlines over words.", {"fineweb": "list_ratio"}, "ratio"),
    # Words.
    Signal("alphabetic_words", "Share of words with a letter.", {"gopher": "words with an alphabetic character"}, "share"),
    Signal("no_latin_words", "Share of pieces without one of a-z, A-Z. English only: text in another script has none of them.", {"rpv2": "rps_doc_frac_no_alph_words", "allam": "rps_doc_frac_no_alpha_words"}, "share"),
    Signal("all_caps_words", "Share of pieces in capitals.", {"rpv2": "rps_doc_frac_all_caps_words"}, "share"),
    Signal("unique_words", "Different bare words over bare words.", {"rpv2": "rps_doc_frac_unique_words"}, "share"),
    Signal("unigram_entropy", "Entropy of the bare words, in nats.", {"rpv2": "rps_doc_unigram_entropy"}, "entropy"),
    Signal("stop_words", "Share of bare words that are stop words of the language. RedPajama looks up pieces as they are written (not `The`).", {"rpv2": "rps_doc_stop_word_fraction", "allam": "rps_doc_stop_word_fraction"}, "share"),
    Signal("distinct_stop_words", "Different stop words of the language among the bare words.", {"fineweb2": "min_stop_words"}, "count"),
    Signal("gopher_stop_words", "How many of the, be, to, of, and, that, have, with are among the bare words. English only. datatrove misses `The` and `that,`.", {"gopher": "stop words (at least two)"}, "count"),
    Signal("banned_words", "Words and sequences of words on the list of banned words, over bare words.", {"rpv2": "rps_doc_ldnoobw_words, over words", "allam": "rps_doc_ldnoobw_words / total words"}, "share"),
    # Repetition.
    Signal("duplicate_lines", "Share of lines with the same words as an earlier one.", {"gopher": "duplicate line fraction"}, "share"),
    Signal("duplicate_line_characters", "Characters of such lines over characters. FineWeb leaves newlines out below the stroke.", {"gopher": "duplicate line character fraction", "fineweb": "char_dup_ratio"}, "share"),
    Signal("duplicate_paragraphs", "Share of paragraphs with the same words as an earlier one.", {"gopher": "duplicate paragraph fraction"}, "share"),
    Signal("duplicate_paragraph_characters", "Characters of such paragraphs over characters.", {"gopher": "duplicate paragraph character fraction"}, "share"),
    *(
        Signal(f"top_{n}gram", f"Characters of the commonest {n} words in a row, times how often they occur (0 if once), over characters of words; above 1 where it overlaps itself. RedPajama takes bare words; datatrove counts the spaces too, and n-grams that occur once.", {"gopher": f"top {n}-gram character fraction", "rpv2": f"rps_doc_frac_chars_top_{n}gram"}, "ratio")
        for n in (2, 3, 4)
    ),
    *(
        Signal(f"duplicate_{n}grams", f"Characters of words within any {n} words in a row that occur more than once, over characters of words. RedPajama takes bare words; datatrove leaves the first occurrence out.", {"gopher": f"duplicate {n}-gram character fraction", "rpv2": f"rps_doc_frac_chars_dupe_{n}grams"}, "share")
        for n in (5, 6, 7, 8, 9, 10)
    ),
    # Measured elsewhere.
    Signal("urls", "Characters within URLs, over characters of the text as read.", {"polylm": "URL filtering"}, "share", "lines"),
    Signal("invisible", "Invisible and broken characters, over characters of the text as read.", {"polylm": "ratio of invisible characters"}, "share", "lines"),
    Signal("language_confidence", "How sure the identifier is that the text is in its language.", {"ccnet": "ccnet_language_score", "allam": "ccnet_language_score"}, "share", "language"),
    Signal("perplexity", "Perplexity of the language's n-gram model.", {"ccnet": "ccnet_perplexity", "polylm": "perplexity"}, "size", "quality"),
    Signal("perplexity_rank", "Share of the reference text with a lower perplexity.", {"ccnet": "ccnet_bucket (head, middle, tail)"}, "share", "quality"),
    Signal("quality", "Probability that the text is of the good kind, by the classifier.", {"rpv2": "rps_doc_ml_palm_score", "allam": "rps_doc_ml_palm_score", "polylm": "quality classifier"}, "share", "quality"),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(signal.name for signal in SIGNALS)
TEXT_NAMES: tuple[str, ...] = tuple(signal.name for signal in SIGNALS if signal.needs == "text")


def rule_names() -> list[str]:
    """The names of all rules: a lower and an upper limit of every signal, and the stochastic rule on quality."""
    return [*(f"{side}_{name}" for name in NAMES for side in ("min", "max")), "sample_quality"]
