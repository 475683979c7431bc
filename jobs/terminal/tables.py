"""Tables for people: what was decided and why, how fast operators are, what is still pending.

They go to stdout, since a user asked for them; with `out=remarks` to stderr. What is pending is a remark.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from jobs.terminal.console import Console, as_text, remarks, shown, styled
from jobs.terminal.console import console as console  # for the other tables, too
from jobs.terminal.layout import FittedTable
from pipeline.decide.books import Books, Losses
from pipeline.decide.decision import Decision
from pipeline.decide.effects import Effects
from pipeline.decide.explain import Explanation
from pipeline.errors import unmistakable
from pipeline.pool.img2dataset import NOT_PUBLIC
from pipeline.pool.listing.reasons import is_loss, skipped
from pipeline.run.bottleneck import Bottleneck
from pipeline.run.log import RunLog, RunSummary

if TYPE_CHECKING:
    from jobs.ingest.books import DownloadSummary

MOST_ROWS = 60  # of a table of effects; larger tables are in the store alone
MOST_PENDING = 20  # pending shards that are named
IDLE = 0.5  # a part that was at work for less than this did not bound the run
EXAMPLES = 3  # shards that are named of those that changed
COUNTED_ONCE = (
    "Each sample is counted once: as dropped at the first rule that it fails, or as failed at the first rule "
    "that finds no value to judge."
)
ANEW = "with other content than an earlier run read; done anew"
AGAIN = "rewritten during this run; read again"
GONE = "of an earlier run not in the pool any more; what they held does not count"


def table(
    title: str, *columns: str | Text, text: int = 1, names: int = 1, matrix: bool = False
) -> FittedTable:
    """An empty table that fits any screen, see FittedTable."""
    headings = [column if isinstance(column, Text) else as_text(column) for column in columns]
    return FittedTable(shown(title), headings, text, names, matrix)


def share(part: int, whole: int) -> str:
    """A part in percent, `-` of nothing."""
    return f"{part / whole:.1%}" if whole else "-"


def counted(count: int, noun: str) -> str:
    """`1 shard`, `1,200 shards`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def funnel(
    decision: Decision, losses: Losses | Books, lost: Mapping[str, int] = {}, out: Console | None = None
) -> None:
    """How many samples each rule removes, and what is left after it. `lost`: the URLs that were not
    downloaded, by reason."""
    counts = ("passes", "fails", "fails alone", "dropped", "failed", "left")
    listed = decision.samples + sum(lost.values())
    rows = table("Funnel", "rule", "bound", *counts, text=2)
    if lost:
        rows.add_row("URLs listed", *[""] * len(counts), f"{listed:,}")
    for reason, count in lost.items():
        rows.add_row(f"not downloaded: {reason}", *[""] * 5, f"{count:,}", "")
    rows.add_row("samples read", *[""] * len(counts), f"{decision.samples:,}")
    left = decision.samples
    for name, rule in decision.rules.items():
        failed = sum(rule.failed.values())
        left -= rule.dropped + failed
        label = name if name == rule.column else f"{name} ({rule.column})"
        figures = (rule.passes, rule.fails, rule.fails_only, rule.dropped, failed, left)
        rows.add_row(label, rule.bound, *(f"{figure:,}" for figure in figures))
    out = out or console
    out.print(rows)
    out.print(COUNTED_ONCE, style="dim")
    _balance(decision, listed, out)
    for name, rule in decision.rules.items():
        for reason, count in rule.failed.items():
            out.print(f"  failed at {name}: {count:,} x {reason}")
    faults(losses, out)


def doubts(said: Sequence[str], out: Console | None = None) -> None:
    """What operators doubt about the pool."""
    for text in said:
        (out or console).print(styled("  doubt", "yellow"), text)


def faults(losses: Losses | Books, out: Console | None = None) -> None:
    """The shards that are damaged, how many paths of the pool are not shards, with an example of each reason,
    and how many shards are not watched."""
    out = out or console
    for shard, reason in losses.damaged.items():
        out.print(styled("  damaged shard", "yellow"), f"{shard}: {reason}")
    for reason, paths in losses.passed_over.items():
        example = "" if paths.count == 1 else "such as "
        noun = styled("  passed over", "yellow" if is_loss(reason) else "")
        out.print(noun, f"{paths.count:,} x {reason}: {example}{paths.examples[0]}")
    if losses.unwatched:
        out.print(
            styled("  not watched", "yellow"),
            f"{counted(losses.unwatched, 'shard')}: the storage tells neither an ETag nor a time of change, so a "
            "file that is rewritten with as many bytes shows only when it is read; `winnow store verify --deep` "
            "reads them",
        )


