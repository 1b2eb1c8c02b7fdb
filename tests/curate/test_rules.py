"""Rules: sets as files, the order of reasons, thresholds, histograms, and limits learnt from reference text."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.summaries.quality import LearntRules
from diglot.curate import rule_files
from diglot.curate.clean.line_rules import LINE_RULES, LINE_RULES_WITH_LIMIT, LineRule
from diglot.curate.learn_rules import learn
from diglot.curate.rule_files import SAMPLE_QUALITY, Limit, parse_rule_file, read_rule_file
from diglot.curate.rules import (
    LANGUAGE_REASONS,
    Rule,
    first_broken,
    histogram,
    histogram_edges,
    load_rule_set,
    reasons_in_order,
    thresholds,
    unconditional,
)
from diglot.recipe.curate import RULE_SETS, LearnRules, Rules
from diglot.recipe.signals import NAMES, SIGNALS

DOCS = Path(__file__).parents[2] / "docs" / "corpus.md"
LANGUAGES = sorted(read_rule_file("fineweb2-like", None).languages)


def limits(rule_set: str, language: str = "en", parallel: bool = False, **changes) -> dict[str, float]:
    rules = load_rule_set(Rules(set=rule_set, **changes), None, None).rules_for(language, parallel)
    return {rule.name: rule.alpha or (rule.low if rule.low is not None else rule.high) for rule in rules}


def table(number: int, **columns) -> np.ndarray:
    signals = np.full((number, len(NAMES)), np.nan)
    for name, values in columns.items():
        signals[:, NAMES.index(name)] = values
    return signals


# --- the sets of the package ----------------------------------------------------------------------------------


def test_polylm_is_the_default_and_has_the_limits_it_always_had():
    assert limits(Rules().set) == {
        "max_invisible": 0.05, "min_characters": 150, "min_words": 30, "max_words": 100_000,
        "min_mean_word_length": 2.5, "max_mean_word_length": 12.0, "max_symbol_to_word": 0.1, "max_bullet_lines": 0.9,
        "max_ellipsis_lines": 0.3, "min_alphabetic_words": 0.6, "max_digits": 0.3, "max_duplicate_lines": 0.3,
        "max_duplicate_line_characters": 0.2, "max_top_2gram": 0.20, "max_top_3gram": 0.18, "max_top_4gram": 0.16,
        "max_duplicate_5grams": 0.15, "max_duplicate_10grams": 0.10, "max_urls": 0.2,
    }  # fmt: skip


def test_every_limit_of_the_package_has_a_source():
    folder = Path(rule_files.__file__).parent / "rulesets"
    assert sorted(file.stem for file in folder.iterdir()) == list(RULE_SETS)
    for name in RULE_SETS:
        file = read_rule_file(name, None)
        assert file.description
        for limit in [*file.rules, *file.lines, *(limit for own in file.languages.values() for limit in own)]:
            assert limit.source != file.name, f"{name}: {limit.name} has no source"


def test_none_has_no_rules():
    assert all(limits("none", language) == {} for language in LANGUAGES)


def test_gopher_as_published():
    repetition = {f"max_duplicate_{n}grams": round(0.20 - n / 100, 2) for n in range(5, 11)}
    found = limits("gopher")
    assert {name: found[name] for name in repetition} == repetition
    assert found["min_gopher_stop_words"] == 2
    assert "min_gopher_stop_words" not in limits("gopher", "de")


def test_fineweb2_has_limits_of_its_own_for_each_language():
    found = {language: limits("fineweb2-like", language) for language in LANGUAGES}
    assert found["ar"]["max_top_2gram"] == 0.197
    assert found["zh"]["max_mean_word_length"] == 5  # given for the language, so it holds although zh is unspaced
    assert found["pt"]["max_top_2gram"] == 0.371
    assert "min_mean_word_length" not in found["de"]  # 0 in its configs
    assert found["en"]["max_short_lines"] == 0.67
    assert "max_short_lines" not in limits("fineweb2-like", "fi")
    assert len({tuple(sorted(one.items())) for one in found.values()}) == len(LANGUAGES)


def test_allam_is_for_english_and_leaves_the_others_to_polylm():
    assert limits("allam-english")["sample_quality"] == 9
    assert limits("allam-english", "ar") == limits("polylm", "ar")


def test_c4_takes_out_lines():
    rule_set = load_rule_set(Rules(set="c4"), None, None)
    assert LineRule("line_words", 5) in rule_set.line_rules("en")
    assert "line_end" not in [rule.name for rule in rule_set.line_rules("th")]
    assert load_rule_set(Rules(), None, None).line_rules("en") == ()


def test_rules_presuppose_something_about_the_text():
    assert set(limits("polylm", parallel=True)) == {
        "max_invisible", "max_words", "min_alphabetic_words", "max_digits", "max_urls",
    }  # fmt: skip
    unspaced, spaced = limits("polylm", "zh-Hant"), limits("polylm", "ko")
    assert set(spaced) - set(unspaced) == {"min_mean_word_length", "max_mean_word_length"}
    own = limits("polylm", "zh", languages={"zh": {"max_mean_word_length": 4.0}})
    assert set(own) - set(unspaced) == {"max_mean_word_length"}


def test_a_rule_set_pickles():
    rule_set = load_rule_set(Rules(set="fineweb2-like"), None, None)
    assert pickle.loads(pickle.dumps(rule_set)) == rule_set


# --- changes --------------------------------------------------------------------------------------------------


def test_the_last_word_counts(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "rules:\n  - {rule: min_words, limit: 1}\n  - {rule: max_digits, limit: 1}\n  - {rule: max_urls, limit: 1}\n"
        "  - {rule: max_dates, limit: 1}\n  - {rule: max_top_2gram, limit: 1}\n"
        "languages:\n  no: {max_digits: 2, max_urls: 2, max_dates: 2, max_top_2gram: null}\n"
    )
    (tmp_path / "learnt.yaml").write_text("languages:\n  no: {max_urls: 3, max_dates: 3, max_numerals: 3}\n")
    given_rules = Rules(
        set="own.yaml",
        limits={"max_dates": 4.0, "max_uppercase": 4.0},
        languages={"no": {"max_uppercase": 5.0, "max_numerals": None}},
    )
    rule_set = load_rule_set(given_rules, tmp_path / "learnt.yaml", tmp_path)
    assert {rule.name: rule.low or rule.high for rule in rule_set.rules_for("no", False)} == {
        "min_words": 1, "max_digits": 2, "max_urls": 3, "max_dates": 4, "max_uppercase": 5,
    }  # fmt: skip
    assert {rule.name: rule.low or rule.high for rule in rule_set.rules_for("en", False)} == {
        "min_words": 1, "max_digits": 1, "max_urls": 1, "max_dates": 4, "max_top_2gram": 1, "max_uppercase": 4,
    }  # fmt: skip


def test_null_switches_a_rule_off():
    assert "max_urls" not in limits("polylm", limits={"max_urls": None})
    assert "max_urls" not in limits("polylm", languages={"en": {"max_urls": None}})
    assert "max_urls" in limits("polylm", "ar", languages={"en": {"max_urls": None}})


# --- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("rules:\n- {rule: max_worts, limit: 3}", 2, "rules[0].rule: there is no rule 'max_worts'; did you mean"),
        ("rules:\n- {rule: max_words, limit: many}", 2, "rules[0].limit: must be a number, or null"),
        ("rules:\n- {rule: max_words, limit: .nan}", 2, "rules[0].limit: must be a number, or null"),
        ("rules:\n- {rule: max_words}", 2, "rules[0].limit: max_words needs a limit"),
        ("rules:\n- {limit: 3}", 2, "rules[0]: has no `rule: NAME`"),
        (
            "rules:\n- {rule: max_words, limit: 1}\n- {rule: max_words, limit: 2}",
            3,
            "rules[1]: max_words is given twice",
        ),
        ("rules:\n  max_words: 3", 2, "rules: must be a list, not a mapping"),
        ("rules: []\nruels: []", 2, "the file: there is no 'ruels'; did you mean 'rules'?"),
        ("rules: []\nrules: []", 2, "the file.rules: is given twice"),
        ("lines:\n- {rule: line_words, limit: 1.5}", 2, "lines[0].limit: line_words takes a whole number above 0"),
        ("lines:\n- {rule: line_end, limit: 3}", 2, "lines[0].limit: line_end takes no limit"),
        ("lines:\n- {rule: max_words, limit: 3}", 2, "lines[0].rule: there is no rule 'max_words'"),
        ("languages:\n  ar:\n    max_wrds: 2", 3, "languages.ar: there is no 'max_wrds'; did you mean 'max_words'?"),
        ("languages:\n  ar: 3", 2, "languages.ar: must hold `key: value` pairs, not '3'"),
        ("rules:\n- {rule: sample_quality, limit: 0}", 2, "rules[0].limit: must be above 0"),
        ("only: [en]\notherwise: polyml", 2, "otherwise: needs `only`, and is one of allam-english"),
        ("otherwise: polylm", 1, "otherwise: needs `only`"),
        ("rules: [", 1, "not valid YAML"),
        ("- 1", 1, "the file: must hold `key: value` pairs, not a list"),
    ],
)
def test_a_broken_file_says_where(text, line, message):
    with pytest.raises(UserError) as error:
        parse_rule_file(text, "x.yaml")
    assert str(error.value).startswith(f"x.yaml:{line}: {message}")


def test_an_empty_file_is_no_rule_set():
    with pytest.raises(UserError, match="the file is empty"):
        parse_rule_file("# nothing\n", "x.yaml")


@given(st.text(max_size=60) | st.text("rules:{}[]- \nlimit,onlyax_w012", max_size=80))
@examples(300)
def test_any_text_is_read_or_refused(text):
    try:
        parse_rule_file(text, "x.yaml")
    except UserError as error:
        assert str(error).startswith("x.yaml:")


def test_a_set_that_is_not_there():
    with pytest.raises(UserError, match="did you mean 'polylm'"):
        load_rule_set(Rules(set="polyml"), None, None)
    with pytest.raises(UserError, match=r"own\.yaml cannot be read: No such file"):
        load_rule_set(Rules(set="own.yaml"), None, None)


# --- applying -------------------------------------------------------------------------------------------------

RULES = load_rule_set(Rules(), None, None).rules_for("en", False)


def test_the_order_of_reasons():
    order = reasons_in_order(RULES)
    assert order[:6] == ["max_invisible", "min_characters", "min_words", *LANGUAGE_REASONS, "max_words"]
    assert sorted(order) == sorted([*(rule.name for rule in RULES), *LANGUAGE_REASONS])


@given(st.integers(0, 2**32), st.sampled_from(["polylm", "gopher", "fineweb2-like", "allam-english"]))
@examples(50)
def test_first_broken_is_the_first_in_a_plain_loop(seed, name):
    rng = np.random.default_rng(seed)
    rules = load_rule_set(Rules(set=name), None, None).rules_for("en", False)
    signals = rng.choice([np.nan, 0.0, 0.05, 0.15, 0.5, 1.0, 5.0, 200.0], (30, len(NAMES)))
    verdicts, draws = rng.integers(0, 3, 30), rng.random(30)
    order, by_name = reasons_in_order(rules), {rule.name: rule for rule in rules}
    counts = dict.fromkeys(by_name, 0)
    for document, found in enumerate(first_broken(rules, signals, verdicts, draws)):
        broken = []
        for reason in order:
            if reason in LANGUAGE_REASONS:
                if verdicts[document] == 1 + LANGUAGE_REASONS.index(reason):
                    broken.append(reason)
                continue
            rule, value = by_name[reason], signals[document, NAMES.index(by_name[reason].signal)]
            if rule.alpha:
                outside = (1 - draws[document]) ** (-1 / rule.alpha) - 1 <= 1 - value
            else:
                outside = (rule.low is not None and value < rule.low) or (rule.high is not None and value > rule.high)
            if outside:
                broken.append(reason)
                counts[reason] += 1
        assert (order[found] if found >= 0 else None) == (broken[0] if broken else None)
    assert unconditional(rules, signals, draws) == counts


def test_what_was_not_measured_passes():
    signals, nobody = table(5), np.zeros(5, np.int64)
    for name in RULE_SETS:
        rules = load_rule_set(Rules(set=name), None, None).rules_for("en", False)
        assert (first_broken(rules, signals, nobody, np.linspace(0, 0.999, 5)) == -1).all()


def test_a_document_at_the_limit_stays():
    signals = table(3, words=[29, 30, 31])
    rule = next(rule for rule in RULES if rule.name == "min_words")
    assert first_broken([rule], signals, np.zeros(3, int), np.zeros(3)).tolist() == [0, -1, -1]
    assert rule.describe(29) == "words 29 < 30"


def test_the_stochastic_rule_keeps_as_numpys_pareto_does():
    """GPT-3's rule is `np.random.pareto(9) > 1 - score`; its shares, within five standard errors."""
    rule = Rule(SAMPLE_QUALITY, "quality", None, None, "", 9.0)
    number = 200_000
    draws = np.random.default_rng(0).random(number)
    for score in (0.0, 0.3, 0.7, 0.95, 1.0):
        kept = 1 - rule.broken(np.full(number, score), draws).mean()
        theirs = (np.random.default_rng(1).pareto(9, number) > 1 - score).mean()
        assert kept == pytest.approx(theirs, abs=5 * np.sqrt(2 * theirs * (1 - theirs) / number) + 1e-5)
        assert kept == pytest.approx((2 - score) ** -9, abs=5e-3)
    assert rule.describe(1.0) == "quality 1, kept by 100.00% of draws"


