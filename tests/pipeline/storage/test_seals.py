"""A seal covers every byte of a file, of any size, and says nothing else."""

import io

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage import seals
from pipeline.storage.seals import BrokenError, broken, broken_file, open_json, seal_json, sealed_parquet
from pipeline.storage.store import Store
from tests.support.sizes import either

TABLE = pa.table({"a": [1, 2, 3], "t": ["x", "\x18\x04seal\x18\x20" + "0" * 32, "z"]})


def parquet(table: pa.Table = TABLE, notes: dict | None = None) -> bytes:
    sink = io.BytesIO()
    with sealed_parquet(sink, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(notes or {})
    return sink.getvalue()


@pytest.mark.parametrize("data", [parquet(), seal_json(b'{"a": [1, 2]}'), seal_json(b'{\n  "a": 1\n}')])
def test_every_bit_counts(data):
    json = data.startswith(b"{")
    assert broken(data, json) is None
    for at in range(0, len(data), 1 if json else either(7, 1)):
        for bit in (0, 5):
            flipped = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            assert broken(flipped, json), (at, bit)
    for length in range(0, len(data), 13):
        assert broken(data[:length], json), length
    assert broken(data + b"x", json)
    assert broken(b"x" + data, json)


def test_equal_tables_make_equal_bytes_and_every_reader_reads_them(tmp_path):
    data = parquet(notes={"b": b"1"})
    assert data == parquet(notes={"b": b"1"})
    assert pq.read_table(io.BytesIO(data)).equals(TABLE)
    assert pl.read_parquet(io.BytesIO(data)).to_dict(as_series=False) == TABLE.to_pydict()
    metadata = pq.read_metadata(io.BytesIO(data)).metadata
    assert metadata[b"b"] == b"1"
    assert len(metadata[b"seal"]) == 32
    assert metadata[b"seal"] != seals.UNSEALED
    with sealed_parquet(str(tmp_path / "t.parquet"), TABLE.schema) as writer:
        writer.write_table(TABLE)
        writer.add_key_value_metadata({"b": b"1"})
    assert (tmp_path / "t.parquet").read_bytes() == data


def test_notes_and_values_cannot_pass_for_a_seal(tmp_path):
    """Notes are JSON, which escapes control characters; values come before the notes."""
    store = Store(str(tmp_path))
    note = "\x18\x04seal\x18\x20" + "0" * 32
    store.write("samples/s.parquet", pl.DataFrame({"t": [note]}), {"a": note, "z": note})
    assert broken_file(f"{tmp_path}/samples/s.parquet") is None
    assert store.footer("samples", "s").notes == {"a": note, "z": note}


@pytest.mark.parametrize(("chunk", "tail"), [(1, 1 << 16), (100, 8), (1 << 20, 50)])
def test_files_that_are_read_in_many_steps(chunk, tail, tmp_path, monkeypatch):
    data = parquet()
    monkeypatch.setattr(seals, "CHUNK", chunk)
    monkeypatch.setattr(seals, "TAIL", tail)
    (tmp_path / "t.parquet").write_bytes(data)
    assert broken_file(str(tmp_path / "t.parquet")) is None
    (tmp_path / "t.parquet").write_bytes(data[:9] + b"\0" + data[10:])
    assert broken_file(str(tmp_path / "t.parquet")) == "its bytes do not match its seal"


def test_the_reasons(tmp_path):
    plain = io.BytesIO()
    pq.write_table(TABLE.select(["a"]), plain)
    assert broken(plain.getvalue()) == "it has no seal"
    assert broken(b"") == "it is empty"
    assert broken(b"abc") == "it is cut, or not parquet"
    assert broken(b"", json=True) == "it is empty"
    assert broken(b'{"a": 1}', json=True) == "it is cut, or not sealed JSON"
    assert broken(b'["seal"]', json=True) == "it is cut, or not sealed JSON"
    with pytest.raises(FileNotFoundError):
        broken_file(str(tmp_path / "absent"))


@given(st.dictionaries(st.text(), st.one_of(st.integers(-9, 9), st.text(), st.lists(st.text()))))
def test_json_comes_back(value):
    value.pop("seal", None)
    for options in (0, orjson.OPT_INDENT_2, orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS):
        sealed = seal_json(orjson.dumps(value, option=options))
        assert open_json(sealed) == value
        assert orjson.loads(sealed).keys() == {*value, "seal"}


def test_a_value_that_ends_like_a_seal():
    value = {"a": {"seal": "0" * 32}, "b": '"seal":"' + "0" * 32 + '"}'}
    sealed = seal_json(orjson.dumps(value))
    assert open_json(sealed) == value
    with pytest.raises(BrokenError, match="not match"):
        open_json(orjson.dumps({"a": {}, "seal": "0" * 32}))
