"""Wikipedia's titles by page views, summed over hourly pageview files.

**Source**: Wikimedia's `pageviews-YYYYMMDD-HH0000.gz`, lines of `project title views bytes`; the thresholds
are MetaCLIP's (arXiv 2309.16671): 50 views in an hour for the hour to count, 70 in all.
**Memory**: the titles that passed the hourly threshold, about 150 bytes each.
**Differs**: spaces at a title's ends are cut off, as no text could match them. Titles are taken as they
stand, as in the released code: a percent-encoded one stays encoded.
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
class Wanted:
    """Whose rows, the least views in an hour and in all, the most titles, and their most characters."""

    project: str = "en"
    hourly: int = 50
    views: int = 70
    titles: int = 61_235
    max_length: int = 256


class Hour(NamedTuple):
    """Views by title in one file, rows of the project that were read, and those that could not be."""

    views: Counter[str]
    rows: int
    broken: int


class Titles(NamedTuple):
    """Titles, most viewed first; how many passed the threshold; rows that could not be read."""

    entries: list[str]
    found: int
    broken: int


def rank_titles(paths: Sequence[str], wanted: Wanted, each: Each, tick: Tick) -> Titles:
    """The most viewed titles, then in code point order. Raises RecipeError, also where no file has a row of
    the project."""
    total = Hour(Counter(), 0, 0)
    for done, hour in enumerate(each(partial(read_hour, wanted=wanted), paths), 1):
        total.views.update(hour.views)
        total = Hour(total.views, total.rows + hour.rows, total.broken + hour.broken)
        tick(done, done / len(paths))
    if not total.rows:
        raise RecipeError(
            f"--project must have rows in a pageview file (English is en); {wanted.project!r} has none in {len(paths)}"
        )
    often = [title for title, views in total.views.items() if views >= wanted.views]
    best = sorted(often, key=lambda title: (-total.views[title], title))
    short = (title for title in best if fits(title, wanted.max_length))
    return Titles(
        [title for title, _ in zip(short, range(wanted.titles), strict=False)], len(often), total.broken
    )


def read_hour(path: str, wanted: Wanted) -> Hour:
    """One file, plain, gz or bz2, on any fsspec path. Raises RecipeError."""
    try:
        with fsspec.open(path, "rb", compression="infer") as file:
            first = file.readline()
            if _views(first) is None:
                raise RecipeError(f"--pageviews {path} must hold lines of {FORMAT}, got {first[:60]!r}")
            return _count(chain([first], file), wanted)
    except (OSError, EOFError, zlib.error) as error:
        raise RecipeError(f"--pageviews {path} cannot be read: {worded(error)}") from error


def _count(lines: Iterable[bytes], wanted: Wanted) -> Hour:
    prefix, titles, rows, broken = f"{wanted.project} ".encode(), Counter[str](), 0, 0
    for line in lines:
        if line.startswith(prefix):
            views = _views(line)
            rows, broken = rows + (views is not None), broken + (views is None)
            if views is not None and views >= wanted.hourly and (title := _title(line)):
                titles[title] += views
    return Hour(titles, rows, broken)


def _views(line: bytes) -> int | None:
    """The third of four fields, or None where the line is something else."""
    fields = line.split(b" ")
    return int(fields[2]) if len(fields) == 4 and fields[2].isdigit() else None


def _title(line: bytes) -> str | None:
    """The title in clear; None where it has a colon, which is another namespace's, or is not UTF-8."""
    try:
        title = line.split(b" ")[1].decode()
    except UnicodeDecodeError:
        return None
    return None if ":" in title else title.replace("_", " ").strip()
