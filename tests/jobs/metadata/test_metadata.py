"""Metadata lists: each source in its real format, the same bytes every time, and every error."""

import bz2
import gzip
import json
from collections import Counter
from dataclasses import asdict
from fractions import Fraction
from inspect import signature
from itertools import pairwise
from math import log2
from pathlib import Path

import fsspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.commands.metadata import app
from jobs.commands.metadata import build as metadata_build
from jobs.metadata.entries import Source, encode, fits, union
from jobs.metadata.pageviews import TitleBounds, rank_titles, read_hour
from jobs.metadata.sources import files_of
from jobs.metadata.wikipedia import Batch, batches, plain
from jobs.metadata.wordnet import synset_names
from jobs.metadata.words import CountsOnDisk, WordBounds, count_lines, rank
from jobs.processes import in_order
from pipeline.errors import RecipeError

LICENCE = (
    "  1 This software and database is being provided to you, the LICENSEE, by  \n"
    "  2 Princeton University under the following license.  By obtaining, using  \n"
)
WNDB = {
    "data.noun": (
        "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 ~ 00002137 n 0000 ~ 04424418 n 0000 | that which is\n"
        "00001930 03 n 01 physical_entity 0 007 @ 00001740 n 0000 | an entity that has physical existence  \n"
        "05629682 09 n 06 Hell 0 perdition 0 Inferno 1 infernal_region 0 pit 0 006 @ 05625879 n 0000 | x\n"
    ),
    "data.verb": "00001740 29 v 04 breathe 0 take_a_breath 0 respire 0 suspire 3 021 * 00005041 v 0000 | draw\n",
    "data.adj": (
        "00096913 00 s 01 d.o.a. 0 001 & 00095280 a 0000 | abbreviation for `dead on arrival'  \n"
        "00202677 00 s 01 regardant(ip) 0 002 & 00201354 a 0000 ;c 05801594 n 0000 | looking backward  \n"
        "03146311 01 a 04 .22_caliber 0 .22-caliber 0 .22_calibre 0 .22-calibre 0 004 \\ 05103283 n 0404 | x\n"
    ),
    "data.adv": "00191058 02 r 03 et_al. 1 et_al 1 et_alibi 0 000 | and elsewhere (used when referring)  \n",
}
NAMES = ["breathe", "d", "entity", "et al", "hell", "physical entity", "regardant"]
NUMERALS = [str(number) for number in range(100)]

EXPORT = """\
<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Diskussion</namespace>
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
PAGE = """\
  <page>
    <title>{title}</title>
    <ns>{ns}</ns>
    <id>7</id>{redirect}
    <revision>
      <id>11</id>
      <timestamp>2024-05-01T00:00:00Z</timestamp>
      <contributor><username>A text</username><id>3</id></contributor>
      <comment>a comment that is no text</comment>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="9" sha1="x" xml:space="preserve">{text}</text>
    </revision>
  </page>
