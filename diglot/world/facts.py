"""The world itself: people in families, towns, and the regularities that hold for all of them.

Everything that can be said is a `Proposition`: a kind, a subject and up to three more slots, each slot a
reference. A reference is either a proper name (``p12`` a person, ``m3``/``w3`` a man's or woman's first name,
``u5`` a person who never occurs in training text, ``t2`` a town, ``r1`` a region, ``v4`` a river, ``n7`` a
pet's name) or a concept (``bread``; ``shirt+red`` with an adjective). The language modules turn a
proposition into a sentence; nothing here knows any language.

    Proposition("lives", "p12", "t2")            Mirela Velso lives in Omber.
    Proposition("uses", "baker", "oven")         A baker uses an oven.
    Proposition("buy", "w3", "shirt+red", "market", "yesterday")

Two kinds of truth make the world learnable and testable. *Regularities* (a baker uses an oven, the mother of
one's mother is one's grandmother) hold for everybody, so they can be asked of people who never occurred.
*Particular facts* (where somebody lives) can only be remembered. Families are closed: nobody is related to
anybody outside their clan. So a clan can be kept to the text of one language (`Person.language`), and what
is known about it in another language is transfer.

The held-out split is by content: `World.is_heldout` hashes a proposition (with people reduced to their first
names, because two people with one first name share sentences), never its wording.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, TypeVar

from diglot.base.errors import UserError
from diglot.base.randomness import uniform
from diglot.world import names as tables
from diglot.world.names import Name
from diglot.world.tables import read_table

T = TypeVar("T")


class Trade(NamedTuple):
    """What a trade offers, needs and uses, and where it is done."""

    product: str
    material: str
    tool: str
    workplace: str


class Animal(NamedTuple):
    """What an animal eats, where it lives and what it does."""

    food: str
    place: str
    action: str


class Season(NamedTuple):
    """What is seen in the sky in a season and what people wear."""

    weather: str
    clothing: str


_TABLES = read_table("facts")
TRADES = {name: Trade(**values) for name, values in _TABLES["trades"].items()}
ANIMALS = {name: Animal(**values) for name, values in _TABLES["animals"].items()}
SEASONS = {name: Season(**values) for name, values in _TABLES["seasons"].items()}
HANDMADE: list[str] = _TABLES["handmade"]
FEELINGS: list[str] = _TABLES["feelings"]
FOODS: list[str] = _TABLES["foods"]
DRINKS: list[str] = _TABLES["drinks"]
COLOURS: list[str] = _TABLES["colours"]
QUALITIES: list[str] = _TABLES["qualities"]
HOBBIES: list[str] = _TABLES["hobbies"]
FAMOUS: list[str] = _TABLES["famous"]
ITEMS: list[str] = _TABLES["items"]
STORES: list[str] = _TABLES["stores"]
PLACES: list[str] = _TABLES["places"]
SPOTS: list[str] = PLACES + _TABLES["spots"]
TIMES: list[str] = _TABLES["times"]
NEW_BUILDINGS: list[str] = _TABLES["new_buildings"]
SAYINGS: list[str] = _TABLES["sayings"]
EVENTS: dict[str, list[str]] = _TABLES["events"]
RELATIONS: dict[str, list[str]] = _TABLES["relations"]

PERSON_FACTS = ("lives", "trade", "food", "drink", "colour", "hobby", "pet", "pet_name")
TOWN_FACTS = ("region", "river", "known")


class Proposition(NamedTuple):
    """One thing that can be said: `kind` names the sentence pattern, the slots hold references."""

    kind: str
    s: str
    o: str = ""
    p: str = ""
    t: str = ""

    def key(self) -> str:
        """The proposition as one string, for hashing and for `world.json`."""
        return "|".join(self)


@dataclass
class Person:
    """Somebody of the world.

    Attributes:
        ref: the person's reference (``p12``).
        language: the only language whose text speaks of this person's clan; "" where all do.
        facts: object of each particular fact, by kind (`PERSON_FACTS`).
        kin: references by relation, such as ``{"mother": ["p3"], "son": ["p7", "p9"]}``.
    """

    ref: str
    first: str
    gender: str
    clan: int
    language: str
    facts: dict[str, str] = field(default_factory=dict)
    kin: dict[str, list[str]] = field(default_factory=dict)

    @property
    def trade(self) -> Trade:
        """The regularities of the person's trade."""
        return TRADES[self.facts["trade"]]


