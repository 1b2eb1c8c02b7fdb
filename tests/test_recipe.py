"""Recipes: what is accepted, and what an error says."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from settings_classes import places_of

from diglot.base.errors import UserError
from diglot.flow import graph
from diglot.load import Where, apply_override, check, load_recipe, parse_yaml
from diglot.recipe import STAGES, Recipe, json_schema

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))

GOOD = """\
name: small
stages:
  corpus:
    do: curate
    sources:
      english: {path: texts, language: en}
  tokenizer:
    do: train-tokenizer
    from: corpus
    vocabulary_size: 1000
  base:
    do: new-model
    from: tokenizer
    preset: tiny
  tokens:
    do: encode
    from: {corpus: corpus, tokenizer: tokenizer}
  pretrain:
    do: train
    from: {model: base, tokens: tokens}
    steps: 10
    learning_rate: 1e-3
    phases:
      - {name: stable, share: 0.8}
      - {name: decay, share: 0.2, shape: linear}
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_shipped_recipes_are_valid(file: Path) -> None:
    recipe, where = load_recipe(file)
    assert recipe.name == file.stem.replace(".", "_")
    assert list(graph(recipe, where))


def test_recipes_are_shipped() -> None:
    assert {"quickstart", "arabic"} <= {file.stem for file in RECIPES}


def test_numbers_are_yaml_1_2(tmp_path: Path) -> None:
    recipe, _ = load_recipe(write(tmp_path, GOOD))
    assert recipe.stages["pretrain"].learning_rate == 1e-3
    assert parse_yaml("[no, yes, 12:30, 1e3, true]", "x")[0] == ["no", "yes", "12:30", 1000.0, True]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("vocabulary_size: 1000", "vocabulary_sise: 1000", 10, "did you mean 'vocabulary_size'"),
        ("vocabulary_size: 1000", "vocabulary_size: many", 10, "stages.tokenizer.vocabulary_size"),
        ("do: encode", "do: encod", 16, "did you mean 'encode'"),
        ("language: en", "language: english", 6, "stages.corpus.sources.english.language"),
        ("share: 0.2", "share: 0.3", 18, "add up to 1.1"),
        ("steps: 10", "steps: 0", 21, "greater than or equal to 1"),
        ("steps: 10", "steps: 10\n    steps: 11", 22, "was given before, in line 21"),
        ("name: small", "nam: small", 1, "name"),
        ("    preset: tiny", "    preset: [tiny", 15, "not valid YAML"),
    ],
)
def test_errors_name_file_line_key_and_remedy(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    file = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError) as error:
        load_recipe(file)
    message = str(error.value)
    assert says in message
    places = [int(part.split(":")[0]) for part in message.split(f"{file}:")[1:] if part[0].isdigit()]
    assert places
    assert any(abs(place - line) <= 4 for place in places), message


def test_exact_line_of_a_typo(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD.replace("vocabulary_size", "vocabulary_sise"))
    with pytest.raises(UserError, match=rf"{file}:10: stages\.tokenizer\.vocabulary_sise: unknown key"):
        load_recipe(file)


