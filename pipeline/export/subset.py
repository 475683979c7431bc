"""DataComp's subset file: the uids of the kept samples, sorted, as 16-byte rows of a .npy file.

    write_subset(session)          -> export.subset, from the decisions
    read_subset("out/subset.npy")  -> (n,) array of dtype u8,u8

Memory stays flat in the pool's size: rows too many to sort at once are dealt out to files by their
next eight bits, and each file is sorted by itself (a radix sort on disk, most significant byte
first). It needs disk space for two copies of the result.

Source: DataComp (arXiv 2304.14108), "Subset file format" in its README; its resharder looks uids up
by binary search, hence sorted by (f0, f1). A file is a multiset: a uid is written once for each time that
the pool holds it and, with `export.repeats`, that the column there says.

What all exports share is here too: what is kept, and files that appear whole or not at all.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from pipeline.errors import RecipeError
from pipeline.export.kept import written_counts, written_uids
from pipeline.plan.session import Session
from pipeline.storage.folder import Folder, working_beside
from pipeline.uids import uid_halves

DTYPE = np.dtype("u8,u8")
AT_ONCE = 1 << 22  # rows sorted in memory: 64 MiB, and as much again for the order
DIGIT, UID = 8, 128  # bits that one round of dealing settles, of the bits a uid has


def write_subset(session: Session, at_once: int = AT_ONCE, path: str | None = None) -> dict[str, Any]:
    """Write the kept uids to `path`, by default `export.subset`; returns path and rows. Raises RecipeError
    before any decision."""
    path = path or session.recipe.export.subset
    if path is None:
        raise RecipeError("export.subset is missing: name the .npy file to write")
    counts = written_counts(session)
    rows = map(_halves, written_uids(session, [shard for shard, count in counts.items() if count]))
    with working_beside(path) as folder:
        with open(f"{folder}/subset", "wb") as file:
            write_header(file, sum(counts.values()))
            for part in _sorted(rows, at_once, folder):
                file.write(part.data)
        Folder(path).publish_file(f"{folder}/subset", "")
    return {"path": path, "rows": sum(counts.values())}


def read_subset(path: str) -> np.ndarray:
    """(n,) array of dtype u8,u8: the upper and lower 64 bits of each uid. Raises RecipeError."""
    with Folder(path).fs.open(Folder(path).base, "rb") as file:
        found: np.ndarray = np.load(file, allow_pickle=False)
    if found.dtype != DTYPE or found.ndim != 1:
        raise RecipeError(f"{path} must be a list of u8,u8, got {found.dtype} {found.shape}")
    return found


def subset_uids(subset: np.ndarray) -> list[str]:
    """The 32 hex digits of each row."""
    return [f"{high:016x}{low:016x}" for high, low in subset.tolist()]


# --- what is kept ---------------------------------------------------------------------------------


# --- sorting --------------------------------------------------------------------------------------


def write_header(file: BinaryIO, rows: int) -> None:
    """What numpy.save writes first: 128 bytes, whatever the number of rows."""
    descr = np.lib.format.dtype_to_descr(DTYPE)
    header = {"descr": descr, "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(file, header)


def _halves(uids: pl.Series) -> np.ndarray:
    rows = np.empty(len(uids), DTYPE)
    rows["f0"], rows["f1"] = uid_halves(uids)
    return rows


def _sorted(parts: Iterable[np.ndarray], at_once: int, folder: str, settled: int = 0) -> Iterator[np.ndarray]:
    """The rows of all parts, sorted, in chunks. `settled` leading bits are equal in all of them."""
    held, count = list[np.ndarray](), 0
    dealt: set[int] = set()
    for part in parts:
        if settled == UID:  # all equal: in order as they come
            yield part
            continue
        held.append(part)
        count += len(part)
        if count > at_once:
            dealt |= _deal(held, folder, settled)
            held, count = [], 0
    if dealt:
        dealt |= _deal(held, folder, settled)
        yield from _dealt(sorted(dealt), at_once, folder, settled)
    elif held:
        yield _sort(held)


def _dealt(digits: list[int], at_once: int, folder: str, settled: int) -> Iterator[np.ndarray]:
    for digit in digits:
        name = _name(folder, settled, digit)
        yield from _sorted(_chunks(name, at_once), at_once, folder, settled + DIGIT)
        os.unlink(name)


def _sort(parts: list[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(parts)
    rows = rows[np.argsort(np.ascontiguousarray(rows["f0"]))]
    if (rows["f0"][1:] != rows["f0"][:-1]).all():  # as good as always, and four times as fast
        return rows
    return rows[np.lexsort((rows["f1"], rows["f0"]))]


def _deal(parts: list[np.ndarray], folder: str, settled: int) -> set[int]:
    """Append rows to one file per value of the next eight bits; returns the values that occur."""
    rows = np.concatenate([np.empty(0, DTYPE), *parts])
    half, shift = ("f0", 56 - settled) if settled < 64 else ("f1", 120 - settled)
    digits = ((rows[half] >> np.uint64(shift)) & np.uint64(255)).astype(np.uint8)
    rows = rows[np.argsort(digits, kind="stable")]
    ends = np.cumsum(np.bincount(digits, minlength=256))
    found = set(np.unique(digits).tolist())
    for digit in found:
        with open(_name(folder, settled, digit), "ab") as file:
            file.write(rows[ends[digit - 1] if digit else 0 : ends[digit]].data)
    return found


def _name(folder: str, settled: int, digit: int) -> str:
    return os.path.join(folder, f"{settled:03d}-{digit:03d}")


def _chunks(name: str, rows: int) -> Iterator[np.ndarray]:
    with open(name, "rb") as file:
        while len(chunk := np.fromfile(file, DTYPE, rows)):
            yield chunk


# --- files that appear whole or not at all --------------------------------------------------------
