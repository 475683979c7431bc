"""The captions of samples whose recipe says where they are (`pool.caption`)."""

import hashlib
import json

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.pool.captions import captions_of
from pipeline.pool.fields import Limits, parse
from pipeline.pool.kinds.registry import KINDS
from pipeline.recipe.load import parse as recipe_of
from tests.support.decided_pool import jpeg, uid, write_tar

URL = "https://a.org/1"


def read(kind: str, path, places, **columns) -> pl.DataFrame:
    """All samples of a pool of one shard."""
    pool = KINDS[kind]((str(path),), columns, places=places)
    shards = pool.list_shards().shards
    pool.check(shards, [])
    return pl.concat(frame for frame, _ in pool.read(shards[0], 100, {}))


def tar(folder, *records, txt: str | None = "the alt text"):
    """A tar with a sample for each json."""
    files = []
    for number, record in enumerate(records):
        files += [(f"{number}.jpg", jpeg(number)), (f"{number}.json", json.dumps(record).encode())]
        files += [(f"{number}.txt", txt.encode())] if txt is not None else []
    write_tar(folder / "pool" / "0.tar", files)
    return folder / "pool"


@pytest.mark.parametrize(
    ("found", "texts", "reason"),
    [
        ([("txt", "a", None), ("json.b", ["c", "d"], None)], ["a", "c", "d"], None),
        ([("txt", None, None), ("json.b", None, None)], [], "no caption: nothing at txt, json.b"),
        ([("txt", None, "is UTF-16"), ("json.b", "c", None)], ["c"], "caption left out: txt is UTF-16"),
        ([("json.b", [None, "c"], None)], ["c"], "caption left out: item 1 of json.b is null"),
        (
            [("json.b", ["c", 5, True], None)],
            ["c"],
            "caption left out: item 2 of json.b is a number, item 3 of json.b is a Boolean",
        ),
        ([("json.b", [["c"]], None)], [], "no caption: item 1 of json.b is a list"),
        ([("json.b", {"c": "d"}, None)], [], "no caption: json.b is an object"),
        ([("json.b", [], None)], [], "no caption: json.b is an empty list"),
        ([("txt", " \n", None), ("json.b", "c", None)], ["c"], "caption left out: txt is empty"),
        (
            [("json.b", ["c" * 65, "d"], None)],
            ["d"],
            "caption left out: item 1 of json.b has 65 bytes, allowed are 64 (limits.caption_bytes)",
        ),
        (
            [("json.b", [1, 2, 3, 4, 5], None)],
            [],
            "no caption: item 1 of json.b is a number, item 2 of json.b is a number, item 3 of json.b is a number, "
            "and 2 more",
        ),
        ([("json.b", ["c\ud800"], None)], ["c\ufffd"], None),
    ],
)
def test_what_can_be_a_caption_is_one(found, texts, reason):
    assert captions_of(found, Limits(caption_bytes=64)) == (texts, reason)


def test_a_list_without_end_is_read_to_its_64th_item():
    texts, reason = captions_of([("json.b", ["c"] * 1_000_000, None)])
    assert len(texts) == 64
    assert reason == "caption left out: json.b has more than 64 items, of which so many are read"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(ANY | st.lists(ANY, max_size=80))
def test_no_json_raises_and_every_good_text_survives(value):
    record, _ = parse(json.dumps({"b": value}).encode())
    texts, reason = captions_of([("json.b", record.get("b"), None)])
    items = value if isinstance(value, list) else [value]
    good = [item for item in items[:64] if isinstance(item, str) and item.strip()]
    assert len(texts) == len(good)
    assert all(text.encode() for text in texts)
    assert (reason is None) == (bool(good) and len(good) == len(items))
    if reason is not None:
        assert reason.startswith("caption left out: " if good else "no caption: ")


def test_the_uid_does_not_depend_on_the_choice(tmp_path):
    path = tar(tmp_path, {"url": URL, "recaption": "a new text"}, {"recaption": "a new text"})
    usual, chosen = read("tars", path, ()), read("tars", path, ("json.recaption",))
    assert "captions" not in usual.columns
    assert chosen["text"].to_list() == ["a new text"] * 2
    assert chosen["uid"].to_list() == usual["uid"].to_list()
    assert chosen["uid"][0] == hashlib.md5(f"the alt text{URL}".encode()).hexdigest()


def test_captions_of_one_url_have_uids_of_their_own(tmp_path):
    """Without a text elsewhere, the uid is made of the first caption."""
    records = [{"url": URL, "re": "r1"}, {"url": URL, "re": ["r2", "r3"]}, {"url": URL}]
    found = read("tars", tar(tmp_path, *records, txt=None), ("json.re",))
    expected = [hashlib.md5(f"{text}{URL}".encode()).hexdigest() for text in ("r1", "r2", "")]
    assert found["uid"].to_list() == expected
    path = tar(tmp_path / "blank", *records, txt=" ")
    assert read("tars", path, ("json.re",))["uid"].to_list()[:2] == expected[:2]


