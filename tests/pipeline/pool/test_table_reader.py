"""Pools without images: every kind of table read as samples, whatever is broken in it."""

import csv
import gzip
import hashlib
import json
from pathlib import Path

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decide.books import losses
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.errors import RecipeError, ShardError
from pipeline.plan.passes import plan
from pipeline.plan.session import Session
from pipeline.plan.stored import complete, list_stored
from pipeline.pool import text_tables
from pipeline.pool.shards import Shard
from pipeline.pool.table_reader import pick, read_table
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.recipe.sections import PARTS
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.schema import EMPTY, SAMPLE_COLUMNS, SAMPLE_SCHEMA
from tests.support.folders import tree
from tests.support.paths import PLUGINS

UID = "0123456789abcdef" * 2
CC = {"text": 0, "url": 1}  # Conceptual Captions: no header line
NULL = ("offset", "length", "image_offset", "image_length", "image_format")


@pytest.fixture
def read(tmp_path):
    """Write a table under a name and read all of its rows; `damage` is what `.damage` is then."""

    def read(name, data, columns=None, damage=None, rows=8192, **options):
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        reader = read_table(Shard("s", str(tmp_path / name)), columns or {}, rows, **options)
        frames = list(reader)
        assert all(frame.schema == EMPTY.schema for frame in frames)
        assert (reader.damage and reader.damage.reason) == damage
        return pl.concat([EMPTY, *frames]).to_dicts()

    return read


