"""Tables of every format: columns, uids, reasons, broken rows."""

import hashlib
import json

import polars as pl
import pyarrow as pa
import pytest

from pipeline.errors import ShardError
from pipeline.pool.fields import Limits
from pipeline.pool.shards import Shard
from pipeline.pool.table_columns import pick
from pipeline.schema import EMPTY, SAMPLE_COLUMNS, SAMPLE_SCHEMA
from tests.pipeline.pool.made_tables import CC, FORMATS, ROWS, md5, parquet, texts

UID = "0123456789abcdef" * 2


NULL = ("offset", "length", "image_offset", "image_length", "image_format")


def placed(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(read_rows, name):
    assert [(row["text"], row["url"]) for row in read_rows(name, FORMATS[name])] == ROWS


def test_a_whole_row(read_rows):
    data = {"uid": UID.upper(), "key": "k", "url": "u", "text": "t", "width": 9, "height": "7"}
    (row,) = read_rows(
        "t.jsonl", json.dumps(data | {"original_width": 640.0, "original_height": -1, "more": [1]})
    )
    assert row == {
        **dict.fromkeys(NULL),
        "shard": "s",
        "row": 0,
        "uid": UID,
        "key": "k",
        "text": "t",
        "url": "u",
        "width": 9,
        "height": 7,
        "original_width": 640,
        "original_height": None,
        "error": None,
    }
    assert dict(EMPTY.schema) == {**SAMPLE_COLUMNS, "error": pl.String}
    assert EMPTY.columns == SAMPLE_SCHEMA.names


# --- columns


def test_the_names_that_the_big_pools_use():
    laion = ["SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity"]
    assert pick(laion, {}) == {"text": "TEXT", "url": "URL", "width": "WIDTH", "height": "HEIGHT"}
    datacomp = ["uid", "url", "text", "original_width", "original_height", "clip_b32_similarity_score"]
    assert list(pick(datacomp, {}).values()) == ["text", "url", "uid", "original_width", "original_height"]
    sidecar = ["url", "caption", "key", "status", "error_message", "width", "height"]
    assert set(pick(sidecar, {}).values()) == set(sidecar)
    assert "status" not in pick(["text", "status"], {})  # some other status


def test_columns_of_other_names(read_rows):
    data = "id\tTITLE\tLINK\n7\ta\tb\n"
    (row,) = read_rows("t.tsv", data, {"text": "TITLE", "url": "LINK", "key": "id"})
    assert (row["text"], row["url"], row["key"]) == ("a", "b", "7")
    both = read_rows("t.jsonl", '{"text": "a", "w": 3}', {"width": "w", "original_width": "w"})
    assert (both[0]["width"], both[0]["original_width"]) == (3, 3)


def test_positions_where_there_is_no_header_line(read_rows):
    assert [(r["text"], r["url"]) for r in read_rows("t.tsv", "a\tb\nc\td", CC)] == [("a", "b"), ("c", "d")]
    assert texts(read_rows("t.csv", '1,"a\nb"\n2,c\n', {"text": 1})) == ["a\nb", "c"]


MISSING = {
    "a name that the file lacks": ("t.tsv", "a\tb\n1\t2\n", {"text": "x"}, r"no column x .*there are: a, b"),
    "no text": ("t.jsonl", '{"a": 1, "b": 2}', {}, r"no column text or caption or TEXT or alt .*: a, b$"),
    "url": ("t.csv", "text,b\n", {"url": "u"}, r"no column u \(pool.columns.url\); there are: text, b"),
    "position": ("t.tsv", "a\tb\n", {"text": 2}, r"no column 2 .*there are: 0, 1"),
    "position in parquet": ("t.parquet", parquet(text=["a"]), {"text": 0}, r"no column 0 .*: text"),
    "no object": ("t.jsonl", "no\nno\n", {}, r"there are: none"),
    "many": ("t.tsv", "\t".join(map(str, range(99))), {}, r": 0, 1, .* and 79 more"),
    "surrogate": ("t.jsonl", '{"\\ud800": 1}', {}, "there are: \ufffd"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_column_names_file_and_columns(read_rows, name):
    file, data, columns, expected = MISSING[name]
    with pytest.raises(ShardError, match=expected) as raised:
        read_rows(file, data, columns)
    assert str(raised.value).partition(": no ")[0].endswith(file)


def test_empty_files_have_no_rows(read_rows):
    for name in ("t.tsv", "t.csv", "t.jsonl"):
        assert read_rows(name, "", damage="the file is empty") == read_rows(name, "\n") == []
    assert (
        read_rows("t.tsv", "text\turl\n")
        == read_rows("t.parquet", parquet(text=pa.array([], pa.string())))
        == []
    )


# --- uids, keys, reasons


def test_uids(read_rows):
    rows = [
        {"uid": UID.upper(), "text": "é", "url": "http://u"},
        {"uid": UID + "0", "text": "é", "url": "http://u", "key": ""},
        {"uid": 12, "url": "http://u"},
        {"text": "a", "key": "k"},
        {"text": "b", "key": "k", "url": ""},
        {"text": "c", "uid": ""},
        {"text": "d", "uid": UID + "\n", "key": None},
    ]
    found = read_rows("t.jsonl", "\n".join(map(json.dumps, rows)))
    assert [row["uid"] for row in found] == [
        UID,
        "99454789ed01b89b8c8a51c33aed8f38",  # printf éhttp://u | md5sum
        md5("http://u"),
        placed("s", "k"),
        placed("s", "k", "1"),
        placed("s", "000000005"),
        placed("s", UID + "\n"),
    ]
    assert [row["key"] for row in found] == ["000000000", UID + "0", "12", "k", "k", "000000005", UID + "\n"]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    assert [row["uid"] for row in read_rows("t.jsonl", data, rows=2)] == [row["uid"] for row in found]


def test_uids_equal_those_of_a_tar(read_rows, tmp_path):
    from tests.support.decided_pool import write_tar

    record = {"url": "http://x/é", "caption": "a\ud800"}
    write_tar(tmp_path / "0.tar", [("0.json", json.dumps(record).encode())])
    from pipeline.pool.tar_reader import read_samples

    ((frame, _),) = read_samples(Shard("s", str(tmp_path / "0.tar")))
    (row,) = read_rows("t.jsonl", json.dumps(record))
    assert [row["uid"], row["text"]] == [frame[name][0] for name in ("uid", "text")]
    assert row["text"] == "a\ufffd"


def test_img2dataset_s_sidecar(read_rows):
    data = parquet(
        url=["a", "b", "c", "d"],
        caption=["1", None, "3", "4"],
        key=["000000000", "000000001", "000000002", "000000003"],
        status=["success", "failed_to_download", "failed_to_resize", None],
        error_message=[None, "HTTP Error 404: Not Found", None, None],
        width=pa.array([256.0, None, float("nan"), 2.0**31]),
        uid=[None, UID, "x", None],
    )
    rows = read_rows("00000.parquet", data)
    assert [row["error"] for row in rows] == [
        None,
        "download failed: HTTP Error 404: Not Found; no caption",
        "download failed: failed_to_resize",
        None,
    ]
    assert [row["uid"] for row in rows] == [md5("1a"), UID, md5("3c"), md5("4d")]
    assert [row["width"] for row in rows] == [256, None, None, None]
    assert [row["key"] for row in rows] == ["000000000", "000000001", "000000002", "000000003"]


# --- what is broken


BROKEN = {
    "quotes in tsv": ("t.tsv", 'text\turl\n"a\tu\nb"c\tv\n', ['"a', 'b"c']),
    "nul": ("t.tsv", "text\na\0b\n", ["a\0b"]),
    "nul in csv": ("t.csv", "text\na\0b\n", ["a\0b"]),
    "not utf-8": ("t.tsv", b"text\n\xff\xfea\n\xed\xa0\x80\n", ["\ufffd\ufffda", "\ufffd" * 3]),
    "not utf-8 in csv": ("t.csv", b'text\n"\xffa"\n', ["\ufffda"]),
    "not utf-8 in json": ("t.jsonl", b'{"text": "\xffa"}', ["\ufffda"]),
    "line ends of other kinds": ("t.tsv", "text\na\u2028b\x85c\vd\n", ["a\u2028b\x85c\vd"]),
    "line ends of other kinds in csv": ("t.csv", "text\na\u2028b\x85c\vd\n", ["a\u2028b\x85c\vd"]),
    "rows too short": ("t.tsv", "a\ttext\n1\n2\tb\tc\n", [None, "b"]),
    "long line": ("t.tsv", "text\n" + "x" * 700_000 + "\ny\n", ["x" * 700_000, "y"]),
    "long line in csv": ("t.csv", 'text\n"' + "x" * 700_000 + '"\ny\n', ["x" * 700_000, "y"]),
    "long line in json": ("t.jsonl", json.dumps({"text": "x" * 700_000}) + '\n{"text":"y"}', ["x" * 700_000, "y"]),
    "numbers": ("t.jsonl", '{"text": 5}\n{"text": NaN}\n{"text": true}\n{"text": ["a"]}', ["5", None, None, "a"]),
    "surrogates": ("t.jsonl", r'{"text": "a\ud800b"}' + "\n" + r'{"text": "\ud83d\ude00"}', ["a\ufffdb", "😀"]),
    "a key that comes later": ("t.jsonl", '{"url": "u"}\n{"text": "a"}\n', [None, "a"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rows_stay_rows(read_rows, name):
    file, data, expected = BROKEN[name]
    assert texts(read_rows(file, data)) == expected


def test_a_broken_row_is_a_sample_with_the_reason(read_rows):
    rows = read_rows("t.jsonl", '{"text": "a"}\n{"text": \n[1]\n{"text": "b"}\n' + "[" * 100_000 + "\n")
    assert texts(rows) == ["a", None, None, "b", None]
    reasons = [row["error"] for row in rows]
    assert (reasons[0], reasons[2], reasons[3]) == (None, "json cannot be parsed: not an object", None)
    assert [str(reasons[i]).startswith("json cannot be parsed: ") for i in (1, 4)] == [True, True]
    rows = read_rows("t.csv", "text,b\na,b\nc\rd,e\nf,g\n")
    assert texts(rows) == ["a", None, "f"]
    assert rows[1]["error"].startswith("csv cannot be parsed: new-line character")


def test_a_quote_that_is_never_closed_costs_no_more_than_a_field_holds(read_rows, monkeypatch):
    monkeypatch.setattr("pipeline.bounds.LEAST_TEXT", 1000)
    text = 'text\na\n"' + "b\n" * 600 + "c\n" * 50
    rows = read_rows("t.csv", text, limits=Limits(caption_bytes=1000))
    assert rows[0]["text"] == "a"
    assert rows[1]["error"] == "csv cannot be parsed: field larger than field limit (1000)"
    assert 100 < len(rows) < 200  # each b takes two of the 1000 characters
    assert texts(rows[-50:]) == ["c"] * 50


def test_a_line_that_never_ends_is_damage(read_rows):
    data = "text\na\n" + "x" * (6 << 20)
    damage = "a line of more than 4,194,304 bytes (limits.json_bytes)"
    assert texts(read_rows("t.tsv", data, damage=damage, limits=Limits(json_bytes=1000))) == ["a"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_higher_limit_of_captions_holds_in_every_format(read_rows, suffix):
    caption = "long " * 400_000
    text = f"text\n{caption}\n" if suffix != "jsonl" else json.dumps({"text": caption})
    data = parquet(text=[caption]) if suffix == "parquet" else text
    assert texts(read_rows(f"t.{suffix}", data, limits=Limits(caption_bytes=len(caption)))) == [caption]
    assert texts(read_rows(f"t.{suffix}", data)) == [None]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"table_columns": 1}, r"has 2 columns, must have at most 1 \(limits.table_columns\)"),
        ({"table_rows": 1}, r"beyond 1 rows, each must take a byte of the file \(limits.table_rows\)"),
        ({"table_depth": 1}, "depth"),
        ({"footer_bytes": 64}, "deserialize"),
        (
            {"unpacked_bytes": 1, "unpacked_ratio": 1},
            r"must be at most .* \(limits.unpacked_bytes, limits.un",
        ),
    ],
)
def test_the_bounds_of_parquet_are_limits(read_rows, limit, message):
    data = parquet(text=["a " * 300] * 40_000, url=["b"] * 40_000)
    assert len(read_rows("t.parquet", data)) == 40_000
    with pytest.raises(ShardError, match=message):
        read_rows("t.parquet", data, limits=Limits(**limit))


def test_parquet_of_other_types(read_rows):
    raw = pa.array([b"a", b"\xffb", None], pa.binary())
    lie = pa.Array.from_buffers(pa.string(), 3, raw.buffers())  # says it is UTF-8 and is not
    for column in (raw, lie):
        assert texts(read_rows("t.parquet", parquet(text=column))) == ["a", "\ufffdb", None]
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    rows = read_rows("t.parquet", parquet(**{"a.b": words, "id": [5, 6, 7]}), {"text": "a.b", "uid": "id"})
    assert [(row["text"], row["key"]) for row in rows] == [("a", "5"), ("b", "6"), ("a", "7")]
    assert texts(read_rows("t.parquet", parquet(text=[["a", "b"], [], None]))) == ["a", None, None]
    with pytest.raises(ShardError, match=r"t\.parquet: column text is struct<.*>, must be text or a number"):
        read_rows("t.parquet", parquet(text=[{"en": "a"}]))
    with pytest.raises(ShardError, match=r"t\.parquet: "):
        read_rows("t.parquet", parquet(text=["a"])[:-3])
