"""Tables for people, on stderr."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.decide.books import Books
from pipeline.decide.decision import Decision
from pipeline.decide.effects import Effects
from pipeline.decide.explain import Explanation
from pipeline.preflight.estimate import MissingPass, StagePool
from pipeline.preflight.preview import IndexTask, Preview

console = Console(stderr=True)
if not console.is_terminal:
    console = Console(stderr=True, width=120)  # a log file need not be as narrow as 80


MOST_ROWS = 60  # of a table of effects on the terminal; larger ones are in the store


def table(title: str, *columns: str, text: int = 1) -> Table:
    """An empty table; the first `text` columns hold text, folded where the screen is narrow, the others
    numbers."""
    made = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(
            column, justify="left" if index < text else "right", no_wrap=index >= text, overflow="fold"
        )
    return made


def share(part: int, whole: int) -> str:
    """A part in percent."""
    return f"{part / whole:.1%}" if whole else "-"


def plan(shown: Preview) -> None:
    """What `winnow plan` shows."""
    known = _number(shown.samples, "?")
    console.print(f"{shown.shards:,} shards, {shown.indexed:,} indexed, {known} samples known")
    console.print(_missing_passes(shown.passes) if shown.passes else "Everything is computed.")
    if shown.index:
        where = "" if shown.index.memory else ", on the machine with the most memory"
        console.print(f"FAISS index: {_pool(shown.index)}{where}", highlight=False)
    if shown.estimate.bottleneck:
        _estimate(shown)
    for warning in shown.warnings:
        console.print(f"[yellow]warning[/] {escape(warning)}", highlight=False)


def _missing_passes(passes: Sequence[MissingPass]) -> Table:
    pools = any(step.pools for step in passes)
    made = table(
        "Missing passes",
        "operators",
        "reads",
        *(["workers"] if pools else []),
        "shards",
        "samples",
        "one worker",
        text=3 if pools else 2,
    )
    for step in passes:
        made.add_row(
            ", ".join(step.operators) or "(index only)",
            step.reads,
            *([", ".join(map(_pool, step.pools)) or "-"] if pools else []),
            f"{step.shards:,}",
            _number(step.samples, "?"),
            _duration(step.seconds),
        )
    return made


def _pool(pool: StagePool | IndexTask) -> str:
    gpus = f", {pool.gpus:g} GPUs" if pool.gpus else ""
    memory = f", {pool.memory:g} GiB" if pool.memory else ""
    return f"{pool.workers} x {pool.cpus:.2g} CPUs{gpus}{memory}"


def _estimate(shown: Preview) -> None:
    """How long one worker takes, by operator, and how many workers are needed."""
    whole, hours = shown.estimate, shown.estimate.hours
    made = table(
        "Estimate", "operator", "one worker", "share", *([f"workers for {hours:g} h"] if hours else [])
    )
    for name, cost in whole.operators.items():
        workers = [f"{cost.workers:,}"] if hours else []
        made.add_row(name, _duration(cost.seconds), f"{cost.share:.0%}", *workers)
    console.print(made)
    if shown.measured:
        on = shown.measured
        console.print(f"measured here on {on.samples:,} samples in {on.shards:,} shards")
    all_workers = f"; {hours:g} h take {whole.workers:,} workers" if hours else ""
    size = sum(step.bytes or 0 for step in shown.passes) / 1e6
    console.print(
        f"{len(shown.passes)} passes, {size:,.0f} MB to read, one worker: {_duration(whole.seconds)}"
        f"{all_workers}; bottleneck: {whole.bottleneck}",
        highlight=False,
    )


def compacted(found: Sequence[Mapping[str, Any]]) -> None:
    """What `compact` did."""
    made = table("Parts", "folder", "files before", "after")
    for entry in found:
        made.add_row(entry["folder"], f"{entry['before']:,}", f"{entry['after']:,}")
    console.print(made)


def funnel(decision: Decision, lost: Mapping[str, int] = {}, damaged: Mapping[str, str] = {}) -> None:
    """A decision, rule by rule. `lost`, `damaged`: see `pipeline.decide.books.Books`."""
    total, not_downloaded = decision.samples, sum(lost.values())
    counts = ("passes", "fails", "fails alone", "dropped", "failed", "left")
    made = table("Funnel", "rule", "bound", *counts, text=2)
    if lost:
        made.add_row("URLs listed", *[""] * len(counts), f"{total + not_downloaded:,}")
    for reason, count in lost.items():
        made.add_row(f"not downloaded: {reason}", *[""] * 5, f"{count:,}", "")
    made.add_row("samples read", *[""] * len(counts), f"{total:,}")
    left = total
    for name, rule in decision.rules.items():
        failed = sum(rule.failed.values())
        left -= rule.dropped + failed
        label = name if name == rule.column else f"{name} ({rule.column})"
        figures = (rule.passes, rule.fails, rule.fails_only, rule.dropped, failed, left)
        made.add_row(label, rule.bound, *(f"{figure:,}" for figure in figures))
    console.print(made)
    console.print(
        "dropped, failed (no value to judge): each sample once, at the first such rule", style="dim"
    )
    console.print(
        f"read {total:,} = kept {decision.kept:,} ({share(decision.kept, total)}) + dropped {decision.dropped:,} "
        f"+ failed {decision.failed:,}"
    )
    if lost:
        console.print(
            f"listed {total + not_downloaded:,} = read {total:,} + not downloaded {not_downloaded:,}"
        )
    for name, rule in decision.rules.items():
        for reason, count in rule.failed.items():
            console.print(f"  failed at {name}: {count:,} x {reason}", highlight=False)
    for shard, reason in damaged.items():
        console.print(f"  [yellow]damaged shard[/] {shard}: {reason}", highlight=False)


def ingested(books: Mapping[str, Any]) -> None:
    """What became of a list of URLs."""
    made, total = table("Downloads", "", "URLs", "share"), books["listed"]
    made.add_row("listed", f"{total:,}", "")
    for reason, count in books["lost"].items():
        made.add_row(f"lost: {reason}", f"{count:,}", share(count, total))
    made.add_row("downloaded", f"{books['downloaded']:,}", share(books["downloaded"], total))
    console.print(made)
    for file, reason in books["damaged"].items():
        console.print(f"  [yellow]damaged list[/] {file}: {reason}", highlight=False)


def overlap(decision: Decision) -> None:
    """Of the samples that pass a rule, the share that passes each other rule."""
    heads = [str(number) for number in range(1, len(decision.rules) + 1)]
    made = table(
        "Overlap: of those that pass the rule of the row, the share that passes the column's",
        "",
        "rule",
        *heads,
        text=2,
    )
    for number, (name, rule) in zip(heads, decision.rules.items(), strict=True):
        both = (rule.passes_with.get(other, rule.passes) for other in decision.rules)
        made.add_row(number, name, *(share(passes, rule.passes) for passes in both))
    console.print(made)


def speeds(books: Books) -> None:
    """Seconds and samples per second by operator, over all runs on this store."""
    made = table(
        "Speed, all runs on this store",
        "operator",
        "samples",
        "worker seconds",
        "samples/s per worker",
    )
    for name, speed in books.speeds.items():
        samples, rate = (f"{speed.rows:,}", f"{speed.rows_per_second:,.0f}") if speed.rows else ("-", "-")
        made.add_row(name, samples, f"{speed.seconds:,.1f}", rate)
    console.print(made)
    if books.bottleneck:
        console.print(f"bottleneck: {books.bottleneck}")


def effects(changes: Effects, only: str | None = None) -> None:
    """What a decision did to each Stat: tables of at most MOST_ROWS rows; with `only`, those of that name."""
    for stat, tables in changes.tables.items():
        for name, frame in tables.items():
            if len(frame) > MOST_ROWS or only not in (None, name):
                continue
            filled = [column for column in frame.columns if frame[column].null_count() < len(frame)]
            texts = [column for column in filled if not frame[column].dtype.is_numeric()]
            order = [*texts, *(column for column in filled if column not in texts)]
            made = table(f"{stat}: {name}", *order, text=len(texts))
            for row in frame.select(order).iter_rows():
                made.add_row(*map(_figure, row))
            console.print(made)


def explanation(shown: Explanation) -> None:
    """One sample and its verdicts."""
    fate = "[green]kept[/]" if shown.keep else "[red]dropped[/]"
    made = table("", "rule", "value", "bound", "verdict", text=4)
    for rule in shown.rules:
        made.add_row(rule.rule, _value(rule.value), rule.bound, rule.verdict)
    size = f"  {shown.width} x {shown.height}" if shown.width else ""
    console.print(f"{shown.uid}  {fate}  {shown.shard}/{shown.key}{size}")
    console.print(repr(shown.text), style="italic", markup=False, highlight=False)
    console.print(made)
    for name, rows in shown.evidence.items():
        evidence = table(name, *rows[0], text=len(rows[0]))
        for row in rows:
            evidence.add_row(*(escape(_value(value)) for value in row.values()))
        console.print(evidence)
    for why in dict.fromkeys(rule.why for rule in shown.rules if rule.why):
        console.print(f"no value because: {why}", markup=False, highlight=False)


def pending(shards: Mapping[str, str], command: str) -> None:
    """Shards that are not done, and how to go on."""
    console.print(f"[red]{len(shards):,} shards are not done:[/]")
    for shard, reason in list(shards.items())[:20]:
        console.print(f"  {shard}: {reason}", highlight=False, markup=False)
    if len(shards) > 20:
        console.print(f"  and {len(shards) - 20:,} more")
    console.print(f"run again to retry them: {command}", highlight=False, markup=False)


def _value(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(value: object) -> str:
    """A count with separators, a share or mean with four digits, a text as it stands."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else escape(_value(value))


def _number(value: int | None, unknown: str) -> str:
    return unknown if value is None else f"{value:,}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h {minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m {rest:02d}s"
