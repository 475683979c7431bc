"""Which kinds of pool there are."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.pool.kinds.datacomp import DataComp
from pipeline.pool.kinds.kind import ColumnNames, PoolKind
from pipeline.pool.kinds.tables import Tables
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard

KINDS: Mapping[str, Callable[[Sequence[str], ColumnNames], PoolKind]] = {
    "tars": Tars,
    "tables": Tables,
    "datacomp": DataComp,
}


def usual_kind(shards: Sequence[Shard]) -> str:
    """The kind of a pool whose recipe does not name it: the names of files tell tars and tables apart."""
    return "tables" if shards and shards[0].table else "tars"
