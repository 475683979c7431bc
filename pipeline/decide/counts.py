"""From a table of verdicts to the counts of the funnel. Pure functions; nothing is read or written here."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import polars as pl

from pipeline.decide.decision import RuleCount
from pipeline.rule import Cut, Rule
from pipeline.schema import owner

NO_VALUE = "no value"  # the reason of a row that lacks a value, if its operator gave none


@dataclass
class Counts:
    """Counts over rows; those of several shards add up. A row is either kept, or counted once in `dropped`,
    or once in `failed`: samples = kept + sum(dropped) + sum(failed).

    passes, fails, fails_only, dropped   by rule, see RuleCount
    passes_both                          by (rule, other rule)
    failed                               by (rule, reason)
    """

    samples: int = 0
    kept: int = 0
    passes: Counter[str] = field(default_factory=Counter)
    fails: Counter[str] = field(default_factory=Counter)
    fails_only: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    passes_both: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add_counts(self, other: "Counts") -> None:
        """Add the counts of other rows."""
        self.samples += other.samples
        self.kept += other.kept
        self.passes.update(other.passes)
        self.fails.update(other.fails)
        self.fails_only.update(other.fails_only)
        self.dropped.update(other.dropped)
        self.passes_both.update(other.passes_both)
        self.failed.update(other.failed)

    def of_rule(self, name: str, rules: Mapping[str, Rule], cut: Cut | None) -> RuleCount:
        """The counts of the rule `name`; `cut` is the cut of a rule that has a share."""
        value = None if cut is None or np.isnan(cut.value) else cut.value
        return RuleCount(
            column=rules[name].column,
            bound=rules[name].describe(value),
            cut=value,
            passes=self.passes[name],
            fails=self.fails[name],
            fails_only=self.fails_only[name],
            dropped=self.dropped[name],
            passes_with={other: self.passes_both[name, other] for other in rules if other != name},
            failed={reason: rows for (rule, reason), rows in sorted(self.failed.items()) if rule == name},
        )


def judged_by(rules: Collection[Rule]) -> list[str]:
    """The columns by which rules judge: their own, and `uid` if one needs it."""
    uid = ["uid"] if any(rule.needs_uid for rule in rules) else []
    return [*uid, *(rule.column for rule in rules)]


def judge(rules: Mapping[str, Rule], cuts: Mapping[str, Cut], columns: pl.DataFrame) -> pl.DataFrame:
    """The `verdict_table` of some rows, which have the columns of `judged_by`."""
    uids = columns["uid"] if "uid" in columns.columns else pl.Series([], dtype=pl.String)
    verdicts = [rule.verdict(columns[rule.column], uids, cuts.get(name)) for name, rule in rules.items()]
    return verdict_table(rules, verdicts, len(columns))


def verdict_table(rules: Mapping[str, Rule], verdicts: Sequence[pl.Series], rows: int) -> pl.DataFrame:
    """(rows, 1 + rules) Boolean: `keep`, whether a row passes all rules; then one column of verdicts per
    rule, under its name. A verdict is null if the row has no value."""
    keep = pl.repeat(True, rows, eager=True).alias("keep")
    for rule, verdict in zip(rules.values(), verdicts, strict=True):
        keep &= verdict.fill_null(rule.missing == "keep")
    named = [verdict.alias(name) for name, verdict in zip(rules, verdicts, strict=True)]
    return pl.DataFrame([keep, *named])


def count_verdicts(rules: Mapping[str, Rule], decided: pl.DataFrame, columns: pl.DataFrame) -> Counts:
    """The counts of some rows. `decided`: as `verdict_table` makes it; `columns`: the same rows, with the
    column `<name>.error` of every operator that a rule reads."""
    counts = Counts()
    names = [f"{number}" for number in range(len(decided.columns))]  # a rule may be called `len`
    numbered = decided.rename(dict(zip(decided.columns, names, strict=True)))
    for kept, *verdicts, rows in numbered.group_by(names).len().iter_rows():
        _count_rows(counts, rules, dict(zip(rules, verdicts, strict=True)), rows)
        counts.kept += rows if kept else 0
    lacks_value = pl.repeat(False, len(decided), eager=True)
    for name in _need_a_value(rules):
        first_to_lack = decided[name].is_null() & ~lacks_value
        if first_to_lack.any():
            reasons = _reasons(columns, owner(rules[name].column), first_to_lack)
            counts.failed.update({(name, reason): rows for reason, rows in reasons.items()})
        lacks_value |= decided[name].is_null()
    return counts


def _count_rows(
    counts: Counts, rules: Mapping[str, Rule], verdicts: Mapping[str, bool | None], rows: int
) -> None:
    """Count so many rows that have the same verdicts."""
    passes = [name for name, verdict in verdicts.items() if verdict]
    fails = [name for name, verdict in verdicts.items() if verdict is False]
    counts.samples += rows
    counts.passes.update(dict.fromkeys(passes, rows))
    counts.passes_both.update(dict.fromkeys(permutations(passes, 2), rows))
    counts.fails.update(dict.fromkeys(fails, rows))
    if fails and all(verdicts[name] is not None for name in _need_a_value(rules)):
        counts.dropped[fails[0]] += rows
        if len(fails) == 1:
            counts.fails_only[fails[0]] += rows


def _need_a_value(rules: Mapping[str, Rule]) -> list[str]:
    """The rules under which a row without a value is not kept."""
    return [name for name, rule in rules.items() if rule.missing == "drop"]


def _reasons(columns: pl.DataFrame, operator: str | None, rows: pl.Series) -> dict[str, int]:
    """Reason -> how many of the marked rows have it. The reason is the operator's error up to the first
    colon."""
    if operator is None:
        return {NO_VALUE: int(rows.sum())}
    errors = columns[f"{operator}.error"].filter(rows).fill_null(NO_VALUE)
    return dict(Counter(error.split(": ")[0] for error in errors))
