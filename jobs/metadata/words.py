"""Words and pairs of neighbouring words, counted; the best words by count, the best pairs by PMI.

A word is a run of letters, marks and digits with apostrophes and hyphens inside it; case is kept. Anything
else that is not white space is punctuation. Neighbours are words of one line with at most white space
between them.

**Source**: MetaCLIP (arXiv 2309.16671). PMI as NLTK's `BigramAssocMeasures.pmi`:
log2(n_xy N / (n_x n_y)), with N words in all. It is at most log2 N, so that a PMI of 30 takes 2^30 words and
then admits only words that occur N / 2^30 times or less: 2 or 3 times in English Wikipedia.
**Differs**: the authors' tokeniser and counts are not released. `.` and `,` never stand inside our words, for
texts are spaced around them before they are matched and such an entry could never match.
**Memory**: in the parent, `ROWS` rows of partial counts while reading, then one of `BUCKETS` parts of all
distinct pairs, and all distinct words (measured: 1.3 GB at 100 M pairs of 2.3 M words). Partial counts lie in
parquet files in the folder given, about 10 bytes a row. A worker holds one batch: 0.4 GB.
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
ROWS = 1 << 22  # rows of counts held before they are written: about 0.4 GB
BUCKETS = 64
Tokenizer = Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class Bounds:
    """Thresholds and caps; the defaults are MetaCLIP's, which has no threshold on the count of a bigram."""

    unigram_count: int = 100
    unigrams: int = 251_465
    bigram_pmi: float = 30.0
    bigram_count: int = 1
    bigrams: int = 100_646
    joint: str = " "
    max_length: int = 256


class Ranking(NamedTuple):
    """Entries, best first and under the cap, and how many passed the threshold."""

    entries: list[str]
    found: int


class Counted(NamedTuple):
    """Counts of one batch: words (word, n), pairs (first, second, n), and texts that could not be parsed."""

    words: pl.DataFrame
    pairs: pl.DataFrame
    failed: int


class Corpus(NamedTuple):
    """What `rank` finds: how many words there are in all, and the best words and pairs."""

    total: int
    failed: int
    words: Ranking
    pairs: Ranking


def rank(items: Iterable[Batch], bounds: Bounds, tokenizer: str | None, folder: str, each: Each) -> Corpus:
    """Count all batches and rank; the same for any batches, processes and memory. Raises RecipeError."""
    if tokenizer is not None:
        load_tokenizer(tokenizer)
    words, pairs = Tally(f"{folder}/words", ["word"]), Tally(f"{folder}/pairs", ["first", "second"])
    failed = 0
    for found in each(Count(tokenizer), items):
        words.add(found.words)
        pairs.add(found.pairs)
        failed += found.failed
    table = pl.concat(words.parts())
    total = int(table["n"].sum())
    return Corpus(total, failed, best_words(table, bounds), best_pairs(pairs.parts(), table, total, bounds))


@dataclass(frozen=True)
class Count:
    """Counts one batch; travels to workers."""

    tokenizer: str | None

    def __call__(self, batch: Batch) -> Counted:
        texts = [plain(text, batch.hidden) for text in batch.texts]
        lines = [line for text in texts if text is not None for line in text.splitlines()]
        words, pairs = count_lines(lines, load_tokenizer(self.tokenizer) if self.tokenizer else None)
        return Counted(words, pairs, texts.count(None))


