"""Duplicates over shards: found as the theory says, never below the limit, and whatever the workers and memory."""

import itertools
import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from corpus_files import ARABIC, ENGLISH, sentences
from signed_shards import BANDS, ROWS, all_alive, plain_jaccard, write_columns, write_shards

from diglot.base.executor import open_executor
from diglot.curate.dedup import duplicates
from diglot.curate.dedup.duplicates import equal_documents, near_duplicates
from diglot.curate.documents import SignedShard
from diglot.read.files import Record, read_records
from diglot.recipe.curate import Deduplication
from diglot.world import generate
from diglot.world.facts import make_world

MEMORY = 1 << 30
SHINGLES, PAIRS = 200, 1000
VERIFY = Deduplication().verify


def near(folder: Path, shards: list[SignedShard], memory: int = MEMORY, run_all=map, **settings):
    documents = max((shard.first + shard.rows for shard in shards), default=0)
    alive = all_alive(folder, documents)
    return near_duplicates(shards, Deduplication(**settings), alive, run_all, folder, memory)


def theory(similarity) -> np.ndarray:
    """The share of pairs of a similarity that agree in all rows of a band."""
    return 1 - (1 - np.asarray(similarity) ** ROWS) ** BANDS


def check_against_texts(texts: list[str], dropped, kept, by_characters: bool = False) -> None:
    """What is dropped is at least `verify` similar to an earlier document that stays."""
    assert len(set(dropped.tolist())) == len(dropped)
    assert (np.diff(dropped) > 0).all()
    assert (kept < dropped).all()
    assert not set(dropped.tolist()) & set(kept.tolist())
    below = [
        (document, leader, similarity)
        for document, leader in zip(dropped.tolist(), kept.tolist(), strict=True)
        if (similarity := plain_jaccard(texts[document], texts[leader], by_characters)) < VERIFY
    ]
    assert below == []


def check_nothing_is_missed(texts: list[str], shards, dropped, by_characters: bool = False) -> None:
    """The first of a bucket and another of it that is as similar do not both stay."""
    gone = np.zeros(len(texts), bool)
    gone[dropped] = True
    keys = np.concatenate([np.load(shard.bands) for shard in shards], axis=1)
    for band in keys:
        order = np.argsort(band, kind="stable")
        for _, group in itertools.groupby(order.tolist(), key=lambda place, band=band: band[place]):
            first, *others = group
            for other in others:
                if not gone[first] and not gone[other] and band[first]:
                    assert plain_jaccard(texts[first], texts[other], by_characters) < VERIFY


# --- recall ---------------------------------------------------------------------------------------------------


def texts_with(common: int, number: int) -> list[str]:
    """Texts 2j and 2j + 1 share so many of their 200 shingles and no others; no other texts share any."""
    texts, same = [], common + 4
    for pair in range(number):
        words = [f"{common}p{pair}w{i}" for i in range(2 * (SHINGLES + 4) - same)]
        texts += [" ".join(words[: SHINGLES + 4]), " ".join(words[:same] + words[SHINGLES + 4 :])]
    return texts


@pytest.mark.parametrize("common", [80, 110, 125, 134, 140, 148, 155, 162, 168, 174, 179, 184, 190, 196])
def test_recall_is_that_of_the_theory_at_a_known_similarity(common, tmp_path):
    similarity = common / (2 * SHINGLES - common)
    shards = write_shards(tmp_path, texts_with(common, PAIRS))
    dropped, kept = near(tmp_path, shards)
    assert (dropped == kept + 1).all()
    assert (kept % 2 == 0).all()
    expected = theory(similarity) if similarity >= VERIFY else 0.0
    assert abs(len(dropped) - PAIRS * expected) <= 4.5 * np.sqrt(PAIRS * expected * (1 - expected)) + 0.5


def test_recall_of_many_pairs_shows_every_band(tmp_path):
    """Of 9000 pairs from 0.67 to 0.81, 13 bands would find 240 fewer than 14 do: more than 5 standard errors."""
    commons = range(160, 180)
    texts = [text for common in commons for text in texts_with(common, 450)]
    dropped, _ = near(tmp_path, write_shards(tmp_path, texts))
    expected = theory(np.repeat([common / (2 * SHINGLES - common) for common in commons], 450))
    assert abs(len(dropped) - expected.sum()) < 3 * np.sqrt((expected * (1 - expected)).sum())


