"""The file of a FAISS index, written while the index grows: memory does not depend on the number of rows.

    with growing(index, path) as add_vectors:       # index: created and trained, without rows
        add_vectors(vectors)                        # (n, d) float32, any number of times
    faiss.read_index(path)

FAISS builds an index in memory and then writes it: 6.7 GB for 12.8 million rows of 512 bytes. But rows are at
the end of the file, so they can be written piece by piece. Rows of a Flat index are written as they come.
Inverted lists are collected in blocks of `BLOCK` bytes on disk, which are joined list by list at the end.
That works for Flat and for IVF with whole vectors, scalar or product codes, with transforms or without. Other
kinds (HNSW, fast-scan codes) are built in memory.

    join(index, {"0.index": 10, "1.index": 7}, file.write)      # of one index, filled in parts
    emptied("0.index", shape, 10)                               # the index without its rows

Source of the layout: `write_index` and `write_InvertedLists` in FAISS's index_write.cpp.
"""

import mmap
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import numpy as np

from pipeline.export.indexes import faiss_build
from pipeline.plan.index_choice import FLOAT_BYTES, ID_BYTES, Shape

BLOCK = 256 << 20  # bytes of codes and ids held in memory
FLAT_HEAD = 37  # bytes of a Flat index before its rows and the count of their numbers
ROWS_AT = 8  # where the number of rows stands in the head of an index
NO_ROWS = struct.pack("<Q", 0)  # the end of a Flat index without rows
LISTS_HEAD = 20  # bytes of inverted lists before their sizes: a name, the number of lists, bytes of a code
NO_LISTS = b"sprs" + NO_ROWS  # the end of inverted lists without rows

AddVectors = Callable[[np.ndarray], None]


@contextmanager
def growing(index: Any, path: str) -> Iterator[AddVectors]:
    """Write `index` to the local file `path`; gives a function that adds (n, d) float32 vectors. Until the
    end, blocks lie beside the file, under names that begin with its name."""
    import faiss

    inner = faiss_build.inner(index)
    if isinstance(inner, faiss.IndexFlat):
        yield from _grow_flat(index, path)
    elif type(inner) in faiss_build.growable_lists():
        yield from _grow_lists(index, inner, path)
    else:
        yield faiss_build.adder(index)
        faiss.write_index(index, path)


def _head(index: Any, end: bytes) -> bytes:
    """The file of an index that counts `index.ntotal` rows but holds none, up to `end`, where the rows
    begin."""
    import faiss

    data: bytes = faiss.serialize_index(index).tobytes()
    assert data.endswith(end), "this version of FAISS writes its indexes in another way"
    return data[: -len(end)]


def _grow_flat(index: Any, path: str) -> Iterator[AddVectors]:
    """The number of rows stands at the front of the file and is known last, so the front is written twice."""
    inner = faiss_build.inner(index)
    chain = faiss_build.transforms(index)
    with open(path, "wb") as file:
        file.write(_head(index, NO_ROWS) + NO_ROWS)

        def add_vectors(vectors: np.ndarray) -> None:
            vectors = faiss_build.transformed(chain, vectors)
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            index.ntotal = inner.ntotal = inner.ntotal + len(vectors)

        yield add_vectors
        file.seek(0)
        file.write(_head(index, NO_ROWS) + struct.pack("<Q", inner.ntotal * inner.d))


def _grow_lists(index: Any, inner: Any, path: str) -> Iterator[AddVectors]:
    """Inverted lists are written to a block whenever they have grown to its size."""
    add_to_lists = faiss_build.adder(index)
    row_bytes = inner.code_size + ID_BYTES
    blocks = list[str]()

    def write_block() -> None:
        blocks.append(f"{path}.{len(blocks)}")
        _write_lists(inner.invlists, blocks[-1])
        inner.invlists.reset()  # empties the lists; the index still counts their rows

    def add_vectors(vectors: np.ndarray) -> None:
        add_to_lists(vectors)
        if inner.invlists.compute_ntotal() * row_bytes >= BLOCK:
            write_block()

    try:
        yield add_vectors
        write_block()
        with open(path, "wb") as file:
            file.write(_head(index, NO_LISTS))
            for data in _joined([_Block(block, inner.code_size) for block in blocks]):
                file.write(data)
    finally:
        for block in blocks:
            os.unlink(block)


