"""What a running stage says: times that are right, in lines that fit, and the same for another process."""

import importlib
import io
import pkgutil
from types import NoneType, UnionType
from typing import get_args, get_type_hints

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from diglot import flow
from diglot.base import summaries
from diglot.base.artifact import Artifact
from diglot.base.summaries.corpus import CorpusSummary, DocumentCounts, SourceSummary
from diglot.base.summaries.model import Shape, TrainedModel
from diglot.base.summaries.scores import BitsPerByte, Metric, ScoresSummary, TaskScore
from diglot.base.summaries.summary import Record, Summary
from diglot.load import Where, check
from diglot.progress import Pace, Recorder, Tracker, recorded
from diglot.recipe import Recipe
from diglot.terminal import Logged, StageProgress, headline, run_table


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def tracker(*reports: tuple[float, float, float | None], title: str = "[9/11] trunk", note: str = "") -> Tracker:
    """After reports of (time, done, total)."""
    clock = Clock()
    made = Tracker(title, clock)
    for now, done, total in reports:
        clock.now = 100 + now
        made(done, total, "steps", note)
    return made


# --- the rate -------------------------------------------------------------------------------------------------


def test_the_rate_forgets_a_slow_start():
    """Ten minutes of loading and evaluation, a first step of a minute, a second one of half a minute; then a second each."""
    reports = [(600, 0, 44), (660, 1, 44), (690, 2, 44), *((690 + n, 2 + n, 44) for n in range(1, 9))]
    assert tracker(*reports).times() == "11 min 38 s, 34 s left"  # 698 / 10 × 34 would be 40 minutes


def test_a_resumed_run_is_not_faster_than_it_is():
    """Done are 200 steps when it begins; they took no time now."""
    assert tracker((5, 201, 300), (7, 202, 300), (9, 203, 300)).times() == "9 s, 3 min 14 s left"


def test_nothing_is_promised_before_it_can_be_known():
    assert tracker((0, 0, 44)).times() == "0 s"
    assert tracker((0, 0, 44), (50, 1, 44)).times() == "50 s"
    assert tracker((0, 0, 44), (50, 1, 44), (60, 2, 44)).times() == "1 min 00 s, 7 min 00 s left"


def test_a_rollback_and_other_work_begin_anew():
    back = tracker((1, 1, 50), (2, 2, 50), (3, 40, 50), (4, 10, 50), (14, 11, 50))
    assert back.times() == "14 s, 6 min 30 s left"
    back(1, 9, "generations")
    assert back.pace.rate is None


def test_the_live_line_may_look_while_a_pace_begins_anew():
    pace = tracker((1, 1, 50), (2, 2, 50)).pace
    pace.marks = []  # as `add` leaves it before it has set the rest
    assert pace.rate is None


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=2000), st.integers(1, 3))
@examples(30)
def test_the_rate_is_that_of_the_later_half(seconds, size):
    pace, now = Pace(), 0.0
    for number, step in enumerate(seconds, 1):
        now += step
        pace.add(now, size * number)
    later = seconds[(len(seconds) + 1) // 2 :]
    slowest, fastest = max(seconds[1:]), min(seconds[1:])
    assert size / slowest * 0.999 <= pace.rate <= size / fastest * 1.001
    assert len(pace.marks) <= 256
    if len(seconds) <= 200:  # all of them are remembered
        assert pace.rate == pytest.approx(size * len(later) / sum(later), rel=1e-6)


# --- the line -------------------------------------------------------------------------------------------------

TITLES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=60)


