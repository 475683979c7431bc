"""The sources of a metadata list: WordNet's names, Wikipedia's words and pairs, its most viewed titles."""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence

import fsspec

from jobs.metadata.entries import Row, Source
from jobs.metadata.pageviews import Wanted, rank_titles
from jobs.metadata.wikipedia import batches
from jobs.metadata.wordnet import synset_names
from jobs.metadata.words import Bounds, rank
from jobs.processes import Each
from jobs.terminal import tables
from jobs.terminal.bar import progress
from pipeline.errors import RecipeError


def wordnet_names(folder: str) -> Iterator[Source]:

    names = synset_names(folder)
    yield Source("WordNet names", names, len(names))


def wikipedia_words(
    dumps: Sequence[str], bounds: Bounds, tokenizer: str | None, each: Each
) -> Iterator[Source]:

    with tempfile.TemporaryDirectory() as folder, progress("Wikipedia", "articles") as tick:
        corpus = rank(batches(dumps, tick), bounds, tokenizer, folder, each)
    _say(corpus.failed, "articles could not be parsed and are left out")
    if bounds.bigrams and not corpus.pairs.found:
        _warn_of_pmi(corpus.total, bounds.bigram_pmi)
    yield Source("unigrams", corpus.words.entries, corpus.words.found)
    yield Source("bigrams", corpus.pairs.entries, corpus.pairs.found)


def viewed_titles(hours: Sequence[str], wanted: Wanted, each: Each) -> Iterator[Source]:

    with progress("page views", "files") as tick:
        best = rank_titles(hours, wanted, each, tick)
    _say(best.broken, "rows of the project could not be read and are left out")
    yield Source("titles", best.entries, best.found)


def show_sources(rows: Sequence[Row], entries: int) -> None:

    made = tables.table("Metadata", "source", "found", "under cap", "new")
    for row in rows:
        made.add_row(row.source, f"{row.found:,}", f"{row.capped:,}", f"{row.new:,}")
    made.add_row("list", "", "", f"{entries:,}")
    tables.console.print(made)


def _say(count: int, what: str) -> None:

    if count:
        tables.console.print(f"{count:,} {what}", highlight=False)


def _warn_of_pmi(total: int, least: float) -> None:
    """No pair of N words has a PMI over log2 N."""

    most = math.log2(max(total, 1))
    if least > most:
        say = f"no bigram: of {total:,} words none has a PMI over {most:.1f}; lower --bigram-pmi"
        tables.console.print(say, highlight=False)


def files_of(option: str, pattern: str, inside: str) -> list[str]:
    """Paths in name order: a file, a glob's, or those called like `inside` in a folder. Raises RecipeError."""
    fs, path = fsspec.core.url_to_fs(os.path.expanduser(pattern))
    if fs.isdir(path):
        path = f"{path.rstrip('/')}/{inside}"
    found = [path] if fs.isfile(path) else sorted(name for name in fs.glob(path) if fs.isfile(name))
    if not found:
        raise RecipeError(
            f"{option} must be a file, a folder with {inside} or a glob, found none at {pattern}"
        )
    local = "file" in fs.protocol
    return found if local else [fs.unstrip_protocol(name) for name in found]
