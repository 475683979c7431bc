"""The end of a batch's life: its new columns wait here until their shard is whole, and are then published.

A worker adds batches, in any order. The reader of the shard says how many rows to expect. When that many
are there, the collector puts them in order and publishes one part per operator. A shard is published whole
or not at all, and a batch that comes twice counts once. Batches that wait for long become pieces (pieces.py).
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import polars as pl

from pipeline.errors import ShardError
from pipeline.operator import Writer
from pipeline.run.batches import Batch, Work
from pipeline.run.pieces import SECONDS, Piece, remove_pieces, write_piece
from pipeline.storage import layout
from pipeline.storage.retry import persist
from pipeline.storage.store import Store


class Collector:
    """Collects the new columns of any number of shards. `failed`: the shards that storage did not take, with
    reasons."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.store = Store(work.store)
        self.folder = work.pieces_folder
        self.held: dict[str, dict[int, pl.DataFrame]] = {}  # by shard, by number of the first row
        self.since: dict[str, float] = {}  # by shard: when the oldest batch that is held came
        self.pieces = {shard: list(pieces) for shard, pieces in work.pieces.items()}
        self.expected: dict[str, tuple[int, str]] = {}  # rows and content, by shard
        self.failed: dict[str, str] = {}

    def add_batch(self, batch: Batch) -> None:
        """Take a batch with every new column. Once a minute, what is held of its shard becomes a piece."""
        shard = batch.shard
        if any(batch.start in piece.starts for piece in self.pieces.get(shard, ())):
            return
        columns = [column for name in self.work.names for column in self._columns(name)]
        self.held.setdefault(shard, {})[batch.start] = batch.frame[["shard", "row", *columns]]
        now = time.monotonic()
        if now - self.since.setdefault(shard, now) > SECONDS and shard in self.work.states:
            self._write_piece(shard)
        self._publish_if_whole(shard)

    def expect_rows(self, shard: str, rows: int, content: str) -> None:
        """Learn how many rows a shard has, and the content of which they were computed."""
        self.expected[shard] = (rows, content)
        self._publish_if_whole(shard)

    def _write_piece(self, shard: str) -> None:
        """Publish what is held of a shard and forget it. If storage does not take it, it stays here."""
        with suppress(ShardError):
            piece = persist(
                lambda: write_piece(self.store, self.folder, shard, self.work.states[shard], self.held[shard])
            )
            self.pieces.setdefault(shard, []).append(piece)
            self.held[shard] = {}
            del self.since[shard]

    def _publish_if_whole(self, shard: str) -> None:
        """Publish a shard if all its rows are here or in pieces, and forget it."""
        held = self.held.get(shard, {})
        pieces = self.pieces.get(shard, [])
        rows, content = self.expected.get(shard, (-1, ""))
        if sum(map(len, held.values())) + sum(piece.rows for piece in pieces) != rows or not (held or pieces):
            return
        try:
            persist(lambda: self._publish(shard, self._joined(held, pieces), content))
            remove_pieces(self.store, self.folder, [piece.name for piece in pieces])
        except ShardError as error:
            self.failed[shard] = str(error)
        for known in (self.held, self.since, self.pieces, self.expected):
            known.pop(shard, None)

    def _joined(self, held: Mapping[int, pl.DataFrame], pieces: Sequence[Piece]) -> pl.DataFrame:
        """All rows of a shard, in order."""
        frames = [self.store.read(layout.part(self.folder, piece.name)) for piece in pieces]
        frame = pl.concat([*frames, *(held[start] for start in sorted(held))], rechunk=True)
        return frame.sort("row") if pieces else frame

    def _publish(self, shard: str, frame: pl.DataFrame, content: str) -> None:
        """Write a whole shard's part of each operator."""
        for name in self.work.names:
            path = layout.part(layout.columns_folder(name, self.work.keys[name]), shard)
            notes = {"content": content, **({layout.ON_GPU: True} if name in self.work.on_gpu else {})}
            self.store.write(path, frame.select("shard", "row", *self._columns(name)), notes)

    def _columns(self, name: str) -> list[str]:
        """An operator's columns, by full name, `error` last."""
        operator = self.work.entries[name].operator
        assert isinstance(operator, Writer)
        return [f"{name}.{column}" for column in (*operator.writes, "error")]
