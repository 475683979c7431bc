"""What `winnow columns` shows: all columns of a pool, or one with its histogram."""

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from jobs.terminal.console import console, styled
from jobs.terminal.tables import counted, share, table
from pipeline.errors import unmistakable
from pipeline.view.one_column import Bin, Mark, OneColumn
from pipeline.view.profile import COUNTED, LENGTH, NUMBER, SHOWN, VECTOR, ColumnProfile, Profile

BAR = 30  # characters of the longest bar
FEW = 3  # values and reasons that are named in a table
MOST = 24  # characters of a value that is named
LONG = 80  # the same of a reason, and where each value has a line of its own
ALL_DIFFER = "all values are different"
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
SPREAD = ("25%", "50%", "75%")


def columns(profile: Profile) -> None:
    """All columns: numbers, texts, why values are missing."""
    _numbers([column for column in profile.columns.values() if column.kind in (NUMBER, LENGTH)])
    _texts([column for column in profile.columns.values() if column.kind in COUNTED])
    _missing([column for column in profile.columns.values() if column.reasons])
    vectors = [column.column for column in profile.columns.values() if column.kind == VECTOR]
    if vectors:
        console.print(f"vectors, which are not read: {', '.join(vectors)}")
    console.print(f"{counted(profile.rows, 'row')} in {counted(profile.shards, 'shard')}{_rest(profile)}")
    if profile.sampled < profile.rows:
        console.print(
            f"Quantiles and frequent values are those of {profile.sampled:,} rows, drawn by uid. With the name "
            "of a column, quantiles are exact."
        )


def _rest(profile: Profile) -> str:
    """What the tables leave out, in words."""
    rest = profile.of_shards - profile.shards
    shards = f"; {counted(rest, 'shard')} without all columns left out" if rest else ""
    operators = f"; not computed: {', '.join(profile.not_computed)}" if profile.not_computed else ""
    return shards + operators


def _numbers(found: Sequence[ColumnProfile]) -> None:
    """A row per column of numbers, and of lists by their lengths."""
    headings = ("column", "type", "no value", "least", *SPREAD, "most")
    rows = table("Numbers, and lengths of lists", *headings, text=2, matrix=True)
    for column in found:
        middle = (column.quantiles.get(name) for name in SPREAD)
        figures = map(number, (column.least, *middle, column.most))
        dtype = "length" if column.kind == LENGTH else column.dtype
        rows.add_row(column.column, dtype, f"{column.nulls or 0:,}", *figures)
    if found:
        console.print(rows)


def _texts(found: Sequence[ColumnProfile]) -> None:
    """A row per column of texts, or of true and false."""
    rows = table("Texts", "column", "most frequent", "no value", text=2)
    for column in found:
        named = ALL_DIFFER if column.all_differ else _named(column.frequent)
        rows.add_row(column.column, named, f"{column.nulls or 0:,}")
    if found:
        console.print(rows)


