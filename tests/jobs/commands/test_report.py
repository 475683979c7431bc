"""`winnow report`, as a user types it."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.support.command import winnow
from tests.support.decided_pool import ordinary

KEEP = "{caption.characters: {min: 3}, caption.side: {top: 0.5}}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A small pool whose columns are computed, and its recipe."""
    ordinary(tmp_path / "pool")
    (tmp_path / "r.yaml").write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\n"
        f"compute: {{caption: {{use: caption.Caption}}}}\nkeep: {KEEP}\n"
        f"export: {{subset: {tmp_path}/subset.npy}}\n"
    )
    assert winnow("compute", tmp_path / "r.yaml", "--local").returncode == 0
    return tmp_path


def test_the_page_is_written_and_what_its_pictures_cost_is_said(place):
    done = winnow("report", place / "r.yaml", "--out", place / "page.html")
    assert (done.returncode, done.stdout) == (0, f"{place}/page.html\n")
    assert re.search(r"pictures: 12, \d+ requests, 0\.0 MB", done.stderr)
    page = (place / "page.html").read_bytes()
    assert page.startswith(b"<!doctype html>")
    assert b"keep.caption.side.top=0.5" in page
    again = winnow("report", place / "r.yaml", "--out", place / "page.html")
    assert again.returncode == 0
    assert (place / "page.html").read_bytes() == page


def test_the_numbers_as_json(place):
    done = winnow("report", place / "r.yaml", "--out", place / "page.html", "--json")
    numbers = json.loads(done.stdout)
    assert numbers["report"] == f"{place}/page.html"
    assert numbers["pictures"]["pictures"] == 12
    (words, _) = numbers["rules"]
    at = words["slider"]["current"]
    assert words["slider"]["set"][at] == "keep.caption.characters.min=3"
    assert words["slider"]["kept"][at] == numbers["books"]["kept"] == 8
    assert "s0" not in done.stdout


def test_another_bound_by_set_is_another_page(place):
    done = winnow(
        "report",
        place / "r.yaml",
        "--out",
        place / "p.html",
        "--json",
        "--set",
        "keep.caption.characters.min=1",
    )
    assert json.loads(done.stdout)["books"]["kept"] == 12
    assert "min: 1\n" in json.loads(done.stdout)["record"]["recipe_yaml"]


@pytest.mark.parametrize("name", ["page.txt", "page", "r.yaml", "subset.npy"])
def test_a_page_is_called_html(place, name):
    done = winnow("report", place / "r.yaml", "--out", place / name)
    assert (done.returncode, "must end in .html" in done.stderr) == (2, True)


def test_a_file_of_somebody_else_stays(place):
    (place / "mine.html").write_text("mine")
    done = winnow("report", place / "r.yaml", "--out", place / "mine.html")
    assert (done.returncode, "was not written by Winnow" in done.stderr) == (2, True)
    assert (place / "mine.html").read_text() == "mine"


def test_a_page_does_not_go_into_the_store(place):
    done = winnow("report", place / "r.yaml", "--out", place / "store" / "page.html")
    assert (done.returncode, "pool.store" in done.stderr) == (2, True)


def test_shards_that_are_not_done_are_named(place):
    (place / "pool" / "00002.tar").write_bytes(b"another file")
    done = winnow("report", place / "r.yaml", "--out", place / "page.html")
    assert done.returncode == 1
    assert "00002" in done.stderr
    assert (place / "page.html").exists()


def test_before_anything_is_computed(tmp_path):
    ordinary(tmp_path / "pool")
    (tmp_path / "r.yaml").write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\n"
        f"compute: {{caption: {{use: caption.Caption}}}}\nkeep: {KEEP}\n"
    )
    done = winnow("report", tmp_path / "r.yaml", "--out", tmp_path / "page.html")
    assert done.returncode == 2
    assert "winnow compute" in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_pool_whose_folder_is_not_utf8(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/p\xff"))
    ordinary(folder)
    (tmp_path / "r.yaml").write_text(
        f'pool: {{shards: "{tmp_path}/p\\udcff", store: {tmp_path}/store}}\n'
        f"compute: {{caption: {{use: caption.Caption}}}}\nkeep: {KEEP}\n"
    )
    assert winnow("compute", tmp_path / "r.yaml", "--local").returncode == 0
    done = winnow("report", tmp_path / "r.yaml", "--out", tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/page.html\n")
    assert b"/p\\\\xff" in (tmp_path / "page.html").read_bytes()


def test_pictures_of_a_bucket_are_fetched_by_their_byte_ranges(tmp_path):
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("moto", reason="needs moto[s3]")
    from tests.support.s3_server import s3

    ordinary(tmp_path / "pool", counts=(40, 40))
    (tmp_path / "r.yaml").write_text(
        "pool: {shards: s3://bucket/pool, store: s3://bucket/store}\n"
        f"compute: {{caption: {{use: caption.Caption}}}}\nkeep: {KEEP}\n"
    )
    with s3():
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        fs.put(f"{tmp_path}/pool/", "bucket/pool/", recursive=True)
        assert winnow("compute", tmp_path / "r.yaml", "--local").returncode == 0
        words = ("report", tmp_path / "r.yaml", "--pictures", 1, "--json", "--out", "s3://bucket/page.html")
        done = winnow(*words)
        assert done.returncode == 0, done.stderr
        cost = json.loads(done.stdout)["pictures"]
        page = fs.cat("bucket/page.html")
    assert cost["pictures"] <= 40
    assert cost["requests"] <= 2 * 2  # shards, each opened and read once: its samples lie beside each other
    assert cost["bytes"] <= fs_size(tmp_path)
    assert page.count(b"data:image/jpeg;base64,") >= 1


def fs_size(folder: Path) -> int:
    """The bytes of the pool."""
    return sum(path.stat().st_size for path in (folder / "pool").iterdir())
