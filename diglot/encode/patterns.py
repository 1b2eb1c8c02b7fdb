r"""A tokenizer's pattern of words as a table that a kernel walks: one step a character, whatever the pattern.

    \p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+   ──parse──►  nodes  ──which of them may stand here──►  table [states, classes]

Alternatives count in their order, as in the `tokenizers` library: a state is a list of nodes, best first, and what stands
behind a match in that list is dropped. A match is noted one character late, so that `(?!\S)` at its end is known.
Sets of characters (`\p{L}`, `\s`) are asked of the library itself, whose Unicode is neither Python's nor the year's.
What stands between matches is one piece (`GAP`). Patterns with anything else (back references, possessive
quantifiers, longer looks ahead) raise `UnknownPatternError` and their tokenizers are left to the library.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, normalizers

from diglot.text.words import ASSIGNED

MATCHED, CUT, BACK, GAP = 1, 2, 4, 8  # flags of a step; the state follows at STATE_BITS
STATE_BITS = 4
MOST_STATES, MOST_CLASSES = 4095, 255
START = 0  # the state before a word
_NEVER = ("\u0378", "\ue000", "\U0010ffff")  # not assigned, private: in no property that may stand in a pattern
_FOLDED = {"s": "ſ", "k": "\u212a"}  # what else is an ASCII letter where case does not matter
_ESCAPED = {"r": "\r", "n": "\n", "t": "\t", "f": "\f", "v": "\v"}
_TOKEN = re.compile(
    r"""\\x\{(?P<code>[0-9A-Fa-f]+)\} | (?P<property>\\[pP]\{\^?\w+\} | \\[sSdDwW]) | \\(?P<escaped>.)
    | (?P<group>\(\?i:|\(\?:|\(\?=|\(\?!|\() | (?P<count>\{\d+(?:,\d*)?\}) | (?P<plain>.)""",
    re.VERBOSE | re.DOTALL,
)

Set = NDArray[np.bool_]  # [0x110000]


class UnknownPatternError(Exception):
    """A pattern holds what these tables cannot say."""


class Table(NamedTuple):
    """A pattern as the kernel reads it.

    Attributes:
        classes: uint8 [0x110000], the class of every code point; class 0 is the text's end.
        steps: uint32 [states * width], by state and class: flags and where the next state's steps begin.
            MATCHED: a match may end before this character. CUT: a word ends before it, and the next state is that
            behind this character in the next word. BACK: the word ended where MATCHED was last, or, if nowhere, it is
            the one character at its start.
        has_gaps: whether there is text that the pattern does not match.
    """

    classes: NDArray[np.uint8]
    steps: NDArray[np.uint32]
    has_gaps: bool


class Characters(NamedTuple):
    """One character of a set."""

    members: Set


class Ahead(NamedTuple):
    """A look at the next character: whether it is in a set (`wanted`), or is not (nor is there one)."""

    members: Set
    wanted: bool


class Group(NamedTuple):
    """Alternatives: parts one after the other, each with how often it stands at least and at most."""

    alternatives: list[list[tuple[Part, int, int | None]]]


Part = Characters | Ahead | Group


@functools.cache
def members_of(item: str) -> Set:
    r"""The characters of `\p{L}`, `\s` and the like, as the library has them.

    Raises:
        UnknownPatternError: it holds characters that are not assigned, which are not asked for one by one.
    """
    found = np.zeros(0x110000, bool)
    codes = list(itertools.chain.from_iterable(itertools.starmap(range, ASSIGNED)))
    replace = normalizers.Replace(Regex(f"{item}+"), "")
    if any(not replace.normalize_str(character) for character in _NEVER):
        raise UnknownPatternError(item)
    left = replace.normalize_str("".join(map(chr, codes)))
    found[codes] = True
    found[np.frombuffer(left.encode("utf-32-le"), np.uint32)] = False
    return found


class Parser:
    """Reads a pattern."""

    def __init__(self, pattern: str):
        self._tokens = [
            (match.lastgroup or "", match.group(match.lastgroup or 0)) for match in _TOKEN.finditer(pattern)
        ]
        self._at = 0
        self.group = self._group(fold=False)
        if self._at < len(self._tokens):
            raise UnknownPatternError(pattern)

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        found = self._peek()
        self._at += 1
        return found

    def _takes(self, plain: str) -> bool:
        """Take a character of syntax, if it comes next."""
        comes = self._peek() == ("plain", plain)
        self._at += comes
        return comes

    def _group(self, *, fold: bool) -> Group:
        """Alternatives up to a closing bracket, or the end."""
        alternatives: list[list[tuple[Part, int, int | None]]] = [[]]
        while self._peek()[0] != "end" and self._peek() != ("plain", ")"):
            if self._takes("|"):
                alternatives.append([])
            else:
                alternatives[-1].append((self._part(fold=fold), *self._count()))
        return Group(alternatives)

    def _count(self) -> tuple[int, int | None]:
        """How often the part just read stands: at least and at most."""
        kind, text = self._peek()
        known: dict[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}
        if kind == "plain" and text in known:
            found = known[text]
        elif kind == "count":
            least, comma, most = text[1:-1].partition(",")
            found = int(least), (int(most) if most else None) if comma else int(least)
        else:
            return 1, 1
        self._next()
        if self._peek()[1] in known:  # as few as possible (`??`), or never given back (`?+`)
            raise UnknownPatternError(text)
        return found

    def _part(self, *, fold: bool) -> Part:
        kind, text = self._next()
        if kind != "group":
            return Characters(self._set(kind, text, fold=fold))
        if text in ("(?=", "(?!"):
            part: Part = Ahead(self._set(*self._next(), fold=fold), wanted=text == "(?=")
        else:
            part = self._group(fold=fold or text == "(?i:")
        if not self._takes(")"):
            raise UnknownPatternError(f"{text} without its end")
        return part

    def _set(self, kind: str, text: str, *, fold: bool) -> Set:
        """The set of characters that begins with a token just read."""
        if (kind, text) == ("plain", "["):
            found, negated = np.zeros(0x110000, bool), self._takes("^")
            while not self._takes("]"):
                kind, text = self._next()
                if kind in ("group", "count"):  # no syntax in here
                    self._tokens[self._at : self._at] = [("plain", each) for each in text[1:]]
                    kind, text = "plain", text[0]
                found |= self._item(kind, text)
            return ~found if negated else found
        if kind == "plain" and text in "^$.*+?{}]()|":
            raise UnknownPatternError(text)
        found = self._item(kind, text)
        if fold and kind == "plain" and text.isalpha():
            found[[ord(each) for each in (text.lower(), text.upper(), *_FOLDED.get(text.lower(), ""))]] = True
        return found

    def _item(self, kind: str, text: str) -> Set:
        """A character, a range of them, or a property."""
        if kind == "property":
            return ~members_of(text.lower()) if text in ("\\S", "\\D", "\\W") else members_of(text)
        found = np.zeros(0x110000, bool)
        first = last = self._character(kind, text)
        if self._peek() == ("plain", "-") and self._tokens[self._at + 1 :][:1] != [("plain", "]")]:
            self._next()
            last = self._character(*self._next())
        found[first : last + 1] = True
        return found

    @staticmethod
    def _character(kind: str, text: str) -> int:
        if kind == "code":
            return int(text, 16)
        if kind == "escaped" and (text in _ESCAPED or not text.isalnum()):
            return ord(_ESCAPED.get(text, text))
        if kind != "plain" or text == "[":  # sets within sets
            raise UnknownPatternError(text)
        return ord(text)


class Node(NamedTuple):
    """What may stand at a place, in a form without brackets.

    Attributes:
        kind: `set` (a character), `ahead` and `not ahead` (a look at one), `fork`, `match`, `gap` (a match of nothing
            but one character that no word has).
        members: which set.
        following: nodes behind it, best first.
    """

    kind: str
    members: int
    following: tuple[int, ...]


class Automaton:
    """A pattern's nodes, and the states that lists of them are."""

    def __init__(self, group: Group):
        self.nodes = [Node("match", 0, ()), Node("gap", 0, ())]
        self.sets: dict[bytes, int] = {}
        first = self._build(group, 0)
        # What the pattern does not match, a character at a time, with the least right.
        anything = self._add("set", self._number(np.ones(0x110000, bool)), 1)
        self.first = self._closure([first, anything])

    def _add(self, kind: str, members: int, *following: int) -> int:
        self.nodes.append(Node(kind, members, following))
        return len(self.nodes) - 1

    def _number(self, members: Set) -> int:
        return self.sets.setdefault(np.packbits(members).tobytes(), len(self.sets))

    def _build(self, part: Part, following: int) -> int:
        """The node of a part that has others behind it."""
        if isinstance(part, Characters):
            return self._add("set", self._number(part.members), following)
        if isinstance(part, Ahead):
            if following != 0:
                raise UnknownPatternError("what stands behind a look ahead would have to be looked at with it")
            return self._add("ahead" if part.wanted else "not ahead", self._number(part.members), following)
        firsts = []
        for alternative in part.alternatives:
            behind = following
            for each, least, most in reversed(alternative):
                behind = self._repeat(each, least, most, behind)
            firsts.append(behind)
        return self._add("fork", 0, *firsts)

    def _repeat(self, part: Part, least: int, most: int | None, following: int) -> int:
        """A part as often as it may stand, the more the better."""
        behind = following
        if most is None:
            behind = self._add("fork", 0)
            self.nodes[behind] = Node("fork", 0, (self._build(part, behind), following))
        else:
            for _ in range(most - least):
                behind = self._add("fork", 0, self._build(part, behind), following)
        for _ in range(least):
            behind = self._build(part, behind)
        return behind

    def _closure(self, nodes: list[int]) -> tuple[int, ...]:
        """Nodes with forks followed, in their order, each once; nothing stands behind a match."""
        found: dict[int, None] = {}
        waiting = nodes[::-1]
        while waiting:
            node = waiting.pop()
            if node in found:
                continue
            found[node] = None
            waiting += self.nodes[node].following[::-1] if self.nodes[node].kind == "fork" else ()
        kept = [node for node in found if self.nodes[node].kind != "fork"]
        ends = [place for place, node in enumerate(kept) if self.nodes[node].kind in ("match", "gap")]
        return tuple(kept[: ends[0] + 1] if ends else kept)

    def step(self, state: tuple[int, ...], has: NDArray[np.bool_] | None) -> tuple[tuple[int, ...], str | None]:
        """What follows on a character, and which match ends before it.

        Args:
            state: nodes, best first.
            has: of each set, whether it has the character; None at the text's end.
        """
        found: list[int] = []
        for number in state:
            node = self.nodes[number]
            member = has is not None and bool(has[node.members])
            if node.kind == "set" and member:
                found += node.following
            if node.kind in ("match", "gap"):
                return self._closure(found), node.kind
            if (node.kind, member) in (("ahead", True), ("not ahead", False)):
                return self._closure(found), "match"
        return self._closure(found), None


@functools.lru_cache(16)
def table(pattern: str) -> Table:
    """A pattern's table.

    Raises:
        UnknownPatternError: it holds what these tables cannot say, or needs too many states.
    """
    automaton = Automaton(Parser(pattern).group)
    if any(automaton.nodes[node].kind != "set" for node in automaton.first):
        raise UnknownPatternError("it matches nothing, before every character")
    # Characters that are in the same sets are of one class.
    sets = np.array([np.unpackbits(np.frombuffer(each, np.uint8)) for each in automaton.sets])
    keys = np.zeros(0x110000, np.uint64)
    for number, members in enumerate(sets):
        keys = (keys * np.uint64(0x9E3779B97F4A7C15)) ^ (members.astype(np.uint64) << np.uint64(number % 64))
    _, examples, classes = np.unique(keys, return_index=True, return_inverse=True)
    if len(examples) > MOST_CLASSES:
        raise UnknownPatternError(f"{len(examples)} classes of characters")
    has = [None, *(sets[:, example].astype(bool) for example in examples)]
    width = 1 << len(examples).bit_length()
    states = {automaton.first: START}
    rows: list[list[tuple[int, str | None]]] = []
    for state in states_growing(states):
        row = []
        for members in has:
            following, match = automaton.step(state, members)
            row.append((states.setdefault(following, len(states)) if following else -1, match))
        rows.append(row)
    return Table((classes + 1).astype(np.uint8), _steps(rows, width), any(m == "gap" for r in rows for _, m in r))


def states_growing(states: dict[tuple[int, ...], int]) -> Iterator[tuple[int, ...]]:
    """All states, those too that are found on the way."""
    done = 0
    while done < len(states):
        yield next(itertools.islice(states, done, None))
        done += 1
        if len(states) > MOST_STATES:
            raise UnknownPatternError(f"{len(states)} states")


def _steps(rows: list[list[tuple[int, str | None]]], width: int) -> NDArray[np.uint32]:
    """The kernel's table: what each state does on each class.

    Args:
        rows: of each state and class, the next state, -1 for none, and which match ends before the character.
        width: classes of a state, in the table.
    """
    steps = np.zeros((len(rows), width), np.uint32)
    for number, row in enumerate(rows):
        for found, (following, match) in enumerate(row):
            flags = (MATCHED if match else 0) | (GAP if match == "gap" else 0)
            if following < 0 and match:  # the word ends, and the next one begins with the same character
                flags, following = flags | CUT, max(rows[START][found][0], START)
            elif following < 0:
                flags, following = BACK, START
            steps[number, found] = following * width << STATE_BITS | flags
    return steps.ravel()
