"""What the rows of an index depend on, by shard.

    now = sources_now(session, "clip.image_embedding")     # of the store, as it is
    before = read_sources(Folder("out/index"))             # of an index, as it was when it was written

    sources.parquet     shard, rows, missing, verdicts, columns: the shards with kept samples, in pool order

`rows` are the kept samples that are in the index, `missing` those without an embedding. `verdicts` is a
digest of which rows of the shard are kept, `columns` of its samples and embeddings. If neither has changed,
the rows of the index that came from the shard are what they would be now.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import groupby

import numpy as np
import orjson
import polars as pl
import pyarrow.parquet as pq

from pipeline.ordered_map import threaded_map
from pipeline.parquet import Parquet, garbled
from pipeline.plan.session import Session
from pipeline.progress import watched
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.identity import Digest
from pipeline.storage.store import Store, to_arrow

SOURCES = "sources.parquet"
DIGESTS = {"verdicts": pl.Binary, "columns": pl.Binary}
NOW = {"shard": pl.String, "kept": pl.Int64, **DIGESTS}
STORED = {"shard": pl.String, "rows": pl.Int64, "missing": pl.Int64, **DIGESTS}
BATCH = 65_536  # shards that are read at a time


def index_folders(session: Session, embedding: str) -> list[str]:
    """The folders of the store that an index reads: of the samples, and of the operators of the embedding and
    of the caption."""
    operators = dict.fromkeys((owner(embedding), owner(session.recipe.export.caption or "")))
    own = [session.folder(name) for name in operators if name and name in session.recipe.compute]
    return [*session.sample_folders, *own]


def sources_now(session: Session, embedding: str) -> pl.DataFrame:
    """The shards with kept samples, in pool order, with NOW's columns. Raises FileNotFoundError without a
    decision."""
    kept, verdicts = _verdicts(session.store, session.decisions)
    shards = [shard for shard in session.shards if kept.get(shard.name)]
    names = [shard.name for shard in shards]
    parts = [session.store.footers(folder, names) for folder in index_folders(session, embedding)]
    columns = [
        _digest(
            orjson.dumps(
                [
                    shard.content,
                    *(found[shard.name].identity if shard.name in found else None for found in parts),
                ],
                option=orjson.OPT_SORT_KEYS,
            )
        )
        for shard in shards
    ]
    data = {
        "shard": names,
        "kept": [kept[name] for name in names],
        "verdicts": [verdicts[name] for name in names],
        "columns": columns,
    }
    return pl.DataFrame(data, schema=NOW)


def _verdicts(store: Store, decision: str) -> tuple[dict[str, int], dict[str, bytes]]:
    """(kept rows, the digest of which rows they are) of each shard that has kept rows."""
    names = ["part", "shard", "start", "samples", "kept"]
    table = (
        store.read(layout.decided_shards(decision), names).filter(pl.col("kept") > 0).sort("part", "start")
    )
    groups = (list(rows) for _, rows in groupby(table.iter_rows(), lambda row: row[0]))

    def digests(rows: Sequence[tuple[str, str, int, int, int]]) -> list[tuple[str, int, bytes]]:
        keep = store.read(layout.verdicts(decision, rows[0][0]), ["keep"])["keep"].fill_null(False).to_numpy()
        return [
            (shard, kept, _digest(np.packbits(keep[start : start + count]).tobytes()))
            for _, shard, start, count, kept in rows
        ]

    found = [
        row
        for rows in watched("reading the decision", threaded_map(digests, groups), table["part"].n_unique())
        for row in rows
    ]
    return {shard: kept for shard, kept, _ in found}, {shard: digest for shard, _, digest in found}


def _digest(data: bytes) -> bytes:
    """16 bytes over others."""
    digest = Digest()
    digest.update(data)
    return bytes.fromhex(digest.hexdigest())


# --- the file -------------------------------------------------------------------------------------


def sources_file(sources: pl.DataFrame) -> bytes:
    """The bytes of `sources.parquet`: the same for equal rows."""
    out = BytesIO()
    pq.write_table(to_arrow(sources.select(list(STORED)).rechunk()), out, compression="zstd")
    return out.getvalue()


def read_sources(folder: Folder) -> pl.DataFrame:
    """The `sources.parquet` of an index's folder. Raises FileNotFoundError, and ValueError for something
    else."""
    try:
        with garbled(SOURCES), Parquet(BytesIO(folder.read(SOURCES))) as table:
            table.check(list(STORED))
            frames = [pl.DataFrame(schema=STORED), *_frames(table)]
            return pl.concat(frames)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{SOURCES}: {error}") from None


def _frames(table: Parquet) -> Iterator[pl.DataFrame]:
    for batch in table.batches(list(STORED), BATCH):
        yield pl.DataFrame(batch).select(list(STORED)).cast(pl.Schema(STORED))
