"""Sentence patterns: how a language module writes them down, and how they become sentences.

A pattern is text with a few marks. The slots are those of a `Proposition` (s, o, p, t):

    {o}  {o.def}           the word in a slot, in a form that the language defines
    [يعيش|تعيش]            masculine or feminine, agreeing with the subject (slot s)
    [هو|هي@o]              the same, agreeing with another slot
    <بيت>                  a thing possessed by the subject: "بيت ميريلا", or after her first mention "بيتها"
    <{p}>                  the same with a slot inside

The subject can be mentioned in three modes: by its full name, by the first name, or by a pronoun. `{s}` and
`<...>` follow the mode; `{s.name}` is never a pronoun. Every kind of proposition has the same number of
patterns in every language, and the i-th one means the same, so parallel text is aligned by construction.

A pattern that ends in a slot after a space ("... lives in {o}.") can be cut before its last word and asked
as a multiple-choice item; `cut` does that.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from diglot.world.facts import Proposition
from diglot.world.names import Name
from diglot.world.tables import read_table

Mode = Literal["full", "first", "pronoun"]
Piece = tuple[str, ...] | tuple[str, list]

MARK = re.compile(r"\{(\w)(?:\.(\w+))?\}|\[([^|\]]*)\|([^\]@]*)(?:@(\w))?\]|([<>])")
CUTTABLE = re.compile(r"^(.* )\{o(?:\.(\w+))?\}\.$")
SPACE_BEFORE = re.compile(r" +([.,!?:؟،])")


def parse(pattern: str) -> list:
    """Splits a pattern into pieces: ("text", …), ("slot", slot, form), ("agree", m, f, slot), ("own", pieces)."""
    stack: list[list] = [[]]
    position = 0
    for match in MARK.finditer(pattern):
        if match.start() > position:
            stack[-1].append(("text", pattern[position : match.start()]))
        position = match.end()
        slot, form, masculine, feminine, agreeing, angle = match.groups()
        if slot:
            stack[-1].append(("slot", slot, form or ""))
        elif angle == "<":
            stack.append([])
        elif angle == ">":
            inner = stack.pop()
            stack[-1].append(("own", inner))
        else:
            stack[-1].append(("agree", masculine, feminine, agreeing or "s"))
    if position < len(pattern):
        stack[-1].append(("text", pattern[position:]))
    if len(stack) != 1:
        raise ValueError(f"unbalanced <> in the pattern {pattern!r}")
    return stack[0]


class Language:
    """What the three languages share; a subclass adds words, forms and possession.

    Attributes:
        code: ISO 639-1 code.
        tables: all that the language's YAML file holds; a subclass names the file.
        patterns: kind of proposition -> its patterns, aligned across languages.
        present: kind of event -> the pattern of what happens every day.
        questions: kind -> questions whose answer is pattern 0 of that kind.
        yes_no: kind -> questions that `phrases["yes"]` or `["no"]` plus pattern 0 answers.
        phrases: fixed text of stories, dialogues and instructions, with {0}, {1} as places to fill in.
    """

    code: str
    tables: dict[str, Any]
    patterns: Mapping[str, Sequence[str]]
    present: Mapping[str, str]
    questions: Mapping[str, Sequence[str]]
    yes_no: Mapping[str, Sequence[str]]
    phrases: Mapping[str, Sequence[str]]

    def __init_subclass__(cls, file: str) -> None:
        """Reads `<file>.yaml`."""
        cls.tables = read_table(file)
        cls.patterns, cls.questions = cls.tables["patterns"], cls.tables["questions"]
        cls.yes_no, cls.phrases = cls.tables["yes_no"], cls.tables["phrases"]
        # a language without tenses says what happens every day as it says what happened
        tenseless = {kind: variants[0] for kind, variants in cls.patterns.items()}
        cls.present = cls.tables.get("present", tenseless)

    def __init__(self, names: Mapping[str, Name]) -> None:
        self.names = names
        self._parsed: dict[str, list] = {}

    def gender(self, ref: str) -> str:
        """The gender that verbs and adjectives take with this word: "m" or "f"."""
        name = self.names.get(ref)
        return name.gender if name else "m"

    def form(self, ref: str, form: str, gender: str) -> str:
        """The word for `ref` in a form; `gender` is the subject's, for words that agree with it."""
        raise NotImplementedError

    def subject(self, ref: str, form: str, mode: Mode) -> str:
        """The subject in a mode."""
        raise NotImplementedError

    def own(self, thing: str, ref: str, mode: Mode) -> str:
        """`thing` possessed by the subject."""
        raise NotImplementedError

    def _pieces(self, pattern: str) -> list:
        pieces = self._parsed.get(pattern)
        if pieces is None:
            pieces = self._parsed[pattern] = parse(pattern)
        return pieces

    def _join(self, pieces: list, proposition: Proposition, mode: Mode) -> str:
        out = []
        for piece in pieces:
            if piece[0] == "text":
                out.append(piece[1])
            elif piece[0] == "own":
                out.append(self.own(self._join(piece[1], proposition, mode), proposition.s, mode))
            elif piece[0] == "agree":
                out.append(piece[1] if self.gender(getattr(proposition, piece[3])) == "m" else piece[2])
            elif piece[1] == "s":
                out.append(self.subject(proposition.s, piece[2], mode))
            else:
                word = getattr(proposition, piece[1])
                out.append(self.form(word, piece[2], self.gender(proposition.s)) if word else "")
        return "".join(out)

    def fill(self, pattern: str, proposition: Proposition, mode: Mode = "full") -> str:
        """A pattern with its slots filled, not yet capitalised."""
        text = self._join(self._pieces(pattern), proposition, mode)
        return SPACE_BEFORE.sub(r"\1", text.replace("  ", " ")).strip(" ")

    def raw(self, proposition: Proposition, variant: int = 0, mode: Mode = "full") -> str:
        """A proposition as a sentence without a capital letter, to stand after "then" and the like."""
        return self.fill(self.patterns[proposition.kind][variant], proposition, mode)

    def sentence(self, proposition: Proposition, variant: int = 0, mode: Mode = "full") -> str:
        """A proposition as a sentence."""
        return self.capital(self.raw(proposition, variant, mode))

    def question(self, proposition: Proposition, variant: int = 0, mode: Mode = "full") -> str:
        """The question that `sentence(proposition)` answers."""
        return self.capital(self.fill(self.questions[proposition.kind][variant], proposition, mode))

    def phrase(self, key: str, variant: int = 0, *fillers: str) -> str:
        """A fixed phrase with its places filled in."""
        return self.phrases[key][variant].format(*fillers)

    def cuttable(self, kind: str) -> list[int]:
        """The variants (never 0, which is the answer's form) that end in the object."""
        return [i for i, pattern in enumerate(self.patterns[kind]) if i and CUTTABLE.match(pattern)]

    def cut(self, proposition: Proposition, variant: int, mode: Mode = "full") -> tuple[str, str]:
        """A sentence cut before its last slot: the prompt without a final space, and the continuation."""
        match = CUTTABLE.match(self.patterns[proposition.kind][variant])
        if match is None:
            raise ValueError(f"variant {variant} of {proposition.kind} in {self.code} does not end in its object")
        prompt = self.capital(self.fill(match[1].strip(), proposition, mode))
        return prompt, self.form(proposition.o, match[2] or "", self.gender(proposition.s))

    @staticmethod
    def capital(text: str) -> str:
        """The text with its first letter in upper case, where the script has one."""
        return text[:1].upper() + text[1:]
