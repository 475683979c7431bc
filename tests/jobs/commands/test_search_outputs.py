"""Where `winnow search` may write: what is refused before any work."""

import shutil

import pytest
import yaml

from tests.jobs.commands.test_search_mistakes import line
from tests.support.command import winnow
from tests.support.decided_pool import uid
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


@pytest.mark.parametrize("there", [True, False])
def test_a_subset_file_in_the_store_or_the_pool(place, there):
    """Also if the pool is no longer there."""
    if not there:
        shutil.rmtree(place / "pool")
    assert line(place / "index", "--like", uid(3), "--subset", place / "store" / "a.npy") == (
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
