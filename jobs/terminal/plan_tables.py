"""The tables of `winnow plan`."""

from collections.abc import Mapping, Sequence

from jobs.terminal import tables
from jobs.terminal.console import styled
from jobs.terminal.layout import FittedTable
from jobs.terminal.tables import counted, table
from pipeline.preflight.estimate import Estimate, MissingPass, StagePool
from pipeline.preflight.index_cost import PlannedIndex
from pipeline.preflight.preview import IndexTask, Preview
from pipeline.preflight.space import Space

EXAMPLES = 3  # shards that are named
UNMEASURED = "How long this takes is not known yet: add --measure 1, which tries what is missing on one shard"


def plan(preview: Preview) -> None:
    """The missing passes, what they cost, and what would go wrong."""
    samples = "" if preview.samples is None else f", with {counted(preview.samples, 'sample')}"
    tables.console.print(f"{counted(preview.shards, 'shard')}, read before: {preview.indexed:,}{samples}")
    if preview.captions:
        tables.console.print(f"captions: {preview.captions}")
    _shards("files that do not exist", preview.missing)
    _shards("files written since they were read; those whose content differs are done anew", preview.doubtful)
    tables.console.print(_missing_passes(preview.passes) if preview.passes else "Everything is computed.")
    for name, why in preview.renewed.items():
        tables.console.print(styled("anew", "yellow"), f"compute.{name}: {why}")
    if preview.measured is None and any(step.seconds is None for step in preview.passes):
        tables.console.print(UNMEASURED)
    if preview.index:
        where = "" if preview.index.memory else ", on the machine with the most memory"
        tables.console.print(f"FAISS index: {_pool(preview.index)}{where}")
    if preview.indexes:
        tables.console.print(_indexes(preview.indexes))
        for index in preview.indexes:
            if index.remark:
                tables.console.print(f"{index.key} {index.remark}")
    if preview.estimate.bottleneck:
        tables.console.print(_operator_costs(preview.estimate))
        _summary(preview)
    if preview.exports:
        tables.console.print(_exports(preview.exports))
    if preview.refused:
        tables.console.print(styled("A run on this machine would be refused:", "red"))
    for reason in preview.refused:
        tables.console.print(f"  {reason}")
    for warning in preview.warnings:
        tables.console.print(styled("warning", "yellow"), warning)


def _shards(what: str, shards: Mapping[str, str]) -> None:
    """How many of the shards' files are in some way, with a few examples: shards, and more about each."""
    if shards:
        tables.console.print(styled(f"{what}: {len(shards):,}", "yellow"))
    for name, more in list(shards.items())[:EXAMPLES]:
        tables.console.print(f"  {name}: {more}")


def _missing_passes(passes: Sequence[MissingPass]) -> FittedTable:
    """One row per pass; the workers only if the plan is for a cluster."""
    on_cluster = any(step.pools for step in passes)
    workers = ["workers"] if on_cluster else []
    columns = ["operators", "reads", *workers, "shards", "samples", "one worker takes"]
    rows = table("Missing passes", *columns, text=3 if on_cluster else 2)
    for step in passes:
        rows.add_row(
            ", ".join(step.operators) or "(samples only)",
            step.reads,
            *([", ".join(map(_pool, step.pools)) or "-"] if on_cluster else []),
            f"{step.shards:,}",
            "?" if step.samples is None else f"{step.samples:,}",
            _duration(step.seconds),
        )
    return rows


def _exports(spaces: Sequence[Space]) -> FittedTable:
    """The room that each export needs, and what an earlier one takes until the new one is whole."""
    rows = table("Exports to write", "export", "path", "needs", "earlier one", "free", text=2)
    for space in spaces:
        most = "at most " if space.at_most else "about "
        needs = "?" if space.bytes is None else f"{most}{_size(space.bytes)}"
        earlier = _size(space.earlier) if space.earlier else "-"
        rows.add_row(space.export, space.path, needs, earlier, _size(space.free))
    return rows


def _indexes(indexes: Sequence[PlannedIndex]) -> FittedTable:
    """What each index will be, how large, and how long one core takes; of one that grows, for the new
    rows."""
    rates = (
        "rates measured here" if indexes[0].measured else "known rates; --measure takes those of this machine"
    )
    columns = ("index", "factory", "rows", "on disk and in memory", "parts", "trained on", "train", "add")
    rows = table(f"Indexes, CPU time by {rates}", *columns, text=2)
    for index in indexes:
        most = "at most " if index.at_most else ""
        left = "" if index.joined or index.parts is None else ", left as they are"
        rows.add_row(
            index.key,
            index.factory or "auto",
            "?" if index.rows is None else f"{most}{index.rows:,}",
            "?" if index.bytes is None else f"{most}{_size(index.bytes)}",
            "?" if index.parts is None else f"{index.parts:,}{left}",
            "?" if index.training_rows is None else f"{index.training_rows:,}",
            _duration(index.train_seconds),
            _duration(index.add_seconds),
        )
    return rows


def _size(size: int) -> str:
    """`12.3 GB`"""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _pool(pool: StagePool | IndexTask) -> str:
    """`16 x 0.75 CPUs, 1 GPUs, 8 GiB`"""
    gpus = f", {pool.gpus:g} GPUs" if pool.gpus else ""
    memory = f", {pool.memory:g} GiB" if pool.memory else ""
    return f"{pool.workers} x {pool.cpus:.2g} CPUs{gpus}{memory}"


def _operator_costs(estimate: Estimate) -> FittedTable:
    """How long one worker takes, by operator, and how many workers finish in the hours given."""
    workers = [f"workers for {estimate.hours:g} h"] if estimate.hours else []
    rows = table("Estimate", "operator", "one worker takes", "share", *workers)
    for name, cost in estimate.operators.items():
        needed = [f"{cost.workers:,}"] if estimate.hours else []
        rows.add_row(name, _duration(cost.seconds), f"{cost.share:.0%}", *needed)
    return rows


def _summary(preview: Preview) -> None:
    """All passes together."""
    whole = preview.estimate
    if on := preview.measured:
        tables.console.print(
            f"measured here on {counted(on.samples, 'sample')} in {counted(on.shards, 'shard')}"
        )
    passes = f"{len(preview.passes)} pass{'' if len(preview.passes) == 1 else 'es'}"
    megabytes = sum(step.bytes or 0 for step in preview.passes) / 1e6
    workers = ""
    if whole.workers is not None:
        verb = "finishes" if whole.workers == 1 else "finish"
        workers = f"; {counted(whole.workers, 'worker')} {verb} within {whole.hours:g} h"
    tables.console.print(
        f"{passes}, {megabytes:,.0f} MB to read; one worker takes {_duration(whole.seconds)}{workers}; "
        f"bottleneck: {whole.bottleneck}",
    )


def _duration(seconds: float | None) -> str:
    """`3m 05s`, `2h 10m`, `under 1 s`"""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return "under 1 s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h {minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m {rest:02d}s"
