"""`winnow metadata build`: the whole list, the same bytes every time."""

import gzip
from dataclasses import asdict
from inspect import signature
from pathlib import Path

import fsspec

from jobs.commands.groups.metadata import build as metadata_build
from jobs.metadata.pageviews import TitleBounds
from jobs.metadata.words import WordBounds
from tests.jobs.metadata.made_sources import NAMES, NUMERALS, arguments, build, dump, entries, page, wndb


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
    assert sorted(p.name for p in tmp_path.glob("?.json")) == ["a.json", "b.json", "c.json"]


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