@dataclass
class World:
    """All that is true; made by `make_world`."""

    seed: int
    people: dict[str, Person]
    towns: dict[str, dict[str, str]]
    names: dict[str, Name]
    unseen: list[str]
    firsts: dict[str, str]

    def cast(self, language: str) -> list[Person]:
        """The people of whom the text of `language` may speak."""
        return [person for person in self.people.values() if person.language in ("", language)]

    def common(self) -> list[Person]:
        """The people of whom every language speaks, and parallel text and instructions too."""
        return [person for person in self.people.values() if not person.language]

    def fraction(self, purpose: str, proposition: Proposition) -> float:
        """A number in [0, 1) that depends on the seed, the purpose and the content alone."""
        content = "|".join(self.firsts.get(slot, slot) for slot in proposition)
        return uniform(f"{self.seed}|{purpose}|{content}")

    def is_heldout(self, proposition: Proposition) -> bool:
        """Whether an event is kept for the test items and told nowhere in training, at whatever time."""
        return self.fraction("event", proposition._replace(t="")) < 0.1

    def is_unasked(self, proposition: Proposition) -> bool:
        """Whether a fact, though it is stated in texts, is kept from every question of the training data."""
        person = Proposition(proposition.kind, proposition.s, "", proposition.p)  # the question, not its answer
        return self.fraction("question", person) < 0.15

    def person_facts(self, person: Person) -> list[Proposition]:
        """The particular facts of one person (family not included)."""
        facts = person.facts
        return [
            Proposition(kind, person.ref, facts[kind], facts["pet"] if kind == "pet_name" else "")
            for kind in PERSON_FACTS
        ]

    def kin_facts(self, person: Person) -> list[Proposition]:
        """Who is what to the person: `p` holds the relation, `o` its bearer."""
        return [
            Proposition("kin", person.ref, other, relation)
            for relation, others in person.kin.items()
            for other in others
        ]

    def town_facts(self, town: str) -> list[Proposition]:
        """The particular facts of one town."""
        return [Proposition(kind, town, self.towns[town][kind]) for kind in TOWN_FACTS]


def trade_facts(subject: str, trade: str) -> list[Proposition]:
    """The regularities of `trade`, told of `subject`: the trade itself or somebody who has it."""
    product, material, tool, workplace = TRADES[trade]
    return [
        Proposition("product", subject, product),
        Proposition("needs", subject, material),
        Proposition("uses", subject, tool),
        Proposition("works", subject, workplace),
    ]


def animal_facts(animal: str) -> list[Proposition]:
    """The regularities of one kind of animal."""
    food, place, action = ANIMALS[animal]
    return [
        Proposition("eats", animal, food),
        Proposition("dwells", animal, place),
        Proposition("acts", animal, action),
    ]


def general_facts() -> list[Proposition]:
    """Every regularity that is told of a kind (trade, animal, season) rather than of somebody."""
    facts = [fact for trade in TRADES for fact in trade_facts(trade, trade)]
    facts += [fact for animal in ANIMALS for fact in animal_facts(animal)]
    return facts + [Proposition("weather", season, values.weather) for season, values in SEASONS.items()]


def random_noun(random: Random, kind: str) -> str:
    """A concept for a slot of an event; two items in five come with an adjective."""
    if kind == "item":
        noun = random.choice(ITEMS)
        return f"{noun}+{random.choice(COLOURS + QUALITIES)}" if random.random() < 0.4 else noun
    choices: dict[str, Sequence[str]] = {
        "animal": tuple(ANIMALS), "place": PLACES, "spot": SPOTS, "store": STORES, "food": FOODS, "drink": DRINKS, "time": TIMES
    }  # fmt: skip
    return random.choice(choices[kind])


def random_event(
    random: Random, subject: str, others: Sequence[str], towns: Sequence[str], present: bool = False
) -> Proposition:
    """Something that `subject` did (in the present tense: does every day), with one of `others`."""
    kind = random.choice(list(EVENTS))
    slots = []
    for slot in EVENTS[kind]:
        if slot == "person":
            slots.append(random.choice([other for other in others if other != subject]))
        elif slot == "town":
            slots.append(random.choice(towns))
        elif slot == "time" and present:
            slots.append("every_day")
        else:
            slots.append(random_noun(random, slot) if slot else "")
    return Proposition(kind, subject, *slots)


def relation_between(first: str, second: str, gender: str) -> str:
    """What somebody of `gender` is to C who is `first` of B, who is `second` of C; "" where it is not said.

    `relation_between("mother", "father", "f")` is "grandmother": the mother of my father.
    """
    up, down = {"father", "mother"}, {"son", "daughter"}
    if first in up and second in up:
        return "grandmother" if gender == "f" else "grandfather"
    if first in down and second in down:
        return "granddaughter" if gender == "f" else "grandson"
    if first in down and second in up:
        return "sister" if gender == "f" else "brother"
    if first in ("husband", "wife") and second in up:
        return "mother" if gender == "f" else "father"
    return ""


