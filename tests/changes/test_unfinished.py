"""Shards that were not whole, or not tars at all, when they were first read."""

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.support.place import Place, tar_bytes

CAPTIONS = [f"caption number {row}" + " more" * row for row in range(8)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.three()
    return place


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6])
def test_a_tar_that_was_still_being_copied(place: Place, share: float) -> None:
    whole = tar_bytes(CAPTIONS, seed=9)
    path = place.pool / "9.tar"
    path.write_bytes(whole[: int(len(whole) * share)])
    books = place.run(status=1)["books"]
    assert "9" in {**books["damaged"], **books["pending"]}
    with path.open("ab") as file:  # goes on where it was, as cp does
        file.write(whole[path.stat().st_size :])
    books = place.run_and_agree()["books"]
    assert books["samples"] == 20
    assert books["damaged"] == {}


def test_a_tar_that_is_cut_later(place: Place) -> None:
    place.run()
    path = place.pool / "1.tar"
    os.truncate(path, path.stat().st_size // 2)
    assert "1" in place.run_and_agree(status=1)["books"]["damaged"]


def test_a_tar_that_is_emptied_later(place: Place) -> None:
    place.run()
    os.truncate(place.pool / "1.tar", 0)
    place.run_and_agree(status=1)


def test_a_tar_that_is_all_there_is_and_empty(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.pool / "0.tar").touch()
    assert "Traceback" not in place.run(status=1)["said"]
    place.tar("0", CAPTIONS)
    assert place.run_and_agree()["books"]["samples"] == 8


def test_random_bytes_are_no_tar(place: Place) -> None:
    (place.pool / "9.tar").write_bytes(random.Random(0).randbytes(5000))
    done = place.run_and_agree(status=1)
    assert "9" in {**done["books"]["damaged"], **done["books"]["pending"]}
    assert done["books"]["samples"] == 12
    place.tar("9", CAPTIONS)
    assert place.run_and_agree()["books"]["samples"] == 20


def test_damaged_shards_are_told_at_every_run_and_can_be_allowed(place: Place) -> None:
    path = place.pool / "1.tar"
    os.truncate(path, path.stat().st_size // 2)
    for _ in range(2):
        assert "1" in place.run(status=1)["books"]["damaged"]
    assert "1" in place.run("--allow-damaged")["books"]["damaged"]


@pytest.mark.parametrize("name", ["9.tar", "9.tar.gz"])
def test_a_shard_that_is_a_packed_tar(place: Place, name: str) -> None:
    path, whole = place.pool / name, gzip.compress(tar_bytes(CAPTIONS, seed=9))
    path.write_bytes(whole[: len(whole) // 2])
    place.run_and_agree(status=1)
    path.write_bytes(whole)
    place.run_and_agree()
    path.write_bytes(gzip.compress(tar_bytes(CAPTIONS, seed=8)))
    place.run_and_agree()


def test_a_tar_in_a_packing_that_is_not_read_is_in_the_books(place: Place) -> None:
    (place.pool / "9.tar.lzma").write_bytes(b"packed")
    assert "9.tar.lzma" in place.run(status=1)["said"]


# --- tables ---------------------------------------------------------------------------------------


def rows(first: int, last: int, words: str = "caption number") -> list[dict[str, str]]:
    """Rows of a table: caption and URL."""
    return [
        {"text": f"{words} {row}" + " more" * (row % 5), "url": f"http://e.org/{row}"}
        for row in range(first, last)
    ]


def lines(first: int, last: int, words: str = "caption number") -> str:
    """The rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows(first, last, words))


def csv(first: int, last: int, words: str = "caption number") -> str:
    """The rows as CSV."""
    return "text,url\n" + "".join(f"{row['text']},{row['url']}\n" for row in rows(first, last, words))


@pytest.fixture
def tables(tmp_path: Path) -> Place:
    return Place.of_tables(tmp_path)


def test_json_lines_that_grow(tables: Place) -> None:
    path = tables.pool / "a.jsonl"
    path.write_text(lines(0, 5))
    tables.run()
    with path.open("a") as file:
        file.write(lines(5, 12))
    assert tables.run_and_agree()["books"]["samples"] == 12


@pytest.mark.parametrize(("name", "made", "cut"), [("a.jsonl", lines, 20), ("a.csv", csv, 30)])
def test_a_table_whose_last_line_was_not_whole(
    tables: Place, name: str, made: Callable[[int, int], str], cut: int
) -> None:
    path = tables.pool / name
    path.write_text(made(0, 5)[:-cut])
    books = tables.run_and_agree(status=1)["books"]
    assert books["samples"] == 4
    assert books["damaged"].keys() == {"a"}
    path.write_text(made(0, 5))
    books = tables.run_and_agree()["books"]
    assert (books["samples"], books["damaged"], books["failed"]) == (5, {}, 0)


def test_csv_that_shrinks(tables: Place) -> None:
    path = tables.pool / "a.csv"
    path.write_text(csv(0, 12))
    tables.run()
    path.write_text(csv(0, 5))
    assert tables.run_and_agree()["books"]["samples"] == 5


def test_csv_with_other_captions_of_equal_size(tables: Place) -> None:
    path = tables.pool / "a.csv"
    path.write_text(csv(0, 12))
    before = path.stat()
    tables.run()
    path.write_text(csv(0, 12, "sentence number"[:14]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    tables.run_and_agree()


def test_a_packed_table_that_was_cut(tables: Place) -> None:
    path = tables.pool / "a.jsonl.gz"
    whole = gzip.compress(lines(0, 500).encode())
    path.write_bytes(whole[: len(whole) // 2])
    tables.run(status=1)
    path.write_bytes(whole)
    assert tables.run_and_agree()["books"]["samples"] == 500


@pytest.mark.parametrize("name", ["a", "z"])
def test_a_parquet_table_that_was_cut(tables: Place, name: str) -> None:
    path = tables.pool / f"{name}.parquet"
    (tables.pool / "m.jsonl").write_text(lines(0, 5))
    pl.DataFrame(rows(5, 50)).write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    done = tables.winnow("run")
    assert done.returncode == 1
    assert path.name in done.stderr
    path.write_bytes(whole)
    assert tables.run_and_agree()["books"]["samples"] == 50
