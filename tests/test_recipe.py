"""Recipes: what is accepted, and what an error says."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from settings_classes import places_of

from diglot.base.errors import UserError
from diglot.base.files import expand_home
from diglot.flow import graph, plan
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


BOMB = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "x:17: more than 100,000 values with its aliases written out"),
        (MERGES, "more than 100,000 values"),
        ("a: &x {b: *x}", "x:1: not valid YAML: an alias stands inside what it stands for"),
        ("[" * 50_000, "x: nested too deeply"),
        ("a:\n  " + "[" * 45 + "]" * 45, "x:2: nested too deeply"),
        ("- " * 5000, "x: nested too deeply"),
        ("a: 1\nb: !!bool x", "x:2: 'x' is no value for the tag !!bool"),
        ("b: !!timestamp x", "!!timestamp"),
        ("b: !!timestamp 2020-01-01", "write the plain value"),
        ("b: !!int ''", "!!int"),
        ("b: !!binary '=='", "!!binary"),
        ("b: !!set {x}", "!!set"),
        ("b: !!python/name:os.system ''", "python/name:os.system"),
        ("<<: 5", "x:1: not valid YAML: << takes a mapping"),
        ("a: 99999999999999999999", "x:1: 99999999999999999999 is too large"),
        ("a: " + "9" * 6000, "x:1: 999999999999999999999999999999 is too large"),
        ("a:\n  1: b", "x:2: '1' is no text, as keys are; write it in quotes"),
        ("null: b", "in quotes"),
        ("? [a]\n: b", "x:1: a list or mapping is no text"),
        ("a: 1\na: 2", "x:2: a was given before, in line 1"),
        ('a: "b\\0"', "x:1: a text holds the character U+0000"),
        ('"\\e[2J": b', "U+001B"),
        ('a: "\\ud800"', "U+D800"),
        ("a: \x00", "x: not valid YAML"),
        ("#" * 100_001, "x: 100,001 characters are too many"),
    ],
)
def test_yaml_that_no_recipe_needs_is_refused_at_once(text: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse_yaml(text, "x")
    assert says in str(error.value)


def test_plain_values_and_merges() -> None:
    text = "a: &a {x: 1, y: [0x1F, -1_000, .5, ~]}\nb: &b {x: 2, z: !!str 5}\nc:\n  z: 3\n  <<: [*a, *b]\n"
    value, lines = parse_yaml(text, "x")
    assert value["c"] == {"x": 1, "y": [31, -1000, 0.5, None], "z": 3}
    assert value["b"] == {"x": 2, "z": "5"}
    assert list(value["c"]) == ["x", "z", "y"]  # as PyYAML has it: what is merged in stands first
    assert (lines["c", "z"], lines["c", "x"], lines["c", "y", 0]) == (4, 1, 1)


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
        (
            "pretrain.steps=ten",
            "override 'pretrain.steps=ten': stages.pretrain.steps: must be a whole number, not 'ten'",
        ),
        ("pretrain.phases.²=1", "no item '²'"),
        ("pretrain.phases.-1=1", "no item '-1'"),
        ("pretrain.phases." + "9" * 5000 + "=1", "no item"),
        ("pretrain" + ".a" * 50 + "=1", "51 keys are too many"),
        ("pretrain.steps=99999999999999999999", "is too large"),
        ("corpus.sources.english.path=5", "path: must be text or a list, not 5"),
        (
            "corpus.sources.english.language=EN",
            "ISO 639 code in small letters, such as en, ar or zh; did you mean 'en'?",
        ),
        ("corpus.sources.a b.language=en", "a name has letters"),
        ("corpus.sources=[]", "must be a mapping (key: value), not []"),
        ("base.preset=huge", "must be 'tiny', 'mini', 'small', 'polylm-1.7b'"),
        ("base.preset=llama-2-7", "did you mean 'llama-2-7b'?"),
        ("pretrain.objective=ltm", "did you mean 'lm'?"),
        ("stages={}", "stages: has no entries, and needs at least 1; such as stages: {corpus: {do: curate"),
        ("corpus.sources.english.path=\x1b[2J", "not valid YAML"),
        ("corpus.sources.english.path=*\x1b[2J", "U+001B"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe(write(tmp_path, GOOD), [override])
    assert says in str(error.value)


@pytest.mark.parametrize(
    "recipe", ["[a, b]", "stages: [a, b]", "stages: {a: [1, 2]}", "stages: 5", "stages:\n  a: {phases: [1]}"]
)
@pytest.mark.parametrize(
    "override", ["a.b=1", "a.0.b=1", "stages.0.b=1", "a.phases.0.share=1", "a.phases.x.y=1", "name.x=1"]
)
def test_an_override_of_anything_is_applied_or_refused(tmp_path: Path, recipe: str, override: str) -> None:
    with pytest.raises(UserError):
        load_recipe(write(tmp_path, recipe), [override])


def test_many_errors_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path, "name: x\nstages:\n" + "".join(f"  s{n}: {{do: world, people: x}}\n" for n in range(300)))
    with pytest.raises(UserError) as error:
        load_recipe(file)
    assert str(error.value).count("\n") == 20
    assert str(error.value).endswith("and 280 more")


def test_stages_that_wait_for_hundreds_of_others_are_refused(tmp_path: Path) -> None:
    def text(count: int) -> str:
        chain = "".join(f"  s{n}: {{do: merge, from: [s{n - 1}, base]}}\n" for n in range(count, 0, -1))
        return f"{GOOD}{chain}  s0: {{do: import-model, path: x}}\n"

    assert len(graph(*load_recipe(write(tmp_path, text(494))))) == 500
    with pytest.raises(UserError, match="stages: has more than 500 entries"):
        load_recipe(write(tmp_path, text(2000)))


def test_a_step_of_thousands_of_digits_is_not_kept(tmp_path: Path) -> None:
    last = f"  last: {{do: merge, from: [pretrain@10, pretrain@{'9' * 5000}]}}\n"
    with pytest.raises(UserError, match="keeps the models of the steps 10; to keep others"):
        graph(*load_recipe(write(tmp_path, GOOD + last)))


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("{do: translate, from: corpus, target_language: ar, endpoint: {url: 'http://x', model: m}, prompt: 'Say {it}'}",
         "stages.last.prompt: has {it}; {text} must be in it"),
        ("{do: translate, from: corpus, target_language: ar, endpoint: {url: 'http://x', model: m}, prompt: '{'}", "braces that are meant"),
        ("{do: curate, sources: {a: {path: x, language: en}}, rules: {set: polylmm}}",
         "stages.last.rules.set: there is no rule set 'polylmm'; did you mean 'polylm'?"),
        ("{do: learn-rules, from: corpus, set: x}", "stages.last.set: there is no rule set 'x'"),
        ("{do: world, people: 5}", "stages.last.people: is 5; the world holds 30 to 2000 people"),
        ("{do: world, languages: [en, id]}", "stages.last.documents: says no number for id"),
        ("{do: world, languages: [en, en], documents: {en: 5}}", "each may come once"),
    ],
)  # fmt: skip
def test_what_no_run_could_meet_is_refused_before_any(tmp_path: Path, stage: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        graph(*load_recipe(write(tmp_path, f"{GOOD}  last: {stage}\n")))
    assert says in str(error.value)


def test_paths_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in ("a" * 5000, f"{tmp_path}/texts/{'a' * 300}/*"):
        recipe, where = load_recipe(write(tmp_path, GOOD), [f"corpus.sources.english.path={path}"])
        with pytest.raises(UserError, match=r"stages.corpus.sources.english.path: (cannot read|no such file)"):
            plan(recipe, tmp_path, where)
    recipe, where = load_recipe(write(tmp_path, f"{GOOD}  last: {{do: import-model, path: {'a' * 5000}}}\n"))
    assert recipe.stages["last"].outside_paths() == {}


def test_the_home_of_nobody(tmp_path: Path) -> None:
    assert expand_home("~nobody-here/x") == Path("~nobody-here/x")
    assert expand_home("~/x") == Path.home() / "x"
    recipe, where = load_recipe(write(tmp_path, f"{GOOD}  last: {{do: import-model, path: '~nobody-here/x'}}\n"))
    plan(recipe, tmp_path, where, looking=True)
    with pytest.raises(UserError, match="no such file or folder"):
        plan(*load_recipe(write(tmp_path, GOOD), ["corpus.sources.english.path=~nobody-here/x"])[:1], tmp_path, where)


def test_exports_without_end_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    text = GOOD.replace("steps: 10\n", "steps: 9000000000000000\n    export_every: 100\n")
    with pytest.raises(UserError, match=r"would keep 90,000,000,000,000 models .* raise export_every"):
        load_recipe(write(tmp_path, text))


def test_a_password_in_an_address_is_not_said_again(tmp_path: Path) -> None:
    address = "http://me:s3cret@host/v1?key=s3cret"
    stage = f"  t: {{do: translate, from: corpus, target_language: ar, endpoint: {{url: '{address}', model: m}}}}\n"
    recipe, _ = load_recipe(write(tmp_path, GOOD + stage))
    assert recipe.stages["t"].endpoint.url == address
    assert "s3cret" not in recipe.model_dump_json()
    for override in (f"t.endpoint={address}", f"t.endpoint.url=[{address}]", f"t.endpoint.timeout={address}"):
        with pytest.raises(UserError) as error:
            load_recipe(write(tmp_path, GOOD + stage), [override])
        assert "s3cret@" not in str(error.value)


def test_missing_and_unreadable_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="cannot read the recipe"):
        load_recipe(tmp_path / "none.yaml")
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"did you mean recipes/arabic.yaml\?"):
        load_recipe(Path("arabik"))
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with (tmp_path / "huge.yaml").open("wb") as stream:
        stream.truncate(200_000_000)
    for name, says in (
        ("pipe", "is no file but a pipe"),
        ("folder", "a folder"),
        ("huge", "is too large: at most 100,000"),
    ):
        with pytest.raises(UserError, match=says):
            load_recipe(tmp_path / f"{name}.yaml")
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
        group, _, key = new.rpartition(".")  # a key may have moved into a group of its own
        inside = where.model_fields[group].annotation if group else where
        assert key in inside.model_fields
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
