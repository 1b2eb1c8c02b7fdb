"""A corpus made on a Ray cluster is the corpus made by threads, whatever is killed meanwhile.

Two nodes with one core each, on this machine; workers and nodes are real processes, killed with SIGKILL.
"""

import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from commands import fork
from corpus_files import ARABIC, ENGLISH, sentences, write_jsonl

from diglot.base.artifact import Context, Inputs, content_hash
from diglot.curate import stage as curate
from diglot.recipe.curate import Curate
from diglot.recipe.source import Source

pytestmark = pytest.mark.slow
ray_cluster = pytest.importorskip("ray.cluster_utils", reason="the extra `cluster` is not installed")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Ten files of two languages, with duplicates within and across them."""
    folder = tmp_path_factory.mktemp("raw")
    for number in range(10):
        words = ENGLISH if number % 2 else ARABIC
        records = [{"text": sentences(words, 300 * (number // 2) + seed, 60)} for seed in range(500)]
        write_jsonl(folder / f"{number}.jsonl", records)
    mixed = [{"text": sentences((ENGLISH, ARABIC)[seed % 2], 90_000 + seed, 60)} for seed in range(500)]
    write_jsonl(folder / "mixed.jsonl", mixed)
    return folder


def make(raw, folder, executor):
    """Run the stage, on the scratch folder of an earlier try where there is one."""
    sources = {
        f"file{number}": Source(path=str(raw / f"{number}.jsonl"), language="en" if number % 2 else "ar")
        for number in range(10)
    }
    sources["mixed"] = Source(path=[str(raw / "0.jsonl"), str(raw / "mixed.jsonl")], languages=["ar", "en"])
    settings = Curate(sources=sources, executor=executor, deduplication={"lines": 20})
    output, scratch = folder / "corpus", folder / "scratch"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    curate.run(settings, Inputs({}), output, Context("corpus", 5, scratch, "print", workers=2))
    return content_hash(output)


@pytest.fixture(scope="module")
def by_threads(raw, tmp_path_factory):
    return make(raw, tmp_path_factory.mktemp("threads"), "threads")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes for all tests; the last one of them removes the second."""
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("RAY_AUTH_MODE", "disabled")
        found = ray_cluster.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        second = found.add_node(num_cpus=1)
        found.wait_for_nodes()
        variables.setenv("RAY_ADDRESS", found.address)
        yield found, second
        found.shutdown()


def tasks(of=None):
    """Process ids of Ray's workers that are at a task of ours; of one node only, known by its raylet."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.split("\n") if "ray::" in line and "_unit" in line]
    return [int(pid) for pid, parent, _ in rows if of is None or int(parent) == of]


def wait_for_tasks(of=None):
    for _ in range(3000):
        if found := tasks(of):
            return found
        time.sleep(0.02)
    return []


def kill_a_worker(killed):
    for pid in wait_for_tasks()[:1]:
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)


@pytest.mark.full  # a killed run is enough for every day
def test_two_nodes_make_the_same_corpus(raw, by_threads, cluster, tmp_path):
    assert make(raw, tmp_path, "ray") == by_threads


@pytest.mark.full
def test_a_killed_worker_changes_nothing(raw, by_threads, cluster, tmp_path):
    killed = []
    killer = threading.Thread(target=kill_a_worker, args=[killed])
    killer.start()
    found = make(raw, tmp_path, "ray")
    killer.join()
    assert killed
    assert found == by_threads


@pytest.mark.full
def test_a_killed_node_changes_nothing(raw, by_threads, cluster, tmp_path):
    found, second = cluster
    removed = []

    def kill_the_node():
        raylet = second.all_processes["raylet"][0].process.pid
        if wait_for_tasks(raylet):
            found.remove_node(second, allow_graceful=False)
            removed.append(second)

    killer = threading.Thread(target=kill_the_node)
    killer.start()
    made = make(raw, tmp_path, "ray")
    killer.join()
    assert removed
    assert made == by_threads


def test_a_killed_run_goes_on_where_it_was(raw, by_threads, tmp_path):
    """kill -9 of the whole stage, on threads: the shards that were done are not done again."""
    folder = tmp_path / "run"
    child = fork(make, raw, folder, "threads")
    measured = folder / "scratch" / "measured"
    for _ in range(1200):
        if measured.exists() and len(list(measured.glob("*.json"))) >= 2:
            break
        time.sleep(0.05)
    child.kill()
    child.join()
    done = {file.name: file.stat().st_mtime_ns for file in measured.glob("*.json")}
    assert len(done) >= 2
    assert make(raw, folder, "threads") == by_threads
    after = {file.name: file.stat().st_mtime_ns for file in measured.glob("*.json")}
    assert {name: after[name] for name in done} == done
