"""Hashes of 256 bits: their bands, pairs within a radius, and which of them stay.

A band is a fixed choice of bits. If two hashes differ in fewer bits than there are bands, they agree in all
bits of at least one (each differing bit spoils one band). So only hashes that share a band are compared.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from pipeline.threads import faiss_threads

BITS = 256
VALUE_BITS, NUMBER_BITS = 48, 8  # of a key: the bits of a band, and its number
FEW = 64  # rows of a group up to which pairs of all groups are compared together
BLOCK = 256  # rows whose neighbours in a larger group are held at a time


class Pairs(NamedTuple):
    """(m,) places of the later and the earlier hash of each pair, and their distance."""

    later: np.ndarray
    earlier: np.ndarray
    distance: np.ndarray


def bytes_of(hashes: pl.Series) -> np.ndarray:
    """(n,) Binary of 32 bytes each -> (n, 32) uint8. Raises ValueError for others."""
    if hashes.has_nulls() or not (hashes.bin.size() == BITS // 8).all():
        raise ValueError(f"a hash must have {BITS // 8} bytes")
    if not len(hashes):
        return np.zeros((0, BITS // 8), np.uint8)
    values = hashes.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    return np.frombuffer(values, np.uint8)[: len(hashes) * BITS // 8].reshape(-1, BITS // 8)


def band_keys(hashes: np.ndarray, count: int) -> np.ndarray:
    """(n, 32) uint8 -> (n, count) uint64: the bits of each band; above them its number, and `count` in the
    top byte. A band has every `count`th byte, since neighbouring bits of a PDQ hash tend to flip together."""
    spread = np.ascontiguousarray(hashes.reshape(len(hashes), BITS // 8 // count, count).transpose(0, 2, 1))
    values = spread.view(f"<u{spread.shape[2]}")[:, :, 0].astype(np.uint64)
    above = np.arange(count, dtype=np.uint64) | np.uint64(count) << np.uint64(NUMBER_BITS)
    found: np.ndarray = values | above << np.uint64(VALUE_BITS)
    return found


def has_key(hashes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(n, 32) uint8 and (n,) uint64 -> (n,) whether a key is that of one of the hash's bands."""
    counts = keys >> np.uint64(NUMBER_BITS + VALUE_BITS)
    found = np.zeros(len(keys), bool)
    for count in np.unique(counts).tolist():
        own = np.flatnonzero(counts == count)
        bands = (keys[own] >> np.uint64(VALUE_BITS)).astype(np.uint8)
        places = bands[:, None] + np.arange(0, BITS // 8, count)
        values = np.take_along_axis(hashes[own], places.astype(np.int64), 1).astype(np.uint64)
        shifts = np.arange(values.shape[1], dtype=np.uint64) * np.uint64(8)
        mask = np.uint64((1 << VALUE_BITS) - 1)
        found[own] = np.bitwise_or.reduce(values << shifts, axis=1) == keys[own] & mask
    return found


def near_pairs(
    hashes: np.ndarray, spans: Sequence[tuple[int, int]], radius: int, most: int, threads: int
) -> Pairs:
    """(n, 32) uint8 hashes of groups that lie one after the other, each in the order of rank -> the pairs of
    a group within `radius` bits: of each hash, those with the `most` earliest."""
    starts, stops = np.array(spans, np.int64).reshape(-1, 2).T
    small = stops - starts <= FEW
    parts = [_small_groups(hashes, starts[small], stops[small], radius)]
    for start, stop in zip(starts[~small].tolist(), stops[~small].tolist(), strict=True):
        parts.append(_large_group(hashes, start, stop, radius, most, threads))
    return _first_of_each(_together(parts), most)


def _small_groups(hashes: np.ndarray, starts: np.ndarray, stops: np.ndarray, radius: int) -> Pairs:
    """All pairs of small groups: first those of neighbours, then those two places apart, and so on."""
    words = hashes.view(np.uint64)
    sizes = stops - starts
    rows = np.arange(sizes.sum()) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    stops = np.repeat(stops, sizes)
    found = [Pairs(*np.zeros((3, 0), np.int64))]
    step = 1
    while len(rows := rows[(inside := rows + step < stops)]):
        stops = stops[inside]
        bits = np.bitwise_count(words[rows] ^ words[rows + step]).astype(np.int16)
        distance = bits[:, 0] + bits[:, 1] + bits[:, 2] + bits[:, 3]  # faster than sum(1)
        near = np.flatnonzero(distance <= radius)
        found.append(Pairs(rows[near] + step, rows[near], distance[near].astype(np.int64)))
        step += 1
    return _together(found)


def _large_group(hashes: np.ndarray, start: int, stop: int, radius: int, most: int, threads: int) -> Pairs:
    """The pairs of one group, by FAISS, `most` of each hash."""
    import faiss

    own = np.ascontiguousarray(hashes[start:stop])
    index = faiss.IndexBinaryFlat(BITS)
    found = []
    with faiss_threads(threads):
        for at in range(0, len(own), BLOCK):
            queries = own[at : at + BLOCK]
            index.add(queries)
            limits, distances, places = index.range_search(queries, radius + 1)
            counts: np.ndarray = np.diff(limits.astype(np.int64))
            later = at + np.repeat(np.arange(len(queries)), counts)
            near = (places < later) & (distances <= radius)
            pairs = Pairs(start + later[near], start + places[near], distances[near].astype(np.int64))
            found.append(_first_of_each(pairs, most))
    return _together(found)


def _together(parts: Sequence[Pairs]) -> Pairs:
    """All pairs."""
    return Pairs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _first_of_each(pairs: Pairs, most: int) -> Pairs:
    """Of each later hash, the pairs with the `most` earliest, sorted."""
    order = np.lexsort((pairs.earlier, pairs.later))
    later = pairs.later[order]
    begins = np.flatnonzero(np.diff(later, prepend=-1))
    number = np.arange(len(later)) - np.repeat(begins, np.diff(begins, append=len(later)))
    chosen = order[number < most]
    return Pairs(*(column[chosen] for column in pairs))


def listed(flat: pl.DataFrame, of: pl.Series) -> pl.DataFrame:
    """(m, `of`, `neighbours`, `distances`), a pair a row, the rows of each `of` together -> (n, `of` and
    lists) of each value of `of`, empty for one that has no pair."""
    lists = flat.group_by("of", maintain_order=True).agg(
        pl.col("neighbours").cast(pl.String), pl.col("distances").cast(pl.UInt16)
    )
    lists = lists.with_columns(pl.col("of").cast(of.dtype))
    whole = of.alias("of").to_frame().join(lists, on="of", how="left", maintain_order="left")
    return whole.with_columns(
        pl.col("neighbours").fill_null(pl.lit([], pl.List(pl.String))),
        pl.col("distances").fill_null(pl.lit([], pl.List(pl.UInt16))),
    )


def leaders(pairs: Pairs, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) whose copy each of `count` nodes is, -1 for one that stays, and (n,) the distance to it. Pairs
    lead from a node to better ones. A node goes if one of those stays, and stays if all of them go; it is the
    copy of the nearest that stays, or the first of equals. So no two nodes of a pair both stay, and no copy
    is one of a copy."""
    gone = _gone(pairs.later, pairs.earlier, count)
    leader, nearest = np.full(count, -1), np.zeros(count, np.int64)
    order = np.lexsort((pairs.earlier, pairs.distance, pairs.later))
    order = order[gone[pairs.later[order]] & ~gone[pairs.earlier[order]]]
    copies, first = np.unique(pairs.later[order], return_index=True)
    leader[copies] = pairs.earlier[order][first]
    nearest[copies] = pairs.distance[order][first]
    return leader, nearest


def _gone(later: np.ndarray, earlier: np.ndarray, count: int) -> np.ndarray:
    """(n,) which nodes go. Each round decides at least those whose better ones are all decided. In a circle,
    which only samples that share a uid can make, all that are not decided stay."""
    stays, gone = np.zeros((2, count), bool)
    while True:
        free = np.ones(count, bool)
        free[later] = False  # the others have a better one that is not gone
        stays |= free & ~gone
        gone[later[stays[earlier]]] = True
        rest = ~gone[later] & ~gone[earlier]
        if rest.all():
            return gone
        later, earlier = later[rest], earlier[rest]