def test_the_world_s_labelled_near_duplicates_are_found_as_often_as_the_theory_says(tmp_path):
    """Its pages are short and resemble each other, so a copy may also be dropped for another page."""
    records, _ = generate.text_records(make_world(3, ["en", "id"], 300), ["en", "id"], "en", 3000, 0.5)
    texts = [record["text"] for record in records]
    places = {record["id"]: place for place, record in enumerate(records)}
    shards = write_shards(tmp_path, texts)
    dropped, kept = near(tmp_path, shards)
    check_against_texts(texts, dropped, kept)
    check_nothing_is_missed(texts, shards, dropped)
    pairs = [(place, places[r["of"]]) for place, r in enumerate(records) if r["fault"] == "near_duplicate"]
    similarities = np.array([plain_jaccard(texts[one], texts[other]) for one, other in pairs])
    gone = set(dropped.tolist())
    found = np.array([one in gone or other in gone for one, other in pairs])
    expected = np.where(similarities >= VERIFY, theory(similarities), 0)
    assert len(pairs) > 150
    assert found.sum() >= expected.sum() - 4.5 * np.sqrt((expected * (1 - expected)).sum())
    assert found[similarities > 0.92].all()
    exact = [(place, places[r["of"]]) for place, r in enumerate(records) if r["fault"] == "exact_duplicate"]
    assert all(max(pair) in gone for pair in exact)


# --- precision ------------------------------------------------------------------------------------------------


def test_through_chains_nothing_is_dropped_for_what_it_does_not_resemble(tmp_path):
    """Windows of 204 words that move on by 14, then 30: neighbours resemble each other, those farther away do not."""
    rng = random.Random(2)
    texts = []
    for chain in range(60):
        step = 14 if chain % 2 else 30
        words = [f"c{chain}w{i}" for i in range(204 + 20 * step)]
        texts += [" ".join(words[i * step : i * step + 204]) for i in range(20)]
    rng.shuffle(texts)
    shards = write_shards(tmp_path, texts, rows=97)
    dropped, kept = near(tmp_path, shards)
    check_against_texts(texts, dropped, kept)
    check_nothing_is_missed(texts, shards, dropped)
    assert 0.4 < len(dropped) / len(texts) < 0.95
    assert len(set(kept.tolist())) > 2 * 60 - 30  # most chains have several leaders


def test_a_chain_s_far_end_is_kept(tmp_path):
    """b goes for a, and c, which resembles b but not a, stays: were it dropped, nothing like it would be left."""
    words = [f"w{i}" for i in range(300)]
    texts = [" ".join(words[begin : begin + 204]) for begin in (0, 42, 84)]  # 0.65, 0.65 and 0.41
    texts = [text.replace("w", f"{copy}w") for copy in range(60) for text in texts]
    dropped, kept = near(tmp_path, write_shards(tmp_path, texts))
    check_against_texts(texts, dropped, kept)
    fell = {(int(d) % 3, int(k) % 3) for d, k in zip(dropped, kept, strict=True)}
    assert fell == {(1, 0), (2, 1)}  # c for b only where b stayed, which has not been found to resemble a
    for copy in range(60):
        assert not {3 * copy + 1, 3 * copy + 2} <= set(dropped.tolist())


def plant(rng: random.Random, texts: list[str], by_characters: bool) -> list[str]:
    """Chains of copies, each of the copy before, with words (or characters) replaced by others of the text."""
    planted, most, between = list(texts), 0.04 if by_characters else 0.12, "" if by_characters else " "
    for text in texts:
        units = list(text) if by_characters else text.split(" ")
        for _ in range(rng.randint(0, 3) if len(units) > 20 else 0):
            share = most * rng.random()
            units = [rng.choice(units) if rng.random() < share else unit for unit in units]
            planted.append(between.join(units))
    rng.shuffle(planted)
    return planted


@pytest.mark.parametrize("source", ["raw_text/ar", "raw_text/en", "raw_text/zh", "raw_web/wet_like.jsonl.zst"])
def test_on_real_text_nothing_is_dropped_below_the_limit(data, source, tmp_path):
    path = data / source
    if not path.exists():
        pytest.skip(f"no {path}")
    records = read_records(str(path), stage="t", source="t", limit=2500)
    texts = [record.value["text"][:3000] for record in records if isinstance(record, Record)]
    texts = random.Random(1).sample(texts, min(len(texts), 500))
    by_characters = source.endswith("zh")
    planted = plant(random.Random(2), texts, by_characters)
    shards = write_shards(tmp_path, planted, rows=300, by_characters=by_characters)
    dropped, kept = near(tmp_path, shards)
    check_against_texts(planted, dropped, kept, by_characters)
    check_nothing_is_missed(planted, shards, dropped, by_characters)
    assert len(dropped) > 0.2 * (len(planted) - len(texts))


