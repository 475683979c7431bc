"""Small parts that follow each other are packed into one file (packs.py), for a pool of very many small shards.

    before, after = compact(store, "samples", shards)

A pack is written, then the index that names it, then the parts it took up are removed: a reader finds each part
in one place or the other whenever the process is killed, and what is read is the same.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson
import polars as pl
import pyarrow.parquet as pq

from pipeline.storage import layout, packs
from pipeline.storage.footers import REQUESTS, parse_footer
from pipeline.storage.store import Store

SMALL = 64 << 10  # bytes of a part worth packing: to ask object storage for a file costs as much as these
TOGETHER = 64  # parts in a pack, at most: as many as are decided on together
ROW_GROUP = 16_384  # so that a shard's rows are read without many others
SAVED = 256  # packs after which the index is written


def compact(
    store: Store, folder: str, shards: Sequence[str], report: Callable[[int], None] = lambda count: None
) -> tuple[int, int]:
    """Pack the small parts of a folder, in the order of `shards`. Returns the number of files that held them before
    and after. `report` hears how many parts a pack took up."""
    root, index = store.root, packs.known(store.root, folder, fresh=True)
    sizes = root.parquet_sizes(folder)
    there = {shard: sizes[shard] for shard in shards if shard in sizes}
    found = index.table if index else pl.DataFrame(schema=packs.INDEX)
    left = {shard for shard in there if index and shard in index.rows}  # by a process that was killed
    root.remove([layout.part(folder, shard) for shard in left])
    before, number = found["pack"].n_unique(), len(found) and int(found["pack"][-1]) + 1
    single, pending = [s for s in shards if s in there and s not in left], list[str]()
    for run in runs(single, there):
        found = found.vstack(_pack(store, folder, number, run, there))
        number, pending = number + 1, [*pending, *run]
        report(len(run))
        if number % SAVED == 0:
            _save(store, folder, found, pending)
            pending = []
    if pending:
        _save(store, folder, found, pending)
    after = packs.known(root, folder, fresh=True)
    rest = [shard for shard in single if not (after and shard in after.rows)]
    return before + len(single), found["pack"].n_unique() + len(rest)


def runs(shards: Sequence[str], sizes: dict[str, int]) -> Iterator[list[str]]:
    """Runs of small parts that follow each other, two to `TOGETHER` in each."""
    run: list[str] = []
    for shard in shards:
        small = sizes[shard] < SMALL
        if small:
            run.append(shard)
        if len(run) == TOGETHER or not small:
            if len(run) > 1:
                yield run
            run = []
    if len(run) > 1:
        yield run


def _pack(store: Store, folder: str, number: int, run: Sequence[str], sizes: dict[str, int]) -> pl.DataFrame:
    """Write one pack; returns its rows of the index."""
    paths = [layout.part(folder, shard) for shard in run]
    with ThreadPoolExecutor(1 if store.root.local else REQUESTS) as pool:
        parts = list(pool.map(store.root.read, paths))
    footers = [parse_footer(pq.read_metadata(io.BytesIO(part))) for part in parts]
    frame = pl.read_parquet(parts)
    store.write(layout.pack(folder, number), frame, row_group=ROW_GROUP)
    rows = pl.Series("rows", [footer.rows for footer in footers], pl.Int64)
    return pl.DataFrame(
        {
            "shard": run,
            "pack": [number] * len(run),
            "start": rows.cum_sum() - rows,
            "rows": rows,
            "bytes": [sizes[shard] for shard in run],
            "notes": [orjson.dumps(footer.notes).decode() for footer in footers],
        },
        schema=packs.INDEX,
    )


def _save(store: Store, folder: str, found: pl.DataFrame, packed: Sequence[str]) -> None:
    """Name the packs, and only then remove what they took up."""
    store.write(layout.pack_index(folder), found)
    store.root.remove([layout.part(folder, shard) for shard in packed])
