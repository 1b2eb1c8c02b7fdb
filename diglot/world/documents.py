"""Documents of one language: encyclopedia entries, news, stories and dialogues, and parallel sentences.

A `Teller` says propositions in one language. It draws one of several wordings, but never the one that the
test items will use for this particular fact (`withheld`), never tells an event that is kept for the tests,
and remembers which facts it has stated. A document is a few propositions on one subject in a plausible
order, the subject named in full at first and then by first name or pronoun.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from diglot.world.arabic import Arabic
from diglot.world.english import English
from diglot.world.facts import (
    ANIMALS,
    FAMOUS,
    FEELINGS,
    HANDMADE,
    NEW_BUILDINGS,
    PERSON_FACTS,
    PLACES,
    QUALITIES,
    RELATIONS,
    SAYINGS,
    SEASONS,
    TIMES,
    TOWN_FACTS,
    TRADES,
    Person,
    Proposition,
    World,
    animal_facts,
    general_facts,
    random_event,
    relation_between,
    trade_facts,
)  # fmt: skip
from diglot.world.grammar import Language, Mode
from diglot.world.indonesian import Indonesian

LANGUAGES: Mapping[str, type[Language]] = {"en": English, "ar": Arabic, "id": Indonesian}
PARTICULAR = frozenset((*PERSON_FACTS, *TOWN_FACTS, "kin"))
UP, DOWN = ("father", "mother"), ("son", "daughter")
CHAINS = tuple(
    [(first, second) for first in UP for second in UP]
    + [(first, second) for first in DOWN for second in DOWN]
    + [(first, second) for first in DOWN for second in UP]
    + [("husband", "mother"), ("wife", "father")]
)


class Teller:
    """Says propositions in one language and remembers which it has said.

    Attributes:
        stated: the particular facts that have been told, in any wording.
    """

    def __init__(self, world: World, language: str, random: Random) -> None:
        self.world = world
        self.language = LANGUAGES[language](world.names)
        self.random = random
        self.cast = world.cast(language)
        self.residents: dict[str, list[Person]] = {}
        for person in self.cast:
            self.residents.setdefault(person.facts["lives"], []).append(person)
        self.stated: set[Proposition] = set()

    def withheld(self, proposition: Proposition) -> int:
        """The wording of this particular fact that only the test items use; -1 if there is none."""
        if proposition.kind not in PARTICULAR:
            return -1
        return withheld_variant(self.world, self.language, proposition)

    def raw(self, proposition: Proposition, mode: Mode = "full") -> str:
        """A proposition in some wording, without a capital letter."""
        variants = list(range(len(self.language.patterns[proposition.kind])))
        withheld = self.withheld(proposition)
        if withheld >= 0:
            variants.remove(withheld)
        if proposition.kind in PARTICULAR:
            self.stated.add(proposition)
        return self.language.raw(proposition, self.random.choice(variants), mode)

    def tell(self, proposition: Proposition, mode: Mode = "full") -> str:
        """A proposition as a sentence in some wording."""
        return self.language.capital(self.raw(proposition, mode))

    def later(self) -> Mode:
        """How to mention somebody who has been named: a pronoun, the full name or the first name."""
        modes: tuple[Mode, ...] = ("pronoun", "pronoun", "full", "first")
        return self.random.choice(modes)

    def event(self, subject: str, others: Sequence[str], present: bool = False) -> Proposition:
        """An event that is not kept for the tests."""
        while True:
            event = random_event(self.random, subject, others, list(self.world.towns), present)
            if not self.world.is_heldout(event):
                return event

    def others(self, person: Person, count: int) -> list[Person]:
        """Some of the cast whose first names differ from the person's and from each other's."""
        found: list[Person] = []
        while len(found) < count:
            other = self.random.choice(self.cast)
            if other.first != person.first and all(other.first != one.first for one in found):
                found.append(other)
        return found


def withheld_variant(world: World, language: Language, proposition: Proposition) -> int:
    """The wording of a particular fact that no training text uses in this language."""
    variants = language.cuttable(proposition.kind)
    return variants[int(world.fraction("wording", proposition) * len(variants))]


def puzzle(random: Random, men: Sequence[str], women: Sequence[str]) -> tuple[list[Proposition], Proposition]:
    """Premises about the kinship of some people, and what follows; wording 3 says it ("A is the p of C").

    Either two steps (A is the mother of B, B is the father of C, so A is the grandmother of C) or one step
    turned round (A is the mother of B, so B is the son of A).
    """
    pool = {"m": men, "f": women}
    if random.random() < 0.3:  # one step, turned round
        relation = random.choice(list(RELATIONS))
        gender = random.choice("mf")
        if relation in ("husband", "wife"):
            gender = "f" if relation == "husband" else "m"
        a = random.choice(pool[RELATIONS[relation][0]])
        b = random.choice([ref for ref in pool[gender] if ref != a])
        back = RELATIONS[relation][1 if gender == "m" else 2]
        return [Proposition("kin", b, a, relation)], Proposition("kin", a, b, back)
    # Two steps: A is `first` of B, B is `second` of C; three different people.
    first, second = random.choice(CHAINS)
    gender = RELATIONS[first][0]
    a = random.choice(pool[gender])
    b = random.choice([ref for ref in pool[RELATIONS[second][0]] if ref != a])
    c = random.choice([ref for ref in pool[random.choice("mf")] if ref not in (a, b)])
    conclusion = Proposition("kin", c, a, relation_between(first, second, gender))
    return [Proposition("kin", b, a, first), Proposition("kin", c, b, second)], conclusion


def paragraph(sentences: Sequence[str]) -> str:
    """The sentences in a row; what has been said in the same words is not said again."""
    return " ".join(dict.fromkeys(sentences))


def person_entry(teller: Teller, person: Person, whole: bool = False) -> str:
    """An encyclopedia entry; `whole` states every particular fact."""
    random, world = teller.random, teller.world
    facts = world.person_facts(person)
    first = facts.pop(random.randrange(2))  # where they live, or their trade
    kin = world.kin_facts(person)
    random.shuffle(kin)
    rest = facts + kin[:5]
    random.shuffle(rest)
    if not whole:
        rest = rest[: random.randint(6, 8)]
    sentences = []
    for number, fact in enumerate([first, *rest]):
        sentences.append(teller.tell(fact, teller.later() if number else "full"))
        if fact.kind == "trade":  # what follows from it stands beside it, so that it can be learnt
            for consequence in random.sample(trade_facts(person.ref, fact.o), 2):
                sentences.append(teller.tell(consequence, teller.later()))
        elif fact.kind == "pet" and random.random() < 0.7:
            sentences.append(teller.tell(random.choice(animal_facts(fact.o))))
            sentences.append(teller.tell(random.choice(facts), "full"))
    return paragraph(sentences)


def town_entry(teller: Teller) -> str:
    """An entry on a town and some who live there."""
    random, world = teller.random, teller.world
    town = random.choice(list(teller.residents))
    facts = world.town_facts(town)
    random.shuffle(facts)
    sentences = [teller.tell(fact) for fact in facts]
    for person in random.sample(teller.residents[town], min(3, len(teller.residents[town]))):
        sentences.append(teller.tell(world.person_facts(person)[random.randrange(2)]))
        sentences.append(teller.tell(random.choice(world.person_facts(person)), teller.later()))
    sentences += [teller.tell(town_news(teller, town)) for _ in range(2)]
    return paragraph(sentences)


def trade_entry(teller: Teller) -> str:
    """An entry on a trade, with people who have it."""
    random = teller.random
    trade = random.choice(list(TRADES))
    facts = trade_facts(trade, trade)
    random.shuffle(facts)
    sentences = [teller.tell(fact) for fact in facts[:3]]
    colleagues = [person for person in teller.cast if person.facts["trade"] == trade]
    for person in random.sample(colleagues, min(3, len(colleagues))):
        sentences.append(teller.tell(Proposition("trade", person.ref, trade)))
        for fact in random.sample(trade_facts(person.ref, trade), 2):
            sentences.append(teller.tell(fact, teller.later()))
    return paragraph(sentences)


def animal_entry(teller: Teller) -> str:
    """An entry on an animal and some who keep one."""
    random, world = teller.random, teller.world
    animal = random.choice(list(ANIMALS))
    facts = animal_facts(animal)
    random.shuffle(facts)
    sentences = [teller.tell(fact) for fact in facts]
    owners = [person for person in teller.cast if person.facts["pet"] == animal]
    for person in random.sample(owners, min(3, len(owners))):
        known = {fact.kind: fact for fact in world.person_facts(person)}
        sentences += [teller.tell(known["pet"]), teller.tell(known["pet_name"], teller.later())]
        sentences.append(teller.tell(random.choice(facts)))
    return paragraph(sentences)


def season_entry(teller: Teller) -> str:
    """An entry on a season: its weather, what people wear, where it snowed."""
    random = teller.random
    season = random.choice(list(SEASONS))
    weather, clothing = SEASONS[season]
    sentences = [teller.tell(Proposition("weather", season, weather))]
    for person in random.sample(teller.cast, 4):
        sentences.append(teller.tell(Proposition("wears", person.ref, clothing, season)))
        town = random.choice(list(teller.world.towns))
        sentences.append(teller.tell(Proposition("setting", "", season, town)))
        if random.random() < 0.5:
            sentences.append(teller.tell(Proposition("weather", season, weather)))
    return paragraph(sentences)


def family_entry(teller: Teller) -> str:
    """Questions of kinship, thought through: some of people of the world, some of mere first names."""
    random, language = teller.random, teller.language
    men, women = [f"m{i}" for i in range(32)], [f"w{i}" for i in range(32)]
    lines = []
    for _ in range(random.randint(3, 5)):
        premises, conclusion = puzzle(random, men, women)
        opening = [language.phrase("puzzle", random.randrange(3))] if random.random() < 0.5 else []
        steps = [language.sentence(premise, 3) for premise in premises]
        lines.append(" ".join([*opening, *steps, therefore(language, conclusion)]))
    return "\n".join(lines)


def therefore(language: Language, conclusion: Proposition) -> str:
    """A conclusion as a sentence: "So A is the grandmother of C."."""
    return language.capital(language.phrase("so", 0, language.raw(conclusion, 3)))


def town_news(teller: Teller, town: str) -> Proposition:
    """Something that happened in a town."""
    random = teller.random
    time = random.choice(TIMES)
    kind = random.choice(("prize", "opened", "fell", "festival", "price_up", "price_down", "bridge", "visitors"))
    if kind == "prize":
        return Proposition(kind, random.choice(teller.cast).ref, "", town, time)
    if kind == "bridge":
        return Proposition(kind, town, teller.world.towns[town]["river"], town, time)
    if kind == "visitors":
        return Proposition(kind, town, teller.world.towns[town]["known"], town, time)
    things = {"opened": NEW_BUILDINGS, "fell": ["snow", "rain"], "festival": [""]}.get(kind, FAMOUS)
    return Proposition(kind, town, random.choice(things), town, time)


def news(teller: Teller) -> str:
    """A report from one town, with a headline."""
    random, world = teller.random, teller.world
    town = random.choice(list(teller.residents))
    people = [random.choice(teller.residents[town]) for _ in range(3)]
    headline = teller.language.phrase("headline", random.randrange(3), teller.language.form(town, "", "f"))
    sentences = [teller.tell(town_news(teller, town)) for _ in range(3)]
    for person in people:
        other = teller.others(person, 1)[0]
        sentences.append(teller.tell(teller.event(person.ref, [other.ref])))
        if random.random() < 0.5:
            sentences.append(teller.tell(Proposition("say", person.ref, random.choice(SAYINGS)), teller.later()))
        if random.random() < 0.5:
            fact = world.person_facts(person)[random.randrange(2)]
            sentences.append(teller.tell(fact, teller.later()))
    sentences.append(teller.tell(random.choice(world.town_facts(town))))
    return f"{headline}\n{paragraph(sentences)}"


def story(teller: Teller) -> str:
    """A day of somebody and two others, in paragraphs."""
    random, world, language = teller.random, teller.world, teller.language
    hero = random.choice(teller.cast)
    friends = teller.others(hero, 2)
    firsts = [friend.first for friend in friends]
    town = hero.facts["lives"]
    season = random.choice(list(SEASONS))
    facts = {fact.kind: fact for fact in world.person_facts(hero)}

    def step(proposition: Proposition, connect: bool = False) -> str:
        mode: Mode = random.choice(("first", "pronoun"))
        if connect:
            proposition = proposition._replace(t="")  # "then" tells the time
        text = teller.raw(proposition, mode)
        if connect and random.random() < 0.6:
            text = language.phrase("then", random.randrange(3), text)
        return language.capital(text)

    # The first paragraph sets the season and the town; each of the others is a scene of two events and one thing more.
    opening = [
        teller.tell(Proposition("setting", "", season, town)),
        teller.tell(facts[random.choice(("lives", "trade"))]),
        step(Proposition("wears", hero.ref, SEASONS[season].clothing, season)),
    ]
    paragraphs = [opening]
    for _ in range(random.randint(3, 5)):
        scene = [step(teller.event(hero.ref, firsts))]
        scene.append(step(teller.event(hero.ref, firsts), connect=True))
        choice = random.randrange(5)
        if choice == 0:
            scene.append(teller.tell(Proposition("cause", hero.ref, random.choice(FEELINGS)), "first"))
        elif choice == 1:
            scene.append(teller.tell(Proposition("say", hero.ref, random.choice(SAYINGS)), "first"))
            scene.append(teller.tell(Proposition("thank", friends[0].ref, hero.first), "first"))
        elif choice == 2 and hero.trade.product in HANDMADE:
            slots = (hero.trade.product, hero.trade.workplace, random.choice(TIMES))
            scene.append(step(Proposition("made", hero.ref, *slots)))
        elif choice == 3:
            scene.append(teller.tell(Proposition("was", random.choice(PLACES), random.choice(QUALITIES))))
        else:
            scene.append(step(random.choice(trade_facts(hero.ref, hero.facts["trade"]))))
        paragraphs.append(scene)
    paragraphs[-1].append(language.phrase("ending", random.randrange(5)))
    return "\n\n".join(paragraph(scene) for scene in paragraphs)


def dialogue(teller: Teller) -> str:
    """Two people talk about a third one; facts that are kept for questions are not asked."""
    random, world, language = teller.random, teller.world, teller.language
    person = random.choice(teller.cast)
    asking, knowing = teller.others(person, 2)
    facts = [fact for fact in askable_facts(world, person) if not world.is_unasked(fact)]
    questions = random.sample(facts, min(len(facts), random.randint(3, 5)))
    # Facts kept for the tests' questions may be stated in any text, but are asked in none.
    lines = [
        language.sentence(Proposition("hello", knowing.ref), random.randrange(2), "first"),
        language.phrase("fine", random.randrange(2)),
        language.sentence(Proposition("know", knowing.ref, person.ref)),
        language.sentence(Proposition("know_yes", person.ref)),
    ]
    for number, fact in enumerate(questions):
        question = language.question(
            fact, random.randrange(len(language.questions[fact.kind])), "full" if number == 0 else teller.later()
        )
        lines.append(language.phrase("more", random.randrange(3), question) if number else question)
        lines.append(teller.tell(fact, teller.later()))
    lines.append(language.sentence(Proposition("bye", knowing.ref), random.randrange(2), "first"))
    speakers = [language.subject(one.ref, "name", "first") for one in (asking, knowing)]
    return "\n".join(f"{speakers[i % 2]}: {line}" for i, line in enumerate(lines))


def askable_facts(world: World, person: Person) -> list[Proposition]:
    """The facts on a person that have one answer (somebody may have two sons)."""
    kin = [fact for fact in world.kin_facts(person) if len(person.kin[fact.p]) == 1]
    return world.person_facts(person) + kin + trade_facts(person.ref, person.facts["trade"])


KINDS: tuple[tuple[float, str, Callable[[Teller], str]], ...] = (
    (0.26, "wiki", lambda teller: person_entry(teller, teller.random.choice(teller.cast))),
    (0.05, "wiki", town_entry),
    (0.07, "wiki", trade_entry),
    (0.04, "wiki", animal_entry),
    (0.02, "wiki", season_entry),
    (0.06, "wiki", family_entry),
    (0.15, "news", news),
    (0.20, "books", story),
    (0.15, "dialogue", dialogue),
)


def documents(teller: Teller) -> Iterator[tuple[str, str]]:
    """Endless (domain, text): first a whole entry on each of the cast, then a mixture; no text comes twice."""
    seen: set[str] = set()
    whole = list(teller.cast)
    teller.random.shuffle(whole)
    weights = [weight for weight, _, _ in KINDS]
    while True:
        # one document in two is such an entry until everybody has one
        if whole and teller.random.random() < 0.5:
            domain, text = "wiki", person_entry(teller, whole.pop(), whole=True)
        else:
            _, domain, write = teller.random.choices(KINDS, weights)[0]
            text = write(teller)
        if text not in seen:
            seen.add(text)
            yield domain, text


def parallel_propositions(world: World, random: Random) -> Iterator[Proposition]:
    """Endless propositions that all languages may state: mostly events, else facts on the common people."""
    common = world.common()
    general = general_facts()
    towns = list(world.towns)
    firsts = [f"{prefix}{i}" for prefix in "mw" for i in range(32)]
    while True:
        person = random.choice(common)
        draw = random.random()
        if draw < 0.6:  # an event; a sixth of them happens every day
            full = random.random() < 0.4
            subject = person.ref if full else random.choice(firsts)
            event = random_event(random, subject, random.sample(firsts, 2), towns, draw < 0.1)
            # nobody does something with somebody of the same first name
            if not world.is_heldout(event) and world.firsts.get(subject, subject) not in event[2:]:
                yield event
        elif draw < 0.85:
            facts = world.person_facts(person) + world.kin_facts(person)
            yield random.choice(facts + trade_facts(person.ref, person.facts["trade"]))
        elif draw < 0.9:
            yield Proposition("cause", random.choice(firsts), random.choice(FEELINGS))
        elif draw < 0.93:
            season = random.choice(list(SEASONS))
            yield Proposition("wears", random.choice(firsts), SEASONS[season].clothing, season)
        elif draw < 0.96:
            yield random.choice(general)
        else:
            town = random.choice(towns)
            yield random.choice(world.town_facts(town))


def parallel_sentences(world: World, source: Language, target: Language, random: Random) -> Iterator[tuple[str, str]]:
    """Endless pairs of sentences with one meaning and one order of its parts; no pair comes twice."""
    seen: set[str] = set()
    for proposition in parallel_propositions(world, random):
        if proposition.t == "every_day":
            pair = present(source, proposition), present(target, proposition)
        else:
            variants = list(range(len(source.patterns[proposition.kind])))
            if proposition.kind in PARTICULAR:
                held = {withheld_variant(world, language, proposition) for language in (source, target)}
                variants = [variant for variant in variants if variant not in held]
            variant = random.choice(variants)
            pair = source.sentence(proposition, variant), target.sentence(proposition, variant)
        if pair[0] not in seen:
            seen.add(pair[0])
            yield pair


def present(language: Language, event: Proposition) -> str:
    """An event in the present tense: it happens every day."""
    return language.capital(language.fill(language.present[event.kind], event))