# --- the same, however it is done -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed() -> list[str]:
    """Documents with copies, chains and empty ones among them, of shared boilerplate, in random order."""
    rng = random.Random(7)
    texts = [sentences(ENGLISH, seed, 20) for seed in range(400)]
    texts += [f"{sentences(ENGLISH, 0, 40)} {sentences(ENGLISH, 1000 + seed, 2)}" for seed in range(60)]
    return plant(rng, [*texts, "", "…", "two words"], False)


def backwards(function, tasks):
    """An executor that runs the last task first, and all of them as if elsewhere."""
    pickled = [pickle.dumps(task) for task in tasks]
    results = [pickle.dumps(function(pickle.loads(task))) for task in reversed(pickled)]
    return map(pickle.loads, reversed(results))


def same(one, other) -> bool:
    return one[0].tolist() == other[0].tolist() and one[1].tolist() == other[1].tolist()


def test_the_result_does_not_depend_on_shards_memory_or_order_of_work(mixed, tmp_path):
    shards = write_shards(tmp_path / "0", mixed, rows=5000)
    expected = near(tmp_path, shards)
    check_against_texts(mixed, *expected)
    assert len(expected[0]) > 200
    for number, (rows, memory, run_all) in enumerate(
        [(100, MEMORY, map), (333, 20_000, map), (5000, 3000, backwards), (17, MEMORY, backwards)]
    ):
        shards = write_shards(tmp_path / str(1 + number), mixed, rows=rows)
        assert same(near(tmp_path, shards, memory, run_all), expected), (rows, memory)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_result_does_not_depend_on_the_number_of_workers(mixed, workers, tmp_path):
    shards = write_shards(tmp_path, mixed, rows=250)
    with open_executor("threads", workers, lambda: None) as executor:
        found = near(tmp_path, shards, 20_000, executor.map)
        exact = equal_documents(shards, "hash", tmp_path / "alive.npy", executor.map, 5000)
    assert same(found, near(tmp_path, shards))
    assert same(exact, equal_documents(shards, "hash", tmp_path / "alive.npy", map, MEMORY))


def test_the_result_does_not_depend_on_the_size_of_blocks(mixed, tmp_path, monkeypatch):
    shards = write_shards(tmp_path, mixed, rows=250)
    expected = near(tmp_path, shards)
    for name, value in (("PAIRS", 3), ("TEXT_BYTES", 2500), ("EDGES_A_PART", 5)):
        monkeypatch.setattr(duplicates, name, value)
        assert same(near(tmp_path, shards), expected), name


def test_nothing_is_left_in_the_scratch_folder_and_old_files_do_no_harm(mixed, tmp_path):
    shards = write_shards(tmp_path, mixed)
    expected = near(tmp_path, shards)
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "near").mkdir()
    for name in ("edges-0.npy", "part-0", "parents.npy"):  # of a run that was killed
        (tmp_path / "near" / name).write_bytes(b"half")
    assert same(near(tmp_path, shards), expected)
    assert sorted(tmp_path.rglob("*")) == before


# --- groups, those that take no part, other texts -------------------------------------------------------------


def test_groups_are_apart_and_one_group_is_one_whatever_its_shards(mixed, tmp_path):
    half = len(mixed) // 2
    parts = [mixed[:half], mixed[half:]]
    one = [
        near(tmp_path, write_shards(tmp_path / "a", parts[0])),
        near(tmp_path, write_shards(tmp_path / "b", parts[1])),
    ]
    shards = write_shards(tmp_path / "c", parts[0]) + write_shards(tmp_path / "d", parts[1], group=1, first=half)
    dropped, kept = near(tmp_path, shards)
    assert dropped.tolist() == [*one[0][0], *(one[1][0] + half)]
    assert kept.tolist() == [*one[0][1], *(one[1][1] + half)]
    together = [shard._replace(group=0) for shard in shards]
    assert len(near(tmp_path, together)[0]) > len(dropped)


def test_documents_that_take_no_part_are_as_if_they_were_not_there(mixed, tmp_path):
    alive = np.random.default_rng(1).random(len(mixed)) < 0.6
    shards = write_shards(tmp_path / "all", mixed, rows=123)
    np.save(tmp_path / "some.npy", alive)
    dropped, kept = near_duplicates(shards, Deduplication(), tmp_path / "some.npy", map, tmp_path, MEMORY)
    places = np.flatnonzero(alive)
    alone = near(tmp_path, write_shards(tmp_path / "alone", [mixed[place] for place in places]))
    assert same((dropped, kept), (places[alone[0]], places[alone[1]]))
    exact, first = equal_documents(shards, "hash", tmp_path / "some.npy", map, MEMORY)
    assert alive[exact].all()
    assert alive[first].all()