def _write_lists(lists: Any, path: str) -> None:
    """Write inverted lists to a file of their own."""
    import faiss

    writer = faiss.FileIOWriter(path)
    faiss.write_InvertedLists(lists, writer)
    del writer  # closes the file


class _Block:
    """Inverted lists in a file, from byte `start` on: `sizes` is the number of rows in each list; codes and
    ids are views of the file. `first` is added to each id."""

    def __init__(self, path: str, code_size: int, start: int = 0, first: int = 0) -> None:
        self.view = map_file(path)[start:]
        self.code_size = code_size
        self.first = first
        _, lists, _, kind, count = struct.unpack_from("<4sQQ4sQ", self.view)
        numbers = np.frombuffer(self.view, "<u8", count, offset=32).astype(np.int64)
        self.sizes = numbers if kind == b"full" else np.zeros(lists, np.int64)
        if kind == b"sprs":  # pairs: a list's number, its rows
            self.sizes[numbers[::2]] = numbers[1::2]
        ends = 32 + 8 * count + np.cumsum(self.sizes) * (code_size + ID_BYTES)
        self.starts = ends - self.sizes * (code_size + ID_BYTES)

    def codes(self, number: int) -> memoryview:
        """The codes of a list's rows."""
        start = self.starts[number]
        return self.view[start : start + self.sizes[number] * self.code_size]

    def ids(self, number: int) -> bytes | memoryview:
        """The ids of a list's rows."""
        start = self.starts[number] + self.sizes[number] * self.code_size
        view = self.view[start : start + self.sizes[number] * ID_BYTES]
        return (np.frombuffer(view, "<i8") + self.first).tobytes() if self.first and len(view) else view


def _joined(blocks: Sequence[_Block]) -> Iterator[bytes | memoryview]:
    """The bytes of all blocks as one: the sizes; then for each list its codes, in the order of adding, and
    its ids."""
    sizes = np.sum([block.sizes for block in blocks], axis=0)
    yield b"full" + struct.pack("<Q", len(sizes)) + sizes.astype("<u8").tobytes()
    for number in np.flatnonzero(sizes).tolist():
        yield from (block.codes(number) for block in blocks)
        yield from (block.ids(number) for block in blocks)


# --- parts of an index ----------------------------------------------------------------------------


def join(index: Any, parts: Mapping[str, int], write: Callable[[bytes | memoryview], object]) -> None:
    """Write the file of an index whose rows lie in other files: the same bytes as if they had been added to
    `index`, one part after the other. `index`: trained, without rows, as all parts were; `parts`: path ->
    rows, in order. Memory holds the head of the index alone. For Flat and the lists of `growable_lists`."""
    import faiss

    inner = faiss_build.inner(index)
    index.ntotal = inner.ntotal = sum(parts.values())
    if isinstance(inner, faiss.IndexFlat):
        head = _head(index, NO_ROWS)
        write(head + struct.pack("<Q", inner.ntotal * inner.d))
        for path in parts:
            write(map_file(path)[len(head) + len(NO_ROWS) :])
        return
    head = _head(index, NO_LISTS)
    write(head)
    firsts = [0, *accumulate(parts.values())]
    blocks = [
        _Block(path, inner.code_size, len(head) - LISTS_HEAD, firsts[i]) for i, path in enumerate(parts)
    ]
    for data in _joined(blocks):
        write(data)


def emptied(path: str, shape: Shape, rows: int) -> Any:
    """The index of a file without its rows, which are not read: what `join` wants beside the parts. For Flat
    and the lists of `growable_lists`."""
    import faiss

    if not shape.lists:
        data = map_file(path)
        head = bytearray(data[: len(data) - rows * shape.width * FLOAT_BYTES - len(NO_ROWS)])
        for start in (0, len(head) - FLAT_HEAD):  # of the index, and of the one behind transforms
            struct.pack_into("<q", head, start + ROWS_AT, 0)
        return faiss.deserialize_index(np.frombuffer(bytes(head) + NO_ROWS, np.uint8))
    index = faiss.read_index(path, faiss.IO_FLAG_MMAP)
    inner = faiss_build.inner(index)
    lists: Any = faiss.ArrayInvertedLists(inner.nlist, inner.code_size)
    inner.replace_invlists(lists, True)
    lists.this.disown()  # the index owns them now
    index.ntotal = inner.ntotal = 0
    return index


def map_file(path: str) -> memoryview:
    """A whole local file as a view. It stays mapped for as long as any part of the view is referenced."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
