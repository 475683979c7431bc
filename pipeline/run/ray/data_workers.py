"""The code that workers of Ray Data run, and the rows that travel between them; without Ray itself.

The life of a batch on Ray:

1. `read_shards`, a read task, opens a shard and cuts it into batches (batches.py).
2. A batch travels as one row of ROW: its shard, its first row's number, a payload (the batch as one Arrow IPC
   stream, with encoded images and never pixels), and a note for the driver (JSON).
3. A `StageWorker` of each stage decodes the images and runs its operators. All but the last stage send the
   batch on with its new columns.
4. The last stage hands the columns to the shard's `CollectorActor`, and sends the note alone to the driver.
5. When its read task has ended, the collector knows how many rows the shard has. When it has them all, it
   publishes the shard's parts.

Ray may cut and join the blocks of rows as it likes. A batch stays whole, so the operators see the same rows
together as in the plain loop, whatever the number of workers. A call takes a block: one batch of images, or
the batches of many tiny shards, so that these do not cost a call each.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from pipeline.errors import OperatorError
from pipeline.operator import reads_images
from pipeline.plan.passes import Stage
from pipeline.progress import Tally
from pipeline.run.batches import Batch, Read, Work, batches
from pipeline.run.collector import Collector
from pipeline.run.executor import Event, device_of, runner_of
from pipeline.run.ray.log import log_in_worker
from pipeline.run.ray.shard_worker import shard_of
from pipeline.run.stage.runner import IN_FLIGHT
from pipeline.storage.store import to_arrow

Sent = TypeVar("Sent", "Payload", Read)
SMALL = 512  # rows of a shard that is told of at once; and tiny shards that are told of together
LOG = logging.getLogger("winnow.run")
ROW = pa.schema(
    [
        ("shard", pa.string()),
        ("start", pa.int64()),
        ("payload", pa.large_binary()),  # null: only the note travels on
        ("note", pa.binary()),
    ]
)


def at_a_time(slow: bool) -> Mapping[str, Any]:
    """The calls of an actor, for Ray Data: they run on threads, side by side. An actor is handed some more
    batches than it works on, so that it need not wait for the driver. If batches are `slow`, as those of
    images are on a CPU, it gets one that it computes and one to decode: with more, the actor that starts
    first would take all of a small pool's, and the others none."""
    return {
        "max_tasks_in_flight_per_actor": 2 if slow else 2 * IN_FLIGHT,
        "max_concurrent_calls_per_actor": IN_FLIGHT,
        "enable_true_multi_threading": True,
    }


class CollectorState(NamedTuple):
    """The answer of a collector to the driver.

    token   random bytes that its process picked as it started: another token, another process
    failed  the shards that this process could not publish, with storage's reasons
    """

    token: bytes
    failed: dict[str, str]


class Payload(NamedTuple):
    """A batch on its way to its collector: its shard, its first row's number, its columns as `to_payload`
    packs them."""

    shard: str
    start: int
    columns: bytes


class CollectorActor:
    """A Collector as an actor. Every actor process picks a random token. If Ray restarts the actor, the token
    changes, and the driver knows that the rows it held are lost."""

    def __init__(self, work: Work) -> None:
        log_in_worker()
        LOG.info("collector begun: %s", ", ".join(work.names) or "samples")
        self.collector = Collector(work)
        self.token = os.urandom(16)

    def add_payloads(self, payloads: Sequence[Payload]) -> None:
        """Take batches with every new column."""
        for payload in payloads:
            self.collector.add_batch(
                from_payload(payload.shard, payload.start, pa.py_buffer(payload.columns))
            )

    def expect_rows(self, ended: Sequence[Read]) -> None:
        """Learn how many rows shards have that were read to their end."""
        for read in ended:
            self.collector.expect_rows(read.shard, read.rows, read.content)

    def state(self) -> CollectorState:
        """Its process, and the shards that it could not publish."""
        return CollectorState(self.token, self.collector.failed)


