"""Each sample under one cut beside the same sample under another, in bounded memory.

    for frame in pairs(a, b, seed=0):
        frame.filter(kept("a") & ~kept("b"))

A frame has these columns, with `a:` before those of the first cut, `b:` before those of the second:

    a:shard, a:row     the place of the sample; null if the first pool lacks it
    a:rule:NAME        the verdict of each rule, as in `view.rows`
    a:fate             `kept`, `dropped` or `failed`; null if the first pool lacks it
    draw               Float64: the sample's draw by `uids.draw`; only with a seed

If the shards of both cuts have the same names and contents, the same sample is in the same row of the same
shard (`by_place`). Otherwise samples are matched by their uids (`by_uid`): the first sample with a uid in one
pool is the first one with it in the other, and so on.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import polars as pl

from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.progress import Tick, begun
from pipeline.uids import draw, uid_halves
from pipeline.view import rows
from pipeline.view.rows import FATE, KEPT

Side = Literal["a", "b"]
PLACES, UIDS = "shard and row", "uid"  # by what samples are matched
DRAW = "draw"
ROWS_AT_ONCE = 4_000_000  # of each pool that are matched by uid at a time: about 1 GB of memory
_KEYS = ["high", "low", "nth"]  # a uid as two numbers, and how often it came before


def named(side: Side, column: str) -> str:
    """The name of a side's column here."""
    return f"{side}:{column}"


def kept(side: Side) -> pl.Expr:
    """Whether a side keeps a sample; false if it lacks it."""
    return (pl.col(named(side, FATE)) == KEPT).fill_null(False)


def present(side: Side) -> pl.Expr:
    """Whether a sample is in a side's pool."""
    return pl.col(named(side, FATE)).is_not_null()


def matched_by(a: Session, b: Session) -> str:
    """`shard and row` if the shards of one are among those of the other, with the same contents; else
    `uid`."""
    one, two = ({shard.name: shard.content for shard in session.shards} for session in (a, b))
    few, many = sorted((one, two), key=len)
    return PLACES if few and few.items() <= many.items() else UIDS


def pairs(a: Session, b: Session, seed: int | None = None) -> Iterator[pl.DataFrame]:
    """Every sample of both pools once. Both decisions must be stored."""
    return by_place(a, b, seed) if matched_by(a, b) == PLACES else by_uid(a, b, seed)


# --- by shard and row -----------------------------------------------------------------------------


def by_place(a: Session, b: Session, seed: int | None) -> Iterator[pl.DataFrame]:
    """As `pairs`, for pools in which equal places hold the same sample. Reads each verdict once."""
    names = {shard.name for shard in a.shards} & {shard.name for shard in b.shards}
    shared = [shard.name for shard in a.shards if shard.name in names]
    tick = begun("comparing rows", sum(shard.rows for shard in a.shards if shard.name in names))
    yield from threaded_map(partial(_same_rows, a, b, seed, tick), a.columns.groups(shared))
    for side, session in (("a", a), ("b", b)):
        alone = [shard.name for shard in session.shards if shard.name not in names]
        for frame in threaded_map(partial(_read, session, seed), session.columns.groups(alone)):
            yield _alone(frame, "a" if side == "a" else "b", b if side == "a" else a)


def _same_rows(a: Session, b: Session, seed: int | None, done: Tick, shards: Sequence[str]) -> pl.DataFrame:
    """The rows of some shards that both pools have; `done` is called with their number."""
    one = _read(a, seed, shards)
    two = rows.read(b, [], shards, done)
    both = _prefixed(one, "a").hstack(_prefixed(two, "b"))
    return both if seed is None else both.rename({named("a", DRAW): DRAW})


def _alone(frame: pl.DataFrame, side: Side, other: Session) -> pl.DataFrame:
    """Rows of one pool, beside nulls of the other."""
    lacking = _empty(other).clear(len(frame))
    sides = [_prefixed(frame, side), _prefixed(lacking, "b" if side == "a" else "a")]
    both = pl.concat(sides if side == "a" else sides[::-1], how="horizontal")
    return both.rename({named(side, DRAW): DRAW}, strict=False)


def _read(session: Session, seed: int | None, shards: Sequence[str]) -> pl.DataFrame:
    """The places and verdicts of some shards, and the draws with a seed."""
    if seed is None:
        return rows.read(session, [], shards)
    frame = rows.read(session, ["uid"], shards)
    return frame.drop("uid").with_columns(pl.Series(DRAW, draw(seed, frame["uid"]), pl.Float64))


def _empty(session: Session) -> pl.DataFrame:
    """No rows, with the columns that a side has."""
    verdicts = {rows.verdict(name): pl.Boolean() for name in session.recipe.keep}
    return pl.DataFrame(schema={"shard": pl.String(), "row": pl.UInt32(), **verdicts, FATE: rows.FATES})


def _prefixed(frame: pl.DataFrame, side: Side) -> pl.DataFrame:
    """The columns under a side's names."""
    return frame.rename(lambda name: named(side, name))


# --- by uid ---------------------------------------------------------------------------------------


def by_uid(
    a: Session, b: Session, seed: int | None, rows_at_once: int = ROWS_AT_ONCE
) -> Iterator[pl.DataFrame]:
    """As `pairs`, for any two pools. The uids are divided by their draws into parts of about `rows_at_once`
    samples. Both pools' uids are read once per part."""
    counts = [rows.count(session) for session in (a, b)]
    parts = max(1, -(-max(counts) // rows_at_once))
    tick = begun("matching uids", parts * sum(counts))
    for part in range(parts):
        one, two = (_part(session, seed or 0, part, parts, tick) for session in (a, b))
        both = _prefixed(one, "a").join(
            _prefixed(two, "b"),
            left_on=[named("a", key) for key in _KEYS],
            right_on=[named("b", key) for key in _KEYS],
            how="full",
        )
        drawn = pl.coalesce(named("a", DRAW), named("b", DRAW)).alias(DRAW)
        places = [
            named(side, name) for side in ("a", "b") for name in _empty(a if side == "a" else b).columns
        ]
        yield both.select(*places, *([] if seed is None else [drawn]))


def _part(session: Session, seed: int, part: int, parts: int, done: Tick) -> pl.DataFrame:
    """The samples of a pool whose uids fall into a part, in pool order, with _KEYS. `done` is called with the
    rows that were read for it."""
    found = [_empty(session).with_columns(**_no_keys())]
    for frame in rows.frames(session, ["uid"], done):
        drawn = draw(seed, frame["uid"])
        high, low = uid_halves(frame["uid"])
        keyed = frame.drop("uid").with_columns(
            pl.Series("high", high), pl.Series("low", low), pl.Series(DRAW, drawn, pl.Float64)
        )
        found.append(keyed.filter((pl.col(DRAW) * parts).floor() == part))
    return pl.concat(found, how="vertical").with_columns(nth=pl.int_range(pl.len()).over("high", "low"))


def _no_keys() -> dict[str, pl.Expr]:
    """The columns that `_part` adds, for a frame without rows."""
    types = {"high": pl.UInt64(), "low": pl.UInt64(), DRAW: pl.Float64()}
    return {name: pl.lit(None, dtype) for name, dtype in types.items()}
