"""Samples as they are read: the store's own bytes however they come, nothing before the end."""

import polars as pl
import pytest

from pipeline.errors import ShardError
from pipeline.pool import sample_table as module
from pipeline.pool.sample_table import samples_of
from pipeline.schema import EMPTY
from pipeline.storage.store import ROW_GROUP, Store
from tests.support.folders import tree


def frame(rows: int) -> pl.DataFrame:
    known = pl.DataFrame({"row": pl.Series(range(rows), dtype=pl.UInt32)})
    return pl.concat(
        [EMPTY, known.with_columns(text="caption " + pl.col("row").cast(pl.String))], how="diagonal"
    )


@pytest.mark.parametrize("rows", [0, 1, ROW_GROUP, ROW_GROUP + 1])
def test_equal_rows_make_the_bytes_that_the_store_makes(tmp_path, rows):
    whole = frame(rows)
    Store(str(tmp_path / "a")).write("samples/s.parquet", whole)
    for step in (8192, ROW_GROUP + 1):
        store = Store(str(tmp_path / f"{step}"))
        with samples_of(store, "s") as samples:
            for start in range(0, rows, step):
                samples.add_rows(whole.slice(start, step))
            samples.finish({})
        assert tree(tmp_path / f"{step}") == tree(tmp_path / "a")
        assert store.footer("samples", "s")[:2] == (rows, {})


def test_notes_and_full_groups_only(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROW_GROUP", 10)
    store = Store(str(tmp_path))
    with samples_of(store, "a/s") as samples:
        samples.add_rows(frame(25))
        assert len(samples.held) == 5  # what is full is written
        samples.finish({"damage": {"offset": 7}, "columns": {}})
    assert store.footer("samples", "a/s")[:2] == (25, {"columns": {}, "damage": {"offset": 7}})
    assert store.read("samples/a/s.parquet").equals(frame(25))


def pour(store: Store, rows: int, error: Exception | None = None) -> None:
    """Some rows, then an error or the end."""
    with samples_of(store, "s") as samples:
        samples.add_rows(frame(rows))
        if error is not None:
            raise error
        samples.finish({})


def test_what_is_not_finished_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="gone"):
        pour(Store(str(tmp_path)), 5, OSError("gone"))
    assert tree(tmp_path) == {}


def test_another_number_of_rows_than_the_store_has(tmp_path):
    store = Store(str(tmp_path))
    pour(store, 5)
    before = tree(tmp_path)
    pour(store, 5)
    for rows in (4, 6):
        with pytest.raises(ShardError, match="does not have the 5 samples"):
            pour(store, rows)
    assert tree(tmp_path) == before
