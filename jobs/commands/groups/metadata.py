"""`winnow metadata build`: a metadata list for MetaCLIP's sub-string matching, from its four sources.

The sources are WordNet's synset names, Wikipedia's words by count and pairs of words by PMI, Wikipedia's
titles by page views, and the numerals "0" to "99". The same sources always give the same list. An entry's
position is its id: numerals are first, then WordNet's names in code point order, then words, pairs and
titles, each best first. An entry that occurs twice keeps its first position.

**Source**: MetaCLIP (arXiv 2309.16671), section 3.1, and MetaCLIP 2 (arXiv 2507.22062). The defaults are
MetaCLIP's.
**Differs**: the released code builds a set, whose order changes from run to run.
"""

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from jobs.commands.options import Verbose
from jobs.metadata.entries import NUMERALS, SUFFIXES, Source, encode, union
from jobs.terminal.console import put
from pipeline.errors import RecipeError

DUMPS = "*.xml*"  # Wikipedia's dumps in a folder
HOURS = "pageviews-*"  # hourly page view files in a folder

app = typer.Typer(no_args_is_help=True)
WordNet = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="WordNet's database folder, with data.noun, data.verb, data.adj and data.adv."
    ),
]
Wikipedia = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help=f"Wikipedia's article dumps (XML, plain, .bz2 or .gz): a file, a glob, or a folder of {DUMPS}.",
    ),
]
Pageviews = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help=f"Wikimedia's hourly page view files: a file, a glob, or a folder of {HOURS}.",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE.FUNCTION",
        help="Python function that splits a line into words and punctuation marks. Default: our own.",
    ),
]


def _at_least(unit: str, least: int) -> typer.models.OptionInfo:
    """A threshold or cap: a whole number."""
    option: typer.models.OptionInfo = typer.Option(metavar="N", min=least, help=unit)
    return option


@app.callback()
def metadata() -> None:
    """Make the list of entries that MetaCLIP balances by.

    `metaclip.EntryMatch` looks for the entries of such a list in every caption.
    """


TitleViews = Annotated[int, _at_least("Take titles with N views or more in all hours.", 1)]
HourlyViews = Annotated[int, _at_least("Ignore an hour in which the title has fewer than N views.", 1)]
Titles = Annotated[int, _at_least("Take at most N titles, the most viewed first.", 0)]
Project = Annotated[
    str, typer.Option(metavar="CODE", help="Project of the page view files; en is the English Wikipedia.")
]
Unspaced = Annotated[
    bool, typer.Option("--unspaced", help="Join the words of a pair without a space, for zh, ja, th.")
]
MaxLength = Annotated[int, _at_least("Leave out entries of more than N characters.", 1)]
Workers = Annotated[int | None, _at_least("Processes. Default: one per CPU core.", 1)]


@app.command()
def build(
    out: Annotated[str, typer.Argument(metavar="OUT", help=f"List to write; ends in {', '.join(SUFFIXES)}.")],
    wordnet: WordNet = None,
    wikipedia: Wikipedia = None,
    pageviews: Pageviews = None,
    unigram_count: Annotated[int, _at_least("Take words that occur N times or more.", 1)] = 100,
    unigrams: Annotated[int, _at_least("Take at most N words, the most frequent first.", 0)] = 251_465,
    bigram_pmi: Annotated[
        float,
        typer.Option(
            metavar="BITS", min=-64, max=64, help="Take pairs of words whose PMI (log2) is BITS or more."
        ),
    ] = 30,
    bigram_count: Annotated[int, _at_least("Take pairs that occur N times or more.", 1)] = 1,
    bigrams: Annotated[int, _at_least("Take at most N pairs, the highest PMI first.", 0)] = 100_646,
    title_views: TitleViews = 70,
    hourly_views: HourlyViews = 50,
    titles: Titles = 61_235,
    project: Project = "en",
    unspaced: Unspaced = False,
    tokenizer: Tokenizer = None,
    max_length: MaxLength = 256,
    workers: Workers = None,
    verbose: Verbose = False,
) -> None:
    """Make a list from WordNet, Wikipedia dumps and page views.

    Give one source or more. "0" to "99" are always in the list. The defaults
    are MetaCLIP's.

    Examples:

      winnow metadata build list.json --wordnet /usr/share/wordnet
      winnow metadata build list.json --wordnet /usr/share/wordnet \\
          --wikipedia dumps/ --pageviews pageviews/
    """
    from jobs.metadata.pageviews import TitleBounds
    from jobs.metadata.sources import files_of, viewed_titles, wikipedia_words, wordnet_names
    from jobs.metadata.words import WordBounds
    from jobs.processes import in_order

    _check(out, wordnet, wikipedia, pageviews)
    joint = "" if unspaced else " "
    bounds = WordBounds(unigram_count, unigrams, bigram_pmi, bigram_count, bigrams, joint, max_length)
    wanted = TitleBounds(project, hourly_views, title_views, titles, max_length)
    dumps = files_of("--wikipedia", wikipedia, DUMPS) if wikipedia else []
    hours = files_of("--pageviews", pageviews, HOURS) if pageviews else []
    each = in_order(workers or os.cpu_count() or 1)
    sources = [NUMERALS, *(wordnet_names(wordnet) if wordnet else ())]
    sources += wikipedia_words(dumps, bounds, tokenizer, each) if dumps else ()
    sources += viewed_titles(hours, wanted, each) if hours else ()
    _write(sources, max_length, out)


def _check(out: str, wordnet: str | None, *others: str | None) -> None:
    """Raises RecipeError for a wrong OUT or no source, before anything is read."""
    from pipeline.export.places.file import check_file

    if not out.endswith(SUFFIXES):
        raise RecipeError(f"OUT must end in one of {', '.join(SUFFIXES)}, got {out}")
    check_file(out, "OUT")
    if not (wordnet or any(others)):
        raise RecipeError("at least one of --wordnet, --wikipedia and --pageviews must be given, got none")
    if wordnet:
        from jobs.metadata.wordnet import check_folder

        check_folder(wordnet)


def _write(sources: Sequence[Source], max_length: int, out: str) -> None:
    """Write the list; print its path on stdout and what each source gave on stderr."""
    from jobs.metadata.sources import show_sources
    from pipeline.export.places.file import writing_file
    from pipeline.storage.folder import Folder

    entries, rows = union(sources, max_length)
    with writing_file(out, "OUT", {"export": "metadata"}) as path, open(path, "wb") as file:
        file.write(encode(entries, out))
    show_sources(rows, len(entries))
    put(Folder(out).base)
