"""The effects of a decision on the pool's statistics: every Stat again, over the kept samples, and the
tables in which its operator compares the two.

    effects/<recipe>-<key>/<stat>-<key>.parquet      the Stat over the kept samples
    effects/<recipe>-<key>/<stat>/<table>.parquet    one table of the operator's `compare`
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from pipeline.operator import Stat
from pipeline.plan.session import Session
from pipeline.plan.stored import require
from pipeline.pool.shards import Shard
from pipeline.run.executor import Executor
from pipeline.run.stats import StatTask, reduced
from pipeline.storage import layout


@dataclass(frozen=True)
class Effects:
    """Stat -> name -> table. `folder`: where in the store the tables are."""

    folder: str
    tables: Mapping[str, Mapping[str, pl.DataFrame]]

    def to_rows(self) -> dict[str, dict[str, list[dict[str, object]]]]:
        """Stat -> name -> the rows of the table, for `--json`."""
        return {
            stat: {name: table.to_dicts() for name, table in tables.items()}
            for stat, tables in self.tables.items()
        }


def effects(session: Session, executor: Executor) -> Effects:
    """Compare every Stat before and after the decision, and store the tables. Stats whose operator does not
    define `compare` are left out. The decision must be stored. Raises RecipeError if a Stat is not
    computed."""
    folder = layout.effects_folder(session.decisions)
    compared = {}
    for name in session.recipe.compute:
        operator = session.recipe.operator(name)
        if isinstance(operator, Stat) and type(operator).compare is not Stat.compare:
            compared[name] = _compare(session, executor, name, operator)
            for table, frame in compared[name].items():
                session.store.write(f"{folder}/{name}/{table}.parquet", frame)
    return Effects(folder, compared)


def _compare(session: Session, executor: Executor, name: str, stat: Stat) -> Mapping[str, pl.DataFrame]:
    """The tables that compare a Stat over all samples with the same Stat over the kept ones."""
    require(session, [name, *stat.owners()])
    before = session.store.read(layout.stat(name, session.keys[name]))
    sources = {owner: session.recipe.operator(owner) for owner in stat.owners()}
    return stat.compare(before, _after(session, executor, name), sources)


def _after(session: Session, executor: Executor, name: str) -> pl.DataFrame:
    """The Stat over the kept samples: read from the store, or reduced and stored."""
    path = f"{layout.effects_folder(session.decisions)}/{name}-{session.keys[name]}.parquet"
    if not session.store.whole([path]):
        session.store.write(path, reduced(executor, _KeptTask(session, name), session.shards))
    return session.store.read(path)


class _KeptTask(StatTask):
    """A Stat over the rows that are kept."""

    def __init__(self, session: Session, name: str) -> None:
        super().__init__(session, name)
        self.decisions = session.decisions

    def frames(self, shard: Shard) -> Iterator[pl.DataFrame]:
        """See StatTask; rows that are not kept are left out."""
        keep = self.columns.store.kept(self.decisions, shard.name)
        start = 0
        for frame in super().frames(shard):
            yield frame.filter(keep.slice(start, len(frame)))
            start += len(frame)
