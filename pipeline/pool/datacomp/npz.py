"""Rows of an .npz file's arrays, front to back, without loading an array as a whole.

    with open_npz("00000000.npz") as arrays:
        vectors = arrays.array("l14_img").take(8192)

An .npz is a zip of .npy members, stored or deflated. Both are read as a stream, so only the rows that are
asked for are held. Nothing is unpickled: only plain floats are read.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import numpy as np

from pipeline.bounds import USUAL, Bounds
from pipeline.errors import ShardError
from pipeline.npy import Member, open_member

SIZES = (2, 4, 8)  # bytes of a float


@contextmanager
def open_npz(path: str, bounds: Bounds = USUAL) -> Iterator["Npz"]:
    """An open .npz. Raises ShardError, inside the block too, if the file is not a whole .npz, and OSError."""
    with fsspec.open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield Npz(path, archive, bounds)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            text = str(error)
            at = "" if text.startswith(path) else f"{path} is not a whole .npz: "
            raise ShardError(f"{at}{text}") from None


class Npz:
    """The arrays of an open .npz."""

    def __init__(self, path: str, archive: zipfile.ZipFile, bounds: Bounds = USUAL) -> None:
        self.path, self.archive, self.bounds = path, archive, bounds

    @property
    def names(self) -> list[str]:
        """The names of the arrays."""
        return [name.removesuffix(".npy") for name in self.archive.namelist() if name.endswith(".npy")]

    def checksums(self) -> bytes:
        """Name, size and CRC-32 of each array, which the zip's directory holds: nothing else is read."""
        entries = sorted((i.filename, i.file_size, i.CRC) for i in self.archive.infolist())
        return repr(entries).encode()

    def array(self, name: str) -> "Rows":
        """An array, from its first row on. Raises ShardError."""
        if name not in self.names:
            listed = ", ".join(self.names[:20]) or "none"
            raise ShardError(f"{self.path} has no array {name}; there are: {listed}")
        where = f"{self.path}: {name}"
        member = open_member(self.archive, f"{name}.npy", where, self.bounds.most_unpacked)
        return Rows(where, member, self.bounds.array_width)


class Rows:
    """A two-dimensional array of floats, read a few rows at a time."""

    def __init__(self, where: str, member: Member, widest: int = USUAL.array_width) -> None:
        header, self.file = member
        self.where, self.dtype = where, header.dtype
        is_float = self.dtype.kind == "f" and self.dtype.itemsize in SIZES
        if len(header.shape) != 2 or header.by_column or not is_float:
            raise ShardError(f"{where} must be rows of floats, got {header.kind}")
        self.rows, self.width = header.shape
        if not 1 <= self.width <= widest:
            raise ShardError(
                f"{where} must have 1 to {widest:,} numbers in a row, got {header.kind} (limits.array_width)"
            )

    def take(self, rows: int) -> np.ndarray[Any, Any]:
        """The next rows, (rows, width). Raises ShardError if the array ends before."""
        size = rows * self.width * self.dtype.itemsize
        if len(data := self.file.read(size)) < size:
            raise ShardError(f"{self.where} ends before its {self.rows} rows do")
        array: np.ndarray[Any, Any] = np.frombuffer(data, self.dtype).reshape(rows, self.width)
        return array
