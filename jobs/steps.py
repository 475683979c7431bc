"""The steps that the commands share: open a session, compute with progress, export, and all of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.terminal import tables
from jobs.terminal.progress import Progress
from pipeline.decide.books import books
from pipeline.decide.decide import decide
from pipeline.decide.effects import effects
from pipeline.errors import RecipeError
from pipeline.plan.passes import Pass
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.recipe.load import load
from pipeline.run.compute import compute
from pipeline.run.executor import Executor, LocalExecutor
from pipeline.run.log import RunLog

if TYPE_CHECKING:
    from pipeline.export.exporter import Report, Result


def open_session(recipe: str, overrides: Sequence[str] | None, shards: int | None) -> Session:
    """The recipe at a path, bound to its pool."""
    return Session.open(load(recipe, overrides or ()), shards)


def executor_of(session: Session, local: bool) -> Executor:
    """The plain loop, or Ray (imported only then)."""
    if local:
        return LocalExecutor()
    from pipeline.run.on_ray import RayExecutor

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


def write_exports(session: Session, executor: Executor, quiet: bool = False) -> dict[str, "Result"]:
    """Write every export that the recipe asks for; returns the results by the exporter's name."""
    from pipeline.export.exporters import requested

    @contextmanager
    def watch(tasks: int) -> Iterator["Report"]:
        with Progress(quiet) as progress:
            yield progress.export(tasks)

    exporters = requested(session.recipe.export)
    return {exporter.name: exporter.write(session, executor, watch) for exporter in exporters}


def run_all(session: Session, local: bool, quiet: bool = False) -> dict[str, Any]:
    """Compute, decide, export; returns what was written and the books."""
    executor = executor_of(session, local)
    log = fill(session, executor, quiet=quiet)
    done = complete(session.without(log.pending))
    decision = decide(done)
    written = write_exports(done, executor, quiet)
    changes = effects(done, executor)
    ledger = books(done, decision, log.pending)
    if not quiet:
        tables.funnel(ledger)
        tables.effects(changes, only="summary")
        tables.speeds(ledger)
    return {"written": written, "books": ledger}


def print_paths(written: Mapping[str, "Result"]) -> None:
    """Print the paths of exports on stdout, one per line."""
    for result in written.values():
        print(result.path)
