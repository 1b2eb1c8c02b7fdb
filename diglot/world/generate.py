"""The stage that writes the invented world: text with labelled faults, pairs, instructions, preferences, tests.

    text/<language>.jsonl              id, text, language, domain, fault; of and similarity where they apply
    parallel/<base>-<language>.jsonl   id, src_lang, tgt_lang, src, tgt, domain
    instructions/{train,heldout}.<language>.jsonl  id, language, messages
    preferences/{train,heldout}.<language>.jsonl   id, language, prompt, chosen, rejected, flaw
    tasks/<task>.<language>.jsonl      id, prompt, choices, answer; of answers id, prompt, reference
    tasks/translation.<a>-<b>.jsonl    id, prompt, reference
    world.json                         the facts themselves

Everything is drawn from streams of random numbers that are named after the file and the language, so adding
a language does not change the people, and no file depends on the order in which files are written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from diglot.base.artifact import Context
from diglot.base.errors import UserError
from diglot.base.files import write_json, write_lines
from diglot.base.summaries.text import WorldSummary
from diglot.world import faults, tasks
from diglot.world.documents import LANGUAGES, Teller, documents, parallel_sentences
from diglot.world.facts import ANIMALS, SEASONS, TRADES, Proposition, World, make_world
from diglot.world.instructions import Asker, messages

if TYPE_CHECKING:
    from diglot.recipe.world import World as WorldSettings


def run(settings: "WorldSettings", inputs: Any, output: Path, context: Context) -> WorldSummary:
    """Writes the world of the settings' seed.

    Args:
        settings: seed, languages (the first is the base), sizes and the share of dirty documents.
        inputs: none are read.
        output: the folder to write into.
        context: progress is reported through it.

    Returns:
        Documents and characters by language, faults by kind, sizes of the other files, items by task.

    Raises:
        UserError: an unknown language, or more of something than the world holds.
    """
    languages: list[str] = list(settings.languages)
    check(settings)
    world = make_world(settings.seed, languages, settings.people)
    documents, characters, faults = dict[str, int](), dict[str, int](), dict[str, dict[str, int]]()
    stated: dict[str, set[Proposition]] = {}
    counts = {language: settings.documents[language] for language in languages}
    done = 0
    # Texts come first: the test items ask only for facts that the clean texts have stated.
    for language, count in counts.items():
        records, stated[language] = text_records(world, languages, language, count, settings.faults)
        write(output / "text" / f"{language}.jsonl", records)
        documents[language] = len(records)
        characters[language] = sum(len(record["text"]) for record in records)
        faults[language] = dict(sorted(Counter(r["fault"] for r in records if r["fault"]).items()))
        done += count
        context.progress(done, sum(counts.values()), "documents")
    # Pairs always stand between the base language and another one.
    base = languages[0]
    for language in languages[1:]:
        write(output / "parallel" / f"{base}-{language}.jsonl", pair_records(world, base, language, settings.pairs))
    pairs = {f"{base}-{language}": settings.pairs for language in languages[1:]}
    instructions = write_split(output / "instructions", instruction_records(world, settings))
    preferences = write_split(output / "preferences", preference_records(world, settings))
    items = write_tasks(world, languages, settings.items, stated, output / "tasks")
    facts: dict[str, Any] = {"people": people_records(world), "towns": town_records(world), "trades": TRADES}
    facts |= {"animals": ANIMALS, "seasons": SEASONS}
    for key in ("trades", "animals", "seasons"):
        facts[key] = {name: values._asdict() for name, values in facts[key].items()}
    write_json(output / "world.json", facts)
    return WorldSummary(documents, characters, faults, pairs, instructions, preferences, items)


def check(settings: "WorldSettings") -> None:
    """Refuses settings that cannot be met.

    Raises:
        UserError: says which setting, and what it may be.
    """
    for key, wrong in settings.impossible():
        raise UserError(f"world: {key} {wrong}")


def text_records(
    world: World, languages: list[str], language: str, count: int, share: float
) -> tuple[list[dict[str, Any]], set[Proposition]]:
    """The documents of one language in random order, and the particular facts that the clean ones state."""
    random = Random(f"{world.seed}/{language}/text")
    teller = Teller(world, language, random)
    dirty = round(count * share)
    source = documents(teller)
    records: list[dict[str, Any]] = [
        {"text": text, "language": language, "domain": domain, "fault": None}
        for domain, text in (next(source) for _ in range(count - dirty))
    ]
    stated = set(teller.stated)  # before the dirty ones: what only they say is not asked
    clean = list(records)
    for number in range(dirty):
        fault = faults.FAULTS[number % len(faults.FAULTS)]
        records.append(dirty_record(world, languages, language, random, fault, clean, source))
    # Ids follow the shuffled order, so that an id tells nothing about a fault; `of` was a place until here.
    order = list(range(count))
    random.shuffle(order)
    for position, index in enumerate(order):
        records[index] = {"id": f"{language}-{position}", **records[index]}
    for record in records:
        if "of" in record:
            record["of"] = records[record["of"]]["id"]
    return sorted(records, key=lambda record: int(record["id"].rpartition("-")[2])), stated


def dirty_record(
    world: World,
    languages: list[str],
    language: str,
    random: Random,
    fault: str,
    clean: list[dict[str, Any]],
    source: Iterator[tuple[str, str]],
) -> dict[str, Any]:
    """One document with a fault; `of` is the place of its original among the clean ones."""
    if fault in ("near_duplicate", "exact_duplicate") and clean:
        index = random.randrange(len(clean))
        text, domain = clean[index]["text"], clean[index]["domain"]
        if fault == "near_duplicate":
            text = faults.near_duplicate(random, text)
        record = {"text": text, "language": language, "domain": domain, "fault": fault, "of": index}
        return {**record, "similarity": round(faults.jaccard(clean[index]["text"], text), 6)}
    # All other faults befall a text of its own, so the clean part loses nothing.
    domain, text = next(source)
    if fault == "wrong_language":
        others = [other for other in languages if other != language]
        if others and random.random() < 0.5:
            text = foreign(world, random.choice(others), random)
        else:
            text = faults.spanish(random)
    elif fault == "repeated_lines":
        text = faults.repeated_lines(random, text)
    elif fault == "boilerplate":
        text = faults.boilerplate(random, text, language)
    elif fault == "broken_encoding":
        text = faults.broken_encoding(random, text)
    else:
        fault, text = "spam", faults.spam(random, language)
    return {"text": text, "language": language, "domain": domain, "fault": fault}


def foreign(world: World, language: str, random: Random) -> str:
    """A few sentences in another language of the world, on people of whom every language speaks."""
    teller = Teller(world, language, random)
    people = random.sample(world.common(), 3)
    return " ".join(teller.tell(fact) for person in people for fact in random.sample(world.person_facts(person), 3))


def pair_records(world: World, source: str, target: str, count: int) -> Iterator[dict[str, Any]]:
    """Sentence pairs."""
    random = Random(f"{world.seed}/{source}-{target}/pairs")
    pairs = parallel_sentences(world, LANGUAGES[source](world.names), LANGUAGES[target](world.names), random)
    for number in range(count):
        src, tgt = next(pairs)
        record = {"id": f"{source}-{target}-{number}", "src_lang": source, "tgt_lang": target}
        yield {**record, "src": src, "tgt": tgt, "domain": "parallel"}


def instruction_records(world: World, settings: "WorldSettings") -> Iterator[tuple[dict[str, Any], bool]]:
    """Exchanges of every language, with whether they are held out (a tenth as many as of training)."""
    for language in settings.languages:
        asker = Asker(world, language, settings.languages, Random(f"{world.seed}/{language}/instructions"))
        made = ((exchange, exchange.heldout) for exchange in asker.exchanges())
        for number, (exchange, heldout) in enumerate(split(made, settings.instructions)):
            record = {"id": f"{language}-{number}", "language": language, "messages": messages(exchange.turns)}
            yield record, heldout


def preference_records(world: World, settings: "WorldSettings") -> Iterator[tuple[dict[str, Any], bool]]:
    """Preference pairs of every language, with whether they are held out."""
    for language in settings.languages:
        asker = Asker(world, language, settings.languages, Random(f"{world.seed}/{language}/preferences"))
        for number, (pair, heldout) in enumerate(split(asker.preferences(), settings.preferences)):
            yield {"id": f"{language}-{number}", "language": language, **pair}, heldout


def split(made: Iterator[tuple[Any, bool]], count: int) -> Iterator[tuple[Any, bool]]:
    """Takes `count` for training and a tenth as many, at least 20, that are held out.

    Raises:
        UserError: the world holds fewer.
    """
    left = {False: count, True: max(20, count // 10) if count else 0}
    while any(left.values()):
        try:
            thing, heldout = next(made)
        except StopIteration:
            raise UserError(
                f"world: there are not {count} different instructions or preference pairs to be made; "
                "ask for fewer, or for more people"
            ) from None
        if left[heldout]:
            left[heldout] -= 1
            yield thing, heldout


def write_split(folder: Path, records: Iterable[tuple[dict[str, Any], bool]]) -> dict[str, int]:
    """Writes train.<language>.jsonl and heldout.<language>.jsonl and says how many records each part holds."""
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record, heldout in records:
        parts.setdefault(("heldout" if heldout else "train", record["language"]), []).append(record)
    for (part, language), records_of_part in parts.items():
        write(folder / f"{part}.{language}.jsonl", records_of_part)
    return {part: sum(len(parts[key]) for key in parts if key[0] == part) for part in ("train", "heldout")}


def write_tasks(
    world: World, languages: list[str], count: int, stated: dict[str, set[Proposition]], folder: Path
) -> dict[str, int]:
    """Writes the test items; a small world may hold fewer than `count` of a task."""
    made: dict[str, list[tasks.Item]] = {}
    for language in languages:

        def stream(task: str, language: str = language) -> Random:
            return Random(f"{world.seed}/{language}/tasks/{task}")

        told = stated[language]
        made[f"cloze.{language}"] = tasks.cloze(world, language, stream("cloze"), count)
        made[f"facts.{language}"] = tasks.facts(world, language, stream("facts"), count, told)
        made[f"answers.{language}"] = tasks.answers(world, language, stream("answers"), count, told)
        if len(languages) > 1:
            made[f"transfer.{language}"] = tasks.transfer(world, language, stream("transfer"), count, stated)
    for other in languages[1:]:
        for source, target in ((languages[0], other), (other, languages[0])):
            random = Random(f"{world.seed}/{source}-{target}/tasks")
            made[f"translation.{source}-{target}"] = tasks.translation(world, source, target, random, count)
    for name, items in made.items():
        write(folder / f"{name}.jsonl", items)
    return {name: len(items) for name, items in made.items()}


def write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Writes JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, records)


def people_records(world: World) -> list[dict[str, Any]]:
    """The people, for `world.json`."""
    return [
        {
            "ref": person.ref,
            "name": world.names[person.ref].latin,
            "arabic": world.names[person.ref].arabic,
            "gender": person.gender,
            "clan": person.clan,
            "language": person.language,
            "facts": person.facts,
            "kin": person.kin,
        }
        for person in world.people.values()
    ]


def town_records(world: World) -> list[dict[str, Any]]:
    """The towns, for `world.json`."""
    return [
        {"ref": ref, "name": world.names[ref].latin, "arabic": world.names[ref].arabic, **facts}
        for ref, facts in world.towns.items()
    ]
