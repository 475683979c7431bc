"""The sources of a metadata list, read with progress and warnings on the terminal.

Each function reads one source and yields its entries. They are generators, so that a source is read only when
`entries.union` has taken in those before it.
"""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence

import fsspec

from jobs.metadata.entries import Row, Source
from jobs.metadata.pageviews import TitleBounds, rank_titles
from jobs.metadata.wikipedia import batches
from jobs.metadata.wordnet import synset_names
from jobs.metadata.words import WordBounds, rank
from jobs.processes import Each
from jobs.terminal import tables
from jobs.terminal.bar import progress
from jobs.terminal.console import remarks
from pipeline.errors import RecipeError


def wordnet_names(folder: str) -> Iterator[Source]:
    """WordNet's synset names."""
    names = synset_names(folder)
    yield Source("WordNet names", names, len(names))


def wikipedia_words(
    dumps: Sequence[str], bounds: WordBounds, tokenizer: str | None, each: Each
) -> Iterator[Source]:
    """Wikipedia's most frequent words, then its pairs of words with the highest PMI."""
    with tempfile.TemporaryDirectory() as folder, progress("Wikipedia", "articles") as tick:
        corpus = rank(batches(dumps, tick), bounds, tokenizer, folder, each)
    _warn(corpus.failed, "articles could not be parsed and are left out")
    if bounds.bigrams and not corpus.pairs.passed:
        _warn_of_pmi(corpus.total, bounds.bigram_pmi)
    yield Source("unigrams", corpus.words.entries, corpus.words.passed)
    yield Source("bigrams", corpus.pairs.entries, corpus.pairs.passed)


def viewed_titles(hours: Sequence[str], wanted: TitleBounds, each: Each) -> Iterator[Source]:
    """Wikipedia's most viewed titles."""
    with progress("page views", "files") as tick:
        best = rank_titles(hours, wanted, each, tick)
    _warn(best.broken, "rows of the project could not be read and are left out")
    yield Source("titles", best.entries, best.passed)


def show_sources(rows: Sequence[Row], entries: int) -> None:
    """A table on stderr: how many entries of each source are in the list."""
    table = tables.table("Metadata", "source", "over threshold", "under cap", "new in the list")
    for row in rows:
        table.add_row(row.source, f"{row.passed:,}", f"{row.capped:,}", f"{row.new:,}")
    table.add_row("list", "", "", f"{entries:,}")
    remarks.print(table)


def _warn(count: int, what: str) -> None:
    """A line on stderr if there is something to count."""
    if count:
        remarks.print(f"{count:,} {what}")


def _warn_of_pmi(total: int, least: float) -> None:
    """Say why there is no bigram: a pair among N words cannot have a PMI over log2 N."""
    most = math.log2(max(total, 1))
    if least > most:
        text = f"no bigram: among {total:,} words no pair can have a PMI over {most:.1f}; lower --bigram-pmi"
        remarks.print(text)


def files_of(option: str, pattern: str, inside: str) -> list[str]:
    """The files that an option names by a file, a glob, or a folder of `inside`; in name order.

    Raises RecipeError if there are none.
    """
    fs, path = fsspec.core.url_to_fs(os.path.expanduser(pattern))
    if fs.isdir(path):
        path = f"{path.rstrip('/')}/{inside}"
    paths = [path] if fs.isfile(path) else sorted(name for name in fs.glob(path) if fs.isfile(name))
    if not paths:
        raise RecipeError(
            f"{option} must be a file, a folder with {inside} or a glob; there is no such file at {pattern}"
        )
    local = "file" in fs.protocol
    return paths if local else [fs.unstrip_protocol(name) for name in paths]
