"""Tables for people, on stderr."""

from collections.abc import Mapping, Sequence
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
    """An empty table; the first `text` columns hold text, folded where the screen is narrow, the others numbers."""
    made = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(
            column, justify="left" if index < text else "right", no_wrap=index >= text, overflow="fold"
        )
    return made


def share(part: int, whole: int) -> str:
    """A part in percent."""
    return f"{part / whole:.1%}" if whole else "-"


def plan(found: Mapping[str, Any]) -> None:
    """What `plan` found."""
    pools = any(step["pools"] for step in found["passes"])
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
    for step in found["passes"]:
        made.add_row(
            ", ".join(step["operators"]) or "(index only)",
            step["reads"],
            *([", ".join(map(_pool, step["pools"])) or "-"] if pools else []),
            f"{step['shards']:,}",
            _number(step["samples"], "?"),
            _duration(step["seconds"]),
        )
    console.print(
        f"{found['shards']:,} shards, {found['indexed']:,} indexed, {_number(found['samples'], '?')} samples known"
    )
    console.print(made if found["passes"] else "Everything is computed.")
    if found["index"]:
        where = "" if found["index"]["memory"] else ", on the machine with the most memory"
        console.print(f"FAISS index: {_pool(found['index'])}{where}", highlight=False)
    if found["estimate"]["bottleneck"]:
        _estimate(found)
    for warning in found["warnings"]:
        console.print(f"[yellow]warning[/] {escape(warning)}", highlight=False)


def _pool(pool: Mapping[str, Any]) -> str:
    gpus = f", {pool['gpus']:g} GPUs" if pool["gpus"] else ""
    memory = f", {pool['memory']:g} GiB" if pool["memory"] else ""
    return f"{pool['workers']} x {pool['cpus']:.2g} CPUs{gpus}{memory}"


def _estimate(found: Mapping[str, Any]) -> None:
    """How long one worker takes, by operator, and how many workers it takes."""
    whole, hours = found["estimate"], found["estimate"]["hours"]
    made = table(
        "Estimate", "operator", "one worker", "share", *([f"workers for {hours:g} h"] if hours else [])
    )
    for name, cost in whole["operators"].items():
        workers = [f"{cost['workers']:,}"] if hours else []
        made.add_row(name, _duration(cost["seconds"]), f"{cost['share']:.0%}", *workers)
    console.print(made)
    if sample := found["measured"]:
        console.print(f"measured here on {sample['samples']:,} samples in {sample['shards']:,} shards")
    all_workers = f"; {hours:g} h take {whole['workers']:,} workers" if hours else ""
    size = sum(step["bytes"] or 0 for step in found["passes"]) / 1e6
    console.print(
        f"{len(found['passes'])} passes, {size:,.0f} MB to read, one worker: {_duration(whole['seconds'])}"
        f"{all_workers}; bottleneck: {whole['bottleneck']}",
        highlight=False,
    )


def compacted(found: Sequence[Mapping[str, Any]]) -> None:
    """What `compact` did."""
    made = table("Parts", "folder", "files before", "after")
    for entry in found:
        made.add_row(entry["folder"], f"{entry['before']:,}", f"{entry['after']:,}")
    console.print(made)


def funnel(result: Mapping[str, Any]) -> None:
    """The books of a decision, rule by rule."""
    total = result["samples"]
    counts = ("passes", "fails", "fails alone", "dropped", "failed", "left")
    made, left = table("Funnel", "rule", "bound", *counts, text=2), total
    if away := result.get("lost", {}):
        made.add_row("URLs listed", *[""] * len(counts), f"{result['listed']:,}")
    for reason, count in away.items():
        made.add_row(f"not downloaded: {reason}", *[""] * 5, f"{count:,}", "")
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
        f"read {total:,} = kept {result['kept']:,} ({share(result['kept'], total)}) + dropped {result['dropped']:,} "
        f"+ failed {result['failed']:,}"
    )
    if away:
        console.print(f"listed {result['listed']:,} = read {total:,} + not downloaded {sum(away.values()):,}")
    for name, rule in result["rules"].items():
        for reason, count in rule["failed"].items():
            console.print(f"  failed at {name}: {count:,} x {reason}", highlight=False)
    for shard, reason in result.get("damaged", {}).items():
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


def overlap(result: Mapping[str, Any]) -> None:
    """Of the samples that pass a rule, how many pass another one, too."""
    rules = result["rules"]
    heads = [str(number) for number in range(1, len(rules) + 1)]
    made = table(
        "Overlap: of those that pass the rule of the row, the share that passes the column's",
        "",
        "rule",
        *heads,
        text=2,
    )
    for number, (name, rule) in zip(heads, rules.items(), strict=True):
        shares = (share(rule["passes_with"].get(other, rule["passes"]), rule["passes"]) for other in rules)
        made.add_row(number, name, *shares)
    console.print(made)


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
