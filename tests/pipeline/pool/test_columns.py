"""Columns by full name, from the parts that hold them."""

import polars as pl
import pytest

from pipeline.pool.columns import Columns
from pipeline.storage.store import Store


def test_columns_come_in_the_order_asked_for(stored):
    session = stored({"a": pl.DataFrame({"f32": [0.5, 1.5], "word": ["en", None]})}, {})
    columns = Columns(session.store, session.keys)
    names = ["given.word", "uid", "given.f32", "row", "given.word"]
    frame = columns.read("a", names)
    assert frame.columns == ["given.word", "uid", "given.f32", "row"]
    assert frame["given.f32"].to_list() == [0.5, 1.5]
    assert frame["row"].to_list() == [0, 1]
    assert columns.folder("given.f32") == session.folder("given")
    assert columns.folder("uid") == "samples"
    with pytest.raises(FileNotFoundError):
        columns.read("b", ["uid"])


def test_an_operator_called_as_a_sample_column_is(stored):
    """`text` is the caption, `text.words` the operator's."""
    columns = Columns(Store("unused"), {"text": "0" * 16})
    assert columns.folder("text") == "samples"
    assert columns.folder("text.words") == f"columns/text-{'0' * 16}"
