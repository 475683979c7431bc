"""WFPP: how rare a caption's words are in the pool, for its length; captions of frequent words are dropped
first.

    words: {use: wfpp.WordFrequency}
    wfpp:  {use: wfpp.WordFrequencyScore, frequency: words}
    keep:
      wfpp.score: {top: 0.8}

Columns
    WordFrequencyScore  score  Float64  in [0, 1], higher has rarer words or fewer; 0 if no word counts; null
                                        without a caption
Errors: `no caption`; `empty caption` (its score is 0 all the same).
Words: as CLIP's tokenizer parts a caption before byte pairs: mojibake repaired, HTML unescaped, lower case;
    runs of letters, single digits, runs of anything else but space, and the ends 's 't 're 've 'm 'll 'd.
Source: Liang & Larson, Word-Frequency Pair Pruning, and its code: f = count / total of the words counted
    `minimum_count` times; P(w) = 1 - sqrt(t / f), or 1 for a word rarer than t or not in the table;
    S = (1 - product of P over the first 30 words) / their number. Cleaning: open_clip's tokenizer.
Differs: an empty caption scores 0, there 0/0. Captions of the same words tie exactly, whatever their order.
    ftfy repairs lines in pieces of 2,000 characters, there 1,000,000: some captions of 100 kB would take it a
    minute. A caption with a number that Python refuses (`&#` and over 4,300 digits) stays as it is.
    `<start_of_text>` in a caption is ordinary text. Polars' Unicode tables say what a letter is.
"""

import html
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

import ftfy
import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr

from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.reasons import EMPTY_CAPTION, NO_CAPTION
from operators.algorithms.tables import table_of
from pipeline.operator import Device, Operator, Score, Stat, Table

PIECES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
FTFY = ftfy.TextFixerConfig(explain=False, max_decode_length=2000)

# Cleaning one caption takes ftfy 50 us, and most need none: neither ftfy nor html changes anything but the
# quotes in ASCII without `&`, kana, ideographs, Hangul and emoji, together with signs or else with accented
# small letters and Cyrillic (ftfy.badness: what makes mojibake is a sign or capital beside such a letter).
EASY = (
    r"\t\n\f\r -%'-~\x{a0}\x{2013}\x{2014}\x{2019}\x{2026}"
    r"\x{3041}-\x{3096}\x{30a1}-\x{30fe}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{ac00}-\x{d7a3}\x{1f300}-\x{1faff}"
)
SIGNS = r"\x{a9}\x{ae}\x{2018}\x{201c}\x{201d}\x{2022}\x{2122}"
LETTERS = r"\x{df}-\x{f6}\x{f8}-\x{ff}\x{401}\x{410}-\x{44f}\x{451}"
CLEAN = rf"\A(?:[{EASY}{SIGNS}]*|[{EASY}{LETTERS}]*)\z"
QUOTES = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}

SHARES = (10, 100, 1000)  # the summary gives the share of so many most frequent words
PER_DECADE = 10  # points of the rank curve
SHOWN = 30  # words at either end
ENOUGH = 100  # a word is shown if it was counted this often before


def words_of(text: pl.Expr) -> pl.Expr:
    """Captions -> their words, in order; null stays null."""
    clean = text.str.contains(CLEAN)
    easy = text.str.replace_many(QUOTES).str.to_lowercase()
    hard = pl.when(~clean).then(text).map_elements(_cleaned, return_dtype=pl.String)
    return pl.when(clean).then(easy).otherwise(hard).str.extract_all(PIECES)


def _cleaned(text: str) -> str:
    """open_clip's basic_clean, whitespace_clean and lower."""
    with suppress(ValueError):  # raised for a number of more digits than Python converts
        text = html.unescape(html.unescape(ftfy.fix_text(text, FTFY)))
    return " ".join(text.split()).lower()


