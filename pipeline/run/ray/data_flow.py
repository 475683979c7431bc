r"""Batches flow through Ray Data.

    shards -> read tasks -> one pool of actors per stage -> collectors, which publish each shard's parts
                                                        \-> notes for the driver: progress, reasons, errors

So a pass runs that has several stages or GPUs, or fewer shards than its workers could share. `data_workers`
holds the code of those tasks and actors.

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
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.data.exceptions import ExecutionTimeoutError

from pipeline.operator import reads_images
from pipeline.plan import cluster
from pipeline.plan.cluster import GIB, Node, Placement
from pipeline.plan.passes import Stage
from pipeline.pool.shards import Shard
from pipeline.run.batches import Read, Work
from pipeline.run.executor import Event, Report
from pipeline.run.ray import data_workers
from pipeline.run.ray.shard_flow import no_progress
from pipeline.storage.retry import ATTEMPTS

LOG = logging.getLogger("winnow.run")
Pool = tuple[Stage, Placement]


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
    _set_up(patience)
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
    rows = [data_workers.shard_row(shard) for shard in shards]
    data = ray.data.from_items(rows, override_num_blocks=cluster.read_tasks(shards, readers))
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
    try:
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from map(data_workers.event_of, table.column("note").to_pylist())
    except ExecutionTimeoutError:  # fact 3
        raise no_progress(patience) from None


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


def _set_up(patience: float) -> None:
    """Ray Data's settings for this process, and its own progress display and warnings off."""
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = cluster.BLOCK_BYTES  # fact 4
    context.execution_no_progress_timeout_s = patience  # fact 3
