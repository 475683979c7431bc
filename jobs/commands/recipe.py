"""The commands that take a recipe: compute, keep, explain, effects, export, run."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import typer

from jobs.commands.options import Json, Limit, Local, Overrides, RecipePath


def compute(
    recipe: RecipePath,
    names: Annotated[
        list[str] | None, typer.Argument(help="operators; all of the recipe's by default")
    ] = None,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
) -> None:
    """Fill missing columns and stats; resumes by itself."""
    from jobs import steps

    session = steps.open_session(recipe, set_, shards)
    log = steps.fill(session, steps.executor_of(session, local), names or [], quiet=json)
    _out(log.summary()) if json else print(session.store.root.base)
    _finish(log.pending)


def keep(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    subset: Annotated[
        str | None, typer.Option(metavar="PATH", help="write the kept uids there, as DataComp's .npy")
    ] = None,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="how much of the pool passes each two rules")
    ] = False,
    json: Json = False,
) -> None:
    """Decide: verdicts of every rule on every sample, and the funnel, in seconds."""
    from jobs import steps
    from jobs.terminal import tables
    from pipeline.export.subset import write_subset

    decided = steps.decide_complete(steps.open_session(recipe, set_, shards))
    done = decided.session
    written = {"subset": write_subset(done, path=subset)} if subset else {}
    if json:
        _out({**vars(decided.decision), **written, "pending": decided.pending})
    else:
        tables.funnel(decided.decision)
        if overlap:
            tables.overlap(decided.decision)
        print(done.store.root.path(done.decisions))
        steps.paths(written)
    _finish(decided.pending)


def explain(
    recipe: RecipePath,
    uids: Annotated[list[str], typer.Argument(metavar="UID...")],
    set_: Overrides = None,
    shards: Limit = None,
    json: Json = False,
) -> None:
    """Every rule for one sample."""
    from jobs import steps
    from jobs.terminal import tables
    from pipeline.decide.explain import explain as look_up

    decided = steps.decide_complete(steps.open_session(recipe, set_, shards))
    explanations = look_up(decided.session, uids)
    if json:
        _out(explanations)
        return
    for explanation in explanations:
        tables.explanation(explanation)


def effects(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
) -> None:
    """What the decision did to the pool's statistics, such as how often each entry or word occurs."""
    from jobs import steps
    from jobs.terminal import tables
    from pipeline.decide.effects import effects as compare

    decided = steps.decide_complete(steps.open_session(recipe, set_, shards))
    changes = compare(decided.session, steps.executor_of(decided.session, local))
    if json:
        _out(changes.to_rows())
    else:
        tables.effects(changes)
        print(decided.session.store.root.path(changes.folder))
    _finish(decided.pending)


def export(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
) -> None:
    """Filtered shards, FAISS index, subset file, URL list."""
    from jobs import steps

    decided = steps.decide_complete(steps.open_session(recipe, set_, shards))
    executor = steps.executor_of(decided.session, local)
    written = steps.write_exports(decided.session, executor, quiet=json)
    _out(written) if json else steps.paths(written)
    _finish(decided.pending)


def run(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
) -> None:
    """All of it: compute, keep, export, and the books."""
    from jobs import steps as steps

    result = steps.run_all(steps.open_session(recipe, set_, shards), local, quiet=json)
    _out(result) if json else steps.paths(result.written)
    _finish(result.books.pending)


def _out(data: Any) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    print(orjson.dumps(data, option=options).decode())


def _finish(pending: Mapping[str, str]) -> None:
    """Exit 1 if shards are left, saying which and how to go on."""
    if pending:
        from jobs.terminal import tables

        tables.pending(pending, " ".join(["winnow", *sys.argv[1:]]))
        raise typer.Exit(1)