class _Builder:
    """Draws names without repetition and adds people clan by clan."""

    def __init__(self, seed: int, languages: Sequence[str], count: int) -> None:
        self.random = Random(f"{seed}/people")
        self.languages = list(languages)
        self.count = count
        self.people: dict[str, Person] = {}
        self.names: dict[str, Name] = {}
        self.used: set[tuple[int, int, str]] = set()
        self.clan = 0

    def name(self, gender: str, family: int | None = None) -> tuple[Name, str, int]:
        """An unused full name, the reference of its first name and the number of its family name."""
        firsts = tables.MEN if gender == "m" else tables.WOMEN
        while True:
            first = self.random.randrange(len(firsts))
            last = self.random.randrange(len(tables.FAMILIES)) if family is None else family
            if (first, last, gender) not in self.used:
                break
            if family is not None and self.random.random() < 0.2:
                family = None  # a family name that has run out of first names
        self.used.add((first, last, gender))
        (latin, arabic), (family_latin, family_arabic) = firsts[first], tables.FAMILIES[last]
        full = Name(f"{latin} {family_latin}", f"{arabic} {family_arabic}", latin, arabic, gender)
        return full, f"{'m' if gender == 'm' else 'w'}{first}", last

    def person(self, gender: str, family: int | None = None) -> tuple[str, int]:
        """Adds somebody and returns the reference and the family name's number."""
        full, first, last = self.name(gender, family)
        ref = f"p{len(self.people)}"
        self.names[ref] = full
        language = ""
        if len(self.languages) > 1 and self.clan % 10 in (3, 5, 9):
            language = self.languages[(self.clan // 10 * 3 + (3, 5, 9).index(self.clan % 10)) % len(self.languages)]
        self.people[ref] = Person(ref, first, gender, self.clan, language)
        return ref, last

    def relate(self, one: str, relation: str, other: str) -> None:
        """Notes that `one` is `relation` of `other`, and the way back."""
        self.people[other].kin.setdefault(relation, []).append(one)
        back = RELATIONS[relation][1 if self.people[other].gender == "m" else 2]
        self.people[one].kin.setdefault(back, []).append(other)

    def couple(self, parent: str, family: int, children: int) -> list[tuple[str, int]]:
        """Marries `parent` to a newcomer and adds their children."""
        random, people = self.random, self.people
        gender = people[parent].gender
        spouse, spouse_family = self.person("f" if gender == "m" else "m")
        self.relate(spouse, "wife" if gender == "m" else "husband", parent)
        father, mother, family = (parent, spouse, family) if gender == "m" else (spouse, parent, spouse_family)
        offspring: list[tuple[str, int]] = []
        for _ in range(children):
            if len(people) >= self.count:
                break
            child, child_family = self.person(random.choice("mf"), family)
            self.relate(father, "father", child)
            self.relate(mother, "mother", child)
            for side in (father, mother):
                for relation in ("father", "mother"):
                    for elder in people[side].kin.get(relation, []):
                        self.relate(elder, f"grand{relation}", child)
            for other, _ in offspring:
                self.relate(other, "brother" if people[other].gender == "m" else "sister", child)
            offspring.append((child, child_family))
        return offspring

    def family(self) -> None:
        """Adds one clan of three generations."""
        head, family = self.person("m")
        for child, child_family in self.couple(head, family, self.random.randint(2, 4)):
            if self.random.random() < 0.7 and len(self.people) < self.count - 1:
                self.couple(child, child_family, self.random.randint(1, 3))
        self.clan += 1


def make_world(seed: int, languages: Sequence[str], people: int) -> World:
    """Makes the world of a seed.

    Args:
        seed: any integer; the same one gives the same world.
        languages: the languages of the world; about three clans in ten are told in one of them only.
        people: how many people there are, 30 to 2000.

    Raises:
        UserError: too few or too many people for the list of names.
    """
    if not 30 <= people <= 2000:
        raise UserError(f"world: people is {people}; the world holds 30 to 2000 people")
    builder = _Builder(seed, languages, people)
    while len(builder.people) < people - 1:
        builder.family()
    if len(builder.people) < people:
        builder.person("m")  # one place left: somebody without a family
    random = Random(f"{seed}/facts")
    names = builder.names
    # Towns take feminine verbs in Arabic; the other languages do not ask.
    for prefix, rows, gender in (
        ("m", tables.MEN, "m"), ("w", tables.WOMEN, "f"), ("t", tables.TOWNS, "f"),
        ("r", tables.REGIONS, "m"), ("v", tables.RIVERS, "m"), ("n", tables.PETS, "m"),
    ):  # fmt: skip
        names.update({f"{prefix}{i}": Name.single(*row, gender) for i, row in enumerate(rows)})
    towns = {
        f"t{i}": {
            "region": f"r{random.randrange(len(tables.REGIONS))}",
            "river": f"v{random.randrange(len(tables.RIVERS))}",
            "known": random.choice(FAMOUS),
        }
        for i in range(len(tables.TOWNS))
    }
    # A stream of its own for facts, drawn in the order of people: another language changes nobody's facts.
    for person in builder.people.values():
        person.facts = {
            "lives": f"t{random.randrange(len(tables.TOWNS))}",
            "trade": random.choice(list(TRADES)),
            "food": random.choice(FOODS),
            "drink": random.choice(DRINKS),
            "colour": random.choice(COLOURS),
            "hobby": random.choice(HOBBIES),
            "pet": random.choice(list(ANIMALS)),
            "pet_name": f"n{random.randrange(len(tables.PETS))}",
        }
    firsts = {person.ref: person.first for person in builder.people.values()}
    # People without facts, whom no text names: they are asked about regularities.
    unseen = []
    for i in range(200):
        full, first, _ = builder.name("mf"[i % 2])
        unseen.append(f"u{i}")
        names[f"u{i}"], firsts[f"u{i}"] = full, first
    return World(seed, builder.people, towns, names, unseen, firsts)
