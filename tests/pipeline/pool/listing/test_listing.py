"""What paths and patterns stand for: links, special files, names with magic, what Winnow wrote."""

import errno
import os
import re
import socket
from pathlib import Path

import pytest

from pipeline.pool.listing import reasons
from pipeline.pool.shards import Listing, list_shards
from pipeline.storage.identity import MISSING, local_state
from tests.pipeline.pool.test_shards import touch


def names(*patterns) -> list[str]:
    """The names of the shards."""
    return [shard.name for shard in list_shards([str(pattern) for pattern in patterns]).shards]


def passed_over(listing: Listing, folder: Path) -> dict[str, str]:
    """What was passed over below a folder, with reasons."""
    return {path.removeprefix(f"{folder}/"): why for path, why in listing.passed_over.items()}


# --- links


def test_links_to_files_and_folders_are_followed(tmp_path):
    touch(tmp_path, "pool/0.tar", "else/1.tar", "else/deep/2.tar")
    os.symlink(tmp_path / "else" / "1.tar", tmp_path / "pool" / "1.tar")
    os.symlink("../else", tmp_path / "pool" / "linked")
    found = ["0", "1", "linked/1", "linked/deep/2"]
    assert names(tmp_path / "pool") == names(f"{tmp_path}/pool/**/*.tar") == found
    assert names(f"{tmp_path}/pool/*.tar") == ["0", "1"]
    assert names(f"{tmp_path}/pool/*/*.tar") == ["linked/1"]
    os.symlink(tmp_path / "pool", tmp_path / "way")
    assert names(tmp_path / "way") == found


def test_a_loop_of_links_ends(tmp_path):
    touch(tmp_path, "pool/a/0.tar")
    os.symlink(tmp_path / "pool", tmp_path / "pool" / "a" / "up")
    os.symlink("self", tmp_path / "pool" / "self")
    for pattern in (tmp_path / "pool", f"{tmp_path}/pool/**/*.tar"):
        listing = list_shards(str(pattern))
        assert [shard.name for shard in listing.shards] == ["a/0"]
        assert passed_over(listing, tmp_path / "pool") == {
            "a/up": "a link back to a folder above it",
            "self": "a link that leads nowhere",
        }


def test_the_layout_of_hugging_faces_cache(tmp_path):
    touch(tmp_path, "blobs/0a1b", "blobs/2c3d", "refs/main")
    (tmp_path / "snapshots" / "5e").mkdir(parents=True)
    for name, blob in (("0.parquet", "0a1b"), ("1.parquet", "2c3d")):
        os.symlink(f"../../blobs/{blob}", tmp_path / "snapshots" / "5e" / name)
    assert names(tmp_path) == ["snapshots/5e/0", "snapshots/5e/1"]
    assert names(tmp_path / "snapshots" / "5e") == ["0", "1"]


