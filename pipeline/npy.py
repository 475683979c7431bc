"""The header of an .npy array, read without trusting it: what it says is compared with the bytes that are
there before anything is allocated.

    with open("a.npy", "rb") as file:
        header = read_header(file, "a.npy")      # Header(dtype, shape, by_column, offset)

numpy's own reader evaluates the header as Python, which nested brackets turn into errors of the interpreter.
Here a pattern takes it apart. Object arrays (pickles) are refused.

`open_member` does the same for an array inside an .npz, which is a zip: its size is compared with the packed
bytes, and a member that is encrypted, or packed as numpy never does, is refused.

Format: NEP 1; numpy.lib.format, versions 1.0 to 3.0.
"""

import math
import re
import zipfile
from collections.abc import Callable
from typing import IO, NamedTuple, Protocol

import numpy as np

PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1  # the flag of a zip's member
MAGIC = b"\x93NUMPY"
LONGEST = 10_000  # bytes of a header, as in numpy; real ones have 118
MOST_DIMENSIONS = 32
SIZES = {1: 2, 2: 4, 3: 4}  # bytes that give the header's length, by major version
SIMPLE = r"['\"][<>|=]?[a-zA-Z?]\d{0,5}(?:\[\w+\])?['\"]"
RECORD = rf"\[(?:\s*\(\s*['\"]\w+['\"]\s*,\s*{SIMPLE}\s*\)\s*,?)+\s*\]"
ENTRIES = {
    "descr": rf"(?P<descr>{SIMPLE}|{RECORD})",
    "fortran_order": r"(?P<fortran_order>True|False)",
    "shape": r"\((?P<shape>[\d,\sL]*)\)",
}
ENTRY = re.compile("|".join(rf"['\"]{key}['\"]\s*:\s*{value}" for key, value in ENTRIES.items()))
FIELD = re.compile(rf"\(\s*['\"](\w+)['\"]\s*,\s*({SIMPLE})\s*\)")
NUMBER = re.compile(r"[<>|=]?[?biufc](\d{0,2})")


class Readable(Protocol):
    """A file that is read forwards."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; none at the end of the file."""


class Header(NamedTuple):
    """What the header says, and the byte at which the array itself begins."""

    dtype: np.dtype
    shape: tuple[int, ...]
    by_column: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def kind(self) -> str:
        """`float32 (10, 768)`, for messages."""
        return f"{self.dtype} {self.shape}{' by column' if self.by_column else ''}"


class Member(NamedTuple):
    """An array inside an .npz: its header, and the file from the array's first byte on."""

    header: Header
    file: IO[bytes]


def read_header(file: Readable, where: str) -> Header:
    """The header at the beginning of a file. Raises ValueError, with `where` in its message."""
    start = file.read(len(MAGIC) + 2)
    if start[: len(MAGIC)] != MAGIC or len(start) < len(MAGIC) + 2:
        raise ValueError(f"{where} is not an .npy file: it begins with {start[: len(MAGIC)]!r}")
    if (width := SIZES.get(start[len(MAGIC)])) is None:
        raise ValueError(f"{where} is .npy of version {start[len(MAGIC)]}, must be 1, 2 or 3")
    size = int.from_bytes(file.read(width), "little")
    if size > LONGEST:
        raise ValueError(f"{where} has a header of {size:,} bytes, must have at most {LONGEST:,}")
    if len(raw := file.read(size)) < size:
        raise ValueError(f"{where} ends inside its header")
    return Header(*_parsed(raw.decode("utf-8", "replace"), where), len(start) + width + size)


def check_size(header: Header, size: int, where: str) -> None:
    """Raises ValueError if a file of `size` bytes ends before its array does."""
    if header.offset + header.nbytes > size:
        raise ValueError(
            f"{where} says {header.kind}, which is {header.nbytes:,} bytes, and holds "
            f"{max(0, size - header.offset):,}: it was cut, or its header is wrong"
        )


def open_member(archive: zipfile.ZipFile, name: str, where: str, most: Callable[[int], int]) -> Member:
    """An array of an .npz, open behind its header. `most`: to how many bytes so many packed bytes may unpack.
    Raises ValueError, and what zipfile raises for a broken archive."""
    info = archive.getinfo(name)
    if info.header_offset < 0:
        raise ValueError(f"{where} begins before the file, which has lost its first bytes")
    if info.flag_bits & ENCRYPTED:
        raise ValueError(f"{where} is encrypted, must not be")
    if info.compress_type not in PACKINGS:
        raise ValueError(f"{where} is packed by method {info.compress_type}, must be stored or deflated")
    if info.file_size > most(info.compress_size):
        raise ValueError(
            f"{where} says that {info.compress_size:,} bytes unpack to {info.file_size:,}, must be at most "
            f"{most(info.compress_size):,} (limits.unpacked_bytes, limits.unpacked_ratio)"
        )
    file = archive.open(info)
    header = read_header(file, where)
    check_size(header, info.file_size, where)
    return Member(header, file)


def _parsed(text: str, where: str) -> tuple[np.dtype, tuple[int, ...], bool]:
    """(dtype, shape, by column) of the text of a header."""
    entries = list(ENTRY.finditer(text))
    rest = ENTRY.sub("", text)
    found = {key: value for entry in entries for key, value in entry.groupdict().items() if value is not None}
    if (
        len(entries) != len(ENTRIES)
        or found.keys() != ENTRIES.keys()
        or re.fullmatch(r"\s*\{[\s,]*\}\s*", rest) is None
    ):
        raise ValueError(f"{where} has a header that cannot be read: {text.strip()[:80]!r}")
    sizes = [part.strip().removesuffix("L") for part in found["shape"].split(",") if part.strip()]
    if len(sizes) > MOST_DIMENSIONS or not all(part.isdecimal() and len(part) < 20 for part in sizes):
        raise ValueError(f"{where} has a shape that cannot be read: ({found['shape'][:80]})")
    return _dtype(found["descr"], where), tuple(map(int, sizes)), found["fortran_order"] == "True"


def _dtype(descr: str, where: str) -> np.dtype:
    """A dtype of numbers, or of records of them. Raises ValueError for any other."""
    fields = FIELD.findall(descr) if descr.startswith("[") else [("", descr)]
    names = [name for name, _ in fields]
    kinds = [kind[1:-1] for _, kind in fields]
    if wrong := [kind for kind in kinds if NUMBER.fullmatch(kind) is None]:
        why = "Python objects (a pickle)" if "O" in wrong[0] else f"dtype {wrong[0]}"
        raise ValueError(f"{where} holds {why}, must hold numbers")
    try:
        parts = [np.dtype(kind) for kind in kinds]
        return np.dtype(list(zip(names, parts, strict=True))) if names[0] else parts[0]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} has a dtype that cannot be read: {error}") from None
