"""Tables on a terminal: text folds, numbers stay whole."""

import io

import pytest
from rich.console import Console

from jobs.terminal import tables
from pipeline.decide.decision import Decision, RuleCount


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
    tables.funnel(Decision("test", 26, 12_800_000, 3_840_001, 8_959_999, 0, rules))
    text = out.file.getvalue()
    assert "…" not in text
    assert text.count("8,959,999") == 4
    assert "model" in text
