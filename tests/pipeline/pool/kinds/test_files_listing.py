"""A folder of files: which folders and samples it has, and how it is cut into shards."""

import errno
import os
from dataclasses import replace

import fsspec
import pytest

from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.pool.kinds import files as module
from pipeline.pool.kinds.files import Files
from pipeline.pool.kinds.folders import Entries, folders_below
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from tests.pipeline.pool.kinds.made_folders import JPEG, default, kind, named, put, read, rows_of
from tests.support.decided_pool import write_tar


def test_img2dataset_files_format(tmp_path):
    put(tmp_path, "00000.parquet", "00000_stats.json", "00001.parquet", "00001_stats.json")
    for folder in ("00000", "00001"):
        put(tmp_path / folder, *(f"{folder}000{i}.{s}" for i in range(3) for s in ("jpg", "txt", "json")))
    shards = kind(tmp_path).list_shards().shards
    size = sum(path.stat().st_size for path in (tmp_path / "00000").iterdir())
    assert [replace(shard, state="", beside="") for shard in shards] == [
        Shard(f"{n}/00000", f"{tmp_path}/{n}", size, f"{n}0000.jpg/{n}0002.txt") for n in ("00000", "00001")
    ]
    assert [row["key"] for row in read(tmp_path)] == [
        f"{n}000{i}" for n in ("00000", "00001") for i in range(3)
    ]


def test_folders_to_any_depth_hidden_ones_aside(tmp_path):
    put(tmp_path / "pool", "1.jpg", ".hidden.jpg", "README.txt", "a/b/c/2.PNG", ".git/3.jpg", "texts/4.txt")
    assert named(tmp_path / "pool") == ["00000", "a/b/c/00000"]
    rows = read(tmp_path / "pool")
    assert [row["key"] for row in rows] == ["1", "README", "2"]
    assert [row["error"] for row in rows][1] == "no image member; no json"


