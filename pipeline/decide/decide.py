"""Decisions: every rule on every row, from stored columns alone.

First each share (`top: 0.3`) is resolved to a cut (`cuts.py`), then each shard gets its verdicts.
`rules.json`, written last, holds cuts and counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import orjson
import polars as pl

from pipeline.decide.cuts import resolve_cuts
from pipeline.plan.session import Session
from pipeline.pool.columns import Columns
from pipeline.rule import Cut, Rule
from pipeline.run.ordered_map import threaded_map
from pipeline.schema import owner
from pipeline.storage import layout


def decide(session: Session) -> dict[str, Any]:
    """The content of `rules.json` for this session's shards, computed unless it is there already."""
    folder = session.decisions
    if session.store.root.exists(layout.rules(folder)):
        return summary(session)
    rules = session.recipe.keep
    columns = session.columns
    names = [shard.name for shard in session.shards]
    cuts = resolve_cuts({n: r for n, r in rules.items() if r.needs_cut}, columns, names)
    counts, rows = Counts(list(rules)), []
    decide_group = partial(_decide_group, session, columns, cuts, folder)
    for found, per_shard in threaded_map(decide_group, columns.groups(names)):
        counts.add(found)
        rows += per_shard
    session.store.write(layout.decided_shards(folder), pl.DataFrame(rows, schema=SHARDS).sort("shard"))
    result = counts.summary(session, cuts)
    session.store.root.publish(layout.rules(folder), orjson.dumps(result, option=orjson.OPT_INDENT_2))
    return result


# Where a shard's verdicts are: rows [start, start + samples) of <part>.parquet
SHARDS = {"shard": pl.String, "samples": pl.Int64, "kept": pl.Int64, "part": pl.String, "start": pl.Int64}


def summary(session: Session) -> dict[str, Any]:
    """The stored `rules.json`. Raises FileNotFoundError."""
    return dict(orjson.loads(session.store.root.read(layout.rules(session.decisions))))


@dataclass
class Counts:
    """Counts over rows. `first`: dropped, by the first rule that fails; `failed`: a rule had no value to
    judge, by the first such rule and its reason; samples = kept + sum(first) + sum(failed). `both`: passes of
    two rules at once."""

    rules: list[str]

    def __post_init__(self) -> None:
        self.samples = self.kept = 0
        self.first: Counter[str] = Counter()
        self.passes: Counter[str] = Counter()
        self.total: Counter[str] = Counter()
        self.only: Counter[str] = Counter()
        self.both: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()

    def add(self, other: "Counts") -> None:
        """Add another shard's counts."""
        self.samples += other.samples
        self.kept += other.kept
        for mine, theirs in zip(self._counters(), other._counters(), strict=True):
            mine.update(theirs)

    def _counters(self) -> tuple[Counter[Any], ...]:
        return self.first, self.passes, self.total, self.only, self.both, self.failed

    def summary(self, session: Session, cuts: Mapping[str, Cut]) -> dict[str, Any]:
        """As plain data, for `rules.json`."""
        found = {name: cut.value for name, cut in cuts.items() if not np.isnan(cut.value)}
        rules = {
            name: {
                "column": rule.column,
                "bound": rule.describe(found.get(name)),
                "cut": found.get(name),
                "passes": self.passes[name],
                "fails": self.total[name],
                "fails_only": self.only[name],
                "dropped": self.first[name],
                "passes_with": {other: self.both[name, other] for other in self.rules if other != name},
                "failed": {reason: n for (owner, reason), n in sorted(self.failed.items()) if owner == name},
            }
            for name, rule in session.recipe.keep.items()
        }
        dropped, failed = sum(self.first.values()), sum(self.failed.values())
        return {
            "recipe": session.recipe.name,
            "shards": len(session.shards),
            "samples": self.samples,
            "kept": self.kept,
            "dropped": dropped,
            "failed": failed,
            "rules": rules,
        }


def _decide_group(
    session: Session, columns: Columns, cuts: Mapping[str, Cut], folder: str, group: Sequence[str]
) -> tuple[Counts, list[dict[str, Any]]]:
    """Decide on some shards: write their verdicts, as one file, for ten thousand files of ten rows would take longer
    than all else; returns their counts, together and by shard."""
    rules = session.recipe.keep
    owners = {name: o for name, rule in rules.items() if (o := owner(rule.column)) is not None}
    errors = [f"{owner}.error" for owner in owners.values()]
    uid = ["uid"] if any(rule.needs_uid for rule in rules.values()) else []
    frame = columns.read_many(group, ["shard", *uid, *(rule.column for rule in rules.values()), *errors])
    uids = frame["uid"] if uid else pl.Series([], dtype=pl.String)
    verdicts = [
        rule.verdict(frame[rule.column], uids, cuts.get(name)).alias(name) for name, rule in rules.items()
    ]
    counts, decided = tally(rules, verdicts, frame, owners)
    lengths = dict(frame["shard"].rle().struct.unnest().select("value", "len").iter_rows())
    session.store.write(layout.part(folder, group[0]), decided)
    rows, start = [], 0
    for shard in group:
        kept = decided["keep"].slice(start, lengths.get(shard, 0))
        rows.append(
            {"shard": shard, "samples": len(kept), "kept": kept.sum(), "part": group[0], "start": start}
        )
        start += len(kept)
    return counts, rows


def tally(
    rules: Mapping[str, Rule], verdicts: Sequence[pl.Series], frame: pl.DataFrame, owners: Mapping[str, str]
) -> tuple[Counts, pl.DataFrame]:
    """Counts of some rows, and (n, 1 + rules) `keep` and the verdicts, which go by the rules' names."""
    counts, names = Counts(list(rules)), list(rules)
    keep = pl.repeat(True, len(frame), eager=True).alias("keep")
    for name, verdict in zip(names, verdicts, strict=True):
        keep &= verdict.fill_null(rules[name].missing == "keep")
    decided = pl.DataFrame([keep, *verdicts])
    strict = [name for name in names if rules[name].missing == "drop"]
    for kept, *row, n in decided.group_by(decided.columns).len().iter_rows():  # by combinations of verdicts
        found = dict(zip(names, row, strict=True))
        passes = [name for name in names if found[name]]
        fails = [name for name in names if found[name] is False]
        counts.samples += n
        counts.kept += n if kept else 0
        counts.passes.update(dict.fromkeys(passes, n))
        counts.both.update(dict.fromkeys(permutations(passes, 2), n))
        counts.total.update(dict.fromkeys(fails, n))
        if fails and all(found[name] is not None for name in strict):
            counts.first[fails[0]] += n
            counts.only.update(dict.fromkeys(fails if len(fails) == 1 else (), n))
    earlier = pl.lit(False)
    for name in strict:  # a row fails for the first rule that has no value to judge
        rows = decided.select(pl.col(name).is_null() & ~earlier).to_series()
        if rows.any():
            reasons = _reasons(frame, owners.get(name), rows)
            counts.failed.update({(name, reason): n for reason, n in reasons.items()})
        earlier = earlier | pl.col(name).is_null()
    return counts, decided


def _reasons(frame: pl.DataFrame, owner: str | None, rows: pl.Series) -> dict[str, int]:
    """Why a column has no value, by category: the text before the first colon."""
    if owner is None:
        return {"no value": int(rows.sum())}
    texts = frame[f"{owner}.error"].filter(rows).fill_null("no value")
    return dict(Counter(text.split(": ")[0] for text in texts))
