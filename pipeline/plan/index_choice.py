"""Which FAISS index `factory: auto` takes, how large an index is, and into which parts it is cut. Pure: FAISS
is not loaded.

    factory = choose(20_000_000, 512, memory=32 * GIB)     -> "IVF65536_HNSW32,SQfp16"
    shape_of(factory, 512).bytes(20_000_000)               -> 20.8e9, on disk and in memory alike
    cut(shards, counts, part_rows(shape))                  -> the shards of each part

An index has a head (centroids, a graph over them, codebooks) and rows (a code and a number of 8 bytes each).
A machine that searches it holds both.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.recipe.faiss_factory import CODES, GRAPH, LISTS, REFINE, TRANSFORM

ID_BYTES = 8  # of a row's number
FLOAT_BYTES = 4
PER_LIST = 40  # training vectors per list: FAISS warns below 39
AT_LEAST = 65_536  # training vectors: 256 for each of the 256 centroids of a PQ code
# The largest number of rows for which `auto` takes each kind of index, after FAISS's "Guidelines to choose an
# index" (wiki) and autofaiss's table by size.
FLAT = 100_000
WHOLE = 1_000_000  # IVF with whole vectors
LISTED = 10_000_000  # a query compares the centroids one by one; beyond, it searches them with a graph
ONE_LEVEL = 4_096  # lists; more are found in two steps (faiss_build.py)
SPARE = 20  # times as many samples as are drawn: from the shards of so many, a sample is as good as from all
TINY = 10_000  # rows that are too few for lists
CODE_SIZES = (64, 32, 16, 8, 4, 2, 1)  # bytes of a PQ code
SMALLEST_CODE = 16  # bytes; a shorter code finds less than half of the neighbours
PART_BYTES = 256 << 20  # of the rows of a part, at least
HEADS = 4  # how much larger the rows of a part are than its head, at least: each part has one


@dataclass(frozen=True)
class Shape:
    """What a factory string says of an index of so many dimensions.

    lists       inverted lists; 0 without
    width       numbers of a vector behind the transforms
    row_bytes   of a row: its code, its number, its links in a graph
    head_bytes  of all that does not grow with the rows
    divisible   whether parts of it can be joined: Flat, and lists of whole vectors, scalar or product codes
    """

    lists: int
    width: int
    row_bytes: float
    head_bytes: int
    divisible: bool

    def bytes(self, rows: int) -> int:
        """Of the index with so many rows, about."""
        return round(rows * self.row_bytes) + self.head_bytes

    @property
    def training_rows(self) -> int:
        """How many vectors to train it on; 0 if it is not trained."""
        return max(PER_LIST * self.lists, AT_LEAST) if self.head_bytes else 0


def choose(rows: int, dimension: int, memory: float = float("inf")) -> str:
    """The factory string for so many rows: the most exact index that fits `memory` bytes. If none does, the
    smallest. FAISS's guidelines give 4 sqrt(n) to 16 sqrt(n) lists: 4 if a query compares the centroids one
    by one, 16 if it searches them with a graph. The training vectors take half of the memory at most."""
    fitting = [
        f for f in _candidates(rows, dimension, memory) if shape_of(f, dimension).bytes(rows) <= memory
    ]
    return next(iter(fitting), [*_candidates(rows, dimension, memory)][-1])


def _candidates(rows: int, dimension: int, memory: float) -> Iterator[str]:
    """Factory strings, the most exact first."""
    if rows <= FLAT:
        yield "Flat"  # exact, and a query still takes milliseconds
    if rows <= min(TINY, FLAT):
        return
    few = rows <= LISTED
    most = max(1.0, memory / 2 / (PER_LIST * FLOAT_BYTES * dimension))
    lists = min(power_of_two((4 if few else 16) * rows**0.5), 1 << min(24, int(np.log2(min(most, 1e9)))))
    ivf = f"IVF{lists}{'' if few else '_HNSW32'}"
    if rows <= WHOLE:
        yield f"{ivf},Flat"
    yield f"{ivf},SQfp16"  # two bytes per number, as embeddings are stored: loses nearly nothing
    yield f"{ivf},SQ8"  # on clustered vectors, it keeps neighbours that PQ loses
    sizes = [m for m in CODE_SIZES if 4 * m <= max(dimension, 4)]
    for size in [m for m in sizes if m >= SMALLEST_CODE] or sizes[:1]:
        yield f"OPQ{size}_{4 * size},{ivf},PQ{size}"


def power_of_two(number: float) -> int:
    """The power of two that is nearest on a logarithmic scale."""
    return 1 << round(float(np.log2(number)))


# --- sizes ----------------------------------------------------------------------------------------


def shape_of(factory: str, dimension: int) -> Shape:
    """The shape of the index that a factory string describes, one that `check_factory` takes."""
    words, width, head, rest = factory.split(","), dimension, 0, 0.0
    while (found := TRANSFORM.fullmatch(words[0])) and len(words) > 1:
        after = _width_after(found, width)
        head += FLOAT_BYTES * width * after if not words[0].startswith(("Pad", "L2norm")) else 1
        width = after
        words.pop(0)
    lists = links = 0
    if found := LISTS.fullmatch(words[0]):
        lists = int(found["lists"])
        head += lists * (
            FLOAT_BYTES * width + 8 + (_graph_bytes(found["links"]) if "HNSW" in words[0] else 0)
        )
        words.pop(0)
    if graph := GRAPH.fullmatch(words[0]) if not lists else None:
        links = _graph_bytes(graph["links"])
        inner = words[0].partition("_")[2]
        words[0] = inner or (words.pop(1) if len(words) > 1 and CODES.fullmatch(words[1]) else "Flat")
    code, codebook = _code(words[0], width)
    if len(words) > 1 and REFINE.fullmatch(words[1]):
        rest = _code(words[1].removeprefix("Refine(").rstrip(")").replace("RFlat", "Flat"), dimension)[0]
    plain = words[0] == "Flat" or (lists and re.fullmatch(r"SQ\w+|PQ\d+(x\d+)?(np)?", words[0]))
    return Shape(
        lists=lists,
        width=width,
        row_bytes=code + rest + (ID_BYTES if lists else 0) + links,
        head_bytes=head + codebook,
        divisible=bool(plain) and not links and len(words) == 1,
    )


def why_not_built(factory: str, dimension: int, rows: int | None) -> str:
    """Why FAISS will not build the index that a factory string describes, one that `check_factory` takes, for
    vectors of `dimension` numbers and at most so many rows; empty if it may."""
    width, most = dimension, float("inf") if rows is None else rows
    for word in factory.split(","):
        if transform := TRANSFORM.fullmatch(word):
            after = _width_after(transform, width)
            if word.startswith("PCA") and after > width:
                return f"{word} makes {after} numbers of {width}; it can make {width} at most"
            if word.startswith("PCA") and after > most:
                return f"{word} is trained on {after:,} vectors or more, and there are {most:,}"
            width = after
            parts, bits = transform["parts"], None
        elif lists := LISTS.fullmatch(word):
            if int(lists["lists"]) > most:
                return f"{word} needs a vector for each list, and there are {most:,}"
            continue
        else:
            code = CODES.fullmatch(word) or GRAPH.fullmatch(word)
            parts, bits = (code["parts"], int(code["bits"] or 8)) if code else (None, None)
        if parts and width % int(parts):
            return f"{word} cuts {width} numbers into {parts} equal parts, which does not come out even"
        if parts and bits and 1 << bits > most:
            return f"{word} is trained on {1 << bits:,} vectors or more, and there are {most:,}"
    return ""


def _width_after(transform: re.Match[str], width: int) -> int:
    """Numbers of a vector behind a transform of vectors of `width` numbers."""
    return next((int(transform[name]) for name in ("width", "reduced", "size") if transform[name]), width)


def _graph_bytes(links: str | None) -> int:
    """Of a node of an HNSW graph: twice as many links of 4 bytes in the lowest layer, a few in others."""
    return 2 * 4 * int(links or 32) + 16


def _code(word: str, width: int) -> tuple[float, int]:
    """(bytes of a row's code, bytes of what is trained for codes)."""
    if word.startswith("SQ"):
        bits = {"SQ4": 4, "SQ6": 6, "SQ8": 8}.get(word, 16)
        return -(-width * bits // 8), 8 * width if bits < 16 else 1
    if word.startswith("PQ"):
        found = CODES.fullmatch(word)
        assert found is not None
        bits = int(found["bits"] or 8)
        return -(-int(found["parts"]) * bits // 8), FLOAT_BYTES * width << bits
    if word.startswith("RaBitQ"):
        return width / 8 + 8, FLOAT_BYTES * width
    return FLOAT_BYTES * width, 0


# --- parts ----------------------------------------------------------------------------------------


def part_rows(shape: Shape) -> int | None:
    """Rows of a part; None if the index cannot be cut."""
    if not shape.divisible:
        return None
    return max(1, round(max(PART_BYTES, HEADS * shape.head_bytes) / shape.row_bytes))


def cut(shards: Sequence[str], counts: Mapping[str, int], rows: int | None) -> list[tuple[str, ...]]:
    """The shards of each part: runs of shards with `rows` kept rows or more, as few as that takes; all of
    them if `rows` is None. `counts`: kept rows by shard. At least one part, which may be empty."""
    parts, run, held = list[tuple[str, ...]](), list[str](), 0
    for shard in shards:
        if not counts[shard]:
            continue
        run.append(shard)
        held += counts[shard]
        if rows is not None and held >= rows:
            parts.append(tuple(run))
            run, held = [], 0
    return [*parts, tuple(run)] if run or not parts else parts
