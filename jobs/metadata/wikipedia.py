"""Articles of a Wikipedia dump as plain text: MediaWiki's XML export, streamed, plain or bz2 or gz.

Articles only: namespace 0 and no redirect. Templates, tables, files, categories, references, code and
mathematics are left out; what a template or a table would have shown is a line break, so that the words
around it are no neighbours.

**Source**: the export format is https://www.mediawiki.org/wiki/Help:Export; wikitext is parsed by
mwparserfromhell.
**Differs**: from WikiExtractor, which MetaCLIP 2 names, in that no template is expanded.
**Safety**: a document type is refused, and with it every entity but XML's own five, so that no dump can grow
beyond its size. Memory is the largest page's text.
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
HIDDEN = MARKUP | {"gallery", "imagemap", "ref", "references"}  # tags whose content is no prose
CANONICAL = frozenset({"file", "image", "category"})  # link prefixes that every wiki understands
FILE_AND_CATEGORY = {"6", "14"}  # namespaces whose links are no text; a dump says what its wiki calls them
_KEPT = {"ns", "text", "namespace"}  # elements whose characters matter
_SWITCH = re.compile(r"__[A-Z]+__")  # such as __NOTOC__


@dataclass(frozen=True)
class Batch:
    """Wikitexts of some articles, and the lower-case link prefixes that stand for no text."""

    texts: tuple[str, ...]
    hidden: frozenset[str]


def batches(paths: Sequence[str], tick: Tick, characters: int = BATCH) -> Iterator[Batch]:
    """Articles in the dumps' order, so many characters at a time. Raises RecipeError."""
    done = 0
    for index, path in enumerate(paths):
        before = done
        for batch, share in _batches(path, characters):
            done += len(batch.texts)
            tick(done, (index + share) / len(paths))
            yield batch
        if done == before:
            raise RecipeError(f"--wikipedia {path} holds no article (namespace 0, no redirect)")


def _batches(path: str, characters: int) -> Iterator[tuple[Batch, float]]:
    """Batches of one dump, each with the share of the file that is read."""
    export, texts, size = _Export(), list[str](), 0
    for articles, share in _read(path, export):
        for text in articles:
            texts.append(text)
            size += len(text)
            if size >= characters:
                yield Batch(tuple(texts), frozenset(export.hidden)), share
                texts, size = [], 0
    if texts:
        yield Batch(tuple(texts), frozenset(export.hidden)), 1.0


def _read(path: str, export: "_Export") -> Iterator[tuple[list[str], float]]:
    """What each chunk of a file completes. Raises RecipeError."""
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
        self.hidden, self.articles = set(CANONICAL), list[str]()
        self._depth, self._key = 0, ""
        self._page, self._characters = dict[str, str](), list[str]()
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, data: bytes) -> list[str]:
        """The articles that end in this chunk."""
        self._parser.Parse(data, False)
        found, self.articles = self.articles, []
        return found

    def close(self) -> None:
        """Raises ExpatError where the export is cut off."""
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
    """What a reader sees of a text, without templates and tables; None where it cannot be parsed."""
    try:
        return _SWITCH.sub("", _visible(mwparserfromhell.parse(wikitext), hidden))
    except (ParserError, RecursionError):
        return None


def _visible(code: Any, hidden: frozenset[str]) -> str:
    return "".join(_shown(node, hidden) for node in code.nodes) if code is not None else ""


def _shown(node: Any, hidden: frozenset[str]) -> str:
    """One node: a break for a template or a table, nothing for what is hidden, or its text."""
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
    """A break for a table or <br>, nothing for a hidden tag, or what is inside."""
    name = str(node.tag).strip().lower()
    if name in ("table", "br"):
        return "\n"
    return "" if name in HIDDEN else _visible(node.contents, hidden)
