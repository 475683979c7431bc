"""Exports survive what goes wrong, and nothing is overwritten or deleted but what Winnow wrote."""

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest

from pipeline.storage.disk import temporary_path
from tests.support.folders import contents
from tests.support.place import Place, same, tar_bytes

MONTH = 30 * 86_400  # seconds


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.three()
    return place


# --- a run that goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/{0..2}.tar"])
def test_the_pool_is_away_and_a_rule_changed(place: Place, pattern: str) -> None:
    place.pool_keys["shards"] = f"{place.pool}{pattern}"
    place.run()
    before, decisions = place.exports(), contents(place.store / "decisions")
    os.rename(place.pool, place.folder / "away")
    done = place.winnow("run", "--set", "keep.facts.words.min=1")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    same(place.exports(), before)
    assert contents(place.store / "decisions").keys() == decisions.keys()
    os.rename(place.folder / "away", place.pool)
    place.run_and_agree("--set", "keep.facts.words.min=1")


@pytest.mark.parametrize("command", ["run", "keep", "export", "effects"])
@pytest.mark.parametrize("bound", ["min", "top", "bottom"])
def test_the_pool_was_never_there(tmp_path: Path, command: str, bound: str) -> None:
    place = Place(tmp_path, shards=f"{tmp_path}/gone/{{0..2}}.tar")
    place.keep = {"facts.words": {bound: 0.5}}
    done = place.winnow(command)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert place.exports() == {}
    assert list(place.store.glob("decisions/*")) == []


def test_the_pool_is_empty_and_a_new_operator_is_wanted(place: Place) -> None:
    place.pool_keys["shards"] = f"{place.pool}/{{0..2}}.tar"
    place.run()
    before = place.exports()
    os.rename(place.pool, place.folder / "away")
    place.compute["length"] = {"use": "planted.Length"}
    place.keep["length.value"] = {"min": 1}
    assert place.winnow("run").returncode == 1
    same(place.exports(), before)


def test_one_shard_of_a_brace_pattern_is_missing(place: Place) -> None:
    place.pool_keys["shards"] = f"{place.pool}/{{0..3}}.tar"
    assert "3" in place.run_and_agree(status=1)["books"]["pending"]
    assert "3.tar" in (said := place.winnow("plan")).stdout.replace("\n", "") + said.stderr  # long paths fold


@pytest.mark.parametrize("how", ["replaced", "cut"])
def test_a_source_changes_before_it_is_exported(place: Place, how: str) -> None:
    """The last shard's batch changes the first shard, which was read before."""
    place.run()
    before = place.exports()
    flag = place.folder / "flag"
    flag.write_bytes(tar_bytes(["other words"] * 4, seed=9) if how == "replaced" else b"")
    target = str(place.pool / "0.tar")
    place.compute["saboteur"] = {
        "use": "saboteur.Saboteur",
        "flag": str(flag),
        "target": target,
        "word": "shard 2",
    }
    place.keep["saboteur.length"] = {"max": 20}
    done = place.winnow("run")
    assert not flag.exists()
    assert done.returncode == 1
    assert "0" in done.stderr
    assert "changed" in done.stderr
    same(place.exports(), before)  # or it would hold old scores beside new bytes
    place.run_and_agree(status=0 if how == "replaced" else 1)


def test_a_shard_changes_while_it_is_read(place: Place) -> None:
    flag = place.folder / "flag"
    flag.write_bytes(tar_bytes(["other words"] * 4, seed=9))
    target = str(place.pool / "0.tar")
    place.compute["saboteur"] = {
        "use": "saboteur.Saboteur",
        "flag": str(flag),
        "target": target,
        "word": "shard 0",
    }
    done = place.winnow("run")
    assert done.returncode in (0, 1)
    assert done.returncode == 0 or "changed" in done.stderr
    place.run_and_agree()


def test_other_bounds_into_one_folder(place: Place) -> None:
    for least in (1, 4, 2, 100, 1):
        place.run_and_agree("--set", f"keep.facts.words.min={least}")


def test_an_export_part_that_was_removed_comes_back(place: Place) -> None:
    place.run()
    for name in sorted(place.exports()):
        (place.out / name).unlink()
        place.run_and_agree()


@pytest.mark.parametrize("name", ["shards/_winnow.json", "subset.npy.winnow.json"])
def test_without_its_manifest_an_export_is_somebody_else_s(place: Place, name: str) -> None:
    place.run()
    (place.out / name).unlink()
    hidden = f".{name.removesuffix('.winnow.json')}" if name.startswith("subset") else "shards/"
    (place.out / f"{hidden}.winnow-states.json").unlink()  # which has a copy of the manifest
    before = place.exports()
    done = place.winnow("run")
    assert done.returncode == 2
    assert "was not written by Winnow" in done.stderr
    same(place.exports(), before)


# --- outputs and inputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["subset", "table"])
@pytest.mark.parametrize("target", ["pool/0.tar", "recipe.yaml", "words.txt", "pool", "store"])
def test_an_output_over_an_input(place: Place, key: str, target: str) -> None:
    words = place.folder / "words.txt"
    words.write_text("row more\n")
    place.compute["listed"] = {"use": "listed_words.Listed", "words": str(words)}
    place.export[key] = target
    before = contents(place.pool)
    done = place.winnow("run")
    assert done.returncode == 2, done.stderr
    assert f"export.{key}" in done.stderr
    assert contents(place.pool) == before
    assert words.read_text() == "row more\n"
    assert not list(place.store.glob("samples/*"))  # before any work