def rewritten(log: RunLog | RunSummary, gone: Sequence[str], out: Console | None = None) -> None:
    """How many shards were done anew since they were read before, are gone, or were only touched."""
    out = out or console
    lost = dict.fromkeys(gone, "")
    for noun, names, what in (
        ("changed", log.rewritten, ANEW),
        ("changed", log.changed, AGAIN),
        ("gone", lost, GONE),
    ):
        if names:
            examples = [": ".join(filter(None, example)) for example in list(names.items())[:EXAMPLES]]
            more = "; ..." if len(names) > EXAMPLES else ""
            text = f"{counted(len(names), 'shard')} {what} ({'; '.join(examples)}{more})"
            out.print(styled(f"  {noun}", "yellow"), text)
    if log.touched:
        out.print(f"  touched, with the same content: {counted(log.touched, 'shard')}")


def faulty(losses: Losses | Books, changed: int) -> str:
    """How many shards are not as they should be, in words; empty if none is."""
    counts = (
        (len(losses.damaged), "damaged"),
        (skipped(losses.passed_over), "passed over"),
        (changed, "changed while they were read"),
    )
    return ", ".join(f"shards {fault}: {count:,}" for count, fault in counts if count)


def _balance(decision: Decision, listed: int, out: Console) -> None:
    """That the counts add up; `listed`: the URLs of a pool that was downloaded."""
    total = decision.samples
    out.print(
        f"read {total:,} = kept {decision.kept:,} ({share(decision.kept, total)}) "
        f"+ dropped {decision.dropped:,} + failed {decision.failed:,}"
    )
    if listed > total:
        out.print(f"listed {listed:,} = read {total:,} + not downloaded {listed - total:,}")


def ingested(books: "DownloadSummary", out: Console | None = None) -> None:
    """How many URLs of a list were downloaded, and why others were not."""
    out = out or console
    rows = table("Downloads", "", "URLs", "share")
    rows.add_row("listed", f"{books.listed:,}", "")
    for reason, count in books.lost.items():
        rows.add_row(f"lost: {reason}", f"{count:,}", share(count, books.listed))
    rows.add_row("downloaded", f"{books.downloaded:,}", share(books.downloaded, books.listed))
    out.print(rows)
    if refused := books.lost.get(NOT_PUBLIC):
        advice = "--allow NETWORK lets downloads connect to a private network; they are tried again then"
        out.print(f"URLs with an address that is not public: {refused:,}. {advice}.")
    if books.listed and not books.downloaded:
        out.print("Nothing was downloaded: the exit status is 1.")
    for file, reason in books.damaged.items():
        out.print(styled("  damaged list", "yellow"), f"{file}: {reason}")


def overlap(decision: Decision) -> None:
    """Of the samples that pass a rule, the share that passes each other rule."""
    numbers = [str(number) for number in range(1, len(decision.rules) + 1)]
    title = "Overlap: of the samples that pass the row's rule, the share that passes the column's rule"
    rows = table(title, "", "rule", *numbers, text=2, names=2, matrix=True)
    for number, (name, rule) in zip(numbers, decision.rules.items(), strict=True):
        passes_both = (rule.passes_with.get(other, rule.passes) for other in decision.rules)
        rows.add_row(number, name, *(share(count, rule.passes) for count in passes_both))
    console.print(rows)


def speeds(books: Books, out: Console | None = None) -> None:
    """Seconds and samples per second by operator, over all runs on this store."""
    out = out or console
    columns = ("operator", "samples", "worker seconds", "samples/s per worker")
    rows = table("Speed, over all runs on this store", *columns)
    for name, speed in books.speeds.items():
        samples, rate = (f"{speed.rows:,}", f"{speed.rows_per_second:,.0f}") if speed.rows else ("-", "-")
        rows.add_row(name, samples, f"{speed.seconds:,.1f}", rate)
    out.print(rows)
    bottleneck(books.bottleneck, out)


