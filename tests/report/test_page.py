"""The page: whole, offline, escaped, the same bytes for the same artifacts, and tolerant of what is absent."""

import base64
import csv
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from small_run import by_stage, write_run

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.summaries.scores import Metric
from diglot.recipe.report import Report
from diglot.report.comparisons import before_and_after, headline_comparisons
from diglot.report.page import render, run, sections_of
from diglot.report.results import scores_of

VOID = {"meta", "link", "br", "hr", "img", "input"}
SECTIONS = [
    "headline",
    "pipeline",
    "lineage",
    "text",
    "judges",
    "tokenizer",
    "training",
    "bits",
    "scores",
    "cost",
    "provenance",
]


class Page(HTMLParser):
    """Checks that tags are balanced, and collects ids, links, text and embedded figures."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.directions: list[str] = []
        self.tags: dict[str, int] = {}
        self.words: list[str] = []
        self.figures: list[dict] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "dir":
                self.directions.append(value or "")
        if tag not in VOID:
            self.open.append(tag + (" figure" if ("type", "application/json") in attrs else ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().split()[0] == tag

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "script figure":
            self.figures.append(json.loads(data))
        elif inside not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the whole run; for tests that change no file."""
    return render("A run", sections_of(write_run(tmp_path_factory.mktemp("page") / "run"), None, None))


def test_page_is_well_formed_with_every_section_once(html: str) -> None:
    page = Page(html)
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    assert len(set(page.ids)) == len(page.ids)
    assert page.links == [f"#{name}" for name in [*SECTIONS, "scores", "source-0", "source-1", "source-2"]]
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.figures) > 20
    assert all(figure["data"] for figure in page.figures)


