"""Which results count as stored."""

import polars as pl

from pipeline.plan.stored import complete, list_stored
from tests.support.samples import store_given


def test_a_part_of_another_length_does_not_count(stored):
    frames = {"a": pl.DataFrame({"f32": [0.5, 1.5]}), "b": pl.DataFrame({"f32": [0.5]})}
    session = stored(frames, {"given.f32": {"min": 0}})
    folder = session.folder("given")
    assert list_stored(session).parts[folder] == {"a", "b"}
    store_given(session, "a", pl.DataFrame({"f32": [0.5, 1.5]}))
    session.store.write(f"{folder}/a.parquet", session.store.read(f"{folder}/a.parquet")[:1])
    assert list_stored(session).parts[folder] == {"b"}
    assert [shard.name for shard in complete(session).shards] == ["b"]
