"""Shards: braces, globs and folders on any storage, and their names."""

from pathlib import Path

import fsspec
import pytest

from pipeline.pool.shards import Shard, list_shards
from pipeline.storage.identity import MISSING

# --- listing


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")


def named(patterns: str | list[str]) -> list[tuple[str, int | None]]:
    return [(shard.name, shard.size) for shard in list_shards(patterns).shards]


def test_braces_keep_zeros_and_name_what_does_not_exist():
    shards = list_shards("/none/{00008..00011}.tar").shards
    names = ("00008", "00009", "00010", "00011")
    assert shards == tuple(Shard(n, f"/none/{n}.tar", None, state=MISSING) for n in names)
    shards = list_shards("/none/{a,b}/{0..1}.tar").shards
    assert [s.name for s in shards] == ["a/0", "a/1", "b/0", "b/1"]


def test_globs_and_folders_are_looked_up(tmp_path):
    touch(tmp_path, "a/0.tar", "b/c/0.tar", "b/1.tar", "b/1.parquet", "b/2.tar.tmp", "b/._1.tar")
    touch(tmp_path, "b/.tmp.host.1.x/3.tar", "b/.cache/4.tar")
    (tmp_path / "a/folder.tar").mkdir()
    assert named(f"{tmp_path}/b/.cache") == [("4", 5)]
    assert named(f"{tmp_path}/*/*.tar") == [("a/0", 5), ("b/1", 5)]
    assert named(f"{tmp_path}/**/*.tar") == [("a/0", 5), ("b/1", 5), ("b/c/0", 5)]
    assert named(str(tmp_path)) == [("a/0", 5), ("b/1", 5), ("b/c/0", 5)]
    assert named(f"{tmp_path}/b/") == [("1", 5), ("c/0", 5)]
    assert named([f"{tmp_path}/b/1.tar", f"{tmp_path}/{{a,b}}"]) == [
        ("a/0", 5),
        ("b/1", 5),
        ("b/c/0", 5),
    ]


def test_a_single_shard_is_named_by_its_stem(tmp_path, monkeypatch):
    assert named(f"{tmp_path}/deep/00000.tar") == [("00000", None)]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for same in ("~/0.tar", "0.tar", "x/../0.tar", f"file://{tmp_path}/0.tar"):
        assert list_shards([same, f"{tmp_path}/0.tar"]).shards == (
            Shard("0", f"{tmp_path}/0.tar", None, state=MISSING),
        )


def test_other_storage():
    fs = fsspec.filesystem("memory")
    fs.pipe({"/test_list/a/0.tar": b"123", "/test_list/b/0.tar": b"12345"})
    try:
        for pattern in ("memory://test_list", "memory://test_list/*/*.tar"):
            assert named(pattern) == [("a/0", 3), ("b/0", 5)]
        both = list_shards(["memory://test_list/{a,b}/0.tar", "memory://test_list"]).shards
        assert [(s.name, s.size) for s in both] == [("a/0", 3), ("b/0", 5)]
        assert all(fsspec.open(shard.path).open().read(2) == b"12" for shard in both)
    finally:
        fs.rm("/test_list", recursive=True)


def test_different_storages_stay_apart():
    assert [s.name for s in list_shards(["/pool/0.tar", "memory://pool/0.tar"]).shards] == [
        "pool/0",
        "memory/pool/0",
    ]


@pytest.mark.parametrize("pattern", ["*.tar", "", "empty", "none", "{a,b}/*.tar"])
def test_what_matches_nothing_is_named(tmp_path, monkeypatch, pattern):
    touch(tmp_path, "a/0.tar", "x.txt")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    missing = "there is no folder '.*/b'" if pattern.startswith("{") else r"no \*\.tar matches"
    with pytest.raises(ValueError, match=rf"pool\.shards: {missing}") as raised:
        list_shards(pattern)
    assert repr(pattern) in str(raised.value)


def test_a_file_of_another_name_counts_where_it_is_named(tmp_path):
    touch(tmp_path, "a.wds", "._0.tar")
    assert named([f"{tmp_path}/a.wds", f"{tmp_path}/._0.tar"]) == [("._0", 5), ("a.wds", 5)]


def test_tables_where_there_are_no_tars(tmp_path):
    touch(tmp_path, "b/0.parquet", "b/1.tsv.gz", "a/2.jsonl", "a/.3.csv", "a/x.json", "a/x.txt", "c/4.tar")
    assert named([f"{tmp_path}/a", f"{tmp_path}/b"]) == [("a/2", 5), ("b/0", 5), ("b/1", 5)]
    assert named(f"{tmp_path}/b/*") == [("0", 5), ("1", 5)]
    assert named(f"{tmp_path}/b/{{0.parquet,9.csv.gz}}") == [("0", 5), ("9", None)]
    assert named(str(tmp_path)) == [("c/4", 5)]  # what lies beside tars are sidecars
    assert named(f"{tmp_path}/*/*") == [("c/4", 5)]
    assert named(f"{tmp_path}/**/*.parquet") == [("b/0", 5)]
    touch(tmp_path, "spark.parquet/part-0.parquet")
    assert named(f"{tmp_path}/spark.parquet/") == [("part-0", 5)]
    with pytest.raises(ValueError, match=r"pool\.shards: .*4\.tar is a tar and .*0\.parquet a table"):
        list_shards([f"{tmp_path}/c", f"{tmp_path}/b/0.parquet"])
    with pytest.raises(ValueError, match="two shards would be named '0'"):
        list_shards(f"{tmp_path}/b/0.{{parquet,tsv}}")


def test_the_format_of_a_shard():
    kinds = {"tar": "tar", "wds": "tar", "tsv.gz": "tsv", "ndjson": "ndjson", "parquet": "parquet"}
    assert {suffix: Shard("s", f"/p/s.{suffix}").format for suffix in kinds} == kinds
    assert Shard("s", "https://host/s.csv?signed=1.tar").format == "csv"
    assert [Shard("s", f"s.{suffix}").table for suffix in ("tar", "jsonl.gz")] == [False, True]


def test_an_empty_list_and_unsafe_names():
    with pytest.raises(ValueError, match="empty"):
        list_shards([])
    with pytest.raises(ValueError, match="safe"):
        list_shards(["memory://a/../../x.tar", "memory://a/y.tar"])
    with pytest.raises(ValueError, match="safe"):
        list_shards("/pool/.tar")
