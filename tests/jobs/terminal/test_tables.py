"""Tables on a terminal: text folds, numbers stay whole, counts agree with their nouns."""

import io
from dataclasses import replace

import pytest

from jobs.terminal import tables
from jobs.terminal.console import Console
from pipeline.decide.books import Losses
from pipeline.decide.decision import Decision, RuleCount
from pipeline.decide.explain import Explanation, RuleVerdict
from pipeline.decide.members import GroupOf
from pipeline.progress import Tally
from pipeline.run.bottleneck import Bottleneck
from pipeline.run.log import RunSummary


@pytest.mark.parametrize("width", [100, 120])
def test_numbers_are_never_cut(monkeypatch, width):
    out = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr("jobs.terminal.tables.console", out)
    rule = RuleCount(
        column="datacomp.l14_score",
        bound=">= 0.243 (top 30%, as DataComp)",
        cut=0.243,
        passes=3_840_001,
        fails=8_959_999,
        fails_only=8_959_999,
        dropped=8_959_999,
        passes_with={},
        failed={},
    )
    rules = {"clip_score_of_the_large_model": rule}
    tables.funnel(Decision("test", 26, 12_800_000, 3_840_001, 8_959_999, 0, rules), NONE)
    text = out.file.getvalue()
    assert "…" not in text
    assert text.count("8,959,999") == 4
    assert "model" in text


@pytest.fixture
def printed(monkeypatch) -> Console:
    """The console of a log file, whose text is collected."""
    console = Console(file=io.StringIO(), width=120)
    for name in ("console", "remarks"):
        monkeypatch.setattr(f"jobs.terminal.tables.{name}", console)
    return console


NONE = Losses({}, {}, {}, 0)


def test_pending_shards_are_named_and_counted(printed):
    tables.pending({"00003": "FileNotFoundError"}, "winnow run r.yaml")
    assert printed.file.getvalue().splitlines() == [
        "1 shard is not done:",
        "  00003: FileNotFoundError",
        "run again to retry: winnow run r.yaml",
    ]


def test_of_many_pending_shards_twenty_are_named(printed):
    tables.pending({f"{number:05}": "no [reason]" for number in range(1200)}, "winnow run")
    lines = printed.file.getvalue().splitlines()
    assert (lines[0], lines[20], lines[21]) == (
        "1,200 shards are not done:",
        "  00019: no [reason]",
        "  and 1,180 more",
    )


def test_losses_are_in_the_funnel(printed):
    decision = Decision("test", 2, 90, 90, 0, 0, {})
    tables.funnel(decision, replace(NONE, damaged={"00001": "the file ends (byte 5)"}), {"HTTP 404": 10})
    text = printed.file.getvalue()
    assert "listed 100 = read 90 + not downloaded 10\n" in text
    assert "  damaged shard 00001: the file ends (byte 5)\n" in text


HOSTILE = "[/x]new\nline\x1b[31mred"


def test_names_from_a_pool_cannot_write_control_characters_or_markup(printed):
    tables.pending({HOSTILE: HOSTILE}, "winnow run r.yaml")
    sample = dict.fromkeys(("text", "url", "width", "height"))
    tables.explanation(
        Explanation("0" * 32, HOSTILE, 0, HOSTILE, **sample, keep=False, rules=[], evidence={})
    )
    text = printed.file.getvalue()
    assert text.count(r"[/x]new\nline\x1b[31mred") == 4
    assert "\x1b" not in text


def test_evidence_is_worded_and_a_sign_is_no_missing_value(printed):
    sample = {"text": "a - b", "url": None, "width": None, "height": None}
    evidence = {
        "parrot": [{"in_caption_and_image": "-"}, {"in_caption_and_image": "b"}],
        "wfpp": [{"word": "-", "pool_count": None}],
    }
    tables.explanation(Explanation("0" * 32, "s", 0, "k", **sample, keep=False, rules=[], evidence=evidence))
    lines = [" ".join(line.split()) for line in printed.file.getvalue().splitlines()]
    assert 'parrot: in caption and image: "-", b' in lines
    assert "word pool count" in lines
    assert '"-" -' in lines


