"""A FAISS index that is written while it grows: memory does not depend on the number of rows.

    with growing(index, path) as add:       # index: created and trained, without rows
        add(vectors)                        # (n, d) float32, any number of times
    faiss.read_index(path)

FAISS builds an index in memory and writes it then: 6.7 GB for 12.8 million rows of 512 bytes. But rows
are the end of its file, so they can be put there piece by piece: those of a Flat index as they come,
inverted lists by way of blocks of `BLOCK` bytes on disk, joined list by list. That holds for Flat and
for IVF with whole vectors, scalar or product codes, behind transforms or not; others (HNSW, fast-scan
codes) are built in memory. Layout: `write_index` and `write_InvertedLists` in FAISS's index_write.cpp.
"""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.export import faiss_build
from pipeline.storage.ranges import map_file

BLOCK = 256 << 20  # bytes of codes and ids held in memory
ID = 8  # bytes of a row's number
NO_ROWS = struct.pack("<Q", 0)  # how a Flat index without rows ends
NO_LISTS = b"sprs" + NO_ROWS  # how inverted lists without rows end

Add = Callable[[np.ndarray], None]


@contextmanager
def growing(index: Any, path: str) -> Iterator[Add]:
    """Write `index` to the local file `path`; gives what adds rows. Blocks lie beside it meanwhile,
    in files whose names begin with its name."""
    import faiss

    inner = faiss_build.inner(index)
    if isinstance(inner, faiss.IndexFlat):
        yield from _flat(index, path)
    elif type(inner) in faiss_build.listed():
        yield from _lists(index, inner, path)
    else:
        yield faiss_build.adder(index)
        faiss.write_index(index, path)


def _head(index: Any, end: bytes) -> bytes:
    """The file of an index of `index.ntotal` rows up to where the rows are, of which it holds none."""
    import faiss

    data: bytes = faiss.serialize_index(index).tobytes()
    assert data.endswith(end), "this FAISS writes its indexes in another way"
    return data[: -len(end)]


def _flat(index: Any, path: str) -> Iterator[Add]:
    """The number of rows, at the front, is known last: its place is written twice."""
    inner, steps = faiss_build.inner(index), faiss_build.steps(index)
    with open(path, "wb") as file:
        file.write(_head(index, NO_ROWS) + NO_ROWS)

        def add(vectors: np.ndarray) -> None:
            vectors = faiss_build.transformed(steps, vectors)
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            index.ntotal = inner.ntotal = inner.ntotal + len(vectors)

        yield add
        file.seek(0)
        file.write(_head(index, NO_ROWS) + struct.pack("<Q", inner.ntotal * inner.d))


def _lists(index: Any, inner: Any, path: str) -> Iterator[Add]:
    """Inverted lists, put aside whenever they fill a block."""
    put, row, blocks = faiss_build.adder(index), inner.code_size + ID, list[str]()

    def spill() -> None:
        blocks.append(f"{path}.{len(blocks)}")
        _write_lists(inner.invlists, blocks[-1])
        inner.invlists.reset()  # the lists' rows go, the number of rows so far stays

    def add(vectors: np.ndarray) -> None:
        put(vectors)
        if inner.invlists.compute_ntotal() * row >= BLOCK:
            spill()

    try:
        yield add
        spill()
        with open(path, "wb") as file:
            file.write(_head(index, NO_LISTS))
            for part in _joined([_Block(block, inner.code_size) for block in blocks]):
                file.write(part)
    finally:
        for block in blocks:
            os.unlink(block)


def _write_lists(lists: Any, path: str) -> None:
    import faiss

    writer = faiss.FileIOWriter(path)
    faiss.write_InvertedLists(lists, writer)
    del writer  # closes the file


class _Block:
    """Inverted lists in a file: `sizes` rows in each, codes and ids as views of it."""

    def __init__(self, path: str, code_size: int) -> None:
        self.view, self.code_size = map_file(path), code_size
        _, lists, _, kind, count = struct.unpack_from("<4sQQ4sQ", self.view)
        numbers = np.frombuffer(self.view, "<u8", count, offset=32).astype(np.int64)
        self.sizes = numbers if kind == b"full" else np.zeros(lists, np.int64)
        if kind == b"sprs":  # pairs: a list, its rows
            self.sizes[numbers[::2]] = numbers[1::2]
        ends = 32 + 8 * count + np.cumsum(self.sizes) * (code_size + ID)
        self.starts = ends - self.sizes * (code_size + ID)

    def codes(self, number: int) -> memoryview:
        start = self.starts[number]
        return self.view[start : start + self.sizes[number] * self.code_size]

    def ids(self, number: int) -> memoryview:
        start = self.starts[number] + self.sizes[number] * self.code_size
        return self.view[start : start + self.sizes[number] * ID]


def _joined(blocks: list[_Block]) -> Iterator[bytes | memoryview]:
    """All blocks as one: sizes; then of each list its codes, in the order of adding, and its ids."""
    sizes = np.sum([block.sizes for block in blocks], axis=0)
    yield b"full" + struct.pack("<Q", len(sizes)) + sizes.astype("<u8").tobytes()
    for number in np.flatnonzero(sizes).tolist():
        yield from (block.codes(number) for block in blocks)
        yield from (block.ids(number) for block in blocks)
