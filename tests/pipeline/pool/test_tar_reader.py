"""Batches of a tar: cuts, breaks, storage, and webdataset as the judge."""

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pool.archive.read_through import TarFiles
from pipeline.pool.shards import Shard, list_shards
from pipeline.pool.tar_reader import read_samples
from pipeline.run.ray.data_workers import binary
from pipeline.schema import EMPTY
from tests.pipeline.pool.made_samples import JPEG, make, rows_of

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"


# --- batches, breaks, storage


def cuts(tmp_path, sizes, **options) -> list[int]:
    (tmp_path / "0.tar").write_bytes(make(*[(f"{i}.jpg", b"x" * n) for i, n in enumerate(sizes)]))
    reader = read_samples(Shard("s", str(tmp_path / "0.tar")), **options)
    frames = [frame for frame, _ in reader]
    assert [row for frame in frames for row in frame["row"]] == list(range(len(sizes)))
    return [len(frame) for frame in frames]


def test_cuts(tmp_path):
    assert cuts(tmp_path, [10] * 600) == [256, 256, 88]
    assert cuts(tmp_path, [10] * 7, batch_rows=3) == [3, 3, 1]
    assert cuts(tmp_path, [10] * 6, batch_rows=3) == [3, 3]
    assert cuts(tmp_path, [10, 10, 11, 10, 30, 40, 1], batch_bytes=31) == [3, 1, 1, 1, 1]
    assert cuts(tmp_path, []) == []


def test_batches_outlive_the_reader(tmp_path):
    (tmp_path / "0.tar").write_bytes(make("0.jpg", "0.txt"))
    ((frame, images),) = read_samples(Shard("s", str(tmp_path / "0.tar")))
    assert frame.schema == EMPTY.schema
    (tmp_path / "0.tar").unlink()
    assert [bytes(image) for image in images] == [JPEG]


def test_a_stream_equals_a_file(tmp_path):
    data = make(*[f"{i:03}.{s}" for i in range(300) for s in ("jpg", "txt", "json")])
    (tmp_path / "0.tar").write_bytes(data)
    fsspec.filesystem("memory").pipe("/test_stream/0.tar", data)
    try:
        local = list(read_samples(Shard("s", str(tmp_path / "0.tar"))))
        assert rows_of(local) == rows_of(read_samples(Shard("s", "memory://test_stream/0.tar")))
        assert [len(frame) for frame, _ in local] == [256, 44]
    finally:
        fsspec.filesystem("memory").rm("/test_stream", recursive=True)


def test_a_missing_shard_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_samples(Shard("s", str(tmp_path / "none.tar"))))


POOLS = {
    "usual": [f"{i}.{s}" for i in range(12) for s in ("jpg", "txt", "json")],
    "image last": [f"{i}.{s}" for i in range(12) for s in ("json", "txt", "jpg")],
    # what the first samples show is how a break inside a later one is read
    "masks first": ["s.jpg", "s.txt"]
    + [f"{i}.{s}" for i in range(12) for s in ("a.png", "b.png", "jpg", "txt")],
    "dotted": [f"v{i // 4}.{i % 4}.{s}" for i in range(12) for s in ("jpg", "txt")],
    "repeated": ["k.jpg", "k.txt"] * 12,
    "one": ["0.jpg", "0.txt"],
}


@settings(max_examples=200)
@given(st.sampled_from(sorted(POOLS)), st.integers(0, 1 << 30))
def test_truncated_anywhere_gives_the_first_samples_of_the_whole(tmp_path_factory, pool, cut):
    whole = make(*POOLS[pool])
    path = tmp_path_factory.mktemp("cut") / "0.tar"

    def rows(data):
        path.write_bytes(data)
        reader = read_samples(Shard("s", str(path)))
        return rows_of(reader), reader.damage

    expected, _ = rows(whole)
    cut %= expected[-1]["offset"] + expected[-1]["length"]
    found, damage = rows(whole[:cut])
    assert found == expected[: len(found)]
    assert damage is not None
    complete = sum(row["offset"] + row["length"] <= cut for row in expected)
    assert complete - 1 <= len(found) <= complete


def test_the_name_of_the_member_that_is_cut_tells_where_it_belongs(tmp_path):
    def keys(*files):
        whole = make(*files, ("cut.npy" if files[-1][0] != "1" else "1.npy", b"x" * 600))
        (tmp_path / "0.tar").write_bytes(whole[: whole.rindex(b"x" * 600) + 100])
        reader = read_samples(Shard("s", str(tmp_path / "0.tar")))
        return [key for frame, _ in reader for key in frame["key"]]

    assert keys("0.jpg", "0.txt", "a.jpg") == ["0", "a"]  # of a sample that begins: `a` is whole
    assert keys("0.jpg", "0.txt", "1.jpg", "1.txt") == ["0"]  # one more of `1`


def test_a_missing_end_marker_loses_no_sample(tmp_path):
    data = make(*POOLS["usual"])
    path = tmp_path / "0.tar"
    path.write_bytes(data[: data.rindex(b"{}") // 512 * 512 + 512])
    reader = read_samples(Shard("s", str(path)))
    assert sum(len(frame) for frame, _ in reader) == reader.rows == 12
    assert reader.damage.reason == "ends without the end-of-archive marker"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not PHOTOS.exists(), reason="no sample photos here")
def test_real_shards_read_as_webdataset_reads_them():
    from webdataset.tariterators import tarfile_to_samples

    shards = list_shards(str(PHOTOS)).shards
    assert [shard.name for shard in shards] == ["00000", "00001", "00002"]
    for shard in shards:
        reader = read_samples(shard)
        rows = rows_of(reader)
        theirs = list(tarfile_to_samples()([{"url": shard.path}]))
        assert [(r["key"], r["image"], r["text"]) for r in rows] == [
            (s["__key__"], s["jpg"], s["txt"].decode()) for s in theirs
        ]
        records = [json.loads(s["json"]) for s in theirs]
        same = ("uid", "url", "width", "height", "original_width", "original_height")
        assert [[row[n] for n in same] for row in rows] == [[r[n] for n in same] for r in records]
        assert (len(rows), reader.damage, {row["error"] for row in rows}) == (500, None, {None})
        last = rows[-1]
        with TarFiles(shard.path, shard.state) as files:
            fields = files.of(last["key"], last["offset"], last["length"])
        assert [suffix for suffix, _ in fields] == ["jpg", "txt", "json"]


def test_reading_lets_go_of_the_file(tmp_path: Path) -> None:
    """Memory stays flat: no mapping of a tar outlives the reading of it (pyarrow's pa.array would keep
    it)."""
    path = tmp_path / "maps.tar"
    path.write_bytes(make(("a.jpg", JPEG), ("a.txt", b"x"), ("a.json", b"{}")))
    for _ in range(3):
        list(read_samples(Shard("maps", str(path))))
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc on this system")
    assert str(path) not in maps.read_text()


def test_binary_arrays_equal_pyarrows() -> None:
    values = [b"abc", None, memoryview(b""), memoryview(b"de")]
    assert binary(values).equals(pa.array([b"abc", None, b"", b"de"], pa.large_binary()))
    assert len(binary([])) == 0
