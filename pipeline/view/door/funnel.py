"""The funnel of a decision as a table that a notebook shows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.decide.decision import Decision
from pipeline.view.door.html import render, shown

COUNTS = ("passes", "fails", "fails_only", "dropped", "failed", "left")
SCHEMA = {"rule": pl.String, "bound": pl.String, **dict.fromkeys(COUNTS, pl.Int64)}


@dataclass(frozen=True)
class Funnel:
    """How many samples each rule removes, in the order of the rules.

    decision  the counts as `winnow keep --json` prints them
    """

    decision: Decision

    @property
    def frame(self) -> pl.DataFrame:
        """(rules, 8) `rule`, `bound`, and counts of samples: `passes`, `fails`, `fails_only` (this rule and
        no other), `dropped` and `failed` (each sample at the first rule that does it), and `left`."""
        return pl.DataFrame(list(self._rows()), schema=SCHEMA)

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows of `frame`."""
        left = self.decision.samples
        for name, rule in self.decision.rules.items():
            failed = sum(rule.failed.values())
            left -= rule.dropped + failed
            counts = (rule.passes, rule.fails, rule.fails_only, rule.dropped, failed, left)
            yield {"rule": name, "bound": rule.bound, **dict(zip(COUNTS, counts, strict=True))}

    def __repr__(self) -> str:
        decision = self.decision
        rows = [f"  {shown(row['rule'])} {row['bound']}: {row['left']:,} left" for row in self._rows()]
        return "\n".join([f"{decision.samples:,} samples, {decision.kept:,} kept", *rows])

    def _repr_html_(self) -> str:
        return self.html()

    def html(self, title: str = "") -> str:
        """The table as HTML, below a title."""
        rows = list(self._rows())
        return render("funnel.html", title=title, decision=self.decision, rows=rows, columns=COUNTS)
