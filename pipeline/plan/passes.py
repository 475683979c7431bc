"""The passes that a recipe still needs, given what is stored. Pure: no I/O.

    for todo in plan(recipe, shards, keys, list_stored(session)): ...

A ScorePass reads some shards once and fills columns for them; a StatPass reduces columns to one table; in a
GroupPass rows meet that share a key. Stats and Groups are barriers: operators that read them run in a later
pass. Shards that lack different columns (after a kill, or after an operator is added) are in different
passes, so that nothing is computed twice.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.operator import Group, Operator, Stat, Writer, reads_images
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Recipe, Resources
from pipeline.storage import layout

# Rows per batch by default. gpu: enough to fill a GPU. images: few, so that CPU workers, which take some ten
# pictures per second with a large model, end together. columns: many, since a row costs little.
ROWS = {"gpu": 256, "images": 64, "columns": 8192}


@dataclass(frozen=True)
class Stored:
    """The results of a recipe that a store holds.

    parts   folder (`samples`, `columns/<name>-<key>`) -> the shards with a complete part there
    stats   the files of the Stats' tables
    rows    shard -> number of samples
    """

    parts: Mapping[str, Collection[str]] = field(default_factory=dict)
    stats: Collection[str] = ()
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Operators that share a worker pool, in dependency order."""

    names: tuple[str, ...]
    resources: Resources
    rows: int = 64  # per batch