@given(
    title=TITLES,
    note=st.text(max_size=80),
    done=st.integers(0, 10**9),
    total=st.none() | st.integers(1, 10**9),
    unit=st.sampled_from(["steps", "windows of held-out text", "MB", ""]),
    seconds=st.floats(0, 2e6),
    width=st.integers(50, 200),
)
@examples(150)
def test_a_line_fits_and_holds_the_times(title, note, done, total, unit, seconds, width):
    clock = Clock()
    made = Tracker(title, clock)
    for share in (0.5, 0.75, 1):
        clock.now = 100 + seconds * share
        made(done * share, total, unit, note)
    line = made.line(width)
    assert cell_len(line) <= width
    assert made.times() in line
    assert made.count() in line


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, "[9/11] trunk 29/44 steps · 3 min 20 s, 2 min 30 s left"),
        (80, "[9/11] trunk 29/44 steps · 3 min 20 s, 2 min 30 s left · stable loss 3.212"),
        (100, "[9/11] trunk ━━━━━━━━───── 29/44 steps · 3 min 20 s, 2 min 30 s left · stable loss 3.212 · 10 s each"),
    ],
)
def test_the_line_at_some_widths(width, line):
    made = tracker(*((10 * (n - 9), n, 44) for n in range(10, 30)), note="stable loss 3.212")
    assert made.line(width) == line


def test_without_a_total_it_counts_up():
    made = tracker((1, 10_000, None), (3, 30_000, None))
    assert made.line(80) == "[9/11] trunk 30,000 steps · 3 s · 10,000/s"


def test_controls_in_a_note_are_not_obeyed():
    assert "\x1b" not in tracker((1, 1, 2), note="\x1b[2Jx").line(80)


# --- in the terminal and in a log ----------------------------------------------------------------------------


def test_a_log_gets_a_line_now_and_then():
    clock, out = Clock(), io.StringIO()
    made = Logged(Console(file=out, width=200), "trunk", Tracker("trunk", clock))
    for step in range(1, 41):
        clock.now += 1
        made(step, 44, "steps", "loss 3.2")
    assert out.getvalue().split("\n") == [
        "    trunk: 15/44 steps, 15 s, 29 s left, 1/s, loss 3.2",
        "    trunk: 30/44 steps, 30 s, 14 s left, 1/s, loss 3.2",
        "",
    ]


def test_what_a_stage_says_stays_above_the_live_line():
    out = io.StringIO()
    view = StageProgress(Console(file=out, force_terminal=True, width=60), 1)
    step = flow.Step("trunk", check(Recipe, RECIPE, Where("r")).stages["world"], {}, None, None)
    view.started(step)(3, 4, "steps", "")
    view.say("trunk: step 3: bits per byte en 1.2000")
    view.stop()
    assert "trunk: step 3: bits per byte en 1.2000\n" in out.getvalue()


def test_an_evaluation_prints_its_headline():
    bits = {name: BitsPerByte(1.25, 0.1, 10, 100, 50) for name in "abcdef"}
    task = TaskScore("ar", "choice", "acc", {"acc": Metric(0.551234, 0.02)}, 0.25, 100)
    found = headline(made(ScoresSummary(bits, {"cloze-ar": task})))
    assert found == "bits a 1.25, b 1.25, c 1.25, d 1.25 and 2 more · scores cloze-ar 0.551"


def test_a_training_prints_what_is_worth_watching():
    counts = {"steps": 4, "tokens": 10, "loss": None, "packing_efficiency": 1.0, "tokens_per_second": 1.0, "mfu": 0.1}
    watch = {"en": ["context", "bits_per_byte"], "ar": ["margin"]}
    shape = Shape(10, 1, 4, 8, 1, 1, 4, 16, True)
    summary = TrainedModel("llama", 10, shape, **counts, peak_memory_mb=1.0, mixture={}, watch=watch)
    assert headline(made(summary)).endswith("watch en context/bits per byte, ar margin")


def test_every_headline_can_be_printed():
    """A field of another type than these would end a finished stage with a traceback."""
    for module in pkgutil.iter_modules(summaries.__path__):
        importlib.import_module(f"{summaries.__name__}.{module.name}")
    classes = [Summary]
    for each in classes:
        classes += each.__subclasses__()
    shown = {int, float, str, dict[str, int], dict[str, float], dict[str, float | None], dict[str, list[str]]}
    for each in classes:
        for name in each.headline:
            asked = getattr(each, name, None)
            kind = get_type_hints(asked.fget)["return"] if isinstance(asked, property) else get_type_hints(each)[name]
            kinds = set(get_args(kind)) - {NoneType} if isinstance(kind, UnionType) else {kind}
            of_no_kind = {one for one in kinds - shown if not (isinstance(one, type) and issubclass(one, Record))}
            assert not of_no_kind, (each, name)


