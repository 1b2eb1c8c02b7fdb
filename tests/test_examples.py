"""Every example that a user may copy is understood: recipes, overrides, options and names of stages are checked for real.

What the commands do is tested elsewhere; here nothing is trained. Commands about a run are run on one in which nothing is
done yet: they may say that, and nothing else.
"""

from pathlib import Path

import click
import documented
import pytest
from documented import ROOT
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from settings_classes import places_of

from diglot import flow
from diglot.base.devices import HERE, parse_cluster
from diglot.base.errors import UserError
from diglot.base.plain_yaml import parse_yaml
from diglot.cli import cli
from diglot.curate.rule_files import parse_rule_file
from diglot.evaluate.benchmarks import Benchmark
from diglot.load import load_recipe
from diglot.recipe import STAGES
from diglot.recipe.described import default_of, example_of, is_deep
from diglot.stage_commands import fields_of, given_settings

NOT_DONE_YET = ("no model yet", "not there yet", "run the recipe", "run a recipe first", "there are: none")
EXAMPLES, MENTIONS = documented.examples(), documented.mentions()


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """A command, and the words behind its name."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def a_recipe(context: click.Context) -> None:
    given = context.params
    file = ROOT / ("recipes/quickstart.yaml" if str(given["recipe"]) == "recipe.yaml" else given["recipe"])
    recipe, where = load_recipe(file, list(given["overrides"]))
    reads = flow.graph(recipe, where)
    assert given.get("until") is None or given["until"] in reads
    if given.get("cluster", HERE) != HERE:
        parse_cluster(given["cluster"])


def a_run(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in sorted((ROOT / "recipes").glob("*.yaml")):
        run = folder / "runs" / file.stem
        run.mkdir(parents=True)
        recipe, _ = load_recipe(file)
        flow._remember(recipe, run)
    monkeypatch.chdir(folder)
    (folder / "recipes").symlink_to(ROOT / "recipes")
    try:
        cli.main(words, standalone_mode=False)
    except UserError as error:
        assert any(each in str(error) for each in NOT_DONE_YET), error


@pytest.mark.parametrize(("where", "text"), EXAMPLES, ids=[f"{where}: {text}"[:80] for where, text in EXAMPLES])
def test_an_example_is_understood(where: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = documented.words_of(text)
    command, arguments = command_of(words)
    assert not isinstance(command, click.Group), text
    if "--help" in arguments:
        return
    monkeypatch.chdir(ROOT)
    context = command.make_context(command.name, list(arguments))  # click refuses what it does not know
    if command.name in STAGES:
        settings = STAGES[command.name]
        given_settings(settings, context.params, {role: [] for role in settings.reads})
    elif command.name in ("run", "plan"):
        a_recipe(context)
    elif command.name in ("show", "data"):
        a_run(words, tmp_path, monkeypatch)


def test_examples_are_found() -> None:
    places = {where for where, _ in EXAMPLES}
    assert {"README.md", "training.md", "tokenizer.md", "arabic.yaml", "diglot --help", "diglot data --help"} <= places
    assert {f"diglot {kind} --help" for kind in STAGES} <= places


@pytest.mark.parametrize(("where", "text"), MENTIONS, ids=[f"{where}: {text}"[:80] for where, text in MENTIONS])
def test_a_command_in_a_sentence_is_one(where: str, text: str) -> None:
    command, arguments = command_of(text.replace("…", "").split())
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in arguments if word.startswith("--")} <= options
    if isinstance(command, click.Group):
        assert not [word for word in arguments if not word.startswith("--")]


# --- settings -----------------------------------------------------------------------------------------------------

CLASSES = sorted({each for stage in STAGES.values() for _, each in places_of(stage)}, key=lambda each: each.__name__)
FIELDS = [
    (f"{each.__name__}.{name}", field)
    for each in CLASSES
    for name, field in each.model_fields.items()
    if name not in ("do", "from_")
]


@pytest.mark.parametrize(("name", "field"), [each for each in FIELDS if each[1].examples])
def test_an_example_of_a_setting_may_be_given(name: str, field: FieldInfo) -> None:
    value, _ = parse_yaml(example_of(field), name)
    TypeAdapter(field.rebuild_annotation()).validate_python(value)


def test_what_must_be_given_and_what_is_deep_has_an_example() -> None:
    lacking = []
    for kind, stage in STAGES.items():
        for path, field in fields_of(stage):
            empty = is_deep(field) and default_of(field) in ("", "{}", "[]")
            if not field.examples and (field.is_required() or empty):
                lacking.append((kind, ".".join(path)))
    assert lacking == []


def test_help_is_no_python() -> None:
    for path, command in documented.every_command():
        text = command.get_help(click.Context(command, info_name=" ".join(path), terminal_width=10_000))
        for word in ("None", "'all'", "PydanticUndefined", "<class", "typing.", "default: null", "…\n"):
            assert word not in text, (path, word)


def test_help_names_presets_and_keys_of_phases() -> None:
    def help_of(kind: str) -> str:
        return cli.commands[kind].get_help(click.Context(cli.commands[kind], terminal_width=10_000))

    assert "One of tiny, mini, small, polylm-1.7b, " in help_of("new-model")
    assert "Keys: name, share, mixture" in help_of("train")
    assert "--phases '[{name: stable, share: 0.8, " in help_of("train")
    assert '[default: [{"name": "all"}]]' in help_of("train")
    assert "--tasks '{facts: {path: my/facts.jsonl, language: ar" in help_of("evaluate")


@pytest.mark.parametrize(("page", "text"), list(documented.blocks("yaml")))
def test_settings_in_the_pages_may_be_given(page: str, text: str) -> None:
    """A block is stages, or settings of one kind, or a file of rules or of benchmarks."""
    value, _ = parse_yaml(text, page)
    if "rules" in value and isinstance(value["rules"], list):
        assert parse_rule_file(text, page).rules
        return
    stages = value.get("stages", value)
    if all(isinstance(stage, dict) and "do" in stage for stage in stages.values()):
        for stage in stages.values():
            STAGES[stage["do"]].model_validate(stage)
        return
    if all(isinstance(benchmark, dict) and "variants" in benchmark for benchmark in value.values()):
        for benchmark in value.values():
            Benchmark.model_validate(benchmark)
        return
    tried = []
    for settings in CLASSES:
        if set(value) <= set(settings.model_fields):
            try:
                for key, one in value.items():
                    TypeAdapter(settings.model_fields[key].rebuild_annotation()).validate_python(one, strict=True)
                return
            except ValidationError as error:
                tried.append(f"{settings.__name__}: {error}")
    raise AssertionError(f"{page}: settings of no kind of stage: {tried or list(value)}")