"""
DOG = """\
{{Infobox dog|name=secret {{nested|x}}}}__NOTOC__
[[File:a.jpg|thumb|a [[hidden]] caption]][[Datei:b.jpg]]
A '''hot''' [[Dog|dog]]&lt;ref name="a"&gt;a book&lt;/ref&gt; &amp;amp; [[cat]]s[[Star Trek: Nine]]&lt;!-- no --&gt;.
{| class="wikitable"
! head !! other
|-
| cell || cell
|}
== Kinds ==
* one {{lang|x}} two &lt;math&gt;x^2&lt;/math&gt;[http://a.org a link]
[[Category:Dogs]][[Kategorie:Hunde]]
"""


def page(text: str, ns: int = 0, redirect: str = "") -> str:
    found = f'\n    <redirect title="{redirect}" />' if redirect else ""
    return PAGE.format(title="T", ns=ns, redirect=found, text=text)


def dump(path: Path, *pages: str) -> str:
    path.write_bytes(bz2.compress((EXPORT + "".join(pages) + "</mediawiki>\n").encode()))
    return str(path)


def wndb(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    for name, lines in WNDB.items():
        (folder / name).write_text(LICENCE + lines)
    return str(folder)


def hours(folder: Path, *files: str) -> str:
    folder.mkdir(exist_ok=True)
    for hour, lines in enumerate(files):
        path = folder / f"pageviews-20240501-{hour:02}0000.gz"
        path.write_bytes(gzip.compress(lines.encode()))
    return str(folder)


def texts(path: str) -> list[str]:
    return [text for batch in batches([path], lambda *_: None) for text in batch.texts]


def build(*arguments: object):
    return CliRunner().invoke(app, ["build", *map(str, arguments)])


def entries(path: Path) -> list[str]:
    return json.loads(path.read_text(encoding="utf-8"))


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


# Words and pairs


def counts(lines: list[str]) -> tuple[dict, dict]:
    words, pairs = count_lines(lines)
    return dict(words.iter_rows()), {(a, b): n for a, b, n in pairs.iter_rows()}


@pytest.mark.parametrize(
    ("line", "words", "pairs"),
    [
        ("A dog, a dog", "A dog a dog", "A dog|a dog"),
        ("don't T-shirt it\u2019s -b", "don't T-shirt it\u2019s b", "don't T-shirt|T-shirt it\u2019s"),
        ("rock-'n'-roll", "rock n roll", ""),
        ("end. Next U.S. 1,000", "end Next U S 1 000", "Next U"),
        ("snake_case café नमस्ते", "snake case café नमस्ते", "case café|café नमस्ते"),
        ("x  y\tz", "x y z", "x y|y z"),
        ("© (a) -b-", "a b", ""),
        ("", "", ""),
    ],
)
def test_tokens(line, words, pairs):
    found, near = counts([line])
    assert found == Counter(words.split())
    assert near == Counter(tuple(pair.split(" ")) for pair in pairs.split("|") if pair)


def test_lines_are_apart():
    assert counts(["a b", "c"]) == ({"a": 1, "b": 1, "c": 1}, {("a", "b"): 1})


HAND = ("a b. a b. c d a c",)  # N = 8: a 3, b 2, c 2, d 1; a b 2, c d 1, d a 1, a c 1


def ranked(items, tmp_path, each=map, **bounds):
    folder = tmp_path / "tally"
    folder.mkdir(exist_ok=True)
    return rank(items, WordBounds(**bounds), None, str(folder), each)


@pytest.mark.parametrize(
    ("bounds", "pairs", "found"),
    [
        ({"bigram_pmi": 0}, ["c d", "a b", "d a", "a c"], 4),  # 2, log2 8/3 twice (by count), log2 8/6
        ({"bigram_pmi": log2(8 / 3) - 1e-9}, ["c d", "a b", "d a"], 3),
        ({"bigram_pmi": 2}, ["c d"], 1),  # the threshold itself passes
        ({"bigram_pmi": 2.001}, [], 0),
        ({"bigram_pmi": 0, "bigrams": 2}, ["c d", "a b"], 4),
        ({"bigram_pmi": 0, "bigram_count": 2}, ["a b"], 1),
        ({"bigram_pmi": 0, "joint": ""}, ["cd", "ab", "da", "ac"], 4),
        ({"bigram_pmi": 0, "max_length": 2}, [], 4),
    ],
)
def test_pmi_by_hand(tmp_path, bounds, pairs, found):
    corpus = ranked([Batch(HAND, frozenset())], tmp_path, **bounds)
    assert (corpus.total, corpus.pairs.entries, corpus.pairs.passed) == (8, pairs, found)


@pytest.mark.parametrize(
    ("bounds", "words", "found"),
    [
        ({"unigram_count": 1}, ["a", "b", "c", "d"], 4),
        ({"unigram_count": 2}, ["a", "b", "c"], 3),
        ({"unigram_count": 2, "unigrams": 2}, ["a", "b"], 3),
        ({"unigram_count": 4}, [], 0),
    ],
)
def test_words_by_count(tmp_path, bounds, words, found):
    corpus = ranked([Batch(HAND, frozenset())], tmp_path, **bounds)
    assert corpus.words == (words, found)


def test_any_batches_and_any_processes(tmp_path):
    articles = [f"word{i % 7} next{i % 3}, other{i % 5} word{i % 2}" for i in range(40)]
    whole = ranked([Batch(tuple(articles), frozenset())], tmp_path / "", bigram_pmi=0, unigram_count=1)
    single = [Batch((text,), frozenset()) for text in articles]
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        assert ranked(single, folder, in_order(workers), bigram_pmi=0, unigram_count=1) == whole
    assert whole.total == 160
    assert len(whole.words.entries) == 7 + 3 + 5


def test_what_cannot_be_parsed_is_counted(tmp_path, monkeypatch):
    def fail(_):
        raise RecursionError

    monkeypatch.setattr("mwparserfromhell.parse", fail)
    found = ranked([Batch(("a", "b"), frozenset())], tmp_path)
    assert (found.failed, found.total, found.words.entries, found.pairs.entries) == (2, 0, [], [])


@given(parts=st.lists(st.lists(st.sampled_from("abcdé"), max_size=8), max_size=8), rows=st.integers(1, 9))
@settings(max_examples=40)
def test_sums_on_disk_equal_sums_in_memory(tmp_path_factory, parts, rows):
    tally = CountsOnDisk(str(tmp_path_factory.mktemp("tally") / "t"), ["key"], rows)
    for part in [[], *parts]:
        n = pl.Series("n", [1] * len(part), dtype=pl.Int64)
        tally.add_counts(pl.DataFrame({"key": pl.Series(part, dtype=pl.String), "n": n}))
    found = [row for frame in tally.sums() for row in frame.iter_rows()]
    assert len(found) == len(dict(found))
    assert dict(found) == Counter(letter for part in parts for letter in part)


@given(st.lists(st.text(alphabet="aB1é.,-' ", max_size=12), max_size=6))
@settings(max_examples=60)
def test_words_are_pieces_of_their_lines_and_pairs_are_fewer(lines):
    words, pairs = counts(lines)
    assert all(any(word in line for line in lines) for word in words)
    assert sum(c.isalnum() for line in lines for c in line) == sum(
        n * sum(c.isalnum() for c in word) for word, n in words.items()
    )
    for first in words:
        assert sum(n for (a, _), n in pairs.items() if a == first) <= words[first]


@given(
    lines=st.lists(st.lists(st.sampled_from(["a", "b", "c", "D", "."]), max_size=9), min_size=1, max_size=5),
    pmi=st.sampled_from([-2, -0.5, 0, 0.5, 1, 2, 3]),
)
@settings(max_examples=15)
def test_pmi_as_defined(tmp_path_factory, lines, pmi):
    n = Counter(word for line in lines for word in line if word != ".")
    near = Counter(pair for line in lines for pair in pairwise(line) if "." not in pair)
    lift = {(a, b): Fraction(k * n.total(), n[a] * n[b]) for (a, b), k in near.items()}
    wanted = sorted((-lift[pair], -near[pair], pair) for pair in near if lift[pair] >= 2.0**pmi)
    batch = Batch(tuple(" ".join(line) for line in lines), frozenset())
    found = ranked([batch], tmp_path_factory.mktemp("pmi"), bigram_pmi=pmi, unigram_count=1)
    assert found.pairs.entries == [" ".join(pair) for _, _, pair in wanted]
    assert found.words.entries == sorted(n, key=lambda word: (-n[word], word))


def characters(line: str) -> list[str]:
    """A tokeniser for the tests: every character."""
    return list(line)


def test_tokenizer_of_another_language(tmp_path):
    path = dump(tmp_path / "d.xml.bz2", page("黒猫。白猫"))
    out = tmp_path / "o.json"
    bounds = ["--bigram-pmi", 0, "--unigram-count", 1, "--unspaced", "--workers", 1]
    build(out, "--wikipedia", path, "--tokenizer", "tests.jobs.metadata.test_metadata.characters", *bounds)
    assert entries(out) == [*NUMERALS, "猫", "白", "黒", "白猫", "黒猫"]


# Titles


HOUR = (
    "aa Main_Page 60 0\nen Main_Page 60 0\nen File:A.jpg 900 0\nen Golden_Retriever 50 0\nen Rare 49 0\n"
    "en - 999 0\nen.m Main_Page 500 0\nen _A_b 70 0\nen Caf\u00e9 100 0\n"
)


def rank_hours(folder: str, **wanted):
    paths = files_of("--pageviews", folder, "pageviews-*")
    return rank_titles(paths, TitleBounds(**wanted), map, lambda *_: None)


def test_titles_by_views_over_hours(tmp_path):
    second = "en Golden_Retriever 21 0\nen Main_Page 55 0\nen Rare 49 0\nen Golden_Retriever 50 0\n"
    found = rank_hours(hours(tmp_path / "v", HOUR, second))
    assert found.entries == ["Main Page", "Café", "Golden Retriever", "A b"]  # 115, 100, 100, 70
    assert (found.passed, found.broken) == (5, 0)  # and "-", which does not fit


@pytest.mark.parametrize(
    ("wanted", "titles"),
    [
        ({}, ["Café", "A b"]),
        ({"views": 100}, ["Café"]),
        ({"views": 50}, ["Café", "A b", "Main Page", "Golden Retriever"]),
        ({"views": 49, "hourly": 49, "titles": 5}, ["Café", "A b", "Main Page", "Golden Retriever", "Rare"]),
        ({"titles": 1}, ["Café"]),
        ({"titles": 0}, []),
        ({"max_length": 3}, ["A b"]),
        ({"project": "en.m"}, ["Main Page"]),
    ],
)
def test_thresholds_of_titles(tmp_path, wanted, titles):
    assert rank_hours(hours(tmp_path / "v", HOUR), **wanted).entries == titles


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
def test_kinds_of_files(tmp_path, suffix, pack):
    path = tmp_path / f"pageviews-20240501-000000{suffix}"
    path.write_bytes(pack(HOUR.encode()))
    assert read_hour(str(path), TitleBounds(project="aa")).views == {"Main Page": 60}


def test_broken_rows_are_counted(tmp_path):
    path = tmp_path / "pageviews-1"
    path.write_bytes(b"en A 70 0\nen B\nen C x 0\nen \xff 99 0\nen D 80 0\n")
    found = rank_hours(str(path))
    assert (found.entries, found.broken) == (["D", "A"], 2)


# The list


@pytest.mark.parametrize(
    "entry", ["", "!", "?!", "...", "—", "a\nb", "a\r", "a\tb", "a\u2028b", " ", "$", "x" * 257]
)
def test_what_does_not_fit(entry):
    assert not fits(entry, 256)


@pytest.mark.parametrize("entry", ["a", "1", "C++", "(red)", "猫", "x" * 256, "♥", "U.S."])
def test_what_fits(entry):
    assert fits(entry, 256)


def test_union_by_hand():
    found, rows = union([Source("x", ["b", "a", "!"], 9), Source("y", ["a", "c", "b"], 3)], 256)
    assert found == ["b", "a", "c"]
    assert [tuple(row) for row in rows] == [("x", 9, 3, 2), ("y", 3, 3, 1)]


@given(st.lists(st.lists(st.text(max_size=4), max_size=6), max_size=4))
def test_union_law(lists):
    found, rows = union([Source("", part, 0) for part in lists], 3)
    assert len(found) == len(set(found)) == sum(row.new for row in rows)
    assert set(found) == {entry for part in lists for entry in part if fits(entry, 3)}
    assert union([Source("", found, 0)], 3)[0] == found
    assert json.loads(encode(found, "x.json")) == found
    assert gzip.decompress(encode(found, "x.txt.gz")).decode().splitlines() == found


# The command


def arguments(tmp_path: Path) -> list[object]:
    text = "The hot dog barks. A hot dog sleeps. entity!"
    sources = {
        "--wordnet": wndb(tmp_path / "wn"),
        "--wikipedia": dump(tmp_path / "d.xml.bz2", page(DOG), page(text), page("no", ns=1)),
        "--pageviews": hours(tmp_path / "views", HOUR, HOUR, "en Hell 70 0\n"),
    }
    return [part for pair in sources.items() for part in pair] + ["--unigram-count", 2, "--bigram-pmi", 2]


def test_the_whole_list(tmp_path):
    done = build(tmp_path / "o.json", *arguments(tmp_path), "--workers", 1)
    assert done.stdout == f"{tmp_path}/o.json\n"
    # words: A hot dog & cats Star ... = N 23; 3 hot, 3 dog, 2 A
    assert entries(tmp_path / "o.json")[:110] == [*NUMERALS, *NAMES, "dog", "hot", "A"]
    assert entries(tmp_path / "o.json")[-5:] == ["Café", "A b", "Main Page", "Golden Retriever", "Hell"]
    lines = [line.split() for line in done.stderr.splitlines()]
    assert lines[0] == ["Metadata"]  # and no progress, where there is no terminal
    assert ["numerals", "100", "100", "100"] in lines
    assert ["WordNet", "names", "7", "7", "7"] in lines
    assert ["unigrams", "3", "3", "3"] in lines
    assert ["titles", "6", "5", "5"] in lines
    assert ["list", str(len(entries(tmp_path / "o.json")))] in lines


def test_the_same_bytes_every_time(tmp_path):
    given_ = arguments(tmp_path)
    made = []
    for name, workers in (("a", 1), ("b", 1), ("c", 3)):
        assert build(tmp_path / f"{name}.json", *given_, "--workers", workers).exit_code == 0
        made.append((tmp_path / f"{name}.json").read_bytes())
    assert made[0] == made[1] == made[2]
    assert sorted(p.name for p in tmp_path.glob("*.json")) == ["a.json", "b.json", "c.json"]


def test_plain_and_packed_hold_the_same(tmp_path):
    for suffix in ("json", "txt", "json.gz", "txt.gz"):
        assert build(tmp_path / f"o.{suffix}", "--wordnet", wndb(tmp_path / "wn")).exit_code == 0
    wanted = [*NUMERALS, *NAMES]
    assert entries(tmp_path / "o.json") == wanted
    assert (tmp_path / "o.txt").read_text().splitlines() == wanted
    assert gzip.decompress((tmp_path / "o.json.gz").read_bytes()) == (tmp_path / "o.json").read_bytes()
    assert gzip.decompress((tmp_path / "o.txt.gz").read_bytes()) == (tmp_path / "o.txt").read_bytes()


def test_object_storage(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/in/d.xml.bz2", Path(dump(tmp_path / "d.xml.bz2", page("dog dog"))).read_bytes())
    memory.pipe("/in/pageviews-1", b"en Cat 70 0\n")
    sources = ["--wikipedia", "memory://in/d.xml.bz2", "--pageviews", "memory://in"]
    assert build("memory://out/o.txt", *sources, "--unigram-count", 2, "--workers", 1).exit_code == 0
    assert memory.cat("/out/o.txt").decode().split() == [*NUMERALS, "dog", "Cat"]


def test_a_pmi_that_no_pair_can_have_is_said(tmp_path):
    done = build(
        tmp_path / "o.json", "--wikipedia", dump(tmp_path / "d.xml.bz2", page("a b c d")), "--workers", 1
    )
    assert "no bigram: among 4 words no pair can have a PMI over 2.0; lower --bigram-pmi" in done.stderr


def test_defaults_are_the_papers():
    options = {name: option.default for name, option in signature(metadata_build).parameters.items()}
    bounds, wanted = WordBounds(), TitleBounds()
    assert bounds == WordBounds(100, 251_465, 30, 1, 100_646, " ", 256)
    assert wanted == TitleBounds("en", 50, 70, 61_235, 256)
    assert {k: options[k] for k in asdict(bounds) if k != "joint"} == {
        k: v for k, v in asdict(bounds).items() if k != "joint"
    }
    named = {"project": "project", "hourly": "hourly_views", "views": "title_views", "titles": "titles"}
    assert {k: options[v] for k, v in named.items()} == {k: asdict(wanted)[k] for k in named}


# Errors


def refused(*arguments: object) -> str:
    error = build(*arguments).exception
    assert isinstance(error, RecipeError)
    assert "\n" not in str(error)
    return str(error)


def test_no_source_and_no_format(tmp_path):
    assert (
        refused("o.json") == "at least one of --wordnet, --wikipedia and --pageviews must be given, got none"
    )
    assert (
        refused("o.csv", "--wordnet", "x")
        == "OUT must end in one of .json, .txt, .json.gz, .txt.gz, got o.csv"
    )


def test_wordnet_folder_without_a_file(tmp_path):
    folder = Path(wndb(tmp_path / "wn"))
    (folder / "data.adv").unlink()
    assert refused(tmp_path / "o.json", "--wordnet", folder) == (
        f"--wordnet {folder} must be a WNDB folder with data.noun, data.verb, data.adj, data.adv; data.adv is missing"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LICENCE, "data.verb has no synset"),
        (LICENCE + "dog\n", "data.verb, line 3 must be a synset of the WNDB format .* got 'dog'"),
    ],
)
def test_wordnet_file_of_something_else(tmp_path, text, message):
    folder = Path(wndb(tmp_path / "wn"))
    (folder / "data.verb").write_text(text)
    with pytest.raises(RecipeError, match=message):
        synset_names(str(folder))


LAUGHS = (
    '<!DOCTYPE mediawiki [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>\n<mediawiki><page><ns>0</ns><revision><text>&i;</text></revision></page></mediawiki>"
)
GOOD = (EXPORT + page("a") + "</mediawiki>").encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not bz2", "Invalid data stream"),
        (bz2.compress(GOOD)[:-20], "ended before the end-of-stream marker"),
        (bz2.compress(GOOD[:-20]), "no element found"),
        (bz2.compress(b"<html></html>"), "its root is <html>, not <mediawiki>"),
        (bz2.compress(b"plain text"), "syntax error: line 1"),
        (bz2.compress(LAUGHS.encode()), "it has a document type, which no MediaWiki export has"),
        (bz2.compress(EXPORT.encode() + b"<page><title>a</page>"), "mismatched tag: line 11"),
        (b"", "EOFError"),
    ],
)
def test_dumps_of_something_else(tmp_path, data, message):
    path = tmp_path / "d.xml.bz2"
    path.write_bytes(data)
    said = refused(tmp_path / "o.json", "--wikipedia", path, "--workers", 1)
    assert said.startswith(f"--wikipedia {path} must be a MediaWiki export (XML, plain, bz2 or gz): ")
    assert message in said
    assert not (tmp_path / "o.json").exists()


def test_a_dump_without_articles(tmp_path):
    path = dump(tmp_path / "d.xml.bz2", page("a", ns=1))
    assert refused(tmp_path / "o.json", "--wikipedia", path, "--workers", 1) == (
        f"--wikipedia {path} has no article (a page of namespace 0 that is not a redirect)"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            gzip.compress(b"en.wikipedia Dog 1 desktop 5 A5\n"),
            "must hold lines of `project title views bytes`, got b'en.w",
        ),
        (gzip.compress(b""), "must hold lines of `project title views bytes`, got b''"),
        (gzip.compress(HOUR.encode() * 99)[:-20], "cannot be read: EOFError"),
        (b"en Dog 5 0\n", "cannot be read: BadGzipFile"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_pageviews_of_something_else(tmp_path, data, message, workers):
    path = tmp_path / "pageviews-1.gz"
    path.write_bytes(data)
    assert refused(tmp_path / "o.json", "--pageviews", path, "--workers", workers).startswith(
        f"--pageviews {path} {message}"
    )


def test_a_project_that_is_not_there(tmp_path):
    said = refused(
        tmp_path / "o.json", "--pageviews", hours(tmp_path / "v", HOUR), "--project", "de", "--workers", 1
    )
    assert said == (
        "--project must have rows in a page view file (the English Wikipedia is en); 'de' has none in 1 files"
    )


@pytest.mark.parametrize(("option", "inside"), [("--wikipedia", "*.xml*"), ("--pageviews", "pageviews-*")])
def test_sources_that_are_not_there(tmp_path, option, inside):
    for pattern in (tmp_path, tmp_path / "x", tmp_path / "x*"):
        assert refused(tmp_path / "o.json", option, pattern) == (
            f"{option} must be a file, a folder with {inside} or a glob; there is no such file at {pattern}"
        )


@pytest.mark.parametrize(
    "path", ["nothing", "no.such.function", "tests.jobs.metadata.test_metadata.nothing", ""]
)
def test_a_tokenizer_that_is_not_there(tmp_path, path):
    wanted = ["--wikipedia", dump(tmp_path / "d.xml.bz2", page("a")), "--tokenizer", path, "--workers", 1]
    assert refused(tmp_path / "o.json", *wanted).startswith(
        f"--tokenizer must be the import path of a function that splits a line into words, got {path!r}: "
    )


def test_folder_takes_what_is_called_like_it(tmp_path):
    for name in ("pageviews-2.gz", "pageviews-1.gz", "projectviews-1", "md5sums.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert files_of("--pageviews", str(tmp_path), "pageviews-*") == [
        f"{tmp_path}/pageviews-1.gz",
        f"{tmp_path}/pageviews-2.gz",
    ]
