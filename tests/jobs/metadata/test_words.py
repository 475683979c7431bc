"""Words by count and pairs by PMI: by hand, in any cut, in bounded memory."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from math import log2

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.metadata.wikipedia import Batch
from jobs.metadata.words import CountsOnDisk, WordBounds, count_lines, rank
from jobs.processes import in_order
from tests.jobs.metadata.made_sources import NUMERALS, build, dump, entries, page


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


def test_tokenizer_of_another_language(tmp_path):
    path = dump(tmp_path / "d.xml.bz2", page("黒猫。白猫"))
    out = tmp_path / "o.json"
    bounds = ["--bigram-pmi", 0, "--unigram-count", 1, "--unspaced", "--workers", 1]
    build(out, "--wikipedia", path, "--tokenizer", "tests.jobs.metadata.made_sources.characters", *bounds)
    assert entries(out) == [*NUMERALS, "猫", "白", "黒", "白猫", "黒猫"]
