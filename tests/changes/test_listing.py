"""Shards that come, go, and are called otherwise: links, folders, patterns, names."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.place import Place, same

CAPTIONS = [f"caption number {row}" + " more" * row for row in range(4)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.three()
    return place


def without_stats(place: Place) -> None:
    """Leave out what is computed of the whole pool."""
    del place.compute["words"], place.compute["rarity"], place.keep["rarity.score"]


# --- shards that come and go ----------------------------------------------------------------------


def test_a_shard_is_renamed(place: Place) -> None:
    place.run()
    os.rename(place.pool / "0.tar", place.pool / "9.tar")
    place.run_and_agree()


def test_a_name_as_long_as_the_file_system_takes(place: Place) -> None:
    os.rename(place.pool / "0.tar", place.pool / f"{'n' * 251}.tar")  # no _stats.json can lie beside it
    place.run_and_agree()


def test_a_shard_is_removed(place: Place) -> None:
    place.run()
    (place.pool / "1.tar").unlink()
    assert place.run_and_agree()["books"]["samples"] == 8


def test_a_shard_is_removed_and_comes_back(place: Place) -> None:
    place.run()
    before = place.exports()
    data = (place.pool / "1.tar").read_bytes()
    (place.pool / "1.tar").unlink()
    place.run_and_agree()
    (place.pool / "1.tar").write_bytes(data)
    place.run_and_agree()
    same(place.exports(), before)


def test_a_shard_is_added(place: Place) -> None:
    without_stats(place)
    place.run()
    place.tar("9", CAPTIONS, seed=9)
    assert place.computed()["caption"] == 4
    assert place.run_and_agree()["books"]["samples"] == 16


@pytest.mark.parametrize("pattern", ["", "/*/*.tar", "/**/*.tar"])
def test_a_second_folder_leaves_the_names_of_the_first(tmp_path: Path, pattern: str) -> None:
    place = Place(tmp_path, shards=f"{tmp_path}/pool{pattern}")
    without_stats(place)
    place.tar("a/0", CAPTIONS)
    place.run()
    place.tar("b/0", CAPTIONS, seed=5)
    assert place.computed()["caption"] == 4
    assert place.run_and_agree()["books"]["shards"] == 2
    shutil.rmtree(place.pool / "b")
    assert place.computed() == {}
    assert place.run_and_agree()["books"]["shards"] == 1


def test_a_second_path_in_the_recipe_leaves_the_names_of_the_first(place: Place) -> None:
    without_stats(place)
    place.pool_keys["shards"] = [f"{place.pool}/0.tar", f"{place.pool}/1.tar"]
    place.run()
    place.pool_keys["shards"].append(f"{place.pool}/2.tar")
    assert place.computed().get("caption") == 4
    place.run_and_agree()


# --- another pool ---------------------------------------------------------------------------------


def test_another_folder_with_the_same_names(place: Place) -> None:
    place.run()
    before = place.exports()
    shutil.copytree(place.pool, place.folder / "other")
    place.pool_keys["shards"] = str(place.folder / "other")
    done = place.winnow("run")
    assert done.returncode == 2
    assert str(place.pool) in done.stderr
    assert str(place.folder / "other") in done.stderr
    same(place.exports(), before)


def test_pool_name_keeps_two_pools_apart_in_one_store(place: Place) -> None:
    one, two = str(place.pool), str(place.folder / "other")
    shutil.copytree(one, two)
    os.rename(f"{two}/0.tar", f"{two}/1.tar")
    for shards, name in ((one, "ours"), (two, "theirs"), (one, "ours"), (two, "theirs")):
        place.pool_keys |= {"shards": shards, "name": name}
        place.run_and_agree()
    assert place.computed() == {}


def test_a_pool_that_was_moved_is_told_how_to_go_on(place: Place) -> None:
    place.run()
    os.rename(place.pool, place.folder / "moved")
    place.pool_keys["shards"] = str(place.folder / "moved")
    done = place.winnow("run")
    assert done.returncode == 2
    assert "store.json" in done.stderr
    (place.store / "store.json").unlink()
    assert "caption" not in place.computed()
    place.run_and_agree()


def test_a_pool_is_moved_with_its_store(place: Place) -> None:
    place.run()
    moved = Place(place.folder / "moved")
    moved.pool.rmdir()
    for name in ("pool", "store", "out"):
        os.rename(place.folder / name, moved.folder / name)
    assert "caption" not in moved.computed()
    moved.run_and_agree()


@pytest.mark.parametrize("pattern", ["/*.tar", "/{0..2}.tar", "/?.tar", "/../pool", "/"])
def test_the_same_pool_by_another_pattern(place: Place, pattern: str) -> None:
    place.run()
    place.pool_keys["shards"] = f"{place.pool}{pattern}"
    assert place.computed() == {}
    place.run_and_agree()


def test_a_pool_of_one_kind_becomes_another(place: Place) -> None:
    """Tars in the folder give way to tables of the same names."""
    place.run()
    for path in place.pool.iterdir():
        path.unlink()
    (place.pool / "0.jsonl").write_text('{"text": "a b c", "url": "http://e.org/1"}\n' * 4)
    place.without_images()
    done = place.winnow("run", "--json")
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        same({n: d for n, d in place.exports().items() if not n.startswith("shards/")}, place.fresh()[1])


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/{0..4}.tar"])
def test_links_to_shards_are_shards(place: Place, pattern: str) -> None:
    place.pool_keys["shards"] = f"{place.pool}{pattern}"
    target = place.tar("../else/blob", CAPTIONS, seed=3)
    os.symlink(target, place.pool / "3.tar")
    os.symlink(os.path.relpath(target, place.pool), place.pool / "4.tar")
    books = place.run_and_agree()["books"]
    assert (books["shards"], books["samples"]) == (5, 20)


def test_a_link_to_a_folder_is_followed(place: Place) -> None:
    place.tar("../else/3", CAPTIONS, seed=3)
    os.symlink(place.folder / "else", place.pool / "more")
    assert place.run_and_agree()["books"]["shards"] == 4


def test_a_pool_that_is_a_link(place: Place) -> None:
    os.symlink(place.pool, place.folder / "link")
    place.pool_keys["shards"] = str(place.folder / "link")
    assert place.run_and_agree()["books"]["shards"] == 3


def test_a_loop_of_links_ends(place: Place) -> None:
    os.symlink(place.pool, place.pool / "loop")
    assert place.run_and_agree()["books"]["samples"] == 12


def test_a_link_whose_target_is_replaced(place: Place) -> None:
    target = place.tar("../else/blob", CAPTIONS, seed=3)
    os.symlink(target, place.pool / "3.tar")
    place.run()
    place.tar("../else/blob", CAPTIONS[::-1], seed=4)
    place.run_and_agree()


def test_a_link_that_is_turned_to_another_file_of_equal_size(place: Place) -> None:
    os.symlink(place.tar("../else/a", CAPTIONS, seed=3), place.pool / "3.tar")
    place.run()
    (place.pool / "3.tar").unlink()
    os.symlink(place.tar("../else/b", CAPTIONS[::-1], seed=4), place.pool / "3.tar")
    place.run_and_agree()


def test_a_link_that_leads_nowhere_is_named(place: Place) -> None:
    os.symlink(place.folder / "gone.tar", place.pool / "3.tar")
    done = place.run(status=1)
    assert "3.tar" in done["said"]
    assert done["books"]["samples"] == 12
    place.tar("../gone", CAPTIONS, seed=3)
    assert place.run_and_agree()["books"]["samples"] == 16


def test_hugging_face_cache(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.pool / "snapshots").mkdir()
    for shard in range(2):
        blob = place.tar(f"blobs/{shard:064x}", CAPTIONS, seed=shard)
        os.rename(blob, blob.with_suffix(""))
        os.symlink(f"../blobs/{blob.stem}", place.pool / "snapshots" / f"{shard:05}.tar")
    place.pool_keys["shards"] = str(place.pool / "snapshots")
    assert place.run_and_agree()["books"]["samples"] == 8


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["my [set]", "what?", "a*b", "{a,b}", "two words", "caf\udce9", "~", "1{0..2}"]
)
@pytest.mark.parametrize("how", ["folder", "file", "glob"])
def test_folders_with_any_name(tmp_path: Path, name: str, how: str) -> None:
    place = Place(tmp_path)
    place.tar(f"{name}/0", CAPTIONS)
    folder = f"{place.pool}/{name}"
    place.pool_keys["shards"] = {"folder": folder, "file": f"{folder}/0.tar", "glob": f"{folder}/*.tar"}[how]
    done = place.winnow("run", "--json")
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        place.run_and_agree()
    else:  # the braces of a pattern are braces
        assert name == "caf\udce9" or (how == "glob" and "{" in name)
        assert name[:3] in done.stderr


@pytest.mark.parametrize(
    "name", ["shards", "rules", "meta", "sizes", "a[b]", "x?", "*", "{a,b}", "a b", "caf\udce9", "%41", "-n"]
)
def test_shards_with_any_name(tmp_path: Path, name: str) -> None:
    place = Place(tmp_path)
    place.tar("0", CAPTIONS)
    place.tar(name, CAPTIONS, seed=1)
    done = place.winnow("run", "--json")
    assert "Traceback" not in done.stderr
    if name == "caf\udce9" and done.returncode:
        assert "caf" in done.stderr
        return
    place.run_and_agree()
    place.tar(name, CAPTIONS[::-1], seed=2)
    place.run_and_agree()


def test_an_exact_path_is_no_pattern(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.tar("a[0-1]", CAPTIONS)
    place.tar("a0", CAPTIONS, seed=1)
    place.pool_keys["shards"] = f"{place.pool}/a[0-1].tar"
    place.run()
    names = [path.stem for path in place.store.glob("samples/*.parquet")]
    assert len(names) == 1
    assert names != ["a0"]
