"""The content of `winnow plan`: which passes are missing, on how many samples and bytes, roughly how long
they take and on how many workers; and what would keep the job from running well.

    shown = preview(session, cluster=parse_cluster("16x8"), hours=24)
    print(shown.estimate.seconds, shown.warnings)

Speeds come from earlier runs on the store, or are measured on a few shards. They are those of one worker of
the plain loop, on the machine where they were measured.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.plan.absent import absent_files, absent_gpus, check_files, gpus_here
from pipeline.plan.cluster import GIB, Node, Placement
from pipeline.plan.doubts import doubts
from pipeline.plan.index_choice import why_not_built
from pipeline.plan.passes import GroupPass, Pass, ScorePass, StatPass, Stored, plan
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.preflight.captions import caption_line, caption_warnings, looked_for_captions
from pipeline.preflight.checks import (
    check_cluster,
    check_gone,
    check_operators,
    check_packed,
    check_parts,
    check_shards,
    check_states,
    check_storage,
)
from pipeline.preflight.estimate import Estimate, MissingPass, StagePool, estimate
from pipeline.preflight.index_cost import HERE, PlannedIndex, measured_rates, planned_indexes
from pipeline.preflight.measure import Measured, MeasuredOn, measure, total_bytes
from pipeline.preflight.renewed import renewed
from pipeline.preflight.space import Space, check_space
from pipeline.preflight.upload import check_upload
from pipeline.run.compute import Observe, unobserved
from pipeline.run.groups.work import Shuffle, held, shuffle_of
from pipeline.run.log import Speed, speeds
from pipeline.storage.identity import MISSING

PROCESS = 0.5  # GiB of a process that holds no rows: a task of .25 GiB took .72 (measured)
MOST_CELLS = 250_000  # of the files in which the rows of a Group meet
KINDS: Mapping[type, Literal["score", "stat", "group"]] = {
    ScorePass: "score",
    StatPass: "stat",
    GroupPass: "group",
}


@dataclass(frozen=True)
class IndexTask:
    """The resources of the task that builds the FAISS index; memory in GiB, 0 if the recipe asks for none."""

    workers: int
    cpus: float
    gpus: float
    memory: float


@dataclass(frozen=True)
class Preview:
    """The stored results of a recipe, and the passes that would run. Figures that are not known are None.

    indexed    shards whose samples are known, which have so many `samples` in all
    renewed    operator -> what differs from it in the results that the store has under its name
    doubtful   shard -> how its file differs from the one that was read. Its content is compared first, and
               the shard is done anew only if that differs, too; the passes leave this out
    missing    shard -> the path of its file, which does not exist
    operators  name -> the name of its folder in the store, `<name>-<key>`
    index      what the FAISS index reserves, if the plan is for a cluster and the recipe has one
    indexes    the FAISS indexes that the recipe asks for, with their sizes and costs
    measured   how much the speeds were measured on, if `winnow plan --measure` asked for it
    captions   where the first samples have captions, in words, if the recipe says where they are
    exports    the exports that would be written to local disks, and the room they need
    refused    what a run on this machine would be refused for; a machine of the cluster may have it
    warnings   what would run badly, each with the setting to change
    """

    shards: int
    indexed: int
    samples: int | None
    renewed: Mapping[str, str]
    doubtful: Mapping[str, str]
    missing: Mapping[str, str]
    operators: Mapping[str, str]
    passes: Sequence[MissingPass]
    index: IndexTask | None
    indexes: Sequence[PlannedIndex]
    estimate: Estimate
    measured: MeasuredOn | None
    captions: str
    exports: Sequence[Space]
    refused: Sequence[str]
    warnings: Sequence[str]


def preview(
    session: Session,
    cluster: Sequence[Node] = (),
    count: int | None = None,
    hours: float | None = None,
    observe: Observe = unobserved,
) -> Preview:
    """The missing passes and what they cost. The session need not have been looked up in its store.
    `cluster`: the machines that the job is meant for; `count`: shards to measure on; `hours`: see `estimate`;
    `observe`: see `compute`. Raises RecipeError for what cannot run, and what `measure` raises."""
    storage_warnings = check_storage(session)
    session = session.looked_up()
    doubtful = {shard.name: shard.differs for shard in session.shards if shard.differs}
    pool_warnings = [*check_states(session), *check_gone(session)]
    session = _trusting(session) if doubtful else session
    stored = list_stored(session)
    missing = plan(session.recipe, session.shards, session.keys, stored)
    pools, index = check_cluster(session, missing, cluster) if cluster else ([], None)
    check_files(session, missing)
    measured = measure(session, count, missing, stored, observe) if count and missing else None
    rates = {**speeds(session.store), **(measured.speeds if measured else {})}
    sizes = _Sizes(stored.rows, measured)
    passes = [
        _missing_pass(session, planned, sizes, rates, pools[number] if pools else ())
        for number, planned in enumerate(missing)
    ]
    indexes = _indexes(session, stored, bool(count))
    looked = looked_for_captions(session)
    exports, space_warnings = check_space(session, stored.rows)
    return Preview(
        shards=len(session.shards),
        indexed=len(stored.rows),
        samples=sum(stored.rows.values()) if stored.rows else None,
        renewed=renewed(session, [name for step in passes for name in step.operators]),
        doubtful=doubtful,
        missing={shard.name: shard.path for shard in session.shards if shard.state == MISSING},
        operators={name: session.folder(name).split("/")[1] for name in session.recipe.compute},
        passes=passes,
        index=IndexTask(index.workers, index.cpus, index.gpus, index.memory) if index else None,
        indexes=indexes,
        estimate=estimate(passes, hours),
        measured=measured.on if measured else None,
        captions=caption_line(looked),
        exports=exports,
        refused=_missing_here(session, missing, bool(cluster)),
        warnings=[
            *storage_warnings,
            *pool_warnings,
            *caption_warnings(session, looked),
            *check_packed(session),
            *check_shards(missing, pools),
            *check_parts(session, stored.rows),
            *space_warnings,
            *_shuffle_warnings(passes),
            *_index_warnings(indexes),
            *(check_upload(".") if cluster else []),
            *check_operators(session),
            *(doubts(session) or (measured.doubts if measured else [])),
        ],
    )


def _indexes(session: Session, stored: Stored, measured: bool) -> list[PlannedIndex]:
    """The indexes, with rates that are measured now if `measured`."""
    if not session.recipe.export.every_index():
        return []
    return planned_indexes(session, stored, measured_rates() if measured else HERE)


def _missing_here(session: Session, passes: Sequence[Pass], on_cluster: bool) -> list[str]:
    """What the passes need and is not there: files, models, and, unless the job is for a cluster, GPUs of
    this machine."""
    elsewhere = on_cluster or os.environ.get("RAY_ADDRESS")
    gpus = [] if elsewhere else absent_gpus(passes, [Node(os.cpu_count() or 1, gpus_here())])
    return [*absent_files(session, passes), *gpus]


def _trusting(session: Session) -> Session:
    """The same session, which takes files that were written since they were read for touched ones."""
    return session.over([replace(s, state="") if s.differs else s for s in session.shards]).refreshed()


def _shuffle_warnings(passes: Sequence[MissingPass]) -> list[str]:
    """A warning for each Group whose tasks would take more than is asked for, or whose rows would be cut into
    too many cells."""
    small = [
        f"run.{name}.memory: {step.memory:g} GiB are for the rows of a task; Python and its libraries take about "
        f"{PROCESS:g} GiB beside them"
        for step in passes
        if step.shuffled and step.memory and step.memory < PROCESS
        for name in step.operators
    ]
    return small + [
        f"run.{name}.memory: with {step.memory:g} GiB a task the rows of {name} are cut into "
        f"{cells:,} cells, each of which is a request or more; give it more, such as "
        f"run.{name}.memory={math.ceil(step.memory * math.sqrt(cells / MOST_CELLS))}"
        for step in passes
        if step.shuffled and step.memory
        for name in step.operators
        if (cells := math.ceil(step.shuffled / held(step.memory)) ** 2) > MOST_CELLS
    ]


def _index_warnings(indexes: Sequence[PlannedIndex]) -> list[str]:
    """A warning for each index that cannot be built, and for each that is larger than the memory for it."""
    unbuilt = [
        f"{index.key}.factory: {index.factory} cannot be built for {index.dimension} dimensions: {reason}; name "
        "another, or auto"
        for index in indexes
        if index.factory and index.dimension
        if (reason := why_not_built(index.factory, index.dimension, index.rows))
    ]
    return unbuilt + [
        f"{index.key}.memory: {index.factory} has {index.bytes / GIB:,.1f} GiB, more than the {index.memory:g} that "
        "a search has; it is left in parts, which a search reads one after the other. Give it more, or name a "
        "factory with shorter codes"
        for index in indexes
        if index.joined is False and index.bytes is not None
    ]


class _Sizes:
    """Samples and bytes of a pass. A shard whose numbers are not known counts as the average of the
    others."""

    def __init__(self, rows: Mapping[str, int], measured: Measured | None) -> None:
        self.rows = rows
        self.measured = measured
        samples, shards = sum(rows.values()), len(rows)
        if measured and not shards:
            samples, shards = measured.on.samples, measured.on.shards
        self.mean = samples / shards if shards else None

    def samples_of(self, planned: Pass) -> int | None:
        """Samples of the shards of a pass, None if nothing is known of any shard."""
        mean = self.mean
        return None if mean is None else round(sum(self.rows.get(s.name, mean) for s in planned.shards))

    def bytes_of(self, planned: Pass) -> int | None:
        """Bytes of the shards of a pass, None if they are not known."""
        size = total_bytes(planned.shards)
        if size is not None or self.measured is None or self.measured.bytes is None:
            return size
        return round(self.measured.bytes / self.measured.on.shards * len(planned.shards))


def _missing_pass(
    session: Session,
    planned: Pass,
    sizes: _Sizes,
    rates: Mapping[str, Speed],
    pools: Sequence[Placement],
) -> MissingPass:
    """A pass with its cost. `pools`: what the stages of the pass reserve on the cluster, if there is one."""
    names = planned.names if isinstance(planned, ScorePass) else (planned.name,)
    stages = planned.stages if isinstance(planned, ScorePass) else ()
    reads_pool = isinstance(planned, ScorePass) and planned.reads_pool
    samples = sizes.samples_of(planned)
    size = sizes.bytes_of(planned) if reads_pool else None
    costs = {
        name: samples / rates[name].rows_per_second
        for name in (*names, *(("read", "decode") if reads_pool else ()))
        if samples and name in rates and rates[name].rows_per_second
    }
    shuffle = shuffle_of(session, planned.name, samples) if isinstance(planned, GroupPass) else None
    return MissingPass(
        operators=names,
        kind=KINDS[type(planned)],
        reads=_worded(session.kind.noun, size) if reads_pool else _columns_read(shuffle),
        bytes=size,
        shards=len(planned.shards),
        samples=samples,
        seconds=sum(costs.values()) if costs and all(name in costs for name in names) else None,
        costs=costs,
        pools=[
            StagePool(stage.names, pool.workers, pool.cpus, pool.gpus, pool.memory)
            for stage, pool in zip(stages, pools, strict=False)
        ],
        shuffled=shuffle.bytes if shuffle else None,
        memory=shuffle.memory if shuffle else None,
    )


def _columns_read(shuffle: Shuffle | None) -> str:
    """`columns`, and how much of them a Group moves."""
    if shuffle is None:
        return "columns"
    size = "" if shuffle.bytes is None else f", {shuffle.bytes / 1e6:,.0f} MB"
    return f"columns, grouped by key{size}; {shuffle.memory:g} GiB per task"


def _worded(noun: str, size: int | None) -> str:
    """`tars, 120 MB`; the size if it is known."""
    return f"{noun}, {size / 1e6:,.0f} MB" if size else noun
