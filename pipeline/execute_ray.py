"""Passes on Ray Data; the only `import ray`.

    shard paths -> read tasks -> one actor pool per stage -> collectors, which publish per shard

What travels is one row per batch: its shard, its start, and the batch itself as one Arrow IPC stream
(encoded images, never pixels). So Ray may split and merge blocks as it likes and a batch stays whole,
which is what makes results independent of the number of workers. Facts about Ray 2.60 that shape this
file: a pool that reserves every CPU hangs without a message, hence fractional CPUs and `place`; pools
that grow one actor at a time leave GPUs idle for minutes, hence fixed sizes.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar, cast

import orjson
import polars as pl
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from pipeline.errors import OperatorError, WinnowError
from pipeline.execute import Event, Report, runner_of
from pipeline.feed import Batch, Collector, Read, Work, batches, pack, unpack
from pipeline.operator import Device, ImageScore
from pipeline.place import READ_CPUS, Node, check_paths, place
from pipeline.plan import Stage
from pipeline.recipe import Recipe
from pipeline.shards import Shard
from pipeline.stage import Tally

Item = TypeVar("Item")
Result = TypeVar("Result")

BLOCK_BYTES = 1 << 20  # less than a batch of images, so that a block, what an actor is handed, is one batch
BATCH_BYTES = 1 << 20  # 64 samples of 16 KB: on the small side of web images
MERGE_FAN_IN = 8
CPUS_PER_COLLECTOR = 32  # a collector packs parquet: about 1 % of the work of scoring on CPU
ROW = pa.schema(
    [
        ("shard", pa.string()),
        ("start", pa.int64()),
        ("payload", pa.large_binary()),
        ("note", pa.binary()),
    ]
)


class RayExecutor:
    """Runs passes on the cluster at RAY_ADDRESS (set inside `ray job submit`), else on this machine."""

    def __init__(
        self, recipe: Recipe | None = None, cpus: int | None = None, gpus: int | None = None
    ) -> None:
        if recipe is not None and os.environ.get("RAY_ADDRESS"):
            check_paths(recipe)
        if not ray.is_initialized():
            with _quiet_start():
                _init(cpus, gpus)
        warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
        if recipe is not None:
            _ship_plugins(recipe)
        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = BLOCK_BYTES
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.nodes = [Node(found.get("CPU", 0.0), found.get("GPU", 0.0)) for found in alive]
        self.cpus = sum(node.cpus for node in self.nodes)

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """See execute.Executor."""
        placed = place(stages, self.nodes, _batches(shards))
        collector = ray.remote(num_cpus=0, max_restarts=-1)(_Collector)
        collectors = [collector.remote(work) for _ in range(max(1, int(self.cpus // CPUS_PER_COLLECTOR)))]
        data = ray.data.from_items([asdict(s) for s in shards], override_num_blocks=len(shards))
        left = self.cpus - sum(pool.workers * pool.cpus for pool in placed)
        readers = min(len(shards), max(1, int(left / READ_CPUS)))
        data = data.map_batches(
            _read,
            fn_args=(work, collectors),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=READ_CPUS,
            compute=TaskPoolStrategy(size=readers),
        )
        for index, (stage, pool) in enumerate(zip(stages, placed, strict=True)):
            data = data.map_batches(
                _StageWorker,
                fn_constructor_args=(work, stage, index, pool.threads, collectors),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=pool.cpus,
                num_gpus=pool.gpus or None,
                compute=ActorPoolStrategy(size=pool.workers),
            )
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            for note in table.column("note").to_pylist():
                report(_event(note))
        for failed in ray.get([collector.failed.remote() for collector in collectors]):
            for shard, error in failed.items():
                report(Event(read=Read(shard, error=error)))
        workers = {
            name: pool.workers for stage, pool in zip(stages, placed, strict=True) for name in stage.names
        }
        return workers | {"read": readers}

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See execute.Executor. Keeps as many tasks in flight as there are CPUs."""
        task, rest = _call(function), iter(items)
        pending: list[Any] = []
        while True:
            while len(pending) < max(2, int(self.cpus)) and (item := next(rest, None)) is not None:
                pending.append(task(item))
            if not pending:
                return
            ready, pending = ray.wait(pending, num_returns=1)
            yield _get(ready[0])

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
    ) -> pl.DataFrame:
        """See execute.Executor. Partial tables meet in a tree of tasks, never on the driver."""
        task, join = _call(function), _call(lambda parts: merge(ray.get(list(parts))))
        running: list[Any] = []
        done: list[Any] = []
        rest = iter(items)
        while True:
            while len(running) < max(2, int(self.cpus)) and (item := next(rest, None)) is not None:
                running.append(task(item))
            if len(done) >= MERGE_FAN_IN or (not running and len(done) > 1):
                running.append(join(tuple(done[:MERGE_FAN_IN])))
                done = done[MERGE_FAN_IN:]
                continue
            if not running:
                return cast(pl.DataFrame, _get(done[0]))
            ready, running = ray.wait(running, num_returns=1)
            done += ready


