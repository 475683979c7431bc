"""`winnow metadata build`: a metadata list for MetaCLIP's sub-string matching, from its four sources.

    winnow metadata build list.json --wordnet /usr/share/wordnet --wikipedia 'enwiki-*-pages-articles*.xml*.bz2' \\
        --pageviews pageviews/

WordNet's synset names, Wikipedia's words by count and pairs of words by PMI, its titles by page views, and
"0" to "99". The order, and with it every entry's id, is the same whenever the list is built: numerals, names
in code point order, then words, pairs and titles, best first; of equal entries the first stays.

**Source**: MetaCLIP (arXiv 2309.16671), section 3.1 and MetaCLIP 2 (arXiv 2507.22062); the defaults are the paper's.
**Differs**: the released code builds a set, whose order changes from run to run.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.metadata.entries import NUMERALS, SUFFIXES, Source, encode, union
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    pass

DUMPS, HOURS = "*.xml*", "pageviews-*"  # what the files are called in a folder

app = typer.Typer(no_args_is_help=True)
WordNet = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="data.noun, data.verb, data.adj, data.adv")
]
Wikipedia = Annotated[
    str | None, typer.Option(metavar="PATH", help=f"export XML, bz2: file, glob, or folder of {DUMPS}")
]
Pageviews = Annotated[
    str | None, typer.Option(metavar="PATH", help=f"hourly files: file, glob, or folder of {HOURS}")
]
Tokenizer = Annotated[
    str | None,
    typer.Option(metavar="IMPORT.PATH", help="function from a line to its words and punctuation marks"),
]


@app.callback()
def metadata() -> None:
    """Metadata lists for MetaCLIP's sub-string matching."""


@app.command()
def build(
    out: Annotated[str, typer.Argument(metavar="OUT", help=f"list to write: {', '.join(SUFFIXES)}")],
    wordnet: WordNet = None,
    wikipedia: Wikipedia = None,
    pageviews: Pageviews = None,
    unigram_count: Annotated[int, typer.Option(min=1, help="least count of a word")] = 100,
    unigrams: Annotated[int, typer.Option(min=0, help="most words")] = 251_465,
    bigram_pmi: Annotated[float, typer.Option(min=-64, max=64, help="least PMI (log2) of a pair")] = 30,
    bigram_count: Annotated[int, typer.Option(min=1, help="least count of a pair")] = 1,
    bigrams: Annotated[int, typer.Option(min=0, help="most pairs")] = 100_646,
    title_views: Annotated[int, typer.Option(min=1, help="least views of a title in all hours")] = 70,
    hourly_views: Annotated[int, typer.Option(min=1, help="least views for an hour to count")] = 50,
    titles: Annotated[int, typer.Option(min=0, help="most titles")] = 61_235,
    project: Annotated[str, typer.Option(help="whose rows of the pageview files")] = "en",
    unspaced: Annotated[
        bool, typer.Option("--unspaced", help="pairs without a space: zh, ja, th, ...")
    ] = False,
    tokenizer: Tokenizer = None,
    max_length: Annotated[int, typer.Option(min=1, help="most characters of an entry")] = 256,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; as many as cores")] = None,
) -> None:
    """Make a list from WordNet, Wikipedia dumps and pageview files."""
    from jobs.metadata.pageviews import Wanted
    from jobs.metadata.sources import files_of, viewed_titles, wikipedia_words, wordnet_names
    from jobs.metadata.words import Bounds
    from jobs.processes import in_order

    _check(out, wordnet, wikipedia, pageviews)
    joint = "" if unspaced else " "
    bounds = Bounds(unigram_count, unigrams, bigram_pmi, bigram_count, bigrams, joint, max_length)
    wanted = Wanted(project, hourly_views, title_views, titles, max_length)
    dumps = files_of("--wikipedia", wikipedia, DUMPS) if wikipedia else []
    hours = files_of("--pageviews", pageviews, HOURS) if pageviews else []
    each = in_order(workers or os.cpu_count() or 1)
    sources = [NUMERALS, *(wordnet_names(wordnet) if wordnet else ())]
    sources += wikipedia_words(dumps, bounds, tokenizer, each) if dumps else ()
    sources += viewed_titles(hours, wanted, each) if hours else ()
    _write(sources, max_length, out)


def _check(out: str, wordnet: str | None, *others: str | None) -> None:
    """Raises RecipeError before anything is read."""
    if not out.endswith(SUFFIXES):
        raise RecipeError(f"OUT must end in one of {', '.join(SUFFIXES)}, got {out}")
    if not (wordnet or any(others)):
        raise RecipeError("at least one of --wordnet, --wikipedia and --pageviews must be given, got none")
    if wordnet:
        from jobs.metadata.wordnet import check_folder

        check_folder(wordnet)


def _write(sources: Sequence[Source], max_length: int, out: str) -> None:
    """Publish the list; its path goes to stdout, its books to stderr."""
    from jobs.metadata.sources import show_sources
    from pipeline.storage.folder import Folder, publish_at

    entries, rows = union(sources, max_length)
    publish_at(out, encode(entries, out))
    show_sources(rows, len(entries))
    print(Folder(out).base)