class Sink:
    """The collector actors, which share the shards, as a worker sees them. Travels to the workers. `get` is
    `ray.get`: each call waits for the collector's answer, so a batch that a worker reports as done has
    arrived."""

    def __init__(self, collectors: Sequence[Any], get: Callable[[Any], Any]) -> None:
        self.collectors = collectors
        self.get = get

    def add_payloads(self, payloads: Sequence[Payload]) -> None:
        """See CollectorActor."""
        for collector, some in self._by_collector(payloads):
            self.get(collector.add_payloads.remote(some))

    def expect_rows(self, ended: Sequence[Read]) -> None:
        """See CollectorActor."""
        for collector, some in self._by_collector(ended):
            self.get(collector.expect_rows.remote(some))

    def _by_collector(self, items: Sequence[Sent]) -> Iterator[tuple[Any, list[Sent]]]:
        """Each collector with the items of its shards. A shard has the same collector for every worker."""
        groups: dict[int, list[Sent]] = {}
        for item in items:
            groups.setdefault(sum(item.shard.encode()) % len(self.collectors), []).append(item)
        for number, some in groups.items():
            yield self.collectors[number], some


def read_shards(rows: pa.Table, work: Work, sink: Sink) -> Iterator[pa.Table]:
    """A read task: shards (rows with the fields of Shard) in, batches out. Tells the sink how many rows each
    shard has, unless it cannot be read; the note says why. Tiny shards are told of together."""
    log_in_worker()
    ended: list[Read] = []
    for fields in rows.to_pylist():
        shard = shard_of(fields)
        ended.append(read := Read(shard.name))
        for batch in batches(work, shard, read):
            if work.names:
                yield as_row(batch.shard, batch.start, to_payload(batch, images=True), {"bytes": batch.bytes})
            else:
                yield as_row(batch.shard, batch.start, None, {"rows": len(batch.frame), "bytes": batch.bytes})
        if read.rows >= SMALL or len(ended) >= SMALL:
            yield from _told(ended, work, sink)
            ended = []
    yield from _told(ended, work, sink)


def _told(ended: Sequence[Read], work: Work, sink: Sink) -> Iterator[pa.Table]:
    """Tell the sink of shards that have ended; gives the rows that tell the driver."""
    whole = [read for read in ended if read.error is None]
    if work.names and whole:
        sink.expect_rows(whole)
    for read in ended:
        yield as_row(read.shard, 0, None, {"reads": [vars(read)]})


class StageWorker:
    """An actor that runs one stage. The last stage hands its columns to the sink. It is called on several
    threads, with a batch each: while one is computed, the next are decoded.

    Neither the constructor nor a call raises an OperatorError: Ray would report a dead actor or a traceback
    of its own. The note of the first batch carries the message to the driver instead.
    """

    def __init__(self, work: Work, stage: Stage, index: int, threads: int, sink: Sink) -> None:
        log_in_worker()
        LOG.info("stage worker begun: %s; threads: %d", ", ".join(stage.names), threads)
        self.sink = sink
        self.last = index == len(work.stages) - 1
        later = [name for names in work.stages[index + 1 :] for name in names]
        self.images_later = any(reads_images(work.entries[name].operator) for name in later)
        self.broken = ""
        self.threads = ThreadPoolExecutor(IN_FLIGHT)
        try:
            self.runner = runner_of(work, stage, work.stats(), device_of(stage, threads))
        except OperatorError as error:
            self.broken = str(error)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows of ROW in, as many out. Ray calls this on threads that are not Python's own. As these end, a
        library of pybind11's, such as OpenVINO, may end the process with a segmentation fault."""
        return self.threads.submit(self._worked_on, rows).result()

    def _worked_on(self, rows: pa.Table) -> pa.Table:
        """See `__call__`, on one of Python's threads."""
        after: list[pa.Table] = []
        done: list[Payload] = []
        for index in range(len(rows)):
            payload = rows.column("payload")[index]
            if not payload.is_valid:
                after.append(rows.slice(index, 1))
                continue
            shard = rows.column("shard")[index].as_py()
            start = rows.column("start")[index].as_py()
            note = orjson.loads(rows.column("note")[index].as_py())
            try:
                after.append(self._run(from_payload(shard, start, payload.as_buffer()), note, done))
            except OperatorError as error:
                after.append(as_row(shard, start, None, {"fatal": str(error)}))
        self.sink.add_payloads(done)
        return pa.concat_tables(after)

    def _run(self, batch: Batch, note: dict[str, Any], done: list[Payload]) -> pa.Table:
        """Run the stage on a batch; returns the row to send on. The last stage appends the batch to `done`.
        Raises OperatorError."""
        if self.broken:
            raise OperatorError(self.broken)
        batch.frame, tally = self.runner.run(batch.frame, batch.data)
        tally += Tally.of(note.get("tally", {}))
        note |= {"tally": tally.as_dict()}
        if not self.last:
            return as_row(batch.shard, batch.start, to_payload(batch, self.images_later), note)
        done.append(Payload(batch.shard, batch.start, to_payload(batch, images=False).to_pybytes()))
        return as_row(batch.shard, batch.start, None, note | {"rows": len(batch.frame)})


