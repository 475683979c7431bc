"""Tables in parquet: types, names, bombs, damage."""

import datetime
import decimal
import uuid
from typing import Any

import pyarrow as pa

from tests.corpus.kind import Build, Kind, fails, reads, refused, unread
from tests.corpus.tables import as_tables, parquet, with_file

TEXT = ["an odd text of words"]
URL = ["http://example.org/odd"]
UUID = uuid.UUID(int=77)


def table(**columns: Any) -> Build:
    """A table of one row, with other columns than these."""
    return with_file(as_tables, lambda: parquet({"key": ["odd"], "text": TEXT, "url": URL, **columns}))


def written(make: Any, **options: Any) -> Build:
    """A table of these columns, written in this way."""
    return with_file(as_tables, lambda: parquet(make(), **options))


def twice(name: str) -> pa.Table:
    return pa.Table.from_arrays([pa.array(TEXT), pa.array(TEXT), pa.array(URL)], names=[name, name, "url"])


def varint(number: int, size: int = 0) -> bytes:
    """A number as a footer has it, in so many bytes at the least."""
    number *= 2
    out = bytearray()
    while number > 127 or len(out) + 1 < size:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def lying(data: bytes, true: int, told: int, footer: bool = True) -> bytes:
    """The same parquet file, whose footer (or else its pages) has another number, wherever it has this
    one."""
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    pages, rest = data[:at], data[at:]
    before = varint(true)
    after = varint(told, len(before))
    assert len(after) == len(before)
    assert before in (rest if footer else pages)
    return pages + rest.replace(before, after) if footer else pages.replace(before, after) + rest


def liar(make: Any, true: int, told: int, footer: bool = True, **options: Any) -> Build:
    """A table in which one number is a lie."""
    return with_file(as_tables, lambda: lying(parquet(make(), **options), true, told, footer))


def rows(count: int) -> dict[str, list[str]]:
    """A caption, so many times; each is another."""
    return {"text": [f"an odd text {n}" for n in range(count)]}