@pytest.mark.parametrize("key", ["shards", "index"])
@pytest.mark.parametrize("target", ["pool", ".", "store", "store/out"])
def test_an_output_folder_over_an_input(place: Place, key: str, target: str) -> None:
    place.compute["thumb"] = {"use": "thumbnails.Thumbnail"}
    place.export[key] = target if key == "shards" else {"embedding": "thumb.vector", "path": target}
    before = contents(place.pool)
    done = place.winnow("run")
    assert done.returncode == 2, done.stderr
    assert "export" in done.stderr
    assert contents(place.pool) == before


@pytest.mark.parametrize("key", ["shards", "table", "store"])
def test_an_output_inside_the_pool_is_refused_or_passed_over(place: Place, key: str) -> None:
    section = place.pool_keys if key == "store" else place.export
    section[key] = str(place.pool / "store") if key == "store" else f"pool/{key}"
    for least in (1, 2):
        done = place.winnow("run", "--json", "--set", f"keep.facts.words.min={least}")
        assert done.returncode in (0, 2)
        assert '"samples": 12' in done.stdout if done.returncode == 0 else key in done.stderr


def test_the_store_inside_the_pool(tmp_path: Path) -> None:
    place = Place.of_tables(tmp_path)
    pl.DataFrame({"text": ["a b", "c d"], "url": ["http://a/1", "http://a/2"]}).write_parquet(
        place.pool / "x.parquet"
    )
    place.pool_keys["store"] = str(place.pool / "store")
    for _ in range(2):
        done = place.winnow("run", "--json")
        assert done.returncode == 2 or '"samples": 2' in done.stdout
        assert done.returncode == 0 or "store" in done.stderr


def test_two_exports_to_one_path(place: Place) -> None:
    place.export["table"] = place.export["subset"]
    assert place.winnow("run").returncode == 2


def test_keep_subset_over_an_input(place: Place) -> None:
    place.run()
    before = contents(place.pool)
    done = place.winnow("keep", "--subset", str(place.pool / "0.tar"))
    assert done.returncode == 2
    assert contents(place.pool) == before


@pytest.mark.parametrize("key", ["subset", "table"])
def test_a_special_file_is_no_output(place: Place, key: str) -> None:
    target = place.folder / "fifo"
    os.mkfifo(target)
    place.export[key] = "fifo"
    assert place.winnow("run").returncode == 2
    assert stat.S_ISFIFO(target.stat().st_mode)


@pytest.mark.parametrize("key", ["subset", "table"])
def test_a_file_that_somebody_else_wrote_is_no_output(place: Place, key: str) -> None:
    target = place.folder / "results.npy"
    target.write_bytes(b"a year of work")
    place.export[key] = "results.npy"
    done = place.winnow("run")
    assert done.returncode == 2
    assert "results.npy" in done.stderr
    assert target.read_bytes() == b"a year of work"


@pytest.mark.parametrize("folder", ["out/shards", "out", "store", "store/samples"])
@pytest.mark.parametrize("name", ["notes.tmp", ".tmp.notes", "subset.npy.tmp/x", ".tmp/x"])
def test_what_looks_like_our_temporaries_survives(place: Place, folder: str, name: str) -> None:
    place.run()
    path = place.folder / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("somebody's")
    old = time.time() - MONTH
    for part in (path, path.parent if path.parent.name.startswith((".tmp", "subset")) else path):
        os.utime(part, (old, old))
    done = place.winnow("run", "--set", "keep.facts.words.min=1")
    assert path.read_text() == "somebody's"
    assert done.returncode in (0, 2)
    path.unlink()
    if path.parent.name in (".tmp", "subset.npy.tmp"):
        path.parent.rmdir()
    place.run_and_agree("--set", "keep.facts.words.min=1")


def test_somebody_elses_file_in_the_export_folder_survives(place: Place) -> None:
    place.run()
    path = place.out / "shards" / "00000009.tar"
    path.write_text("somebody's")
    place.winnow("run", "--set", "keep.facts.words.min=1")
    assert path.read_text() == "somebody's"


def test_an_export_folder_that_was_emptied_is_filled_again(place: Place) -> None:
    place.run()
    shutil.rmtree(place.out)
    place.run_and_agree()


def test_what_a_killed_process_left_of_a_note_is_removed(place: Place) -> None:
    place.run()
    left = place.out / temporary_name("subset.npy.winnow.json")
    left.write_text("{")
    place.run_and_agree("--set", "keep.facts.words.min=1")
    assert not left.exists()


def temporary_name(name: str) -> str:
    """The name of a file that a process of this machine was about to publish when it was killed."""
    ended = subprocess.Popen(["true"])  # noqa: S607
    ended.wait()
    found = os.path.basename(temporary_path("/folder", name))
    return found.replace(f".{os.getpid()}.", f".{ended.pid}.")
