"""Shares of a pool turned into cuts: the value that the best 30 % reach, exactly and in bounded memory.

    cuts = cuts_of(session.recipe.keep, session.columns, names)
    cuts["clip.score"].value

This is radix selection. Sorting would need every value of the pool in memory. Instead the cut is looked up
like an entry in a dictionary: first its volume, then its page, then its line. A pass over the shards counts
how many values begin with each of the 65,536 possible first 16 bits; the counts tell how the cut begins, and
the next pass looks only at the values that begin so.

As soon as a million candidates or fewer are left, they are collected and sorted. So two passes are the rule,
and four the most for one number of 64 bits. If ties go by uid, the uid of the last sample that is kept is
looked up in the same way, as two more numbers of 64 bits.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from pipeline.decide.counts import judge, judged_by
from pipeline.ordered_map import threaded_map
from pipeline.pool.columns import Columns
from pipeline.progress import watched
from pipeline.rule import Cut, Rule
from pipeline.uids import uid_halves

DIGIT = 16  # bits that one pass settles
FEW = 1 << 20  # so many candidates are collected and sorted instead of counted again
_ONES = 2**64 - 1


def cuts_of(keep: Mapping[str, Rule], columns: Columns, shards: Sequence[str]) -> dict[str, Cut]:
    """The cut of each rule with a share, by the rule's name. `keep`: all rules of a recipe. Shares of the
    pool come first, then those of what remains. Raises FileNotFoundError if a column is not stored."""
    others = {name: rule for name, rule in keep.items() if not rule.of_remaining}
    cuts = resolve_cuts({name: rule for name, rule in others.items() if rule.needs_cut}, columns, shards)
    last = {name: rule for name, rule in keep.items() if rule.of_remaining}
    return cuts | resolve_cuts(last, columns, shards, Remaining(others, cuts))


class Remaining(NamedTuple):
    """The samples that pass these rules, whose cuts are known."""

    rules: Mapping[str, Rule]
    cuts: Mapping[str, Cut]

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of these samples."""
        if not self.rules:
            return frame
        return frame.filter(judge(self.rules, self.cuts, frame)["keep"])


ALL = Remaining({}, {})


def resolve_cuts(
    rules: Mapping[str, Rule], columns: Columns, shards: Sequence[str], remaining: Remaining = ALL
) -> dict[str, Cut]:
    """The cut of each rule, by the rule's name: the k-th highest (lowest) of the values that exist among the
    samples that remain, where `rank_from_top` says k. All rules are resolved in the same passes over the
    shards. Raises FileNotFoundError if a column is not stored."""
    selections = {name: Selection(rule) for name, rule in rules.items()}
    groups = list(columns.groups(shards)) if rules else []
    while unresolved := {name: s for name, s in selections.items() if s.cut is None}:
        count = partial(_count_shards, columns, unresolved, remaining)
        parts = watched("finding cuts", threaded_map(count, groups), len(groups))
        counted = _by_rule(parts, unresolved)
        for name, selection in unresolved.items():
            selection.settle_digit(counted[name])
    return {name: s.cut for name, s in selections.items() if s.cut is not None}