WHOLE = parquet({"text": TEXT * 50, "url": URL * 50})
ZEROS = 200 << 20
LONG = "long " * 100_000
KINDS = [
    Kind(
        "two columns called text",
        written(lambda: twice("text")),
        unread("odd.parquet", "2 columns called text"),
    ),
    Kind(
        "two columns called beside",
        written(lambda: twice("beside").append_column("text", pa.array(TEXT))),
        reads(),
    ),
    Kind("a list of captions", table(text=[["one two", "three"]]), reads()),
    Kind("an empty list of captions", table(text=pa.array([[]], pa.list_(pa.string()))), fails("no caption")),
    Kind("a fixed list of captions", table(text=pa.array([["a b", "c"]], pa.list_(pa.string(), 2))), reads()),
    Kind(
        "a caption that is a record",
        table(text=[{"en": "a"}]),
        unread("column text is struct", "must be text"),
    ),
    Kind(
        "a caption that is a map",
        table(text=pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string()))),
        unread("column text is map"),
    ),
    Kind("lists of lists", table(text=[[["a"]]]), unread("column text is list")),
    Kind("a view of texts", table(text=pa.array(TEXT, pa.string_view())), reads()),
    Kind("a view of bytes", table(text=pa.array([b"a b"], pa.binary_view())), reads()),
    Kind("large texts", table(text=pa.array(TEXT, pa.large_string())), reads()),
    Kind("bytes that are not UTF-8", table(text=pa.array([b"\xff\xfe"])), reads()),
    Kind("a column without a type", table(text=pa.nulls(1)), fails("no caption")),
    Kind("categories", table(text=pa.array(TEXT).dictionary_encode()), reads()),
    Kind("a caption that is a date", table(text=[datetime.date(2020, 1, 1)]), reads()),
    Kind(
        "a caption with a time zone", table(text=pa.array([1], pa.timestamp("us", "Europe/Paris"))), reads()
    ),
    Kind(
        "a caption in an unknown time zone",
        table(text=pa.array([1], pa.timestamp("us", "Mars/Base"))),
        unread("odd.parquet"),
    ),
    Kind("a caption that is a duration", table(text=[datetime.timedelta(1)]), reads()),
    Kind("a caption that is a decimal", table(text=[decimal.Decimal("1.5")]), reads()),
    Kind("a caption in half precision", table(text=pa.array([1.5], pa.float16())), reads()),
    Kind("a caption of the type json", table(text=pa.array(["{}"], pa.json_())), reads()),
    Kind("a uid of the type uuid", table(uid=pa.array([UUID.bytes], pa.uuid())), reads()),
    Kind("a uid of 16 bytes", table(uid=pa.array([UUID.bytes], pa.binary(16))), reads()),
    Kind("a uid with dashes", table(uid=[str(UUID).upper()]), reads()),
    Kind("a key of escape sequences", table(key=["\x1b[31m\x00"], text=pa.nulls(1)), fails("no caption")),
    Kind("no rows", table(key=[], text=pa.array([], pa.string()), url=pa.array([], pa.string())), reads(0)),
    Kind("no columns", written(lambda: pa.table({})), refused("no column text")),
    Kind("no row groups", written(lambda: pa.schema({"text": pa.string()}).empty_table()), reads(0)),
    Kind("no caption column", table(text=None), refused("no column text", "there are: key, url")),
    Kind(
        "columns called like commands",
        table(**{"[red]\x1b[2J": TEXT, "text": None}),
        refused("no column text"),
    ),
    Kind("empty", with_file(as_tables, b""), unread("odd.parquet")),
    Kind("only the magic", with_file(as_tables, b"PAR1PAR1"), unread("odd.parquet")),
    Kind("the footer is cut", with_file(as_tables, WHOLE[:-12]), unread("odd.parquet")),
    Kind(
        "the footer claims 2 GB",
        with_file(as_tables, WHOLE[:-8] + b"\xff\xff\xff\x7fPAR1"),
        unread("odd.parquet"),
    ),
    Kind(
        "the footer is zeros",
        with_file(as_tables, WHOLE[:-200] + bytes(192) + WHOLE[-8:]),
        unread("odd.parquet"),
    ),
    Kind(
        "the data are zeros", with_file(as_tables, WHOLE[:4] + bytes(60) + WHOLE[64:]), unread("odd.parquet")
    ),
    Kind("encrypted", with_file(as_tables, b"PARE" + WHOLE[4:-4] + b"PARE"), unread("odd.parquet")),
    Kind("a csv by another name", with_file(as_tables, b"text,url\na,b\n"), unread("odd.parquet")),
    Kind(
        "a caption of 2 MB",
        table(text=["x" * (2 << 20)]),
        fails("column text has 2,097,152 bytes, must have at most 1,048,576"),
    ),
    Kind(
        "one long caption 100,000 times",
        written(lambda: {"text": pa.array([LONG]).dictionary_encode().take(pa.array([0] * 100_000))}),
        unread("odd.parquet", "unpacks to more than"),
    ),
    Kind(
        "10 million rows in a few bytes",
        written(
            lambda: {"text": pa.array(["a"]).dictionary_encode().take(pa.array([0] * 10_000_000, pa.int32()))}
        ),
        unread("odd.parquet", "10,000,000 rows"),
    ),
    Kind(
        "200 MB in a page of some KB",
        written(lambda: {"text": ["x" * (200 << 20)]}, compression="zstd", use_dictionary=False),
        unread("odd.parquet", "unpack to 209,715", "must be at most"),
    ),
    Kind(
        "a prefix that is repeated",
        written(
            lambda: {"text": [LONG + str(n) for n in range(500)]},
            use_dictionary=False,
            column_encoding={"text": "DELTA_BYTE_ARRAY"},
        ),
        unread("odd.parquet", "unpacks to more than"),
    ),
    Kind(
        "a footer that says little of a page of 200 MB",
        liar(lambda: {"text": ["x" * ZEROS]}, ZEROS + 36, 9, compression="zstd", use_dictionary=False),
        unread("odd.parquet", "column text has pages that unpack to 209,715", "must be at most"),
    ),
    Kind(
        "a footer with more values than its pages",
        liar(lambda: rows(700), 700, 800, use_dictionary=False),
        unread("odd.parquet", "column text"),
    ),
    Kind(
        "a footer with fewer values than its pages",
        liar(lambda: rows(700), 700, 600, use_dictionary=False),
        unread("odd.parquet", "pages of 700 values, the footer says 600"),
    ),
    Kind(
        "pages with more values than there are",
        liar(lambda: rows(700), 700, 800, footer=False, use_dictionary=False),
        unread("odd.parquet", "pages of 800 values, the footer says 700"),
    ),
    Kind(
        "20,000 columns",
        written(lambda: {"text": TEXT, **{f"c{n}": [1] for n in range(20_000)}}),
        unread("odd.parquet", "20,001 columns, must have at most 10,000"),
    ),
]
