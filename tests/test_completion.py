"""Tab completes commands, options, and the settings of the recipe in the line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from diglot.cli import cli

ROOT = Path(__file__).resolve().parent.parent
RECIPE = str(ROOT / "recipes" / "arabic.yaml")


def offered(*words: str) -> list[str]:
    """What is offered for the last of the words behind `diglot`."""
    shell = BashComplete(cli, {}, "diglot", "_DIGLOT_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["doc"], ["doctor"]),
        (["train-t"], ["train-tokenizer"]),
        (["serve", "--por"], ["--port"]),
        (["tokenizer", ""], ["measure"]),
        (["run", RECIPE, "trunk.ste"], ["trunk.steps="]),
        (["run", RECIPE, "corpus.sources.arabic.pa"], ["corpus.sources.arabic.path="]),
        (["run", RECIPE, "trunk.steps=3", "se"], ["seed="]),
        (["try", RECIPE, "--until", "corp"], ["corpus"]),
        (["run", "nowhere.yaml", "x"], []),
        (["no-such-command", "x"], []),
    ],
)
def test_what_is_offered(words, wanted):
    assert offered(*words) == wanted


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell):
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert f"_DIGLOT_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.full
def test_in_a_real_shell(tmp_path):
    """Bash runs the script that is printed, which asks the program."""
    program = tmp_path / "diglot"
    program.write_text(f"#!{sys.executable}\nfrom diglot.__main__ import main\nmain()\n")
    program.chmod(0o755)
    lines = 'eval "$(diglot completion bash)"; COMP_WORDS=(diglot doc); COMP_CWORD=1; _diglot_completion diglot doc diglot; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", lines], capture_output=True, text=True, timeout=120,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "doctor", done.stderr


def test_a_dry_run_for_scripts(tmp_path):
    given = ["run", str(ROOT / "recipes" / "quickstart.yaml"), "--run", str(tmp_path / "r")]
    done = CliRunner().invoke(cli, [*given, "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["recipe"] == "quickstart"
    assert {stage["state"] for stage in found["stages"].values()} == {"to do"}
    assert found["stages"]["corpus"]["reads"] == {"text": ["world"]}
    assert "--json goes with --dry-run" in str(CliRunner().invoke(cli, [*given, "--json"]).exception)