def test_a_missing_value_has_its_reason_and_a_boolean_is_a_number(printed):
    """One line per reason, with the columns that it explains, each once."""
    rules = [
        RuleVerdict("clip.score", "clip.score", None, ">= 0.2", "no value", "cut off"),
        RuleVerdict("other", "clip.score", None, "<= 0.9", "no value", "cut off"),
        RuleVerdict("pdq.quality", "pdq.quality", None, ">= 5", "no value", "cut off"),
        RuleVerdict("caption.words", "caption.words", None, ">= 3", "no value", "no caption"),
        RuleVerdict("copy.copy", "copy.copy", True, "<= 0", "fails", None),
    ]
    sample = {"text": "a", "url": None, "width": None, "height": None}
    tables.explanation(Explanation("0" * 32, "s", 0, "k", **sample, keep=False, rules=rules, evidence={}))
    lines = [" ".join(line.split()) for line in printed.file.getvalue().splitlines()]
    assert lines[-2:] == [
        "no value of clip.score, pdq.quality: cut off",
        "no value of caption.words: no caption",
    ]
    assert "copy.copy 1 (true) <= 0 fails" in lines


def test_what_a_group_shows_is_not_said_twice(printed):
    """`same` repeats the sample's row in its group; `near` has a distance that its group does not show."""
    mine, other = "1" * 32, "2" * 32
    members = [
        {"uid": other, "keep": True, "size": 2, "rank": 1, "first": None},
        {"uid": mine, "keep": False, "size": 2, "rank": 2, "first": other},
    ]
    evidence = {
        "same": [{"copies": 2, "rank": 2, "uid": other}],
        "near": [{"uid": other, "distance": 14}],
        "alone": [{"uid": other, "rank": 2}],
    }
    groups = {"same": GroupOf(2, members), "near": GroupOf(2, members)}
    sample = {"text": "a", "url": None, "width": None, "height": None, "keep": False, "rules": []}
    one = Explanation(mine, "s", 0, "k", **sample, evidence=evidence, groups=groups)
    assert list(one.further_evidence) == ["near", "alone"]
    tables.explanation(one)
    lines = [" ".join(line.split()) for line in printed.file.getvalue().splitlines()]
    assert (lines.count("same"), lines.count("near")) == (0, 1)
    assert "same: 2 rows of the pool have its key" in lines


def test_what_became_of_the_pool(printed):
    said = {str(shard): "size 3 -> 4 bytes" for shard in range(4)}
    tables.rewritten(RunSummary(9.0, 0, {}, {}, said, {"7": "size 1 -> 2 bytes"}, 1, Tally()), ["8"])
    example = "size 3 -> 4 bytes"
    assert " ".join(printed.file.getvalue().split()) == (
        "changed 4 shards with other content than an earlier run read; done anew "
        f"(0: {example}; 1: {example}; 2: {example}; ...) "
        "changed 1 shard rewritten during this run; read again (7: size 1 -> 2 bytes) "
        "gone 1 shard of an earlier run not in the pool any more; what they held does not count (8) "
        "touched, with the same content: 1 shard"
    )


def test_the_caption_of_the_recipe_comes_first_and_then_the_others(printed):
    sample = {"text": "best", "url": None, "width": None, "height": None}
    one = Explanation("0" * 32, "s", 0, "k", **sample, keep=True, rules=[], evidence={}, captions=("a", "b"))
    tables.explanation(one)
    tables.explanation(replace(one, text=None))
    lines = printed.file.getvalue().splitlines()
    others = ["other caption: 'a'", "other caption: 'b'"]
    assert [line for line in lines if "'" in line or "caption" in line] == [
        "'best'",
        *others,
        "no caption",
        *others,
    ]


def test_the_busiest_part_of_a_run_is_said_with_what_would_move_it(printed):
    clip, read = Bottleneck("clip", 0.93, 120.4, "more GPUs"), Bottleneck("read", 0.2, 3.0, "")
    short = Bottleneck("read", 0.4, 0.3, "more workers")  # nothing worth saying
    for found in (clip, read, Bottleneck("clip", 0.2, 24.0, "more GPUs", start=16.8), short, None):
        tables.bottleneck(found)
    assert printed.file.getvalue().splitlines() == [
        "busiest part of the run: clip, at work 93% of 120 s; to make it faster: more GPUs",
        "busiest part of the run: read, at work 20% of 3 s; the rest was waiting, for storage or workers",
        "busiest part of the run: clip, at work 20% of 24 s; the first 17 s were start-up",
    ]
