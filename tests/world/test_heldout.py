"""The held-out split is held out: proven on the files, by searching the training text for every test item."""

from world_files import SETTINGS, Generated

from diglot.world.documents import LANGUAGES as MODULES
from diglot.world.facts import Proposition
from diglot.world.grammar import Mode

LANGUAGES = SETTINGS["languages"]
MODES: tuple[Mode, ...] = ("full", "first", "pronoun")


def test_no_choice_item_occurs_in_training_text(generated: Generated) -> None:
    for language in LANGUAGES:
        training = generated.training(language)
        assert len(training) > 200_000
        for task in ("cloze", "facts", "transfer"):
            for item in generated.items(f"{task}.{language}"):
                right = f"{item['prompt']} {item['choices'][item['answer']]}"
                assert right not in training, item


def test_people_of_cloze_items_occur_nowhere(generated: Generated) -> None:
    for language in LANGUAGES:
        training = generated.training(language)
        names = [generated.world.names[ref] for ref in generated.world.unseen]
        full = {name.arabic if language == "ar" else name.latin for name in names}
        assert not [name for name in full if name in training]
        for item in generated.items(f"cloze.{language}"):
            assert any(name in item["prompt"] for name in full), item


def test_no_translation_item_occurs_in_training_text(generated: Generated) -> None:
    for other in LANGUAGES[1:]:
        for source, target in (("en", other), (other, "en")):
            source_text, target_text = generated.training(source), generated.training(target)
            for item in generated.items(f"translation.{source}-{target}"):
                assert item["prompt"] not in source_text
                assert item["reference"] not in target_text
                assert item["prompt"].rstrip(".") not in source_text


def test_questions_that_are_kept_are_asked_nowhere(generated: Generated) -> None:
    trained = "\n".join(generated.training(language) for language in LANGUAGES)
    for language in LANGUAGES:
        for item in generated.items(f"answers.{language}"):
            assert item["prompt"] not in trained, item
    for name in ("instructions", "preferences"):
        train = {str(record.get("messages", record.get("prompt"))) for record in generated.split(name, "train")}
        for record in generated.split(name, "heldout"):
            assert str(record.get("messages", record.get("prompt"))) not in train


def propositions_by_item(generated: Generated, language: str) -> dict[tuple[str, str], Proposition]:
    """Every particular fact of the world by the prompt and answer of its possible items."""
    world, speaker = generated.world, MODULES[language](generated.world.names)
    facts = [f for person in world.people.values() for f in world.person_facts(person) + world.kin_facts(person)]
    facts += [fact for town in world.towns for fact in world.town_facts(town)]
    return {speaker.cut(fact, variant): fact for fact in facts for variant in speaker.cuttable(fact.kind)}


def is_told(generated: Generated, language: str, fact: Proposition) -> bool:
    """Whether some clean document names the subject and has the fact in some wording."""
    speaker = MODULES[language](generated.world.names)
    name = speaker.form(fact.s, "", "m")
    wordings = {
        speaker.raw(fact, variant, mode) for variant in range(len(speaker.patterns[fact.kind])) for mode in MODES
    }
    wordings |= {speaker.capital(wording) for wording in wordings}
    for record in generated.records(f"text/{language}"):
        if record["fault"] is None and name in record["text"] and any(w in record["text"] for w in wordings):
            return True
    return False


def test_every_fact_that_is_asked_is_told_in_that_language(generated: Generated) -> None:
    for language in LANGUAGES:
        known = propositions_by_item(generated, language)
        for item in generated.items(f"facts.{language}")[:60]:
            fact = known[item["prompt"], item["choices"][item["answer"]]]
            assert is_told(generated, language, fact), item


def test_transfer_facts_are_told_in_another_language_only(generated: Generated) -> None:
    for language in LANGUAGES:
        known, training = propositions_by_item(generated, language), generated.training(language)
        for item in generated.items(f"transfer.{language}"):
            fact = known[item["prompt"], item["choices"][item["answer"]]]
            person, name = generated.world.people[fact.s], generated.world.names[fact.s]
            assert person.language not in ("", language)
            assert name.latin not in training
            assert name.arabic not in training
        for item in generated.items(f"transfer.{language}")[:20]:
            fact = known[item["prompt"], item["choices"][item["answer"]]]
            assert is_told(generated, generated.world.people[fact.s].language, fact), item