@dataclass(frozen=True)
class ScorePass:
    """Fill the columns of `stages` for `shards`. `reads_pool`: whether the pool's files must be opened, or
    stored columns suffice."""

    shards: tuple[Shard, ...]
    stages: tuple[Stage, ...]
    reads_pool: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The operators, in the order in which they run."""
        return tuple(name for stage in self.stages for name in stage.names)


@dataclass(frozen=True)
class StatPass:
    """Reduce the columns that the Stat `name` reads, over `shards`, to one table."""

    name: str
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class GroupPass:
    """Let the rows of `shards` meet for the Group `name`. `missing`: those of the shards that lack its
    columns."""

    name: str
    shards: tuple[Shard, ...]
    missing: tuple[Shard, ...]


Pass = ScorePass | StatPass | GroupPass


def plan(
    recipe: Recipe,
    shards: Sequence[Shard],
    keys: Mapping[str, str],
    stored: Stored,
    only: Collection[str] = (),
) -> list[Pass]:
    """The missing passes, in order. `only`: the operators to compute, with all that they need; by default
    all."""
    wanted = closure(recipe, only or recipe.compute)
    done = {name for name in wanted if _is_done(recipe, shards, keys, stored, name)}
    pending = [n for n in recipe.compute if n in wanted and n not in done and shards]
    indexed = set(stored.parts.get(layout.SAMPLES, ()))
    passes: list[Pass] = []
    finished = set(recipe.compute) - set(pending)
    while pending:
        scores = _ready(recipe, pending, finished, barriers=False)
        if not scores and not _ready(recipe, pending, finished, barriers=True):
            raise AssertionError(f"no operator of {pending} can run")  # a circle; the recipe check forbids it
        passes += _score_passes(recipe, shards, keys, stored, indexed, scores)
        indexed.update(shard.name for shard in shards)
        finished.update(scores)
        barriers = _ready(recipe, [n for n in pending if n not in finished], finished, barriers=True)
        passes += [_barrier(recipe, shards, keys, stored, name) for name in barriers]
        finished.update(barriers)
        pending = [n for n in pending if n not in finished]
    if not wanted:
        passes += _score_passes(recipe, shards, keys, stored, indexed, [])
    return passes


def closure(recipe: Recipe, names: Iterable[str]) -> set[str]:
    """These operators and all that they need, directly or not."""
    closed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in closed:
            closed.add(name)
            waiting += recipe.operator(name).owners()
    return closed


def is_barrier(operator: Operator) -> bool:
    """Whether an operator sees the whole pool at once."""
    return isinstance(operator, Stat | Group)


def _ready(recipe: Recipe, pending: Sequence[str], finished: Collection[str], barriers: bool) -> list[str]:
    """The pending operators, barriers or Scores, that can run now: what they read is finished or, for a
    Score, comes earlier in the same pass."""
    ready: list[str] = []
    for name in pending:  # in dependency order
        if is_barrier(recipe.operator(name)) != barriers:
            continue
        owners = recipe.operator(name).owners()
        if all(o in finished or (not barriers and o in ready) for o in owners):
            ready.append(name)
    return ready


def _is_done(
    recipe: Recipe, shards: Sequence[Shard], keys: Mapping[str, str], stored: Stored, name: str
) -> bool:
    """Whether a barrier has all its results."""
    operator = recipe.operator(name)
    if isinstance(operator, Stat):
        return layout.stat(name, keys[name]) in stored.stats
    return isinstance(operator, Group) and not _lacking(shards, keys, stored, name)


def _lacking(
    shards: Sequence[Shard], keys: Mapping[str, str], stored: Stored, name: str
) -> tuple[Shard, ...]:
    """The shards that lack the columns of an operator."""
    parts = stored.parts.get(layout.columns_folder(name, keys[name]), ())
    return tuple(shard for shard in shards if shard.name not in parts)


def _barrier(
    recipe: Recipe, shards: Sequence[Shard], keys: Mapping[str, str], stored: Stored, name: str
) -> StatPass | GroupPass:
    """The pass of a Stat or a Group."""
    if isinstance(recipe.operator(name), Stat):
        return StatPass(name, tuple(shards))
    return GroupPass(name, tuple(shards), _lacking(shards, keys, stored, name))


def _score_passes(
    recipe: Recipe,
    shards: Sequence[Shard],
    keys: Mapping[str, str],
    stored: Stored,
    indexed: Collection[str],
    names: Sequence[str],
) -> list[ScorePass]:
    """One pass per set of missing columns. `indexed`: the shards whose samples are stored when the pass
    begins; the pass that first opens a shard also stores its samples."""
    folders = {name: layout.columns_folder(name, keys[name]) for name in names}
    groups: dict[tuple[tuple[str, ...], bool], list[Shard]] = {}
    for shard in shards:
        missing = tuple(n for n in names if shard.name not in stored.parts.get(folders[n], ()))
        opened = shard.name not in indexed
        if missing or opened:
            images = any(reads_images(recipe.operator(name)) for name in missing)
            groups.setdefault((missing, opened or images), []).append(shard)
    return [
        ScorePass(tuple(group), _stages(recipe, missing), reads_pool)
        for (missing, reads_pool), group in groups.items()
    ]


def _stages(recipe: Recipe, names: Sequence[str]) -> tuple[Stage, ...]:
    """Operators with equal resources share a stage: the first one after all stages that they need."""
    stages: list[tuple[Resources, list[str]]] = []
    for name in names:
        resources = recipe.resources(name)
        owners = set(recipe.operator(name).owners())
        earliest = max((i for i, (_, members) in enumerate(stages) if owners & set(members)), default=0)
        shared = next((i for i in range(earliest, len(stages)) if stages[i][0] == resources), None)
        if shared is None:
            stages.append((resources, [name]))
        else:
            stages[shared][1].append(name)
    return tuple(
        Stage(tuple(members), resources, _batch_rows(recipe, resources, members))
        for resources, members in stages
    )


def _batch_rows(recipe: Recipe, resources: Resources, names: Sequence[str]) -> int:
    """Rows per batch: `batch_size`, or what suits these operators."""
    if resources.batch_size:
        return resources.batch_size
    if resources.gpus:
        return ROWS["gpu"]
    images = any(reads_images(recipe.operator(name)) for name in names)
    return ROWS["images" if images else "columns"]


def runs_a_network(operator: Operator) -> bool:
    """Whether an operator runs a network on the GPU that it may get."""
    return isinstance(operator, Writer) and operator.uses_gpu()
