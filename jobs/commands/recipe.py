"""The commands that take a recipe: run, compute, keep, explain, effects, export."""

from typing import Annotated, Any

import typer

from jobs.commands.options import Json, Limit, Local, Overrides, RecipePath, Verbose
from jobs.commands.output import exit_if_pending, print_json
from pipeline.plan.stored import complete


def run(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compute, decide and export: the whole recipe.

    Prints the funnel (how many samples each rule drops), each operator's speed
    and the paths of what was written. To resume a stopped run, run it again:
    only what is missing is computed.

    Examples:

      winnow run recipe.yaml
      winnow run recipe.yaml --shards 2 --local
      winnow run recipe.yaml --set pool.shards='s3://mine/pool/*.tar' --json
    """
    from jobs import steps

    result = steps.run_all(steps.open_session(recipe, set_, shards), local, quiet=json)
    print_json(result) if json else steps.paths(result["written"])
    exit_if_pending(result["books"]["pending"])


def compute(
    recipe: RecipePath,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Operators to compute, by their names in the recipe, with what they need. Default: all.",
        ),
    ] = None,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compute the columns and statistics that are missing.

    Only `compute:` of the recipe is run: no sample is dropped, nothing is
    exported. To resume a stopped run, run it again.

    Examples:

      winnow compute recipe.yaml
      winnow compute recipe.yaml clip caption
    """
    from jobs import steps

    session = steps.open_session(recipe, set_, shards)
    log = steps.fill(session, steps.executor_of(session, local), names or [], quiet=json)
    print_json(log.summary()) if json else print(session.store.root.base)
    exit_if_pending(log.pending)


def keep(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    subset: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Also write the kept uids to FILE (.npy), as DataComp takes them."),
    ] = None,
    overlap: Annotated[
        bool,
        typer.Option("--overlap", help="Also show, for each two rules, how many samples pass both."),
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Decide which samples to keep, in seconds; print the funnel.

    Applies every rule of `keep:` to every sample, from stored columns. No model
    runs, so other thresholds are quick to try.

    Examples:

      winnow keep recipe.yaml
      winnow keep recipe.yaml --set keep.clip.score.top=0.2 --overlap
      winnow keep recipe.yaml --subset subset.npy
    """
    from jobs.terminal import tables
    from pipeline.export.subset import write_subset

    done, result, pending = _decided(recipe, set_, shards)
    written = {"subset": write_subset(done, path=subset)} if subset else {}
    if json:
        print_json({**result, **written, "pending": pending})
    else:
        tables.funnel(result)
        if overlap:
            tables.overlap(result)
        print(done.store.root.path(done.decisions))
        for entry in written.values():
            print(entry["path"])
    exit_if_pending(pending)


def explain(
    recipe: RecipePath,
    uids: Annotated[
        list[str], typer.Argument(metavar="UID", help="Uids of samples: 32 hexadecimal digits each.")
    ],
    set_: Overrides = None,
    shards: Limit = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Explain why a sample is kept or dropped, rule by rule.

    Shows each rule's value, bound and verdict, the reason if a value is
    missing, and an operator's own evidence, such as an outlier's neighbours.

    Example:

      winnow explain recipe.yaml 5413834969f9c2dd33978af2d3b228cf
    """
    from jobs.terminal import tables
    from pipeline.decide.explain import explain as look_up

    done, *_ = _decided(recipe, set_, shards)
    found = look_up(done, uids)
    if json:
        print_json(found)
        return
    for entry in found:
        tables.explanation(entry)


def effects(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare the pool's statistics before and after the decision.

    For example, how often each MetaCLIP entry or each word occurs in the whole
    pool and among the kept samples. Long tables go to the store only.

    Example:

      winnow effects recipe.yaml
    """
    from jobs import steps
    from jobs.terminal import tables
    from pipeline.decide.effects import effects as compare
    from pipeline.decide.effects import folder

    done, _, pending = _decided(recipe, set_, shards)
    found = compare(done, steps.executor_of(done, local))
    if json:
        print_json({s: {t: f.to_dicts() for t, f in tables.items()} for s, tables in found.items()})
    else:
        tables.effects(found)
        print(done.store.root.path(folder(done)))
    exit_if_pending(pending)


def export(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write the kept samples: everything that `export:` names.

    Filtered shards, a DataComp subset file, a FAISS index, a list of URLs. The
    columns must be computed; the decision is made again if a rule has changed.

    Examples:

      winnow export recipe.yaml
      winnow export recipe.yaml --set export.shards=s3://mine/filtered
    """
    from jobs import steps

    done, _, pending = _decided(recipe, set_, shards)
    written = steps.write_exports(done, steps.executor_of(done, local), quiet=json)
    print_json(written) if json else steps.paths(written)
    exit_if_pending(pending)


def _decided(
    recipe: str, overrides: list[str] | None, shards: int | None
) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """The session over the complete shards, their decision, and why each other shard is incomplete."""
    from jobs import steps
    from pipeline.decide.decide import decide

    session = steps.open_session(recipe, overrides, shards)
    done = complete(session)
    names = {shard.name for shard in done.shards}
    pending = {s.name: "not computed yet" for s in session.shards if s.name not in names}
    return done, decide(done), pending