# --- rows -------------------------------------------------------------------------------------------


def to_payload(batch: Batch, images: bool) -> pa.Buffer:
    """A batch as one Arrow IPC stream, with the bytes of its images if `images`."""
    table = to_arrow(batch.frame)
    if images and batch.data is not None:
        table = table.append_column("image", binary(batch.data))
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def from_payload(shard: str, start: int, payload: pa.Buffer) -> Batch:
    """The batch of a payload. Images are views of it, not copies."""
    table = pa.ipc.open_stream(payload).read_all()
    data = None
    if "image" in table.column_names:
        data = buffers(table.column("image"))
        table = table.drop_columns(["image"])
    return Batch(shard, start, pl.DataFrame(table), data)


def binary(values: Sequence[bytes | memoryview | None]) -> pa.LargeBinaryArray:
    """Bytes, copied once into an array. pa.array is not used, since up to pyarrow 26 it never frees a
    memoryview."""
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([0 if value is None else len(value) for value in values], out=offsets[1:])
    present = pa.array([value is not None for value in values], pa.bool_()).buffers()[1]
    data = b"".join(value for value in values if value is not None)
    buffers = [present, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(values), buffers)


def buffers(image: pa.ChunkedArray) -> list[memoryview | None]:
    """The values of a binary column, as views: nothing is copied."""
    return [memoryview(value.as_buffer()) if value.is_valid else None for value in image]


def as_row(shard: str, start: int, payload: pa.Buffer | None, note: Mapping[str, Any]) -> pa.Table:
    """One row of ROW. The payload is not copied into the array."""
    if payload is None:
        column = pa.nulls(1, pa.large_binary())
    else:
        offsets = pa.array([0, payload.size], pa.int64()).buffers()[1]
        column = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, payload])
    return pa.table([[shard], [start], column, [orjson.dumps(note)]], schema=ROW)


def events_of(note: bytes) -> Iterator[Event]:
    """The events that a note tells of. Raises OperatorError if an operator has failed."""
    fields = orjson.loads(note)
    if "fatal" in fields:
        raise OperatorError(fields["fatal"])
    rows = fields.get("rows", 0)
    tally = Tally.of(fields.get("tally", {}))
    took = fields.get("took", sum(tally.seconds.values()))
    yield Event(rows, tally, None, fields.get("work", rows), fields.get("bytes", 0), took)
    for read in fields.get("reads", ()):  # from readers
        yield Event(read=Read(**read))
    for shard in fields.get("ended", ()):  # from workers of whole shards
        yield Event(shard["rows"], Tally.of(shard["tally"]), Read(**shard["read"]))