def test_what_is_not_a_shard_is_passed_over_with_a_reason(tmp_path):
    touch(tmp_path, "0.tar", "0.parquet", "0_stats.json", "9_stats.json", "1.tar.Z", "2.taz", ".3.tar", "a/b")
    os.mkfifo(tmp_path / "4.tar")
    os.symlink(tmp_path / "gone", tmp_path / "5.tar")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "6.tar"))
    listing = list_shards(str(tmp_path))
    assert [shard.name for shard in listing.shards] == ["0"]
    assert passed_over(listing, tmp_path) == {
        "0.parquet": "a table beside tars: taken for a description of them",
        "9_stats.json": "not a shard",
        "1.tar.Z": "a tar in a packing that is not read; unpack it, or pack it with gzip",
        "2.taz": "a tar in a packing that is not read; unpack it, or pack it with gzip",
        "4.tar": "a FIFO",
        "5.tar": "a link that leads nowhere",
        "6.tar": "a socket",
        "a/b": "not a shard",
    }
    assert passed_over(list_shards(f"{tmp_path}/*.tar"), tmp_path) == {
        "4.tar": "a FIFO",
        "5.tar": "a link that leads nowhere",
        "6.tar": "a socket",
    }


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    touch(tmp_path, "a/0.tar", "b/1.tar")
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("/a"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    listing = list_shards(str(tmp_path))
    assert [shard.name for shard in listing.shards] == ["b/1"]
    assert passed_over(listing, tmp_path) == {"a": "cannot be read: Permission denied"}


def test_special_files_and_compressed_tars_are_refused_if_they_are_named(tmp_path):
    os.mkfifo(tmp_path / "0.tar")
    for pattern in (f"{tmp_path}/0.tar", f"{tmp_path}/{{0,1}}.tar"):
        with pytest.raises(ValueError, match=r"pool\.shards: .*/0\.tar is a FIFO, not a file with samples"):
            list_shards(pattern)
    touch(tmp_path, "a/0.tar.Z")
    with pytest.raises(ValueError, match=r"0\.tar\.Z is a tar in a packing that is not read; unpack it"):
        list_shards(f"{tmp_path}/a/0.tar.Z")
    with pytest.raises(ValueError, match=r"no \*\.tar matches .*; passed over: .*/a/0\.tar\.Z \(a tar in"):
        list_shards(f"{tmp_path}/a")


def test_a_folder_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = re.escape(f"pool.shards: there is no folder '{tmp_path}/shard' (from 'shard/*.tar')")
    with pytest.raises(ValueError, match=f"^{told}; relative paths start at the current folder$"):
        list_shards("shard/*.tar")
    with pytest.raises(ValueError, match=r"there is no folder '.*/shard' \(from '/.*/shard/\*\.tar'\)$"):
        list_shards(f"{tmp_path}/shard/*.tar")


def test_packed_tars_are_shards_named_like_others(tmp_path):
    touch(tmp_path, "0.tar", "1.tar.gz", "a/2.tgz", "3.tar.zst", "4.tar.bz2", "5.txz", "6.tar.lz4")
    assert names(tmp_path) == ["0", "1", "3", "4", "5", "6", "a/2"]
    touch(tmp_path, "0.tar.gz")
    with pytest.raises(ValueError, match=r"two shards would be named '0', '.*/0\.tar' and '.*/0\.tar\.gz'"):
        list_shards(str(tmp_path))


def test_a_folder_that_is_called_like_a_tar_is_searched(tmp_path):
    touch(tmp_path, "x.tar/0.tar")
    assert names(tmp_path / "x.tar") == ["0"]
    assert names(tmp_path) == ["x.tar/0"]


# --- paths that look like patterns


def test_an_existing_path_is_never_taken_for_a_pattern(tmp_path):
    touch(tmp_path, "my [set]/0.tar", "my s/1.tar", "{a,b}.tar", "a.tar", "what?.tar", "whats.tar")
    for pattern in ("my [set]/0.tar", "my [set]", "my [set]/*.tar", "my [set]/{0,0}.tar"):
        assert names(f"{tmp_path}/{pattern}") == ["0"], pattern
    assert [s.path for s in list_shards(f"{tmp_path}/{{a,b}}.tar").shards] == [f"{tmp_path}/{{a,b}}.tar"]
    assert names(f"{tmp_path}/what?.tar") == ["what%3F"]
    (missing,) = list_shards(f"{tmp_path}/my [set]/7.tar").shards
    assert (missing.name, missing.state) == ("7", MISSING)
    assert names(f"{tmp_path}/my [st]/*.tar") == ["my s/1"]


def test_on_other_storage_too():
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe({f"/magic/{name}": b"12" for name in ("my [set]/0.tar", "my s/1.tar", "a*.tar", "ab.tar")})
    try:
        for pattern in ("my [set]/0.tar", "my [set]", "my [set]/*.tar"):
            assert names(f"memory://magic/{pattern}") == ["0"], pattern
        assert names("memory://magic/a*.tar") == ["a%2A"]
        assert names("memory://magic/a?.tar") == ["a%2A", "ab"]
        assert names("memory://magic/**/*.tar") == ["a%2A", "ab", "my %5Bset%5D/0", "my s/1"]
    finally:
        fs.rm("/magic", recursive=True)


# --- names


def test_names_do_not_depend_on_which_shards_there_are(tmp_path):
    touch(tmp_path, "pool/a/0.tar")
    for pattern in ("pool", "pool/*/*.tar", "pool/**", "pool/{a,b}/*.tar"):
        expected = ["a/0"]
        if "{" in pattern:
            touch(tmp_path, "pool/b/0.tar")
            expected = ["a/0", "b/0"]
        assert names(f"{tmp_path}/{pattern}") == expected, pattern
    assert list_shards(f"{tmp_path}/pool/*/0.tar").root == f"{tmp_path}/pool"
    assert list_shards(f"{tmp_path}/pool/a/0.tar").root == f"{tmp_path}/pool/a"
    assert names(f"{tmp_path}/pool/a/{{0..1}}.tar") == ["0", "1"]
    assert names(f"{tmp_path}/pool/a/0.tar", f"{tmp_path}/pool/b") == ["a/0", "b/0"]


def test_names_are_safe_and_never_equal(tmp_path):
    odd = [
        b"caf\xe9",
        b"caf%E9",
        b"a\nb",
        b"a*b",
        b"[x]",
        b"{y}",
        "é".encode(),
        b"spark.parquet/part",
        b"100%",
    ]
    for name in odd:
        path = os.fsencode(tmp_path) + b"/" + name + b".tar"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"1")
    found = names(tmp_path)
    assert sorted(found) == sorted(
        ["caf%E9", "caf%25E9", "a%0Ab", "a%2Ab", "%5Bx%5D", "%7By%7D", "é", "spark%2Eparquet/part", "100%25"]
    )
    assert all(name.encode().decode() == name for name in found)