def count_lines(
    lines: Sequence[str], tokenizer: Tokenizer | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(word, n) and (first, second, n), n int64, in any order."""
    tokens = _tokens(lines, tokenizer)
    word = pl.col("word").str.contains(r"[\p{L}\p{N}]")
    near = tokens.with_columns(word=pl.when(word).then("word")).with_columns(
        second=pl.when(pl.col("line") == pl.col("line").shift(-1)).then(pl.col("word").shift(-1))
    )
    n = pl.len().cast(pl.Int64).alias("n")
    pairs = near.drop_nulls().group_by(pl.col("word").alias("first"), "second").agg(n)
    return near.drop_nulls("word").group_by("word").agg(n), pairs


def _tokens(lines: Sequence[str], tokenizer: Tokenizer | None) -> pl.DataFrame:
    """(line, word): words and punctuation marks, a row each, in order."""
    if tokenizer is None:
        split = pl.Series("word", lines, dtype=pl.String).str.extract_all(_PIECE)
    else:
        split = pl.Series("word", [list(tokenizer(line)) for line in lines], dtype=pl.List(pl.String))
    return split.to_frame().with_row_index("line").explode("word").drop_nulls()


def load_tokenizer(path: str) -> Tokenizer:
    """The function at an import path, from a line to its words and punctuation. Raises RecipeError."""
    module, _, name = path.rpartition(".")
    try:
        found: Tokenizer = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise RecipeError(
            f"--tokenizer must be the import path of a function from a line to its words, got {path!r}: {error}"
        ) from error
    return found


class Tally:
    """Sums of n by key for more keys than memory holds: partial sums on disk, in buckets by the first key."""

    def __init__(self, folder: str, keys: Sequence[str], rows: int = ROWS) -> None:
        self.folder, self.keys, self.rows = folder, list(keys), rows
        self._held: list[pl.DataFrame] = []
        self._files = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Take in partial counts: the keys and n."""
        self._held.append(frame)
        if sum(part.height for part in self._held) >= self.rows:
            self._write()

    def parts(self) -> Iterator[pl.DataFrame]:
        """The sums, each key once, a bucket at a time. Something must have been added."""
        if self._held:
            self._write()
        files = pl.scan_parquet(f"{self.folder}*.parquet")
        for bucket in range(BUCKETS):
            rows = files.filter(pl.col("bucket") == bucket)
            yield self._sum(rows).collect(engine="streaming")

    def _write(self) -> None:
        """Sums of what is held, in a file whose row groups a reader can skip by bucket."""
        bucket = (pl.col(self.keys[0]).hash(0) % BUCKETS).cast(pl.UInt8)
        frame = self._sum(pl.concat(self._held).lazy()).with_columns(bucket=bucket).sort("bucket").collect()
        frame.write_parquet(f"{self.folder}{self._files}.parquet", row_group_size=1 << 16)
        self._held, self._files = [], self._files + 1

    def _sum(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.group_by(self.keys).agg(pl.col("n").sum())


def best_words(table: pl.DataFrame, bounds: Bounds) -> Ranking:
    """Words by count, then in code point order."""
    often = table.filter(pl.col("n") >= bounds.unigram_count)
    best, found = _best([often], {"n": True, "word": False}, bounds.unigrams, "word", bounds.max_length)
    return Ranking(best["word"].to_list(), found)


def best_pairs(parts: Iterable[pl.DataFrame], table: pl.DataFrame, total: int, bounds: Bounds) -> Ranking:
    """Pairs by PMI, then by count, then in code point order. `table` is (word, n) and sums to `total`."""
    order = {"lift": True, "n": True, "first": False, "second": False}
    rare = table.filter(
        pl.col("n") * 2.0**bounds.bigram_pmi <= total
    )  # n_xy <= n_x, so that PMI <= log2 N/n_x
    near = (_lifted(part, rare, total, bounds) for part in parts)
    best, found = _best(near, order, bounds.bigrams, "entry", bounds.max_length)
    return Ranking(best["entry"].to_list(), found)


def _lifted(pairs: pl.DataFrame, table: pl.DataFrame, total: int, bounds: Bounds) -> pl.DataFrame:
    """Pairs over the thresholds with `lift`, which is 2^PMI: exact where the logarithm is rounded."""
    n = pl.col("n").cast(pl.Float64)
    found = (
        pairs.filter(pl.col("n") >= bounds.bigram_count)
        .join(table.rename({"n": "n_first"}), left_on="first", right_on="word")
        .join(table.rename({"n": "n_second"}), left_on="second", right_on="word")
    )
    lift = n * total / (pl.col("n_first").cast(pl.Float64) * pl.col("n_second").cast(pl.Float64))
    entry = pl.concat_str("first", "second", separator=bounds.joint)
    return found.with_columns(lift=lift, entry=entry).filter(pl.col("lift") >= 2.0**bounds.bigram_pmi)


def _best(
    frames: Iterable[pl.DataFrame], order: dict[str, bool], cap: int, entry: str, longest: int
) -> tuple[pl.DataFrame, int]:
    """The first `cap` rows by columns (True: descending), and how many rows there were in all."""
    best, found = None, 0
    for frame in frames:
        found += frame.height
        short = frame.filter(pl.col(entry).str.len_chars() <= longest)
        rows = short if best is None else pl.concat([best, short])
        best = rows.sort(list(order), descending=list(order.values())).head(cap)
    assert best is not None
    return best, found
