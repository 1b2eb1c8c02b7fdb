"""Indonesian: the forms of its words; the words and sentences are in indonesian.yaml."""

from diglot.world.facts import ANIMALS, TRADES
from diglot.world.grammar import Language, Mode


class Indonesian(Language, file="indonesian"):
    """Indonesian sentences: no gender, no inflection; people and animals take a classifier."""

    code = "id"

    def form(self, ref: str, form: str, gender: str) -> str:
        """Forms: "" bare, "a" with the classifier of people and animals, "did" (of a feeling), "saying"."""
        name = self.names.get(ref)
        if name:
            return name.latin
        if form == "did":
            return self.tables["feeling_actions"][ref]
        if form == "saying":
            return f'"{self.capital(self.tables["sayings"][ref])}"'
        noun, _, adjective = ref.partition("+")
        words = self.tables["words"]
        word = f"{words[noun]} {words[adjective]}" if adjective else words[noun]
        if form == "a" and noun in TRADES:
            return f"seorang {word}"
        if form == "a" and noun in ANIMALS:
            return f"seekor {word}"
        return word

    def subject(self, ref: str, form: str, mode: Mode) -> str:
        """Trades are "seorang tukang roti", everything else is bare; the pronoun is "ia"."""
        if mode == "pronoun" and form == "":
            return "ia"
        name = self.names.get(ref)
        if name:
            return name.latin if mode == "full" else name.short_latin
        return self.form(ref, "a" if ref in TRADES else "", "m")

    def own(self, thing: str, ref: str, mode: Mode) -> str:
        """The possessor follows; the pronoun is the suffix -nya."""
        if mode == "pronoun":
            return f"{thing}nya"
        return f"{thing} {self.subject(ref, 'name', mode)}"