# --- for the report -------------------------------------------------------------------------------------------


def test_thresholds():
    found = thresholds(RULES)
    assert found["words"] == (30, 100_000)
    assert found["urls"] == (None, 0.2)
    assert "dates" not in found


@pytest.mark.parametrize("signal", NAMES)
@given(
    values=st.lists(st.floats(0, 2e7) | st.sampled_from([0, 0.025, 0.3, 0.5, 1, 10, 100, np.nan, np.inf]), max_size=40)
)
@examples(20)
def test_a_histogram_is_numpys(signal, values):
    edges, given_values = histogram_edges(signal), np.array(values, float)
    assert (np.diff(edges) > 0).all()
    counts = histogram(signal, given_values)
    measured = given_values[~np.isnan(given_values)]
    assert counts.sum() == len(measured)
    assert counts.tolist() == np.histogram(np.clip(measured, edges[0], edges[-1]), edges)[0].tolist()


@pytest.mark.parametrize("signal", NAMES)
def test_every_edge_counts_above_itself(signal):
    edges = histogram_edges(signal)
    assert histogram(signal, edges[:-1]).tolist() == [1] * (len(edges) - 1)
    below = np.nextafter(edges[1:-1], 0)
    assert histogram(signal, below).tolist() == [1] * (len(edges) - 2) + [0]


