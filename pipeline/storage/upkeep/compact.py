"""Packs the small parts of a folder (`storage/packs.py`), for a pool of very many small shards.

    before, after = compact(store, "samples", shards)     # number of files that hold the parts

A pack is written first, then the index that names it, then the parts' own files are removed. So a reader
finds each part in one place or the other whenever the process is killed, and reads the same rows.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import orjson
import polars as pl

from pipeline.storage import layout
from pipeline.storage.footers import REQUESTS, parse_footer
from pipeline.storage.packs import INDEX_SCHEMA
from pipeline.storage.seals import verified_footer
from pipeline.storage.store import Store

SMALL = 64 << 10  # bytes; a smaller part is packed: one request takes as long as reading so many
PARTS_PER_PACK = 64  # at most: as many shards as are decided on together
ROW_GROUP = 16_384  # rows of a pack's row group, so that one part is read without many others
PACKS_PER_SAVE = 256  # packs that are written before the index is


class FileCounts(NamedTuple):
    """The number of files that hold the parts of some shards, before and after packing."""

    before: int
    after: int


def compact(
    store: Store, folder: str, shards: Sequence[str], report: Callable[[int], None] = lambda count: None
) -> FileCounts:
    """Pack the small parts of a folder, in the order of `shards`. Returns the number of files that hold the
    parts of these shards before and after. `report` is called after each pack with the number of parts in
    it."""
    index = store.pack_index(folder, fresh=True)
    packed = index.shards if index else ()
    sizes = store.root.parquet_sizes(folder)
    present = [shard for shard in shards if shard in sizes]
    left_by_a_kill = [layout.part(folder, shard) for shard in present if shard in packed]
    store.root.remove(left_by_a_kill)
    sound = store.footers(folder, present)  # a damaged part is not packed
    single = [shard for shard in present if shard not in packed and shard in sound]
    packs_before = _pack_count(store, folder)
    _pack_runs(store, folder, runs(single, sizes), sizes, report)
    after = store.pack_index(folder, fresh=True)
    packed = after.shards if after else ()
    unpacked = [shard for shard in single if shard not in packed]
    return FileCounts(packs_before + len(single), _pack_count(store, folder) + len(unpacked))


def runs(shards: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Runs of small parts that follow each other, two to PARTS_PER_PACK in each. `sizes`: bytes by shard."""
    run: list[str] = []
    for shard in shards:
        small = sizes[shard] < SMALL
        if small:
            run.append(shard)
        if len(run) == PARTS_PER_PACK or not small:
            if len(run) > 1:
                yield run
            run = []
    if len(run) > 1:
        yield run


def _pack_count(store: Store, folder: str) -> int:
    """Packs that the folder's index names, as this Store read it last."""
    index = store.pack_index(folder)
    return index.table["pack"].n_unique() if index else 0


def _pack_runs(
    store: Store,
    folder: str,
    part_runs: Iterator[list[str]],
    sizes: Mapping[str, int],
    report: Callable[[int], None],
) -> None:
    """Write one pack per run; save the index and remove the packed files now and then, and at the end."""
    index = store.pack_index(folder)
    table = index.table if index else pl.DataFrame(schema=INDEX_SCHEMA)
    number = int(table["pack"][-1]) + 1 if len(table) else 0
    unsaved = list[str]()
    for run in part_runs:
        table = table.vstack(_write_pack(store, folder, number, run, sizes))
        number += 1
        unsaved += run
        report(len(run))
        if number % PACKS_PER_SAVE == 0:
            _save(store, folder, table, unsaved)
            unsaved = []
    if unsaved:
        _save(store, folder, table, unsaved)


def _write_pack(
    store: Store, folder: str, number: int, run: Sequence[str], sizes: Mapping[str, int]
) -> pl.DataFrame:
    """Write one pack; returns its rows of the index."""
    paths = [layout.part(folder, shard) for shard in run]
    with ThreadPoolExecutor(1 if store.root.local else REQUESTS) as pool:
        parts = list(pool.map(store.root.read, paths))
    footers = [parse_footer(verified_footer(io.BytesIO(part))) for part in parts]
    store.write(layout.pack(folder, number), pl.read_parquet(parts), row_group=ROW_GROUP)
    rows = pl.Series("rows", [footer.rows for footer in footers], pl.Int64)
    return pl.DataFrame(
        {
            "shard": run,
            "pack": [number] * len(run),
            "start": rows.cum_sum() - rows,
            "rows": rows,
            "bytes": [sizes[shard] for shard in run],
            "notes": [orjson.dumps(footer.notes).decode() for footer in footers],
            "seal": [footer.seal for footer in footers],
        },
        schema=INDEX_SCHEMA,
    )


def _save(store: Store, folder: str, table: pl.DataFrame, packed: Sequence[str]) -> None:
    """Publish the index, and only then remove the files of the parts that it names."""
    store.write(layout.pack_index(folder), table, durable=True)
    store.root.remove([layout.part(folder, shard) for shard in packed])
