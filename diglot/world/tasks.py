"""Test items with known truth.

cloze        continuations that follow from a regularity of the world, about people who occur nowhere in training
facts        particular facts that the text of this language states, in the wording kept for the tests
transfer     particular facts that only the text of *another* language states
translation  events that are told nowhere in training
answers      questions that are asked nowhere in training, about facts that the text states

Choices are of one category and one grammatical form, so nothing but the meaning tells the right one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from diglot.world.documents import (
    LANGUAGES,
    PARTICULAR,
    askable_facts,
    puzzle,
    therefore,
    withheld_variant,
)  # fmt: skip
from diglot.world.facts import (
    ANIMALS,
    COLOURS,
    DRINKS,
    FAMOUS,
    FEELINGS,
    FOODS,
    HOBBIES,
    RELATIONS,
    SEASONS,
    TRADES,
    Proposition,
    World,
    animal_facts,
    general_facts,
    random_event,
    trade_facts,
)  # fmt: skip
from diglot.world.grammar import Language

Item = dict[str, Any]
FACT_VALUES: Mapping[str, Sequence[str]] = {
    "food": FOODS, "drink": DRINKS, "colour": COLOURS, "hobby": HOBBIES, "pet": tuple(ANIMALS),
    "trade": tuple(TRADES), "known": FAMOUS,
}  # fmt: skip


def shuffled(random: Random, right: str, wrong: Sequence[str]) -> tuple[list[str], int]:
    """Four choices in random order, and the place of the right one."""
    choices = [right, *random.sample([choice for choice in dict.fromkeys(wrong) if choice != right], 3)]
    random.shuffle(choices)
    return choices, choices.index(right)


def item(random: Random, prompt: str, right: str, wrong: Sequence[str]) -> Item:
    """A multiple-choice item."""
    choices, answer = shuffled(random, right, wrong)
    return {"prompt": prompt, "choices": choices, "answer": answer}


def alternatives(world: World, proposition: Proposition) -> list[str]:
    """Other objects of the same category that the proposition could have had."""
    kind = proposition.kind
    prefix = {"lives": "t", "pet_name": "n", "region": "r", "river": "v"}.get(kind)
    if prefix:
        return [ref for ref in world.names if ref[0] == prefix]
    if kind == "kin":
        gender = world.names[proposition.o].gender
        family = {proposition.s, *(ref for refs in world.people[proposition.s].kin.values() for ref in refs)}
        same = world.people[proposition.s].language
        return [
            p.ref for p in world.people.values() if p.gender == gender and p.ref not in family and p.language == same
        ]
    return list(FACT_VALUES[kind])


def choose(
    world: World,
    language: Language,
    random: Random,
    fact: Proposition,
    variant: int,
    wrong: Sequence[str],
    before: str = "",
) -> Item:
    """The item that asks for the object of a proposition in a wording, after some context."""
    prompt, right = language.cut(fact, variant)
    others = [language.cut(fact._replace(o=other), variant)[1] for other in wrong if other != fact.o]
    return item(random, f"{before} {prompt}".strip(), right, others)


def trade_item(world: World, language: Language, random: Random, person: str) -> Item:
    """Somebody has a trade: what do they offer, need, use, and where do they work?"""
    trade = random.choice(list(TRADES))
    facts = trade_facts(person, trade)
    index = random.randrange(4)
    context = language.sentence(Proposition("trade", person, trade), random.randrange(2))
    wrong = [values[index] for values in TRADES.values()]
    kind = facts[index].kind
    prompt, right = language.cut(facts[index], random.choice(language.cuttable(kind)), "pronoun")
    others = [language.form(other, _form(language, kind), "m") for other in wrong]
    return item(random, f"{context} {prompt}", right, others)


def _form(language: Language, kind: str) -> str:
    """The form in which the object of a kind stands at the end of its cuttable wordings."""
    pattern = language.patterns[kind][language.cuttable(kind)[0]]
    return pattern.rpartition("{o")[2].strip(".}")


def workplace_item(world: World, language: Language, random: Random, person: str) -> Item:
    """Somebody works somewhere: what is their trade? In Arabic, half of the choices have the other gender."""
    trade = random.choice(list(TRADES))
    context = language.sentence(Proposition("works", person, TRADES[trade].workplace), random.randrange(3))
    prompt, right = language.cut(Proposition("trade", person, trade), 2, "pronoun")
    others = random.sample([other for other in TRADES if other != trade], 3)
    wrong = [language.form(other, "as" if language.code == "ar" else "a", language.gender(person)) for other in others]
    if language.code == "ar":
        other_gender = "m" if language.gender(person) == "f" else "f"
        wrong = [wrong[0], language.form(trade, "as", other_gender), language.form(others[0], "as", other_gender)]
    return item(random, f"{context} {prompt}", right, wrong)


def animal_item(world: World, language: Language, random: Random, person: str) -> Item:
    """Somebody has an animal: what does it eat, where does it live, what does it do?"""
    animal = random.choice(list(ANIMALS))
    context = language.sentence(Proposition("pet", person, animal), random.randrange(2))
    index = random.randrange(3)
    fact = animal_facts(animal)[index]
    wrong = [values[index] for values in ANIMALS.values()]
    return choose(world, language, random, fact, random.choice(language.cuttable(fact.kind)), wrong, context)


def season_item(world: World, language: Language, random: Random, person: str) -> Item:
    """It is some season: what does somebody wear?"""
    season = random.choice(list(SEASONS))
    wrong = [values.clothing for values in SEASONS.values()]
    context = language.sentence(Proposition("setting", "", season, random.choice(list(world.towns))), 1)
    fact = Proposition("wears", person, SEASONS[season].clothing, season)
    return choose(world, language, random, fact, random.choice((1, 2)), wrong, context)


def feeling_item(world: World, language: Language, random: Random, person: str) -> Item:
    """Somebody felt something: what did they do?"""
    feeling = random.choice(FEELINGS)
    variant = random.randrange(2)
    prompt, right = language.cut(Proposition("cause", person, feeling), variant)
    return item(random, prompt, right, [language.form(other, "did", language.gender(person)) for other in FEELINGS])


def kinship_item(world: World, language: Language, random: Random, person: str) -> Item:
    """Two people's kinship with a third: what are they to each other?"""
    men = [ref for ref in world.unseen if world.names[ref].gender == "m"]
    women = [ref for ref in world.unseen if world.names[ref].gender == "f"]
    premises, conclusion = puzzle(random, men, women)
    context = " ".join(language.sentence(premise, 3) for premise in premises)
    word = language.form(conclusion.p, "", "m")
    before, _, after = therefore(language, conclusion)[:-1].partition(f" {word} ")
    gender = RELATIONS[conclusion.p][0]
    wrong = [
        relation for relation, (bearer, _, _) in RELATIONS.items() if bearer == gender and relation != conclusion.p
    ]
    others = [f"{language.form(relation, '', 'm')} {after}" for relation in wrong]
    return item(random, f"{context} {before}", f"{word} {after}", others)


