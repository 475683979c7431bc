"""Which results of a recipe the store holds, and which shards are complete.

A part counts if it was computed from the content that its shard has now, and has as many rows as the shard
has samples. There are no markers that could disagree with the data.
"""

from collections.abc import Collection, Iterable

from pipeline.errors import RecipeError
from pipeline.operator import Stat
from pipeline.plan.keys import keys
from pipeline.plan.open_pool import check_first
from pipeline.plan.passes import Stored, closure
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.footers import Footer


def list_stored(session: Session) -> Stored:
    """The stored results of a session's recipe, of the shards as the session knows them. Raises RecipeError
    if no shard was read yet and the first one is not as the recipe says."""
    samples = {shard.name: shard.rows for shard in session.shards if shard.content}
    if not samples:
        check_first(session.kind, session.shards)
    parts: dict[str, Collection[str]] = {layout.SAMPLES: samples.keys()}
    for name in session.recipe.compute:
        if not isinstance(session.recipe.operator(name), Stat):
            parts[session.folder(name)] = current_parts(session, session.folder(name))
    names = [name for name in session.recipe.compute if isinstance(session.recipe.operator(name), Stat)]
    stats = [layout.stat(name, session.keys[name]) for name in names]
    return Stored(parts, session.store.whole(stats), samples)


def current_parts(session: Session, folder: str) -> set[str]:
    """The shards whose part in a folder was computed from their content and has all their rows."""
    known = {shard.name: shard for shard in session.shards if shard.content}
    footers = session.store.footers(folder, known)
    return {name for name, footer in footers.items() if is_current(footer, known[name])}


def gone(session: Session) -> list[str]:
    """The shards that an earlier run read and the pool no longer has. `session`: as it was opened, over all
    shards of the pool; of one over the first shards alone nothing is known."""
    if session.limited or not session.sample_folders:
        return []
    (folder, *_) = session.sample_folders
    return sorted(session.store.part_names(folder) - {shard.name for shard in session.shards})


def is_whole(session: Session, folder: str) -> bool:
    """Whether every shard has a part in a folder that was computed from its content."""
    return len(current_parts(session, folder)) == len(session.shards)


def is_current(footer: Footer, shard: Shard) -> bool:
    """Whether a part with this footer was computed from all samples of the shard's content."""
    return footer.rows == shard.rows and footer.notes.get("content") == shard.content


def complete(session: Session) -> Session:
    """The same session over the shards that have every column that rules and exports read. Raises RecipeError
    if no shard has."""
    if not all(shard.content for shard in session.shards):
        session = session.refreshed()  # they may have been computed since the session was opened
    found = _complete(session)
    if found is None:
        raise RecipeError(_nothing(session))
    return found


def _complete(session: Session) -> Session | None:
    """As `complete`; None if no shard is left. Over fewer shards, Stats have other keys, and so do the
    columns that depend on them; hence the recursion."""
    if not session.shards:
        return None
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
    return _complete(session.over(readable if len(readable) < len(session.shards) else done))


def require(session: Session, names: Iterable[str]) -> None:
    """Raises RecipeError unless these operators are computed on every shard."""
    stored = list_stored(session)
    for name in names:
        if not _is_computed(session, stored, name):
            raise RecipeError(f"compute.{name} is not computed yet; run `winnow compute` first")


def _is_computed(session: Session, stored: Stored, name: str) -> bool:
    """Whether an operator is computed on every shard."""
    if isinstance(session.recipe.operator(name), Stat):
        return layout.stat(name, session.keys[name]) in stored.stats
    return len(_having(session, stored, [name])) == len(session.shards)


def _having(session: Session, stored: Stored, names: Collection[str]) -> tuple[Shard, ...]:
    """The shards whose samples and columns of these operators are stored."""
    parts = [stored.parts[f] for f in (layout.SAMPLES, *map(session.folder, names))]
    return tuple(s for s in session.shards if all(s.name in part for part in parts))


def _only_stats_missing(session: Session) -> list[str]:
    """The Stats over the session's shards, and the operators that read them, that are not computed; none if
    anything else is missing, too."""
    stored = list_stored(session)
    needed = closure(session.recipe, {o for c in session.columns_read() if (o := owner(c)) is not None})
    plain = keys(session.recipe, (), session.contents)
    missing = []
    for name in needed:
        if _is_computed(session, stored, name):
            continue
        if plain[name] == session.keys[name]:  # it does not depend on which shards there are
            return []
        missing.append(name)
    return sorted(missing)


def _nothing(session: Session) -> str:
    """Why there is nothing to decide on, and the next step."""
    doubtful = next((shard for shard in session.shards if shard.differs), None)
    if doubtful is None and (stats := _only_stats_missing(session)):
        return (
            f"nothing to decide on: {', '.join(stats)}: not computed over exactly {len(session.shards):,} shards; "
            "Stats, and what reads them, depend on all shards that a command takes. Run `winnow compute` first, "
            "with the same --shards if there is one"
        )
    if doubtful is None:
        return (
            "nothing to decide on: no shard has every column yet; run `winnow compute` first (`winnow plan` says "
            "what is missing, and why)"
        )
    return (
        f"nothing to decide on: files were written since they were read ({doubtful.path}: "
        f"{doubtful.differs}); run `winnow compute` first: if their content is the same, that takes as long as "
        "reading them"
    )
