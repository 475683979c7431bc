"""Subset files combined and compared as multisets: a uid counts as often as its file holds it.

    combine(["a.npy", "b.npy"], "and", "both.npy")

    and    the smallest count of all files      minus  the first file's count less those of the others
    or     the largest                          xor    the difference of the two counts

Files are sorted, so they are mapped and merged block by block: memory does not grow with the number of rows.
The one exception: a uid that a single file holds more often than a block has rows is held whole.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline.errors import RecipeError
from pipeline.export.places.file import check_file, writing_file
from pipeline.export.subset import DTYPE, check_header, write_header
from pipeline.storage.folder import Folder
from pipeline.uids import first_unsorted, search_uids

BLOCK = 1 << 20  # rows of a file that are merged at a time: 16 MB, and some ten times as much to work in

Counts = np.ndarray  # (u, k): how often each of k files holds each of u uids
OPERATIONS: Mapping[str, Callable[[Counts], np.ndarray]] = {
    "and": lambda counts: counts.min(1),
    "or": lambda counts: counts.max(1),
    "minus": lambda counts: np.maximum(counts[:, 0] - counts[:, 1:].sum(1), 0),
    "xor": lambda counts: np.abs(counts[:, 0] - counts[:, 1]),
}


@dataclass(frozen=True)
class Combination:
    """The result of an operation: rows, distinct uids, and the file it was written to, if any."""

    path: str | None
    rows: int
    distinct: int


@dataclass(frozen=True)
class SubsetFile:
    """A file's rows, its distinct uids, and how often the most frequent uid is in it."""

    path: str
    rows: int
    distinct: int
    most: int


@dataclass(frozen=True)
class Comparison:
    """Some files, and `overlap[i][j]`: the rows of `and` of files i and j."""

    files: list[SubsetFile]
    overlap: list[list[int]]


@dataclass(frozen=True)
class RowCount:
    """Rows, and the distinct uids in them."""

    rows: int
    distinct: int


@dataclass(frozen=True)
class Difference:
    """How two files differ. `changed`: the uids in both files that one holds more often; its rows are the
    surplus."""

    both: RowCount
    only_first: RowCount
    only_second: RowCount
    changed: RowCount


def combine(paths: Sequence[str], operation: str, out: str | None = None, block: int = BLOCK) -> Combination:
    """Apply one of OPERATIONS to files; writes the result to `out` if given. Raises RecipeError, also for an
    `out` that Winnow did not write."""
    if out:
        check_file(out, "--out")
    with ExitStack() as stack:
        blocks = merged([stack.enter_context(mapped(path)) for path in paths], paths, block)
        results = ((uids, OPERATIONS[operation](counts)) for uids, counts in blocks)
        return _write(results, out) if out else _count(results)


def describe(paths: Sequence[str], block: int = BLOCK) -> Comparison:
    """Count each file's rows, and the rows that each two have in common. Raises RecipeError."""
    kinds = len(paths)
    rows, distinct, most = (np.zeros(kinds, np.int64) for _ in range(3))
    overlap = np.zeros((kinds, kinds), np.int64)
    with ExitStack() as stack:
        for _, counts in merged([stack.enter_context(mapped(path)) for path in paths], paths, block):
            rows += counts.sum(0)
            distinct += (counts > 0).sum(0)
            most = np.maximum(most, counts.max(0))
            for file in range(kinds):
                overlap[file] += np.minimum(counts, counts[:, file : file + 1]).sum(0)
    columns = (paths, rows.tolist(), distinct.tolist(), most.tolist())
    files = [SubsetFile(*row) for row in zip(*columns, strict=True)]
    return Comparison(files, overlap.tolist())


def difference(paths: Sequence[str], block: int = BLOCK) -> Difference:
    """Compare two files. Raises RecipeError."""
    total = np.zeros((4, 2), np.int64)
    with ExitStack() as stack:
        for _, counts in merged([stack.enter_context(mapped(path)) for path in paths], paths, block):
            total += _difference_counts(counts)
    return Difference(*(RowCount(rows, distinct) for rows, distinct in total.tolist()))


def _difference_counts(counts: Counts) -> np.ndarray:
    """(4, 2): rows and distinct uids of each field of Difference, in a block of two files."""
    first, second = counts.T
    common, in_both = counts.min(1), (counts > 0).all(1)
    fields = [
        (common, in_both),
        (first - common, second == 0),
        (second - common, first == 0),
        (np.abs(first - second) * in_both, in_both & (first != second)),
    ]
    return np.array([(rows.sum(), chosen.sum()) for rows, chosen in fields])


