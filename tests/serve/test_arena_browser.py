"""The arena's page in a real browser: both directions of writing, keys and buttons, several turns, text that stays text."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_server import Server
from web_server import serving

from diglot.serve.arena.app import Arena, application
from diglot.serve.arena.entrants import read_entrants
from diglot.serve.arena.votes import Votes

pytestmark = pytest.mark.full
ATTACK = "<img src=x onerror=\"document.title='attacked'\"><script>document.title='attacked'</script><b>bold</b>"
MIXED = "العاصمة هي القاهرة.\nThe capital is Cairo (القاهرة).\n" + ATTACK


@pytest.fixture(scope="module")
def browser() -> Iterator:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` brings playwright")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser) -> Iterator:
    context = browser.new_context(viewport={"width": 1000, "height": 700}, locale="en-GB")
    made = context.new_page()
    # What the policy blocks, and errors of our script, stand there.
    made.problems = []
    made.on("console", lambda message: made.problems.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: made.problems.append(str(error)))
    yield made
    context.close()


def picture(page, name: str) -> None:
    if folder := os.environ.get("DIGLOT_PICTURES"):  # to be looked at
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.fixture
def votes(tmp_path: Path) -> Iterator[Votes]:
    made = Votes(tmp_path / "arena.sqlite")
    yield made
    made.close()


@pytest.fixture
def port(tmp_path: Path, votes: Votes) -> Iterator[int]:
    named = []
    for name in ("one", "other"):
        rows = [{"id": f"q{n}", "language": "ar", "turns": ["ما عاصمة مصر؟", "وما نهرها؟"], "answers": [MIXED, f"نهر النيل {name}"]} for n in range(6)]  # fmt: skip
        rows.append({"id": "e", "language": "en", "turns": ["Which city?"], "answers": [f"Cairo, says {name}. \u200f"]})
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        named.append((name, str(tmp_path / f"{name}.jsonl")))
    given = read_entrants(named, "NO_KEY", 8, None)
    with serving(application(Arena(given, votes, given.languages()))) as port:
        yield port


def choices(votes: Votes) -> list[str]:
    return [record["choice"] for record in votes.records()]


def until(page, condition: str) -> None:
    """Wait for a condition and for the page to be at rest (its policy forbids Playwright's own way of waiting)."""
    end = time.monotonic() + 30
    while not page.evaluate(f"!!language && !busy && !!({condition})"):
        assert time.monotonic() < end, condition
        time.sleep(0.01)


def settled(page, count: int) -> None:
    until(page, f"voted === {count}")


def test_arabic_is_read_from_right_to_left_and_lines_of_english_from_left_to_right(
    page, port: int, votes: Votes
) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    page.select_option("#language", "ar")
    until(page, "document.querySelector('.answer')")
    assert page.evaluate("[document.documentElement.dir, document.documentElement.lang]") == ["rtl", "ar"]
    # A, the first answer, stands on the right.
    boxes = [each.bounding_box() for each in page.query_selector_all(".answer")]
    assert boxes[0]["x"] > boxes[1]["x"]
    assert page.inner_text(".answer h2") == "أ"
    # Each line of an answer begins on the side of its own writing.
    lines = page.evaluate(
        """() => { const node = document.querySelector('.answer .words').firstChild, box = node.parentElement.getBoundingClientRect();
        return node.data.split('\\n').map((line, at, all) => { const range = document.createRange();
          const start = all.slice(0, at).join('\\n').length + (at ? 1 : 0); range.setStart(node, start); range.setEnd(node, start + line.length);
          const [first] = range.getClientRects(), rects = [...range.getClientRects()];
          return [Math.round(Math.min(...rects.map(r => r.left)) - box.left), Math.round(box.right - Math.max(...rects.map(r => r.right)))]; }); }"""
    )
    (arabic_left, arabic_right), (english_left, english_right), _ = lines
    assert arabic_right <= 1 < arabic_left
    assert english_left <= 1 < english_right
    picture(page, "arabic")
    assert page.problems == []


def test_what_models_wrote_is_text(page, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    page.select_option("#language", "ar")
    until(page, "document.querySelector('.answer')")
    assert page.text_content(".answer .words") == MIXED
    assert page.title() == "أيُّ الإجابتين أفضل؟"
    assert page.query_selector_all("main img, main b, main script") == []
    assert page.problems == []


def test_keys_and_buttons_vote_for_what_they_point_at(page, port: int, votes: Votes) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    page.select_option("#language", "ar")
    until(page, "document.querySelector('.answer')")
    # The arrow to the left points at the second answer where the page is written from right to left.
    for count, key in enumerate(("ArrowLeft", "1", "3", "4"), start=1):
        page.keyboard.press(key)
        settled(page, count)
    assert choices(votes) == ["second", "first", "tie", "both_bad"]
    page.click("[data-choice=second]")
    settled(page, 5)
    page.click("#skip")
    until(page, "true")
    page.keyboard.press("Control+1")
    page.keyboard.press("x")
    assert choices(votes) == ["second", "first", "tie", "both_bad", "second"]
    # By keys alone: the focus walks through the choices.
    page.focus("[data-choice=first]")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('choices').hidden")
    assert page.inner_text("#message") == "انتهت الأسئلة. شكرًا لك!"
    picture(page, "done")
    assert len(choices(votes)) == 6


def test_english_is_read_from_left_to_right(page, port: int, votes: Votes) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    until(page, "document.querySelector('.answer')")
    assert page.evaluate("document.documentElement.dir") == "ltr"
    boxes = [each.bounding_box() for each in page.query_selector_all(".answer")]
    assert boxes[0]["x"] < boxes[1]["x"]
    picture(page, "english")
    page.keyboard.press("ArrowLeft")
    until(page, "document.getElementById('choices').hidden")
    assert choices(votes) == ["first"]


def test_two_quick_presses_are_one_vote(page, port: int, votes: Votes) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    page.select_option("#language", "ar")
    until(page, "document.querySelector('.answer')")
    page.evaluate(
        "for (const key of ['1', '2', '2']) document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))"
    )
    settled(page, 1)
    assert choices(votes) == ["first"]


def test_a_narrow_screen_has_one_answer_below_the_other(page, port: int) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"http://127.0.0.1:{port}/")
    page.select_option("#language", "ar")
    until(page, "document.querySelector('.answer')")
    boxes = [each.bounding_box() for each in page.query_selector_all(".answer")]
    assert boxes[0]["x"] == boxes[1]["x"]
    assert boxes[0]["y"] < boxes[1]["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture(page, "narrow")


def test_asking_models_live_over_several_turns(page, serve: Callable[..., Server], votes: Votes) -> None:
    servers = [serve("one"), serve("other")]
    given = read_entrants([(f"m{n}", f"{each.url}#tiny") for n, each in enumerate(servers)], "NO_KEY", 32, None)
    with serving(application(Arena(given, votes, ["ar", "en"]))) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.select_option("#language", "ar")
        until(page, "!document.getElementById('ask').hidden")
        assert page.is_disabled("[data-choice=first]")  # nothing was answered yet
        for number, text in enumerate(("مرحبا 1\n\nما عاصمة مصر؟", "مرحبا\n\nوما نهرها؟"), start=1):
            page.fill("#question", text)
            page.click("#ask button")
            until(page, f"document.querySelectorAll('.turn').length === {number}")
            assert page.input_value("#question") == ""
        # A digit in a question is no vote.
        page.type("#question", "12")
        assert choices(votes) == []
        picture(page, "live")
        page.click("[data-choice=tie]")
        settled(page, 1)
        [record] = votes.records()
        assert [turn["question"] for turn in record["turns"]] == ["مرحبا 1\n\nما عاصمة مصر؟", "مرحبا\n\nوما نهرها؟"]
        assert page.problems == []