def parquet(**columns) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def texts(rows) -> list[str | None]:
    return [row["text"] for row in rows]


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def placed(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


# --- the same rows in every format

ROWS = [("a dog", "http://x/1"), ('say "hi"', "http://x/2"), ("é, 5", "")]
FORMATS = {
    "t.parquet": parquet(text=[t for t, _ in ROWS], url=[u for _, u in ROWS]),
    "t.tsv": "\ufefftext\turl\r\n" + "".join(f"{t}\t{u}\r\n" for t, u in ROWS),
    "t.tsv.gz": gzip.compress(("caption\turl\n" + "\n\n".join(f"{t}\t{u}" for t, u in ROWS)).encode()),
    "t.csv": 'url,TEXT\n\nhttp://x/1,a dog\nhttp://x/2,"say ""hi"""\r\n,"é, 5"\n',
    "t.csv.gz": gzip.compress(b'alt,URL\na dog,http://x/1\n"say ""hi""",http://x/2\n')
    + gzip.compress('"é, 5",'.encode()),
    "t.jsonl": "\n".join(json.dumps({"text": t, "url": u}) for t, u in ROWS),
    "t.jsonl.gz": gzip.compress("".join(f'{{"caption": {json.dumps(t)}, "url": "{u}"}}\n' for t, u in ROWS).encode()),
    "t.ndjson": " \n".join(json.dumps({"URL": u, "alt": t}, ensure_ascii=False) for t, u in ROWS),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(read, name):
    assert [(row["text"], row["url"]) for row in read(name, FORMATS[name])] == ROWS


def test_a_whole_row(read):
    data = {"uid": UID.upper(), "key": "k", "url": "u", "text": "t", "width": 9, "height": "7"}
    (row,) = read("t.jsonl", json.dumps(data | {"original_width": 640.0, "original_height": -1, "more": [1]}))
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


def test_columns_of_other_names(read):
    data = "id\tTITLE\tLINK\n7\ta\tb\n"
    (row,) = read("t.tsv", data, {"text": "TITLE", "url": "LINK", "key": "id"})
    assert (row["text"], row["url"], row["key"]) == ("a", "b", "7")
    both = read("t.jsonl", '{"text": "a", "w": 3}', {"width": "w", "original_width": "w"})
    assert (both[0]["width"], both[0]["original_width"]) == (3, 3)


def test_positions_where_there_is_no_header_line(read):
    assert [(r["text"], r["url"]) for r in read("t.tsv", "a\tb\nc\td", CC)] == [("a", "b"), ("c", "d")]
    assert texts(read("t.csv", '1,"a\nb"\n2,c\n', {"text": 1})) == ["a\nb", "c"]


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
def test_a_missing_column_names_file_and_columns(read, name):
    file, data, columns, expected = MISSING[name]
    with pytest.raises(ShardError, match=expected) as raised:
        read(file, data, columns)
    assert str(raised.value).partition(": no ")[0].endswith(file)


def test_empty_files_have_no_rows(read):
    for name in ("t.tsv", "t.csv", "t.jsonl"):
        assert read(name, "") == read(name, "\n") == []
    assert read("t.tsv", "text\turl\n") == read("t.parquet", parquet(text=pa.array([], pa.string()))) == []


# --- uids, keys, reasons


def test_uids(read):
    rows = [
        {"uid": UID.upper(), "text": "é", "url": "http://u"},
        {"uid": UID + "0", "text": "é", "url": "http://u", "key": ""},
        {"uid": 12, "url": "http://u"},
        {"text": "a", "key": "k"},
        {"text": "b", "key": "k", "url": ""},
        {"text": "c", "uid": ""},
        {"text": "d", "uid": UID + "\n", "key": None},
    ]
    found = read("t.jsonl", "\n".join(map(json.dumps, rows)))
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
    assert [row["uid"] for row in read("t.jsonl", data, rows=2)] == [row["uid"] for row in found]


def test_uids_equal_those_of_a_tar(read, tmp_path):
    from tests.support.decided_pool import write_tar

    record = {"url": "http://x/é", "caption": "a\ud800"}
    write_tar(tmp_path / "0.tar", [("0.json", json.dumps(record).encode())])
    from pipeline.pool.tar_reader import read_samples

    (table,) = read_samples(Shard("s", str(tmp_path / "0.tar")))
    (row,) = read("t.jsonl", json.dumps(record))
    assert [row["uid"], row["text"]] == [table[name][0].as_py() for name in ("uid", "text")]
    assert row["text"] == "a\ufffd"


def test_img2dataset_s_sidecar(read):
    data = parquet(
        url=["a", "b", "c", "d"],
        caption=["1", None, "3", "4"],
        key=["000000000", "000000001", "000000002", "000000003"],
        status=["success", "failed_to_download", "failed_to_resize", None],
        error_message=[None, "HTTP Error 404: Not Found", None, None],
        width=pa.array([256.0, None, float("nan"), 2.0**31]),
        uid=[None, UID, "x", None],
    )
    rows = read("00000.parquet", data)
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
    "numbers": ("t.jsonl", '{"text": 5}\n{"text": NaN}\n{"text": true}\n{"text": ["a"]}', ["5", "nan", None, None]),
    "surrogates": ("t.jsonl", r'{"text": "a\ud800b"}' + "\n" + r'{"text": "\ud83d\ude00"}', ["a\ufffdb", "😀"]),
    "a key that comes later": ("t.jsonl", '{"url": "u"}\n{"text": "a"}\n', [None, "a"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rows_stay_rows(read, name):
    file, data, expected = BROKEN[name]
    assert texts(read(file, data)) == expected


def test_a_broken_row_is_a_sample_with_the_reason(read):
    rows = read("t.jsonl", '{"text": "a"}\n{"text": \n[1]\n{"text": "b"}\n' + "[" * 100_000)
    assert texts(rows) == ["a", None, None, "b", None]
    reasons = [row["error"] for row in rows]
    assert (reasons[0], reasons[2], reasons[3]) == (None, "json cannot be parsed: not an object", None)
    assert [str(reasons[i]).startswith("json cannot be parsed: ") for i in (1, 4)] == [True, True]
    rows = read("t.csv", "text,b\na,b\nc\rd,e\nf,g\n")
    assert texts(rows) == ["a", None, "f"]
    assert rows[1]["error"].startswith("csv cannot be parsed: new-line character")


def test_a_quote_that_is_never_closed_costs_no_more_than_a_field_holds(read, monkeypatch):
    monkeypatch.setattr("pipeline.pool.text_tables.FIELD", 1000)
    rows = read("t.csv", 'text\na\n"' + "b\n" * 600 + "c\n" * 50)
    assert rows[0]["text"] == "a"
    assert rows[1]["error"] == "csv cannot be parsed: field larger than field limit (1000)"
    assert 100 < len(rows) < 200  # each b takes two of the 1000 characters
    assert texts(rows[-50:]) == ["c"] * 50


def test_a_line_that_never_ends_is_damage(read, monkeypatch):
    monkeypatch.setattr("pipeline.pool.text_tables.LONGEST", 1 << 20)
    data = "text\na\n" + "x" * (3 << 20)
    assert texts(read("t.tsv", data, damage="a line of more than 1 MiB")) == ["a"]


def test_parquet_of_other_types(read):
    raw = pa.array([b"a", b"\xffb", None], pa.binary())
    lie = pa.Array.from_buffers(pa.string(), 3, raw.buffers())  # says it is UTF-8 and is not
    for column in (raw, lie):
        assert texts(read("t.parquet", parquet(text=column))) == ["a", "\ufffdb", None]
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    rows = read("t.parquet", parquet(**{"a.b": words, "id": [5, 6, 7]}), {"text": "a.b", "uid": "id"})
    assert [(row["text"], row["key"]) for row in rows] == [("a", "5"), ("b", "6"), ("a", "7")]
    with pytest.raises(ShardError, match=r"t\.parquet: column text is list<.*>, must be text or a number"):
        read("t.parquet", parquet(text=[["a"]]))
    with pytest.raises(ShardError, match=r"t\.parquet: "):
        read("t.parquet", parquet(text=["a"])[:-3])


# --- packed files, breaks, cuts


def many(count: int) -> str:
    return "".join(f"caption number {i}\thttp://x/{i}\n" for i in range(count))


def test_a_truncated_gzip_gives_the_rows_before_the_break(read):
    whole = gzip.compress(many(20_000).encode())
    cut = len(whole) * 2 // 3
    rows = read("t.tsv.gz", whole[:cut], CC, damage="the file ends inside its gzip data")
    assert 10_000 < len(rows) < 20_000
    assert texts(rows) == [f"caption number {i}" for i in range(len(rows))]
    assert [row["url"] for row in rows[-1:]] == [f"http://x/{len(rows) - 1}"]


def test_a_csv_changes_nothing_for_the_rest_of_the_process(read, tmp_path):
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


def test_a_truncated_csv_loses_the_row_at_the_break_only(read):
    data = "text\n" + "".join(f'"row\n{i}"\n' for i in range(5000))
    whole = gzip.compress(data.encode())
    rows = read("t.csv.gz", whole[: len(whole) // 2], damage="the file ends inside its gzip data")
    assert 1000 < len(rows) < 5000
    assert texts(rows) == [f"row\n{i}" for i in range(len(rows))]


def test_a_garbled_gzip_is_damage(read):
    whole = gzip.compress(b"text\na\n")
    crc = whole[:-8] + b"12345678"
    assert read("t.tsv.gz", crc, damage="Error -3 while decompressing data: incorrect data check") == []
    late = gzip.compress(("text\n" + many(20_000)).encode()) + b"garbage"
    rows = read("t.tsv.gz", late, damage="Error -3 while decompressing data: incorrect header check")
    assert len(rows) == 20_000


def test_packing_is_told_by_content_and_what_is_packed_otherwise_by_name(read):
    assert texts(read("t.tsv", gzip.compress(b"text\na\n") + bytes(512))) == ["a"]
    assert texts(read("t.tsv.gz", "text\na\n")) == ["a"]
    with pytest.raises(ShardError, match=r"t\.jsonl: is packed with zstd: unpack it"):
        read("t.jsonl", b"\x28\xb5\x2f\xfd1234")


def test_what_unpacks_to_much_is_read_bit_by_bit(tmp_path):
    path = tmp_path / "bomb.tsv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"abcdefg\n" * (8 << 20)))  # 64 MiB in 64 KiB
    with open(path, "rb") as file:
        assert max(map(len, text_tables.blocks(file))) <= 2 * text_tables.CHUNK


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


# --- a pool of tables

CAPTIONS = ["a dog on a lawn", "a cat", "the red car", "dog", "a dog and a cat"]


@pytest.fixture
def pool(tmp_path):
    """Three tables: parquet with uids, a truncated TSV, JSON lines with a broken one."""
    folder = tmp_path / "pool"
    folder.mkdir()
    uids = [md5(str(i)) for i in range(5)]
    urls = [f"http://x/{i}" for i in range(5)]
    pl.DataFrame({"uid": uids, "text": CAPTIONS, "url": urls}).write_parquet(folder / "a.parquet")
    whole = gzip.compress(("text\turl\n" + many(20_000)).encode())
    (folder / "b.tsv.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "c.jsonl").write_text('{"caption": "a dog", "url": "http://x/c"}\n{"caption":\n')
    return tmp_path


def recipe(place: Path, store: str = "store", **more):
    return parse(
        {
            "name": "test",
            "plugins": [str(PLUGINS)],
            "pool": {"shards": str(place / "pool"), "store": str(place / store), **more.pop("pool", {})},
            "compute": {
                "caption": {"use": "caption.Caption"},
                "words": {"use": "rare_words.WordCount"},
                "rare": {"use": "rare_words.RarestWord", "words": "words"},
                **more.pop("compute", {}),
            },
            "keep": {"caption.words": {"min": 2}, "rare.count": {"min": 2}},
            **more,
        }
    )


def test_plan_compute_keep_and_explain(pool):
    session = Session.open(recipe(pool))
    assert [shard.name for shard in session.shards] == ["a", "b", "c"]
    megabytes = sum(path.stat().st_size for path in (pool / "pool").iterdir()) / 1e6
    before = preview(session).passes
    assert [step.reads for step in before] == [f"tables, {megabytes:,.0f} MB", "columns", "columns"]
    log = compute(session, LocalExecutor())
    assert (log.pending, preview(session).passes) == ({}, [])
    broken = losses(session).damaged
    assert list(broken) == ["b"]
    assert "the file ends inside its gzip data (byte " in broken["b"]
    result = decide(session)
    rows = session.store.row_counts("samples", ["a", "b", "c"])
    assert (rows["a"], rows["c"]) == (5, 2)
    assert result.samples == sum(rows.values())
    assert result.rules["caption.words"].failed == {"no caption": 1}  # the broken line
    words = dict(session.store.read(f"stats/words-{session.keys['words']}.parquet").iter_rows())
    assert (words["dog"], words["lawn"], words["caption"]) == (4, 1, rows["b"])
    kept = session.store.kept(f"decisions/{_decision(session)}", "a").to_list()
    assert kept == [False, True, False, False, False]  # lawn, red, one word only, and: rare
    (entry,) = explain(session, [md5("0")])
    assert (entry.text, entry.keep) == (CAPTIONS[0], False)
    assert [(rule.value, rule.verdict) for rule in entry.rules] == [(5, "passes"), (1, "fails")]


def _decision(session: Session) -> str:

    return session.decisions.removeprefix("decisions/")


def test_the_second_pass_reads_the_store(pool):
    compute(Session.open(recipe(pool)), LocalExecutor())
    for path in (pool / "pool").iterdir():
        path.write_bytes(b"")
    more = Session.open(recipe(pool, compute={"slow": {"use": "faulty.Slow", "seconds": 0}}))
    assert [
        (todo.names, todo.reads_pool) for todo in plan(more.recipe, more.shards, more.keys, list_stored(more))
    ] == [(("slow",), False)]
    assert compute(more, LocalExecutor()).pending == {}
    assert more.store.read(f"{more.folder('slow')}/a.parquet")["slow.length"].to_list() == [15, 5, 11, 3, 15]


def test_batches_of_any_size_give_the_same_bytes(pool):
    compute(Session.open(recipe(pool, "one")), LocalExecutor())
    small = {name: {"batch_size": 100} for name in ("caption", "rare")}
    compute(Session.open(recipe(pool, "two", run=small)), LocalExecutor())
    one, two = tree(pool / "one"), tree(pool / "two")
    assert one == two
    assert len(one) == 3 * 3 + 2 + 1  # three tables: samples and two Scores, with meta.json; one Stat


@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_equals_the_plain_loop_to_the_byte(pool):
    from pipeline.run.on_ray import RayExecutor

    compute(Session.open(recipe(pool, "local")), LocalExecutor())
    made = recipe(pool, "ray", run={name: {"workers": 2, "cpus": 0.5} for name in ("caption", "rare")})
    assert compute(Session.open(made), RayExecutor(made)).pending == {}
    assert tree(pool / "ray") == tree(pool / "local")


def test_a_table_without_captions_stays_pending_and_the_rest_is_done(pool):
    (pool / "pool" / "d.tsv").write_text("a\tb\n1\t2\n")
    session = Session.open(recipe(pool))
    log = compute(session, LocalExecutor())
    expected = "no column text or caption or TEXT or alt (pool.columns.text); there are: a, b"
    assert log.pending == {"d": f"{pool}/pool/d.tsv: {expected}"}
    assert [shard.name for shard in complete(session).shards] == ["a", "b", "c"]
    again = compute(Session.open(recipe(pool)), LocalExecutor())
    assert list(again.pending) == ["d"]


def test_where_the_first_table_lacks_a_column_nothing_is_done(pool):
    session = Session.open(recipe(pool, pool={"columns": {"text": "TITLE"}}))
    expected = (
        r"pool\.shards: .*a\.parquet: no column TITLE \(pool\.columns\.text\); there are: uid, text, url"
    )
    for command in (
        lambda: compute(session, LocalExecutor()),
        lambda: preview(session),
        lambda: complete(session),
    ):
        with pytest.raises(RecipeError, match=expected):
            command()
    assert not (pool / "store" / "columns").exists()
    (pool / "pool" / "a.parquet").unlink()  # what cannot be read at all is for the pass to tell
    log = compute(session, LocalExecutor())
    assert log.pending["a"].startswith("FileNotFoundError")


def test_a_store_remembers_how_tables_were_read(pool):
    compute(Session.open(recipe(pool)), LocalExecutor())
    other = Session.open(recipe(pool, pool={"columns": {"text": "url"}}))
    with pytest.raises(RecipeError, match=r"pool\.store: .* holds samples of tables with pool\.columns \{\}"):
        list_stored(other)
    for path in (pool / "pool").iterdir():
        path.rename(path.with_name(path.name.partition(".")[0] + ".tar"))
    with pytest.raises(RecipeError, match=r"of tables with .*, the recipe has tars; use a new store"):
        list_stored(Session.open(recipe(pool)))


def test_what_needs_images_is_refused_before_any_work(pool, write_pool):
    first = rf"\(the first: {pool}/pool/a\.parquet\)"
    with pytest.raises(RecipeError, match=rf"compute\.bright reads images, and pool\.shards are .* {first}"):
        Session.open(recipe(pool, compute={"bright": {"use": "planted.Brightness"}}))
    with pytest.raises(
        RecipeError, match=rf"export\.shards copies images, and pool\.shards are tables .* {first}"
    ):
        Session.open(recipe(pool, export={"shards": str(pool / "out")}))
    for path in (pool / "pool").iterdir():
        path.unlink()
    write_pool(["a"])
    with pytest.raises(RecipeError, match=r"pool\.columns is for tables, and pool\.shards are tars"):
        Session.open(recipe(pool, pool={"columns": {"text": "a"}}))


COLUMNS = {
    "mixed": ({"text": 0, "url": "u"}, "must be all names, or all positions from 0, got {'text': 0, 'url': 'u'}"),
    "negative": ({"text": -1}, "must be all names, or all positions from 0, got {'text': -1}"),
    "Boolean": ({"text": True}, "must be all names, or all positions from 0, got {'text': True}"),
    "unknown": ({"txt": "a"}, f"must be of {', '.join(PARTS)}, got 'txt'"),
    "list": (["text"], "must map parts of a sample to columns, such as {text: TITLE}, got ['text']"),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_wrong_columns_in_a_recipe(name):
    columns, expected = COLUMNS[name]
    with pytest.raises(RecipeError) as raised:
        parse({"pool": {"shards": "x", "store": "s", "columns": columns}})
    assert str(raised.value) == f"pool.columns {expected}"


def test_a_real_file(data):
    shard = Shard("captions", str(data / "captions.tsv.gz"))
    frames = list(read_table(shard, {"key": 1, "text": 2}, 8192))
    assert [len(f) for f in frames[-2:]] == [8192, 120_049 % 8192]
    whole = pl.concat(frames)
    assert whole["uid"].n_unique() == 120_049
    assert whole["text"].null_count() == 0
    assert whole.row(0, named=True)["text"] == "A black Honda motorcycle parked in front of a garage."
