r"""Passes of Scores on Ray Data, in one of two ways.

Whole shards (`shard_worker`): a pool of actors, each a plain loop that reads its shards and publishes them.

    shards -> actors -> notes for the driver: progress, reasons, errors

Batches (`data_workers`): what is read by one process goes through others.

    shards -> read tasks -> one pool of actors per stage -> collectors, which publish each shard's parts
                                                        \-> notes

Whole shards cost least, since no batch travels. They are the way for a pass of one stage on CPUs whose shards
outnumber its workers. Else there would be workers without a shard, stages with other resources, or GPUs that
wait for one process to read.

Facts about Ray 2.60 that this code relies on; a comment names the number at the line that needs it:

 1. Read tasks get only the CPUs that the pools of actors leave. If these reserve every CPU, Ray Data waits
    for ever without a message. So the pools reserve fractions of CPUs, sized beforehand (plan/cluster.py).
 2. A pool that may grow adds one actor at a time, while GPUs idle for minutes. So pools have a fixed size.
 3. Ray Data starts an actor whose process died again, without end, and gives it the same block. So a pass
    fails if no operator makes progress for PATIENCE seconds.
 4. Ray Data cuts and joins blocks by their bytes, but never cuts a row. So a batch travels as one row, and
    the size of blocks says how many a worker is handed (plan/cluster.py).
 5. Ray runs a task again if its process, or the machine that holds its results, is lost. A batch may reach
    its collector twice. So a collector counts each batch once (collector.py).
 6. Ray restarts the process of an actor with `max_restarts`, but not its state. So a collector reports a
    token of its process. If the token has changed, the shards that are not published are computed again.
11. If the process of an actor dies in a call that yields, Ray repeats the call, and drops as many outputs as
    the driver has had, whatever they say. So calls of whole shards are not repeated by Ray: their errors are
    ignored (`max_errored_blocks`), and the driver hands out again what has not ended. Ray 2.64 will take
    `max_task_retries` in another way.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.data.exceptions import ExecutionTimeoutError

from pipeline.errors import ShardError
from pipeline.operator import reads_images
from pipeline.plan import cluster
from pipeline.plan.cluster import GIB, Node, Placement
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.run.batches import Read, Work
from pipeline.run.executor import Event, Report
from pipeline.run.ray import data_workers
from pipeline.run.ray.shard_worker import CALLS, ShardWorker, shard_row
from pipeline.storage.retry import ATTEMPTS

ROW_BYTES = 1  # a block for each row: the driver hears of it at once
LOG = logging.getLogger("winnow.run")
Pool = tuple[Stage, Placement]


def run_whole(
    work: Work,
    shards: Sequence[Shard],
    stages: Sequence[Stage],
    pool: Placement,
    report: Report,
    patience: float,
) -> None:
    """Run a pass in workers that take whole shards. If the process of one dies, its shards that had not ended
    are done again when all others are done. Raises ShardError if nothing was done for `patience` seconds or
    no shard ended in ATTEMPTS rounds, OperatorError, and Ray's errors."""
    left, vain = {shard.name: shard for shard in shards}, 0
    while left:
        before = len(left)
        for event in _whole(work, list(left.values()), stages, pool, patience):
            if event.read is not None:
                left.pop(event.read.shard, None)
            report(event)
        vain = vain + 1 if len(left) == before else 0
        if vain == ATTEMPTS:
            raise ShardError(
                f"workers ended {vain} times before they had finished a shard. Either an operator keeps killing "
                "its worker process, or machines are lost. Check `run:`, then run the command again"
            )
        if left:
            LOG.warning("workers ended; shards that are computed again: %d", len(left))
            work = work.with_pieces(list(left.values()))


def _whole(
    work: Work, shards: Sequence[Shard], stages: Sequence[Stage], pool: Placement, patience: float
) -> Iterator[Event]:
    """What workers of whole shards tell. Shards of a worker whose process dies are missing."""
    _set_up(patience, ROW_BYTES, lost=-1)
    data = _rows(shards, cluster.read_tasks(shards, pool.workers))
    data = data.map_batches(
        ShardWorker,
        fn_constructor_args=(work, stages, pool.threads),
        num_cpus=pool.cpus,
        memory=int(pool.memory * GIB) or None,
        max_task_retries=0,  # fact 11
        compute=ActorPoolStrategy(
            size=pool.workers,  # fact 2
            max_tasks_in_flight_per_actor=CALLS,
            max_concurrent_calls_per_actor=CALLS,
            enable_true_multi_threading=True,
        ),
        batch_size=None,
        batch_format="pyarrow",
    )
    return _told(data, patience)