def test_links_are_followed_and_loops_end(tmp_path):
    put(tmp_path / "pool", "1.jpg")
    put(tmp_path / "outside", "5.jpg", "deep/7.jpg")
    (tmp_path / "pool" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "pool" / "6.jpg").symlink_to(tmp_path / "outside" / "5.jpg")
    (tmp_path / "outside" / "deep" / "up").symlink_to(tmp_path / "outside")
    (tmp_path / "pool" / "8.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "pool" / "9.jpg")
    listing = kind(tmp_path / "pool").list_shards()
    assert [shard.name for shard in listing.shards] == ["00000", "link/00000", "link/deep/00000"]
    assert [row["key"] for row in read(tmp_path / "pool")] == ["1", "6", "5", "7"]
    assert {path.removeprefix(f"{tmp_path}/pool/"): why for path, why in listing.passed_over.items()} == {
        "link/deep/up": "a link back to a folder above it",
        "8.jpg": "a link that leads nowhere",
        "9.jpg": "a FIFO",
    }


def test_a_folder_that_cannot_be_read_does_not_stop_the_pool(tmp_path, monkeypatch):
    put(tmp_path, "a/1.jpg", "b/1.jpg")
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("/a"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    listing = kind(tmp_path).list_shards()
    assert [shard.name for shard in listing.shards] == ["b/00000"]
    assert listing.passed_over == {f"{tmp_path}/a": "cannot be read: Permission denied"}


def test_folders_that_winnow_wrote_are_read_only_if_they_are_named(tmp_path):
    put(tmp_path, "a/1.jpg", "out/1.jpg", "out/_winnow.json", "image/image.jpg", "image/image.json")
    put(tmp_path, "store/store.jpg", "store/store.json", ("kept/store.json", b'{"format": 2, "pool": {}}'))
    put(tmp_path, "kept/samples/1.jpg")
    listing = kind(tmp_path).list_shards()
    assert [shard.name for shard in listing.shards] == ["a/00000", "image/00000", "store/00000"]
    assert set(listing.passed_over) == {f"{tmp_path}/out", f"{tmp_path}/kept"}
    assert set(listing.passed_over.values()) == {"written by Winnow; name it itself to read it"}
    assert named(tmp_path / "out") == ["00000"]


def test_the_state_changes_with_every_file_of_a_shard_and_with_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 2)
    put(tmp_path, *(f"{i}.{suffix}" for i in range(4) for suffix in ("jpg", "txt")), "other/1.jpg")

    def states():
        return {shard.name: shard.state for shard in kind(tmp_path).list_shards().shards}

    before = states()
    assert len(set(before.values())) == 3
    assert states() == before
    for change in (
        lambda: put(tmp_path, ("1.txt", b"text of 1.tx!")),  # as long as before
        lambda: os.utime(tmp_path / "0.jpg", ns=(0, 0)),
        lambda: put(tmp_path, "1.json"),
        lambda: (tmp_path / "1.json").unlink(),
        lambda: (tmp_path / "0.txt").rename(tmp_path / "0.json"),
    ):
        change()
        after = states()
        assert after["00000"] != before["00000"]
        assert {**after, "00000": ""} == {**before, "00000": ""}
        before = after


def test_names_stay_when_a_folder_is_added(tmp_path):
    put(tmp_path, "cats/1.jpg")
    assert named(tmp_path) == ["cats/00000"]
    put(tmp_path, "dogs/1.jpg", "0.jpg")
    assert named(tmp_path) == ["00000", "cats/00000", "dogs/00000"]
    assert named(tmp_path / "cats") == ["00000"]


def test_several_folders_braces_and_globs(tmp_path, monkeypatch):
    put(tmp_path, "x/a/1.jpg", "x/b/1.jpg", "y/1.jpg", "y/list.txt")
    assert named(tmp_path / "x" / "a", tmp_path / "y") == ["x/a/00000", "y/00000"]
    assert named(tmp_path / "x", tmp_path / "x" / "a") == ["a/00000", "b/00000"]
    assert named(f"{tmp_path}/x/{{a,b}}/") == named(f"{tmp_path}/x/*") == ["a/00000", "b/00000"]
    monkeypatch.chdir(tmp_path)
    assert [shard.path for shard in kind("y").list_shards().shards] == [f"{tmp_path}/y"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "nowhere",
            r"pool\.shards: '.*/nowhere' \(from '.*/nowhere'\) is not a folder, as kind: files needs",
        ),
        ("y/1.txt", r"pool\.shards: '.*/y/1\.txt' \(from .*\) is not a folder"),
        ("*/none*", r"pool\.shards: '.*/\*/none\*' \(from .*\) is not a folder"),
        (
            "y",
            r"pool\.shards: no picture \(\*\.jpg, \*\.png, .*\*\.heif\) in '.*/y' or a folder below it",
        ),
    ],
)
def test_what_holds_no_pictures_is_named(tmp_path, path, message):
    put(tmp_path, "y/1.txt", "y/z/1.json")
    with pytest.raises(RecipeError, match=message):
        Session.open(parse({"pool": {"shards": f"{tmp_path}/{path}", "kind": "files", "store": "s"}}))


def test_an_empty_list():
    with pytest.raises(ValueError, match=r"pool\.shards is empty: name at least one folder"):
        Files([], {}).list_shards()


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    put(tmp_path, (b"caf\xe9/1.jpg", JPEG), "caf%E9/1.jpg", "a*b\n/1.jpg")
    assert named(tmp_path) == ["a%2Ab%0A/00000", "caf%25E9/00000", "caf%E9/00000"]
    assert [row["key"] for row in read(tmp_path)] == ["1"] * 3


NAMES = {
    "plain": [f"{i}.{suffix}" for i in range(8) for suffix in ("jpg", "txt", "json")],
    "dots": [f"photo.{i}.{suffix}" for i in range(8) for suffix in ("jpg", "txt")],
    "one stem with dots is cut in the middle": [
        "a.jpg",
        *(f"v1.{i:03}.jpg" for i in range(300)),
        "v1.jpg",
        "w.jpg",
    ],
    "compound suffixes": [f"{i}.{suffix}" for i in range(8) for suffix in ("seg.png", "jpg", "txt")],
    "a plain suffix at the end settles the key": [
        *(f"v.{i}.png" for i in range(5)),
        "v.zip",
        "v.txt",
        "w.jpg",
    ],
}


