"""A FAISS file, read without trusting what it says.

    index = read_index("parts/00000.index", "out/index/parts/00000.index", dimension=512, rows=1_000_000)

FAISS allocates what a file's numbers ask for. So its head is compared with what the manifest says, FAISS may
allocate no more for one part of the file than the file has bytes, and lists are mapped, not copied: FAISS
then compares their sizes with the file. A file that passes may still hold wrong neighbours, but not ruin the
process.

Source of the layout: `read_index_header` in FAISS's index_read.cpp.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import RecipeError, shortened
from pipeline.export.indexes.faiss_build import visit

HEAD = struct.Struct("<4siqqq?i")  # kind, dimension, rows, two numbers of no meaning, trained, metric
INNER_PRODUCT = 0
KINDS = (b"Ix", b"Iw", b"IH", b"IN", b"Ib")  # what the kind of an index of vectors begins with
SPARE = 4096  # bytes: FAISS's bounds are exclusive


def read_index(path: str, shown: str, dimension: int, rows: int) -> Any:
    """FAISS's index of a local file, which messages call `shown`. Raises RecipeError if it is not an index of
    so many vectors of that dimension by inner product, or is cut."""
    import faiss

    size = os.path.getsize(path)
    _check_head(path, shown, dimension, rows)
    try:
        with _at_most(size + SPARE):
            index = faiss.read_index(path, faiss.IO_FLAG_MMAP)
    except (RuntimeError, MemoryError) as error:
        reason = shortened(str(error).rpartition("Error: ")[2])
        raise RecipeError(f"{shown} was cut, or is not what its head says ({reason})") from None
    if (index.d, index.ntotal) != (dimension, rows) or not index.is_trained:
        raise RecipeError(f"{shown} is not what its head says")
    return index


def set_probes(index: Any, probes: int, shown: str) -> None:
    """How many lists a query visits. Raises RecipeError for an index without lists."""
    lists = lists_of(index)
    if lists is None:
        raise RecipeError(f"--probes: {shown} has no lists, and every query compares all of its vectors")
    visit(lists, probes)


def lists_of(index: Any) -> Any:
    """The inverted lists of an index, behind its transforms; None if it has none."""
    import faiss

    return faiss.try_extract_index_ivf(index)


def _check_head(path: str, shown: str, dimension: int, rows: int) -> None:
    """Compare the head of a file with what the manifest says. Raises RecipeError."""
    with open(path, "rb") as file:
        head = file.read(HEAD.size)
    if not head.startswith(KINDS):
        raise RecipeError(f"{shown} is not a FAISS index: it begins with {head[:4]!r}")
    if len(head) < HEAD.size:
        raise RecipeError(f"{shown} ends inside its head: it has {len(head)} bytes")
    _, has, count, _, _, _, metric = HEAD.unpack(head)
    for what, found, wanted in (("dimension", has, dimension), ("rows", count, rows)):
        if found != wanted:
            raise RecipeError(
                f"{shown} is a foreign index: it has {what} {found:,}, and the manifest says {wanted:,}"
            )
    if metric != INNER_PRODUCT:
        raise RecipeError(f"{shown} is a foreign index: it is not by inner product (metric {metric})")


@contextmanager
def _at_most(size: int) -> Iterator[None]:
    """Within the block, FAISS allocates at most `size` bytes for one vector of a file."""
    import faiss

    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    faiss.set_deserialization_vector_byte_limit(size)
    faiss.set_deserialization_loop_limit(size)
    try:
        yield
    finally:
        faiss.set_deserialization_vector_byte_limit(before[0])
        faiss.set_deserialization_loop_limit(before[1])
