"""Subset files combined and compared as multisets: a uid counts as often as its file holds it.

    combine(["a.npy", "b.npy"], "and", "both.npy")

    and    the smallest count of all files      minus  the first file's count less those of the others
    or     the largest                          xor    the difference of the two counts

Files are sorted, so they are mapped and merged block by block: memory stays flat at any number of rows. A uid that a
single file holds more often than a block has rows is held whole.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from pipeline.errors import RecipeError
from pipeline.export.subset import DTYPE, write_header
from pipeline.storage.folder import Folder, working_beside
from pipeline.uids import first_unsorted, search_uids

BLOCK = 1 << 20  # rows of a file that are merged at a time: 16 MB, and some ten times as much to work in

Counts = np.ndarray  # (u, k): how often each of k files holds each of u uids
OPERATIONS: Mapping[str, Callable[[Counts], np.ndarray]] = {
    "and": lambda counts: counts.min(1),
    "or": lambda counts: counts.max(1),
    "minus": lambda counts: np.maximum(counts[:, 0] - counts[:, 1:].sum(1), 0),
    "xor": lambda counts: np.abs(counts[:, 0] - counts[:, 1]),
}


def combine(
    paths: Sequence[str], operation: str, out: str | None = None, block: int = BLOCK
) -> dict[str, Any]:
    """Rows and distinct uids of what an operation makes of some files; written to `out` if given."""
    with ExitStack() as stack:
        blocks = merged([stack.enter_context(mapped(path)) for path in paths], paths, block)
        results = ((uids, OPERATIONS[operation](counts)) for uids, counts in blocks)
        return _write(results, out) if out else _count(results)


def describe(paths: Sequence[str], block: int = BLOCK) -> dict[str, Any]:
    """Each file's rows, distinct uids and highest count; and `overlap[i][j]`, the rows of `and` of files i and j."""
    kinds = len(paths)
    rows, distinct, most = (np.zeros(kinds, np.int64) for _ in range(3))
    overlap = np.zeros((kinds, kinds), np.int64)
    with ExitStack() as stack:
        for _, counts in merged([stack.enter_context(mapped(path)) for path in paths], paths, block):
            rows += counts.sum(0)
            distinct += (counts > 0).sum(0)
            most = np.maximum(most, counts.max(0))
            for place in range(kinds):
                overlap[place] += np.minimum(counts, counts[:, place : place + 1]).sum(0)
    names = ("path", "rows", "distinct", "most")
    columns = (paths, rows.tolist(), distinct.tolist(), most.tolist())
    files = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return {"files": files, "overlap": overlap.tolist()}


def difference(paths: Sequence[str], block: int = BLOCK) -> dict[str, dict[str, int]]:
    """Of two files: rows and distinct uids of `both`, `only_first`, `only_second`; `changed` are the uids that both
    have, one more often than the other."""
    total = np.zeros((4, 2), np.int64)
    with ExitStack() as stack:
        for _, counts in merged([stack.enter_context(mapped(path)) for path in paths], paths, block):
            first, second = counts.T
            common, in_both = counts.min(1), (counts > 0).all(1)
            for place, (extra, chosen) in enumerate(
                [
                    (common, in_both),
                    (first - common, second == 0),
                    (second - common, first == 0),
                    (np.abs(first - second) * in_both, in_both & (first != second)),
                ]
            ):
                total[place] += extra.sum(), chosen.sum()
    names = ("both", "only_first", "only_second", "changed")
    return {n: {"rows": int(r), "distinct": int(d)} for n, (r, d) in zip(names, total, strict=True)}


# --- files ------------------------------------------------------------------------------------------


@contextmanager
def mapped(path: str) -> Iterator[np.ndarray]:
    """(n,) u8,u8 rows of a file, mapped; one on object storage is fetched first. Raises RecipeError."""
    source = Folder(path)
    with ExitStack() as stack:
        local = source.base
        if not source.exists("") or source.fs.isdir(source.base):
            raise RecipeError(f"{path}: no such file; must be a subset file (.npy)")
        if not source.local:
            local = f"{stack.enter_context(tempfile.TemporaryDirectory())}/subset.npy"
            source.fs.get_file(source.base, local)
        try:
            rows = np.lib.format.open_memmap(local, mode="r")
        except (ValueError, EOFError, OSError) as error:
            raise RecipeError(f"{path} must be a subset file (.npy): {error}") from None
        if rows.dtype != DTYPE or rows.ndim != 1:
            raise RecipeError(f"{path} must be a list of u8,u8, got {rows.dtype} {rows.shape}")
        yield rows


def _write(results: Iterator[tuple[np.ndarray, np.ndarray]], out: str) -> dict[str, Any]:
    """Publish the uids, each as often as it counts."""
    rows = distinct = 0
    with working_beside(out) as folder:
        with open(f"{folder}/subset", "wb") as file:
            write_header(file, 0)
            for uids, counts in results:
                file.write(np.repeat(uids, counts).data)
                rows, distinct = rows + int(counts.sum()), distinct + int((counts > 0).sum())
            file.seek(0)
            write_header(file, rows)
        Folder(out).publish_file(f"{folder}/subset", "")
    return {"path": out, "rows": rows, "distinct": distinct}


def _count(results: Iterator[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    sums = [(int(counts.sum()), int((counts > 0).sum())) for _, counts in results]
    rows, distinct = map(sum, zip(*sums, strict=True)) if sums else (0, 0)
    return {"path": None, "rows": rows, "distinct": distinct}


# --- merging ----------------------------------------------------------------------------------------


def merged(
    files: Sequence[np.ndarray], names: Sequence[str], block: int = BLOCK
) -> Iterator[tuple[np.ndarray, Counts]]:
    """(uids (u,) u8,u8, counts (u, k)) over ranges of uids, ascending. Raises RecipeError for rows out of order."""
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


def count_uids(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, Counts]:
    """(uids (u,), counts (u, k)) of k sorted lists."""
    rows, source = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = _order(rows)
    rows, source = rows[order], source[order]
    new = np.append(True, rows[1:] != rows[:-1])
    places = (np.cumsum(new) - 1) * len(parts) + source
    uids = rows[new]
    return uids, np.bincount(places, minlength=len(uids) * len(parts)).reshape(len(uids), len(parts))


def _order(rows: np.ndarray) -> np.ndarray:
    """The sorting permutation. The first halves alone are runs in order, which is fast; they hardly ever tie
    for two uids, and where they do all is sorted."""
    order: np.ndarray = np.argsort(rows["f0"], kind="stable")
    high, low = rows["f0"][order], rows["f1"][order]
    tied = (high[1:] == high[:-1]) & (low[1:] < low[:-1])
    if tied.any():
        order = np.lexsort((rows["f1"], rows["f0"]))
    return order


def _sort(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows[_order(rows)]
    return found