def test_verify_is_the_limit(tmp_path):
    """Pairs of 0.74 similarity go at a limit of 0.72 and stay at one of 0.76, all of which the texts decide."""
    texts = texts_with(170, 100)
    shards = write_shards(tmp_path, texts)
    candidates = PAIRS // 10 * theory(170 / 230)
    assert len(near(tmp_path, shards, verify=0.72)[0]) > candidates / 2
    assert len(near(tmp_path, shards, verify=0.76)[0]) == 0
    assert len(near(tmp_path, shards, verify=0.0)[0]) == len(near(tmp_path, shards, verify=0.72)[0])


def test_pairs_are_compared_by_what_their_signatures_are_of(tmp_path):
    """Translations of one sentence: the texts are equal, what is compared is not, and the other way round."""
    compared = [sentences(ENGLISH, seed) for seed in (1, 2, 3)] + [sentences(ENGLISH, 3).upper()]
    [shard] = write_shards(tmp_path, compared)
    texts = pa.array(["same"] * 3 + ["other"], pa.large_string())
    write_columns(shard.path, {"text": texts, "compared": pa.array(compared, pa.large_string())})
    dropped, kept = near(tmp_path, [shard])
    assert (dropped.tolist(), kept.tolist()) == ([3], [2])
    assert shard.texts().to_pylist() == compared


def test_more_unlike_company_in_a_bucket_than_leaders(tmp_path):
    """Documents forced into the same buckets fall to those that they resemble, not to the first that is there."""
    kinds = [sentences(ARABIC, seed) for seed in range(duplicates.REPRESENTATIVES)]
    texts = [kinds[place % len(kinds)] + f" {place}" for place in range(40)]
    [shard] = write_shards(tmp_path, texts)
    np.save(shard.bands, np.ones((BANDS, len(texts)), np.uint64))
    dropped, kept = near(tmp_path, [shard])
    assert dropped.tolist() == list(range(len(kinds), 40))
    assert kept.tolist() == [place % len(kinds) for place in range(len(kinds), 40)]


def test_no_documents_and_empty_shards(tmp_path):
    for texts in ([], ["", "", "!"]):
        shards = write_shards(tmp_path, texts)
        alive = all_alive(tmp_path, len(texts))
        assert [len(part) for part in near(tmp_path, shards)] == [0, 0]
        assert [len(part) for part in equal_documents(shards, "hash", alive, map, MEMORY)] == [0, 0]
    shards = write_shards(tmp_path, ["", *[sentences(ENGLISH, 1)] * 2])
    empty = SignedShard(tmp_path / "none.arrow", 0, "s", "s", ("en",))
    assert same(near(tmp_path, [empty, *shards, empty._replace(first=3)]), (np.array([2]), np.array([1])))


# --- exact and address ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [MEMORY, 20_000, 2000])
@pytest.mark.parametrize("column", ["hash", "url_hash"])
def test_equal_documents_are_those_of_a_dictionary(column, memory, tmp_path):
    random_numbers = np.random.default_rng(4)
    common = random_numbers.integers(0, 2**64, 200, np.uint64)
    shards, values, first = [], [], 0
    for number in range(30):
        rows = int(random_numbers.integers(0, 150))
        hashes = random_numbers.integers(0, 2**64, rows, np.uint64)
        hashes = np.where(random_numbers.random(rows) < 0.6, random_numbers.choice(common, rows), hashes)
        hashes[random_numbers.random(rows) < 0.1] = 0
        path = tmp_path / f"{number}.arrow"
        write_columns(path, {column: pa.array(hashes)})
        shards.append(SignedShard(path, rows, "s", "s", ("en",), first, number % 2))
        values += [(number % 2, int(value)) for value in hashes]
        first += rows
    alive = random_numbers.random(len(values)) < 0.9
    np.save(tmp_path / "alive.npy", alive)
    firsts: dict = {}
    expected = [
        (document, firsts[value])
        for document, value in enumerate(values)
        if alive[document] and value[1] and firsts.setdefault(value, document) != document
    ]
    for run_all in (map, backwards):
        found = equal_documents(shards, column, tmp_path / "alive.npy", run_all, memory)
        assert list(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected
    assert len(expected) > 100


def test_exact_duplicates_are_equal_but_for_case_punctuation_and_spacing(tmp_path):
    texts = ["Hello,  World!", "other", "", "hello\nworld", "!?", "hello worlds", "HELLO WORLD", "", "Other."]
    shards = write_shards(tmp_path, texts, rows=2)
    found = equal_documents(shards, "hash", all_alive(tmp_path, len(texts)), map, MEMORY)
    assert same(found, (np.array([3, 6, 8]), np.array([0, 0, 1])))