def test_overrides(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    recipe, _ = load_recipe(
        file,
        ["pretrain.steps=100", "seed=3", "pretrain.phases.decay.shape=cosine", "pretrain.phases.0.share=0.8",
         "corpus.sources.english.path=[a, b]", "corpus.rules.limits.min_words=3"],
    )  # fmt: skip
    assert recipe.seed == 3
    assert recipe.stages["pretrain"].steps == 100
    assert recipe.stages["pretrain"].phases[1].shape == "cosine"
    assert recipe.stages["corpus"].sources["english"].path == ["a", "b"]
    assert recipe.stages["corpus"].rules.limits == {"min_words": 3}


def test_an_override_reaches_one_use_of_an_alias_only(tmp_path: Path) -> None:
    text = GOOD.replace("pretrain:", "pretrain: &train") + "  again:\n    <<: *train\n    steps: 20\n"
    recipe, where = load_recipe(write(tmp_path, text), ["again.phases.decay.shape=cosine"])
    assert [recipe.stages[name].phases[1].shape for name in ("pretrain", "again")] == ["linear", "cosine"]
    assert [recipe.stages[name].steps for name in ("pretrain", "again")] == [10, 20]
    assert where.place(("stages", "again", "steps")).endswith("recipe.yaml:28")
    assert where.place(("stages", "again", "learning_rate")).endswith("recipe.yaml:22")


def test_globs_and_numbers_on_the_command_line(tmp_path: Path) -> None:
    recipe, _ = load_recipe(write(tmp_path, GOOD), ["corpus.sources.english.path=*.jsonl", "seed=010"])
    assert recipe.stages["corpus"].sources["english"].path == "*.jsonl"
    assert recipe.seed == 10


@pytest.mark.parametrize("text", ["a: &x {b: *x}", "seed: !!int ''", "people: 09", "stages: {1: {do: world}}"])
def test_odd_yaml_is_parsed_or_refused(text: str) -> None:
    try:
        check(Recipe, parse_yaml(text, "x")[0], Where("x"))
    except UserError as error:
        assert str(error).startswith("x")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("pretrian.steps=1", "did you mean 'pretrain'"),
        ("pretrain.steps", "write stage.key=value"),
        ("pretrain.step=1", "did you mean 'steps'"),
        ("pretrain.phases.last.share=1", "stable, decay"),
        ("pretrain.betas=[0.9, 1.5]", "less than 1"),
        ("pretrain.learning_rate=.inf", "finite"),
        ("pretrain.steps=ten", "override 'pretrain.steps=ten': stages.pretrain.steps"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe(write(tmp_path, GOOD), [override])
    assert says in str(error.value)


def test_missing_and_unreadable_recipes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the recipe"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        load_recipe(tmp_path / "binary.yaml")


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        value, _ = parse_yaml(text, "x")
        check(Recipe, value, Where("x"))
    except UserError as error:
        assert str(error).startswith("x")


@given(st.text(max_size=30))
def test_any_override_is_applied_or_refused(text: str) -> None:
    value = {"name": "n", "stages": {"a": {"phases": [{"name": "p"}]}}}
    try:
        apply_override(value, text)
    except UserError as error:
        assert "override" in str(error)


def test_schema_describes_every_kind_of_stage() -> None:
    definitions = json_schema()["$defs"]
    kinds = {
        definition["properties"]["do"]["const"]
        for definition in definitions.values()
        if "do" in definition.get("properties", {})
    }
    assert kinds == set(STAGES)
    assert "from" in definitions["Train"]["properties"]


def nested(path: tuple, value: object) -> object:
    """A value with another one at a path."""
    for key in reversed(path):
        value = [value] if key == 0 else {key: value}
    return value


RENAMED = [
    (kind, path, old, new)
    for kind, stage in STAGES.items()
    for path, settings in places_of(stage)
    for old, new in settings.renamed.items()
]


@pytest.mark.parametrize(("kind", "path", "old", "new"), RENAMED)
def test_old_keys_are_named_with_the_new_one(tmp_path: Path, kind: str, path: tuple, old: str, new: str) -> None:
    where = dict(places_of(STAGES[kind]))[path]
    if new in getattr(where, "reads", {}):
        stage = {"do": kind, "from": {old: "x"}}
        says = f"{kind}'s input {old!r} is called {new!r} now"
    else:
        assert new in where.model_fields
        assert old not in where.model_fields
        stage = {"do": kind, **nested((*path, old), 1)}
        says = f"stages.s.{'.'.join(map(str, (*path, old)))}: is called {new!r} now"
    file = write(tmp_path, yaml.safe_dump({"name": "n", "stages": {"s": stage}}, sort_keys=False))
    line = next(n for n, text in enumerate(file.read_text().split("\n"), 1) if text.strip(" -").startswith(f"{old}:"))
    with pytest.raises(UserError) as error:
        graph(*load_recipe(file))
    assert any(text.startswith(f"{file}:{line}: ") and says in text for text in str(error.value).split("\n"))


@pytest.mark.parametrize(("kind", "old"), [(kind, old) for kind in STAGES for old in STAGES[kind].formerly])
def test_old_kinds_are_named_with_the_new_one(tmp_path: Path, kind: str, old: str) -> None:
    file = write(tmp_path, GOOD.replace("do: encode", f"do: {old}"))
    with pytest.raises(UserError, match=rf"{file}:1[56]: .*do: '{old}' is called '{kind}' now"):
        load_recipe(file)
