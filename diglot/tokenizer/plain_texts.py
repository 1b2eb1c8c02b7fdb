r"""Text that no corpus needs to hold for an extension to be tried on it: code, LaTeX, markup, and any two characters.

A corpus of news has no backslash before a `>`, and a sample of it cannot show that one is cut as before.
"""

from __future__ import annotations

import random

WRITTEN = r"""
1. Go to **Projects** \> **Settings**, then choose *Export \| Import* (see [the docs](https://example.org/a_b?c=d&e=f#g)).
| key | value |	| --- | ---: |	- [x] done ~~not~~ `code` <br/> &nbsp;&rlm;&zwnj;
# Heading {#id .class}   > quoted   ![image](a.png "title")   [^1]: a note   $x^2$   \_escaped\_ \*stars\* \\ \# \~
def f(x: int, *args, **kwargs) -> dict[str, list[int]]:  # a comment
    return {"a": [i ** 2 for i in range(10) if i % 2 != 0], 'b': f"{x!r:>10}\t\n", "c": r"\d+\s*\w{2,}?"}
for (int i = 0; i < n && !done; ++i) { *p++ = (uint8_t)(a[i] >> 3 & 0x7F) ^ ~mask; } // C
#include <stdio.h> /* printf("%5.2f%%\n", x); */ #define MAX(a,b) ((a)>(b)?(a):(b))
const f = async ({a, ...b}) => (await x?.y ?? `${a}-${b[0]}`) === null || !/^[\w.+-]+@\w+\.\w{2,}$/.test(s);
fn main() -> Result<(), Box<dyn Error>> { let v: Vec<&'a str> = s.split("::").map(|x| x.trim()).collect(); Ok(()) }
SELECT t.*, COUNT(*) AS n FROM "a" t LEFT JOIN b ON a.id=b.id WHERE x<>'it''s' AND y>=10 GROUP BY 1 HAVING n>1;
<div class="a b" data-x='{"k":1}' onclick="f(this)">&lt;p&gt; <!-- --> <img src=x/> </div> <?php echo $a->b['c']; ?>
.a > #b:not(.c)::before { content: "\201C"; margin: -0.5em auto !important; width: calc(100% - 2px); }
if [[ "$1" =~ ^-+ ]] && ! grep -qE '^\s*#' "${HOME}/.rc" 2>/dev/null; then echo $((1+2)) | tee >(cat) && exit 1; fi
all: $(OBJ) ; @$(CC) -o $@ $^ -O2 -Wall 2>&1 || true	C:\Users\me\file.txt	\\server\share	~/a/../b	file:///tmp
{"a": [1, 2.5e-3, true, null], "b\u00e9": "\"x\"\\n"}	key: |- &anchor *alias <<: !!tag	a=1;b=2	[section]
@@ -1,3 +1,4 @@	+++ b/x.py	--- a/x.py	<<<<<<< HEAD	=======	>>>>>>> main	2024-01-31T23:59:59.000Z	::1/64
\begin{equation}\label{eq:1} \int_{-\infty}^{\infty} e^{-x^2}\,\mathrm{d}x = \sqrt{\pi} \end{equation}
\frac{\partial f}{\partial x_i} \leq \sum_{k=1}^{n} \left\| a_k \right\|_2^2 \cdot \mathbb{E}[X \mid Y] \quad \forall x \in \mathbb{R}^d
\documentclass[11pt]{article} \usepackage[utf8]{inputenc} % comment \newcommand{\R}{\mathbb{R}} \textbf{a}~\cite{b,c} \\[2pt] & \hline
\(a+b\) \[ \begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix} \] $$\lim_{n\to\infty}\tfrac{1}{n}$$ \"{o} \'e \^{\i} \ss
(a|b)*?[^\]]{1,3}(?=x)(?<!y)\1\\$ ^[A-Z]:\\ %s %(a)d %%	\x00\u200f\U0001F600 0xDEADBEEF 1_000 .5 5. -1 +2 1e10 50% #1 @me
¿Qué? ¡Sí! «l’été» „Straße“ “quoted” ‘it’s’ – — … • † ‰ € £ ¥ § ° ± × ÷ ≤ ≠ → ⇒ ∑ √ ∞ α β π Ω ½ ² ³ ™ © ® ✓ ☃ 🙂 👩‍👩‍👧 🇩🇪
"""
PRINTABLE = [chr(code) for code in range(0x21, 0x7F)]
# Controls, Latin-1, and general punctuation, in which the marks of direction and the joiners stand.
ODD = [*map(chr, (*range(0x20), *range(0x7F, 0x100), *range(0x2000, 0x2070), 0x3000, 0xFEFF, 0xFFFC, 0xFFFD))]
RANGES = ((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x780), (0x900, 0xE80), (0x2000, 0x2100), (0x3040, 0x30FF),
          (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0xE000, 0xE010), (0xFB50, 0xFEFD), (0x1F300, 0x1F650), (1, 0x10FFFF))  # fmt: skip
SPACES = (" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "▁")
# Controls, separators and invisible characters: libraries disagree on which of them are white space (U+0085 is to
# Python and to `tokenizers`, and not to SentencePiece) and which are dropped.
AWKWARD = ("\0", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x1f", "\x7f", "\x85", "\xad", "\u180e", "\u200b", "\u200d",
           "\u200e", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\ufeff", "\ufffd")  # fmt: skip
ARBITRARY_TEXTS = 2000


def plain_texts() -> list[str]:
    """Code, LaTeX and markup, and every two characters of ASCII and every odd one in several surroundings."""
    texts = [*WRITTEN.strip("\n").split("\n"), WRITTEN]
    for first in PRINTABLE:
        pairs = [first + second for second in PRINTABLE]
        texts += ["\n".join(pairs), " ".join(pairs), "".join(f"a{pair} 1{pair}\t" for pair in pairs)]
    return texts + [f"a{odd}a {odd} {odd}{odd}\n{odd}. 1{odd}\\>{odd}\n\n{odd}" for odd in ODD]


def arbitrary_texts(number: int = ARBITRARY_TEXTS) -> list[str]:
    """The same arbitrary texts each time: characters of some blocks, spaces and awkward characters between them."""
    choose = random.Random("arbitrary texts")
    texts = []
    for _ in range(number):
        parts = []
        for _ in range(choose.randrange(1, 8)):
            low, high = choose.choice(RANGES)
            codes = (choose.randrange(low, high) for _ in range(choose.randrange(1, 9)))
            parts += ["".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000), choose.choice(SPACES)]
            if choose.random() < 0.1:
                parts.append(choose.choice(AWKWARD))
        texts.append("".join(parts[: choose.randrange(1, len(parts) + 1)]))
    return texts
