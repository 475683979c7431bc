"""Passes on Ray; the only module that imports it.

    shards -> read tasks -> one pool of actors per stage -> collectors, which publish each shard's parts
                                                        \\-> notes for the driver: progress, reasons, errors

`ray_workers` holds the code of those tasks and actors, `task_flow` the order of the other tasks (Stats,
exports), `ray_log` says where log lines go.

Facts about Ray 2.60 that this code relies on; a comment names the number at the line that needs it:

 1. Read tasks get only the CPUs that the pools of actors leave. If these reserve every CPU, Ray Data waits
    for ever without a message. So the pools reserve fractions of CPUs, sized beforehand (plan/cluster.py).
 2. A pool that may grow adds one actor at a time, while GPUs idle for minutes. So pools have a fixed size.
 3. Ray Data starts an actor whose process died again, without end, and gives it the same block. So a pass
    fails if no operator makes progress for PATIENCE seconds.
 4. Ray Data cuts and joins blocks by their bytes, but never cuts a row. So a batch travels as one row, and
    blocks are kept below the size of a batch of images, so that each holds one of these.
 5. Ray runs a task again if its process, or the machine that holds its results, is lost. A batch may reach
    its collector twice. So a collector counts each batch once (collector.py).
 6. Ray restarts the process of an actor with `max_restarts`, but not its state. So a collector reports a
    token of its process. If the token has changed, the shards that are not published are computed again.
 7. An error in a task reaches the driver inside a RayTaskError. So the driver raises its cause.
 8. Ray's C++ core writes to the process's stderr, past Python's logging. So its start has none (ray_log.py).
 9. Workers import modules by name. Only the driver has the file of a plugin, so its classes travel by value.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar, cast

import polars as pl
import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.data.exceptions import ExecutionTimeoutError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import RecipeError, ShardError, WinnowError
from pipeline.operator import reads_images
from pipeline.plan import cluster
from pipeline.plan.cluster import GIB, PATIENCE, Node, Placement
from pipeline.plan.passes import Stage
from pipeline.plan.ray_address import check_address, connect, start
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Recipe
from pipeline.run import ray_workers
from pipeline.run.batches import Read, Work
from pipeline.run.executor import LITTLE, Asked, Event, Report, log_begun
from pipeline.run.ray_log import stderr_discarded
from pipeline.run.task_flow import counting, run_all, run_tree
from pipeline.storage.retry import ATTEMPTS

Item = TypeVar("Item")
Result = TypeVar("Result")
LOG = logging.getLogger("winnow.run")


class RayExecutor:
    """Runs passes on the cluster at RAY_ADDRESS (set inside `ray job submit`), else on this machine."""

    def __init__(
        self, recipe: Recipe | None = None, cpus: int | None = None, gpus: int | None = None
    ) -> None:
        """Connect to Ray, or start it with `cpus` and `gpus`, by default those of this machine. Raises
        RecipeError for a cluster that is not there, and for a recipe with relative paths on a cluster."""
        address = os.environ.get("RAY_ADDRESS")
        if not ray.is_initialized():
            if address:
                check_address(address)
            with stderr_discarded():
                connect(_init, address) if address else start(_init, cpus, gpus)
        if recipe is not None and address:
            cluster.check_paths(recipe)
        _set_up_ray_data()
        if recipe is not None:
            _send_plugins_by_value(recipe)
        self.nodes = _nodes()

    @property
    def tasks_at_a_time(self) -> int:
        """Tasks of a Stat or an export that run side by side: one per CPU that the cluster had when the last
        pass began."""
        return max(2, int(sum(node.cpus for node in self.nodes)))

    def scores(
        self, work: Work, shards: Sequence[Shard], stages: Sequence[Stage], report: Report
    ) -> dict[str, int]:
        """See Executor. If Ray restarts a collector, the rows that it held are lost. The shards that are
        then not published are computed again, up to ATTEMPTS times."""
        placed = self._place(stages, shards)
        readers = cluster.readers_beside(placed, self.nodes, len(shards))
        pools = list(zip(stages, placed, strict=True))
        workers = {name: pool.workers for stage, pool in pools for name in stage.names} | {"read": readers}
        log_begun(work.names, shards, ", ".join(f"{name} {count}" for name, count in workers.items()))
        for _ in range(ATTEMPTS):
            unread = set[str]()
            with _collectors(work, cluster.collectors_beside(self.nodes)) as collectors:
                before = _states(collectors)
                for event in _events(work, shards, pools, readers, collectors):
                    if event.read is not None and event.read.error:
                        unread.add(event.read.shard)
                    report(event)
                after = _states(collectors)
            refused = {shard: reason for state in after for shard, reason in state.failed.items()}
            for shard, reason in refused.items():
                report(Event(read=Read(shard, error=reason)))
            restarted = sum(old.token != new.token for old, new in zip(before, after, strict=True))
            if not restarted:
                break
            shards = work.unpublished([s for s in shards if s.name not in refused.keys() | unread])
            message = "Ray restarted %d of %d collectors; shards whose rows are lost and computed again: %d"
            LOG.warning(message, restarted, len(after), len(shards))
            if not shards:
                break
            work = work.with_pieces(shards)
        return workers

    @property
    def task_threads(self) -> int:
        """See Executor: there is a task for each CPU."""
        return 1

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], asked: Asked = LITTLE
    ) -> Iterator[Result]:
        """See Executor."""
        start = _starter(function, **cluster.task_options(*asked, _nodes()))
        return map(_get, run_all(start, _wait, items, self.tasks_at_a_time))

    def one(self, function: Callable[[Item], Result], item: Item, asked: Asked) -> Result:
        """See Executor. If `asked` names no memory, Ray prefers the machine that has the most."""
        placed = cluster.place_task(*asked, _nodes())
        options: dict[str, Any] = {"num_cpus": placed.cpus, "max_retries": cluster.RETRIES}
        if placed.memory:
            options["memory"] = int(placed.memory * GIB)
        else:
            able = [node for node in _alive() if node["Resources"].get("CPU")]
            largest = max(able, key=lambda node: node["Resources"].get("memory", 0))
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(largest["NodeID"], soft=True)
        return cast(Result, _get(ray.remote(**options)(ray_workers.run_task).remote(function, item)))

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
        done: Callable[[int], None],
    ) -> pl.DataFrame:
        """See Executor. Workers merge the tables in a tree of tasks. The driver gets only the last table."""
        start_merge = partial(_remote(ray_workers.merge_task).remote, merge, ray.get)
        start, limit = _starter(function), self.tasks_at_a_time
        table = run_tree(start, start_merge, counting(_wait, done), items, limit, cluster.MERGE_FAN_IN)
        return cast(pl.DataFrame, _get(table))

    def _place(self, stages: Sequence[Stage], shards: Sequence[Shard]) -> list[Placement]:
        """Pools for the machines that the cluster has now (fact 1). If these are too few, pools for the
        machines of the pass before: some of them are probably being replaced."""
        batches = cluster.batches_of(shards)
        nodes = _nodes()
        with suppress(RecipeError):
            placed = cluster.place(stages, nodes, batches)
            self.nodes = nodes
            return placed
        return cluster.place(stages, self.nodes, batches)


def _events(
    work: Work,
    shards: Sequence[Shard],
    pools: Sequence[tuple[Stage, Placement]],
    readers: int,
    collectors: Sequence[Any],
) -> Iterator[Event]:
    """Run read tasks and a pool of actors per stage. Columns go to the collectors, events come back."""
    sink = ray_workers.Sink(collectors, ray.get)
    rows = [ray_workers.shard_row(shard) for shard in shards]
    data = ray.data.from_items(rows, override_num_blocks=cluster.read_tasks(shards, readers))
    data = data.map_batches(
        ray_workers.read_shards,
        fn_args=(work, sink),
        num_cpus=cluster.READ_CPUS,
        compute=TaskPoolStrategy(size=readers),
        batch_size=1,
        batch_format="pyarrow",
    )
    for index, (stage, pool) in enumerate(pools):
        slow = not pool.gpus and any(reads_images(work.entries[n].operator) for n in stage.names)
        data = data.map_batches(
            ray_workers.StageWorker,
            fn_constructor_args=(work, stage, index, pool.threads, sink),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            memory=int(pool.memory * GIB) or None,
            compute=ActorPoolStrategy(size=pool.workers, **ray_workers.at_a_time(slow)),  # fact 2
            batch_size=1 if pool.gpus else None,  # None: a block, which Ray Data refuses with GPUs
            batch_format="pyarrow",
        )
    with _own_errors():
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from map(ray_workers.event_of, table.column("note").to_pylist())


@contextmanager
def _collectors(work: Work, count: int) -> Iterator[list[Any]]:
    """`count` collector actors, which end with the block."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": cluster.RETRIES}
    actor: Any = ray.remote(**options)(ray_workers.CollectorActor)
    collectors = [actor.remote(work) for _ in range(count)]
    try:
        yield collectors
    finally:
        for collector in collectors:
            ray.kill(collector)