def _get(reference: Any) -> Any:
    """A task's result; our own errors come out as themselves, not inside Ray's."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, WinnowError) else error from None


def _init(cpus: int | None, gpus: int | None) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init("local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, **quiet)


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Ray's C++ core writes its own log lines to stderr from here on; errors still reach us as exceptions."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    kept, void = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(void, 2)  # not even "log level set from environment variable"
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(void)


def _batches(shards: Sequence[Shard]) -> int:
    """About how many batches some shards hold, at BATCH_BYTES each."""
    return sum(max(1, (shard.size or 64 * BATCH_BYTES) // BATCH_BYTES) for shard in shards)


def _call(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A Ray task that calls `function` with one argument."""
    remote = ray.remote(num_cpus=0.5)(lambda item: function(item))
    return lambda item: remote.remote(item)


class _Collector:
    """feed.Collector as an actor; readers and last stages call it."""

    def __init__(self, work: Work) -> None:
        self.collector = Collector(work)

    def add(self, shard: str, start: int, payload: pa.Buffer) -> None:
        self.collector.add(unpack(shard, start, pa.py_buffer(payload)))

    def expect(self, shard: str, rows: int) -> None:
        self.collector.expect(shard, rows)

    def failed(self) -> dict[str, str]:
        return self.collector.failed


def _collector_of(shard: str, collectors: Sequence[Any]) -> Any:
    return collectors[sum(shard.encode()) % len(collectors)]


def _read(rows: pa.Table, work: Work, collectors: Sequence[Any]) -> Iterator[pa.Table]:
    """A read task: shards in, batches out; tells the collector how many rows to expect."""
    for row in rows.to_pylist():
        shard = Shard(**row)
        read = Read(shard.name)
        for batch in batches(work, shard, read):
            if work.names:
                yield _row(batch.shard, batch.start, pack(batch, images=True), {})
            else:
                yield _row(batch.shard, batch.start, None, {"rows": len(batch.frame)})
        if read.error is None and work.names:
            ray.get(_collector_of(shard.name, collectors).expect.remote(shard.name, read.rows))
        yield _row(shard.name, 0, None, {"read": vars(read)})


class _StageWorker:
    """An actor that runs one stage. The last stage hands its columns to the collector."""

    def __init__(self, work: Work, stage: Stage, index: int, threads: int, collectors: Sequence[Any]) -> None:
        self.work, self.collectors = work, collectors
        self.last = index == len(work.stages) - 1
        later = [name for names in work.stages[index + 1 :] for name in names]
        self.images_later = any(_sees_images(work, name) for name in later)
        device = Device("cuda" if stage.resources.gpus else "cpu", threads)
        try:
            self.runner, self.broken = runner_of(work, stage, work.stats(), device), ""
        except OperatorError as error:
            self.broken = str(error)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        for index in range(len(table)):
            payload = table.column("payload")[index]
            if not payload.is_valid:
                yield table.slice(index, 1)
                continue
            shard, start = (
                table.column("shard")[index].as_py(),
                table.column("start")[index].as_py(),
            )
            try:
                yield self._run(
                    unpack(shard, start, payload.as_buffer()),
                    orjson.loads(table.column("note")[index].as_py()),
                )
            except OperatorError as error:
                yield _row(shard, start, None, {"fatal": str(error)})

    def _run(self, batch: Batch, note: dict[str, Any]) -> pa.Table:
        if self.broken:
            raise OperatorError(self.broken)
        batch.frame, tally = self.runner.run(batch.frame, batch.data)
        tally += Tally.of(note.get("tally", {}))
        note |= {"tally": tally.as_dict()}
        if not self.last:
            return _row(batch.shard, batch.start, pack(batch, self.images_later), note)
        collector = _collector_of(batch.shard, self.collectors)
        ray.get(collector.add.remote(batch.shard, batch.start, pack(batch, images=False).to_pybytes()))
        return _row(batch.shard, batch.start, None, note | {"rows": len(batch.frame)})


def _sees_images(work: Work, name: str) -> bool:
    return isinstance(work.entries[name].operator, ImageScore)


def _row(shard: str, start: int, payload: pa.Buffer | None, note: Mapping[str, Any]) -> pa.Table:
    """One row of what travels. The payload is not copied into the array."""
    if payload is None:
        column = pa.nulls(1, pa.large_binary())
    else:
        offsets = pa.array([0, payload.size], pa.int64()).buffers()[1]
        column = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, payload])
    return pa.table([[shard], [start], column, [orjson.dumps(note)]], schema=ROW)


def _event(raw: bytes) -> Event:
    note = orjson.loads(raw)
    if "fatal" in note:
        raise OperatorError(note["fatal"])
    return Event(
        note.get("rows", 0),
        Tally.of(note.get("tally", {})),
        Read(**note["read"]) if "read" in note else None,
    )


def _ship_plugins(recipe: Recipe) -> None:
    """Plugin modules exist on the driver alone: send their classes by value."""
    for entry in recipe.compute.values():
        if entry.source is not None:
            ray.cloudpickle.register_pickle_by_value(sys.modules[type(entry.operator).__module__])