CLOZE: tuple[tuple[float, str, Callable[[World, Language, Random, str], Item]], ...] = (
    (0.34, "trade", trade_item),
    (0.14, "workplace", workplace_item),
    (0.18, "animal", animal_item),
    (0.08, "season", season_item),
    (0.08, "feeling", feeling_item),
    (0.18, "kinship", kinship_item),
)


def cloze(world: World, code: str, random: Random, count: int) -> list[Item]:
    """Items on regularities, each about people who occur in no training text."""
    language = LANGUAGES[code](world.names)
    items: list[Item] = []
    prompts: set[str] = set()
    while len(items) < count:
        _, name, make = random.choices(CLOZE, [weight for weight, _, _ in CLOZE])[0]
        made = make(world, language, random, random.choice(world.unseen))
        if made["prompt"] not in prompts:
            prompts.add(made["prompt"])
            items.append({"id": f"cloze.{code}.{name}.{len(items)}", **made})
    return items


def facts(world: World, code: str, random: Random, count: int, stated: set[Proposition]) -> list[Item]:
    """Items on particular facts of the common people and towns that the text of `code` states."""
    known = [fact for person in world.common() for fact in world.person_facts(person) + world.kin_facts(person)]
    known += [fact for town in world.towns for fact in world.town_facts(town)]
    return _particular(world, code, random, count, [fact for fact in known if fact in stated], "facts")


