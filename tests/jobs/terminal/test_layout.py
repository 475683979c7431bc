"""Tables at any width: names whole, numbers whole, no line wider than the screen."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.terminal import tables
from jobs.terminal.console import Console
from jobs.terminal.tables import table
from pipeline.decide.books import Losses
from pipeline.decide.decision import Decision, RuleCount

NAMES = (
    "caption.words",
    "balance.probability",
    "masked_by_the_large_model (masked.score)",
    "parrot.fuzzy_rate",
)
BOUNDS = (">= 3", "draw(seed 0, uid) < value", ">= 0.603375 (top 80%)", "<= 0.5")
WIDTHS = (60, 80, 120, 200)


def lines(monkeypatch: pytest.MonkeyPatch, width: int, show) -> list[str]:
    """What a function of `tables` prints at a width."""
    out = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr("jobs.terminal.tables.console", out)
    show()
    return out.file.getvalue().splitlines()


def decision(count: int) -> Decision:
    """Of rules with NAMES, which pass `count` samples each, out of twice as many."""
    rules = {}
    for name, bound in zip(NAMES, BOUNDS, strict=True):
        rule, _, column = name.partition(" ")
        both = {other.partition(" ")[0]: count for other in NAMES if other != name}
        rules[rule] = RuleCount(column.strip("()") or name, bound, None, count, count, 7, 11, both, {})
    return Decision("test", 2, 2 * count, count, count, 0, rules)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1_000, 12_800_000_001])
def test_the_funnel(monkeypatch, width, count):
    shown = lines(monkeypatch, width, lambda: tables.funnel(decision(count), Losses({}, {}, {}, 0)))
    text = "\n".join(shown)
    assert max(map(len, shown)) <= width
    for word in " ".join(NAMES).split():
        assert len(re.findall(rf"^ ?{re.escape(word)}|{re.escape(word)}", text, re.MULTILINE)) >= 1, word
    assert len(re.findall(rf"\b{count:,}\b", text)) >= 2 * len(NAMES)
    for figure in ("passes", "fails", "alone", "dropped", "failed", "left"):
        assert figure in text


def test_the_funnel_at_60_columns_is_a_block_per_rule(monkeypatch):
    shown = lines(monkeypatch, 60, lambda: tables.funnel(decision(12_800_000_001), Losses({}, {}, {}, 0)))
    start = shown.index("caption.words  >= 3")
    assert shown[start + 1].split() == ["passes", "12,800,000,001", "fails", "12,800,000,001"]
    assert shown[start + 2].split() == ["fails", "alone", "7", "dropped", "11"]


@pytest.mark.parametrize("width", WIDTHS)
def test_overlap_keeps_number_and_name_of_each_row(monkeypatch, width):
    rules = {
        f"operator{n:02}.score": RuleCount(f"operator{n:02}.score", ">= 1", None, 100, 0, 0, 0, {}, {})
        for n in range(1, 13)
    }
    shown = lines(monkeypatch, width, lambda: tables.overlap(Decision("t", 1, 100, 100, 0, 0, rules)))
    assert max(map(len, shown)) <= width
    rows = [line.split() for line in shown if "operator" in line]
    parts = len(rows) // 12
    assert len(rows) == 12 * parts
    for number in range(1, 13):
        mine = [row for row in rows if row[0] == str(number)]
        assert [row[1] for row in mine] == [f"operator{number:02}.score"] * parts
        assert sum(len(row) - 2 for row in mine) == 12
    headings = [word for line in shown if " rule " in line for word in line.split() if word.isdecimal()]
    assert headings == [str(number) for number in range(1, 13)]


def test_everything_fits_side_by_side_if_it_can(monkeypatch):
    rows = table("", "rule", "bound", "left", text=2)
    rows.add_row("caption.words", ">= 3 and more words than fit beside the name of the rule", "1,000")
    shown = lines(monkeypatch, 40, lambda: tables.console.print(rows))
    assert [line.rstrip() for line in shown if line.strip()] == [
        " rule           bound              left",
        " ──────────────────────────────────────",
        " caption.words  >= 3 and more     1,000",
        "                words than fit",
        "                beside the name",
        "                of the rule",
    ]


TEXT = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Z", "C"]), max_size=90)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), max_size=4), st.integers(20, 200), st.booleans())
def test_any_text_at_any_width(cells, width, matrix):
    rows = table("title", "name", "text", "first number", "n", text=2, matrix=matrix)
    for row in cells:
        rows.add_row(*row)
    out = Console(file=io.StringIO(), width=width)
    out.print(rows)
    shown = out.file.getvalue().split("\n")
    assert all(line.isprintable() for line in shown)
    assert all(len(line) <= width for line in shown)
