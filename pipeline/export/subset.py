"""`export.subset`: DataComp's subset file, a .npy file of the kept samples' sorted uids, 16 bytes each.

    write_subset(session)          -> export.subset, from the decision
    read_subset("out/subset.npy")  -> (n,) array of dtype u8,u8

    out/subset.npy.winnow.json     the note by which Winnow knows the file as its own (places/file.py)

The file is a multiset: it holds a uid once per sample of the pool that has it, and with `export.repeats` as
often as that column says.

Memory does not grow with the number of rows: rows too many to sort at once are distributed to 256 files by
their next eight bits, and each file is sorted by itself (a radix sort on disk, most significant byte first).
Disk space is needed for two copies of the result.

Source: DataComp (arXiv 2304.14108), "Subset file format" in its README; its resharder looks uids up by binary
search, so rows are sorted by (f0, f1).
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import polars as pl

from pipeline.errors import RecipeError
from pipeline.export.exporter import Watch
from pipeline.export.kept import written_counts, written_uids
from pipeline.export.places.file import check_file, is_current, writing_file
from pipeline.export.places.inputs import Inputs, operators_of
from pipeline.npy import Header, check_size, read_header
from pipeline.plan.session import Session
from pipeline.run.executor import Executor
from pipeline.storage.folder import Folder
from pipeline.uids import uid_halves

KEY = "export.subset"
DTYPE = np.dtype("u8,u8")
AT_ONCE = 1 << 22  # rows sorted in memory: 64 MiB, and as much again for the order
DIGIT_BITS = 8  # bits of a uid by which one round distributes rows
UID_BITS = 128


@dataclass(frozen=True)
class SubsetResult:
    """The file, and its rows: a uid counts as often as the file holds it."""

    path: str
    rows: int


class SubsetExporter:
    """See exporter.Exporter."""

    name = "subset"

    def check(self, session: Session) -> None:
        """See exporter.Exporter."""
        if (path := session.recipe.export.subset) is not None:
            check_file(path, KEY)

    def write(self, session: Session, executor: Executor, watch: Watch) -> SubsetResult:
        """See exporter.Exporter."""
        return write_subset(session)


def write_subset(
    session: Session, at_once: int = AT_ONCE, path: str | None = None, key: str = KEY
) -> SubsetResult:
    """Write the kept uids to `path`, by default `export.subset`; `key` is the flag that names another one.
    Raises RecipeError if there is no decision yet, or if Winnow did not write the file that is there."""
    path = path or session.recipe.export.subset
    if path is None:
        raise RecipeError(f"{KEY} is missing: name the .npy file to write")
    counts = written_counts(session)
    repeats = session.recipe.export.repeats
    inputs = Inputs(session, operators_of(session, [repeats]))
    total = sum(counts.values())
    about = {"export": "subset", **inputs.manifest, "repeats": repeats, "uids": total}
    if not is_current(path, key, about):
        uids = written_uids(session, [shard for shard, count in counts.items() if count])
        with writing_file(path, key, about) as new:
            _write(new, uids, total, at_once)
            inputs.verify(key)
    return SubsetResult(path, total)


def write_uids(path: str, key: str, uids: pl.Series) -> SubsetResult:
    """Write some uids to `path`, which the flag `key` names. Raises RecipeError if Winnow did not write the
    file that is there."""
    with writing_file(path, key, {"export": "subset", "uids": len(uids)}) as new:
        _write(new, [uids], len(uids), AT_ONCE)
    return SubsetResult(path, len(uids))


def _write(path: str, uids: Iterable[pl.Series], total: int, at_once: int) -> None:
    """Write a local file."""
    with open(path, "wb") as file:
        write_header(file, total)
        for rows in _sorted(map(_halves, uids), at_once, os.path.dirname(path)):
            file.write(rows.data)


def read_subset(path: str) -> np.ndarray:
    """(n,) array of dtype u8,u8: the upper and lower 64 bits of each uid. Raises RecipeError."""
    with Folder(path).fs.open(Folder(path).base, "rb") as file:
        rows = check_header(file, path).shape[0]
        data = file.read(rows * DTYPE.itemsize)
    return np.frombuffer(data, DTYPE)


def check_header(file: BinaryIO, path: str) -> Header:
    """The header of an open subset file; the file then stands before its first row. Raises RecipeError if it
    is none, or is cut."""
    try:
        header = read_header(file, path)
        check_size(header, file.seek(0, os.SEEK_END), path)
        file.seek(header.offset)
    except ValueError as error:
        raise RecipeError(f"{error}; must be a subset file (.npy)") from None
    if header.dtype != DTYPE or len(header.shape) != 1:
        raise RecipeError(f"{path} must be a list of u8,u8, got {header.kind}")
    return header


def subset_uids(subset: np.ndarray) -> list[str]:
    """The 32 hex digits of each row."""
    return [f"{high:016x}{low:016x}" for high, low in subset.tolist()]


def write_header(file: BinaryIO, rows: int) -> None:
    """The header that numpy.save writes: 128 bytes for any number of rows."""
    descr = np.lib.format.dtype_to_descr(DTYPE)
    header = {"descr": descr, "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(file, header)


# --- sorting --------------------------------------------------------------------------------------


def _halves(uids: pl.Series) -> np.ndarray:
    """(n,) rows of the file, in the order of the uids."""
    rows = np.empty(len(uids), DTYPE)
    rows["f0"], rows["f1"] = uid_halves(uids)
    return rows


def _sorted(
    chunks: Iterable[np.ndarray], at_once: int, folder: str, settled: int = 0
) -> Iterator[np.ndarray]:
    """The rows of all chunks, sorted, in chunks again. The first `settled` bits are equal in all rows."""
    if settled == UID_BITS:  # all rows are equal, so they are in order
        yield from chunks
        return
    waiting = list[np.ndarray]()
    count = 0
    digits: set[int] = set()  # that have a file
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk)
        if count > at_once:
            digits |= _distribute(waiting, folder, settled)
            waiting, count = [], 0
    if digits:
        digits |= _distribute(waiting, folder, settled)
        yield from _sorted_files(sorted(digits), at_once, folder, settled)
    elif waiting:
        yield _sort(waiting)


def _sorted_files(digits: list[int], at_once: int, folder: str, settled: int) -> Iterator[np.ndarray]:
    """The rows of each digit's file, sorted, file after file; removes the files."""
    for digit in digits:
        name = _digit_file(folder, settled, digit)
        yield from _sorted(_read_chunks(name, at_once), at_once, folder, settled + DIGIT_BITS)
        os.unlink(name)