def test_files_that_make_no_sample_move_no_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 2)
    put(tmp_path, *(f"{i}.jpg" for i in range(5)), *(f"{i}.zip" for i in range(5)))
    before = rows_of(kind(), kind(tmp_path).list_shards().shards)
    put(tmp_path, "0", "00.md", "1", "1.npy", "11.npy", "2a.csv", "4.xyz", "5.zip", "README")
    after = rows_of(kind(), kind(tmp_path).list_shards().shards)
    assert [(r["shard"], r["key"]) for r in after] == [(r["shard"], r["key"]) for r in before]
    assert [r["shard"] for r in after] == ["00000", "00000", "00001", "00001", "00002"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 3, 5, 10_000])
def test_a_large_folder_is_cut_into_shards(tmp_path, monkeypatch, name, size):
    """Whatever the size, the shards hold the samples of one tar of these files, each once and in order."""
    put(tmp_path / "pool", *NAMES[name])
    write_tar(tmp_path / "0.tar", [(n, default(n)) for n in sorted(NAMES[name])])
    monkeypatch.setattr(module, "SAMPLES", size)
    shards = kind(tmp_path / "pool").list_shards().shards
    assert [shard.name for shard in shards] == [f"{number:05d}" for number in range(len(shards))]
    counts = [len(rows_of(kind(), [shard])) for shard in shards]
    assert sum(counts) == len(rows_of(Tars((), {}), [Shard("0", f"{tmp_path}/0.tar")]))
    assert all(count == size for count in counts[:-1])
    keys = [row["key"] for row in read(tmp_path / "pool")]
    assert keys == [row["key"] for row in rows_of(Tars((), {}), [Shard("0", f"{tmp_path}/0.tar")])]


def test_other_storage(tmp_path):
    fs = fsspec.filesystem("memory")
    put(
        tmp_path,
        "a/1.jpg",
        ("a/1.txt", b""),
        "a/2.jpg",
        "b/c/1.jpg",
        "b/.hidden/1.jpg",
        "b/c/.1.jpg",
        "c/x.txt",
    )
    fs.put(f"{tmp_path}/", "/test_files/", recursive=True)
    try:
        remote = kind("memory://test_files")
        shards = remote.list_shards().shards
        assert [(s.name, s.path) for s in shards] == [
            (name, f"memory:///test_files/{name.removesuffix('/00000')}") for name in ("a/00000", "b/c/00000")
        ]
        assert rows_of(remote, shards) == read(tmp_path)
        assert named("memory://test_files/{a,b}") == ["a/00000", "b/c/00000"]
        with remote.members(shards[0]) as members_of:
            row = {"row": 0, "key": "1", "length": len(JPEG)}
            assert [(s, bytes(d)) for s, d in members_of(row)] == [("jpg", JPEG), ("txt", b"")]
        remote.touch(shards[0])
    finally:
        fs.rm("/test_files", recursive=True)


@pytest.mark.parametrize("paths", ["", [""], ["y", " "]])
def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch, paths):
    put(tmp_path, "y/1.jpg", "y/1.txt")
    monkeypatch.chdir(tmp_path / "y" if paths != ["y", " "] else tmp_path)
    with pytest.raises(ValueError, match=r"pool\.shards: '.*' \(from '.*'\) is not a folder"):
        kind(*([paths] if isinstance(paths, str) else paths)).list_shards()


def test_two_folders_never_share_a_shard(tmp_path):
    put(tmp_path, "p/cats/1.jpg", "p/cats:/1.jpg", "p/cats:/2.jpg")
    assert named(tmp_path / "p") == ["cats/00000", "cats:/00000"]


def test_a_folder_that_is_called_like_a_pattern(tmp_path):
    put(tmp_path, "photos [2024]/1.jpg", "photos 2/1.jpg", "{x,y}/1.jpg", "{x,y}/1.txt")
    assert named(tmp_path / "photos [2024]") == ["00000"]
    assert [shard.path for shard in kind(str(tmp_path / "{x,y}")).list_shards().shards] == [
        f"{tmp_path}/{{x,y}}"
    ]


def test_a_deep_tree_does_not_exhaust_the_stack(monkeypatch):
    """Faked: Python itself cannot remove a real tree of that depth."""

    def list_folder(folder: str) -> Entries:
        depth = int(folder)
        return Entries({}, [str(depth + 1)] if depth < 5000 else [])

    monkeypatch.setattr("pipeline.pool.kinds.folders.list_folder", list_folder)
    assert [folder for folder, *_ in folders_below("1", {})] == [str(depth) for depth in range(1, 5001)]
