"""Checks before a job starts: problems that would stop it, and settings that would slow it down.

    warnings = check_storage(session)
    pools, index = check_cluster(session, passes, parse_cluster("16x8,2x12:1"))
    warnings += check_shards(passes, pools)

A problem is a RecipeError: storage that cannot be read, worker pools that no machine of the cluster can
hold, paths that its machines do not share. A setting that would only slow the job down is a warning, one
line of text that names the setting to change.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.errors import RecipeError, brief, texts
from pipeline.plan.cluster import Node, Placement, batches_of, check_paths, place, place_task
from pipeline.plan.passes import Pass, ScorePass
from pipeline.plan.session import Session
from pipeline.plan.stored import gone
from pipeline.pool.shards import PACKED_TARS
from pipeline.preflight.space import existing_above
from pipeline.recipe.check import INDEX_TASK
from pipeline.storage import layout
from pipeline.storage.faults import failure
from pipeline.storage.folder import Folder
from pipeline.storage.identity import tells_rewrites
from pipeline.storage.retry import from_storage
from pipeline.storage.store import Store

GROUP = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)(?::(\d+))?(?:@(\d+))?")  # 2x12:1@64
MOST_MACHINES = 100_000
MANY_PARTS = 1000  # small parts in files of their own, above which packing them pays
SMALL_PART = 1000  # rows of a part, below which it is small


def parse_cluster(text: str) -> list[Node]:
    """The machines of a cluster: `16x8,2x12:1@64` are 16 of 8 CPUs, and 2 of 12 CPUs, one GPU and 64 GiB.
    Raises RecipeError."""
    nodes: list[Node] = []
    for group in text.split(","):
        if not (match := GROUP.fullmatch(group.strip())):
            raise RecipeError(
                f"--cluster must be MACHINESxCPUS[:GPUS][@GIB],... such as 16x8,2x12:1@64, got {brief(text)}"
            )
        count, cpus, gpus, memory = match.groups()
        if len(count or "") > 6 or len(nodes) + int(count or 1) > MOST_MACHINES:
            raise RecipeError(f"--cluster must have at most {MOST_MACHINES:,} machines, got {brief(text)}")
        if not int(count or 1) or not float(cpus) or max(map(len, (cpus, gpus or "", memory or ""))) > 9:
            raise RecipeError(
                f"--cluster: {brief(group.strip())} has no machines, no CPUs, or a number of over 9 digits"
            )
        nodes += [Node(float(cpus), float(gpus or 0), float(memory or math.inf))] * int(count or 1)
    return nodes


def check_storage(session: Session) -> list[str]:
    """Warnings if the store cannot be written, and if the first shard does not exist. Raises RecipeError if
    the store cannot be listed, or if the first shard exists and cannot be read."""
    pool = session.kind.key
    problems = {
        "pool.store": _trouble(session.recipe.pool.store, _list_store),
        pool: _trouble(session.shards[0].path, lambda _: session.kind.touch(session.shards[0])),
    }
    if fatal := [f"{key}: {reason}" for key, (reason, is_fatal) in problems.items() if is_fatal]:
        raise RecipeError("\n".join(fatal))
    missing, _ = problems[pool]
    shard = [f"{pool}: {missing}; a missing shard stays pending"] if missing else []
    return [*_read_only(session.store.root), *shard]


def check_cluster(
    session: Session, passes: Sequence[Pass], nodes: Sequence[Node]
) -> tuple[list[list[Placement]], Placement | None]:
    """The worker pools of each pass as they would be placed on the cluster, and the placement of a task
    that builds an index, None without an index. Raises one RecipeError with a line per problem."""
    problems: list[str] = []
    pools: list[list[Placement]] = []
    index: Placement | None = None
    with _collecting(problems):
        check_paths(session.recipe)
    for planned in passes:
        stages = planned.stages if isinstance(planned, ScorePass) else ()
        with _collecting(problems):
            pools.append(place(stages, nodes, batches_of(planned.shards)) if stages else [])
    if session.recipe.export.every_index():
        with _collecting(problems):
            index = place_task(f"run.{INDEX_TASK}", session.recipe.resources(INDEX_TASK), nodes)
    if problems:
        raise RecipeError("\n".join(dict.fromkeys(problems)))
    return pools, index


def check_shards(passes: Sequence[Pass], pools: Sequence[Sequence[Placement]] = ()) -> list[str]:
    """A warning for each stage that has more workers than its pass has shards. `pools`: the workers placed
    on a cluster, as `check_cluster` returns them; without them those that `run:` asks for count."""
    warnings: list[str] = []
    for number, planned in enumerate(passes):
        shards = len(planned.shards)
        for index, stage in enumerate(planned.stages if isinstance(planned, ScorePass) else ()):
            workers = pools[number][index].workers if pools else stage.resources.workers or 0
            if workers > shards:
                key = f"run.{stage.names[0]}"
                warnings.append(
                    f"{key}: {workers} workers but {shards} shards, and each shard is read by one reader: "
                    f"cut the pool into more shards, or set {key}.workers={shards}"
                )
    return list(dict.fromkeys(warnings))


def check_packed(session: Session) -> list[str]:
    """A warning if shards are packed tars: they have no byte ranges."""
    packed = [shard for shard in session.shards if shard.path.endswith(PACKED_TARS)]
    if not packed:
        return []
    return [
        f"{session.kind.key}: {len(packed):,} shards (such as {packed[0].path}) are packed tars: reading is "
        "slower, and every tar of an export reads its shards from the front; unpacked, they are copied by "
        "byte range"
    ]


def check_states(session: Session) -> list[str]:
    """A warning if the storage of the pool does not tell when a file was rewritten."""
    unknown = [shard for shard in session.shards if not tells_rewrites(shard.state)]
    if not unknown:
        return []
    return [
        f"{session.kind.key}: the storage of {len(unknown):,} shards (such as {unknown[0].path}) tells neither "
        "an ETag nor a time of change, so it shows only when they are read that they were rewritten; "
        "`winnow store verify --deep` reads them"
    ]


def check_gone(session: Session) -> list[str]:
    """A warning if the pool lacks shards that an earlier run read."""
    if not (names := gone(session)):
        return []
    return [
        f"{session.kind.key}: the pool lacks shards that an earlier run read: {len(names):,} (such as {names[0]}); "
        "their samples do not count, and `winnow store clean` removes their results"
    ]


def check_parts(session: Session, rows: Mapping[str, int]) -> list[str]:
    """A warning if the store holds very many small parts in files of their own. `rows`: samples by shard."""
    if not session.sample_folders:
        return []
    index = session.store.pack_index(layout.SAMPLES)
    loose = len(rows) - (len(index.shards) if index else 0)
    if loose < MANY_PARTS or sum(rows.values()) >= SMALL_PART * len(rows):
        return []
    return [
        f"pool.store: {loose:,} small parts per operator; `winnow compact` packs them, which makes "
        "`keep` and `plan` faster"
    ]


@contextmanager
def _collecting(problems: list[str]) -> Iterator[None]:
    """Add the message of a RecipeError to `problems` instead of raising it, so that all are reported at
    once."""
    try:
        yield
    except RecipeError as error:
        problems.append(str(error))


# --- storage --------------------------------------------------------------------------------------


def _trouble(url: str, look: Callable[[str], Any]) -> tuple[str, bool]:
    """Why `look(url)` fails and whether that is fatal: a file that does not exist is not. ("", False) if it
    succeeds."""
    try:
        look(url)
    except FileNotFoundError:
        return f"{url} does not exist", False
    except Exception as error:
        if not from_storage(error):
            raise
        return failure(url, error), True
    return "", False


def _list_store(url: str) -> None:
    """List a folder of the store, if it is there. Raises what storage raises."""
    root = Store(url).root
    if root.local:
        os.listdir(existing_above(root.base))
    else:
        root.listing(layout.RUNS)  # of few files


def _read_only(root: Folder) -> list[str]:
    """A warning if a local store can be read but not written."""
    if not root.local or os.access(folder := existing_above(root.base), os.W_OK | os.X_OK):
        return []
    return [
        f"pool.store: {folder} cannot be written: commands that only read work, one that computes would stop; "
        "make it writable, or name another store"
    ]


def check_operators(session: Session) -> list[str]:
    """The operators' own warnings."""
    return [
        f"compute.{name}: {warning}"
        for name in session.recipe.compute
        for warning in texts(session.recipe.operator(name).warnings(), f"{name}: warnings")
    ]
