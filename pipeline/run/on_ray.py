"""Passes on Ray Data; the only `import ray`.

    shard paths -> read tasks -> one actor pool per stage -> collectors, which publish per shard

What the workers do is in `workers.py`. Facts about Ray 2.60 that shape this file: a pool that reserves every
CPU hangs without a message, hence fractional CPUs and `place`; pools that grow one actor at a time leave GPUs
idle for minutes, hence fixed sizes; a stage's worker that dies on a batch is started again for ever, hence
PATIENCE.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, TypeVar, cast

import polars as pl
import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.data.exceptions import ExecutionTimeoutError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import RecipeError, ShardError, WinnowError
from pipeline.plan.cluster import (
    BLOCK_BYTES,
    CPUS_PER_COLLECTOR,
    GIB,
    MERGE_FAN_IN,
    PATIENCE,
    READ_CPUS,
    RETRIES,
    TASK_CPUS,
    Node,
    Placement,
    batches_of,
    check_paths,
    place,
    place_index,
    read_tasks,
    readers_beside,
)
from pipeline.plan.passes import Stage
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.recipe.check import INDEX
from pipeline.recipe.sections import Recipe
from pipeline.run.batches import Read, Work
from pipeline.run.executor import Event, Report, log_begun
from pipeline.run.ray_workers import CollectorActor, StageWorker, event, read_shards, run_task
from pipeline.storage.retry import ATTEMPTS

Item = TypeVar("Item")
Result = TypeVar("Result")
LOG = logging.getLogger("winnow.run")


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
        context.execution_no_progress_timeout_s = PATIENCE
        self.nodes = _nodes()

    @property
    def cpus(self) -> float:
        """CPUs of the cluster when the last pass began."""
        return sum(node.cpus for node in self.nodes)

    def _place(self, stages: Sequence[Stage], shards: Sequence[Shard]) -> list[Placement]:
        """Pools for the machines there are now; where these are too few, for those of the pass before, some
        of which will come back."""
        now = _nodes()
        with suppress(RecipeError):
            placed, self.nodes = place(stages, now, batches_of(shards)), now
            return placed
        return place(stages, self.nodes, batches_of(shards))

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """See execute.Executor. A collector that dies takes along the parts it held: the shards that are not
        whole then are done again."""
        placed = self._place(stages, shards)
        readers = readers_beside(placed, self.nodes, len(shards))
        pools = list(zip(stages, placed, strict=True))
        workers = {name: pool.workers for stage, pool in pools for name in stage.names} | {"read": readers}
        log_begun(work.names, shards, ", ".join(f"{name} {count}" for name, count in workers.items()))
        for _ in range(ATTEMPTS):
            unread = dict[str, str]()

            def tell(event: Event, unread: dict[str, str] = unread) -> None:
                if event.read is not None and event.read.error:
                    unread[event.read.shard] = event.read.error
                report(event)

            with _collectors(work, max(1, int(self.cpus // CPUS_PER_COLLECTOR))) as collectors:
                before = _told(collectors)
                _flow(work, shards, pools, readers, collectors, tell)
                after = _told(collectors)
            failed = {shard: error for _, some in after for shard, error in some.items()}
            for shard, error in failed.items():
                report(Event(read=Read(shard, error=error)))
            restarted = sum(old != new for (old, _), (new, _) in zip(before, after, strict=True))
            if not restarted:
                break
            shards = work.unpublished([s for s in shards if s.name not in failed | unread])
            LOG.warning(
                "Ray restarted %d of %d collectors; the rows of %s shards were lost and are computed again",
                restarted,
                len(after),
                f"{len(shards):,}",
            )
            if not shards:
                break
        return workers

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

    def index(self, build: Callable[[Session], Result], session: Session) -> Result:
        """See execute.Executor."""
        asked = session.recipe.resources(INDEX)
        placed = place_index(asked, _nodes())
        options: dict[str, Any] = {"num_cpus": placed.cpus, "max_retries": RETRIES}
        if asked.memory:
            options["memory"] = int(asked.memory * GIB)
        else:  # rather there than elsewhere
            able = [node for node in _alive() if node["Resources"].get("CPU")]
            most = max(able, key=lambda node: node["Resources"].get("memory", 0))
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(most["NodeID"], soft=True)
        return cast(Result, _get(ray.remote(**options)(lambda: build(session)).remote()))

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


def _nodes() -> list[Node]:
    found = [node["Resources"] for node in _alive()]
    return [Node(n.get("CPU", 0.0), n.get("GPU", 0.0), n.get("memory", 0.0) / GIB) for n in found]


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _flow(
    work: Work,
    shards: Sequence[Shard],
    pools: Sequence[tuple[Stage, Placement]],
    readers: int,
    collectors: Sequence[Any],
    report: Report,
) -> None:
    """Read tasks, a pool of actors per stage, and notes that come back; columns go to the collectors."""
    sink = _Sink(collectors)
    data = ray.data.from_items([asdict(s) for s in shards], override_num_blocks=read_tasks(shards, readers))
    data = data.map_batches(
        read_shards,
        fn_args=(work, sink),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=READ_CPUS,
        compute=TaskPoolStrategy(size=readers),
    )
    for index, (stage, pool) in enumerate(pools):
        data = data.map_batches(
            StageWorker,
            fn_constructor_args=(work, stage, index, pool.threads, sink),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            memory=int(pool.memory * GIB) or None,
            compute=ActorPoolStrategy(size=pool.workers),
        )
    with _explained():
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            for note in table.column("note").to_pylist():
                report(event(note))


@contextmanager
def _collectors(work: Work, count: int) -> Iterator[list[Any]]:
    """So many collectors, which end with the block."""
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=RETRIES)(CollectorActor)
    collectors = [actor.remote(work) for _ in range(count)]
    try:
        yield collectors
    finally:
        for collector in collectors:
            ray.kill(collector)


def _told(collectors: Sequence[Any]) -> list[tuple[bytes, dict[str, str]]]:
    """Of each collector: which life it is in, and the shards that storage refused in it, with reasons."""
    return cast(list[tuple[bytes, dict[str, str]]], _get([c.told.remote() for c in collectors]))


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of ours come out as themselves, not inside Ray's; what Ray has given up on is told in one line."""
    try:
        yield
    except ExecutionTimeoutError:
        again = "an operator that ends its process, or a machine that did not come back; is it the recipe's `run`?"
        raise ShardError(f"no batch was done for {PATIENCE:,} s: {again}") from None
    except ray.exceptions.RayError as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        if isinstance(cause, WinnowError):
            raise cause from None
        if not isinstance(cause, ray.exceptions.RayError):
            raise  # a defect: its traceback is wanted
        reason = f"{type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
        raise ShardError(f"Ray gave up ({reason}); run the same command again to go on") from error


def _get(reference: Any) -> Any:
    """A task's result, or those of several."""
    with _explained():
        return ray.get(reference)


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


def _call(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A Ray task that calls `function` with one argument."""
    remote = ray.remote(num_cpus=TASK_CPUS, max_retries=RETRIES)(lambda item: run_task(function, item))
    return lambda item: remote.remote(item)


class _Sink:
    """workers.Sink: the collector actors, which share the shards among them. Travels to workers, and waits
    for an answer: what a worker has reported done is in good hands."""

    def __init__(self, collectors: Sequence[Any]) -> None:
        self.collectors = collectors

    def add(self, shard: str, start: int, payload: bytes) -> None:
        ray.get(self._of(shard).add.remote(shard, start, payload))

    def expect(self, shard: str, rows: int) -> None:
        ray.get(self._of(shard).expect.remote(shard, rows))

    def _of(self, shard: str) -> Any:
        return self.collectors[sum(shard.encode()) % len(self.collectors)]


def _ship_plugins(recipe: Recipe) -> None:
    """Plugin modules exist on the driver alone: send their classes by value."""
    for entry in recipe.compute.values():
        if entry.source is not None:
            ray.cloudpickle.register_pickle_by_value(sys.modules[type(entry.operator).__module__])
