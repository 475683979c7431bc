"""Rows of an .npz file's arrays, front to back, without loading an array as a whole.

    with open_npz("00000000.npz") as arrays:
        vectors = arrays.array("l14_img").take(8192)

An .npz is a zip of .npy members, stored or deflated. Both are read as a stream, so only the rows that are
asked for are held. Nothing is unpickled: only plain floats are read.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import fsspec
import numpy as np

from pipeline.errors import ShardError

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@contextmanager
def open_npz(path: str) -> Iterator["Npz"]:
    """An open .npz. Raises ShardError, inside the block too, if the file is not a whole .npz, and OSError."""
    with fsspec.open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield Npz(path, archive)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise ShardError(f"{path} is not a whole .npz: {error}") from None


class Npz:
    """The arrays of an open .npz."""

    def __init__(self, path: str, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive

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
            raise ShardError(f"{self.path} has no array {name}; there are: {', '.join(self.names) or 'none'}")
        return Rows(f"{self.path}: {name}", self.archive.open(f"{name}.npy"))


class Rows:
    """A two-dimensional array of floats, read a few rows at a time."""

    def __init__(self, where: str, file: IO[bytes]) -> None:
        self.where, self.file = where, file
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ShardError(f"{where} is .npy of version {version}, must be 1.0 or 2.0")
        shape, by_column, self.dtype = _HEADERS[version](file)
        if len(shape) != 2 or by_column or self.dtype.kind != "f":
            order = " by column" if by_column else ""
            raise ShardError(f"{where} must be rows of floats, got {self.dtype} {shape}{order}")
        self.rows, self.width = shape

    def take(self, rows: int) -> np.ndarray[Any, Any]:
        """The next rows, (rows, width). Raises ShardError if the array ends before."""
        size = rows * self.width * self.dtype.itemsize
        if len(data := self.file.read(size)) < size:
            raise ShardError(f"{self.where} ends before its {self.rows} rows do")
        array: np.ndarray[Any, Any] = np.frombuffer(data, self.dtype).reshape(rows, self.width)
        return array
