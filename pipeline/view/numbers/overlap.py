"""Which rules fail together: the counts behind an UpSet plot."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipeline.rule import Rule
from pipeline.view.rows import verdict

MOST = 40  # combinations that are shown by themselves


@dataclass(frozen=True)
class Combination:
    """`count` samples fail exactly these rules; a rule that needs a value fails a sample without one. None:
    all combinations that are not listed, together."""

    fails: tuple[str, ...] | None
    count: int


class Overlap:
    """Counts the rows that fail exactly the same rules. A gatherer (see gather.py)."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = dict(rules)
        self.columns: list[str] = []
        self._counts: Counter[tuple[bool, ...]] = Counter()

    def look(self, frame: pl.DataFrame) -> Counter[tuple[bool, ...]]:
        """See Gatherer. Which rules fail -> rows."""
        fails = [
            ~pl.col(verdict(name)).fill_null(rule.missing == "keep") for name, rule in self.rules.items()
        ]
        if not fails:
            return Counter()
        numbered = frame.select(fails[i].alias(str(i)) for i in range(len(fails)))
        counted = numbered.group_by(numbered.columns).len()
        return Counter({tuple(pattern): rows for *pattern, rows in counted.iter_rows()})

    def add(self, seen: Counter[tuple[bool, ...]]) -> None:
        """See Gatherer."""
        self._counts.update(seen)

    def combinations(self) -> list[Combination]:
        """The combinations that fail some rule, most frequent first, and the rest together."""
        named = [
            (tuple(name for name, fails in zip(self.rules, pattern, strict=True) if fails), rows)
            for pattern, rows in self._counts.items()
        ]
        ordered = sorted((c for c in named if c[0]), key=lambda c: (-c[1], len(c[0]), c[0]))
        listed = [Combination(*c) for c in ordered[:MOST]]
        rest = sum(rows for _, rows in ordered[MOST:])
        return [*listed, Combination(None, rest)] if rest else listed