def bottleneck(found: Bottleneck | None, out: Console | None = None) -> None:
    """What bounded the speed of a run, in one line. Of a run under a second there is nothing to say."""
    if found is None or found.seconds < 1:
        return
    share, seconds = f"{found.busy:.0%}", f"{found.seconds:,.0f} s"
    said = f"busiest part of the run: {found.part}, at work {share} of {seconds}"
    if found.busy < IDLE and found.start > found.seconds / 3:
        said += f"; the first {found.start:,.0f} s were start-up"
    elif found.busy < IDLE:
        said += "; the rest was waiting, for storage or workers"
    else:
        said += f"; to make it faster: {found.advice}"
    (out or console).print(said)


def effects(changes: Effects, only: str | None = None, out: Console | None = None) -> None:
    """The tables that compare Stats before and after a decision; of `only` that name, if it is given. Tables
    of more than MOST_ROWS rows and columns without a value are left out."""
    for stat, tables in changes.tables.items():
        for name, frame in tables.items():
            if len(frame) > MOST_ROWS or only not in (None, name):
                continue
            filled = [column for column in frame.columns if frame[column].null_count() < len(frame)]
            texts = [column for column in filled if not frame[column].dtype.is_numeric()]
            order = [*texts, *(column for column in filled if column not in texts)]
            rows = table(f"{stat}: {name}", *order, text=len(texts))
            for row in frame.select(order).iter_rows():
                rows.add_row(*map(_figure, row))
            (out or console).print(rows)


def explanation(sample: Explanation) -> None:
    """One sample, every rule's verdict on it, and the operators' evidence."""
    fate = styled(sample.fate, "green" if sample.keep else "red")
    size = f"  {sample.width} x {sample.height}" if sample.width else ""
    console.print(f"{sample.uid} ", fate, f" {sample.shard}/{sample.key}{size}")
    caption = "no caption" if sample.text is None else repr(sample.text)
    console.print(caption, style="italic")
    for other in sample.captions:
        console.print(f"other caption: {other!r}", style="dim")
    rows = table("", "rule", "value", "bound", "verdict", text=4)
    for rule in sample.rules:
        drawn = "" if rule.draw is None else f": draw {_value(rule.draw)}"
        rows.add_row(rule.rule, _judged(rule.value), f"{rule.bound}{drawn}", rule.verdict)
    console.print(rows)
    for why in dict.fromkeys(rule.why for rule in sample.rules if rule.why):
        columns = dict.fromkeys(rule.column for rule in sample.rules if rule.why == why)
        console.print(f"no value of {', '.join(columns)}: {why}")
    for operator, entries in sample.further_evidence.items():
        if len(entries[0]) == 1:
            (name,) = entries[0]
            console.print(
                f"{operator}: {_words(name)}: {', '.join(_value(entry[name]) for entry in entries)}"
            )
            continue
        evidence = table(operator, *map(_words, entries[0]), text=len(entries[0]))
        for entry in entries:
            evidence.add_row(*map(_value, entry.values()))
        console.print(evidence)
    for name, group in sample.groups.items():
        if group.rows == 1:
            continue
        console.print(f"{name}: {group.rows:,} rows of the pool have its key")
        found = table("", *group.members[0], text=2)
        for member in group.members:
            found.add_row(*map(_value, member.values()))
        console.print(found)
    if sample.lacks:
        console.print(f"as it was read: {sample.lacks}")


def pending(shards: Mapping[str, str], command: str) -> None:
    """The shards that are not done, with reasons, and the command that does them, on stderr."""
    verb = "is" if len(shards) == 1 else "are"
    remarks.print(styled(f"{counted(len(shards), 'shard')} {verb} not done:", "red"))
    for shard, reason in list(shards.items())[:MOST_PENDING]:
        remarks.print(f"  {shard}: {reason}")
    if len(shards) > MOST_PENDING:
        remarks.print(f"  and {len(shards) - MOST_PENDING:,} more")
    remarks.print(f"run again to retry: {command}")


def _words(name: str) -> str:
    """The name of a field in words."""
    return name.replace("_", " ")


def _judged(value: object) -> str:
    """A value as a rule compares it: true is 1."""
    return f"{value:d} ({str(value).lower()})" if isinstance(value, bool) else _value(value)


def _value(value: object) -> str:
    """A value as text: floats with four digits, `-` for None. -0.0 is 0."""
    if value is None:
        return "-"
    return f"{value + 0.0:.4g}" if isinstance(value, float) else unmistakable(str(value))


def _figure(value: object) -> str:
    """A count with separators, a share or mean with four digits, a text as it stands."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else _value(value)
