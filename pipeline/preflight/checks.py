"""What would keep a job from running, or from running well, said before it starts.

    warnings = check_storage(session)
    pools = check_cluster(session, passes, parse_cluster("16x8,2x12:1"))
    warnings += check_shards(passes, pools)

Errors are what cannot run: storage that may not be read, worker pools that no machine of the cluster can hold,
paths that its machines do not share. Warnings are what would run badly, each with the setting to change.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import fsspec

from pipeline.errors import RecipeError, worded
from pipeline.plan.cluster import Node, Placement, batches_of, check_paths, place, place_index
from pipeline.plan.passes import Pass, ScorePass
from pipeline.plan.session import Session
from pipeline.recipe.check import INDEX
from pipeline.storage import layout, packs
from pipeline.storage.ranges import local_path
from pipeline.storage.retry import from_storage
from pipeline.storage.store import Store

GROUP = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)(?::(\d+))?(?:@(\d+))?")


def parse_cluster(text: str) -> list[Node]:
    """`16x8,2x12:1@64` -> 16 machines of 8 CPUs, and 2 of 12 CPUs, a GPU and 64 GiB. Raises RecipeError."""
    nodes = []
    for group in text.split(","):
        if not (found := GROUP.fullmatch(group.strip())):
            raise RecipeError(
                f"--cluster must be MACHINESxCPUS[:GPUS][@GIB],... such as 16x8,2x12:1@64, got {text!r}"
            )
        count, cpus, gpus, memory = found.groups()
        nodes += [Node(float(cpus), float(gpus or 0), float(memory or math.inf))] * int(count or 1)
    return nodes


def check_storage(session: Session) -> list[str]:
    """Warnings about the pool. Raises RecipeError where the store or the first shard may not be read."""
    pool = "pool.datacomp" if session.recipe.pool.datacomp else "pool.shards"
    problems = {
        "pool.store": _trouble(session.recipe.pool.store, _list_store),
        pool: _trouble(session.shards[0].path, _touch),
    }
    if wrong := [f"{key}: {text}" for key, (text, fatal) in problems.items() if text and fatal]:
        raise RecipeError("\n".join(wrong))
    missing, _ = problems[pool]
    return [f"{pool}: {missing}; a shard that is missing stays pending"] if missing else []


def check_cluster(
    session: Session, passes: Sequence[Pass], nodes: Sequence[Node]
) -> tuple[list[list[Placement]], Placement | None]:
    """The worker pools of each pass, as they would be placed, and the task of the index, if there is one. Raises
    RecipeError, a line for each thing that cannot run there."""
    wrong, pools, index = list[str](), list[list[Placement]](), None
    with _noting(wrong):
        check_paths(session.recipe)
    for todo in passes:
        stages = todo.stages if isinstance(todo, ScorePass) else ()
        with _noting(wrong):
            pools.append(place(stages, nodes, batches_of(todo.shards)) if stages else [])
    if session.recipe.export.index:
        with _noting(wrong):
            index = place_index(session.recipe.resources(INDEX), nodes)
    if wrong:
        raise RecipeError("\n".join(dict.fromkeys(wrong)))
    return pools, index


def check_shards(passes: Sequence[Pass], pools: Sequence[Sequence[Placement]] = ()) -> list[str]:
    """Warnings where a pass has fewer shards than workers: those `run:` asks for, or those placed on a cluster."""
    found: dict[str, None] = {}
    for number, todo in enumerate(passes):
        for index, stage in enumerate(todo.stages if isinstance(todo, ScorePass) else ()):
            workers = pools[number][index].workers if pools else stage.resources.workers or 0
            if workers > len(todo.shards):
                found[
                    f"run.{stage.names[0]}: {workers} workers, {len(todo.shards)} shards to read, each of them by one "
                    f"reader: cut the pool into more shards, or set run.{stage.names[0]}.workers={len(todo.shards)}"
                ] = None
    return list(found)


# --- storage --------------------------------------------------------------------------------------


def _trouble(url: str, look: Callable[[str], Any]) -> tuple[str, bool]:
    """(why it cannot be read, whether that is more than that it is not there), or ("", False)."""
    try:
        look(url)
    except FileNotFoundError:
        return f"{url} is not there", False
    except Exception as error:
        if not from_storage(error):
            raise
        return f"{url}: {worded(error)}", True
    return "", False


def _list_store(url: str) -> None:
    root = Store(url).root
    if not root.local:
        root.listing(layout.RUNS)  # a listing, of few files
        return
    folder = os.path.abspath(root.base)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not (os.path.isdir(folder) and os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
        raise PermissionError(f"{folder} cannot be written")


def _touch(url: str) -> None:
    """Read a byte of a shard; of a web server, which may send it whole, its length."""
    if (path := local_path(url)) is not None:
        with open(path, "rb") as file:
            file.read(1)
        return
    fs, path = fsspec.core.url_to_fs(url)
    if url.startswith("http"):
        fs.info(path)
    else:
        fs.cat_file(path, start=0, end=1)


# --- the cluster ----------------------------------------------------------------------------------


@contextmanager
def _noting(wrong: list[str]) -> Iterator[None]:
    """What a check finds wrong is kept, so that all of it is told at once."""
    try:
        yield
    except RecipeError as error:
        wrong.append(str(error))


MANY, FEW_ROWS = 1000, 1000  # so many parts of their own, of fewer rows on average, are worth a word


def check_parts(session: Session, rows: Mapping[str, int]) -> list[str]:
    """A warning where very many small parts are files of their own. `rows`: samples by shard."""
    if not session.sample_folders:
        return []
    index = packs.known(session.store.root, layout.SAMPLES)
    loose = len(rows) - (len(index.rows) if index else 0)
    if loose < MANY or sum(rows.values()) >= FEW_ROWS * len(rows):
        return []
    return [
        f"pool.store: {loose:,} small parts for each operator; `winnow compact` makes keep and plan quicker"
    ]