class Selection:
    """The search for one rule's cut. The values are searched as words: uint64 whose order is that of the
    values.

    prefix      the first bits of the word that is searched, as far as they are settled
    settled     how many bits that is
    candidates  how many rows have a word that begins with `prefix`; -1 before anything is counted
    rank        how many of these the rule keeps: those with the highest words
    words       the words found so far: that of the cut; then, if ties go by uid, the two halves of the last
                uid
    cut         the result, None until it is found
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.words: list[int] = []
        self.cut: Cut | None = None
        self._start_search(rank=0, candidates=-1)

    def _start_search(self, rank: int, candidates: int) -> None:
        """Search a new word among so many candidates, of which the rule keeps `rank`."""
        self.settled = 0
        self.prefix = 0
        self.rank = rank
        self.candidates = candidates

    @property
    def collects(self) -> bool:
        """Whether so few candidates are left that they are collected and sorted."""
        return 0 <= self.candidates <= FEW

    def count_rows(self, values: pl.Series, uids: pl.Series) -> np.ndarray:
        """The counts of some rows that settle the next digit: a histogram of that digit among the candidates,
        and last the number of rows that are not candidates. If the candidates are collected, their words
        instead."""
        words = self._words(values.cast(pl.Float64).fill_nan(None), uids)
        if self.settled:
            words = words[words >> np.uint64(64 - self.settled) == np.uint64(self.prefix)]
        if self.collects:
            return words
        digits = (words >> np.uint64(64 - DIGIT - self.settled)) & np.uint64((1 << DIGIT) - 1)
        histogram = np.bincount(digits.astype(np.int64), minlength=(1 << DIGIT) + 1)
        histogram[-1] = len(values) - len(words)
        return histogram

    def _words(self, values: pl.Series, uids: pl.Series) -> np.ndarray:
        """The words of the current search. First the values are searched; then the first halves of the uids
        whose value is the cut; then the second halves of those whose first half was found. A rule keeps the
        highest words, so the words of `bottom` and of uids are inverted."""
        if not self.words:
            words = ordered_bits(values.drop_nulls().to_numpy())
            return ~words if self.rule.bottom is not None else words
        tied = uids.filter((values == self._value(self.words[0])).fill_null(False))
        first, second = (~half for half in uid_halves(tied))
        return first if len(self.words) == 1 else second[first == np.uint64(self.words[1])]

    def settle_digit(self, counted: Iterable[np.ndarray]) -> None:
        """Settle the next digit, by what `count_rows` returned for all rows of the pool; or the rest of the
        word, if the candidates were collected."""
        if self.collects:
            return self._sort_candidates(np.concatenate(list(counted)))
        counts = np.sum(list(counted), axis=0)
        histogram = counts[:-1]
        if self.candidates < 0:
            values, rows = int(histogram.sum()), int(counts.sum())
            self.rank = rank_from_top(self.rule, values, rows)
            if self.rank > values or values == 0:
                self.cut = Cut(float("nan"))  # fewer values than samples asked for: the rule keeps nothing
                return None
        from_above = np.cumsum(histogram[::-1])
        steps = int(np.searchsorted(from_above, self.rank))
        digit = (1 << DIGIT) - 1 - steps
        self.rank -= int(from_above[steps] - histogram[digit])
        self.candidates = int(histogram[digit])
        self.prefix = (self.prefix << DIGIT) | digit
        self.settled += DIGIT
        if self.settled == 64:
            self._finish_search(self.prefix, self.rank, self.candidates)
        return None

    def _sort_candidates(self, words: np.ndarray) -> None:
        """Find the word among the collected candidates."""
        words = np.sort(words)
        word = words[len(words) - self.rank]
        first = int(np.searchsorted(words, word, "left"))
        past = int(np.searchsorted(words, word, "right"))
        self._finish_search(int(word), self.rank - (len(words) - past), past - first)

    def _finish_search(self, word: int, rank: int, ties: int) -> None:
        """A word is found: `ties` rows have it, of which `rank` are kept. If that is not all of them and ties
        go by uid, the next word is searched among them; otherwise the cut is found."""
        self.words.append(word)
        if self.rule.ties == "uid" and rank < ties and len(self.words) < 3:
            self._start_search(rank, ties)
            return
        uid = "".join(f"{~half & _ONES:016x}" for half in self.words[1:])
        self.cut = Cut(self._value(self.words[0]), uid.ljust(32, "f") if uid else None)

    def _value(self, word: int) -> float:
        """The value of a word."""
        return from_ordered_bits(~word & _ONES if self.rule.bottom is not None else word)


def _count_shards(
    columns: Columns, selections: Mapping[str, Selection], remaining: Remaining, shards: list[str]
) -> dict[str, np.ndarray]:
    """Rule -> what its selection needs to know of some shards."""
    uid = ["uid"] if any(selection.words for selection in selections.values()) else []
    needed = [*uid, *judged_by(remaining.rules.values()), *(s.rule.column for s in selections.values())]
    frame = remaining.of(columns.read_many(shards, list(dict.fromkeys(needed))))
    uids = frame["uid"] if uid else pl.Series([], dtype=pl.String)
    return {name: s.count_rows(frame[s.rule.column], uids) for name, s in selections.items()}


def _by_rule(
    parts: Iterable[dict[str, np.ndarray]], selections: Mapping[str, Selection]
) -> dict[str, list[np.ndarray]]:
    """Rule -> its arrays. Histograms are added up as they come, so that memory does not grow with the
    pool."""
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in selections}
    for part in parts:
        for name, array in part.items():
            if selections[name].collects or not arrays[name]:
                arrays[name].append(array)
            else:
                arrays[name][0] += array
    return arrays


def ordered_bits(values: np.ndarray) -> np.ndarray:
    """(n,) float32, float64 or int -> (n,) uint64 in the order of the values (IEEE 754 total order, -0 =
    0)."""
    numbers = values.astype(np.float64) + 0.0
    bits = numbers.view(np.int64)
    return np.where(bits < 0, ~bits, bits ^ np.int64(-(2**63))).view(np.uint64)


def from_ordered_bits(bits: int) -> float:
    """The float64 that `ordered_bits` maps to `bits`."""
    raw = bits ^ (1 << 63) if bits >> 63 else ~bits & _ONES
    return float(np.uint64(raw).view(np.float64))


def rank_from_top(rule: Rule, count: int, rows: int = 0) -> int:
    """How many of the `count` values that exist a rule keeps: ceil(share * count), but at least 1; or the
    number of samples that the rule asks for, but at most `count`.

    With `ties: datacomp` it is int(share * rows) + 1 of all `rows`, those without a value last, which may be
    more than `count`. DataComp's cut is element int(rows * share), from 0, of the scores in descending order.
    Source: DataComp, `baselines/apply_filter.py`, get_threshold."""
    share = rule.top if rule.top is not None else rule.bottom
    assert share is not None
    if rule.ties == "datacomp":
        return int(rows * share) + 1
    return min(share, count) if isinstance(share, int) else max(1, int(np.ceil(np.round(share * count, 9))))
