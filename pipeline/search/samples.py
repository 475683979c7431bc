"""What the pool holds of hits: whether they are still its samples, and their pictures.

session = session_of(index)                   # or that of a recipe
why = reasons(session, hits.rows)             # (shard, row) -> why the pool no longer has that sample
pictures(session, hits.rows, side=208, cost=cost)
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from pipeline.decide.lookup import Place
from pipeline.errors import RecipeError
from pipeline.export.indexes.index_exporter import pool_of
from pipeline.export.places.inputs import parts_digest
from pipeline.ordered_map import ordered_map
from pipeline.plan.session import Session
from pipeline.progress import Tick, begun
from pipeline.recipe.load import parse
from pipeline.run.decode import AT_ONCE, Room
from pipeline.search.index import SearchIndex
from pipeline.search.manifest import AGAIN
from pipeline.view.pictures import COLUMNS, Cost, Look, Picture, looks, without_warnings

THREADS = 8  # shards that are looked at together: each waits for storage most of the time
GO_ON = "run `winnow run` again"


def session_of(index: SearchIndex) -> Session:
    """The pool that an index says it was made from. Raises RecipeError."""
    if index.about.pool is None:
        raise RecipeError(
            f"{index.path} does not say where its pool is, as an earlier version wrote it: name the recipe "
            "instead of the index's folder"
        )
    try:
        pool = pool_of({"pool": index.about.pool}, index.path)
    except (KeyError, TypeError):
        raise RecipeError(f"{index.path}: pool is garbled; {AGAIN}") from None
    try:
        return Session.open(parse({"name": "search", "pool": pool}))
    except RecipeError as error:
        first = str(error).split("\n")[0]
        raise RecipeError(
            f"{index.path} says where its pool is, but it cannot be used: {first}; name the recipe instead of "
            "the index's folder"
        ) from None


def has_changed(index: SearchIndex, session: Session) -> bool:
    """Whether the samples of the pool are others than when the index was written: what is found may then be
    another picture than the one that was compared."""
    folders = [folder for folder in session.sample_folders if folder in index.about.inputs]
    return any(parts_digest(session, folder) != index.about.inputs[folder] for folder in folders)


def by_shard(rows: pl.DataFrame) -> dict[str, list[int]]:
    """Shard -> rows, ascending and each once, of hits."""
    found: dict[str, list[int]] = {}
    for shard, row in rows.select("shard", "row").unique().sort("shard", "row").iter_rows():
        found.setdefault(shard, []).append(row)
    return found


def reasons(session: Session, rows: pl.DataFrame) -> dict[Place, str]:
    """Why the pool no longer has the sample of a hit, of those that it does not have. `rows`: of Hits."""
    known = {shard.name: shard for shard in session.shards}
    uids = {(shard, row): uid for shard, row, uid in rows.select("shard", "row", "uid").iter_rows()}
    found = dict[Place, str]()
    for name, numbers in by_shard(rows).items():
        shard = known.get(name)
        if shard is None or not shard.content:
            why = (
                f"the pool has no shard {name}" if shard is None else f"shard {name} was not read, or changed"
            )
            found |= {(name, row): f"{why}; {GO_ON}" for row in numbers}
            continue
        there = [row for row in numbers if row < shard.rows]
        now = session.columns.rows_at(name, there, ["uid"])["uid"].to_list() if there else []
        same = {row for row, uid in zip(there, now, strict=True) if uid == uids[(name, row)]}
        gone = f"shard {name} holds other samples than when the index was written; {GO_ON}"
        found |= {(name, row): gone for row in numbers if row not in same}
    return found


@dataclass(frozen=True)
class Shown:
    """A hit as a gallery shows it: its picture, or why there is none."""

    picture: Picture | None
    why: str = ""
    masked: Picture | None = None


def pictures(session: Session, rows: pl.DataFrame, side: int, cost: Cost) -> dict[Place, Shown]:
    """The pictures of hits, at most `side` pixels wide and high, fetched by their byte ranges; adds to
    `cost`."""
    why = reasons(session, rows)
    found = {place: Shown(None, reason) for place, reason in why.items()}
    wanted = {
        shard: left
        for shard, numbers in by_shard(rows).items()
        if (left := [row for row in numbers if (shard, row) not in why])
    }
    look = _Looker(session, side, Room(AT_ONCE), begun("looking at samples", sum(map(len, wanted.values()))))
    with without_warnings(), ThreadPoolExecutor(THREADS) as pool:
        seen = ordered_map(pool, THREADS, look, wanted.items())
        for (shard, numbers), (of_shard, own) in zip(wanted.items(), seen, strict=True):
            cost.add(own)
            shown = [Shown(one.picture, one.why or "") for one in of_shard]
            found |= {(shard, row): one for row, one in zip(numbers, shown, strict=True)}
    return found


@dataclass(frozen=True)
class _Looker:
    """Looks at samples of one shard after the other, on several threads at a time."""

    session: Session
    side: int
    room: Room
    done: Tick

    def __call__(self, asked: tuple[str, Sequence[int]]) -> tuple[list[Look], Cost]:
        """The looks of some rows of a shard, and what they cost."""
        shard, numbers = asked
        cost = Cost()
        rows: list[Mapping[str, object]] = [*self.session.columns.rows_at(shard, numbers, COLUMNS).to_dicts()]
        return looks(self.session, shard, rows, [], cost, self.side, self.room, self.done), cost
