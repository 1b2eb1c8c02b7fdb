"""A few hundred strange inputs for every target of fuzz.py: taken, or refused with an error of ours."""

import subprocess
import sys
from pathlib import Path
from random import Random

import fuzz
import pytest

from diglot.cli import cli

COUNTS = {"settings": 250, "readers": 250, "models": 80}
PATIENT = 60  # seconds for one input, as the machine may be busy


@pytest.mark.parametrize("name", sorted(fuzz.TARGETS))
def test_strange_inputs_are_taken_or_refused(name: str) -> None:
    assert fuzz.hunt(name, COUNTS.get(name, 150), seconds=PATIENT) == {}


FAULTS = {
    "a traceback": "{}['x']",
    "a message that says nothing": "(_ for _ in ()).throw(__import__('diglot.base.errors').base.errors.UserError(' '))",
    "a hang": "__import__('time').sleep(60)",
    "memory": "(b'x' * 1_300_000_000).count(b'y')",
    "a death": "__import__('os')._exit(9)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_must_not_happen_is_found(fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Inputs 3 and 5 fail, the others do not."""
    script = tmp_path / "faulty.py"
    script.write_text(
        f"import random, sys; sys.path.insert(0, {str(fuzz.ROOT / 'tests')!r}); import fuzz\n"
        "bad = [random.Random(f'faulty/{number}').random() for number in (3, 5)]\n"
        "@fuzz.target('faulty')\n"
        f"def faulty(random):\n    if random.random() in bad:\n        {FAULTS[fault]}\n"
        "fuzz.main()\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(script))
    assert set(fuzz.hunt("faulty", 8, seconds=3)) == {3, 5}


@pytest.mark.parametrize(
    "words", [words for words in fuzz.COMMANDS if words.startswith(("run", "show runs/small --json", "plan"))]
)
def test_what_is_changed_is_understood_before_it_is_changed(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fuzz._quick_run.__wrapped__()
    cli.main(words.split(), standalone_mode=False)


def test_an_input_is_made_of_its_number_alone() -> None:
    made = [fuzz._recipe(Random("settings/7")) for _ in range(2)]
    assert made[0] == made[1]


def test_the_command_says_what_it_did() -> None:
    words = [sys.executable, fuzz.__file__, "--only", "settings", "--count", "3"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "settings: 3 inputs, 0 failed\n"), done.stderr
