"""The commands that take a recipe: compute, keep, explain, effects, export, run."""

import sys
from typing import Annotated, Any

import orjson
import typer

from jobs.commands.options import Json, Limit, Local, Overrides, RecipePath
from pipeline.plan.stored import complete


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
    from jobs.terminal import tables
    from pipeline.export.subset import write_subset

    done, result, pending = _decided(recipe, set_, shards)
    written = {"subset": write_subset(done, path=subset)} if subset else {}
    if json:
        _out({**result, **written, "pending": pending})
    else:
        tables.funnel(result)
        if overlap:
            tables.overlap(result)
        print(done.store.root.path(done.decisions))
        for entry in written.values():
            print(entry["path"])
    _finish(pending)


def explain(
    recipe: RecipePath,
    uids: Annotated[list[str], typer.Argument(metavar="UID...")],
    set_: Overrides = None,
    shards: Limit = None,
    json: Json = False,
) -> None:
    """Every rule for one sample."""
    from jobs.terminal import tables
    from pipeline.decide.explain import explain as look_up

    done, *_ = _decided(recipe, set_, shards)
    found = look_up(done, uids)
    if json:
        _out(found)
        return
    for entry in found:
        tables.explanation(entry)


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
    from pipeline.decide.effects import folder

    done, _, pending = _decided(recipe, set_, shards)
    found = compare(done, steps.executor_of(done, local))
    if json:
        _out({s: {t: f.to_dicts() for t, f in tables.items()} for s, tables in found.items()})
    else:
        tables.effects(found)
        print(done.store.root.path(folder(done)))
    _finish(pending)


def export(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
) -> None:
    """Filtered shards, FAISS index, subset file, URL list."""
    from jobs import steps

    done, _, pending = _decided(recipe, set_, shards)
    written = steps.write_exports(done, steps.executor_of(done, local), quiet=json)
    _out(written) if json else steps.paths(written)
    _finish(pending)


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
    _out(result) if json else steps.paths(result["written"])
    _finish(result["books"]["pending"])


def _out(data: Any) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    print(orjson.dumps(data, option=options).decode())


def _decided(
    recipe: str, overrides: list[str] | None, shards: int | None
) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """The session over the shards that are complete, their decision, and the shards that are not, with why."""
    from jobs import steps
    from pipeline.decide.decide import decide

    session = steps.open_session(recipe, overrides, shards)
    done = complete(session)
    names = {shard.name for shard in done.shards}
    pending = {s.name: "not computed yet" for s in session.shards if s.name not in names}
    return done, decide(done), pending


def _finish(pending: dict[str, str]) -> None:
    """Exit 1 if shards are left, saying which and how to go on."""
    if pending:
        from jobs.terminal import tables

        tables.pending(pending, " ".join(["winnow", *sys.argv[1:]]))
        raise typer.Exit(1)