def test_page_loads_nothing_and_forbids_itself_to(html: str) -> None:
    page = Page(html)
    assert page.handlers == []
    assert not any("//" in link for link in page.links)
    assert "default-src 'none'" in html
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_only_the_pages_own_scripts_may_run(html: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    allowed = re.search(r"script-src ([^;]*);", policy[1])
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert allowed
    assert sorted(allowed[1].split()) == sorted(f"'sha256-{hashed}'" for hashed in hashes)


def test_a_page_is_under_two_megabytes(html: str) -> None:
    assert len(html.encode()) < 2_000_000


def test_what_users_and_models_wrote_stays_text(html: str) -> None:
    assert "<script>alert" not in html
    assert "<b>bold" not in html
    page = Page(html)
    assert sum("<script>alert('x')</script> & <b>bold</b>" in words for words in page.words) >= 5
    assert page.tags["script"] == len(page.figures) + 2  # plotly.js and ours


def test_an_attack_in_names_and_settings_stays_text(artifacts: list[Artifact]) -> None:
    attack = "</script><script>alert(1)</script>"
    changed = [dataclasses.replace(a, settings={**a.settings, "note": attack}) for a in artifacts]
    base = next(number for number, artifact in enumerate(changed) if artifact.stage == "base")
    log = changed[base].path / "logs" / "metrics.jsonl"
    log.write_text(log.read_text().replace('"english"', json.dumps(attack)).replace('"all"', json.dumps(attack)))
    html = render(attack, sections_of(changed, None, None))
    assert "<script>alert" not in html
    assert Page(html).tags["script"] == len(Page(html).figures) + 2


def test_right_to_left_text_has_its_direction(html: str) -> None:
    page = Page(html)
    assert page.directions.count("rtl") == 2  # the Arabic phrase, before and after
    assert page.directions.count("auto") > 10
    arabic = re.compile("[\u0600-\u06ff]")
    assert not any(arabic.search(json.dumps(figure, ensure_ascii=False)) for figure in page.figures)


def test_what_the_guard_did_is_said(html: str) -> None:
    assert "1 step skipped" in html
    assert "back from step 432 to 400, past the data of 100 steps" in html
    assert "dotted: where the guard went back to; triangles: skipped steps" in html


def test_headline_states_the_finding_with_numbers(artifacts: list[Artifact]) -> None:
    finding = sections_of(artifacts, None, None)[0].finding
    assert finding.startswith("Arabic was learnt: cloze-ar 26% → 76% (chance 25%)")
    assert "English was kept: cloze-en 86% → 84% (−2 points ±7)" in finding
    assert finding.endswith("The whole run took 11 min 33 s on 2 cores, Linux x86_64.")


def test_the_first_screen_says_what_was_gained_lost_and_what_it_cost(artifacts: list[Artifact]) -> None:
    gained, lost, cost = sections_of(artifacts, None, None, price=3.6)[0].data["cards"]
    rows = headline_comparisons(artifacts, *before_and_after(artifacts))
    judged = [row for row in rows if row.verdict != "unknown"]
    better = [row for row in judged if row.verdict == "better"]
    assert (gained.title, gained.large) == ("Gained", f"{len(better)} of {len(judged)} measures")
    assert any(line.startswith("Arabic cloze-ar 26% → 76%") for line in gained.lines)
    assert (lost.title, lost.large) == ("Lost", "nothing beyond noise")
    seconds = sum(artifact.provenance["seconds"] for artifact in artifacts)
    assert cost.large == "11 min 33 s"
    assert f"{seconds / 1000:,.2f} at 3.6 an hour of the machine" in cost.lines
    assert any(line.endswith("tokens trained on") for line in cost.lines)
    assert any(line.endswith("Wh assumed") for line in cost.lines)
    # Nothing to compare: what it cost is known all the same.
    assert [card.title for card in sections_of(artifacts[:5], None, None)[0].data["cards"]] == ["Cost"]


def test_what_fell_stands_on_the_first_screen(artifacts: list[Artifact]) -> None:
    last = next(artifact for artifact in artifacts if artifact.stage == "evaluate-aligned")
    scores = scores_of(last)
    fell = dataclasses.replace(scores.tasks["cloze-en"], metrics={"acc": Metric(0.4, 0.03)})
    worse = dataclasses.replace(last, summary=dataclasses.replace(scores, tasks={**scores.tasks, "cloze-en": fell}))
    lost = sections_of([*artifacts[:-1], worse], None, None)[0].data["cards"][1]
    assert lost.style == "bad"
    assert "English cloze-en 86% → 40%" in lost.lines


def test_loss_of_the_base_language_is_said(artifacts: list[Artifact]) -> None:
    last = next(artifact for artifact in artifacts if artifact.stage == "evaluate-aligned")
    scores = scores_of(last)
    lost = dataclasses.replace(scores.tasks["cloze-en"], metrics={"acc": Metric(0.4, 0.03)})
    worse = dataclasses.replace(last, summary=dataclasses.replace(scores, tasks={**scores.tasks, "cloze-en": lost}))
    finding = sections_of([*artifacts[:-1], worse], None, None)[0].finding
    assert "English lost on 1 of 4 measures: cloze-en 86% → 40%" in finding


def test_bits_over_tokens_have_every_language_and_the_parallel_text(artifacts: list[Artifact]) -> None:
    bits = next(section for section in sections_of(artifacts, None, None) if section.name == "bits")
    for words in ("English 3.00 → 0.66", "Arabic 2.60 → 0.73", "English–Arabic 1.90 → 0.60"):
        assert words in bits.finding
    figure = json.loads(bits.data["plots"][0].json)
    base = next(t for t in figure["data"] if t.get("hovertemplate", "").startswith("base, English"))
    assert (base["x"][0], base["x"][-1], base["y"][0]) == (0, 400 * 4096, 3.0)
    axis = figure["layout"]["yaxis"]
    assert axis["type"] == "log"
    assert axis["tickvals"] == [1, 2]
    # Of such an axis annotations are placed by exponents.
    label = next(each for each in figure["layout"]["annotations"] if each["text"] == "English")
    assert 10 ** label["y"] == pytest.approx(0.66, rel=0.1)


def test_the_road_begins_where_a_language_is_better_than_equally_likely_bytes(artifacts: list[Artifact]) -> None:
    log = by_stage(artifacts, "base").path / "logs" / "metrics.jsonl"
    start = {"type": "evaluation", "step": 0, "languages": {"en": 3.0, "ar": 7.9}}
    later = {"type": "evaluation", "step": 200, "languages": {"en": 1.0, "ar": 16.4}}
    steps = [line for line in log.read_text().splitlines(True) if '"evaluation"' not in line]
    log.write_text("".join(steps) + json.dumps(start) + "\n" + json.dumps(later) + "\n")
    bits = next(section for section in sections_of(artifacts, None, None) if section.name == "bits")
    assert "English 3.00 → 0.66, Arabic 2.60 → 0.73" in bits.finding


def test_the_first_screen_has_the_run_a_sample_and_the_command_to_chat(html: str, artifacts: list[Artifact]) -> None:
    facts = [("run", "mine"), ("recipe", "<b>mine.yaml</b>")]
    html = render("A run", sections_of(artifacts, None, None), facts)
    start = html[: html.index("<table")]
    assert "<li>run <b><bdi>mine</bdi></b></li>" in start
    assert "&lt;b&gt;mine.yaml&lt;/b&gt;" in start
    for words in ("English: The baker bakes bread.", "يخبز الخباز الخبز.", "The baker", "يخبز الخباز خبزا."):
        assert words in start
    assert "The first item of translation-en-ar (Arabic), not chosen" in start
    assert f"diglot chat {artifacts[0].path.parent.name}</code>" in start


def test_ledger_figure_accounts_for_every_document(html: str) -> None:
    page = Page(html)
    bars = next(figure for figure in page.figures if any(trace.get("name") == "held out" for trace in figure["data"]))
    for index in range(3):
        assert sum(trace["x"][index] for trace in bars["data"]) == pytest.approx(100)
        assert sum(trace["customdata"][index] for trace in bars["data"]) == 12_000


@examples(10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.integers(0, 18)))
def test_any_part_of_a_run_makes_a_page(artifacts: list[Artifact], chosen: set[int]) -> None:
    part = [artifact for number, artifact in enumerate(artifacts) if number in chosen]
    sections = sections_of(part, None, None)
    page = Page(render("Part", sections))
    kinds, kind_of_stage = {a.kind for a in part}, {a.do for a in part}
    shown = {section.name for section in sections}
    assert ("tokenizer" in shown) == ("tokenizer" in kinds)
    assert ("training" in shown) == ("train" in kind_of_stage)
    assert ("scores" in shown) == ("scores" in kinds)
    assert ("text" in shown) == ("corpus" in kinds)
    assert set(page.ids) >= shown