def run_flow(
    work: Work,
    shards: Sequence[Shard],
    pools: Sequence[Pool],
    readers: int,
    nodes: Sequence[Node],
    report: Report,
    patience: float,
) -> None:
    """Run a pass with so many readers and a pool of workers for each stage. If Ray restarts a collector, the
    rows that it held are lost. The shards that are then not published are computed again, up to ATTEMPTS
    times. Raises ShardError if nothing was done for `patience` seconds, OperatorError, and Ray's errors."""
    _set_up(patience, cluster.block_bytes(shards, [pool for _, pool in pools]), lost=0)
    for _ in range(ATTEMPTS):
        unread = set[str]()
        with _collectors(work, cluster.collectors_beside(nodes)) as collectors:
            before = _states(collectors)
            for event in _events(work, shards, pools, readers, collectors, patience):
                if event.read is not None and event.read.error:
                    unread.add(event.read.shard)
                report(event)
            after = _states(collectors)
        refused = {shard: reason for state in after for shard, reason in state.failed.items()}
        for shard, reason in refused.items():
            report(Event(read=Read(shard, error=reason)))
        restarted = sum(old.token != new.token for old, new in zip(before, after, strict=True))
        if not restarted:
            return
        shards = work.unpublished([s for s in shards if s.name not in refused.keys() | unread])
        message = "Ray restarted %d of %d collectors; shards whose rows are lost and computed again: %d"
        LOG.warning(message, restarted, len(after), len(shards))
        if not shards:
            return
        work = work.with_pieces(shards)


def _events(
    work: Work,
    shards: Sequence[Shard],
    pools: Sequence[Pool],
    readers: int,
    collectors: Sequence[Any],
    patience: float,
) -> Iterator[Event]:
    """Run read tasks and a pool of actors per stage. Columns go to the collectors, events come back."""
    sink = data_workers.Sink(collectors, ray.get)
    data = _rows(shards, cluster.read_tasks(shards, readers))
    data = data.map_batches(
        data_workers.read_shards,
        fn_args=(work, sink),
        num_cpus=cluster.READ_CPUS,
        compute=TaskPoolStrategy(size=readers),
        batch_size=1,
        batch_format="pyarrow",
    )
    for index, (stage, pool) in enumerate(pools):
        slow = not pool.gpus and any(reads_images(work.entries[n].operator) for n in stage.names)
        data = data.map_batches(
            data_workers.StageWorker,
            fn_constructor_args=(work, stage, index, pool.threads, sink),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            memory=int(pool.memory * GIB) or None,
            compute=ActorPoolStrategy(size=pool.workers, **data_workers.at_a_time(slow)),  # fact 2
            batch_size=1 if pool.gpus else None,  # None: a block, which Ray Data refuses with GPUs
            batch_format="pyarrow",
        )
    return _told(data, patience)


def _rows(shards: Sequence[Shard], blocks: int) -> Any:
    """The shards as a dataset."""
    return ray.data.from_items(list(map(shard_row, shards)), override_num_blocks=blocks)


def _told(data: Any, patience: float) -> Iterator[Event]:
    """The events that the notes of a dataset tell of, as they come. Raises OperatorError, and ShardError if
    none has come for `patience` seconds."""
    try:
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            for note in table.column("note").to_pylist():
                yield from data_workers.events_of(note)
    except ExecutionTimeoutError:  # fact 3
        raise ShardError(
            f"no batch finished in {patience / 60:g} minutes. Either an operator keeps killing its worker "
            "process, or a machine was lost and not replaced. Check `run:`, then run the command again"
        ) from None


@contextmanager
def _collectors(work: Work, count: int) -> Iterator[list[Any]]:
    """`count` collector actors, which end with the block."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": cluster.RETRIES}
    actor: Any = ray.remote(**options)(data_workers.CollectorActor)
    collectors = [actor.remote(work) for _ in range(count)]
    try:
        yield collectors
    finally:
        for collector in collectors:
            ray.kill(collector)


def _states(collectors: Sequence[Any]) -> list[data_workers.CollectorState]:
    """The state of each collector (fact 6)."""
    return cast(list[data_workers.CollectorState], ray.get([actor.state.remote() for actor in collectors]))


def _set_up(patience: float, block_bytes: int, lost: int) -> None:
    """Ray Data's settings for this process, and its own progress display and warnings off. `lost`: calls that
    may fail, -1 for any number."""
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # fact 11
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL if lost else logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = lost
    context.target_max_block_size = block_bytes  # fact 4
    context.execution_no_progress_timeout_s = patience  # fact 3
