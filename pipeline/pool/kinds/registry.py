"""Which kinds of pool there are."""

from collections.abc import Mapping, Sequence

from pipeline.pool.kinds.datacomp import DataComp
from pipeline.pool.kinds.files import Files
from pipeline.pool.kinds.image_tables import ImageTables
from pipeline.pool.kinds.kind import PoolKind
from pipeline.pool.kinds.tables import Tables
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard

KINDS: Mapping[str, type[PoolKind]] = {
    "tars": Tars,
    "tables": Tables,
    "files": Files,
    "image_tables": ImageTables,
    "datacomp": DataComp,
}
# The kinds that `pool.kind` may name
NAMED = tuple(name for name, kind in KINDS.items() if kind.key == "pool.shards")


def usual_kind(shards: Sequence[Shard]) -> str:
    """The kind of a pool whose recipe does not name it: the names of files tell tars and tables apart."""
    return "tables" if shards and shards[0].table else "tars"
