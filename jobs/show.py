"""Tables for people, on stderr."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(stderr=True)
if not console.is_terminal:
    console = Console(stderr=True, width=120)  # a log file need not be as narrow as 80


MOST_ROWS = 60  # of a table of effects on the terminal; larger ones are in the store


def table(title: str, *columns: str, text: int = 1) -> Table:
    """An empty table; the first `text` columns hold text, the others numbers."""
    made = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < text else "right", no_wrap=True)
    return made


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def plan(found: Mapping[str, Any]) -> None:
    """What `plan` found."""
    made = table("Missing passes", "operators", "reads", "shards", "samples", "time", text=2)
    for step in found["passes"]:
        made.add_row(
            ", ".join(step["operators"]) or "(index only)",
            step["reads"],
            f"{step['shards']:,}",
            _number(step["samples"], "?"),
            _duration(step["seconds"]),
        )
    console.print(
        f"{found['shards']:,} shards, {found['indexed']:,} indexed, {_number(found['samples'], '?')} samples known"
    )
    console.print(made if found["passes"] else "Everything is computed.")
    for warning in found["warnings"]:
        console.print(f"[yellow]warning[/] {escape(warning)}", highlight=False)


def funnel(result: Mapping[str, Any]) -> None:
    """The books of a decision, rule by rule."""
    total = result["samples"]
    counts = ("passes", "fails", "fails alone", "dropped", "failed", "left")
    made, left = table("Funnel", "rule", "bound", *counts, text=2), total
    made.add_row("samples read", *[""] * len(counts), f"{total:,}")
    for name, rule in result["rules"].items():
        lost = sum(rule["failed"].values())
        left -= rule["dropped"] + lost
        label = name if name == rule["column"] else f"{name} ({rule['column']})"
        made.add_row(
            label,
            rule["bound"],
            f"{rule['passes']:,}",
            f"{rule['fails']:,}",
            f"{rule['fails_only']:,}",
            f"{rule['dropped']:,}",
            f"{lost:,}",
            f"{left:,}",
        )
    console.print(made)
    console.print(
        "dropped, failed (no value to judge): each sample once, at the first such rule", style="dim"
    )
    console.print(
        f"read {total:,} = kept {result['kept']:,} ({_share(result['kept'], total)}) + dropped {result['dropped']:,} "
        f"+ failed {result['failed']:,}"
    )
    for name, rule in result["rules"].items():
        for reason, count in rule["failed"].items():
            console.print(f"  failed at {name}: {count:,} x {reason}", highlight=False)
    for shard, reason in result.get("damaged", {}).items():
        console.print(f"  [yellow]damaged shard[/] {shard}: {reason}", highlight=False)


def speeds(ledger: Mapping[str, Any]) -> None:
    """Seconds and samples/s per operator, over all runs on this store."""
    made = table(
        "Speed, all runs on this store",
        "operator",
        "samples",
        "worker seconds",
        "samples/s per worker",
    )
    for name, rate in ledger["speeds"].items():
        counted = (f"{rate['rows']:,}", f"{rate['rows_per_second']:,.0f}") if rate["rows"] else ("-", "-")
        made.add_row(name, counted[0], f"{rate['seconds']:,.1f}", counted[1])
    console.print(made)
    if ledger["bottleneck"]:
        console.print(f"bottleneck: {ledger['bottleneck']}")


def effects(found: Mapping[str, Mapping[str, Any]], only: str | None = None) -> None:
    """What a decision did to each Stat: tables of at most MOST_ROWS rows; `only` those of one name."""
    for stat, tables in found.items():
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


def explanation(entry: Mapping[str, Any]) -> None:
    """One sample and its verdicts."""
    fate = "[green]kept[/]" if entry["keep"] else "[red]dropped[/]"
    made = table("", "rule", "value", "bound", "verdict", text=4)
    for line in entry["rules"]:
        made.add_row(line["rule"], _value(line["value"]), line["bound"], line["verdict"])
    size = f"  {entry['width']} x {entry['height']}" if entry["width"] else ""
    console.print(f"{entry['uid']}  {fate}  {entry['shard']}/{entry['key']}{size}")
    console.print(repr(entry["text"]), style="italic", markup=False, highlight=False)
    console.print(made)
    for name, rows in entry["evidence"].items():
        shown = table(name, *rows[0], text=len(rows[0]))
        for row in rows:
            shown.add_row(*(escape(_value(value)) for value in row.values()))
        console.print(shown)
    for why in dict.fromkeys(line["why"] for line in entry["rules"] if line["why"]):
        console.print(f"no value because: {why}", markup=False, highlight=False)


def pending(shards: Mapping[str, str], command: str) -> None:
    """Shards that are not done, and how to go on."""
    console.print(f"[red]{len(shards):,} shards are not done:[/]")
    for shard, reason in list(shards.items())[:20]:
        console.print(f"  {shard}: {reason}", highlight=False, markup=False)
    if len(shards) > 20:
        console.print(f"  and {len(shards) - 20:,} more")
    console.print(f"run again to retry them: {command}", highlight=False, markup=False)


def _value(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(value: Any) -> str:
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
