"""A folder of files: which folders and samples it has, and how it is cut into shards."""

import fsspec
import pytest

from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.pool.kinds import files as module
from pipeline.pool.kinds.files import Files
from pipeline.pool.kinds.folders import Listing, folders_below
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from tests.pipeline.pool.kinds.made_folders import JPEG, default, kind, named, put, read, rows_of
from tests.support.decided_pool import write_tar


def test_img2dataset_files_format(tmp_path):
    put(tmp_path, "00000.parquet", "00000_stats.json", "00001.parquet", "00001_stats.json")
    for folder in ("00000", "00001"):
        put(tmp_path / folder, *(f"{folder}000{i}.{s}" for i in range(3) for s in ("jpg", "txt", "json")))
    shards = kind(tmp_path).list_shards()
    size = sum(path.stat().st_size for path in (tmp_path / "00000").iterdir())
    assert shards == [
        Shard(f"{n}/00000", f"{tmp_path}/{n}", size, f"{n}0000.jpg/{n}0002.txt") for n in ("00000", "00001")
    ]
    assert [row["key"] for row in read(tmp_path)] == [
        f"{n}000{i}" for n in ("00000", "00001") for i in range(3)
    ]


def test_folders_to_any_depth_hidden_ones_and_links_aside(tmp_path):
    put(tmp_path / "pool", "1.jpg", ".hidden.jpg", "README.txt", "a/b/c/2.PNG", ".git/3.jpg", "texts/4.txt")
    put(tmp_path / "outside", "5.jpg")
    (tmp_path / "pool" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "pool" / "6.jpg").symlink_to(tmp_path / "outside" / "5.jpg")
    assert named(tmp_path / "pool") == ["00000", "a/b/c/00000"]
    rows = read(tmp_path / "pool")
    assert [row["key"] for row in rows] == ["1", "README", "2"]
    assert [row["error"] for row in rows][1] == "no image member; no json"


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
    assert [shard.path for shard in kind("y").list_shards()] == [f"{tmp_path}/y"]


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
            r"pool\.shards: no picture \(\*\.jpg, \*\.png, \*\.jpeg, \*\.webp\) in '.*/y' or a folder below it",
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
    put(tmp_path, (b"caf\xe9/1.jpg", JPEG))
    with pytest.raises(ValueError, match=r"caf\\udce9' gives no safe name for output files"):
        kind(tmp_path).list_shards()


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
    before = rows_of(kind(), kind(tmp_path).list_shards())
    put(tmp_path, "0", "00.md", "1", "1.npy", "11.npy", "2a.csv", "4.xyz", "5.zip", "README")
    after = rows_of(kind(), kind(tmp_path).list_shards())
    assert [(r["shard"], r["key"]) for r in after] == [(r["shard"], r["key"]) for r in before]
    assert [r["shard"] for r in after] == ["00000", "00000", "00001", "00001", "00002"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 3, 5, 10_000])
def test_a_large_folder_is_cut_into_shards(tmp_path, monkeypatch, name, size):
    """Whatever the size, the shards hold the samples of one tar of these files, each once and in order."""
    put(tmp_path / "pool", *NAMES[name])
    write_tar(tmp_path / "0.tar", [(n, default(n)) for n in sorted(NAMES[name])])
    monkeypatch.setattr(module, "SAMPLES", size)
    shards = kind(tmp_path / "pool").list_shards()
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
        shards = remote.list_shards()
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
    with pytest.raises(ValueError, match=r"pool\.shards: .*/cats:? and .*/cats:? would both be 'cats/00000'"):
        kind(str(tmp_path / "p")).list_shards()


def test_a_folder_that_is_called_like_a_pattern(tmp_path):
    put(tmp_path, "photos [2024]/1.jpg", "photos 2/1.jpg", "{x,y}/1.jpg", "{x,y}/1.txt")
    assert named(tmp_path / "photos [2024]") == ["00000"]
    assert [shard.path for shard in kind(str(tmp_path / "{x,y}")).list_shards()] == [f"{tmp_path}/{{x,y}}"]


def test_a_deep_tree_does_not_exhaust_the_stack(monkeypatch):
    """Faked: Python itself cannot remove a real tree of that depth."""

    def list_folder(folder: str) -> Listing:
        depth = int(folder)
        return Listing({}, [str(depth + 1)] if depth < 5000 else [])

    monkeypatch.setattr("pipeline.pool.kinds.folders.list_folder", list_folder)
    assert [folder for folder, _ in folders_below("1")] == [str(depth) for depth in range(1, 5001)]
