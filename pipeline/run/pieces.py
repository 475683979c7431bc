"""Pieces: columns of a shard that is not whole yet, so that a kill loses a minute of work and not a shard.

    pieces/<pass>/<shard>/<start>.parquet     some batches of one shard, with every column of the pass

A shard's part is published when all of its rows are there. With an operator that does five pictures per
second, that is half an hour of work for 10,000 samples. So the collector writes what it holds as a piece
once a minute. A pass that finds pieces leaves out the batches in them, and the collector joins everything
when the shard is whole. Pieces count if the shard's file still has the state that they note.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import orjson
import polars as pl

from pipeline.pool.shards import Shard
from pipeline.storage import layout
from pipeline.storage.store import Store

SECONDS = 60.0  # of a shard's work that the collector holds in memory, at most


class Piece(NamedTuple):
    """Some batches of a shard: the file without suffix, its rows, and the first row of each batch."""

    name: str
    rows: int
    starts: tuple[int, ...]


def folder_of(columns: Sequence[str], batch_rows: int, how: Sequence[str] = ()) -> str:
    """The folder for the pieces of a pass that fills these folders of columns, in batches of so many rows:
    only equal batches can be told apart by their first row. `how` else passes over them may differ."""
    key = hashlib.blake2b(orjson.dumps([*columns, batch_rows, *how]), digest_size=8).hexdigest()
    return layout.pieces_folder(key)


def stored_pieces(store: Store, folder: str, shards: Collection[Shard]) -> dict[str, tuple[Piece, ...]]:
    """Shard -> its pieces, of which no two have a batch in common. Pieces of files in another state, or that
    overlap, are removed."""
    names = sorted(store.root.file_names(folder, ".parquet"))
    if not names:
        return {}
    states = {shard.name: shard.state for shard in shards}
    footers = store.footers(folder, names)
    pieces: dict[str, tuple[Piece, ...]] = {}
    useless = list[str]()
    for name in names:
        shard = name.rpartition("/")[0]
        if shard not in states:
            continue
        footer = footers.get(name)
        taken = {start for piece in pieces.get(shard, ()) for start in piece.starts}
        if footer is None or footer.notes["state"] != states[shard] or taken & {*footer.notes["starts"]}:
            useless.append(name)
        else:
            piece = Piece(name, footer.rows, tuple(footer.notes["starts"]))
            pieces[shard] = (*pieces.get(shard, ()), piece)
    remove_pieces(store, folder, useless)
    return pieces


def write_piece(
    store: Store, folder: str, shard: str, state: str, batches: Mapping[int, pl.DataFrame]
) -> Piece:
    """Publish batches of a shard, by first row, as one piece."""
    starts = sorted(batches)
    frame = pl.concat([batches[start] for start in starts], rechunk=True)
    piece = Piece(f"{shard}/{starts[0]:09d}", len(frame), tuple(starts))
    store.write(layout.part(folder, piece.name), frame, {"state": state, "starts": starts})
    return piece


def remove_pieces(store: Store, folder: str, names: Collection[str]) -> None:
    """Remove pieces that are no longer needed."""
    present = store.root.file_names(folder, ".parquet") if names else set()
    store.root.remove([layout.part(folder, name) for name in names if name in present])