@pytest.mark.parametrize("kind", ["tables", "image_tables"])
def test_rows_of_one_url_have_uids_of_their_own(tmp_path, kind):
    columns = {"url": [URL] * 3, "text": ["t", None, ""], "alts": [["a"], ["b", "c"], ["d"]]}
    columns |= {"image": [jpeg(n) for n in range(3)]} if kind == "image_tables" else {}
    pl.DataFrame(columns).write_parquet(tmp_path / "0.parquet")
    expected = [hashlib.md5(f"{text}{URL}".encode()).hexdigest() for text in ("t", "b", "d")]
    assert read(kind, tmp_path / "0.parquet", ("alts",))["uid"].to_list() == expected
    pl.DataFrame(columns).drop("text").write_parquet(tmp_path / "0.parquet")
    expected = [hashlib.md5(f"{text}{URL}".encode()).hexdigest() for text in ("a", "b", "d")]
    assert read(kind, tmp_path / "0.parquet", ("alts",))["uid"].to_list() == expected


@pytest.mark.parametrize("kind", ["files", "tars"])
def test_files_and_tars_give_the_same_captions(tmp_path, kind):
    path = tar(tmp_path, {"uid": uid(0), "more": ["b", "c"]}, {"uid": uid(1), "more": None})
    if kind == "files":
        path = tmp_path / "files"
        path.mkdir()
        for number, more in enumerate((["b", "c"], None)):
            (path / f"{number}.jpg").write_bytes(jpeg(number))
            (path / f"{number}.txt").write_text("the alt text")
            (path / f"{number}.json").write_text(json.dumps({"uid": uid(number), "more": more}))
    found = read(kind, path, ("json.more", "txt"))
    assert found["captions"].to_list() == [["b", "c", "the alt text"], ["the alt text"]]
    assert found["text"].to_list() == ["b", "the alt text"]
    assert found["error"].to_list() == [None, None]


LISTS = [["b", None, "c"], [], None]
ALT = ["x", None, "y"]


@pytest.mark.parametrize("kind", ["tables", "image_tables", "datacomp"])
def test_columns_of_texts_and_of_lists_are_captions(tmp_path, kind):
    columns = {"uid": [uid(n) for n in range(3)], "text": ["first"] * 3, "alt": ALT, "more": LISTS}
    if kind == "datacomp":
        columns |= {f"clip_{model}_similarity_score": [0.5] * 3 for model in ("b32", "l14")}
    if kind == "image_tables":
        columns |= {"image": [jpeg(n) for n in range(3)]}
    (tmp_path / "pool").mkdir()
    pl.DataFrame(columns, schema_overrides={"more": pl.List(pl.String)}).write_parquet(
        tmp_path / "pool/0.parquet"
    )
    found = read(kind, tmp_path / "pool", ("more", "alt"))
    assert found["captions"].to_list() == [["b", "c", "x"], [], ["y"]]
    assert found["text"].to_list() == ["b", None, "y"]
    if kind != "datacomp":  # it is its own table, which has no errors
        assert found["error"].to_list() == [
            "caption left out: item 2 of more is null",
            "no caption: more is an empty list",
            None,
        ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("0.jsonl", '{"text": "first", "alt": "x", "more": ["b", 5, "c"]}\n{"alt": "x", "more": null}\n'),
        ("0.csv", "more,alt\nb,x\n,x\n"),
    ],
)
def test_text_tables_have_captions_too(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read("tables", tmp_path / name, ("more", "alt"))
    several = [["b", "c", "x"], ["x"]] if name == "0.jsonl" else [["b", "x"], ["x"]]
    assert found["captions"].to_list() == several
    assert found["text"].to_list() == ["b", "x"]


@pytest.mark.parametrize("kind", [pa.list_(pa.string(), 2), pa.large_list(pa.string()), pa.string_view()])
def test_lists_of_any_arrow_type(tmp_path, kind):
    import pyarrow.parquet as pq

    values = ["b"] if kind == pa.string_view() else [["b", "c"]]
    table = pa.table({"text": ["first"], "more": pa.array(values, kind)})
    pq.write_table(table, tmp_path / "0.parquet")
    assert read("tables", tmp_path / "0.parquet", ("more",))["captions"].to_list() == (
        [["b"]] if kind == pa.string_view() else [["b", "c"]]
    )


def session(folder, caption, **pool) -> Session:
    return Session.open(
        recipe_of({"pool": {"shards": str(folder), "store": f"{folder}-store", "caption": caption, **pool}})
    )


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        (
            "recaption",
            r"pool.caption must be txt or json.KEY, .*'recaption' \(did you mean json.recaption\?\)",
        ),
        (["json."], r"pool.caption must be txt or json.KEY, a key of the json, got 'json.'$"),
        (["TXT"], r"got 'TXT' \(did you mean txt\?\)"),
        (["JSON.more"], r"got 'JSON.more' \(did you mean json.more\?\)"),
        (["json." + "k" * 196], r"pool.caption must be places of at most 200 characters, got 'json.kkk"),
        (["json.more", 3], r"pool.caption must be txt or json.KEY, a key of the json, got 3"),
        (["txt", "txt"], r"pool.caption must name at most 16 places, none twice"),
        ({"from": "txt"}, r"pool.caption must be a place such as txt or json.KEY"),
    ],
)
def test_a_place_that_cannot_be_is_refused(tmp_path, caption, message):
    path = tar(tmp_path, {"more": "b"})
    with pytest.raises(RecipeError, match=message):
        session(path, caption)
