"""Decisions: every rule's verdict on every row, from stored columns alone.

    decision = decide(session)
    print(decision.kept, decision.rules["clip.score"].cut)

First each share (`top: 0.3`) becomes a cut (cuts.py). Then the shards get their verdicts, a group of shards
at a time, and the verdicts are counted (counts.py). `rules.json`, with cuts and counts, is written last.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import polars as pl

from pipeline.decide.counts import Counts, count_verdicts, judge, judged_by
from pipeline.decide.cuts import cuts_of
from pipeline.decide.decision import Decision
from pipeline.errors import ShardError
from pipeline.ordered_map import threaded_map
from pipeline.plan.keys import identities
from pipeline.plan.session import Session
from pipeline.plan.store_pool import claim_store
from pipeline.plan.stored import is_whole
from pipeline.progress import watched
from pipeline.rule import Cut
from pipeline.schema import owner
from pipeline.storage import layout


class DecidedShard(NamedTuple):
    """A row of `shards.parquet`: which rows of which file are a shard's verdicts."""

    shard: str
    samples: int
    kept: int
    part: str  # verdicts/<part>.parquet, of which they are the rows [start, start + samples)
    start: int


SHARDS_SCHEMA = {
    "shard": pl.String,
    "samples": pl.Int64,
    "kept": pl.Int64,
    "part": pl.String,
    "start": pl.Int64,
}


def decide(session: Session) -> Decision:
    """The decision of the session's rules on its shards. Verdicts are computed and stored, unless they are
    already; if a file of them is damaged, all are made again. Raises FileNotFoundError if a column that a
    rule reads is not stored."""
    store, folder = session.store, session.decisions
    claim_store(store, session.root, session.recipe.pool, session.kind)
    if (stored := stored_decision(session)) is not None:
        return stored
    names = [shard.name for shard in session.shards]
    cuts = cuts_of(session.recipe.keep, session.columns, names)
    counts = Counts()
    decided = list[DecidedShard]()
    groups = list(session.columns.groups(names))
    verdicts = threaded_map(partial(_decide_group, session, cuts), groups)
    for group_counts, group_shards in watched("deciding", verdicts, len(groups)):
        counts.add_counts(group_counts)
        decided += group_shards
    shards = pl.DataFrame(decided, schema=SHARDS_SCHEMA, orient="row").sort("shard")
    store.write(layout.decided_shards(folder), shards)
    _check_still_current(session)
    decision = _decision(session, counts, cuts)
    store.root.publish_json(layout.rules(folder), decision, durable=True)
    return decision


def stored_decision(session: Session) -> Decision | None:
    """The decision that the store holds, or None if it holds none, or not as it was written."""
    rules = session.store.root.read_json(layout.rules(session.decisions))
    if rules is None or not session.store.has_verdicts(session.decisions):
        return None
    return Decision.from_json(rules)


def _decision(session: Session, counts: Counts, cuts: Mapping[str, Cut]) -> Decision:
    """The counts of all shards, as a decision of the session's recipe."""
    rules = session.recipe.keep
    return Decision(
        recipe=session.recipe.name,
        shards=len(session.shards),
        samples=counts.samples,
        kept=counts.kept,
        dropped=counts.dropped.total(),
        failed=counts.failed.total(),
        rules={name: counts.of_rule(name, rules, cuts.get(name)) for name in rules},
    )


def _check_still_current(session: Session) -> None:
    """Raises ShardError if the columns that the rules read have changed meanwhile."""
    now = session.refreshed()
    owners = {
        operator for rule in session.recipe.keep.values() if (operator := owner(rule.column)) is not None
    }
    folders = [session.folder(name) for name in owners if name in session.recipe.compute]
    same = identities(now.shards) == identities(session.shards)
    if not (same and all(is_whole(now, folder) for folder in folders)):
        raise ShardError("another run changed the store while this one decided: run the command again")


def _decide_group(
    session: Session, cuts: Mapping[str, Cut], group: Sequence[str]
) -> tuple[Counts, list[DecidedShard]]:
    """Write the verdicts on some shards; returns their counts, and which rows are whose.

    The verdicts go into one file: ten thousand files of ten rows would take longer than all the rest."""
    rules = session.recipe.keep
    columns = _read_columns(session, group)
    decided = judge(rules, cuts, columns)
    session.store.write(layout.verdicts(session.decisions, group[0]), decided)
    return count_verdicts(rules, decided, columns), _decided_shards(group, columns["shard"], decided["keep"])


def _read_columns(session: Session, group: Sequence[str]) -> pl.DataFrame:
    """Of some shards, one below the other: `shard`, the columns that rules read, and their operators'
    errors."""
    rules = session.recipe.keep.values()
    owners = [owner(rule.column) for rule in rules]
    errors = [f"{operator}.error" for operator in owners if operator is not None]
    return session.columns.read_many(group, ["shard", *judged_by(rules), *errors])


def _decided_shards(group: Sequence[str], shards: pl.Series, keep: pl.Series) -> list[DecidedShard]:
    """Which rows belong to which shard. `shards`, `keep`: by row; a shard without rows occurs in `group`
    alone."""
    lengths = dict(shards.rle().struct.unnest().select("value", "len").iter_rows())
    decided = list[DecidedShard]()
    start = 0
    for shard in group:
        length = lengths.get(shard, 0)
        kept = int(keep.slice(start, length).sum())
        decided.append(DecidedShard(shard, length, kept, group[0], start))
        start += length
    return decided