def _sort(chunks: list[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(chunks)
    rows = rows[np.argsort(np.ascontiguousarray(rows["f0"]))]
    if (rows["f0"][1:] != rows["f0"][:-1]).all():  # nearly always so, and four times as fast as lexsort
        return rows
    return rows[np.lexsort((rows["f1"], rows["f0"]))]


def _distribute(chunks: list[np.ndarray], folder: str, settled: int) -> set[int]:
    """Append rows to one file per value of the next eight bits; returns the values that occur."""
    rows = np.concatenate([np.empty(0, DTYPE), *chunks])
    half, shift = ("f0", 56 - settled) if settled < 64 else ("f1", 120 - settled)
    digits = ((rows[half] >> np.uint64(shift)) & np.uint64(255)).astype(np.uint8)
    rows = rows[np.argsort(digits, kind="stable")]
    ends = np.cumsum(np.bincount(digits, minlength=256))
    occurring = set(np.unique(digits).tolist())
    for digit in occurring:
        with open(_digit_file(folder, settled, digit), "ab") as file:
            file.write(rows[ends[digit - 1] if digit else 0 : ends[digit]].data)
    return occurring


def _digit_file(folder: str, settled: int, digit: int) -> str:
    return os.path.join(folder, f"{settled:03d}-{digit:03d}")


def _read_chunks(name: str, rows: int) -> Iterator[np.ndarray]:
    """A file's rows, so many at a time."""
    with open(name, "rb") as file:
        while len(chunk := np.fromfile(file, DTYPE, rows)):
            yield chunk
