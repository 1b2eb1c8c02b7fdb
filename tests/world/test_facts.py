"""The world is consistent: kinship closes, clans keep to themselves, the regularities are one to one."""

from random import Random

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.world import facts
from diglot.world.documents import CHAINS, puzzle
from diglot.world.facts import RELATIONS, Proposition, World, make_world, relation_between


@pytest.mark.parametrize("people", [30, 31, 97, 400, 2000])
def test_the_number_of_people_is_exact_and_names_differ(people: int) -> None:
    world = make_world(3, ["en", "ar"], people)
    assert len(world.people) == people
    full = [world.names[ref].latin for ref in [*world.people, *world.unseen]]
    assert len(set(full)) == len(full)


def test_kinship_is_mutual_and_has_the_right_genders(world: World) -> None:
    for person in world.people.values():
        for relation, others in person.kin.items():
            gender, back_man, back_woman = RELATIONS[relation]
            assert len(set(others)) == len(others)
            for other in others:
                assert world.people[other].gender == gender
                back = back_man if person.gender == "m" else back_woman
                assert person.ref in world.people[other].kin[back]
                assert world.people[other].clan == person.clan
                assert world.people[other].language == person.language


def test_grandparents_are_the_parents_of_parents(world: World) -> None:
    for person in world.people.values():
        parents = [ref for side in ("father", "mother") for ref in person.kin.get(side, [])]
        assert len(parents) in (0, 2)
        for relation in ("father", "mother"):
            elders = {elder for parent in parents for elder in world.people[parent].kin.get(relation, [])}
            assert set(person.kin.get(f"grand{relation}", [])) == elders


def test_what_follows_from_two_relations_holds_in_the_world(world: World) -> None:
    checked = 0
    for c in world.people.values():
        for second, middle in c.kin.items():
            for b in middle:
                for first, ends in world.people[b].kin.items():
                    for a in ends:
                        said = relation_between(first, second, world.people[a].gender)
                        if (first, second) in CHAINS and a != c.ref:
                            assert a in c.kin.get(said, []), (a, first, b, second, c.ref)
                            checked += 1
    assert checked > 100


@given(st.integers())
@examples(200)
def test_puzzles_have_one_right_conclusion(seed: int) -> None:
    men, women = [f"m{i}" for i in range(9)], [f"w{i}" for i in range(9)]
    premises, conclusion = puzzle(Random(seed), men, women)
    for proposition in [*premises, conclusion]:
        assert proposition.p in RELATIONS
        assert (proposition.o[0] == "m") == (RELATIONS[proposition.p][0] == "m")
    people = [ref for premise in premises for ref in (premise.s, premise.o)]
    assert {conclusion.s, conclusion.o} <= set(people)
    assert conclusion not in premises


@pytest.mark.parametrize("table", [facts.TRADES, facts.ANIMALS, facts.SEASONS])
def test_regularities_are_one_to_one(table: dict) -> None:
    """Otherwise an item could have two right choices."""
    for column in zip(*table.values(), strict=True):
        assert len(set(column)) == len(column)


def test_the_split_goes_by_content(world: World) -> None:
    """Two people with one first name share the sentences that mention it, so they share the side of the split."""
    by_first: dict[str, list[str]] = {}
    for person in world.people.values():
        by_first.setdefault(person.first, []).append(person.ref)
    first, (one, two, *_) = next((f, refs) for f, refs in by_first.items() if len(refs) > 1)
    events = [Proposition("eat", "", food, "garden") for food in facts.FOODS]
    for event in events:
        sides = {world.is_heldout(event._replace(s=s, t=t)) for s in (one, two, first) for t in ("", "night")}
        assert len(sides) == 1
    propositions = [facts.random_event(Random(i), first, ["m1", "w2"], list(world.towns)) for i in range(2000)]
    assert 0.07 < sum(map(world.is_heldout, propositions)) / 2000 < 0.13
