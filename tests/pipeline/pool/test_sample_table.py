"""Samples as they are read: the store's own bytes however they come, nothing before the end."""

import polars as pl
import pytest

from pipeline.errors import ChangedError
from pipeline.pool import sample_table as module
from pipeline.pool.sample_table import StoredSamples, note_sources, samples_of
from pipeline.pool.shards import Shard
from pipeline.schema import EMPTY
from pipeline.storage.identity import Seen
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
        with samples_of(store, Shard("s", "s.tar")) as samples:
            for start in range(0, rows, step):
                samples.add_rows(whole.slice(start, step))
            samples.finish({})
        assert tree(tmp_path / f"{step}") == tree(tmp_path / "a")
        assert store.footer("samples", "s")[:2] == (rows, {})


def test_notes_and_full_groups_only(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROW_GROUP", 10)
    store = Store(str(tmp_path))
    with samples_of(store, Shard("a/s", "a/s.tar")) as samples:
        samples.add_rows(frame(25))
        assert samples.rows == 5  # what is full is written
        samples.finish({"damage": {"offset": 7}, "columns": {}})
    assert store.footer("samples", "a/s")[:2] == (25, {"columns": {}, "damage": {"offset": 7}})
    assert store.read("samples/a/s.parquet").equals(frame(25))


def pour(store: Store, rows: int, error: Exception | None = None) -> None:
    """Some rows, then an error or the end."""
    with samples_of(store, Shard("s", "s.tar")) as samples:
        samples.add_rows(frame(rows))
        if error is not None:
            raise error
        samples.finish({})


def test_what_is_not_finished_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="gone"):
        pour(Store(str(tmp_path)), 5, OSError("gone"))
    assert tree(tmp_path) == {}


def test_samples_of_the_same_content_are_not_written_again(tmp_path):
    store = Store(str(tmp_path))
    write(store, NOTES)
    before = tree(tmp_path)
    known = Shard("s", "s.tar", content="c0")
    with samples_of(store, known) as samples:
        samples.add_rows(frame(3))
        samples.finish({**NOTES, "state": "9 9 9"})
    with (
        pytest.raises(ChangedError, match=r"s\.tar changed while it was used: it is read again"),
        samples_of(store, known) as samples,
    ):
        samples.finish({"content": "c1"})
    assert tree(tmp_path) == before


def test_samples_of_another_content_take_their_place(tmp_path):
    store = Store(str(tmp_path))
    write(store, NOTES)
    with samples_of(store, Shard("s", "s.tar")) as samples:
        samples.add_rows(frame(2))
        samples.finish({"content": "c1", "state": "8 8 8"})
    footer = store.footer("samples", "s")
    assert (footer.rows, footer.notes["content"]) == (2, "c1")


NOTES = {"content": "c0", "state": "5 1 1"}


def write(store: Store, notes: dict[str, str]) -> None:
    """Three samples of the shard s."""
    store.write("samples/s.parquet", frame(3), notes)


def known(store: Store, state: str) -> tuple[str, int, str]:
    """content, rows and difference of the shard s, if its file has this state."""
    (shard,) = StoredSamples(store).known([Shard("s", "s.tar", state=state)])
    return shard.content, shard.rows, shard.differs


def test_samples_count_for_the_file_that_was_read(tmp_path):
    store = Store(str(tmp_path))
    assert known(store, "5 1 1") == ("", 0, "")
    write(store, NOTES)
    assert known(store, "5 1 1") == ("c0", 3, "")
    assert known(store, "") == ("c0", 3, "")  # the file system does not tell
    assert known(store, "missing") == ("", 0, "")
    assert known(store, "7 1 1") == ("", 0, "size 5 -> 7 bytes")
    assert known(store, "5 2 1") == ("", 0, "written since, of equal size")


def test_a_state_that_was_seen_with_the_same_content_counts_too(tmp_path):
    store = Store(str(tmp_path))
    write(store, NOTES)
    note_sources(store, {"s": Seen("5 2 1", "c0")})
    assert known(store, "5 2 1") == ("c0", 3, "")
    assert known(store, "5 3 1")[0] == ""
    write(store, {"content": "c1", "state": "6 6 6"})  # what was seen of the older content is void
    assert known(store, "5 2 1")[0] == ""
