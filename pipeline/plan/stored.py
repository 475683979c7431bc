"""Which results of a recipe the store holds, and which shards are complete.

A part counts if it has as many rows as its shard has samples. There are no markers that could disagree with
the data.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipeline.errors import RecipeError
from pipeline.operator import Stat
from pipeline.plan.keys import keys
from pipeline.plan.open_pool import check_first
from pipeline.plan.passes import Stored, closure
from pipeline.plan.session import Session
from pipeline.pool.kinds.kind import READING
from pipeline.pool.shards import Shard
from pipeline.schema import owner
from pipeline.storage import layout


def list_stored(session: Session) -> Stored:
    """The stored results of a session's recipe. Raises RecipeError if the pool is not as the recipe says."""
    names = [shard.name for shard in session.shards]
    samples = sample_counts(session)
    if session.sample_folders:
        _check_reading(session, samples)
    parts: dict[str, Collection[str]] = {layout.SAMPLES: samples.keys()}
    for name in session.recipe.compute:
        if not isinstance(session.recipe.operator(name), Stat):
            rows = session.store.row_counts(session.folder(name), names)
            parts[session.folder(name)] = {s for s, count in rows.items() if samples.get(s) == count}
    stats = [layout.stat(name, key) for name, key in session.keys.items()]
    return Stored(parts, session.store.whole(stats), samples)


def sample_counts(session: Session) -> dict[str, int]:
    """Shard -> samples, of the shards whose samples are known. Raises RecipeError."""
    return session.columns.samples.counts([shard.name for shard in session.shards])


def complete(session: Session) -> Session:
    """The same session over the shards that have every column that rules and exports read. Over fewer
    shards, Stats have other keys, and so do the columns that depend on them; hence the recursion. Raises
    RecipeError if no shard is left."""
    stored = list_stored(session)
    owners = {o for column in session.columns_read() if (o := owner(column)) is not None}
    done = _having(session, stored, owners)
    if len(done) == len(session.shards):
        return session
    # Columns that depend on a Stat have a key that covers the shards that could be read. Those shards are
    # found first, by the columns that depend on no Stat: their keys are the same over any shards.
    plain = keys(session.recipe, (), session.contents)
    readable = _having(
        session, stored, {n for n in closure(session.recipe, owners) if plain[n] == session.keys[n]}
    )
    if len(readable) < len(session.shards):
        done = readable
    if not done:
        raise RecipeError("nothing to decide on: no shard has every column yet; run `winnow compute` first")
    return complete(replace(session, shards=done))


def require(session: Session, names: Iterable[str]) -> None:
    """Raises RecipeError unless these operators are computed on every shard."""
    stored = list_stored(session)
    for name in names:
        if isinstance(session.recipe.operator(name), Stat):
            computed = layout.stat(name, session.keys[name]) in stored.stats
        else:
            computed = len(_having(session, stored, [name])) == len(session.shards)
        if not computed:
            raise RecipeError(f"compute.{name} is not computed yet; run `winnow compute` first")


def _having(session: Session, stored: Stored, names: Collection[str]) -> tuple[Shard, ...]:
    """The shards whose samples and columns of these operators are stored."""
    parts = [stored.parts[f] for f in (layout.SAMPLES, *map(session.folder, names))]
    return tuple(s for s in session.shards if all(s.name in part for part in parts))


def _check_reading(session: Session, indexed: Collection[str]) -> None:
    """Raises RecipeError if the stored samples were read in another way than the recipe says. If none are
    stored yet, the first shard must be readable as the recipe says; a later one that is not stays
    pending."""
    first = next((shard for shard in session.shards if shard.name in indexed), None)
    if first is None:
        check_first(session.kind, session.shards)
    elif footer := session.store.footer(layout.SAMPLES, first.name):
        before = {name: footer.notes[name] for name in READING if name in footer.notes}
        now = session.kind.reading
        if before != now:
            raise RecipeError(
                f"pool.store: {session.recipe.pool.store} holds samples of {_worded(before)}, the recipe has "
                f"{_worded(now)}; use a new store"
            )


def _worded(reading: Mapping[str, Any]) -> str:
    """How samples were read, in words. Tars note nothing, tables their columns alone."""
    if "columns" in reading:
        return f"tables with pool.columns {dict(reading['columns'])}"
    return str(reading.get("kind", "tars"))
