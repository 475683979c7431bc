"""Words and pairs of neighbouring words, counted; the best words by count, the best pairs by PMI.

A word is a run of letters, marks and digits, with apostrophes and hyphens inside it. Case is kept. Any other
character that is not white space is punctuation. Neighbours are two words of one line with nothing but white
space between them.

**Source**: MetaCLIP (arXiv 2309.16671). PMI as NLTK's `BigramAssocMeasures.pmi`: log2(n_xy N / (n_x n_y)),
with N words in all. A PMI is at most log2 N. So a threshold of 30 needs 2^30 words or more, and then only
takes pairs of words that occur at most N / 2^30 times: 2 or 3 times in the English Wikipedia.
**Differs**: the authors' tokeniser and counts are not released. Our words have no `.` or `,` inside: captions
get spaces around these before they are matched, so such an entry could never match.
**Memory**: the parent process holds `ROWS` rows of counts while it reads, then one of `BUCKETS` parts of all
distinct pairs, and all distinct words (measured: 1.3 GB for 100 M pairs of 2.3 M words). A worker holds one
batch: 0.4 GB.
**Disk**: about 10 bytes per row of counts, in parquet files.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from jobs.metadata.wikipedia import Batch, plain
from jobs.processes import Each
from pipeline.errors import RecipeError

_PIECE = r"[\p{L}\p{M}\p{N}]+(?:['\x{2019}-][\p{L}\p{M}\p{N}]+)*|\S"
ROWS = 1 << 22  # rows of counts in memory before they are written to disk: about 0.4 GB
BUCKETS = 64  # parts by hash of the first key, which are summed one at a time
Tokenizer = Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class WordBounds:
    """Thresholds and caps of words and pairs. The defaults are MetaCLIP's; it has no `bigram_count`.

    joint       between the words of a pair
    max_length  most characters of an entry
    """

    unigram_count: int = 100
    unigrams: int = 251_465
    bigram_pmi: float = 30.0
    bigram_count: int = 1
    bigrams: int = 100_646
    joint: str = " "
    max_length: int = 256


class Ranking(NamedTuple):
    """Entries, best first and at most as many as the cap; and how many passed the threshold."""

    entries: list[str]
    passed: int


class Counted(NamedTuple):
    """Counts of one batch: words (word, n), pairs (first, second, n), and texts that could not be parsed."""

    words: pl.DataFrame
    pairs: pl.DataFrame
    failed: int


class Corpus(NamedTuple):
    """Words in all, texts that could not be parsed, the best words and the best pairs."""

    total: int
    failed: int
    words: Ranking
    pairs: Ranking


def rank(
    items: Iterable[Batch], bounds: WordBounds, tokenizer: str | None, folder: str, each: Each
) -> Corpus:
    """Count the words and pairs of all batches, and rank them. `folder` takes temporary files.

    The result does not depend on the batches' sizes, the processes or the memory. Raises RecipeError.
    """
    if tokenizer is not None:
        load_tokenizer(tokenizer)  # so that a wrong name is an error before anything is read
    words = CountsOnDisk(f"{folder}/words", ["word"])
    pairs = CountsOnDisk(f"{folder}/pairs", ["first", "second"])
    failed = 0
    for counted in each(Count(tokenizer), items):
        words.add_counts(counted.words)
        pairs.add_counts(counted.pairs)
        failed += counted.failed
    table = pl.concat(words.sums())
    total = int(table["n"].sum())
    return Corpus(total, failed, best_words(table, bounds), best_pairs(pairs.sums(), table, total, bounds))


@dataclass(frozen=True)
class Count:
    """A function that counts one batch; it is pickled and sent to workers."""

    tokenizer: str | None

    def __call__(self, batch: Batch) -> Counted:
        texts = [plain(text, batch.hidden) for text in batch.texts]
        lines = [line for text in texts if text is not None for line in text.splitlines()]
        words, pairs = count_lines(lines, load_tokenizer(self.tokenizer) if self.tokenizer else None)
        return Counted(words, pairs, texts.count(None))


def count_lines(
    lines: Sequence[str], tokenizer: Tokenizer | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tables (word, n) and (first, second, n), with n Int64, in any order."""
    tokens = _tokens(lines, tokenizer)
    word = pl.col("word").str.contains(r"[\p{L}\p{N}]")
    near = tokens.with_columns(word=pl.when(word).then("word")).with_columns(
        second=pl.when(pl.col("line") == pl.col("line").shift(-1)).then(pl.col("word").shift(-1))
    )
    n = pl.len().cast(pl.Int64).alias("n")
    pairs = near.drop_nulls().group_by(pl.col("word").alias("first"), "second").agg(n)
    return near.drop_nulls("word").group_by("word").agg(n), pairs


def _tokens(lines: Sequence[str], tokenizer: Tokenizer | None) -> pl.DataFrame:
    """(line, word): one row per word or punctuation mark, in order."""
    if tokenizer is None:
        split = pl.Series("word", lines, dtype=pl.String).str.extract_all(_PIECE)
    else:
        split = pl.Series("word", [list(tokenizer(line)) for line in lines], dtype=pl.List(pl.String))
    return split.to_frame().with_row_index("line").explode("word").drop_nulls()