class WordFrequency(ReadsCaptions, Stat):
    """How often each word occurs in the pool, for words that occur `minimum_count` times or more.

    Use it before `wfpp.WordFrequencyScore`, and with `winnow effects` to see which words a decision thinned
    out.

    minimum_count  rarer words are left out, here and not in the score: most words of the web occur once or
                   twice, and every worker holds this table; the shares that scores use are of the words that
                   remain

    Table: `word` String, `count` UInt64, the most frequent first.

    Cost: cheap. 294,000 captions per second on a CPU core (measured). Until `finish` it holds every distinct
    word: about 45 bytes each.
    """

    minimum_count: int = Field(5, ge=1)

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) captions -> `word`, `count`; words that occur once included."""
        words = batch.select(word=words_of(pl.col(self.text)).explode()).drop_nulls()
        return words.group_by("word").agg(count=pl.len().cast(pl.UInt64))

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """Counts add up."""
        return parts.group_by("word").agg(pl.col("count").sum())

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """Words at or over the floor, the most frequent first, then by code points."""
        kept = merged.filter(pl.col("count") >= self.minimum_count)
        return kept.sort("count", "word", descending=[True, False])

    def compare(
        self, before: pl.DataFrame, after: pl.DataFrame, sources: Mapping[str, Operator]
    ) -> Mapping[str, pl.DataFrame]:
        """The effect of a decision on the words:

        summary  figure, before, after: distinct words, words in all, mean count of a word, shares of the most
                 frequent words (each side's own)
        ranks    rank, before, after: share of all words that the word of this rank has, each side by its own
                 ranks, at ten ranks per decade; null past the last rank
        reduced  word, before, after, kept = after / before: the 30 words that lost most and the 30 that lost
                 least, the most reduced first, among those counted 100 times before; a word that fell below
                 the floor has 0 after
        """
        return {
            "summary": _summary(before, after),
            "ranks": _ranks(before, after),
            "reduced": _reduced(before, after),
        }


class WordFrequencyScore(ReadsCaptions, Score):
    """How rare a caption's words are: S = (1 - product of P(w)) / number of words, over its first words.

    Use it to shrink a pool with little loss: captions of frequent words, of which there are many alike, go
    first.

    frequency  the table of a WordFrequency
    t          a word that is this share of all words or less counts for nothing; larger moves the score's
               weight to more frequent words
    first      only this many words at the start of a caption count
    normalise  divide by their number

    Cost: cheap. 127,000 captions per second on a CPU core (measured).
    """

    frequency: Table
    t: float = Field(1e-7, gt=0, allow_inf_nan=False)
    first: int = Field(30, ge=1)
    normalise: bool = True

    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float64}
    _words: Any = PrivateAttr(None)
    _levels: Any = PrivateAttr(None)
    _codes: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Sort the words for binary search, so that no batch pays for a hash table of all of them. The empty
        string comes before every word and stands for unknown words, P = 1."""
        table = table_of(stats, "frequency", self.frequency, ("word", "count")).sort("word")
        share = table["count"].to_numpy() / max(1, table["count"].sum())
        probability = np.array([1.0, *(1 - np.sqrt(self.t / share))])
        probability[probability < 0] = 1.0
        self._words = pl.concat([pl.Series("word", [""]), table["word"]], rechunk=True)
        self._levels, self._codes = np.unique(probability, return_inverse=True)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) captions -> the columns above."""
        words = batch.select(words_of(pl.col(self.text)).list.head(self.first)).to_series()
        length = words.list.len()
        scores = np.zeros(len(batch))
        scores[(length > 0).fill_null(False).to_numpy()] = self._scores(words.filter(length > 0))
        return pl.select(
            score=pl.when(length.is_not_null()).then(pl.Series(scores, dtype=pl.Float64)),
            error=pl.when(length.is_null())
            .then(pl.lit(NO_CAPTION))
            .when(length == 0)
            .then(pl.lit(EMPTY_CAPTION)),
        )

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """The first words of the caption, each once: `word`; `count_in_pool`, null if that is below the
        table's floor; `weight`, 1 - P(w): what the word adds to the score, 0 if it is too rare to count."""
        words = row.select(word=words_of(pl.col(self.text)).list.head(self.first).explode()).drop_nulls()
        table = stats[self.frequency]
        share = pl.col("count") / max(1, table["count"].sum())
        return (
            words.unique(maintain_order=True)
            .join(table, on="word", how="left", maintain_order="left")
            .select(
                "word",
                count_in_pool="count",
                weight=pl.when(share >= self.t).then((self.t / share).sqrt()).otherwise(0.0),
            )
        )

    def _scores(self, words: pl.Series) -> np.ndarray:
        """(n,) lists, none empty -> (n,) scores. A row's factors are multiplied in ascending order, so that
        the last bits do not depend on the order of its words."""
        length = words.list.len().to_numpy().astype(np.int64)
        row = np.repeat(np.arange(len(length)), length)
        ordered = np.sort(row * len(self._levels) + self._level_of(words.explode())) % len(self._levels)
        product = np.multiply.reduceat(self._levels[ordered], np.cumsum(length) - length)
        return (1 - product) / (length if self.normalise else 1)

    def _level_of(self, words: pl.Series) -> np.ndarray:
        """(m,) words -> (m,) index of each one's P among the ascending distinct values."""
        index = self._words.search_sorted(words, side="right") - 1
        listed = self._words.gather(index) == words
        levels: np.ndarray = self._codes[np.where(listed.to_numpy(), index.to_numpy(), 0)]
        return levels


def _summary(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """figure, before, after: each side's figures."""
    old, new = _figures(before), _figures(after)
    schema = {"figure": pl.String, "before": pl.Float64, "after": pl.Float64}
    return pl.DataFrame([old.columns, old.row(0), new.row(0)], schema=schema)


def _figures(table: pl.DataFrame) -> pl.DataFrame:
    """One row; shares and means of nothing are null."""
    count = pl.col("count")
    return table.select(
        pl.len().alias("distinct words"),
        count.sum().alias("words"),
        count.mean().alias("mean count"),
        *((count.head(n).sum() / count.sum()).alias(f"share of the {n} most frequent") for n in SHARES),
    ).select(pl.all().cast(pl.Float64).fill_nan(None))


def _ranks(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """rank, before, after: the curves of shares by rank."""
    last = max(len(before), len(after), 1)
    steps = np.arange(int(np.log10(last) * PER_DECADE) + 1) / PER_DECADE
    ranks = pl.DataFrame({"rank": np.unique(np.round(10**steps)).astype(np.uint32)})
    for name, table in (("before", before), ("after", after)):
        share = pl.col("count") / pl.col("count").sum()
        curve = table.select(share.alias(name)).with_row_index("rank", offset=1)
        ranks = ranks.join(curve, on="rank", how="left", maintain_order="left")
    return ranks


def _reduced(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """word, before, after, kept: the words reduced most, then those reduced least."""
    after = after.rename({"count": "after"})
    both = (
        before.rename({"count": "before"})
        .filter(pl.col("before") >= ENOUGH)
        .join(after, on="word", how="left")
        .with_columns(pl.col("after").fill_null(0))
        .with_columns(kept=pl.col("after") / pl.col("before"))
    )
    most = both.sort("kept", "before", "word", descending=[False, True, False]).head(SHOWN)
    rest = both.join(most, on="word", how="anti")
    least = rest.sort("kept", "before", "word", descending=[True, True, False]).head(SHOWN)
    return pl.concat([most, least.reverse()])
