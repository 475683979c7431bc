"""Sources that are missing, or that are something else."""

import bz2
import gzip
from pathlib import Path

import pytest

from jobs.metadata.sources import files_of
from jobs.metadata.wordnet import synset_names
from pipeline.errors import RecipeError
from tests.jobs.metadata.made_sources import (
    EXPORT,
    HOUR,
    LICENCE,
    build,
    dump,
    hours,
    page,
    wndb,
)


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
            gzip.compress(b"en.wikipedia Dog 1 desktop 5 A5\n", mtime=0),
            "must hold lines of `project title views bytes`, got b'en.w",
        ),
        (gzip.compress(b"", mtime=0), "must hold lines of `project title views bytes`, got b''"),
        (gzip.compress(HOUR.encode() * 99, mtime=0)[:-20], "cannot be read: EOFError"),
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