# --- files ------------------------------------------------------------------------------------------


@contextmanager
def mapped(path: str) -> Iterator[np.ndarray]:
    """(n,) u8,u8 rows of a file, mapped into memory; a file on object storage is fetched first. Raises
    RecipeError."""
    source = Folder(path)
    with ExitStack() as stack:
        local = source.base
        if not source.exists("") or source.fs.isdir(source.base):
            raise RecipeError(f"{path}: no such file; must be a subset file (.npy)")
        if not source.local:
            local = f"{stack.enter_context(tempfile.TemporaryDirectory())}/subset.npy"
            source.fs.get_file(source.base, local)
        with open(local, "rb") as file:
            header = check_header(file, path)
        if not header.nbytes:  # nothing can be mapped
            yield np.empty(0, DTYPE)
            return
        yield np.memmap(local, DTYPE, "r", header.offset, header.shape)


def _write(results: Iterator[tuple[np.ndarray, np.ndarray]], path: str) -> Combination:
    """Publish the uids of (uids, counts), each as often as it counts."""
    rows = distinct = 0
    with writing_file(path, "--out", {"export": "subset"}) as new, open(new, "wb") as file:
        write_header(file, 0)
        for uids, counts in results:
            file.write(np.repeat(uids, counts).data)
            rows += int(counts.sum())
            distinct += int((counts > 0).sum())
        file.seek(0)
        write_header(file, rows)
    return Combination(path, rows, distinct)


def _count(results: Iterator[tuple[np.ndarray, np.ndarray]]) -> Combination:
    """Count the rows that `_write` would write."""
    rows = distinct = 0
    for _, counts in results:
        rows += int(counts.sum())
        distinct += int((counts > 0).sum())
    return Combination(None, rows, distinct)


# --- merging ----------------------------------------------------------------------------------------


def merged(
    files: Sequence[np.ndarray], names: Sequence[str], block: int = BLOCK
) -> Iterator[tuple[np.ndarray, Counts]]:
    """(uids (u,) u8,u8, counts (u, k)) over ranges of uids, ascending. Raises RecipeError for rows out of
    order."""
    pivots = _sort(np.concatenate([rows[::block] for rows in files]))
    edges = [search_uids(rows, pivots["f0"], pivots["f1"], "left") for rows in files]
    ends = [np.append(np.maximum.accumulate(e), len(r)) for e, r in zip(edges, files, strict=True)]
    starts = np.zeros(len(files), np.int64)
    for stops in np.stack(ends, 1):
        # one row more shows whether this range and the one before are in order
        for rows, name, start, stop in zip(files, names, starts, stops, strict=True):
            if uid := first_unsorted(rows[max(0, start - 1) : stop]):
                raise RecipeError(f"{name} must be sorted, and {uid} comes after a larger uid")
        if stops.sum() > starts.sum():
            yield count_uids([rows[a:b] for rows, a, b in zip(files, starts, stops, strict=True)])
        starts = stops


def count_uids(lists: Sequence[np.ndarray]) -> tuple[np.ndarray, Counts]:
    """(uids (u,), counts (u, k)) of k sorted lists."""
    rows = np.concatenate(lists)
    source = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    order = _order(rows)
    rows, source = rows[order], source[order]
    new = np.append(True, rows[1:] != rows[:-1])
    cells = (np.cumsum(new) - 1) * len(lists) + source
    uids = rows[new]
    return uids, np.bincount(cells, minlength=len(uids) * len(lists)).reshape(len(uids), len(lists))


def _order(rows: np.ndarray) -> np.ndarray:
    """The permutation that sorts rows. Sorting by the first halves alone is fast, as they come in sorted
    runs. Two different uids hardly ever share a first half; if two do, rows are sorted by both halves."""
    order: np.ndarray = np.argsort(rows["f0"], kind="stable")
    high, low = rows["f0"][order], rows["f1"][order]
    tied = (high[1:] == high[:-1]) & (low[1:] < low[:-1])
    if tied.any():
        order = np.lexsort((rows["f1"], rows["f0"]))
    return order


def _sort(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows[_order(rows)])
