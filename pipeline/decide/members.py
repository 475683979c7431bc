"""The groups that a sample is in: how many rows each has, and some of them.

found = members(session, [("00000", 17)])
found[("00000", 17)]["copies"].rows        # rows of the pool that share its key
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from pipeline.decide.lookup import Place
from pipeline.operator import Group
from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.plan.stored import is_whole
from pipeline.progress import watched
from pipeline.recipe.check import column_types

SHOWN = 8  # members of a group: those that are kept come first


@dataclass(frozen=True)
class GroupOf:
    """The group that a sample is in. `rows`: how many it has; `members`: `uid`, `keep`, and what the Group
    wrote, of SHOWN of them at most, kept ones first, then in the order of the pool."""

    rows: int
    members: Sequence[Mapping[str, object]] = field(default_factory=list)


def members(session: Session, places: Sequence[Place]) -> dict[Place, dict[str, GroupOf]]:
    """Place -> Group -> the group that the sample there is in. Groups whose key is a list, that give the
    sample no group, or that are not computed, are left out. The decision must be stored. Reads the keys of
    the whole pool, once for each Group."""
    found: dict[Place, dict[str, GroupOf]] = {place: {} for place in places}
    for name in _groups(session) if places else ():
        for place, group in _of_one(session, name, places):
            found[place][name] = group
    return found


def _groups(session: Session) -> Iterator[str]:
    """The Groups of a recipe that are computed and whose key is not a list."""
    types = column_types(session.recipe)
    for name in session.recipe.compute:
        operator = session.recipe.operator(name)
        if not isinstance(operator, Group) or types[operator.keys()[0]] == pl.List:
            continue
        if is_whole(session, session.folder(name)):
            yield name


def _of_one(session: Session, name: str, places: Sequence[Place]) -> Iterator[tuple[Place, GroupOf]]:
    """(place, group) of each place that has a group of this Group."""
    operator = session.recipe.operator(name)
    assert isinstance(operator, Group)
    keys = list(operator.keys())
    own = pl.concat([session.columns.rows_at(shard, [row], keys) for shard, row in places])
    wanted = own.drop_nulls().unique()
    if wanted.is_empty():
        return

    groups = wanted.with_row_index("group")

    def matching(shard: str) -> pl.DataFrame:
        """`shard`, `at` and `group` of the rows of a shard that are in one of these groups."""
        frame = session.columns.read(shard, keys).with_row_index("at").join(groups, on=keys)
        return frame.select(pl.lit(shard).alias("shard"), "at", "group")

    names = [shard.name for shard in session.shards]
    looked = threaded_map(matching, names)
    counts, first = _counted(watched("looking for the rows of groups", looked, len(names)), len(groups))
    numbers = own.join(groups, on=keys, how="left", maintain_order="left")["group"]
    for place, number in zip(places, numbers, strict=True):
        if number is not None:
            yield place, GroupOf(counts[number], _shown(session, name, pl.concat(first[number])))


def _counted(matches: Iterable[pl.DataFrame], groups: int) -> tuple[list[int], list[list[pl.DataFrame]]]:
    """Of each group: how many rows it has, and its rows in the first shards that have some, as many as
    `_shown` looks at. Others are not held: a group may have any number of rows."""
    counts, first = [0] * groups, [list[pl.DataFrame]() for _ in range(groups)]
    for frame in matches:
        for (number,), rows in frame.group_by("group", maintain_order=True):
            counts[int(number)] += len(rows)
            if len(first[int(number)]) <= SHOWN:
                first[int(number)].append(rows.sort("at"))
    return counts, first


def _shown(session: Session, name: str, rows: pl.DataFrame) -> list[Mapping[str, object]]:
    """SHOWN rows of a group. Verdicts are read of the first rows of the pool, SHOWN shards at most beyond
    those that are shown."""
    shown: list[dict[str, object]] = []
    operator = session.recipe.operator(name)
    assert isinstance(operator, Group)
    columns = {f"{name}.{short}": short for short, dtype in operator.writes.items() if not dtype.is_nested()}
    for number, (shard, found) in enumerate(rows.group_by("shard", maintain_order=True)):
        kept = session.store.kept(session.decisions, str(shard[0])).gather(found["at"]).alias("keep")
        found = found.with_columns(kept).sort("keep", descending=True, maintain_order=True).head(SHOWN)
        frame = session.columns.rows_at(str(shard[0]), found["at"].to_list(), ["uid", *columns])
        shown += frame.rename(columns).insert_column(1, found["keep"]).to_dicts()
        shown = sorted(shown, key=lambda row: not row["keep"])[:SHOWN]
        if number >= SHOWN and len(shown) == SHOWN:
            break
    return list(shown)