def _missing(found: Sequence[ColumnProfile]) -> None:
    """Why columns have no value. Columns of one operator, which lack it for the same reasons, share a row."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for column in found:
        operator, _, short = column.column.partition(".")
        reasons.setdefault((operator, _named(column.reasons, LONG)), []).append(short)
    rows = table("Why values are missing", "columns", "reasons", text=2)
    for (operator, why), shorts in reasons.items():
        rows.add_row(f"{operator}: {', '.join(shorts)}", why)
    if found:
        console.print(rows)


def _named(counts: Mapping[str, int], most: int = MOST) -> str:
    """The most frequent values with their counts."""
    first = ", ".join(f"{count:,} x {_short(value, most)}" for value, count in list(counts.items())[:FEW])
    return first + (", ..." if len(counts) > FEW else "")


def _short(value: object, most: int = MOST) -> str:
    """The beginning of a value from a file."""
    text = unmistakable(str(value))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def number(value: float | None) -> str:
    """A number with four digits, a whole one with separators; `-` for None."""
    if value is None:
        return "-"
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


# --- one column ------------------------------------------------------------------------------------


def one_column(detail: OneColumn, recipe: str) -> None:
    """Quantiles, missing values, the histogram with the rules' cuts, and the overrides to try."""
    mine = detail.profile
    without = "" if mine.nulls is None else f", {mine.nulls:,} without a value"
    console.print(styled(mine.column, "bold"), f" {mine.dtype}, {counted(mine.rows, 'row')}{without}")
    for reason, count in mine.reasons.items():
        console.print(f"  {count:,} x {reason}")
    if mine.quantiles:
        headings = ("least", *mine.quantiles, "most")
        rows = table("Quantiles" + _of_lengths(mine), "", *headings, matrix=True)
        rows.add_row("", *map(number, (mine.least, *mine.quantiles.values(), mine.most)))
        console.print(rows)
    for line in _histogram(detail.bins, detail.marks):
        console.print(line, soft_wrap=True)
    _frequent(detail)
    for mark in detail.marks:
        if mark.value is None:
            console.print(f"rule {mark.rule}: {mark.bound}")
    if detail.override:
        console.print("to try:")
    for override in detail.override:
        console.print(f"  winnow keep {quote(recipe)} --set {quote(override)}", soft_wrap=True)


def _of_lengths(mine: ColumnProfile) -> str:
    """What the figures are of, if not of the values."""
    return " of the lists' lengths" if mine.kind == LENGTH else ""


def _histogram(bins: Sequence[Bin], marks: Sequence[Mark]) -> Iterator[str]:
    """A line per bin; before the bin in which a rule cuts, or that follows its cut, a line with the rule."""
    most = max((each.count for each in bins), default=0)
    labels = [_label(each) for each in bins]
    width = max(map(len, labels), default=0)
    counts = max((len(f"{each.count:,}") for each in bins), default=0)
    open_marks = sorted(
        (mark for mark in marks if mark.value is not None), key=lambda mark: mark.value or 0.0
    )
    for each, label in zip(bins, labels, strict=True):
        while open_marks and (each.high is None or (open_marks[0].value or 0.0) < each.high):
            mark = open_marks.pop(0)
            yield f"{'-' * width}  {'-' * counts}  {mark.rule} {mark.bound}"
        yield f"{label:>{width}}  {each.count:>{counts},}  {bar(each.count, most)}"


def _label(each: Bin) -> str:
    """`0.2 to 0.25`, `below 0.2`, `0.9 and more`."""
    if each.low is None:
        return f"below {number(each.high)}"
    if each.high is None:
        return f"{number(each.low)} and more"
    if each.high - each.low == 1 and float(each.low).is_integer():
        return number(each.low)
    return f"{number(each.low)} to {number(each.high)}"


def bar(count: int, most: int, longest: int = BAR) -> str:
    """A bar for a count; `#` where the screen has ASCII alone."""
    eighths = round(8 * longest * count / most) if most else 0
    if not console.encoding.startswith("utf"):
        return "#" * (eighths // 8)
    return "█" * (eighths // 8) + (EIGHTHS[eighths % 8] or ("▏" if count and not eighths else ""))


def _frequent(detail: OneColumn) -> None:
    """The most frequent texts."""
    if not detail.profile.frequent:
        return
    of = "" if detail.sampled == detail.profile.rows else f" in the {detail.sampled:,} rows that were drawn"
    if detail.profile.all_differ:
        console.print(f"{ALL_DIFFER}{of}, such as {_short(next(iter(detail.profile.frequent)), LONG)}")
        return
    rows = table("Most frequent values", "value", "rows", "share")
    for value, count in detail.profile.frequent.items():
        rows.add_row(_short(value, LONG), f"{count:,}", share(count, detail.sampled))
    console.print(rows)
    if any(len(value) == SHOWN for value in detail.profile.frequent):
        console.print(f"texts with the same first {SHOWN} characters are counted together")
    if detail.sampled < detail.profile.rows:
        console.print(f"of {detail.sampled:,} rows, drawn by uid")
