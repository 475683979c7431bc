"""A recipe and what is stored, turned into the list of passes that are missing. Pure: no I/O.

A pass reads some shards once and fills some columns of them, or boils columns down to one table. A
Stat is a barrier: what reads it comes in a later pass. Shards that lack different columns (after a
kill, or when an operator is added) are in different passes, so that nothing stored is computed again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.operator import ImageScore, Stat, Writer
from pipeline.pool.shards import Shard
from pipeline.recipe.sections import Recipe, Resources
from pipeline.storage import layout

# Rows of a batch by default: large enough to fill a GPU; small enough that CPU workers, at some ten
# pictures a second with a large model, end together; many where only columns are read.
ROWS = {"gpu": 256, "images": 64, "columns": 8192}


@dataclass(frozen=True)
class Stored:
    """What a store holds: shard names by folder (`samples`, `columns/<name>-<key>`), stat files, and the
    number of samples by shard."""

    parts: Mapping[str, Collection[str]] = field(default_factory=dict)
    stats: Collection[str] = ()
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Operators that share a worker pool, in dependency order."""

    names: tuple[str, ...]
    resources: Resources
    rows: int = 64  # a batch


@dataclass(frozen=True)
class ScorePass:
    """Fill the columns of `stages` for `shards`. `reads_pool`: whether the pool's files must be opened, or stored
    columns suffice."""

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


Pass = ScorePass | StatPass


def plan(
    recipe: Recipe,
    shards: Sequence[Shard],
    keys: Mapping[str, str],
    stored: Stored,
    only: Collection[str] = (),
) -> list[Pass]:
    """The passes that are missing, in order. `only` names the operators wanted (with all they need)."""
    wanted = closure(recipe, only or recipe.compute)
    done_stats = {name for name in wanted if layout.stat(name, keys[name]) in stored.stats}
    pending = [n for n in recipe.compute if n in wanted and n not in done_stats and shards]
    indexed = set(stored.parts.get(layout.SAMPLES, ()))
    passes: list[Pass] = []
    finished = set(recipe.compute) - set(pending)
    while pending:
        scores = _ready(recipe, pending, finished, Writer)
        if not scores and not _ready(recipe, pending, finished, Stat):
            raise AssertionError(f"no operator of {pending} can run")  # a circle; the recipe check forbids it
        passes += _score_passes(recipe, shards, keys, stored, indexed, scores)
        indexed.update(shard.name for shard in shards)
        finished.update(scores)
        stats = _ready(recipe, [n for n in pending if n not in finished], finished, Stat)
        passes += [StatPass(name, tuple(shards)) for name in stats]
        finished.update(stats)
        pending = [n for n in pending if n not in finished]
    if not wanted:
        passes += _score_passes(recipe, shards, keys, stored, indexed, [])
    return passes


def closure(recipe: Recipe, names: Iterable[str]) -> set[str]:
    """The operators named and all that they need."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        if (name := todo.pop()) in found:
            continue
        found.add(name)
        todo += recipe.operator(name).owners()
    return found


def _ready(recipe: Recipe, pending: Sequence[str], finished: Collection[str], kind: type) -> list[str]:
    """Operators of a kind whose Stats exist and whose columns exist or come in the same pass."""
    ready: list[str] = []
    for name in pending:  # in dependency order
        if not isinstance(recipe.operator(name), kind):
            continue
        owners = recipe.operator(name).owners()
        if all(o in finished or (kind is Writer and o in ready) for o in owners):
            ready.append(name)
    return ready


def _score_passes(
    recipe: Recipe,
    shards: Sequence[Shard],
    keys: Mapping[str, str],
    stored: Stored,
    indexed: Collection[str],
    names: Sequence[str],
) -> list[ScorePass]:
    """One pass per set of missing columns. `indexed` names the shards whose samples are known by then."""
    groups: dict[tuple[tuple[str, ...], bool], list[Shard]] = {}
    for shard in shards:
        todo = tuple(
            n for n in names if shard.name not in stored.parts.get(layout.columns_folder(n, keys[n]), ())
        )
        if todo or shard.name not in indexed:
            images = any(isinstance(recipe.operator(n), ImageScore) for n in todo)
            groups.setdefault((todo, images or shard.name not in indexed), []).append(shard)
    return [ScorePass(tuple(g), _stages(recipe, todo), reads) for (todo, reads), g in groups.items()]


def _stages(recipe: Recipe, names: Sequence[str]) -> tuple[Stage, ...]:
    """Operators with equal resources share a stage, as far as the order of their needs allows."""
    stages: list[tuple[Resources, list[str]]] = []
    for name in names:
        resources = recipe.resources(name)
        owners = set(recipe.operator(name).owners())
        earliest = max((i for i, (_, members) in enumerate(stages) if owners & set(members)), default=0)
        home = next((i for i in range(earliest, len(stages)) if stages[i][0] == resources), None)
        if home is None:
            stages.append((resources, [name]))
        else:
            stages[home][1].append(name)
    return tuple(Stage(tuple(names), asked, _rows(recipe, asked, names)) for asked, names in stages)


def _rows(recipe: Recipe, asked: Resources, names: Sequence[str]) -> int:
    """Rows of a batch, the unit that workers are handed."""
    if asked.batch_size:
        return asked.batch_size
    sees_images = any(isinstance(recipe.operator(name), ImageScore) for name in names)
    return ROWS["gpu" if asked.gpus else "images" if sees_images else "columns"]
