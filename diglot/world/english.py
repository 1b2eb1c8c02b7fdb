"""English: the forms of its words; the words and sentences are in english.yaml."""

from diglot.world.facts import ANIMALS, SEASONS, TRADES
from diglot.world.grammar import Language, Mode


class English(Language, file="english"):
    """English sentences."""

    code = "en"

    def form(self, ref: str, form: str, gender: str) -> str:
        """Forms: "" bare, "a", "the", "act" (of an animal), "did" (of a feeling), "saying"."""
        name = self.names.get(ref)
        if name:
            return name.latin
        if form == "act":
            return self.tables["actions"][ref]
        if form == "did":
            return self.tables["feeling_actions"][ref]
        if form == "saying":
            return f'"{self.capital(self.tables["sayings"][ref])}"'
        noun, _, adjective = ref.partition("+")
        word = self.tables["words"].get(noun, noun)
        if adjective:
            word = f"{adjective} {word}"
        if form == "the":
            return f"the {word}"
        if form == "a" and noun not in self.tables["bare"]:
            return f"an {word}" if word[0] in "aeiou" else f"a {word}"
        return word

    def subject(self, ref: str, form: str, mode: Mode) -> str:
        """Trades are "a baker", animals "the rabbit", seasons "winter"."""
        name = self.names.get(ref)
        if form == "he" or (mode == "pronoun" and form == ""):
            if ref in ANIMALS or (name and ref[0] == "t"):
                return "it"
            return "she" if self.gender(ref) == "f" else "he"
        if name:
            return name.latin if mode == "full" else name.short_latin
        if ref in SEASONS:
            return ref
        return self.form(ref, "a" if ref in TRADES else "the", "m")

    def own(self, thing: str, ref: str, mode: Mode) -> str:
        """The saxon genitive, or his and her."""
        if mode == "pronoun":
            return f"{'her' if self.gender(ref) == 'f' else 'his'} {thing}"
        return f"{self.subject(ref, 'name', mode)}'s {thing}"