def test_empty_files_are_tolerated(artifacts: list[Artifact]) -> None:
    bare = []
    for artifact in artifacts:
        for file in artifact.path.rglob("*"):
            if file.is_file() and file.name != "artifact.json":
                file.unlink()
        bare.append(dataclasses.replace(artifact, settings={}, inputs={}, provenance={}))
    Page(render("Bare", sections_of(bare, None, None)))
    Page(render("Nothing", sections_of([], None, None)))


def test_stage_writes_one_file_and_says_what_is_in_it(
    artifacts: list[Artifact], tmp_path: Path, context: Context
) -> None:
    output = tmp_path / "report"
    output.mkdir()
    summary = run(Report(title="A title"), Inputs({"stages": artifacts}), output, context)
    assert [file.name for file in output.iterdir()] == ["report.html"]
    html = (output / "report.html").read_text(encoding="utf-8")
    assert "<title>A title</title>" in html
    assert summary.sections == SECTIONS
    assert summary.bytes == len(html.encode())
    assert str(tmp_path) not in html


def test_unknown_stage_to_compare_is_refused(artifacts: list[Artifact], tmp_path: Path, context: Context) -> None:
    with pytest.raises(UserError, match=r"before: no evaluate stage 'evaluate-bse'.*evaluate-base"):
        run(Report(before="evaluate-bse"), Inputs({"stages": artifacts}), tmp_path, context)


def test_same_artifacts_give_the_same_bytes_whatever_the_hash_seed(artifacts: list[Artifact], tmp_path: Path) -> None:
    code = (
        "import sys, hashlib; from pathlib import Path; from diglot.base.artifact import read_artifact\n"
        "from diglot.report.page import render, sections_of\n"
        "found = [read_artifact(Path(path)) for path in sys.argv[1:]]\n"
        "print(hashlib.sha256(render('A run', sections_of(found, None, None)).encode()).hexdigest())"
    )
    here = hashlib.sha256(render("A run", sections_of(artifacts, None, None)).encode()).hexdigest()
    paths = [str(artifact.path) for artifact in artifacts]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    run = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True, env=environment
    )
    assert run.stdout.strip() == here


