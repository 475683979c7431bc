"""Packed and broken tables: damage, cuts, other storage."""

import csv
import gzip

import fsspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ShardError
from pipeline.pool import text_tables
from pipeline.pool.shards import Shard
from pipeline.pool.table_reader import read_table
from tests.pipeline.pool.made_tables import CC, FORMATS, ROWS, many, texts


def test_a_truncated_gzip_gives_the_rows_before_the_break(read_rows):
    whole = gzip.compress(many(20_000).encode())
    cut = len(whole) * 2 // 3
    rows = read_rows("t.tsv.gz", whole[:cut], CC, damage="the file ends inside its gzip data")
    assert 10_000 < len(rows) < 20_000
    assert texts(rows) == [f"caption number {i}" for i in range(len(rows))]
    assert [row["url"] for row in rows[-1:]] == [f"http://x/{len(rows) - 1}"]


def test_a_csv_changes_nothing_for_the_rest_of_the_process(read_rows, tmp_path):
    """The csv module has one limit for all readers, which other code in the process relies on."""
    before = csv.field_size_limit()
    caption = "x" * (before + 1)
    (tmp_path / "t.csv").write_text(f'text\n"{caption}"\n' + "y\n" * 5000)
    frames = iter(read_table(Shard("s", str(tmp_path / "t.csv")), {}, 100))
    assert next(frames)["text"][0] == caption
    assert csv.field_size_limit() == before  # while more rows are to come
    assert sum(len(frame) for frame in frames) == 4901
    assert csv.field_size_limit() == before
    with pytest.raises(csv.Error, match="field larger than field limit"):
        list(csv.reader([f'"{caption}"']))


