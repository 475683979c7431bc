"""Where `winnow search` may write: what is refused before any work."""

import re
import shutil

import pytest
import yaml

from tests.jobs.commands.test_search_mistakes import described, line
from tests.support.command import winnow
from tests.support.decided_pool import jpeg, read_tar, uid, write_tar
from tests.support.folders import contents


def test_the_subset_of_a_decision_is_not_replaced_and_that_of_a_search_is(place):
    recipe = yaml.safe_load((place / "r.yaml").read_text())
    recipe["pool"] = {"shards": str(place / "pool"), "store": str(place / "store")}
    recipe["export"] = {"subset": str(place / "subset.npy")}
    (place / "s.yaml").write_text(yaml.safe_dump(recipe))
    assert winnow("run", place / "s.yaml", "--local").returncode == 0
    before = contents(place)
    said = line(place / "index", "--like", uid(3), "--subset", place / "subset.npy")
    assert said.startswith(f"--subset: {place}/subset.npy is the subset of decisions/r-")
    assert said.endswith(", which no search wrote: move it or name another file")
    assert contents(place) == before
    for count in (2, 4):
        words = ("--like", uid(3), "--k", count, "--subset", place / "hits.npy")
        assert winnow("search", place / "index", *words).returncode == 0


def test_pictures_that_changed_since_the_index_was_written_are_told(place, tmp_path):
    """Other pictures under the same uids, and the pool read again."""
    words = ("search", place / "index", "--like", uid(3), "--grid", tmp_path / "g.html")
    assert "warning" not in winnow(*words).stderr
    members = read_tar(place / "pool" / "00000.tar")
    swapped = [(name, jpeg(100) if name.endswith("jpg") else data) for name, data in members]
    write_tar(place / "pool" / "00000.tar", swapped)
    pool = ("--set", f"pool.shards={place}/pool", "--set", f"pool.store={place}/store")
    assert winnow("compute", place / "r.yaml", "--local", *pool).returncode == 0
    done = winnow(*words)
    assert done.returncode == 0
    assert (
        f"warning: the samples of the pool are not those that {place}/index was made from: a hit may be another "
        "picture than the one that was compared; run `winnow export` again\n"
    ) in done.stderr


def test_an_index_of_another_decision_than_the_recipe_makes_is_told(made):
    words = ("search", made / "r.yaml", "--like", uid(3))
    assert "warning" not in winnow(*words).stderr
    done = winnow(*words, "--set", "keep.clip.score={min: 0.1}")
    assert done.returncode == 0, done.stderr
    assert re.search(
        rf"^warning: {made}/index is of decisions/r-\w+, and this recipe's is decisions/r-\w+: run `winnow export` "
        "again$",
        done.stderr,
        re.MULTILINE,
    )


@pytest.mark.parametrize("there", [True, False])
def test_a_subset_file_in_the_store_or_the_pool(place, there):
    """Also if the pool is no longer there."""
    if not there:
        shutil.rmtree(place / "pool")
    words = ("--like", uid(3), "--subset", place / "store" / "a.npy")
    assert line(place / "index", *words) == (
        f"--subset: {place}/store/a.npy lies in {place}/store, which pool.store writes; name a path outside of it"
    )
    if there:
        said = line(place / "index", "--like", uid(3), "--subset", place / "pool" / "a.tar")
        assert said.startswith(f"--subset: {place}/pool/a.tar lies where pool.shards searches {place}/pool: ")


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (("--grid", "a.png"), ("--subset", "x/../a.png"), "--grid and --subset both write to a.png"),
        (("--grid", "ex/x.png"), ("--export", "ex/"), "--grid: ex/x.png lies in ex/, which --export writes"),
        (("--subset", "ex/a"), ("--export", "ex"), "--subset: ex/a lies in ex, which --export writes"),
    ],
)
def test_two_flags_in_each_others_way(made, tmp_path, monkeypatch, one, other, told):
    monkeypatch.chdir(tmp_path)
    said = line(made / "index", "--like", uid(3), *one, *other)
    assert said.startswith(told)
    assert not list(tmp_path.iterdir())


def test_an_index_that_names_a_store_on_unknown_storage(place):
    path = described(place, pool={"shards": ["weird://x"], "store": "weird://y"})
    done = winnow("search", path, "--like", uid(3), "--subset", place / "a.npy")
    assert (done.returncode, done.stdout) == (0, f"{place}/a.npy\n")


def test_a_grid_does_not_replace_a_subset_file(place):
    """Whatever its name is."""
    words = ("search", place / "index", "--like", uid(3))
    assert winnow(*words, "--subset", place / "a.png").returncode == 0
    assert line(*words[1:], "--grid", place / "a.png") == (
        f"--grid: {place}/a.png is an export.subset: move it or name another file"
    )


def test_captions_that_only_the_recipe_knows_are_told_of(place):
    described(place, caption="best.text")
    done = winnow("search", place / "index", "--like", uid(3), "--k", 2, "--export", place / "hits")
    assert (
        f"warning: {place}/index shows the captions of best.text, which the pool does not have by itself: exported "
        "samples get the pool's own; name the recipe instead of the folder to export the others"
    ) in done.stderr.splitlines()
    done = winnow("search", place / "index", "--like", uid(3), "--k", 2)
    assert "best.text" not in done.stderr