def test_a_corpus_that_loses_most_of_a_source_says_so():
    lost = SourceSummary("ar", "text", 1000, 60, 5, 935, 1, 1, {"wrong_language": 900, "short_text": 35})
    kept = SourceSummary("en", "text", 1000, 600, 0, 400, 1, 1, {"short_text": 400})
    summary = CorpusSummary(DocumentCounts(2000, 660, 5, 1335), {}, {}, {"web": lost, "books": kept})
    out = io.StringIO()
    view = StageProgress(Console(file=out, width=200), 1)
    view.finished(flow.Step("corpus", None, {}, None, None), made(summary))
    said = out.getvalue().split("\n")[1]
    assert said == "    web: 935 of 1,000 documents are dropped (93.5%), 900 of them as wrong language"
    # Sorted by language: what is in no language that is wanted and what is make the source.
    sorted_out = {"web": replaced(lost, "und"), "web-ar": replaced(kept, "ar")}
    summary = CorpusSummary(summary.documents, {}, {}, sorted_out)
    assert summary.warnings() == ["web: 1,335 of 2,000 documents are dropped (66.8%), 900 of them as wrong language"]


def replaced(source: SourceSummary, language: str) -> SourceSummary:
    return SourceSummary(**{**vars(source), "language": language})


def made(summary) -> Artifact:
    return Artifact(None, "s", "k", "d", "", "", {}, {}, summary, {"seconds": 1.0})


# --- for another process --------------------------------------------------------------------------------------

RECIPE = {"name": "test", "stages": {"world": {"do": "world"}}}


def test_reports_are_passed_on_and_kept_now_and_then(tmp_path):
    clock, heard = Clock(), []
    keep = Recorder(tmp_path / "progress.json", lambda *report: heard.append(report), clock)
    assert recorded(tmp_path) == ""
    for step in range(1, 6):
        clock.now += 1
        keep(step, 44, "steps", "note")
    assert heard[-1] == (5, 44, "steps", "note")
    assert recorded(tmp_path) == "step 4 of 44"
    clock.now += 2
    keep(1200, None, "documents")
    assert recorded(tmp_path) == "1,200 documents"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"done": "x", "total": 1, "unit": 3}', '{"done": 1e999, "total": "a"}']
)
def test_a_strange_file_says_nothing(tmp_path, text):
    (tmp_path / "progress.json").write_text(text)
    assert recorded(tmp_path) == ""
    assert recorded(tmp_path / "none") is None


def test_show_says_which_stage_runs(tmp_path):
    recipe = check(Recipe, RECIPE, Where("r"))

    def looked() -> list[tuple[str, str]]:
        steps = flow.plan(recipe, tmp_path, Where("r"))
        flow.note_begun(steps, tmp_path)
        return [(step.state, step.why) for step in steps]

    assert looked() == [("to do", "")]
    step = flow.plan(recipe, tmp_path, Where("r"))[0]
    scratch = tmp_path / ".scratch" / f"world-{step.fingerprint[:12]}"
    scratch.mkdir(parents=True)
    Recorder(scratch / "progress.json", lambda *report: None, lambda: 0)
    (scratch / "progress.json").write_text('{"done": 29, "total": 44, "unit": "steps"}')
    assert looked() == [("to do", "stopped at step 29 of 44")]
    with flow.locked(tmp_path):
        assert flow.is_held(tmp_path)
        assert looked() == [("running", "step 29 of 44")]
        steps = flow.plan(recipe, tmp_path, Where("r"))
        flow.note_begun(steps, tmp_path)
        assert str(run_table(steps, {}).rows[0][2].text) == "running"
    assert not flow.is_held(tmp_path)
    with flow.locked(tmp_path):  # looking left no lock behind
        pass


def test_looking_writes_nothing(tmp_path):
    assert not flow.is_held(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