# --- learning -------------------------------------------------------------------------------------------------


def corpus(folder: Path, languages: list[str], number: int, **columns) -> Inputs:
    (folder / "documents").mkdir(parents=True)
    for place, language in enumerate(languages):
        data = {"language": [language] * number, "domain": ["web"] * number}
        data |= {name: pa.array(np.roll(values, place), pa.float32()) for name, values in columns.items()}
        pq.write_table(pa.table(data), folder / "documents" / f"{language}-00000.parquet")
    return Inputs({"corpus": [Artifact(folder, "c", "corpus", "curate", "", "", {}, {}, {}, {})]})


def test_learnt_limits_cost_reference_text_its_quantile(tmp_path):
    rng = np.random.default_rng(0)
    number = 2000
    columns = {
        "words": rng.lognormal(6, 1, number), "mean_word_length": rng.normal(5, 0.6, number),
        "top_2gram": rng.beta(2, 30, number), "digits": np.where(np.arange(number) < 5, 0.5, 0.0),
    }  # fmt: skip
    inputs = corpus(tmp_path / "corpus", ["ar", "zh"], number, **columns)
    output = tmp_path / "out"
    output.mkdir()
    context = Context("learnt", 0, tmp_path)
    summary = learn(LearnRules(do="learn-rules", quantile=0.02), inputs, output, context)
    assert summary.languages["ar"] == LearntRules(documents=number, rules=6)
    rule_set = load_rule_set(Rules(), output / "rules.yaml", None)
    learnt = json.loads((output / "learnt.json").read_text())
    for language in ("ar", "zh"):  # word lengths are learnt for unspaced languages too
        rules = {rule.name: rule for rule in rule_set.rules_for(language, False)}
        for name in ("min_words", "min_mean_word_length", "max_mean_word_length", "max_top_2gram"):
            rule = rules[name]
            values = columns[rule.signal].astype(np.float32).astype(float)
            share = rule.broken(values, values).mean()
            assert 0.015 <= share <= 0.02, name
            inwards = values[values >= rule.low].min() if rule.low is not None else values[values <= rule.high].max()
            assert abs(inwards - (rule.low or rule.high)) <= 2e-3 * abs(inwards)
            given_limit = learnt[language]["limits"][name]
            assert given_limit["learnt"] == (rule.low if rule.low is not None else rule.high)
            assert given_limit["set"] == limits("polylm", language).get(name, limits("polylm").get(name))
            assert rule.source == f"quantile 0.02 of {number} reference documents"
        assert rules["max_digits"].high == 0.0
        assert rules["max_urls"].high == 0.2  # there was no such column
    assert load_rule_set(Rules(limits={"max_digits": 0.7}), output / "rules.yaml", None).rules_for("ar", False)
    again = tmp_path / "again"
    again.mkdir()
    learn(LearnRules(do="learn-rules", quantile=0.02), inputs, again, context)
    for name in ("rules.yaml", "learnt.json"):
        assert (again / name).read_bytes() == (output / name).read_bytes()


