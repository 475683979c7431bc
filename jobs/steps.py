"""The steps that the commands share: open a session, compute with a progress display, decide and export.

    session = open_session("recipe.yaml", ["keep.clip.score.top=0.2"], shards=None)
    result = run_all(session, local=True)

`run_all` takes all of these steps. Each step can also be taken alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from jobs.terminal import tables
from jobs.terminal.progress import Progress
from pipeline.decide.books import Books, books
from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.decide.effects import effects
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.recipe.load import load
from pipeline.run.compute import compute
from pipeline.run.executor import Executor, LocalExecutor
from pipeline.run.log import RunLog
from pipeline.storage import layout
from pipeline.storage.lock import held

if TYPE_CHECKING:
    from pipeline.export.exporter import Report, Result


def open_session(recipe: str, overrides: Sequence[str] | None, shards: int | None) -> Session:
    """The recipe at a path with `--set` overrides, bound to the first `shards` shards of its pool, or to all.
    Raises RecipeError."""
    return Session.open(load(recipe, overrides or ()), shards)


@contextmanager
def holding_store(session: Session, purpose: str) -> Iterator[None]:
    """Hold the session's store: wait until no other command writes to it, and say on stderr who that is."""
    tell = partial(tables.console.print, markup=False, highlight=False)
    with held(session.store.root, layout.LOCK, purpose, wait=True, tell=tell):
        yield


def executor_of(session: Session, local: bool) -> Executor:
    """The plain loop if `local`, else Ray, which is imported only then."""
    if local:
        return LocalExecutor()
    from pipeline.run.on_ray import RayExecutor

    return RayExecutor(session.recipe)


def compute_missing(
    session: Session, executor: Executor, names: Sequence[str] = (), quiet: bool = False
) -> RunLog:
    """Compute what is missing, or only what the operators in `names` need, with a progress display. Raises
    RecipeError if the recipe has no such operator."""
    if unknown := set(names) - session.recipe.compute.keys():
        known = ", ".join(session.recipe.compute)
        raise RecipeError(
            f"compute: {', '.join(sorted(unknown))} is not an operator of the recipe; there are: {known}"
        )
    with Progress(quiet) as progress:
        return compute(session, executor, names, progress.begin_pass)


@dataclass(frozen=True)
class Decided:
    """A session over the shards that are complete, its decision, and why the other shards are pending."""

    session: Session
    decision: Decision
    pending: Mapping[str, str]


def decide_complete(session: Session, unread: Mapping[str, str] = {}) -> Decided:
    """Decide on the shards whose columns are all stored. `unread`: shards that could not be read, with
    reasons. Raises RecipeError if a session has shards, but none is complete."""
    done = complete(session.without(unread))
    names = {shard.name for shard in done.shards}
    missing = [shard.name for shard in session.shards if shard.name not in names]
    return Decided(done, decide(done), {name: unread.get(name, "not computed yet") for name in missing})


def decide_and_export(
    session: Session, executor: Executor, unread: Mapping[str, str] = {}, quiet: bool = False
) -> tuple[Decided, dict[str, "Result"]]:
    """Decide on the shards that are complete, see `decide_complete`, and write the recipe's exports of
    them."""
    decided = decide_complete(session, unread)
    return decided, write_exports(decided.session, executor, quiet)


def check_exports(session: Session) -> None:
    """Raises RecipeError if something lies where the recipe writes that Winnow did not write. For before any
    work."""
    from pipeline.export.exporters import requested

    for exporter in requested(session.recipe.export):
        exporter.check(session)


def write_exports(session: Session, executor: Executor, quiet: bool = False) -> dict[str, "Result"]:
    """Write every export that the recipe asks for; returns the results by the exporter's name. A decision
    over no shards writes nothing: earlier exports stay as they are."""
    from pipeline.export.exporters import requested

    @contextmanager
    def watch(tasks: int) -> Iterator["Report"]:
        with Progress(quiet) as progress:
            yield progress.export(tasks)

    exporters = requested(session.recipe.export) if session.shards else []
    return {exporter.name: exporter.write(session, executor, watch) for exporter in exporters}


@dataclass(frozen=True)
class RunResult:
    """The result of `winnow run`: the exports that were written, by kind, and the books."""

    written: Mapping[str, "Result"]
    books: Books


def run_all(session: Session, local: bool, quiet: bool = False) -> RunResult:
    """Compute, decide, export; returns what was written and the books. Unless `quiet`, tables show them."""
    check_exports(session)
    executor = executor_of(session, local)
    log = compute_missing(session, executor, quiet=quiet)
    decided, written = decide_and_export(session, executor, log.pending, quiet)
    changes = effects(decided.session, executor)
    balance = books(decided.session, decided.decision, decided.pending)
    if not quiet:
        tables.funnel(balance, balance.lost, balance.damaged)
        tables.effects(changes, only="summary")
        tables.speeds(balance)
    return RunResult(written, balance)


def print_paths(written: Mapping[str, "Result"]) -> None:
    """Print the paths of exports on stdout, one per line."""
    for result in written.values():
        print(result.path)