def _states(collectors: Sequence[Any]) -> list[ray_workers.CollectorState]:
    """The state of each collector (fact 6)."""
    return cast(list[ray_workers.CollectorState], _get([actor.state.remote() for actor in collectors]))


def _remote(function: Callable[..., Any], **options: Any) -> Any:
    """A function that Ray runs as a task, with these options in place of the usual ones."""
    usual = {"num_cpus": cluster.TASK_CPUS, "max_retries": cluster.RETRIES}
    return ray.remote(**{**usual, **options})(function)


def _starter(function: Callable[[Item], Any], **options: Any) -> Callable[[Item], Any]:
    """Starts a task that calls `function` with one item."""
    return partial(_remote(ray_workers.run_task, **options).remote, function)


def _wait(running: list[Any]) -> tuple[list[Any], list[Any]]:
    ended, still_running = ray.wait(running, num_returns=1)
    return ended, still_running


def _get(reference: Any) -> Any:
    """A task's result, or a list of them."""
    with _own_errors():
        return ray.get(reference)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise Winnow's errors as themselves (fact 7), and Ray's as a ShardError of one line. The error of a
    defect passes with its traceback."""
    try:
        yield
    except ExecutionTimeoutError:  # fact 3
        raise ShardError(
            f"no batch finished in {PATIENCE / 60:g} minutes. Either an operator keeps killing its worker "
            "process, or a machine was lost and not replaced. Check `run:`, then run the command again"
        ) from None
    except ray.exceptions.RayError as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        if isinstance(cause, WinnowError):
            raise cause from None
        if not isinstance(cause, ray.exceptions.RayError):
            raise
        reason = f"{type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
        raise ShardError(f"Ray gave up ({reason}); run the same command again to go on") from error


def _init(**options: Any) -> None:
    """ray.init, which says nothing itself."""
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)


def _set_up_ray_data() -> None:
    """Ray Data's settings for this process, and its own progress display and warnings off."""
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = cluster.BLOCK_BYTES  # fact 4
    context.execution_no_progress_timeout_s = PATIENCE  # fact 3


def _send_plugins_by_value(recipe: Recipe) -> None:
    """Let the classes of plugins travel with their code (fact 9)."""
    for entry in recipe.compute.values():
        if entry.source is not None:
            ray.cloudpickle.register_pickle_by_value(sys.modules[type(entry.operator).__module__])


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _nodes() -> list[Node]:
    """The machines of the cluster, as plan/cluster.py takes them."""
    offers = [node["Resources"] for node in _alive()]
    return [Node(r.get("CPU", 0.0), r.get("GPU", 0.0), r.get("memory", 0.0) / GIB) for r in offers]
