"""Seals: every file of the store carries a checksum over all its bytes, inside the file itself.

    with sealed_parquet(path, schema) as writer:      # parquet: the note `seal` in the footer
        writer.write_table(table)
    publish(seal_json(orjson.dumps(value)))           # JSON: the last key, `seal`
    broken_file(path)                                 # None, or why the file is not as it was written

A seal is 32 hex digits of BLAKE3 over the file with UNSEALED in their place. So equal tables still make equal
bytes, and a file that was cut, flipped or written by somebody else is told by reading it once.
"""

import io
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.identity import Digest

SEAL = "seal"  # the name of the note, and of the key
UNSEALED = b"0" * 32
CHUNK = 1 << 20  # bytes that are read at a time
TAIL = 64 << 10  # bytes that are read of the end of a parquet file first: most footers fit
USUAL = {"compression": "zstd", "compression_level": 1}  # of parquet files
LOG = logging.getLogger("winnow.storage.damage")  # the command line always shows it

# The note as parquet's footer encodes it (thrift compact: two strings of 4 and 32 bytes), before the digits.
# Notes are JSON and hold no control characters, so the last occurrence in a footer is the seal.
_PARQUET = b"\x18\x04seal\x18\x20"
_JSON = re.compile(rb'"seal": ?"([0-9a-f]{32})"\s*\}\s*\Z')


class BrokenError(ValueError):
    """A file is not as it was written; the message says in a few words why."""


# --- parquet --------------------------------------------------------------------------------------


@contextmanager
def sealed_parquet(target: str | io.BytesIO, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """A writer of a parquet file, at a path or in memory, which is sealed if the block ends without an
    error. `options` go to pyarrow, in place of the usual ones."""
    with pq.ParquetWriter(target, schema, **{**USUAL, **options}) as writer:
        yield writer
        writer.add_key_value_metadata({SEAL: UNSEALED})
    if isinstance(target, io.BytesIO):
        _seal(target)
        return
    with open(target, "r+b") as file:
        _seal(file)


def verified_footer(file: BinaryIO) -> pq.FileMetaData:
    """The footer of a sealed parquet file, of which every byte is read. Raises BrokenError."""
    tail, place = _find_seal(file)
    noted = tail[-(file.seek(0, os.SEEK_END) - place) :][: len(UNSEALED)]
    if _digest(file, place) != noted:
        raise BrokenError("its bytes do not match its seal")
    return pq.read_metadata(pa.BufferReader(tail))


def unverified_footer(tail: bytes) -> pq.FileMetaData:
    """The footer of a parquet file of which only the end is at hand, the whole footer in it. Raises
    BrokenError if it is not parquet."""
    try:
        return pq.read_metadata(pa.BufferReader(tail))
    except pa.ArrowException as error:
        raise BrokenError(f"it is cut, or not parquet ({error})") from None


def broken(data: bytes, json: bool = False) -> str | None:
    """Why the bytes of a file of the store, parquet or JSON, are not as they were written, or None."""
    try:
        open_json(data) if json else verified_footer(io.BytesIO(data))
    except BrokenError as error:
        return str(error)
    return None


def broken_file(path: str) -> str | None:
    """As `broken` for a local file, which is JSON if its name ends so. Raises OSError."""
    with open(path, "rb") as file:
        if path.endswith(".json"):
            return broken(file.read(), json=True)
        try:
            verified_footer(file)
        except BrokenError as error:
            return str(error)
    return None


def _seal(file: BinaryIO) -> None:
    """Seal a finished parquet file that can be read and written."""
    _, place = _find_seal(file)
    digest = _digest(file, place)
    file.seek(place)
    file.write(digest)


def _find_seal(file: BinaryIO) -> tuple[bytes, int]:
    """The end of a parquet file with the whole footer in it, and where in the file the seal's digits are.
    Raises BrokenError if there is none."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise BrokenError("it is empty")
    file.seek(max(0, size - TAIL))
    tail = file.read()
    length = int.from_bytes(tail[-8:-4], "little") + 8  # the file ends with this length and "PAR1"
    if tail[-4:] != b"PAR1" or length > size:
        raise BrokenError("it is cut, or not parquet")
    if length > len(tail):
        file.seek(size - length)
        tail = file.read()
    place = tail.rfind(_PARQUET, len(tail) - length)
    if place < 0:
        raise BrokenError("it has no seal")
    return tail, size - len(tail) + place + len(_PARQUET)


def _digest(file: BinaryIO, place: int) -> bytes:
    """32 hex digits over a file with UNSEALED at a place. Raises BrokenError if it ends before."""
    digest = Digest()
    file.seek(0)
    left = place
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise BrokenError("it was cut while it was read")
        digest.update(chunk)
        left -= len(chunk)
    digest.update(UNSEALED)
    file.seek(place + len(UNSEALED))
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest().encode()


# --- JSON -----------------------------------------------------------------------------------------


def seal_json(data: bytes) -> bytes:
    """A JSON object, indented or not, with its seal as the last key."""
    body = data.rstrip()[:-1].rstrip()
    comma = b"" if body.endswith(b"{") else b","
    before, after = (b'\n  "seal": "', b'"\n}') if b"\n" in body else (b'"seal":"', b'"}')
    head = body + comma + before
    digest = Digest()
    digest.update(head + UNSEALED + after)
    return head + digest.hexdigest().encode() + after


def open_json(data: bytes) -> dict[str, Any]:
    """The object that `seal_json` sealed, without the seal. Raises BrokenError."""
    found = _JSON.search(data)
    if not found:
        raise BrokenError("it is cut, or not sealed JSON" if data else "it is empty")
    digest = Digest()
    digest.update(data[: found.start(1)] + UNSEALED + data[found.end(1) :])
    if digest.hexdigest().encode() != found[1]:
        raise BrokenError("its bytes do not match its seal")
    value: dict[str, Any] = orjson.loads(data)
    del value[SEAL]
    return value
