"""The subset file: DataComp's bytes, sorted in memory or on disk."""

import socket

import fsspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.export import subset
from pipeline.export.subset import read_subset, subset_uids, write_subset
from pipeline.plan.session import Session
from pipeline.storage.folder import Folder
from tests.support.decided_pool import decided, ordinary, recipe, sample, uid, write_tar
from tests.support.folders import contents

GOLDEN = ["139e4a9b22a614771f06c700a8ebe150", "6e356964a967af455c8016b75d691203"]


@pytest.fixture
def golden(tmp_path):
    files = [
        *sample(1, uid=GOLDEN[1]),
        *sample(2, uid=GOLDEN[0]),
        *sample(3, caption="no"),
    ]
    write_tar(tmp_path / "pool" / "0.tar", files)
    return decided(tmp_path, {"subset": str(tmp_path / "out" / "subset.npy")})


def datacomp(uids) -> np.ndarray:
    """As DataComp's README makes it."""
    rows = [(int(u[:16], 16), int(u[16:32], 16)) for u in uids]
    return np.sort(np.array(rows, np.dtype("u8,u8")))


def test_golden_bytes(golden, tmp_path):
    assert write_subset(golden).rows == 2
    data = (tmp_path / "out" / "subset.npy").read_bytes()
    assert len(data) == 160
    rows = np.array(
        [1413649363202610295, 2235693070683988304, 7941369398997528389, 6665352425310327299], "<u8"
    )
    assert data[128:] == rows.tobytes()
    np.save(tmp_path / "saved.npy", datacomp(GOLDEN))
    assert data == (tmp_path / "saved.npy").read_bytes()
    assert sorted(contents(tmp_path / "out")) == ["subset.npy", "subset.npy.winnow.json"]


def test_reads_back(golden, tmp_path):
    write_subset(golden)
    found = read_subset(str(tmp_path / "out" / "subset.npy"))
    assert found.dtype.names == ("f0", "f1")
    assert subset_uids(found) == GOLDEN


def test_a_file_of_something_else(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(RecipeError, match=r"x\.npy must be a list of u8,u8, got float64 \(3,\)"):
        read_subset(str(tmp_path / "x.npy"))


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 1000])
def test_sorted_on_disk_equals_sorted_in_memory(tmp_path, at_once):
    pool = ordinary(tmp_path / "pool", (7, 0, 5))
    write_tar(pool / "00003.tar", [m for i in (0, 0, 4, 9) for m in sample(i)])  # once more
    session = decided(tmp_path, {"subset": str(tmp_path / "subset.npy")})
    assert write_subset(session, at_once).rows == 12
    kept = [uid(i) for i in range(12) if i % 3 != 2] + [uid(i) for i in (0, 0, 4, 9)]
    np.testing.assert_array_equal(read_subset(str(tmp_path / "subset.npy")), datacomp(kept))


@given(
    parts=st.lists(st.lists(st.sampled_from(["00" * 16, "ff" * 16, "0" * 31 + "1", *GOLDEN])), max_size=6),
    at_once=st.integers(1, 8),
)
@settings(max_examples=60)
def test_any_parts_and_any_memory(tmp_path_factory, parts, at_once):
    folder = str(tmp_path_factory.mktemp("sort"))
    rows = [subset._halves(pl.Series(part, dtype=pl.String)) for part in parts]
    chunks = list(subset._sorted(iter(rows), at_once, folder))
    found = np.concatenate([np.empty(0, subset.DTYPE), *chunks])
    assert subset_uids(found) == sorted(uid for part in parts for uid in part)
    # what lies in memory: what may be sorted at once, and the part that came last
    assert max(map(len, chunks), default=0) <= at_once + max(map(len, parts), default=0)


def test_nothing_kept(tmp_path):
    write_tar(tmp_path / "pool" / "0.tar", sample(1, caption="no"))
    session = decided(tmp_path, {"subset": str(tmp_path / "subset.npy")})
    assert write_subset(session).rows == 0
    assert (tmp_path / "subset.npy").stat().st_size == 128
    assert read_subset(str(tmp_path / "subset.npy")).shape == (0,)


def test_what_a_killed_run_left_goes(golden, tmp_path):
    host = socket.gethostname().replace(".", "-")
    left = tmp_path / "out" / f".winnow-tmp.{host}.4000000.1.subset.npy" / "000-019"  # past the largest pid
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x" * 32)
    write_subset(golden, at_once=1)
    assert not left.parent.exists()
    assert subset_uids(read_subset(str(tmp_path / "out" / "subset.npy"))) == GOLDEN


def test_object_storage(tmp_path):
    write_tar(tmp_path / "pool" / "0.tar", sample(1))
    session = decided(tmp_path, {"subset": "memory://subset-test/subset.npy"})
    write_subset(session)
    assert subset_uids(read_subset("memory://subset-test/subset.npy")) == [uid(1)]


def test_needs_decisions(tmp_path):
    ordinary(tmp_path / "pool")
    session = Session.open(recipe(tmp_path, {"subset": str(tmp_path / "subset.npy")}))
    with pytest.raises(RecipeError, match=r"nothing to export.*run `winnow keep` first"):
        write_subset(session)


def test_needs_a_path(tmp_path):
    write_tar(tmp_path / "pool" / "0.tar", sample(1))
    with pytest.raises(RecipeError, match=r"export\.subset is missing"):
        write_subset(decided(tmp_path, {}))


def test_publishing_leaves_nothing_behind_on_error(tmp_path):
    files = Folder(str(tmp_path))

    def fill_the_disk():
        with files.publishing("a/b") as path, open(path, "wb"):
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert list((tmp_path / "a").iterdir()) == []


def test_publishing_to_object_storage():
    with Folder("memory://publish-test").publishing("a/b") as path, open(path, "wb") as file:
        file.write(b"whole")
    assert fsspec.filesystem("memory").cat_file("/publish-test/a/b") == b"whole"