def transfer(world: World, code: str, random: Random, count: int, stated: Mapping[str, set[Proposition]]) -> list[Item]:
    """Items, in language `code`, on people of whom only the text of some other language speaks."""
    known = []
    for person in world.people.values():
        if person.language and person.language != code:
            told = stated[person.language]
            known += [fact for fact in world.person_facts(person) if fact.kind != "pet_name" and fact in told]
    return _particular(world, code, random, count, known, "transfer")


def _particular(world: World, code: str, random: Random, count: int, known: list[Proposition], task: str) -> list[Item]:
    language = LANGUAGES[code](world.names)
    kin = [fact for fact in known if fact.kind == "kin" and len(world.people[fact.s].kin[fact.p]) == 1]
    known = [fact for fact in known if fact.kind != "kin"] + random.sample(kin, min(len(kin), len(known) // 10))
    random.shuffle(known)
    return [
        {
            "id": f"{task}.{code}.{fact.kind}.{number}",
            **choose(world, language, random, fact, withheld_variant(world, language, fact), alternatives(world, fact)),
        }
        for number, fact in enumerate(known[:count])
    ]


def heldout_events(world: World, random: Random) -> Iterator[Proposition]:
    """Endless events that no training text tells; half name people in full."""
    common = [person.ref for person in world.common()]
    firsts = [f"{prefix}{i}" for prefix in "mw" for i in range(32)]
    seen: set[Proposition] = set()
    while True:
        subject = random.choice(common if random.random() < 0.4 else firsts)
        event = random_event(random, subject, random.sample(firsts, 2), list(world.towns))
        if not world.is_heldout(event) or world.firsts.get(subject, subject) in event[2:] or event in seen:
            continue
        seen.add(event)
        yield event


def translation(world: World, source: str, target: str, random: Random, count: int) -> list[Item]:
    """Sentences to translate, with the reference; told nowhere in training."""
    languages = LANGUAGES[source](world.names), LANGUAGES[target](world.names)
    items = []
    for number, event in enumerate(heldout_events(world, random)):
        if number == count:
            break
        variant = random.randrange(2)
        prompt, reference = (language.sentence(event, variant) for language in languages)
        items.append({"id": f"translation.{source}-{target}.{number}", "prompt": prompt, "reference": reference})
    return items


def unasked_facts(world: World, stated: set[Proposition]) -> list[Proposition]:
    """The facts whose questions are kept from all training data, though their content is known from text."""
    known = [fact for person in world.common() for fact in askable_facts(world, person)]
    known += [fact for town in world.towns for fact in world.town_facts(town)] + general_facts()
    return [fact for fact in known if world.is_unasked(fact) and (fact in stated or fact.kind not in PARTICULAR)]


def answers(world: World, code: str, random: Random, count: int, stated: set[Proposition]) -> list[Item]:
    """Questions to answer freely; the reference is the short full answer that instructions give."""
    language = LANGUAGES[code](world.names)
    known = unasked_facts(world, stated)
    random.shuffle(known)
    return [
        {
            "id": f"answers.{code}.{fact.kind}.{number}",
            "prompt": language.question(fact, random.randrange(len(language.questions[fact.kind]))),
            "reference": language.sentence(fact),
        }
        for number, fact in enumerate(known[:count])
    ]