def load_tokenizer(path: str) -> Tokenizer:
    """The function at an import path; it splits a line into words and punctuation. Raises RecipeError."""
    module, _, name = path.rpartition(".")
    try:
        tokenizer: Tokenizer = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise RecipeError(
            f"--tokenizer must be the import path of a function that splits a line into words, got {path!r}: "
            f"{error}"
        ) from error
    return tokenizer


class CountsOnDisk:
    """Sums of `n` by key, for more keys than memory holds: partial sums are on disk, in buckets.

    `prefix` begins the names of the files; `rows` rows are summed in memory before they are written.
    """

    def __init__(self, prefix: str, keys: Sequence[str], rows: int = ROWS) -> None:
        self.prefix = prefix
        self.keys = list(keys)
        self.rows = rows
        self._unwritten: list[pl.DataFrame] = []
        self._files = 0

    def add_counts(self, frame: pl.DataFrame) -> None:
        """Add a table of the keys and n."""
        self._unwritten.append(frame)
        if sum(part.height for part in self._unwritten) >= self.rows:
            self._write()

    def sums(self) -> Iterator[pl.DataFrame]:
        """The sums, each key once, one bucket at a time. Counts must have been added before."""
        if self._unwritten:
            self._write()
        files = pl.scan_parquet(f"{self.prefix}*.parquet")
        for bucket in range(BUCKETS):
            rows = files.filter(pl.col("bucket") == bucket)
            yield self._sum(rows).collect(engine="streaming")

    def _write(self) -> None:
        """Write the sums of the counts in memory, sorted so that a reader can skip row groups by bucket."""
        bucket = (pl.col(self.keys[0]).hash(0) % BUCKETS).cast(pl.UInt8)
        frame = (
            self._sum(pl.concat(self._unwritten).lazy()).with_columns(bucket=bucket).sort("bucket").collect()
        )
        frame.write_parquet(f"{self.prefix}{self._files}.parquet", row_group_size=1 << 16)
        self._unwritten = []
        self._files += 1

    def _sum(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Each key once, with the sum of its n."""
        return rows.group_by(self.keys).agg(pl.col("n").sum())


def best_words(table: pl.DataFrame, bounds: WordBounds) -> Ranking:
    """The most frequent words of a table (word, n); equally frequent ones in code point order."""
    often = table.filter(pl.col("n") >= bounds.unigram_count)
    order = {"n": True, "word": False}
    best, passed = _best([often], order, bounds.unigrams, "word", bounds.max_length)
    return Ranking(best["word"].to_list(), passed)


def best_pairs(parts: Iterable[pl.DataFrame], table: pl.DataFrame, total: int, bounds: WordBounds) -> Ranking:
    """The pairs with the highest PMI, then by count, then in code point order.

    `parts` are tables (first, second, n); `table` is (word, n), and its n sum to `total`.
    """
    order = {"lift": True, "n": True, "first": False, "second": False}
    # n_xy <= n_x, so PMI <= log2(N / n_x): more frequent words cannot be in a pair that passes
    rare = table.filter(pl.col("n") * 2.0**bounds.bigram_pmi <= total)
    pairs = (_over_thresholds(part, rare, total, bounds) for part in parts)
    best, passed = _best(pairs, order, bounds.bigrams, "entry", bounds.max_length)
    return Ranking(best["entry"].to_list(), passed)


def _over_thresholds(
    pairs: pl.DataFrame, table: pl.DataFrame, total: int, bounds: WordBounds
) -> pl.DataFrame:
    """The pairs that pass both thresholds, with `lift` = 2^PMI, which has no rounding of a logarithm."""
    n = pl.col("n").cast(pl.Float64)
    counted = (
        pairs.filter(pl.col("n") >= bounds.bigram_count)
        .join(table.rename({"n": "n_first"}), left_on="first", right_on="word")
        .join(table.rename({"n": "n_second"}), left_on="second", right_on="word")
    )
    lift = n * total / (pl.col("n_first").cast(pl.Float64) * pl.col("n_second").cast(pl.Float64))
    entry = pl.concat_str("first", "second", separator=bounds.joint)
    return counted.with_columns(lift=lift, entry=entry).filter(pl.col("lift") >= 2.0**bounds.bigram_pmi)


def _best(
    frames: Iterable[pl.DataFrame], order: dict[str, bool], cap: int, entry: str, longest: int
) -> tuple[pl.DataFrame, int]:
    """The first `cap` rows in an order of columns (True: descending), and how many rows there are in all.

    Entries of more than `longest` characters count, but are not among the first.
    """
    best = None
    passed = 0
    for frame in frames:
        passed += frame.height
        short = frame.filter(pl.col(entry).str.len_chars() <= longest)
        rows = short if best is None else pl.concat([best, short])
        best = rows.sort(list(order), descending=list(order.values())).head(cap)
    assert best is not None
    return best, passed