def chromium(*flags: str) -> str:
    """What a browser without a window prints, or a skipped test where there is none."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    always = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = [browser, *always, "--virtual-time-budget=8000", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def open_to_scripts(html: str, script: str) -> str:
    """A page with a script of the test's, which its policy would not let run."""
    html = re.sub("script-src [^;]*;", "script-src 'unsafe-inline';", html, count=1)
    return html.replace("</body>", f"<script>{script}</script></body>")


@pytest.mark.full  # quick: test_only_the_pages_own_scripts_may_run
def test_the_policy_stops_a_script_that_came_in(html: str, tmp_path: Path) -> None:
    came_in = html.replace("</body>", "<script>document.title = 'taken'</script></body>")
    found = []
    for page in (came_in, open_to_scripts(html, "document.title = 'taken'")):
        (tmp_path / "report.html").write_text(page, encoding="utf-8")
        found.append(
            chromium(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "report.html").as_uri())
        )
    assert ["<title>taken</title>" in dom for dom in found] == [False, True]


@pytest.mark.slow
def test_the_numbers_behind_a_figure_come_as_csv(html: str, tmp_path: Path) -> None:
    hostile = html.replace('"name":"kept"', '"name":"=kept, \\"&lt;b&gt;\\""')
    assert hostile != html
    # A click makes a blob and follows a link to it: what goes into the blob is taken down.
    look = """const made = []; window.Blob = class { constructor(parts) { made.push(parts[1]); } };
      URL.createObjectURL = () => "#"; for (const b of document.querySelectorAll("button[data-numbers]")) b.click();
      document.body.textContent = JSON.stringify(made);"""
    file = tmp_path / "report.html"
    file.write_text(open_to_scripts(hostile, look), encoding="utf-8")
    found = chromium(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri())
    made = json.loads(unescape(re.search(r"<body[^>]*>(.*)</body>", found, re.DOTALL)[1]))
    figures = Page(hostile).figures
    assert len(made) == len(figures)
    for text, figure in zip(made, figures):
        rows = list(csv.reader(text.splitlines()))[1:]
        shown = [trace for trace in figure["data"] if trace.get("hoverinfo") != "skip"]
        points = [(x, y) for trace in shown for x, y in zip(trace["x"], trace["y"]) if None not in (x, y)]
        assert len(rows) == len(points) > 0
        assert all(row[0] for row in rows)
        for (_, *row), point in zip(rows, points):
            assert [float(a) if isinstance(b, int | float) else a for a, b in zip(row, point)] == [
                unescape(b) if isinstance(b, str) else b for b in point
            ]
    assert any('\'=kept, "<b>"' in row for text in made for row in csv.reader(text.splitlines()))


@pytest.mark.slow
def test_a_phone_shows_every_number_of_the_tables(html: str, tmp_path: Path) -> None:
    look = """addEventListener("load", () => {
      const cells = [...document.querySelectorAll(".cards td.n")].filter(cell => cell.offsetParent);
      const beyond = cells.filter(cell => cell.getBoundingClientRect().right > innerWidth);
      document.title = `${innerWidth} wide, ${cells.length} cells, ${beyond.length} beyond`;
    });"""
    file = tmp_path / "report.html"
    # A window of Chromium is at least 500 pixels wide: a frame is as narrow as a phone.
    file.write_text(open_to_scripts(html, look), encoding="utf-8")
    page = f'<iframe src="{file.as_uri()}" width=375 height=800 onload="document.title = this.contentDocument.title"></iframe>'
    (tmp_path / "phone.html").write_text(page)
    found = chromium(f"--user-data-dir={tmp_path / 'profile'}", "--allow-file-access-from-files", "--dump-dom", (tmp_path / "phone.html").as_uri())  # fmt: skip
    title = re.search(r"<title>(\d+) wide, (\d+) cells, (\d+) beyond</title>", found)
    assert title, found[:500]
    assert (int(title[1]), int(title[3])) == (375, 0)
    assert int(title[2]) > 100


@pytest.mark.slow
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_browser_draws_every_figure(html: str, tmp_path: Path, colours: str) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    file = tmp_path / "report.html"
    file.write_text(html, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--enable-logging=stderr"]
    flags += ["--blink-settings=preferredColorScheme=0"] if colours == "dark" else []
    run = subprocess.run([browser, *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120, check=True)  # fmt: skip
    drawn = len(re.findall(r'<div class="plot js-plotly-plot"', run.stdout))
    assert drawn == len(Page(html).figures)
    assert "CONSOLE" not in run.stderr, run.stderr
