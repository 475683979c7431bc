"""Shares of a pool turned into cuts, exactly and without collecting a column.

A radix selection on the bits of the values: each pass over the shards counts, in a histogram of 16 bits,
the candidates that are left; when few are left they are collected and sorted. Two passes as a rule,
four at most (and as many for each half of the uid that ties go by), and memory does not grow with the pool.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import polars as pl

from pipeline.pool.columns import Columns
from pipeline.rule import Cut, Rule
from pipeline.run.ordered_map import threaded_map
from pipeline.uids import uid_halves

DIGIT = 16  # bits a pass settles
FEW = 1 << 20  # this many candidates are collected and sorted instead of another pass


class Selection:
    """Radix selection of one rule's cut among the values, as words of 64 bits that order like them.

    `prefix` holds the bits of the word settled so far, `rank` how many rows at or above the cut (below,
    for `bottom`) lie among the candidates with that prefix. Where ties go by uid and not all are kept, the
    two halves of the uid are words that follow; `words` holds those found.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.settled, self.prefix, self.rank, self.candidates = 0, 0, 0, -1
        self.words: list[int] = []
        self.cut: Cut | None = None

    def partial(self, values: pl.Series, uids: pl.Series) -> np.ndarray:
        """What this pass wants of one shard: a histogram of the next digit and, last, of the rows without a value,
        or the candidates."""
        bits = self._bits(values.cast(pl.Float64).fill_nan(None), uids)
        if self.settled:
            bits = bits[bits >> np.uint64(64 - self.settled) == np.uint64(self.prefix)]
        if 0 <= self.candidates <= FEW:
            return bits
        digit = (bits >> np.uint64(64 - DIGIT - self.settled)) & np.uint64((1 << DIGIT) - 1)
        found = np.bincount(digit.astype(np.int64), minlength=(1 << DIGIT) + 1)
        found[-1] = len(values) - len(bits)
        return found

    def _bits(self, values: pl.Series, uids: pl.Series) -> np.ndarray:
        """The current word of the rows that have a value and equal the words found; more is kept first."""
        if not self.words:
            bits = ordered_bits(values.drop_nulls().to_numpy())
            return ~bits if self.rule.bottom is not None else bits
        tied = uids.filter((values == self._value(self.words[0])).fill_null(False))
        halves = [~half for half in uid_halves(tied)]
        return halves[0] if len(self.words) == 1 else halves[1][halves[0] == np.uint64(self.words[1])]

    def settle(self, parts: Iterable[np.ndarray]) -> None:
        """Merge the partials of all shards; settle a digit, or a word."""
        if 0 <= self.candidates <= FEW:
            bits = np.sort(np.concatenate(list(parts)))
            word = bits[len(bits) - self.rank]
            first, past = (int(np.searchsorted(bits, word, side)) for side in ("left", "right"))
            return self._found(int(word), self.rank - (len(bits) - past), past - first)
        counts = np.sum(list(parts), axis=0)
        histogram, lacking = counts[:-1], int(counts[-1])
        if self.candidates < 0:
            total = int(histogram.sum())
            self.rank = rank_from_top(self.rule, total, total + lacking)
            if self.rank > total or total == 0:
                self.cut = Cut(float("nan"))  # not so many values: the rule keeps nothing
                return None
        above = np.cumsum(histogram[::-1])
        step = int(np.searchsorted(above, self.rank))
        digit = (1 << DIGIT) - 1 - step
        self.rank -= int(above[step] - histogram[digit])
        self.candidates = int(histogram[digit])
        self.prefix = (self.prefix << DIGIT) | digit
        self.settled += DIGIT
        if self.settled == 64:
            self._found(self.prefix, self.rank, self.candidates)
        return None

    def _found(self, word: int, rank: int, ties: int) -> None:
        """A word is known, and how many of its ties are kept. The next one, or the cut."""
        self.words.append(word)
        if self.rule.ties == "uid" and rank < ties and len(self.words) < 3:
            self.settled, self.prefix, self.rank, self.candidates = 0, 0, rank, ties
            return
        uid = "".join(f"{~half & _ONES:016x}" for half in self.words[1:])
        self.cut = Cut(self._value(self.words[0]), uid.ljust(32, "f") if uid else None)

    def _value(self, word: int) -> float:
        return from_ordered_bits(~word & _ONES if self.rule.bottom is not None else word)


_ONES = 2**64 - 1


def resolve_cuts(rules: Mapping[str, Rule], columns: Columns, shards: Sequence[str]) -> dict[str, Cut]:
    """Rule -> its cut: the k-th highest (lowest) of the values that exist, k from the share."""
    selections = {name: Selection(rule) for name, rule in rules.items()}
    while open_ := {name: s for name, s in selections.items() if s.cut is None}:
        gathered = _gather(threaded_map(partial(_partials, columns, open_), columns.groups(shards)), open_)
        for name, selection in open_.items():
            selection.settle(gathered[name])
    return {name: s.cut for name, s in selections.items() if s.cut is not None}


def _partials(
    columns: Columns, selections: Mapping[str, Selection], group: list[str]
) -> dict[str, np.ndarray]:
    """What every open selection wants of some shards."""
    uid = ["uid"] if any(s.words for s in selections.values()) else []
    frame = columns.read_many(group, [*uid, *(s.rule.column for s in selections.values())])
    uids = frame["uid"] if uid else pl.Series([], dtype=pl.String)
    return {name: s.partial(frame[s.rule.column], uids) for name, s in selections.items()}


def _gather(
    parts: Iterable[dict[str, np.ndarray]], open_: Mapping[str, Selection]
) -> dict[str, list[np.ndarray]]:
    """Partials by rule; histograms are summed as they come, so that memory stays flat."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in open_}
    for part in parts:
        for name, array in part.items():
            collects = 0 <= open_[name].candidates <= FEW
            if collects or not found[name]:
                found[name].append(array)
            else:
                found[name][0] += array
    return found


def ordered_bits(values: np.ndarray) -> np.ndarray:
    """float32/float64/int -> uint64 whose order is the values' order (IEEE 754 total order, -0 = 0)."""
    numbers = values.astype(np.float64) + 0.0
    bits = numbers.view(np.int64)
    return np.where(bits < 0, ~bits, bits ^ np.int64(-(2**63))).view(np.uint64)


def from_ordered_bits(bits: int) -> float:
    """The float64 that `ordered_bits` maps to `bits`."""
    raw = bits ^ (1 << 63) if bits >> 63 else ~bits & (2**64 - 1)
    return float(np.uint64(raw).view(np.float64))


def rank_from_top(rule: Rule, count: int, rows: int = 0) -> int:
    """How many of the `count` values that exist are asked for: ceil(share * count), at least 1, or all where
    more samples are asked for than there are.

    With `ties: datacomp` it is int(share * rows) + 1 of all rows, those without a value last, so perhaps more
    than there are values: its cut is element int(len * fraction), from 0, of the scores in descending order
    (`baselines/apply_filter.py`, get_threshold)."""
    asked = rule.top if rule.top is not None else rule.bottom
    assert asked is not None
    if rule.ties == "datacomp":
        return int(rows * asked) + 1
    return min(asked, count) if isinstance(asked, int) else max(1, int(np.ceil(np.round(asked * count, 9))))
