"""Small pictures of chosen samples, what they cost, and why some cannot be shown."""

import gzip
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.view.pictures import COLUMNS, NO_PICTURES, Cost, Look, looks, thumbnail
from tests.pipeline.pool.kinds.test_kinds import POOLS
from tests.support.decided_pool import ordinary, recipe, sample, write_tar
from tests.support.pictures import PICTURES
from tests.support.s3_server import s3


def opened(tmp_path: Path, **more) -> Session:
    """A session over a pool whose samples are stored."""
    return compute(Session.open(recipe(tmp_path, {}, **more)), LocalExecutor()).session


def seen(session: Session, shard: str, rows: list[int], cost: Cost, side: int = 8) -> list[Look]:
    """The looks of some rows."""
    return looks(session, shard, session.columns.rows_at(shard, rows, COLUMNS).to_dicts(), [], cost, side)


def test_a_small_picture_is_never_larger_than_the_sample_s():
    pixels = np.zeros((40, 100, 3), np.uint8)
    small, whole = thumbnail(pixels, 50), thumbnail(pixels, 500)
    assert (small.width, small.height, small.scale) == (50, 20, 0.5)
    assert (whole.width, whole.height, whole.scale) == (100, 40, 1.0)
    assert Image.open(io.BytesIO(small.data)).size == (50, 20)
    assert thumbnail(np.zeros((1, 900, 3), np.uint8), 90).height == 1


def test_pictures_come_in_the_order_that_was_asked_for(tmp_path):
    ordinary(tmp_path / "pool")
    session = opened(tmp_path)
    cost = Cost()
    two, zero = seen(session, "00000", [2, 0], cost)
    assert (two.captions, zero.captions) == (("no",), ("caption number 0",))
    for look, number in ((two, 2), (zero, 0)):
        colour = np.asarray(Image.open(io.BytesIO(look.picture.data))).mean((0, 1))
        assert np.abs(colour - (number * 37 % 256, number * 11 % 256, 90)).max() < 6
    assert (cost.pictures, cost.requests) == (2, 2)
    lengths = session.columns.rows_at("00000", [0, 2], ["length"])["length"]
    assert cost.bytes == lengths.sum()


def test_every_format_is_shown_as_a_jpeg_of_our_own(tmp_path):
    files = [
        [(f"{at:05}.{name.split()[0].replace('jpeg', 'jpg')}", data), (f"{at:05}.txt", b"a caption")]
        for at, (name, data) in enumerate(PICTURES.items())
    ]
    write_tar(tmp_path / "pool" / "0.tar", [file for own in files for file in own])
    session = opened(tmp_path)
    found = seen(session, "0", list(range(len(files))), Cost(), 32)
    assert [look.why for look in found] == [None] * len(files)
    pictures = [Image.open(io.BytesIO(look.picture.data)) for look in found]
    assert {(p.format, p.mode, max(p.size)) for p in pictures} == {("JPEG", "RGB", 32)}


def test_a_picture_that_cannot_be_shown_has_a_reason(tmp_path):
    bad = [("0.jpg", b"\xff\xd8 no picture"), ("0.txt", b"broken"), ("1.txt", b"alone"), *sample(2, "2")]
    write_tar(tmp_path / "pool" / "0.tar", bad)
    session = opened(tmp_path, limits={"image_pixels": 50})
    broken, alone, large = seen(session, "0", [0, 1, 2], Cost())
    assert broken.why.startswith("image cannot be decoded: ")
    assert (alone.why, alone.captions) == ("no image", ("alone",))
    assert large.why == "image too large: 12 x 8, at most 50 pixels (limits.image_pixels)"
    assert [look.picture for look in (broken, alone, large)] == [None] * 3


def test_a_shard_that_is_gone_or_changed_gives_reasons(tmp_path):
    ordinary(tmp_path / "pool")
    session = opened(tmp_path)
    path = tmp_path / "pool" / "00000.tar"
    os.utime(path, ns=(1, 1))
    cost = Cost()
    (changed,) = seen(session, "00000", [1], cost)
    assert changed.why.startswith(f"{path} has changed since it was listed")
    assert changed.captions == ("caption number 1",)
    path.unlink()
    (gone,) = seen(session, "00000", [1], cost)
    assert str(path) in gone.why
    assert cost.pictures == 0


