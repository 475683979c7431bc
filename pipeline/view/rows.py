"""The samples of a decision, row by row: their columns, every rule's verdict, and what became of them.

    for frame in frames(session, ["uid", "clip.score"]):
        frame.filter(pl.col("fate") == "dropped")

A frame has the columns that were asked for, and these:

    shard, row    String, UInt32: the place of the sample in the pool
    rule:NAME     Boolean: the verdict of the rule NAME; null if the sample has no value to judge
    fate          Enum: `kept`, `dropped` or `failed`, as the funnel counts the sample
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import polars as pl

from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.progress import Tick, nobody
from pipeline.rule import Rule

KEPT, DROPPED, FAILED = "kept", "dropped", "failed"
FATES = pl.Enum([KEPT, DROPPED, FAILED])
FATE = "fate"
BATCH = 1 << 17  # rows of a large shard that are read together


def frames(session: Session, columns: Sequence[str], done: Tick = nobody) -> Iterator[pl.DataFrame]:
    """The pool in order, some shards at a time. The decision must be stored. `done` is called, in any thread,
    with the number of rows that were read. Raises FileNotFoundError if a column is not stored."""
    names = [shard.name for shard in session.shards]
    yield from threaded_map(partial(read, session, columns, done=done), session.columns.groups(names))


def count(session: Session) -> int:
    """The rows of the pool, as far as the store knows them."""
    return sum(shard.rows for shard in session.shards)


def read(
    session: Session, columns: Sequence[str], shards: Sequence[str], done: Tick = nobody
) -> pl.DataFrame:
    """The rows of some shards, one below the other. `done`: see `frames`."""
    parts = []
    for frame in batches(session, columns, shards):
        parts.append(frame)
        done(len(frame))
    return pl.concat(parts)


def batches(session: Session, columns: Sequence[str], shards: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of some shards; a large shard in several frames, since captions and URLs take memory."""
    rules = session.recipe.keep
    verdicts = pl.concat([session.store.verdicts(session.decisions, shard) for shard in shards])
    judged = verdicts.select(*verdict_columns(rules), fate_of(rules))
    wanted = list(dict.fromkeys(["shard", "row", *columns]))
    if len(shards) > 1:
        yield session.columns.read_many(shards, wanted).hstack(judged)
        return
    start = 0
    for own in session.columns.batches(shards[0], wanted, BATCH):
        yield own.hstack(judged.slice(start, len(own)))
        start += len(own)


def verdict(rule: str) -> str:
    """The name of the column that holds a rule's verdicts."""
    return f"rule:{rule}"


def remaining(frame: pl.DataFrame, rules: Mapping[str, Rule]) -> pl.DataFrame:
    """The rows of `frames` of which rules with `of: remaining` take a share; all if there is none."""
    if not any(rule.of_remaining for rule in rules.values()):
        return frame
    others = {name: rule for name, rule in rules.items() if not rule.of_remaining}
    passes = [pl.col(verdict(name)).fill_null(rule.missing == "keep") for name, rule in others.items()]
    return frame.filter(pl.lit(True), *passes)


def verdict_columns(rules: Mapping[str, Rule]) -> list[pl.Expr]:
    """The verdicts of a table in the store, under their names here."""
    return [pl.col(rule).alias(verdict(rule)) for rule in rules]


def fate_of(rules: Mapping[str, Rule]) -> pl.Expr:
    """`fate`, out of a table of verdicts in the store. A sample failed if a rule that needs a value has
    none."""
    lacks = [pl.col(name).is_null() for name, rule in rules.items() if rule.missing == "drop"]
    failed = pl.any_horizontal(lacks) if lacks else pl.lit(False)
    fate = pl.when("keep").then(pl.lit(KEPT)).when(failed).then(pl.lit(FAILED)).otherwise(pl.lit(DROPPED))
    return fate.cast(FATES).alias(FATE)


def fails_only(rule: str, rules: Mapping[str, Rule]) -> pl.Expr:
    """Of `frames`: whether a sample is dropped, and by this rule alone."""
    others = [~pl.col(verdict(name)).fill_null(True) for name in rules if name != rule]
    alone = ~pl.any_horizontal(others) if others else pl.lit(True)
    return (pl.col(FATE) == DROPPED) & ~pl.col(verdict(rule)).fill_null(True) & alone
