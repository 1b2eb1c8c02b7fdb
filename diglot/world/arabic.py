"""Arabic (modern standard, without vowel marks): the forms of its words; the words and sentences are in arabic.yaml.

Verbs come before their subject and agree with it in gender; a pronoun subject is simply left out where a
verb carries it (slot form ``""``) and written where none does (``{s.top}``: هو, هي). Indefinite objects take
the accusative's alif (كتابا) unless the word ends in ة, اء or ى; adjectives follow their noun in gender and
definiteness, and colours of the pattern أفعل have no such alif. Plurals of things count as feminine
singular, as the rules of the language have it. There are no numbers and no duals.
"""

from diglot.world.facts import COLOURS
from diglot.world.grammar import Language, Mode


def definite(word: str) -> str:
    """The word with the article."""
    return f"ال{word}"


def accusative(word: str) -> str:
    """The indefinite accusative, as it is written without vowel marks."""
    return word if word.endswith(("ة", "اء", "ى")) else f"{word}ا"


class Arabic(Language, file="arabic"):
    """Arabic sentences."""

    code = "ar"

    def gender(self, ref: str) -> str:
        """Gender of a name or of a noun."""
        name = self.names.get(ref)
        if name:
            return name.gender
        noun = self.tables["nouns"].get(ref.partition("+")[0])
        return noun[1] if noun else "m"

    def form(self, ref: str, form: str, gender: str) -> str:
        """The word for `ref`.

        Forms: "" bare, "def" with the article, "acc" indefinite accusative, "as" and "as_acc" a trade in the
        subject's gender, "act" and "did" verbs in the subject's gender, "adjective" an adjective as predicate
        of كان, "saying" what the subject says.
        """
        name = self.names.get(ref)
        if name:
            return name.arabic
        # `gender` is the subject's: these forms agree with it, nouns have a gender of their own.
        tables, feminine = self.tables, gender == "f"
        if ref in tables["times"]:
            return tables["times"][ref]
        if form == "act":
            action = tables["actions"][ref]  # masculine: the present begins with ي
            return f"ت{action[1:]}" if feminine else action
        if form == "did":
            return tables["feeling_actions"][ref][feminine]
        if form == "saying":
            return f"«{tables['sayings'][ref][feminine]}»"
        if form == "adjective":
            return accusative(tables["adjectives"][ref][feminine])
        if form in ("as", "as_acc"):
            word = tables["nouns"][ref][0] + ("ة" if feminine else "")
            return accusative(word) if form == "as_acc" else word
        if ref in tables["adjectives"]:  # a colour as the name of itself, الأحمر
            return definite(tables["adjectives"][ref][0])
        return self._noun(ref, form)

    def _noun(self, ref: str, form: str) -> str:
        noun, _, adjective = ref.partition("+")
        word, gender = self.tables["nouns"][noun]
        parts = [word]
        if adjective:
            parts.append(self.tables["adjectives"][adjective][gender == "f"])
        if form == "def":
            return " ".join(definite(part) for part in parts)
        if form == "acc":
            parts[0] = accusative(word)
            if adjective and adjective not in COLOURS:
                parts[1] = accusative(parts[1])
        return " ".join(parts)

    def subject(self, ref: str, form: str, mode: Mode) -> str:
        """Pronouns are dropped, except in the form "top"; trades, animals and seasons are definite."""
        if mode == "pronoun" and form != "name":
            return "" if form == "" else ("هي" if self.gender(ref) == "f" else "هو")
        name = self.names.get(ref)
        if name:
            return name.arabic if mode == "full" else name.short_arabic
        return definite(self.tables["nouns"][ref][0])

    def own(self, thing: str, ref: str, mode: Mode) -> str:
        """The construct state: the possessor follows, or is a suffix, before which ة becomes ت."""
        if mode == "pronoun":
            stem = f"{thing[:-1]}ت" if thing.endswith("ة") else thing
            return f"{stem}{'ها' if self.gender(ref) == 'f' else 'ه'}"
        return f"{thing} {self.subject(ref, 'name', mode)}"
