"""A pool whose tars change between runs: the results are those of the pool as it is, and nothing that is
still right is computed again."""

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.support.place import Place, rewrite_in_place, same, tar_bytes, told

OLD = ["old words here", "old words there", "old", "old old old"]
NEW = ["new words here", "new words there", "new", "new new new"]  # of the same size
EVERY_OPERATOR = {"caption", "facts", "rarity", "light"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.three()
    place.tar("0", OLD, seed=0)
    place.run()
    return place


def test_replaced_by_as_many_samples_then_another_bound(place: Place) -> None:
    place.tar("0", NEW, seed=7)
    place.run_and_agree("--set", "keep.facts.words.min=1")


def test_replaced_with_the_same_recipe(place: Place) -> None:
    place.tar("0", NEW, seed=7)
    place.run_and_agree()


@pytest.mark.parametrize("captions", [NEW[:2], [*NEW, *NEW]], ids=["fewer", "more"])
def test_replaced_by_another_number_of_samples(place: Place, captions: list[str]) -> None:
    place.tar("0", captions, seed=7)
    place.run_and_agree()


def test_only_the_pictures_differ(place: Place) -> None:
    place.tar("0", OLD, seed=7)
    place.run_and_agree("--set", "keep.light.mean.min=100")


def test_rewritten_in_place_with_equal_size_and_time(tmp_path: Path) -> None:
    place = Place(tmp_path)
    path = place.tar("0", OLD)
    place.run()
    data = path.read_bytes()
    rewrite_in_place(path, data.replace(b"old", b"new"))
    assert place.run_and_agree()["books"]["samples"] == 4


def test_two_shards_swapped(place: Place) -> None:
    os.rename(place.pool / "0.tar", place.pool / "aside")
    os.rename(place.pool / "1.tar", place.pool / "0.tar")
    os.rename(place.pool / "aside", place.pool / "1.tar")
    place.run_and_agree()


def test_replaced_and_put_back(place: Place) -> None:
    before = place.exports()
    place.tar("0", NEW, seed=7)
    place.run_and_agree()
    place.tar("0", OLD, seed=0)
    place.run_and_agree()
    same(place.exports(), before)


def test_replaced_by_an_older_file(place: Place) -> None:
    other = place.folder / "other.tar"
    other.write_bytes(tar_bytes(NEW, seed=7))
    os.utime(other, (1_000_000_000, 1_000_000_000))
    os.replace(other, place.pool / "0.tar")
    place.run_and_agree()


def test_only_the_replaced_shard_is_computed(place: Place) -> None:
    del place.compute["rarity"], place.keep["rarity.score"]
    place.run()
    place.tar("0", NEW, seed=7)
    rows = place.computed()
    assert {rows[name] for name in ("caption", "facts", "light")} == {4}
    place.run_and_agree()


def test_a_score_that_reads_a_stat_is_computed_on_every_shard(place: Place) -> None:
    place.tar("0", NEW, seed=7)
    rows = place.computed()
    assert rows["caption"] == 4
    assert rows["rarity"] == 12
    place.run_and_agree()


def test_touching_all_files_computes_nothing(place: Place) -> None:
    before = place.exports()
    for path in place.pool.iterdir():
        os.utime(path)
    assert EVERY_OPERATOR.isdisjoint(place.computed())
    assert place.computed() == {}
    place.run_and_agree()
    same(place.exports(), before)


def test_copied_anew_computes_nothing(place: Place) -> None:
    shutil.copytree(place.pool, place.folder / "copy")
    shutil.rmtree(place.pool)
    os.rename(place.folder / "copy", place.pool)
    assert EVERY_OPERATOR.isdisjoint(place.computed())
    place.run_and_agree()


def test_new_operator_after_a_shard_was_replaced(place: Place) -> None:
    place.tar("0", NEW, seed=7)
    place.compute["length"] = {"use": "planted.Length"}
    place.keep["length.value"] = {"max": 15}
    place.run_and_agree()


def test_one_operator_is_computed_anew_and_the_other_later(place: Place) -> None:
    place.tar("0", NEW, seed=7)
    assert place.computed("caption")["caption"] == 4
    place.run_and_agree()


def test_compacted_and_then_replaced(place: Place) -> None:
    told(place.winnow("compact"))
    place.tar("0", NEW, seed=7)
    place.run_and_agree()
    told(place.winnow("compact"))
    place.tar("1", OLD, seed=8)
    place.run_and_agree()


def test_effects_after_a_change(place: Place) -> None:
    first = place.winnow("effects", "--json").stdout
    place.tar("0", ["many other words", "few others"], seed=7)
    place.run()
    found = place.winnow("effects", "--json").stdout
    shutil.rmtree(place.store)
    place.run()
    assert json.loads(found) == json.loads(place.winnow("effects", "--json").stdout)
    assert json.loads(found) != json.loads(first)


@pytest.mark.parametrize("command", ["keep", "export", "effects", "explain"])
def test_a_command_that_computes_nothing_says_what_is_stale(place: Place, command: str) -> None:
    """Shard 0 has changed, and every other shard's column `rarity` with it."""
    words = [uid_of_the_last(place)] if command == "explain" else []
    before = place.exports()
    place.tar("0", NEW, seed=7)
    done = place.winnow(command, *words)
    assert done.returncode in (1, 2)
    assert "winnow compute" in done.stderr
    same(place.exports(), before)
    place.run_and_agree()


@pytest.mark.parametrize("command", ["keep", "effects", "explain"])
def test_a_command_that_computes_nothing_goes_on_without_what_is_stale(place: Place, command: str) -> None:
    del place.compute["rarity"], place.keep["rarity.score"], place.compute["words"]
    place.run()
    words = [uid_of_the_last(place)] if command == "explain" else []
    place.tar("0", NEW, seed=7)
    done = place.winnow(command, *words)
    assert done.returncode == 1
    assert "0" in done.stderr
    assert "changed" in done.stderr
    place.run_and_agree()


def uid_of_the_last(place: Place) -> str:
    """The uid of the last sample that was kept."""
    return str(pl.read_parquet(place.out / "table.parquet")["uid"][-1])


def test_plan_says_how_many_shards_changed_and_why(place: Place) -> None:
    place.tar("0", NEW, seed=7)
    (place.pool / "1.tar").unlink()
    place.tar("9", OLD, seed=9)
    said = told(place.winnow("plan"))["said"]
    assert ": 1" in said
    assert "written since" in said


def test_samples_part_removed_by_hand(place: Place) -> None:
    next(place.store.glob("samples/0.parquet")).unlink()
    place.run_and_agree()


def test_samples_part_removed_by_hand_after_the_shard_was_replaced(place: Place) -> None:
    place.tar("0", NEW, seed=7)
    next(place.store.glob("samples/0.parquet")).unlink()
    place.run_and_agree()


def test_column_part_removed_by_hand(place: Place) -> None:
    next(place.store.glob("columns/caption-*/0.parquet")).unlink()
    assert place.computed()["caption"] == 4
    place.run_and_agree()


def test_another_bound_of_the_same_decision_folder(place: Place) -> None:
    place.run_and_agree("--set", "keep.facts.words.min=1")
    place.run_and_agree("--set", "keep.facts.words.min=4")
    place.run_and_agree()


def test_a_list_is_rewritten_while_a_stat_reads_it(place: Place) -> None:
    listed = place.folder / "list.txt"
    listed.write_text("row 0\n")
    (place.folder / "list.txt.next").write_text("row 1 shard\n")
    place.compute = {
        "counted": {"use": "listed_count.ListedCount", "file": str(listed)},
        "listed": {"use": "listed_count.Listed", "counted": "counted"},
    }
    place.keep = {"listed.n": {"min": 0}}
    done = place.winnow("run")
    assert done.returncode == 1
    assert "rewritten while it was used" in done.stderr
    listed.write_text("row 0\n")
    place.run_and_agree()
