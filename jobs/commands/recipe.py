"""The commands that take a recipe: run, compute, keep, explain, effects, export."""

from typing import Annotated

import typer

from jobs.commands.options import AllowDamaged, Json, Limit, Local, Overrides, RecipePath, Verbose
from jobs.commands.output import exit_if_incomplete, print_json
from jobs.terminal.console import put, remarks, say


def run(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    allow_damaged: AllowDamaged = False,
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
    print_json(result) if json else steps.print_paths(result.written)
    exit_if_incomplete(result.books.pending, result.books, result.books.changed, allow_damaged)


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
    allow_damaged: AllowDamaged = False,
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
    from jobs.terminal import tables
    from jobs.terminal.progress import showing_progress
    from pipeline.decide.books import losses
    from pipeline.plan.stored import gone
    from pipeline.run.bottleneck import bottleneck

    session = steps.open_session(recipe, set_, shards)
    with showing_progress():
        log = steps.compute_missing(session, steps.executor_of(session, local), names or [])
        found = losses(log.session)
    if json:
        print_json(log.summary())
    else:
        tables.faults(found, remarks)
        tables.rewritten(log, gone(session), remarks)
        tables.bottleneck(bottleneck(log), remarks)
        put(session.store.root.base)
    exit_if_incomplete(log.pending, found, log.changed, allow_damaged)


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
        typer.Option("--overlap", help="Also show how far each two rules agree."),
    ] = False,
    allow_damaged: AllowDamaged = False,
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
    from jobs import steps
    from jobs.terminal import tables
    from jobs.terminal.progress import showing_progress
    from pipeline.decide.books import losses
    from pipeline.export.places.file import check_new_file
    from pipeline.export.subset import write_subset

    session = steps.open_session(recipe, set_, shards)
    if subset:
        check_new_file(session, subset, "--subset")
    with showing_progress():
        decided = steps.decide_complete(session)
        done = decided.session
        written = {"subset": write_subset(done, path=subset, key="--subset")} if subset else {}
        found = losses(done)
        said = decided.doubts()
    if json:
        faults = {"damaged": found.damaged, "passed_over": found.passed_over, "unwatched": found.unwatched}
        print_json(
            {**vars(decided.decision), **written, **faults, "doubts": said, "pending": decided.pending}
        )
    else:
        tables.funnel(decided.decision, found)
        tables.doubts(said)
        if overlap:
            tables.overlap(decided.decision)
        say(f"decision: {done.store.root.path(done.decisions)}")
        for what, result in written.items():
            say(f"{what}: {result.path}")
    exit_if_incomplete(decided.pending, found, allow_damaged=allow_damaged)


def explain(
    recipe: RecipePath,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="SAMPLE", help="A uid, the beginning of one, a key, or SHARD/KEY. Repeatable."
        ),
    ],
    show: Annotated[
        str | None,
        typer.Option(
            "--show",
            metavar="[FILE]",
            help="Also draw the sample with boxes, caption and verdicts: to FILE (.png, .jpg), or without FILE "
            "in a terminal that can show pictures.",
        ),
    ] = None,
    set_: Overrides = None,
    shards: Limit = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Explain why a sample is kept or dropped, rule by rule.

    Shows each rule's value, bound and verdict, the reason if a value is
    missing, and what operators saw: words in the picture, matched entries, an
    outlier's neighbours. A sample that is not found does not hide the others;
    the exit status is 2 then.

    Examples:

      winnow explain recipe.yaml 5413834969f9c2dd33978af2d3b228cf
      winnow explain recipe.yaml 541383 00012/000120034
      winnow explain recipe.yaml 541383 --show sample.png
    """
    from jobs import steps
    from jobs.terminal import tables
    from jobs.terminal.progress import showing_progress
    from pipeline.decide.explain import look_up

    session = steps.open_session(recipe, set_, shards)
    if show is not None:
        from jobs.show import check_show, show_sample

        check_show(session, show)
    with showing_progress():
        decided = steps.decide_complete(session)
        found = look_up(decided.session, words)
    if json:
        print_json(found.explanations)
    else:
        for explanation in found.explanations:
            tables.explanation(explanation)
    for message in found.unknown:
        say(f"error: {message}")
    if show is not None:
        show_sample(decided.session, found.explanations, show)
    try:
        exit_if_incomplete(decided.pending)
    finally:
        if found.unknown:  # it may lie in a shard that is pending, which was said then
            raise typer.Exit(2)


def effects(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    allow_damaged: AllowDamaged = False,
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
    from jobs.terminal.progress import showing_progress
    from pipeline.decide.books import losses
    from pipeline.decide.effects import effects as compare

    with showing_progress():
        decided = steps.decide_complete(steps.open_session(recipe, set_, shards))
        changes = compare(decided.session, steps.executor_of(decided.session, local))
    if json:
        print_json(changes.to_rows())
    else:
        tables.effects(changes)
        if changes.tables:
            say(f"all tables: {decided.session.store.root.path(changes.folder)}")
        else:
            say(
                "nothing to compare: the recipe has no Stat that says what a decision did, such as "
                "wfpp.WordFrequency, metaclip.EntryCount or bias.Patterns"
            )
    exit_if_incomplete(decided.pending, losses(decided.session), allow_damaged=allow_damaged)


def export(
    recipe: RecipePath,
    set_: Overrides = None,
    shards: Limit = None,
    local: Local = False,
    allow_damaged: AllowDamaged = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write the kept samples: everything that `export:` names.

    Filtered shards, a DataComp subset file, a FAISS index, a list of URLs, a
    table with every score. The columns must be computed; the decision is made
    again if a rule has changed. If shards were added to the pool, a FAISS index
    grows where that is possible; one line says how, or why it is built anew.

    Examples:

      winnow export recipe.yaml
      winnow export recipe.yaml --set export.shards=s3://mine/filtered
    """
    from jobs import steps
    from jobs.terminal.progress import showing_progress
    from pipeline.decide.books import losses

    session = steps.open_session(recipe, set_, shards)
    steps.check_exports(session)
    with showing_progress():
        decided = steps.decide_complete(session)
        executor = steps.executor_of(decided.session, local)
        written = steps.write_exports(decided.session, executor)
    print_json(written) if json else steps.print_paths(written)
    exit_if_incomplete(decided.pending, losses(decided.session), allow_damaged=allow_damaged)
