"""Instructions with answers, and preference pairs.

Answers are full sentences in the language of the question, always in the first wording of their kind, so
that a small model has one style to learn. A fact whose question is kept for the tests (`World.is_unasked`)
and an event that is kept for them are used in the held-out files only.

A preference pair is a prompt, the right answer, and an answer with one labelled flaw:

    wrong_fact       the right form with something else in it
    wrong_language   the right answer in another language
    rude             the bare answer, curtly, or an insult
    repeats          the right answer, said again and again
    no_answer        a sentence that avoids the question
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

from diglot.world.documents import LANGUAGES, askable_facts, present
from diglot.world.facts import (
    PERSON_FACTS,
    TOWN_FACTS,
    TRADES,
    Proposition,
    World,
    general_facts,
    random_event,
    trade_facts,
)  # fmt: skip
from diglot.world.grammar import Language
from diglot.world.tasks import alternatives

FLAWS = ("wrong_fact", "wrong_language", "rude", "repeats", "no_answer")


class Exchange(NamedTuple):
    """Questions and their answers, in turn, and whether any of it is kept for the held-out files."""

    turns: tuple[tuple[str, str], ...]
    heldout: bool


def messages(turns: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """The turns in the form of chat messages."""
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


class Asker:
    """Makes exchanges in one language; facts on people are those of the common people only."""

    def __init__(self, world: World, code: str, codes: Sequence[str], random: Random) -> None:
        self.world = world
        self.random = random
        self.language = LANGUAGES[code](world.names)
        self.others = [LANGUAGES[other](world.names) for other in codes if other != code]
        self.people = world.common()
        self.firsts = [f"{prefix}{i}" for prefix in "mw" for i in range(32)]

    def question(self, fact: Proposition, mode: Any = "full") -> tuple[str, str]:
        """A question and its answer."""
        variant = self.random.randrange(len(self.language.questions[fact.kind]))
        return self.language.question(fact, variant, mode), self.language.sentence(fact, 0, mode)

    def fact(self) -> Proposition:
        """Some fact with one answer: on a person mostly, else on a town, a trade, an animal, a season."""
        draw = self.random.random()
        if draw < 0.65:
            return self.random.choice(askable_facts(self.world, self.random.choice(self.people)))
        if draw < 0.8:
            return self.random.choice(self.world.town_facts(self.random.choice(list(self.world.towns))))
        return self.random.choice(general_facts())

    def ask(self) -> Exchange:
        """One question."""
        fact = self.fact()
        return Exchange((self.question(fact),), self.world.is_unasked(fact))

    def ask_twice(self) -> Exchange:
        """Two questions on one person, the second with a pronoun."""
        person = self.random.choice(self.people)
        first, second = self.random.sample(askable_facts(self.world, person), 2)
        heldout = self.world.is_unasked(first) or self.world.is_unasked(second)
        return Exchange((self.question(first), self.question(second, "pronoun")), heldout)

    def yes_or_no(self) -> Exchange:
        """A question that is answered by yes or no and the truth."""
        random, language = self.random, self.language
        person = random.choice(self.people)
        facts = self.world.person_facts(person) + trade_facts(person.ref, person.facts["trade"])
        fact = random.choice([fact for fact in facts if fact.kind in language.yes_no])
        asked = fact if random.random() < 0.5 else fact._replace(o=random.choice(self.wrong(fact)))
        question = language.capital(language.fill(language.yes_no[fact.kind][0], asked))
        answer = language.phrase("yes" if asked == fact else "no", 0, language.raw(fact))
        return Exchange(((question, answer),), self.world.is_unasked(fact))

    def wrong(self, fact: Proposition) -> list[str]:
        """Other objects that the fact could have had."""
        if fact.kind in PERSON_FACTS or fact.kind in TOWN_FACTS or fact.kind == "kin":
            found = alternatives(self.world, fact)
        else:
            found = [other.o for other in general_facts() if other.kind == fact.kind]
        return [other for other in dict.fromkeys(found) if other != fact.o]

    def list_three(self) -> Exchange:
        """Three things that a trade, or somebody of that trade, needs."""
        person = self.random.choice(self.people)
        trade = self.random.choice((person.facts["trade"], *TRADES))
        values = TRADES[trade]
        subject = person.ref if trade == person.facts["trade"] else trade
        fact = Proposition("list", subject, values.material, values.tool, values.workplace)
        return Exchange((self.question(fact),), self.world.is_unasked(fact))

    def event(self, is_present: bool = False) -> Proposition:
        """Something that somebody did, or does every day."""
        while True:
            subject = self.random.choice(self.firsts)
            others = self.random.sample(self.firsts, 2)
            if subject not in others:
                return random_event(self.random, subject, others, list(self.world.towns), is_present)

    def translate(self) -> Exchange:
        """A sentence to translate into another of the languages, or out of it."""
        event = self.event()
        variant = self.random.randrange(2)
        target = self.random.choice(self.others)
        question = self.language.phrase(
            "translate", 0, self.language.phrase(target.code), self.language.sentence(event, variant)
        )
        return Exchange(((question, target.sentence(event, variant)),), self.world.is_heldout(event))

    def rewrite(self) -> Exchange:
        """What happens every day, told as what happened yesterday."""
        event = self.event(is_present=True)
        question = self.language.phrase("yesterday", 0, present(self.language, event))
        answer = self.language.sentence(event._replace(t="yesterday"))
        return Exchange(((question, answer),), self.world.is_heldout(event))

    def exchanges(self) -> Iterator[Exchange]:
        """Endless exchanges of every sort; none comes twice."""
        makers = [self.ask, self.ask_twice, self.yes_or_no, self.list_three, self.rewrite]
        weights = [0.4, 0.12, 0.12, 0.06, 0.08]
        if self.others:
            makers.append(self.translate)
            weights.append(0.22)
        seen: set[Exchange] = set()
        repeated = 0
        while repeated < 300:  # a small world runs out of questions: so many in a row were known
            exchange = self.random.choices(makers, weights)[0]()
            if exchange in seen:
                repeated += 1
                continue
            repeated = 0
            seen.add(exchange)
            yield exchange

    def flawed(self, fact: Proposition, flaw: str) -> str:
        """An answer to the question about a fact, with one flaw."""
        random, language = self.random, self.language
        right = language.sentence(fact)
        if flaw == "wrong_fact":
            return language.sentence(fact._replace(o=random.choice(self.wrong(fact))))
        if flaw == "wrong_language":
            return random.choice(self.others).sentence(fact)
        if flaw == "rude":
            rude = language.phrase("rude", random.randrange(3))
            return rude if random.random() < 0.5 else f"{short_answer(language, fact)}. {rude}"
        if flaw == "repeats":
            return " ".join([right] * random.randint(3, 6))
        return language.phrase("unrelated", random.randrange(3))

    def preferences(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Endless preference pairs and whether each is held out; no pair comes twice."""
        seen: set[tuple[str, str]] = set()
        flaws = [flaw for flaw in FLAWS if self.others or flaw != "wrong_language"]
        repeated = 0
        while repeated < 300:
            fact = self.fact()
            flaw = self.random.choice(flaws)
            prompt, chosen = self.question(fact)
            rejected = self.flawed(fact, flaw)
            if (prompt, rejected) in seen:
                repeated += 1
                continue
            repeated = 0
            seen.add((prompt, rejected))
            pair = {
                "prompt": [{"role": "user", "content": prompt}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
                "flaw": flaw,
            }
            yield pair, self.world.is_unasked(fact)


def short_answer(language: Language, fact: Proposition) -> str:
    """The object of a fact alone."""
    variants = language.cuttable(fact.kind)
    return language.capital(language.cut(fact, variants[0])[1])