def test_a_truncated_csv_loses_the_row_at_the_break_only(read_rows):
    data = "text\n" + "".join(f'"row\n{i}"\n' for i in range(5000))
    whole = gzip.compress(data.encode())
    rows = read_rows("t.csv.gz", whole[: len(whole) // 2], damage="the file ends inside its gzip data")
    assert 1000 < len(rows) < 5000
    assert texts(rows) == [f"row\n{i}" for i in range(len(rows))]


def test_a_garbled_gzip_is_damage(read_rows):
    whole = gzip.compress(b"text\na\n")
    crc = whole[:-8] + b"12345678"
    assert read_rows("t.tsv.gz", crc, damage="Error -3 while decompressing data: incorrect data check") == []
    late = gzip.compress(("text\n" + many(20_000)).encode()) + b"garbage"
    rows = read_rows("t.tsv.gz", late, damage="Error -3 while decompressing data: incorrect header check")
    assert len(rows) == 20_000


def test_packing_is_told_by_content_and_what_is_packed_otherwise_by_name(read_rows):
    assert texts(read_rows("t.tsv", gzip.compress(b"text\na\n") + bytes(512))) == ["a"]
    assert texts(read_rows("t.tsv.gz", "text\na\n")) == ["a"]
    with pytest.raises(ShardError, match=r"t\.jsonl: is packed with zstd: unpack it"):
        read_rows("t.jsonl", b"\x28\xb5\x2f\xfd1234")


def test_what_unpacks_to_much_is_read_bit_by_bit(tmp_path):
    path = tmp_path / "bomb.tsv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"abcdefg\n" * (8 << 20)))  # 64 MiB in 64 KiB
    with open(path, "rb") as file:
        assert max(map(len, text_tables.Blocks(file))) <= 2 * text_tables.CHUNK


TORN = "the last line is cut: it is not a whole row, and no newline ends it"


@pytest.mark.parametrize(
    ("name", "data", "captions", "at"),
    [
        ("t.jsonl", '{"text": "a"}\n{"text": "b"}\n{"text": "c', ["a", "b"], 28),
        ("t.jsonl", '{"text": "a"}\n{"te', ["a"], 14),
        ("t.tsv", "text\turl\na\tu\nb", ["a"], 13),
        ("t.csv", "text,url\na,u\nb", ["a"], 13),
        ("t.csv", 'url,text\nu,"a\nA"\nu,"b\nB', ["a\nA"], 17),
    ],
)
def test_a_last_line_that_was_cut_is_damage(read_rows, name, data, captions, at):
    """The file is still being copied, or its copy ended early."""
    assert texts(read_rows(name, data, damage=TORN, at=at)) == captions
    whole = {"t.jsonl": '"}\n', "t.tsv": "\tu\n", "t.csv": '"\n' if '"' in data else ",u\n"}[name]
    if "te" not in data[-4:]:
        assert len(texts(read_rows(name, data + whole))) == len(captions) + 1


@pytest.mark.parametrize(
    ("name", "data", "captions"),
    [
        ("t.jsonl", '{"text": "a"}\n{"text": "b"}', ["a", "b"]),
        ("t.jsonl", '{"text": "a"}\n{"text": "b"}\n ', ["a", "b"]),
        ("t.jsonl", '{"text": "a"}\n{"te\n{"text": "b"}\n', ["a", None, "b"]),  # a bad sample
        ("t.jsonl", '{"text": "a"}\n{"te\n', ["a", None]),
        ("t.tsv", "text\turl\na\tu\nb\tu", ["a", "b"]),
        ("t.tsv", "text\turl\na\nb\tu\n", ["a", "b"]),
        ("t.csv", 'text,url\na 5" pipe,u', ['a 5" pipe']),
        ("t.csv", 'text,url\n"a\nA",u', ["a\nA"]),
        ("t.csv", "text,url\na\nb,u\n\n", ["a", "b"]),
    ],
)
def test_a_last_line_needs_no_newline_if_it_is_whole(read_rows, name, data, captions):
    assert texts(read_rows(name, data)) == captions


@settings(max_examples=60)
@given(st.integers(0, 1 << 30), st.sampled_from(["t.tsv.gz", "t.csv.gz", "t.jsonl.gz"]))
def test_truncated_anywhere_gives_the_first_rows_of_the_whole(tmp_path_factory, cut, name):
    path = tmp_path_factory.mktemp("cut") / name
    path.write_bytes(FORMATS[name][: cut % len(FORMATS[name])])
    try:
        rows = [row for frame in read_table(Shard("s", str(path)), {}, 10) for row in frame.to_dicts()]
    except ShardError:  # not even the header line
        return
    assert [(row["text"], row["url"]) for row in rows] == ROWS[: len(rows)]


def test_cuts_follow_from_content_alone(tmp_path, monkeypatch):
    (tmp_path / "t.tsv").write_text(many(5000))

    def found(**options):
        frames = list(read_table(Shard("s", str(tmp_path / "t.tsv")), CC, **options))
        return [len(frame) for frame in frames], pl.concat(frames)

    sizes, whole = found(rows=2000)
    assert sizes == [2000, 2000, 1000]
    assert whole["row"].to_list() == list(range(5000))
    monkeypatch.setattr("pipeline.pool.text_tables.CHUNK", 1000)
    again, same = found(rows=2000)
    assert again == sizes
    assert same.equals(whole)
    small, same = found(rows=2000, size=20_000)
    assert max(small) < 1000
    assert same.equals(whole)


def test_row_groups_do_not_show(tmp_path):
    frame = pl.DataFrame({"text": [f"t{i}" for i in range(3000)], "url": [f"u{i}" for i in range(3000)]})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=700)
    frames = list(read_table(Shard("s", str(tmp_path / "a.parquet")), {}, 1024))
    assert [len(f) for f in frames] == [1024, 1024, 952]
    assert pl.concat(frames)["text"].equals(frame["text"])


def test_other_storage_and_missing_files(tmp_path):
    fs = fsspec.filesystem("memory")
    fs.pipe({f"/test_tables/{name}": d.encode() if isinstance(d, str) else d for name, d in FORMATS.items()})
    try:
        for name in FORMATS:
            (frame,) = read_table(Shard("s", f"memory://test_tables/{name}"), {}, 100)
            assert list(frame.select("text", "url").iter_rows()) == ROWS
    finally:
        fs.rm("/test_tables", recursive=True)
    for name in ("t.parquet", "t.tsv"):
        with pytest.raises(FileNotFoundError):
            list(read_table(Shard("s", str(tmp_path / name)), {}, 100))
