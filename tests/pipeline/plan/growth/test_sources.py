"""What the rows of an index depend on, by shard."""

import polars as pl
import pytest

from pipeline.plan.growth.sources import SOURCES, read_sources, sources_file, sources_now
from pipeline.storage.folder import Folder
from pipeline.storage.upkeep.compact import compact
from tests.support.decided_pool import decided
from tests.support.growing_pool import EMBEDDING, write_shard


@pytest.fixture
def pool(tmp_path):
    """Three shards of 8, 0 and 3 kept samples."""
    for shard, count in ((1, 12), (2, 0), (4, 4)):
        write_shard(tmp_path / "pool", shard, count)
    return tmp_path / "pool"


def sources(root, **rules) -> pl.DataFrame:
    more = {"keep": rules} if rules else {}
    return sources_now(
        decided(root, {"index": {"embedding": EMBEDDING, "path": f"{root}/o"}}, **more), EMBEDDING
    )


def test_the_shards_with_kept_samples_in_pool_order(tmp_path, pool):
    found = sources(tmp_path)
    assert found.columns == ["shard", "kept", "verdicts", "columns"]
    assert found.select("shard", "kept").rows() == [("00001", 8), ("00004", 3)]


def test_a_new_shard_changes_nothing_of_the_others(tmp_path, pool):
    """Although small shards share a file of verdicts, which is another one then."""
    before = sources(tmp_path)
    write_shard(pool, 3, 6)
    now = sources(tmp_path)
    assert now["shard"].to_list() == ["00001", "00003", "00004"]
    assert now.filter(pl.col("shard") != "00003").equals(before)


def test_another_rule_changes_the_verdicts_of_the_shards_that_it_touches(tmp_path, pool):
    """`caption number 10`, a sample of the first shard, is the only kept one with more than 16 characters."""
    before = sources(tmp_path)
    now = sources(tmp_path, **{"caption.characters": {"max": 16}, "caption.words": {"min": 2}})
    assert now["kept"].to_list() == [7, 3]
    assert (now["verdicts"] == before["verdicts"]).to_list() == [False, True]
    assert now["columns"].equals(before["columns"])


def test_touching_and_packing_change_nothing(tmp_path, pool):
    before = sources(tmp_path)
    (pool / "00001.tar").touch()
    session = decided(tmp_path, {"index": {"embedding": EMBEDDING, "path": f"{tmp_path}/o"}})
    for folder in session.part_folders:
        compact(session.store, folder, [shard.name for shard in session.shards])
    assert sources(tmp_path).equals(before)


def test_the_file_and_what_is_not_one(tmp_path):
    digest = bytes(range(16))
    frame = pl.DataFrame(
        {
            "shard": ["a", "b/c"],
            "rows": [3, 0],
            "missing": [0, 2],
            "verdicts": [digest] * 2,
            "columns": [digest] * 2,
        }
    )
    folder = Folder(str(tmp_path))
    folder.publish(SOURCES, sources_file(frame))
    assert read_sources(folder).equals(frame)
    assert sources_file(pl.concat([frame[:1], frame[1:]])) == sources_file(frame)
    for garbage in (b"", b"PAR1PAR1", sources_file(frame)[:-9]):
        folder.publish(SOURCES, garbage)
        with pytest.raises(ValueError, match=r"sources\.parquet"):
            read_sources(folder)
    frame.drop("rows").write_parquet(tmp_path / SOURCES)
    with pytest.raises(ValueError, match="0 columns called rows"):
        read_sources(folder)
    with pytest.raises(FileNotFoundError):
        read_sources(Folder(str(tmp_path / "none")))
