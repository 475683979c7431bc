"""`winnow store` on a small store: what it says is what lies on the disk, and it removes that and no more."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.locks.lock import held
from pipeline.storage.store import Store
from tests.support.command import winnow
from tests.support.folders import tree
from tests.support.small_store import EACH, SHARDS, exports, run, write_pool, write_recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a pool, a recipe, its store and exports."""
    folder = tmp_path_factory.mktemp("made")
    write_pool(folder / "pool")
    write_recipe(folder)
    run(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy of it, whose recipe names the copy. Files keep their times."""
    shutil.copytree(made, tmp_path / "copy")
    write_recipe(tmp_path / "copy")
    run(tmp_path / "copy")
    return tmp_path / "copy"


def store(command: str, folder: Path, *more: object, status: int = 0) -> Any:
    """What `winnow store` prints as JSON."""
    done = winnow("store", command, folder / "recipe.yaml", *more, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def files(folder: Path) -> dict[str, int]:
    """Path -> bytes of the store's files."""
    return {name: len(data) for name, data in tree(folder / "store", without=()).items()}


def names(folder: Path) -> dict[str, str]:
    """The units of the recipe's results, by the operator's name and by kind."""
    units = {unit["unit"] for unit in store("info", folder)["units"]}
    return {unit.rpartition("-")[0]: unit for unit in units if "-" in unit}


def test_info_counts_what_is_there(folder):
    found = store("info", folder)
    lying = files(folder)
    assert found["bytes"] == sum(lying.values())
    assert found["foreign"] == {}
    units = {unit.pop("unit"): unit for unit in found["units"]}
    assert {name: layout.unit_of(name) for name in lying if layout.unit_of(name) not in units} == {}
    for name, unit in units.items():
        assert unit["bytes"] == sum(size for path, size in lying.items() if layout.unit_of(path) == name)
        parts = name == "samples" or name.startswith("columns/")
        counts = (SHARDS, 0, SHARDS * EACH) if parts else (None, None, None)
        assert (unit["shards"], unit["packed"], unit["rows"]) == counts
        assert unit["needed"]
    assert sorted(name.rpartition("-")[0] for name in units if "-" in name) == [
        "columns/length",
        "columns/wfpp",
        "decisions/small",
        "effects/small",
        "stats/words",
    ]


def test_info_tells_packs_damage_and_foreign_files(folder):
    assert winnow("compact", folder / "recipe.yaml").returncode == 0
    (folder / "store" / "notes.txt").write_text("mine")
    (folder / "store" / "samples" / "readme.md").write_text("mine too")
    (folder / "store" / "damaged").mkdir()
    (folder / "store" / "damaged" / "x.parquet").write_bytes(b"123")
    found = store("info", folder)
    units = {unit["unit"]: unit for unit in found["units"]}
    assert (units["samples"]["packed"], units["samples"]["rows"]) == (SHARDS, SHARDS * EACH)
    assert (units["damaged"]["bytes"], units["damaged"]["needed"]) == (3, False)
    assert found["foreign"] == {"notes.txt": 4, "samples/readme.md": 8}
    shown = winnow("store", "info", folder / "recipe.yaml").stdout
    assert "2 files that are not results of this pool: notes.txt, samples/readme.md" in shown


def test_verify_names_each_damaged_file_and_sets_it_aside(folder):
    assert store("verify", folder) == {"files": {}, "shards": {}, "checked": len(files(folder))}
    exported = exports(folder)
    units = names(folder)
    hurt = ["samples/001.parquet", f"{units['columns/length']}/meta.json", f"{units['stats/words']}.parquet"]
    for name in hurt:
        path = folder / "store" / name
        now = os.stat(path)
        data = path.read_bytes()
        with open(path, "r+b") as file:  # bits that flip on the disk leave its state as it is
            file.seek(40)
            file.write(bytes([data[40] ^ 1]))
        os.utime(path, ns=(now.st_atime_ns, now.st_mtime_ns))
    done = winnow("store", "verify", folder / "recipe.yaml")
    assert done.returncode == 1
    assert sorted(line.partition(": ")[0] for line in done.stdout.splitlines()) == sorted(hurt)
    assert f"compute them again: winnow run {folder}/recipe.yaml" in " ".join(done.stderr.split())
    assert {name for name in files(folder) if name.startswith("damaged/")} == {f"damaged/{n}" for n in hurt}
    run(folder)
    assert exports(folder) == exported
    assert store("verify", folder)["files"] == {}


def test_verify_counts_rows(folder):
    root = Folder(str(folder / "store"))
    part = f"{names(folder)['columns/length']}/002.parquet"
    wrong = Store(str(folder / "store"))
    footer = wrong.footer(names(folder)["columns/length"], "002")
    wrong.write(part, wrong.read(part).head(2), footer.notes)
    found = store("verify", folder, status=1)
    assert found["files"] == {part: f"it has 2 rows, its shard {EACH} samples"}
    assert root.exists(part)  # a run computes it again by itself
    run(folder)
    assert store("verify", folder)["files"] == {}


def test_verify_deep_compares_the_shards(folder):
    assert store("verify", folder, "--deep")["shards"] == {}
    tar = folder / "pool" / "002.tar"
    tar.write_bytes(tar.read_bytes().replace(b"word", b"ward", 1))
    (folder / "pool" / "003.tar").touch()
    assert store("verify", folder)["shards"] == {}
    found = store("verify", folder, "--deep", status=1)
    assert found["shards"] == {"002": "its content is not that of which results are stored"}


def test_forget_an_operator_and_all_that_was_computed_from_it(folder):
    exported, before, units = exports(folder), files(folder), names(folder)
    gone = {units["stats/words"], units["columns/wfpp"], units["decisions/small"], units["effects/small"]}
    expected = {path: size for path, size in before.items() if layout.unit_of(path) in gone}
    removed = store("forget", folder, "words")
    assert removed["bytes"] == sum(expected.values())
    assert set(removed["units"]) == gone
    assert removed["parts"] == {}
    assert files(folder).keys() == before.keys() - expected.keys()
    assert exports(folder) == exported
    run(folder)
    assert exports(folder) == exported
    assert names(folder) == units


def test_forget_an_operator_that_nothing_reads_but_a_rule(folder):
    units = names(folder)
    assert set(store("forget", folder, "length")["units"]) == {
        units["columns/length"],
        units["decisions/small"],
        units["effects/small"],
    }


@pytest.mark.parametrize("packed", [False, True])
def test_forget_shards(folder, packed):
    exported, before, units = exports(folder), files(folder), names(folder)
    if packed:
        assert winnow("compact", folder / "recipe.yaml").returncode == 0
    part = f"{units['columns/length']}/001.parquet"
    removed = store("forget", folder, "001")
    assert removed["parts"] == {
        "samples": {"001": before["samples/001.parquet"]},
        units["columns/length"]: {"001": before[part]},
    }
    assert set(removed["units"]) == set(units.values()) - {units["columns/length"]}
    assert removed["bytes"] == before["samples/001.parquet"] + before[part] + sum(removed["units"].values())
    left = {unit["unit"]: unit for unit in store("info", folder)["units"]}
    assert (left["samples"]["shards"], left["samples"]["rows"]) == (SHARDS - 1, (SHARDS - 1) * EACH)
    assert exports(folder) == exported
    run(folder)
    assert exports(folder) == exported
    assert names(folder) == units


def test_forget_refuses_names_that_are_neither(folder):
    before = files(folder)
    done = winnow("store", "forget", folder / "recipe.yaml", "length", "lenght")
    assert done.returncode == 2
    assert "lenght is not an operator of the recipe, nor a shard" in done.stderr
    assert files(folder) == before


def test_clean_lists_and_then_removes_what_no_recipe_needs(folder):
    kept = files(folder)
    other = folder / "other.yaml"
    other.write_text((folder / "recipe.yaml").read_text().replace("Length}", "Length, scale: 2}"))
    winnow("run", other, "--local")
    both = files(folder)
    (folder / "store" / "mine.parquet").write_text("mine")
    nothing = store("clean", folder, other)
    assert (nothing["bytes"], nothing["units"], nothing["parts"]) == (0, {}, {})
    listed = store("clean", folder)
    assert files(folder) == {**both, "mine.parquet": 4}
    units = {layout.unit_of(path) for path in both.keys() - kept.keys()} - {"runs"}
    assert set(listed["units"]) == units
    assert sorted(unit.rpartition("-")[0] for unit in units) == [
        "columns/length",
        "decisions/small",
        "effects/small",
    ]
    assert listed["bytes"] == sum(size for path, size in both.items() if layout.unit_of(path) in units)
    shown = winnow("store", "clean", folder / "recipe.yaml")
    assert "nothing was removed: add --yes" in shown.stderr
    assert store("clean", folder, "--yes") == listed
    after = files(folder)
    assert {path for path in after if layout.unit_of(path) != "runs"} == {
        *(path for path in kept if layout.unit_of(path) != "runs"),
        "mine.parquet",
    }
    run(folder)
    assert {path for path in files(folder) if layout.unit_of(path) != "runs"} == {
        path for path in after if layout.unit_of(path) != "runs"
    }
    assert store("clean", folder)["bytes"] == 0


def test_clean_removes_the_parts_of_shards_that_left_the_pool(folder):
    (folder / "pool" / "003.tar").unlink()
    sizes = files(folder)
    units = names(folder)
    run(folder)
    removed = store("clean", folder, "--yes")
    assert removed["parts"] == {
        "samples": {"003": sizes["samples/003.parquet"]},
        units["columns/length"]: {"003": sizes[f"{units['columns/length']}/003.parquet"]},
    }
    assert {units["stats/words"], units["columns/wfpp"], units["decisions/small"]} <= set(removed["units"])
    assert not (folder / "store" / "samples" / "003.parquet").exists()


def test_what_a_killed_group_left_is_removed_once_no_pass_can_go_on_with_it(folder):
    left = folder / "store" / layout.groups_folder("0123456789abcdef") / "rows" / "000000.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"rows")
    other = folder / "other.yaml"
    group = "compute:\n  copies: {use: duplicates.Exact, key: text}\n"
    other.write_text((folder / "recipe.yaml").read_text().replace("compute:\n", group))
    assert store("clean", folder, other)["units"] == {}
    assert store("clean", folder)["units"] == {"groups/0123456789abcdef": 4}
    assert "groups/0123456789abcdef" in store("forget", folder, "length")["units"]
    assert not left.exists()


def test_clean_keeps_all_after_a_touch(folder):
    for tar in (folder / "pool").iterdir():
        tar.touch()
    assert store("clean", folder)["bytes"] == 0


def test_clean_refuses_recipes_of_other_stores(folder):
    other = folder / "other.yaml"
    other.write_text((folder / "recipe.yaml").read_text().replace(f"{folder}/store", f"{folder}/elsewhere"))
    done = winnow("store", "clean", folder / "recipe.yaml", other, "--yes")
    assert done.returncode == 2
    assert "name recipes of one store" in done.stderr


@pytest.mark.parametrize("command", [["forget", "length"], ["verify"], ["clean"]])
def test_a_store_in_use_is_left_alone(folder, command):
    before = files(folder)
    name, *more = command
    with held(Folder(str(folder / "store")), layout.LOCK, "a test", wait=False):
        done = winnow("store", name, folder / "recipe.yaml", *more)
    assert done.returncode == 1
    assert "is in use by" in done.stderr
    assert files(folder) == before