def test_all_captions_of_a_list_are_shown(tmp_path):
    record = json.dumps({"caption": ["first", "second", 3, "first"], "other": ["x"]}).encode()
    write_tar(tmp_path / "pool" / "0.tar", [("0.jpg", sample(0)[0][1]), ("0.json", record)])
    (look,) = seen(opened(tmp_path), "0", [0], Cost())
    assert look.captions == ("first", "second")


@pytest.mark.parametrize("name", POOLS)
def test_every_kind_of_pool(name, tmp_path):
    path = POOLS[name](tmp_path / name)
    where = {"datacomp": path} if name == "datacomp" else {"shards": path, "kind": name}
    pool = {**where, "store": f"{tmp_path}/store"}
    words = {"compute": {"caption": {"use": "caption.Caption"}}}
    session = compute(Session.open(parse({"pool": pool, **words})), LocalExecutor()).session
    cost = Cost()
    found = seen(session, session.shards[0].name, [3, 1], cost)
    assert [len(look.captions) for look in found] == [1, 1]
    assert cost.pictures == 2 * session.kind.has_images
    assert {look.why for look in found} == ({None} if session.kind.has_images else {NO_PICTURES})


def write_s3_pool(folder: Path, **shards: list) -> None:
    """Tars in a bucket, with the same tars in a folder."""
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    for name, files in shards.items():
        write_tar(folder / f"{name}.tar", files)
    fs = s3fs.S3FileSystem()
    fs.mkdir("bucket")
    fs.put(f"{folder}/", "bucket/pool/", recursive=True)


def far_apart(number: int) -> list:
    """A sample, and another one of 300 kB behind it."""
    return [*sample(number), (f"{number:09d}x.jpg", bytes(300_000)), (f"{number:09d}x.txt", b"large")]


def test_requests_to_object_storage_are_few_and_counted(tmp_path):
    pytest.importorskip("moto", reason="needs moto[s3]")
    near = [file for number in range(40) for file in sample(number)]
    far = [file for number in range(3) for file in far_apart(number)]
    with s3() as server:
        write_s3_pool(tmp_path / "pool", near=near, far=far)
        session = opened(tmp_path, pool="s3://bucket/pool")
        for shard, rows, ranges in (("near", list(range(40)), 1), ("far", [0, 2, 4], 3)):
            server.reset()
            cost = Cost()
            found = seen(session, shard, rows, cost)
            assert [look.why for look in found] == [None] * len(rows)
            assert server.count(f"GET /bucket/pool/{shard}.tar") == ranges
            assert cost.requests == len(server.calls)
            frame = session.columns.rows_at(shard, rows, ["length"])
            assert cost.bytes == frame["length"].sum()
        fs = sys.modules["s3fs"].S3FileSystem()
        fs.pipe("bucket/pool/packed.tar.gz", gzip.compress((tmp_path / "pool" / "near.tar").read_bytes(), 1))
        session = opened(tmp_path, pool="s3://bucket/pool/packed.tar.gz", name="packed")
        server.reset()
        cost = Cost()
        assert [look.why for look in seen(session, "packed", [3, 20], cost)] == [None, None]
        assert cost.requests == len(server.calls)
        assert cost.bytes == fs.size("bucket/pool/packed.tar.gz")
        session = opened(tmp_path, pool="s3://bucket/pool/near.tar", name="denied")
        server.reset()
        server.fail("GET .*", "denied")
        (denied,) = seen(session, "near", [0], Cost())
        assert "Access Denied" in denied.why


def test_the_same_samples_give_the_same_bytes(tmp_path):
    ordinary(tmp_path / "pool")
    session = opened(tmp_path)
    assert seen(session, "00002", [0, 3], Cost()) == seen(session, "00002", [0, 3], Cost())
    assert isinstance(session.columns.rows_at("00002", [0], COLUMNS), pl.DataFrame)
