"""When an index is built anew although one is there, and the line that says why."""

from pathlib import Path

import pytest

from pipeline.export.places.contents import sealed
from pipeline.plan import index_choice
from tests.support.decided_pool import sample, write_tar
from tests.support.folders import contents
from tests.support.growing_pool import manifest, write, write_shard


def anew(tmp_path: Path, reason: str) -> list[str]:
    return [f"export.index: {tmp_path}/out is built anew: {reason}"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda pool: write_shard(pool, 3, 6), "shard 00003 comes before 00004, which it holds"),
        (lambda pool: write_shard(pool, 2, 6), "shard 00002 comes before 00004, which it holds"),
        (lambda pool: (pool / "00001.tar").unlink(), "no sample of shard 00001 is kept any more"),
        (lambda pool: (pool / "00004.tar").unlink(), "no sample of shard 00004 is kept any more"),
        (lambda pool: write_shard(pool, 4, 15), "other samples of shard 00004 are kept"),
        (lambda pool: write_tar(pool / "00001.tar", renamed()), "shard 00001 has changed"),
    ],
)
def test_shards_that_are_not_the_first_ones_any_more(tmp_path, growing_pool, told, change, reason):
    write(tmp_path)
    change(growing_pool)
    write_shard(growing_pool, 5, 6)
    assert write(tmp_path).added is None
    assert told() == anew(tmp_path, reason)


def renamed():
    """The samples of shard 1 with another URL for the first one."""
    files = sample(100, caption="caption number 0", url="https://example.org/other")
    for row in range(1, 12):
        files += sample(100 + row, caption="no" if row % 3 == 2 else f"caption number {row}")
    return files


def test_another_rule_that_drops_a_row(tmp_path, growing_pool, told):
    """14 captions of 18 characters; the seeded draw leaves some out."""
    write(tmp_path)
    write(tmp_path, rules={"caption.characters": {"min": 3}, "vector.first": {"min": 0}})
    assert told() == anew(tmp_path, "other samples of shard 00001 are kept")


def test_a_share_moves_its_cut_when_the_pool_grows(tmp_path, growing_pool, told):
    """What `min` keeps stays; what `top` keeps may not."""
    rules = {"vector.first": {"top": 0.5}}
    write(tmp_path, rules=rules)
    write_shard(growing_pool, 5, 30)
    write(tmp_path, rules=rules)
    [line] = told()
    assert "other samples of shard" in line or "kept any more" in line


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"factory": "IVF2,Flat"}, "factory was 'auto' and is 'IVF2,Flat'"),
        ({}, {"memory": 16}, "memory was 32.0 and is 16.0"),
        ({}, {"recall": 0.5}, "recall was 0.95 and is 0.5"),
        (
            {"factory": "IVF2,Flat"},
            {"factory": "IVF2,Flat"},
            "IVF2,Flat was trained for 14 rows; `grow: true` would keep that, and add 4 rows to its 14",
        ),
        (
            {"factory": "HNSW8", "grow": True},
            {"factory": "HNSW8", "grow": True},
            "nothing can be added to HNSW8, which is built as a whole",
        ),
    ],
)
def test_another_index_is_asked_for(tmp_path, growing_pool, told, before, after, reason):
    write(tmp_path, **before)
    write_shard(growing_pool, 5, 6)
    assert write(tmp_path, **after).added is None
    assert told() == anew(tmp_path, reason)


def test_auto_takes_another_factory(tmp_path, growing_pool, told, monkeypatch):
    monkeypatch.setattr(index_choice, "FLAT", 15)
    write(tmp_path)
    write_shard(growing_pool, 5, 6)
    assert write(tmp_path).key == "IVF16,Flat"
    assert told() == anew(tmp_path, "auto takes IVF16,Flat for 18 rows, and it is Flat")


def test_rows_more_than_doubled_since_training(tmp_path, growing_pool, told, small_parts):
    options = {"factory": "IVF2,Flat", "grow": True}
    write(tmp_path, **options)
    write_shard(growing_pool, 5, 21)
    assert write(tmp_path, **options).added == 14  # 28 are twice 14
    write_shard(growing_pool, 6, 1)
    assert write(tmp_path, **options).added is None
    assert manifest(tmp_path / "out")["growth"]["trained_rows"] == 29
    assert told()[1:] == anew(tmp_path, "29 rows are more than twice the 14 that it was trained for")


def test_an_index_that_no_longer_fits(tmp_path, growing_pool, told, small_parts):
    """14 rows of 8 numbers are 448 bytes, 18 are 576."""
    memory = 500 / (1 << 30)
    write(tmp_path, memory=memory)
    write_shard(growing_pool, 5, 6)
    assert write(tmp_path, memory=memory).parts == 3
    assert told() == anew(tmp_path, f"with 18 rows it no longer fits memory: {memory:g}")


def test_other_parts_than_this_version_would_cut(tmp_path, growing_pool, told, small_parts, monkeypatch):
    write(tmp_path, memory=1e-9)
    monkeypatch.setattr(index_choice, "PART_BYTES", 300)
    write_shard(growing_pool, 5, 12)
    write(tmp_path, memory=1e-9)
    assert told() == anew(tmp_path, "its parts are cut in another way")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("image.index", "its image.index does not hold the bytes that were written"),
        ("sources.parquet", "its sources.parquet does not hold the bytes that were written"),
        ("recall.npz", "its recall.npz is missing"),
    ],
)
def test_an_index_that_was_edited(tmp_path, growing_pool, told, name, reason):
    write(tmp_path)
    path = tmp_path / "out" / name
    if "missing" in reason:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    write_shard(growing_pool, 5, 6)
    assert write(tmp_path).added is None
    assert told() == anew(tmp_path, reason)


def test_an_index_of_an_earlier_version(tmp_path, growing_pool, told):
    """It stays as it is while nothing changes, and is then built anew once."""
    write(tmp_path)
    out = tmp_path / "out"
    earlier = manifest(out)
    for name in ("sources.parquet", "recall.npz"):
        (out / name).unlink()
        del earlier["contents"][name]
    del earlier["growth"], earlier["seal"]
    (out / "image.json").write_bytes(sealed(earlier))
    before = contents(out)
    assert write(tmp_path).written is False
    assert contents(out) == before
    write_shard(growing_pool, 5, 6)
    write(tmp_path)
    assert told() == anew(tmp_path, "an earlier version wrote it, which did not note its shards")
    write_shard(growing_pool, 6, 6)
    assert write(tmp_path).added == 4
