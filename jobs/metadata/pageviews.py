"""Wikipedia's titles by page views, summed over hourly pageview files.

**Source**: Wikimedia's `pageviews-YYYYMMDD-HH0000.gz`, lines of `project title views bytes`. The thresholds
are MetaCLIP's (arXiv 2309.16671): an hour counts for a title from 50 views on; a title is taken from 70 views
in all.
**Memory**: about 150 bytes per title that passed the hourly threshold.
**Differs**: spaces at the ends of a title are cut off, as no caption could match them. As in the released
code, a percent-encoded title stays encoded.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple

import fsspec

from jobs.metadata.entries import fits
from jobs.processes import Each
from jobs.terminal.bar import Tick
from pipeline.errors import RecipeError, worded

FORMAT = "`project title views bytes`"


@dataclass(frozen=True)
class TitleBounds:
    """Which titles are taken.

    project     whose rows of the files count, such as en
    hourly      views of a title in an hour, from which on the hour counts
    views       views in all counted hours, from which on a title is taken
    titles      most titles
    max_length  most characters of a title
    """

    project: str = "en"
    hourly: int = 50
    views: int = 70
    titles: int = 61_235
    max_length: int = 256


class Hour(NamedTuple):
    """One file: views by title, rows of the project that were read, and rows that could not be read."""

    views: Counter[str]
    rows: int
    broken: int


class Titles(NamedTuple):
    """Titles, most viewed first; how many passed the threshold; rows that could not be read."""

    entries: list[str]
    passed: int
    broken: int


def rank_titles(paths: Sequence[str], wanted: TitleBounds, each: Each, tick: Tick) -> Titles:
    """The most viewed titles; equally viewed ones in code point order.

    Raises RecipeError if a file cannot be read, or if no file has a row of the project.
    """
    total = Hour(Counter(), 0, 0)
    for done, hour in enumerate(each(partial(read_hour, wanted=wanted), paths), 1):
        total.views.update(hour.views)
        total = Hour(total.views, total.rows + hour.rows, total.broken + hour.broken)
        tick(done, done / len(paths))
    if not total.rows:
        raise RecipeError(
            "--project must have rows in a page view file (the English Wikipedia is en); "
            f"{wanted.project!r} has none in {len(paths)} files"
        )
    often = [title for title, views in total.views.items() if views >= wanted.views]
    best = sorted(often, key=lambda title: (-total.views[title], title))
    short = (title for title in best if fits(title, wanted.max_length))
    return Titles(
        [title for title, _ in zip(short, range(wanted.titles), strict=False)], len(often), total.broken
    )


def read_hour(path: str, wanted: TitleBounds) -> Hour:
    """Read one file: plain, gz or bz2, on any fsspec path. Raises RecipeError."""
    try:
        with fsspec.open(path, "rb", compression="infer") as file:
            first = file.readline()
            if _views(first) is None:
                raise RecipeError(f"--pageviews {path} must hold lines of {FORMAT}, got {first[:60]!r}")
            return _count(chain([first], file), wanted)
    except (OSError, EOFError, zlib.error) as error:
        raise RecipeError(f"--pageviews {path} cannot be read: {worded(error)}") from error


def _count(lines: Iterable[bytes], wanted: TitleBounds) -> Hour:
    """The views of the project's titles that reach the hourly threshold."""
    prefix = f"{wanted.project} ".encode()
    titles = Counter[str]()
    rows = broken = 0
    for line in lines:
        if not line.startswith(prefix):
            continue
        views = _views(line)
        if views is None:
            broken += 1
            continue
        rows += 1
        if views >= wanted.hourly and (title := _title(line)):
            titles[title] += views
    return Hour(titles, rows, broken)


def _views(line: bytes) -> int | None:
    """The third of four fields; None if the line is malformed."""
    fields = line.split(b" ")
    return int(fields[2]) if len(fields) == 4 and fields[2].isdigit() else None


def _title(line: bytes) -> str | None:
    """The title with spaces; None if it is not UTF-8, or has a colon, which marks another namespace."""
    try:
        title = line.split(b" ")[1].decode()
    except UnicodeDecodeError:
        return None
    return None if ":" in title else title.replace("_", " ").strip()
