"""Filtered shards of odd samples, lost shards and other storage."""

from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import RecipeError, ShardError
from pipeline.plan.session import Session
from tests.pipeline.export.tar_exports import export
from tests.support.decided_pool import decided, jpeg, ordinary, read_tar, recipe, sample, uid, write_tar
from tests.support.folders import contents, is_states

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"


def test_nothing_kept(tmp_path, tar_folder):
    write_tar(tmp_path / "pool" / "0.tar", sample(1, caption="no"))
    tar_session = decided(tmp_path, {"shards": str(tar_folder)})
    assert export(tar_session).shards == 0
    assert sorted(contents(tar_folder)) == ["_winnow.json", "meta.json", "sizes.json"]
    assert (tar_folder / "sizes.json").read_bytes() == b"{}"


def test_a_shard_that_is_gone(tar_session, tar_folder, tmp_path, caplog):
    gone = tmp_path / "pool" / "00002.tar"
    kept = gone.read_bytes()
    gone.unlink()
    with pytest.raises(ShardError, match=r"2 of 3 not written:\n  00000001\.tar: .*00002\.tar"):
        export(tar_session)
    messages = [record.getMessage() for record in caplog.records if record.name == "winnow.export"]
    assert [message.split(": ")[0] for message in messages] == ["00000001.tar failed", "00000002.tar failed"]
    assert all("00002.tar" in message for message in messages)
    assert (tar_folder / "00000000_stats.json").exists()
    assert not (tar_folder / "sizes.json").exists()
    assert not list(tar_folder.glob(".winnow-tmp.*"))
    gone.write_bytes(kept)
    again = decided(tmp_path, {"shards": str(tar_folder), "samples_per_shard": 3})
    assert export(again).skipped == 1


def test_a_shard_that_was_replaced(tar_session, tmp_path):
    write_tar(tmp_path / "pool" / "00002.tar", [m for i in range(20, 25) for m in sample(i)])
    with pytest.raises(
        ShardError, match=r"00002\.tar has changed since it was listed .*: run the command again"
    ):
        export(tar_session)


def test_equal_uids_and_keys_do_not_meet(tmp_path, tar_folder):
    files = [m for _ in range(3) for m in sample(5)]
    write_tar(tmp_path / "pool" / "a" / "0.tar", files)
    write_tar(tmp_path / "pool" / "b" / "0.tar", sample(5))
    export(decided(tmp_path, {"shards": str(tar_folder)}))
    names = [name for name, _ in read_tar(tar_folder / "00000000.tar") if name.endswith("jpg")]
    assert names == [f"{uid(5)}{end}.jpg" for end in ("-0", "-1", "-2", "-3")]
    frame = pl.read_parquet(tar_folder / "00000000.parquet")
    assert frame["key"].to_list() == [name.removesuffix(".jpg") for name in names]
    assert frame["uid"].to_list() == [uid(5)] * 4
    assert frame["source_shard"].to_list() == ["a/0"] * 3 + ["b/0"]


def test_odd_samples(tmp_path, tar_folder):
    """Unknown members, dotted keys, a caption in the json only, no json, names meant to do harm."""
    harm = [
        ("../../up.jpg", jpeg(3)),
        ("../../up.txt", b"caption"),
        ("../../up.a\x1b[2Jb", b"x"),
        ("../../up.__key__", b"y"),
    ]
    files = [
        *[
            ("one.jpg", jpeg(1)),
            ("one.txt", b"caption"),
            ("one.seg.png", b"mask"),
            ("one.npy", b"\x93NUMPY"),
        ],
        *[("v1.5_cat.jpg", jpeg(2)), ("v1.5_cat.json", b'{"caption": "a dotted cat", "x": NaN}')],
        *harm,
    ]
    write_tar(tmp_path / "pool" / "0.tar", files)
    export(decided(tmp_path, {"shards": str(tar_folder)}))
    one, cat, up = pl.read_parquet(tar_folder / "00000000.parquet")["uid"]
    assert read_tar(tar_folder / "00000000.tar") == [
        (f"{one}.jpg", jpeg(1)),
        (f"{one}.npy", b"\x93NUMPY"),
        (f"{one}.seg.png", b"mask"),
        (f"{one}.txt", b"caption"),
        (f"{cat}.jpg", jpeg(2)),
        (f"{cat}.json", b'{"caption": "a dotted cat", "x": NaN}'),
        (f"{cat}.txt", b"a dotted cat"),
        (f"{up}.jpg", jpeg(3)),
        (f"{up}.txt", b"caption"),
        (f"{up}.x-__key__", b"y"),
        (f"{up}.x-a__2Jb", b"x"),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "pool", "store"]


def test_object_storage(tmp_path):
    import fsspec

    ordinary(tmp_path / "pool")
    local = decided(tmp_path, {"shards": str(tmp_path / "out"), "samples_per_shard": 3})
    export(local)
    remote = decided(tmp_path, {"shards": "memory://export-test/out", "samples_per_shard": 3})
    assert export(remote).written == 3
    memory = fsspec.filesystem("memory")
    found = {p.removeprefix("/export-test/out/"): memory.cat_file(p) for p in memory.find("/export-test/out")}
    found = {name: data for name, data in found.items() if not is_states(name)}
    assert found == contents(tmp_path / "out")
    assert export(remote).skipped == 3


def test_needs_decisions_and_a_path(tmp_path, tar_folder):
    ordinary(tmp_path / "pool")
    with pytest.raises(RecipeError, match="run `winnow keep` first"):
        export(Session.open(recipe(tmp_path, {"shards": str(tar_folder)})))
    with pytest.raises(RecipeError, match=r"export\.shards is missing"):
        export(decided(tmp_path, {}))
    assert not tar_folder.exists()


@pytest.mark.skipif(not PHOTOS.exists(), reason="no ../shared/data/photos")
def test_real_photos(tmp_path, tar_folder):
    compute = {"caption": {"use": "caption.Caption"}}
    more = {"compute": compute, "keep": {"caption.words": {"min": 12}}}
    tar_session = decided(tmp_path, {"shards": str(tar_folder)}, pool=PHOTOS / "00001.tar", **more)
    assert 0 < export(tar_session).samples < 500
    found, given = dict(read_tar(tar_folder / "00000000.tar")), dict(read_tar(PHOTOS / "00001.tar"))
    table = pl.read_parquet(tar_folder / "00000000.parquet")
    assert table["caption.words"].min() >= 12
    for key, source in table.select("key", "source_key").iter_rows():
        for suffix in ("jpg", "txt", "json"):
            assert found.pop(f"{key}.{suffix}") == given[f"{source}.{suffix}"]
    assert not found
