"""The steps that the commands share: open a session, compute with a progress display, decide and export.

    session = open_session("recipe.yaml", ["keep.clip.score.top=0.2"], shards=None)
    result = run_all(session, local=True)

`run_all` takes all of these steps. Each step can also be taken alone.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.local_first import SECONDS, LocalFirst
from jobs.terminal import tables
from jobs.terminal.console import Console, put, remarks, say
from jobs.terminal.progress import showing_progress
from pipeline.decide.books import Books, books
from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.decide.effects import effects
from pipeline.errors import RecipeError, ShardError
from pipeline.plan.doubts import doubts
from pipeline.plan.session import Session
from pipeline.plan.stored import complete, gone
from pipeline.pool.shards import Shard
from pipeline.progress import begun
from pipeline.recipe.load import load
from pipeline.run.compute import compute
from pipeline.run.executor import Executor, LocalExecutor
from pipeline.run.log import RunLog
from pipeline.storage import layout
from pipeline.storage.faults import naming
from pipeline.storage.identity import MISSING
from pipeline.storage.locks.lock import held

if TYPE_CHECKING:
    from pipeline.export.exporter import Exporter, Report, Result
    from pipeline.export.tars import TarsResult


def open_session(recipe: str, overrides: Sequence[str] | None, shards: int | None) -> Session:
    """The recipe at a path with `--set` overrides, bound to the first `shards` shards of its pool, or to all.
    Raises RecipeError."""
    with showing_progress():
        return Session.open(load(recipe, overrides or ()), shards)


@contextmanager
def holding_store(session: Session) -> Iterator[Session]:
    """Hold the session's store: wait until no other command computes on it, and say on stderr who that is.
    Yields the session, with what the store holds then."""
    waited = list[str]()

    def tell(message: str) -> None:
        waited.append(message)
        remarks.print(message)

    purpose = " ".join(["winnow", *sys.argv[1:2]])
    with ExitStack() as stack:
        with naming("pool.store", session.recipe.pool.store):
            stack.enter_context(held(session.store.root, layout.LOCK, purpose, wait=True, tell=tell))
        yield session.refreshed() if waited else session


def executor_of(session: Session, local: bool) -> Executor:
    """The plain loop if `local`, else Ray. On this machine work begins in the plain loop, and Ray starts for
    what takes longer. A cluster gets all of it, and so does Ray if the recipe has operators of a plugin: what
    these do, nobody knows, and Ray survives the end of their process."""
    if local:
        return LocalExecutor()

    def start() -> Executor:
        begun("starting Ray")
        from pipeline.run.on_ray import RayExecutor

        return RayExecutor(session.recipe)

    plugins = any(entry.source for entry in session.recipe.compute.values())
    return LocalFirst(start, 0.0 if os.environ.get("RAY_ADDRESS") or plugins else SECONDS)


def compute_missing(session: Session, executor: Executor, names: Sequence[str] = ()) -> RunLog:
    """Compute what is missing, or only what the operators in `names` need, with a progress display. Raises
    RecipeError if the recipe has no such operator."""
    if unknown := set(names) - session.recipe.compute.keys():
        known = ", ".join(session.recipe.compute)
        raise RecipeError(
            f"compute: {', '.join(sorted(unknown))} is not an operator of the recipe; there are: {known}"
        )
    with holding_store(session) as session, showing_progress() as progress:
        return compute(session, executor, names, progress.begin_pass)


@dataclass(frozen=True)
class Decided:
    """A session over the shards that are complete, its decision, and why the other shards are pending."""

    session: Session
    decision: Decision
    pending: Mapping[str, str]

    def doubts(self) -> list[str]:
        """What may be wrong with the results that were decided on, a line each: see `plan.doubts`, and rules
        that no sample passes."""
        return [*doubts(self.session), *self.decision.doubts()]


def decide_complete(session: Session, unread: Mapping[str, str] = {}) -> Decided:
    """Decide on the shards whose columns are all stored. `unread`: shards that could not be read, with
    reasons. Raises RecipeError if a session has shards, but none is complete."""
    try:
        done = complete(session.without(unread))
    except RecipeError as error:
        if not unread:
            raise
        reasons = "\n".join(f"  {shard}: {reason}" for shard, reason in unread.items())
        raise ShardError(f"nothing was decided or exported, since no shard is done:\n{reasons}") from error
    names = {shard.name for shard in done.shards}
    pending = {s.name: unread.get(s.name, _why_pending(s)) for s in session.shards if s.name not in names}
    with showing_progress():
        return Decided(done, decide(done), pending)


def _why_pending(shard: Shard) -> str:
    """Why a shard is not complete that nothing has tried to read."""
    if shard.state == MISSING:
        return f"{shard.path} does not exist"
    if shard.differs:
        return f"may have changed since it was read ({shard.differs}); `winnow compute` will tell"
    return "not computed yet; `winnow compute` or `winnow run` does that"


def decide_and_export(
    session: Session, executor: Executor, unread: Mapping[str, str] = {}
) -> tuple[Decided, dict[str, "Result"]]:
    """Decide on the shards that are complete, see `decide_complete`, and write the recipe's exports of
    them."""
    decided = decide_complete(session, unread)
    return decided, write_exports(decided.session, executor)


def check_exports(session: Session) -> None:
    """Raises RecipeError if something lies where the recipe writes that Winnow did not write. For before any
    work."""
    if not session.recipe.export.destinations():
        return  # the exporters take a while to import
    from pipeline.export.exporters import requested

    for exporter in requested(session.recipe.export):
        key, path = _destination(session, exporter)
        with naming(key, path):
            exporter.check(session)


def _destination(session: Session, exporter: "Exporter") -> tuple[str, str]:
    """The key of the recipe that names the path of an export, and the path."""
    paths = {key: path for key, (path, _) in session.recipe.export.destinations().items()}
    keys = (f"export.{exporter.name}", f"export.{exporter.name}.path")
    return next((key, path) for key, path in paths.items() if key in keys)


def write_exports(session: Session, executor: Executor) -> dict[str, "Result"]:
    """Write every export that the recipe asks for; returns the results by the exporter's name. A decision
    over no shards writes nothing: earlier exports stay as they are."""
    from pipeline.export.exporters import requested

    @contextmanager
    def watch(work: str, tasks: int, kind: str) -> Iterator["Report"]:
        with showing_progress() as progress, progress.export(work, tasks, kind) as report:
            yield report

    written = {}
    for exporter in requested(session.recipe.export) if session.shards else []:
        key, path = _destination(session, exporter)
        with naming(key, f"writing {path}"):
            written[exporter.name] = exporter.write(session, executor, watch)
    return written


@dataclass(frozen=True)
class RunResult:
    """The result of `winnow run`: the exports that were written, by kind, and the books."""

    written: Mapping[str, "Result"]
    books: Books


def run_all(session: Session, local: bool, quiet: bool = False, out: Console = remarks) -> RunResult:
    """Compute, decide, export; returns what was written and the books. Unless `quiet`, tables on `out` show
    them."""
    with showing_progress():
        check_exports(session)
        executor = executor_of(session, local)
        log = compute_missing(session, executor)
        decided, written = decide_and_export(log.session, executor, log.pending)
        changes = effects(decided.session, executor)
        balance = books(decided.session, decided.decision, decided.pending, log)
        said = decided.doubts()
    if not quiet:
        tables.funnel(balance, balance, balance.lost, out)
        tables.doubts(said, out)
        tables.rewritten(log, gone(session), out)
        tables.effects(changes, "summary", out)
        tables.speeds(balance, out)
    return RunResult(written, balance)


def print_paths(written: Mapping[str, "Result"]) -> None:
    """Print the paths of exports on stdout, one per line; then, on stderr, how many samples of tars have no
    caption, if there are any."""
    from pipeline.export.tars import TarsResult

    for result in written.values():
        put(result.path)
    for result in written.values():
        if isinstance(result, TarsResult):
            tell_without_caption(result)


def tell_without_caption(tars: "TarsResult") -> None:
    """Say on stderr how many samples of exported tars have no caption, if there are any."""
    if tars.without_caption:
        say(
            f"warning: {tars.without_caption:,} of {tars.samples:,} samples in {tars.path} have no caption, and "
            "loaders such as open_clip's skip a sample without a txt. To drop them, add a rule for a column "
            "that has no value without the caption, such as a score of it"
        )
