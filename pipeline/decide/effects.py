"""What a decision did to the pool's statistics: every Stat again, over the kept samples alone, and the
tables in which the operator compares both.

    effects/<recipe>-<key>/<stat>.parquet            the Stat over the kept samples
    effects/<recipe>-<key>/<stat>/<table>.parquet    what its `compare` makes of that
"""

from collections.abc import Iterator, Mapping

import polars as pl

from pipeline.operator import Stat
from pipeline.plan.session import Session
from pipeline.plan.stored import require
from pipeline.pool.shards import Shard
from pipeline.run.executor import Executor
from pipeline.run.stats import StatTask, reduced
from pipeline.storage import layout


def effects(session: Session, executor: Executor) -> dict[str, Mapping[str, pl.DataFrame]]:
    """Tables by Stat and name, published as parquet too; the decision must be there. Stats that compare
    nothing are left out. Raises RecipeError where one is not computed."""
    found = {}
    for name in session.recipe.compute:
        stat = session.recipe.operator(name)
        if not isinstance(stat, Stat) or type(stat).compare is Stat.compare:
            continue
        require(session, [name, *stat.owners()])
        before = session.store.read(layout.stat(name, session.keys[name]))
        sources = {owner: session.recipe.operator(owner) for owner in stat.owners()}
        found[name] = stat.compare(before, _after(session, executor, name), sources)
        for table, frame in found[name].items():
            session.store.write(f"{folder(session)}/{name}/{table}.parquet", frame)
    return found


def folder(session: Session) -> str:
    """Where the effects of a session's decision lie in the store."""
    return layout.effects_folder(session.decisions)


def _after(session: Session, executor: Executor, name: str) -> pl.DataFrame:
    """The Stat over the kept samples, from the store where it is there already."""
    path = f"{folder(session)}/{name}-{session.keys[name]}.parquet"
    if not session.store.root.exists(path):
        session.store.write(path, reduced(executor, _KeptTask(session, name), session.shards))
    return session.store.read(path)


class _KeptTask(StatTask):
    """A Stat over the rows that are kept."""

    def __init__(self, session: Session, name: str) -> None:
        super().__init__(session, name)
        self.decisions = session.decisions

    def frames(self, shard: Shard) -> Iterator[pl.DataFrame]:
        """See StatTask."""
        keep, start = self.columns.store.kept(self.decisions, shard.name), 0
        for frame in super().frames(shard):
            yield frame.filter(keep.slice(start, len(frame)))
            start += len(frame)
