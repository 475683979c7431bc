"""Pools of other kinds, and files that operators name, as they change between runs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.support.place import Place, rewrite_in_place
from tests.support.samples import picture

# --- DataComp -------------------------------------------------------------------------------------

UIDS = [f"{number:032x}" for number in range(20)]


def write_datacomp(folder: Path, seed: int, name: str = "a", **columns: Any) -> None:
    """A parquet and its npz; scores, captions and embeddings follow from the seed."""
    rng = np.random.default_rng(seed)
    rows = len(UIDS)
    frame = {
        "uid": UIDS,
        "url": [f"http://e.org/{name}/{row}" for row in range(rows)],
        "text": [f"caption {rng.integers(10, 99)}" + " more" * (row % 4) for row in range(rows)],
        "original_width": [24] * rows,
        "original_height": [16] * rows,
        "clip_l14_similarity_score": rng.random(rows),
        **columns,
    }
    pl.DataFrame(frame).write_parquet(folder / f"{name}.parquet", compression="uncompressed")
    write_npz(folder, seed, name)


def write_npz(folder: Path, seed: int, name: str = "a") -> None:
    """The embeddings of a parquet."""
    vectors = np.random.default_rng(seed + 1000).standard_normal((len(UIDS), 8)).astype(np.float16)
    np.savez(folder / f"{name}.npz", l14_img=vectors, l14_txt=vectors[::-1])


@pytest.fixture
def datacomp(tmp_path: Path) -> Place:
    place = Place.of_tables(tmp_path, datacomp=str(tmp_path / "pool"))
    place.compute["first"] = {"use": "listed_words.First", "of": "datacomp.l14_image_embedding"}
    place.keep["datacomp.l14_score"] = {"top": 0.8}
    place.keep["first.value"] = {"top": 0.8}
    place.export["index"] = {"embedding": "datacomp.l14_image_embedding", "path": "out/index"}
    write_datacomp(place.pool, 0)
    write_datacomp(place.pool, 1, "b")
    place.run()
    return place


def test_npz_recomputed_with_the_same_shapes(datacomp: Place) -> None:
    write_npz(datacomp.pool, 5)
    datacomp.run_and_agree()


def test_npz_recomputed_in_place_with_the_time_set_back(datacomp: Place) -> None:
    path = datacomp.pool / "a.npz"
    before = path.read_bytes(), path.stat()
    write_npz(datacomp.pool, 5)
    data = path.read_bytes()
    path.write_bytes(before[0])
    os.utime(path, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))
    rewrite_in_place(path, data)
    datacomp.run_and_agree()


def test_parquet_rewritten(datacomp: Place) -> None:
    write_datacomp(datacomp.pool, 7)
    write_npz(datacomp.pool, 0)
    datacomp.run_and_agree()


def test_only_the_scores_of_a_parquet_are_new(datacomp: Place) -> None:
    scores = np.random.default_rng(9).random(len(UIDS))
    write_datacomp(datacomp.pool, 0, clip_l14_similarity_score=scores)
    datacomp.run_and_agree()


def test_datacomp_files_touched(datacomp: Place) -> None:
    for path in datacomp.pool.iterdir():
        os.utime(path)
    assert not {"caption", "facts", "first"} & datacomp.computed().keys()
    assert datacomp.computed() == {}
    datacomp.run_and_agree()


def test_a_file_of_datacomp_is_added_and_one_is_removed(datacomp: Place) -> None:
    write_datacomp(datacomp.pool, 2, "c")
    datacomp.run_and_agree()
    (datacomp.pool / "a.parquet").unlink()
    (datacomp.pool / "a.npz").unlink()
    datacomp.run_and_agree()


def test_another_datacomp_folder_with_the_same_names(datacomp: Place) -> None:
    other = datacomp.folder / "other"
    other.mkdir()
    for seed, name in ((3, "a"), (4, "b")):
        write_datacomp(other, seed, name)
    datacomp.pool_keys["datacomp"] = str(other)
    done = datacomp.winnow("run")
    assert done.returncode == 2
    assert str(other) in done.stderr


# --- a folder of files ----------------------------------------------------------------------------


def add(folder: Path, key: str, caption: str, seed: int) -> None:
    """One sample of a folder of files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{key}.jpg").write_bytes(picture(seed))
    (folder / f"{key}.txt").write_text(caption)


@pytest.fixture
def photos(tmp_path: Path) -> Place:
    place = Place(tmp_path, shards=str(tmp_path / "pool"), kind="files")
    for folder in ("cats", "dogs"):
        for row in range(5):
            add(place.pool / folder, f"{row}", f"{folder} number {row}" + " more" * row, row)
    place.run()
    return place