def test_long_names_are_cut_and_stay_different(tmp_path):
    touch(tmp_path, f"{'é' * 100}1.tar", f"{'é' * 100}2.tar", f"{'x' * 150}.tar")
    found = names(tmp_path)
    assert len(set(found)) == 3
    assert max(len(name.encode()) for name in found) == 150
    assert "x" * 150 in found


# --- states


def test_the_state_of_a_local_shard_is_that_of_its_file(tmp_path):
    touch(tmp_path, "0.tar", "1.tar")
    os.symlink("1.tar", tmp_path / "2.tar")
    for pattern in (str(tmp_path), f"{tmp_path}/*.tar", f"{tmp_path}/{{0..2}}.tar"):
        shards = list_shards(pattern).shards
        assert [s.state for s in shards] == [local_state(os.stat(s.path)) for s in shards]
        assert [s.size for s in shards] == [5, 5, 5]


# --- what Winnow wrote


def test_what_winnow_wrote_is_read_only_if_it_is_named(tmp_path):
    touch(
        tmp_path,
        "a/0.tar",
        "out/00000000.tar",
        "out/_winnow.json",
        "index/metadata/m.parquet",
        "b/image.json",
    )
    touch(tmp_path, "index/image.json", "index/image.index", "b/1.tar", "c/store.json", "c/2.tar")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text('{"format": 2, "pool": {"root": "../a"}}')
    touch(tmp_path, "store/samples/0.tar")
    for pattern in (tmp_path, f"{tmp_path}/**/*.tar"):
        listing = list_shards(str(pattern))
        assert [shard.name for shard in listing.shards] == ["a/0", "b/1", "c/2"]
        written = {
            path for path, why in passed_over(listing, tmp_path).items() if why.startswith("written by")
        }
        assert written == {"out", "index", "store"}
    assert names(tmp_path / "out") == names(f"{tmp_path}/out/*.tar") == ["00000000"]


def test_notes_of_macos_are_passed_over_even_where_hidden_files_count(tmp_path):
    for name in ("0.tar", "._0.tar", "._1.tar", ".DS_Store", ".hidden.tar"):
        (tmp_path / name).write_bytes(b"")
    listing = list_shards((f"{tmp_path}/*.tar", f"{tmp_path}/.*"))
    assert [shard.name for shard in listing.shards] == [".hidden", "0"]
    assert passed_over(listing, tmp_path) == dict.fromkeys(("._0.tar", "._1.tar", ".DS_Store"), reasons.NOTE)
    assert not reasons.is_loss(reasons.NOTE)
    assert [shard.name for shard in list_shards((f"{tmp_path}/._0.tar",)).shards] == ["._0"]
