"""Wikipedia's dumps: first words, articles, plain text; the list that is built by default."""

import gzip
from pathlib import Path

from jobs.metadata.entries import fits
from jobs.metadata.wikipedia import batches, plain
from jobs.metadata.wordnet import synset_names
from tests.jobs.metadata.made_sources import (
    DOG,
    NAMES,
    NUMERALS,
    dump,
    page,
    wndb,
)


def texts(path: str) -> list[str]:
    return [text for batch in batches([path], lambda *_: None) for text in batch.texts]


# WordNet
def test_first_words_lower_cased_without_markers_up_to_the_dot(tmp_path):
    assert synset_names(wndb(tmp_path / "wn")) == NAMES  # .22_caliber is empty before its dot


def test_default_list():
    packed = Path(__file__).parents[3] / "operators" / "data" / "wordnet.txt.gz"
    data = packed.read_bytes()
    assert data[4:8] == bytes(4)  # gzip's time
    lines = gzip.decompress(data).decode().splitlines()
    assert len(lines) == len(set(lines)) == 86_654  # the paper's first source: names and numerals
    assert lines[:100] == NUMERALS
    assert lines[100:] == sorted(lines[100:])
    assert {"dog", "sunset", "photograph", "golden retriever"} <= set(lines)
    assert all(fits(line, 256) for line in lines)


# Wikipedia: from the dump to plain text
def test_articles_only(tmp_path):
    path = dump(
        tmp_path / "d.xml.bz2",
        page("a &lt;b&gt; &amp;amp;"),
        page("#REDIRECT [[T]]", redirect="T"),
        page("talk", ns=1),
        page(""),
        page("last"),
    )
    assert texts(path) == ["a <b> &amp;", "", "last"]


def test_namespaces_of_the_wiki_hide_their_links(tmp_path):
    [batch] = batches([dump(tmp_path / "d.xml.bz2", page("a"))], lambda *_: None)
    assert batch.hidden == {"file", "image", "category", "datei", "kategorie"}


def test_plain_text(tmp_path):
    [batch] = batches([dump(tmp_path / "d.xml.bz2", page(DOG))], lambda *_: None)
    shown = plain(batch.texts[0], batch.hidden)
    assert [line.strip() for line in shown.splitlines() if line.strip()] == [
        "A hot dog & catsStar Trek: Nine.",
        "Kinds",
        "one",
        "two a link",
    ]


def test_batches_and_progress(tmp_path):
    paths = [dump(tmp_path / f"{i}.xml.bz2", *(page("word " * 10) for _ in range(5))) for i in range(2)]
    ticks = []
    found = list(batches(paths, lambda *tick: ticks.append(tick), characters=100))
    assert [len(batch.texts) for batch in found] == [2, 2, 1, 2, 2, 1]
    assert [done for done, _ in ticks] == [2, 4, 5, 7, 9, 10]
    assert ticks[-1] == (10, 1.0)
    assert [share for _, share in ticks] == sorted(share for _, share in ticks)