def test_learning_needs_documents(tmp_path):
    inputs = corpus(tmp_path / "corpus", ["ar"], 50, words=np.arange(50.0))
    with pytest.raises(UserError, match=r"has 100 documents \(the most are 50\).*lower learnt.min_documents"):
        learn(LearnRules(do="learn-rules"), inputs, tmp_path, Context("learnt", 0, tmp_path))


# --- the documentation ----------------------------------------------------------------------------------------


def shown(limit: Limit) -> str:
    return "–" if limit.value is None or limit.name in {*LINE_RULES} - {*LINE_RULES_WITH_LIMIT} else f"{limit.value:g}"


def documented(title: str) -> dict[str, str]:
    """The limits in the table under a heading of docs/corpus.md."""
    sections = re.split(r"\n###? ", DOCS.read_text())
    text = next(part for part in sections if part.startswith(f"`{title}`"))
    rows = re.findall(r"^\| `(\w+)`[^|]* \| ([^|]*) \|", text.split("\n| rule | ar |")[0], re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return dict(rows)


@pytest.mark.parametrize("name", [name for name in RULE_SETS if name != "none"])
def test_docs_tables_name_the_limits_of_the_files(name):
    file = read_rule_file(name, None)
    assert documented(name) == {limit.name: shown(limit) for limit in [*file.rules, *file.lines]}


def test_docs_name_the_limits_by_language():
    lines = DOCS.read_text().split("\n")
    begin = next(place for place, line in enumerate(lines) if line.startswith("| rule | ar |"))
    header = [cell.strip() for cell in lines[begin].split("|")[2:-1]]
    rows = {}
    for line in lines[begin + 2 :]:
        if not line.startswith("| `"):
            break
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        rows[cells[0].strip("`")] = dict(zip(header, cells[1:], strict=True))
    languages = read_rule_file("fineweb2-like", None).languages
    assert header == [language for language in languages if language != "en"]
    for language in header:
        assert {name: row[language] for name, row in rows.items()} == {
            limit.name: shown(limit) for limit in languages[language]
        }


def test_docs_list_every_signal_and_line_rule():
    text = DOCS.read_text()
    for name in [*(signal.name for signal in SIGNALS), *LINE_RULES]:
        assert f"| `{name}` |" in text, name
