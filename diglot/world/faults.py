"""Labelled dirt for documents: what a curation stage should find, with the truth beside it.

Every fault is a function from a clean text (or from nothing) to a dirty one. `similarity` is the Jaccard
index of the two texts' sets of word 5-grams, words being what whitespace separates.
"""

from random import Random

from diglot.world.tables import read_table

FAULTS = (
    "near_duplicate",
    "exact_duplicate",
    "wrong_language",
    "repeated_lines",
    "boilerplate",
    "broken_encoding",
    "spam",
)

_TABLES = read_table("faults")
SPANISH: dict[str, list[str]] = _TABLES["spanish"]  # a piece from each list makes a sentence
BOILERPLATE: dict[str, list[str]] = _TABLES["boilerplate"]
SPAM: dict[str, list[str]] = _TABLES["spam"]


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """The set of word 5-grams of a text; words are separated by whitespace."""
    words = text.split()
    return frozenset(tuple(words[i : i + 5]) for i in range(len(words) - 4))


def jaccard(one: str, other: str) -> float:
    """Jaccard index of two texts' word 5-grams (0 where both are shorter than five words)."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a or b else 0.0


def near_duplicate(random: Random, text: str) -> str:
    """The text with words exchanged by others of the same text until a drawn similarity (0.5 to 0.95) is reached."""
    target = random.uniform(0.5, 0.95)
    pieces = text.split(" ")
    vocabulary = [piece for piece in pieces if piece.isalpha()]
    while True:
        place = random.randrange(len(pieces))
        if not pieces[place].isalpha():
            continue
        pieces[place] = random.choice(vocabulary)
        changed = " ".join(pieces)
        if changed != text and jaccard(text, changed) <= target:
            return changed


def spanish(random: Random) -> str:
    """Some sentences in Spanish."""
    sentences = []
    for _ in range(random.randint(5, 10)):
        sentence = " ".join(random.choice(pieces) for pieces in SPANISH.values())
        sentences.append(sentence[0].upper() + sentence[1:] + ".")
    return " ".join(sentences)


def repeated_lines(random: Random, text: str) -> str:
    """The text's sentences, one of them repeated many times as lines of its own."""
    sentences = [sentence.strip() + "." for sentence in text.replace("\n", " ").split(". ") if sentence.strip()]
    place = random.randrange(len(sentences))
    return "\n".join(sentences[:place] + [sentences[place]] * random.randint(12, 30))


def boilerplate(random: Random, text: str, language: str) -> str:
    """A scrap of the text among menus, cookie notices and calls to click."""
    notices = list(BOILERPLATE[language])
    random.shuffle(notices)
    scrap = text.split(". ")[0].split("\n")[0]
    return "\n".join([*notices[:3], scrap, *notices[3:]])


def broken_encoding(random: Random, text: str) -> str:
    """The text after a wrong decoding: UTF-8 read as Latin-1 (twice, at times), or replacement characters.

    Text without a letter beyond ASCII gets curly quotes and dashes first, as it has in print.
    """
    if random.random() < 0.4:
        return "".join("\ufffd" if c.isalpha() and random.random() < 0.2 else c for c in text)
    if text.isascii():
        text = text.replace(". ", "… – ").replace(" is ", " ‘is’ ").replace("'", "’").replace('"', "”")
        text = text.replace(" di ", " ‘di’ ").replace(",", " —")
    broken = text.encode().decode("latin-1")
    return broken.encode().decode("latin-1") if random.random() < 0.3 else broken


def spam(random: Random, language: str) -> str:
    """Keywords, symbols and addresses."""
    words = SPAM[language]
    parts = []
    for _ in range(random.randint(40, 90)):
        draw = random.random()
        if draw < 0.12:
            parts.append(
                f"http://www.{random.choice(SPAM['en'])}-{random.randrange(1000)}.example/?p={random.randrange(9999)}"
            )
        elif draw < 0.35:
            parts.append(random.choice(("!!!", "$$$", ">>>", "***", "###", "100%")))
        else:
            parts.append(random.choice(words[:5] if random.random() < 0.6 else words))
    return " ".join(parts)