def test_a_picture_is_added(photos: Place) -> None:
    add(photos.pool / "cats", "9", "a new cat", 9)
    assert photos.run_and_agree()["books"]["samples"] == 11


def test_a_folder_of_pictures_is_added(photos: Place) -> None:
    add(photos.pool / "birds", "9", "a new bird", 9)
    rows = photos.computed("caption")
    assert rows["caption"] == 1
    photos.run_and_agree()


def test_a_picture_is_renamed(photos: Place) -> None:
    for suffix in ("jpg", "txt"):
        os.rename(photos.pool / f"cats/1.{suffix}", photos.pool / f"cats/7.{suffix}")
    photos.run_and_agree()


def test_two_pictures_are_swapped(photos: Place) -> None:
    one, two = photos.pool / "cats/1.jpg", photos.pool / "cats/2.jpg"
    data = one.read_bytes(), two.read_bytes()
    one.write_bytes(data[1])
    two.write_bytes(data[0])
    photos.run_and_agree()


def test_a_caption_is_rewritten_in_place(photos: Place) -> None:
    (photos.pool / "cats/1.txt").write_text("bats number 1 more")
    photos.run_and_agree()


def test_a_caption_is_rewritten_with_its_time_set_back(photos: Place) -> None:
    path = photos.pool / "cats/1.txt"
    rewrite_in_place(path, path.read_bytes().replace(b"cats", b"bats"))
    photos.run_and_agree()


def test_a_picture_is_removed(photos: Place) -> None:
    (photos.pool / "cats/1.jpg").unlink()
    (photos.pool / "cats/1.txt").unlink()
    assert photos.run_and_agree()["books"]["samples"] == 9


def test_files_touched(photos: Place) -> None:
    for path in photos.pool.rglob("*.*"):
        os.utime(path)
    assert not {"caption", "facts", "light"} & photos.computed().keys()
    assert photos.computed() == {}
    photos.run_and_agree()


# --- files that operators name --------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.three()
    words = tmp_path / "words.txt"
    words.write_text("row\nmore\n")
    place.compute["listed"] = {"use": "listed_words.Listed", "words": str(words)}
    place.keep["listed.count"] = {"min": 2}
    place.run()
    return place


def test_a_word_list_is_rewritten(listed: Place) -> None:
    (listed.folder / "words.txt").write_text("shard\nrow\nmore\n")
    rows = listed.computed()
    assert rows["listed"] == 12
    assert not {"caption", "facts", "light"} & rows.keys()
    listed.run_and_agree()


def test_a_word_list_is_rewritten_with_its_time_set_back(listed: Place) -> None:
    rewrite_in_place(listed.folder / "words.txt", b"shard\nmo\n")
    listed.run_and_agree()


def test_a_word_list_is_touched(listed: Place) -> None:
    os.utime(listed.folder / "words.txt")
    assert listed.computed() == {}
    listed.run_and_agree()


def test_a_large_file_is_rewritten_with_its_time_set_back(tmp_path: Path) -> None:
    """Digests of large files are remembered."""
    place = Place(tmp_path)
    place.three()
    words = tmp_path / "words.txt"
    words.write_bytes(b"row more ".ljust(65 << 20))
    place.compute["listed"] = {"use": "listed_words.Listed", "words": str(words)}
    place.keep["listed.count"] = {"min": 2}
    place.run()
    rewrite_in_place(words, b"shard mo ".ljust(65 << 20))
    place.run_and_agree()


def test_a_file_that_is_gone_is_named_by_plan_and_run(listed: Place) -> None:
    before = listed.exports()
    (listed.folder / "words.txt").unlink()
    done = listed.winnow("run")
    assert done.returncode in (2, 3)
    assert "words.txt" in done.stderr
    assert "words.txt" in (said := listed.winnow("plan")).stderr.replace("\n", "") + said.stdout
    assert listed.exports() == before


PLUGIN = '''
import polars as pl

from pipeline.operator import Score


class Mine(Score):
    """A number."""

    needs = ("text",)
    writes = {"value": pl.UInt32}

    def score(self, batch):
        return batch.select(value=pl.col("text").str.len_chars() % 2)
'''


def test_a_plugin_is_edited(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.three()
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    place.plugins.append(str(plugin))
    place.compute["mine"] = {"use": "mine.Mine"}
    place.keep["mine.value"] = {"min": 1}
    place.run()
    plugin.write_text(PLUGIN.replace("% 2", "% 3"))
    place.run_and_agree()
