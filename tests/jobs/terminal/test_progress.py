"""The progress display where stderr is not a terminal: lines of text."""

import pytest

from jobs.terminal import progress
from pipeline.plan.passes import StatPass
from pipeline.pool.shards import Shard
from pipeline.run.batches import Read
from pipeline.run.executor import Event
from pipeline.run.stage import Tally

SHARDS = tuple(Shard(name, f"{name}.tar") for name in ("a", "b"))


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that the display sees, to be set."""
    now = [0.0]
    monkeypatch.setattr("jobs.terminal.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_every_ten_seconds_and_at_the_end(clock, capsys):
    tally = Tally()
    tally.failed["clip"] = 3
    with progress.Progress() as shown:
        report = shown.begin_pass(StatPass("words", SHARDS))
        clock[0] = 5.0
        report(Event(100, tally, Read("a")))
        assert capsys.readouterr().err == ""
        clock[0] = 20.0
        report(Event(100))
        assert capsys.readouterr().err == "words: 1/2 shards, 200 samples  10/s  3 failed, 20 s left\n"
        report(Event(read=Read("b")))
        assert capsys.readouterr().err == "words: 2/2 shards, 200 samples  10/s  3 failed\n"


def test_quiet_prints_nothing(clock, capsys):
    with progress.Progress(quiet=True) as shown:
        report = shown.begin_pass(StatPass("words", SHARDS))
        clock[0] = 50.0
        report(Event(10, read=Read("a")))
    assert capsys.readouterr().err == ""


def test_a_shard_that_could_not_be_read_is_not_done(clock, capsys):
    with progress.Progress() as shown:
        report = shown.begin_pass(StatPass("words", SHARDS))
        clock[0] = 20.0
        report(Event(100, read=Read("a")))
        assert capsys.readouterr().err == "words: 1/2 shards, 100 samples  5/s  0 failed, 20 s left\n"
        report(Event(read=Read("b", error="FileNotFoundError")))
        assert capsys.readouterr().err == "words: 1/2 shards, 100 samples  5/s  0 failed  1 not done\n"
