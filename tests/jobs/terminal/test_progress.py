"""The progress display: lines of text in a log, a live display on a terminal, nothing of a fast command."""

import io
import re

import pytest

from jobs.ingest.download import Fetched
from jobs.terminal import progress
from jobs.terminal.amount import PassAmount
from jobs.terminal.console import Console
from pipeline.export.exporter import TaskReport
from pipeline.plan.passes import ScorePass, StatPass
from pipeline.pool.shards import Shard
from pipeline.progress import Tally, begun, watched
from pipeline.run.batches import Read
from pipeline.run.executor import Event

SHARDS = tuple(Shard(name, f"{name}.tar") for name in ("a", "b"))
PASS = ScorePass(SHARDS, (), reads_pool=True)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that the display sees, to be set."""
    now = [0.0]
    monkeypatch.setattr("jobs.terminal.progress.time.monotonic", lambda: now[0])
    return now


# --- in a log --------------------------------------------------------------------------------------


def test_a_line_every_ten_seconds_and_at_the_end(clock, capsys):
    tally = Tally()
    tally.failed["clip"] = 3
    with progress.Progress() as shown:
        report = shown.begin_pass(PASS)
        clock[0] = 5.0
        report(Event(100, tally, Read("a")))
        assert capsys.readouterr().err == ""
        clock[0] = 20.0
        report(Event(100))
        assert (
            capsys.readouterr().err == "samples: 1/2 shards, 200 samples  10/s  3 with an error, 20 s left\n"
        )
        report(Event(read=Read("b")))
        assert capsys.readouterr().err == "samples: 2/2 shards, 200 samples  10/s  3 with an error\n"
    assert capsys.readouterr().err == ""


def test_the_end_is_told_when_the_rows_have_come_that_were_read(clock, capsys):
    """On Ray a shard is read before its rows are worked on."""
    with progress.Progress() as shown:
        report = shown.begin_pass(PASS)
        clock[0] = 5.0
        report(Event(read=Read("a", rows=100)))
        report(Event(read=Read("b", rows=60)))
        report(Event(100))
        assert capsys.readouterr().err == ""
        report(Event(60))
        assert capsys.readouterr().err == "samples: 2/2 shards, 160 samples  32/s\n"


def test_the_end_of_a_pass_that_goes_on_is_told_as_the_next_work_begins(clock, capsys):
    """An earlier run has computed 100 of its rows."""
    with progress.Progress() as shown:
        report = shown.begin_pass(PASS)
        clock[0] = 5.0
        report(Event(60))
        report(Event(read=Read("a", rows=60)))
        report(Event(read=Read("b", rows=100)))
        assert capsys.readouterr().err == ""
        shown.watch("deciding", 3)
        assert capsys.readouterr().err == "samples: 2/2 shards, 60 samples  12/s\n"


def test_samples_with_an_error_are_not_called_failed(clock, capsys):
    """The funnel has another number by that name. The operator with most errors counts; decoding is none."""
    tally = Tally()
    tally.failed.update(clip=1, caption=1, decode=9)
    with progress.Progress() as shown:
        report = shown.begin_pass(PASS)
        clock[0] = 20.0
        report(Event(100, tally, Read("a")))
    assert capsys.readouterr().err.startswith(
        "samples: 1/2 shards, 100 samples  5/s  1 with an error, 20 s left\n"
    )


def test_urls_that_are_lost_are_not_downloaded(clock, capsys):
    with progress.Progress() as shown:
        report = shown.ingest()
        clock[0] = 20.0
        report(Fetched("00000", {"count": 10, "successes": 7}))
    assert capsys.readouterr().err.startswith("ingest: 1 shards, 10 samples  0/s  3 not downloaded\n")


def test_a_shard_that_could_not_be_read_is_not_done(clock, capsys):
    with progress.Progress() as shown:
        report = shown.begin_pass(PASS)
        clock[0] = 20.0
        report(Event(100, read=Read("a")))
        assert capsys.readouterr().err == "samples: 1/2 shards, 100 samples  5/s, 20 s left\n"
        report(Event(read=Read("b", error="FileNotFoundError")))
        assert capsys.readouterr().err == "samples: 1/2 shards, 100 samples  5/s  1 not done\n"


def test_an_export_counts_its_kind_of_task(clock, capsys):
    with progress.Progress() as shown, shown.export("filling the index", 3, "parts") as report:
        clock[0] = 20.0
        report(TaskReport("0", rows=400))
        said = capsys.readouterr().err
    assert said == "filling the index: 1/3 parts, 400 samples  20/s, 40 s left\n"


def test_loops_of_the_engine_are_shown(clock, capsys):
    with progress.showing_progress() as outer:
        for number in watched("deciding", range(4), 4):
            clock[0] += 11
            with progress.showing_progress() as inner:  # a step inside has the display of the command
                assert inner is outer
            assert number < 4
    assert capsys.readouterr().err == (
        "deciding: 2/4, 22 s left\ndeciding: 3/4, 11 s left\ndeciding: 4/4, 0 s left\n"
    )


def test_short_loops_together_leave_a_line(clock, capsys):
    with progress.showing_progress():
        for what in ("reading rows", "finding cuts", "looking at samples"):
            for _ in watched(what, range(4), 4):
                clock[0] += 2
    assert capsys.readouterr().err == "finding cuts: 3/4, 2 s left\n"


def test_the_first_estimate_leaves_out_what_came_before_the_first_batch(clock, capsys):
    with progress.Progress() as shown:
        report = shown.begin_pass(ScorePass(tuple(Shard(n, n, rows=50, content="c") for n in "ab"), (), True))
        clock[0] = 90.0  # a model was loaded
        report(Event(work=10, took=3.0))
        assert "27 s left" in capsys.readouterr().err
        clock[0] = 102.0
        report(Event(work=40, took=12.0))
        assert "15 s left" in capsys.readouterr().err


def test_nobody_watches_by_default(capsys):
    assert list(watched("deciding", "abc", 3)) == ["a", "b", "c"]
    begun("listing")(1)
    assert capsys.readouterr().err == ""


# --- on a terminal ---------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch):
    """terminal(width) -> the console of a terminal, whose text is collected."""

    def of(width: int) -> Console:
        screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        monkeypatch.setattr("jobs.terminal.progress.remarks", screen)
        return screen

    return of


def line(shown: progress.Progress, width: int) -> str:
    """The last line of the display."""
    out = Console(file=io.StringIO(), width=width)
    out.print(shown.bars.get_renderable())
    return out.file.getvalue().splitlines()[-1]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 130, 200])
def test_times_are_whole_at_any_width(width, terminal, clock):
    terminal(width)
    shown = progress.Progress()
    report = shown.begin_pass(ScorePass(tuple(Shard(str(n), "") for n in range(1200)), (), reads_pool=True))
    bar = shown.bars
    bar.update(0, description="caption, clip, text, masked, effect, parrot, digits, entries and some more")
    bar.tasks[0].start_time = bar.get_time() - 7325
    clock[0] = 100.0
    report(Event(1_000_000, read=Read("0")))
    written = line(shown, width)
    assert len(written) <= width
    assert "1/1,200 shards" in written
    assert re.search(r"2:02:0\d", written)
    assert "33:18:20 left" in written


def test_a_fast_command_shows_nothing(terminal):
    screen = terminal(80)
    with progress.showing_progress():
        assert list(watched("deciding", range(3), 3)) == [0, 1, 2]
    assert screen.file.getvalue() == ""


def test_a_slow_command_shows_its_loop_and_takes_it_away(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    screen = terminal(80)
    with progress.showing_progress() as shown:
        begun("listing the pool")
        tick = begun("deciding", 10)
        shown._timer.join(5)
        tick(4)
        shown.bars.refresh()
        assert "deciding" in line(shown, 80)
        assert "4/10" in line(shown, 80)
        assert len(shown.bars.tasks) == 1
    assert "deciding" in screen.file.getvalue()
    assert shown.bars.tasks == []


def test_a_stat_is_a_loop_of_the_engine(clock):
    with progress.Progress() as shown:
        assert shown.begin_pass(StatPass("words", SHARDS))(Event(1)) is None
        assert shown.bars.tasks == []


# --- how much is done ------------------------------------------------------------------------------


def amount(*events: Event, rows: int = 0, size: int | None = None) -> float:
    """The share of two shards, of so many rows and bytes each, after some events."""
    shards = [Shard(name, "", size=size, content="x" if rows else "", rows=rows) for name in ("a", "b")]
    counted = PassAmount(shards)
    for event in events:
        counted.add(event)
    return counted.share


def test_rows_are_counted_if_they_are_known():
    assert amount(rows=50, size=10) == 0
    assert amount(Event(work=5), rows=50) == 0.05
    assert amount(Event(work=50), Event(read=Read("a", 50)), Event(work=25), rows=50, size=10) == 0.75


def test_else_bytes_of_images_from_the_first_slice_on():
    assert amount(Event(work=5, bytes=100), size=1000) == 0.05
    done = Read("a", 40, bytes=800)  # so four fifths of a shard are images
    assert amount(Event(work=40, bytes=800), Event(read=done), size=1000) == 0.5
    more = Event(work=20, bytes=400)
    assert amount(Event(work=40, bytes=800), Event(read=done), more, size=1000) == 0.75


def test_else_shards():
    assert amount(Event(work=5)) == 0
    assert amount(Event(work=5), Event(read=Read("a", 5))) == 0.5
    assert amount(Event(work=5), Event(read=Read("a", 5)), Event(work=2), size=10) == 0.7


def test_at_the_end_all_is_done_whatever_was_counted():
    assert amount(Event(read=Read("a")), Event(read=Read("b", error="gone")), rows=50) == 1
