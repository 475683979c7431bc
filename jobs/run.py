"""The steps that the commands share: open a session, compute with progress, export, and all of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs import show
from jobs.progress import Progress
from pipeline.decide import decide
from pipeline.effects import effects
from pipeline.errors import RecipeError
from pipeline.execute import Executor, LocalExecutor, compute
from pipeline.ledger import RunLog, books
from pipeline.plan import Pass
from pipeline.recipe import load
from pipeline.session import Session


def open_session(recipe: str, overrides: Sequence[str] | None, shards: int | None) -> Session:
    """The recipe at a path, bound to its pool."""
    return Session.open(load(recipe, overrides or ()), shards)


def executor_of(session: Session, local: bool) -> Executor:
    """The plain loop, or Ray (imported only then)."""
    if local:
        return LocalExecutor()
    from pipeline.execute_ray import RayExecutor

    return RayExecutor(session.recipe)


def fill(session: Session, executor: Executor, names: Sequence[str] = (), quiet: bool = False) -> RunLog:
    """`compute` with a progress display."""
    if unknown := set(names) - session.recipe.compute.keys():
        known = ", ".join(session.recipe.compute)
        raise RecipeError(
            f"compute: {', '.join(sorted(unknown))} is not an operator of the recipe; there are: {known}"
        )
    with Progress(quiet) as progress:

        def observe(todo: Pass) -> Any:
            return progress.begin(todo)

        return compute(session, executor, names, observe)


def write_exports(session: Session, executor: Executor, quiet: bool = False) -> dict[str, Any]:
    """Everything the recipe's `export` asks for, by kind."""
    from pipeline.export import export_shards
    from pipeline.index import write_index
    from pipeline.subset import write_subset, written_counts
    from pipeline.urls import write_urls

    wanted = session.recipe.export
    written: dict[str, Any] = {}
    if wanted.shards:
        tars = -(-sum(written_counts(session).values()) // wanted.samples_per_shard)
        with Progress(quiet) as progress:
            written["shards"] = export_shards(session, executor, progress.export(tars))
    if wanted.subset:
        written["subset"] = write_subset(session)
    if wanted.urls:
        written["urls"] = write_urls(session)
    if wanted.index:
        written["index"] = executor.index(write_index, session)
    return written


def run_all(session: Session, local: bool, quiet: bool = False) -> dict[str, Any]:
    """Compute, decide, export; returns what was written and the books."""
    executor = executor_of(session, local)
    log = fill(session, executor, quiet=quiet)
    done = session.without(log.pending).complete()
    decision = decide(done)
    written = write_exports(done, executor, quiet)
    changes = effects(done, executor)
    ledger = books(done, decision, log.pending)
    if not quiet:
        show.funnel(ledger)
        show.effects(changes, only="summary")
        show.speeds(ledger)
    return {"written": written, "books": ledger}


def paths(written: Mapping[str, Any]) -> None:
    """What was written, a path a line, on stdout."""
    for entry in written.values():
        print(entry["path"])
