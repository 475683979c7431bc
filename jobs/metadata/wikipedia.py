"""Articles of a Wikipedia dump as plain text.

The dump is MediaWiki's XML export, plain, bz2 or gz. It is streamed.

Articles are the pages of namespace 0 that are not redirects. Templates, tables, files, categories,
references, code and mathematics are left out. A template or a table becomes a line break, so that the words
before and after it do not count as neighbours.

**Source**: the export format is https://www.mediawiki.org/wiki/Help:Export; mwparserfromhell parses wikitext.
**Differs**: templates are not expanded; WikiExtractor, which MetaCLIP 2 names, expands them.
**Safety**: a document type is refused, and with it all entities but XML's own five. So a dump cannot expand
to more than its size.
**Memory**: the text of the largest page.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from xml.parsers import expat

import fsspec
import mwparserfromhell
from mwparserfromhell.nodes import Argument, Comment, Tag, Template, Wikilink
from mwparserfromhell.parser import ParserError

from jobs.terminal.bar import Tick
from pipeline.errors import RecipeError, worded

CHUNK = 1 << 20  # bytes of XML parsed at once
BATCH = 1 << 22  # characters of wikitext that travel to a worker at once
MARKUP = frozenset({"chem", "code", "math", "pre", "score", "source", "syntaxhighlight", "timeline"})
HIDDEN = MARKUP | {"gallery", "imagemap", "ref", "references"}  # tags whose content is not prose
CANONICAL = frozenset({"file", "image", "category"})  # prefixes of links that are not prose, on every wiki
FILE_AND_CATEGORY = {"6", "14"}  # numbers of these namespaces; a dump gives their names in its language
_KEPT = {"ns", "text", "namespace"}  # XML elements whose characters are read
_SWITCH = re.compile(r"__[A-Z]+__")  # such as __NOTOC__


@dataclass(frozen=True)
class Batch:
    """Wikitexts of some articles, and the lower-case prefixes of links that are not prose."""

    texts: tuple[str, ...]
    hidden: frozenset[str]


def batches(paths: Sequence[str], tick: Tick, characters: int = BATCH) -> Iterator[Batch]:
    """Articles in the order of the dumps, about `characters` at a time.

    Raises RecipeError for a file that is not an export or has no article.
    """
    articles = 0
    for index, path in enumerate(paths):
        before = articles
        for batch, share in _batches(path, characters):
            articles += len(batch.texts)
            tick(articles, (index + share) / len(paths))
            yield batch
        if articles == before:
            raise RecipeError(
                f"--wikipedia {path} has no article (a page of namespace 0 that is not a redirect)"
            )


def _batches(path: str, characters: int) -> Iterator[tuple[Batch, float]]:
    """Batches of one dump, each with the share of the file that has been read."""
    export = _Export()
    texts: list[str] = []
    size = 0
    for articles, share in _read(path, export):
        for text in articles:
            texts.append(text)
            size += len(text)
            if size >= characters:
                yield Batch(tuple(texts), frozenset(export.hidden)), share
                texts = []
                size = 0
    if texts:
        yield Batch(tuple(texts), frozenset(export.hidden)), 1.0


def _read(path: str, export: "_Export") -> Iterator[tuple[list[str], float]]:
    """The articles that end in each chunk of a file, and the share that has been read. Raises RecipeError."""
    try:
        opened = fsspec.open(path, "rb", compression="infer")
        with opened as file:
            total = max(opened.fs.size(opened.path) or 1, 1)
            for chunk in iter(partial(file.read, CHUNK), b""):
                yield export.feed(chunk), min(opened.fobjects[0].tell() / total, 1.0)
            export.close()
    except (OSError, EOFError, ValueError, expat.ExpatError) as error:
        raise RecipeError(
            f"--wikipedia {path} must be a MediaWiki export (XML, plain, bz2 or gz): {worded(error)}"
        ) from error


class _Export:
    """An expat parser that keeps the wikitext of articles. Raises ValueError for another kind of XML."""

    def __init__(self) -> None:
        self.hidden = set(CANONICAL)  # lower-case prefixes of links that are not prose
        self.articles: list[str] = []  # wikitexts that have ended
        self._depth = 0
        self._key = ""  # number of the namespace whose name is being read
        self._page: dict[str, str] = {}  # the elements of the page so far
        self._characters: list[str] = []  # the element's characters so far
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, data: bytes) -> list[str]:
        """Parse a chunk; returns the articles that end in it."""
        self._parser.Parse(data, False)
        articles, self.articles = self.articles, []
        return articles

    def close(self) -> None:
        """Raises ExpatError if the export is cut off."""
        self._parser.Parse(b"", True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth == 0 and name != "mediawiki":
            raise ValueError(f"its root is <{name}>, not <mediawiki>")
        self._depth += 1
        if name == "page":
            self._page = {}
        elif name == "redirect":
            self._page["redirect"] = attributes.get("title", "")
        elif name in _KEPT:
            self._characters, self._key = [], attributes.get("key", "")
            self._parser.CharacterDataHandler = self._characters.append

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name in _KEPT:
            self._parser.CharacterDataHandler = None
            self._page[name] = "".join(self._characters)
        if name == "namespace" and self._key in FILE_AND_CATEGORY:
            self.hidden.add(self._page[name].lower())
        elif name == "page" and self._page.get("ns") == "0" and "redirect" not in self._page:
            self.articles.append(self._page.get("text", ""))

    def _refuse(self, *_: Any) -> None:
        raise ValueError("it has a document type, which no MediaWiki export has")


def plain(wikitext: str, hidden: frozenset[str]) -> str | None:
    """The text that a reader of the page sees, without templates and tables; None if it cannot be parsed."""
    try:
        return _SWITCH.sub("", _visible(mwparserfromhell.parse(wikitext), hidden))
    except (ParserError, RecursionError):
        return None


def _visible(code: Any, hidden: frozenset[str]) -> str:
    """The visible text of parsed wikitext."""
    return "".join(_shown(node, hidden) for node in code.nodes) if code is not None else ""


def _shown(node: Any, hidden: frozenset[str]) -> str:
    """The visible text of one node: a line break for a template, nothing for a comment or a hidden link."""
    if isinstance(node, Template | Argument):
        return "\n"
    if isinstance(node, Wikilink):
        prefix, colon, _ = str(node.title).partition(":")
        shown = node.title if node.text is None else node.text
        return "" if colon and prefix.strip().lower() in hidden else _visible(shown, hidden)
    if isinstance(node, Tag):
        return _tag(node, hidden)
    text = None if isinstance(node, Comment) else node.__strip__(normalize=True, collapse=True)
    return "" if text is None else str(text)


def _tag(node: Tag, hidden: frozenset[str]) -> str:
    """The visible text of a tag: a line break for a table or <br>, nothing for a hidden tag."""
    name = str(node.tag).strip().lower()
    if name in ("table", "br"):
        return "\n"
    return "" if name in HIDDEN else _visible(node.contents, hidden)
