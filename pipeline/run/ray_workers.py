"""What Ray's workers do, and what travels between them; without Ray itself.

What travels is one row per batch: its shard, its start, and the batch itself as one Arrow IPC stream
(encoded images, never pixels), with a note for the driver. Blocks may be split and merged as Ray likes and
a batch stays whole, which is what makes results independent of the number of workers.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import orjson
import polars as pl
import pyarrow as pa

from pipeline.errors import OperatorError
from pipeline.operator import ImageScore
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.pool.tar_reader import binary
from pipeline.run.batches import Batch, Read, Work, batches, buffers
from pipeline.run.collector import Collector
from pipeline.run.executor import Event, device_of, runner_of
from pipeline.run.ray_log import log_in_worker
from pipeline.run.stage import Tally
from pipeline.storage.store import to_arrow

Item = TypeVar("Item")
Result = TypeVar("Result")
LOG = logging.getLogger("winnow.run")
ROW = pa.schema(
    [
        ("shard", pa.string()),
        ("start", pa.int64()),
        ("payload", pa.large_binary()),
        ("note", pa.binary()),
    ]
)


class Sink(Protocol):
    """Where columns go: a feed.Collector, wherever it lives."""

    def add(self, shard: str, start: int, payload: bytes) -> None:
        """Rows of a shard, packed, with every new column."""

    def expect(self, shard: str, rows: int) -> None:
        """The shard has that many rows in all."""


def read_shards(rows: pa.Table, work: Work, sink: Sink) -> Iterator[pa.Table]:
    """A read task: shards in, batches out; tells the sink how many rows to expect."""
    log_in_worker()
    for item in rows.to_pylist():
        shard = Shard(**item)
        read = Read(shard.name)
        for batch in batches(work, shard, read):
            if work.names:
                yield row(batch.shard, batch.start, pack(batch, images=True), {})
            else:
                yield row(batch.shard, batch.start, None, {"rows": len(batch.frame)})
        if read.error is None and work.names:
            sink.expect(shard.name, read.rows)
        yield row(shard.name, 0, None, {"read": vars(read)})


class StageWorker:
    """An actor that runs one stage. The last stage hands its columns to the sink."""

    def __init__(self, work: Work, stage: Stage, index: int, threads: int, sink: Sink) -> None:
        log_in_worker()
        LOG.info("stage worker begun: %s; %d threads", ", ".join(stage.names), threads)
        self.work, self.sink = work, sink
        self.last = index == len(work.stages) - 1
        later = [name for names in work.stages[index + 1 :] for name in names]
        self.images_later = any(isinstance(work.entries[name].operator, ImageScore) for name in later)
        try:
            self.runner, self.broken = runner_of(work, stage, work.stats(), device_of(stage, threads)), ""
        except OperatorError as error:
            self.broken = str(error)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        for index in range(len(table)):
            payload = table.column("payload")[index]
            if not payload.is_valid:
                yield table.slice(index, 1)
                continue
            shard, start = table.column("shard")[index].as_py(), table.column("start")[index].as_py()
            try:
                yield self._run(
                    unpack(shard, start, payload.as_buffer()),
                    orjson.loads(table.column("note")[index].as_py()),
                )
            except OperatorError as error:
                yield row(shard, start, None, {"fatal": str(error)})

    def _run(self, batch: Batch, note: dict[str, Any]) -> pa.Table:
        if self.broken:
            raise OperatorError(self.broken)
        batch.frame, tally = self.runner.run(batch.frame, batch.data)
        tally += Tally.of(note.get("tally", {}))
        note |= {"tally": tally.as_dict()}
        if not self.last:
            return row(batch.shard, batch.start, pack(batch, self.images_later), note)
        self.sink.add(batch.shard, batch.start, pack(batch, images=False).to_pybytes())
        return row(batch.shard, batch.start, None, note | {"rows": len(batch.frame)})


class CollectorActor:
    """feed.Collector as an actor. `told` names its life: another one if its process died and it was started
    again, without what it held."""

    def __init__(self, work: Work) -> None:
        log_in_worker()
        LOG.info("collector begun: %s", ", ".join(work.names) or "samples")
        self.collector, self.life = Collector(work), os.urandom(16)

    def add(self, shard: str, start: int, payload: bytes) -> None:
        """See Sink."""
        self.collector.add(unpack(shard, start, pa.py_buffer(payload)))

    def expect(self, shard: str, rows: int) -> None:
        """See Sink."""
        self.collector.expect(shard, rows)

    def told(self) -> tuple[bytes, dict[str, str]]:
        """Its life, and the shards that storage refused in it, with reasons."""
        return self.life, self.collector.failed


def run_task(function: Callable[[Item], Result], item: Item) -> Result:
    """A task of a Stat or of an export: `function(item)`."""
    log_in_worker()
    return function(item)


def pack(batch: Batch, images: bool) -> pa.Buffer:
    """A batch as one Arrow IPC stream; `images`: with their bytes."""
    table = to_arrow(batch.frame)
    if images and batch.data is not None:
        table = table.append_column("image", binary(batch.data))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def unpack(shard: str, start: int, payload: pa.Buffer) -> Batch:
    """What `pack` packed, without copying images."""
    table = pa.ipc.open_stream(payload).read_all()
    data = None
    if "image" in table.column_names:
        data = buffers(table.column("image"))
        table = table.drop_columns(["image"])
    return Batch(shard, start, pl.DataFrame(table), data)


def row(shard: str, start: int, payload: pa.Buffer | None, note: Mapping[str, Any]) -> pa.Table:
    """One row of what travels. The payload is not copied into the array."""
    if payload is None:
        column = pa.nulls(1, pa.large_binary())
    else:
        offsets = pa.array([0, payload.size], pa.int64()).buffers()[1]
        column = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, payload])
    return pa.table([[shard], [start], column, [orjson.dumps(note)]], schema=ROW)


def event(raw: bytes) -> Event:
    """What a note says. Raises OperatorError where an operator has failed."""
    note = orjson.loads(raw)
    if "fatal" in note:
        raise OperatorError(note["fatal"])
    return Event(
        note.get("rows", 0),
        Tally.of(note.get("tally", {})),
        Read(**note["read"]) if "read" in note else None,
    )
