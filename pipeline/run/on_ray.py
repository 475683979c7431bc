"""Passes and tasks on Ray. With `ray/data_flow.py` and `ray/one_machine.py` the only module that imports it.

Facts about Ray 2.60 that this code relies on, beside those of `ray/data_flow.py`:

 7. An error in a task reaches the driver inside a RayTaskError. So the driver raises its cause.
 8. Ray's C++ core writes to the process's stderr, past Python's logging. So its start has none (ray/log.py).
 9. Workers import modules by name. Only the driver has the file of a plugin, so its classes travel by value.
10. Of a worker that died Ray tells on the driver's stdout, among what `--json` prints. There is no setting.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar, cast

import polars as pl
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import RecipeError, ShardError, WinnowError
from pipeline.plan import cluster
from pipeline.plan.cluster import GIB, PATIENCE, Node, Placement
from pipeline.plan.passes import Stage
from pipeline.plan.ray_address import check_address, connect, start
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Recipe
from pipeline.run.batches import Work
from pipeline.run.executor import LITTLE, Asked, Report, log_begun
from pipeline.run.ray.log import stderr_discarded
from pipeline.run.ray.one_machine import few_helpers, small_head
from pipeline.run.ray.task_flow import counting, merge_task, run_all, run_task, run_tree

Item = TypeVar("Item")
Result = TypeVar("Result")


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
                if address:
                    connect(_init, address)
                else:
                    with small_head():
                        start(_init, cpus, gpus)
        if recipe is not None and address:
            cluster.check_paths(recipe)
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
        """See Executor."""
        placed = self._place(stages, shards)
        pool = cluster.shard_workers(placed, self.nodes, len(shards))
        readers = pool.workers if pool else cluster.readers_beside(placed, self.nodes, len(shards))
        pools = list(zip(stages, placed, strict=True))
        workers = {name: pool.workers for stage, pool in pools for name in stage.names} | {"read": readers}
        log_begun(work.names, shards, ", ".join(f"{name} {count}" for name, count in workers.items()))
        from pipeline.run.ray.data_flow import run_flow, run_whole  # half a second: pandas and more

        with _own_errors(), few_helpers():
            if pool:
                run_whole(work, shards, stages, pool, report, PATIENCE)
            else:
                run_flow(work, shards, pools, readers, self.nodes, report, PATIENCE)
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
        return cast(Result, _get(ray.remote(**options)(run_task).remote(function, item)))

    def reduce(
        self,
        function: Callable[[Item], pl.DataFrame],
        merge: Callable[[list[pl.DataFrame]], pl.DataFrame],
        items: Sequence[Item],
        done: Callable[[int], None],
    ) -> pl.DataFrame:
        """See Executor. Workers merge the tables in a tree of tasks. The driver gets only the last table."""
        start_merge = partial(_remote(merge_task).remote, merge, ray.get)
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


def _remote(function: Callable[..., Any], **options: Any) -> Any:
    """A function that Ray runs as a task, with these options in place of the usual ones."""
    usual = {"num_cpus": cluster.TASK_CPUS, "max_retries": cluster.RETRIES}
    return ray.remote(**{**usual, **options})(function)


def _starter(function: Callable[[Item], Any], **options: Any) -> Callable[[Item], Any]:
    """Starts a task that calls `function` with one item."""
    return partial(_remote(run_task, **options).remote, function)


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
    _say_on_stderr()
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)


def _say_on_stderr() -> None:
    """Let Ray say on stderr that a worker died (fact 10), from now on in this process."""
    say = getattr(ray._private.worker, "print_to_stdstream", None)
    if say is not None and not isinstance(say, partial):
        ray._private.worker.print_to_stdstream = partial(_on_stderr, say)


def _on_stderr(say: Callable[..., None], data: dict[str, Any], *others: Any, **named: Any) -> None:
    say({**data, "is_err": True}, *others, **named)


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
