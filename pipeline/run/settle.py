"""Shards whose files may have changed: are they still what they were when their samples were read?

    session = settle(session, executor, log)

A listing tells the state of each file. If it differs from the one that the samples note, the file is read,
its bytes only, and its content is compared. Equal: the new state is noted, and nothing is computed again.
Different: the shard counts as not read, so `compute` does it anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import ShardError, worded
from pipeline.plan.session import Session
from pipeline.pool.kinds.kind import PoolKind
from pipeline.pool.sample_table import note_sources
from pipeline.pool.shards import Shard
from pipeline.progress import watched
from pipeline.run.executor import Executor
from pipeline.run.log import RunLog
from pipeline.storage import layout
from pipeline.storage.identity import Seen
from pipeline.storage.retry import persist


@dataclass(frozen=True)
class Identified:
    """A shard as it was seen, or why it cannot be read."""

    shard: str
    seen: Seen | None
    error: str = ""


class IdentifyTask:
    """Identifies shards of one kind. Travels to Ray workers."""

    def __init__(self, kind: PoolKind) -> None:
        self.kind = kind

    def __call__(self, shard: Shard) -> Identified:
        """Read a shard's bytes. Storage faults are retried with back-off."""
        try:
            return Identified(shard.name, persist(lambda: self.kind.identify(shard)))
        except ShardError as error:
            return Identified(shard.name, None, worded(error))


def settle(session: Session, executor: Executor, log: RunLog) -> Session:
    """The same session without any `Shard.differs`: each of these shards has its content back, or counts as
    not read and stands in `log.rewritten`. A shard that cannot be read counts as not read, too."""
    doubtful = [shard for shard in session.shards if shard.differs]
    if not doubtful:
        return session
    noted = session.store.footers(layout.SAMPLES, [shard.name for shard in doubtful])
    seen = {one.shard: one.seen for one in _identified(session, executor, doubtful)}
    unchanged = {
        shard.name: state
        for shard in doubtful
        if (state := seen[shard.name]) and state.content == noted[shard.name].notes.get("content")
    }
    if unchanged:
        note_sources(session.store, unchanged, session.kind.reading)
    log.touched += len(unchanged)
    log.rewritten.update({s.name: s.differs for s in doubtful if s.name not in unchanged})
    rows = {name: noted[name].rows for name in unchanged}
    return session.over([_settled(shard, unchanged, rows) for shard in session.shards])


def _identified(session: Session, executor: Executor, doubtful: Sequence[Shard]) -> Iterator[Identified]:
    """Each of these shards as it is now."""
    found = executor.each(IdentifyTask(session.kind), doubtful)
    return watched("comparing files with what was read", found, len(doubtful))


def _settled(shard: Shard, unchanged: Mapping[str, Seen], rows: Mapping[str, int]) -> Shard:
    """The shard with the state and the content in which its file was seen, if that is what is stored; else as
    one that was not read."""
    seen = unchanged.get(shard.name)
    if seen is None:
        return replace(shard, differs="")
    return replace(shard, state=seen.state, content=seen.content, rows=rows[shard.name], differs="")
