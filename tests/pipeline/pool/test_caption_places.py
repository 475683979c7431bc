"""Whether captions are where the recipe says, looked up before the start (`pool.caption`)."""

import json

import polars as pl
import pytest

from pipeline.errors import RecipeError
from pipeline.plan.open_pool import check_first
from pipeline.plan.session import Session
from pipeline.pool.kinds.places import spread
from pipeline.pool.sample_table import StoredSamples
from pipeline.preflight.captions import caption_line, caption_warnings, looked_for_captions
from pipeline.recipe.load import parse as recipe_of
from pipeline.storage.store import Store
from tests.support.decided_pool import jpeg, uid, write_tar


def tars(folder, *shards, txt: str | None = "the alt text"):
    """A pool with a tar for each list of jsons."""
    for name, records in enumerate(shards):
        files = []
        for number, record in enumerate(records):
            files += [(f"{number}.jpg", jpeg(number)), (f"{number}.json", json.dumps(record).encode())]
            files += [(f"{number}.txt", txt.encode())] if txt is not None else []
        write_tar(folder / "pool" / f"{name}.tar", files)
    return folder / "pool"


def session(folder, caption, **pool) -> Session:
    shards = {} if "datacomp" in pool else {"shards": str(folder)}
    return Session.open(
        recipe_of({"pool": {**shards, "store": f"{folder}-store", "caption": caption, **pool}})
    )


def opened(folder, caption, **pool) -> None:
    """Open a session and check its pool."""
    found = session(folder, caption, **pool)
    check_first(found.kind, found.shards)


def stopped(found: Session) -> str:
    """The message with which a session's pool is refused."""
    with pytest.raises(RecipeError) as error:
        check_first(found.kind, found.shards)
    return str(error.value)


@pytest.mark.parametrize(
    ("count", "chosen"), [(0, []), (1, [0]), (2, [0, 1]), (5, [0, 1, 2, 3, 4]), (9, [0, 2, 4, 6, 8])]
)
def test_at_most_five_shards_are_looked_at(count, chosen):
    assert list(spread(range(count))) == chosen


def test_a_key_that_no_sample_has_stops_before_the_start(tmp_path):
    path = tars(tmp_path, [{"recaption": "b", "url": "u"}])
    assert stopped(session(path, "json.recaptoin")) == (
        f"pool.caption: none of the first 1 samples of {path / '0.tar'} has a caption at json.recaptoin "
        "(did you mean json.recaption?); there are: json.recaption, json.url, txt"
    )


def test_a_key_that_only_later_shards_have_does_not_stop(tmp_path):
    path = tars(tmp_path, [{"x": 1}] * 2, [], [{"re": "b"}])
    found = session(path, "json.re")
    check_first(found.kind, found.shards)
    assert caption_line(looked_for_captions(found)) == (
        "of 3 samples, the first of 2 shards, 1 have json.re; 2 have no caption"
    )


def test_an_empty_first_shard_hides_no_mistake(tmp_path):
    path = tars(tmp_path, [], [{"recap": "b"}], [{"recap": "c"}] * 2)
    assert stopped(session(path, "json.reacp")) == (
        f"pool.caption: none of 3 samples, the first of 2 shards from {path / '1.tar'} to {path / '2.tar'}, has a "
        "caption at json.reacp (did you mean json.recap?); there are: json.recap, txt"
    )
    (tmp_path / "none").mkdir()
    empty = session(tars(tmp_path / "none", []), "json.er")
    check_first(empty.kind, empty.shards)  # nothing to look at


def test_the_plan_says_where_captions_are(tmp_path):
    path = tars(tmp_path, [{"more": ["b"]}, {"more": 5}, {}], txt=None)
    found = session(path, ["json.more", "txt"])
    check_first(found.kind, found.shards)
    looked = looked_for_captions(found)
    assert caption_line(looked) == "of the first 3 samples, 1 have json.more, 0 have txt; 2 have no caption"
    plain = Session.open(recipe_of({"pool": {"shards": str(path), "store": f"{path}-2"}}))
    assert caption_line(looked_for_captions(plain)) == ""
    assert caption_warnings(plain, looked_for_captions(plain)) == []
    assert isinstance(found.kind.samples(Store("x")), StoredSamples)


def test_the_plan_warns_of_one_misspelt_place_of_several(tmp_path):
    path = tars(tmp_path, [{"recaption": "b"}])
    found = session(path, ["txt", "json.recapton"])
    check_first(found.kind, found.shards)
    assert caption_warnings(found, looked_for_captions(found)) == [
        f"pool.caption: none of the first 1 samples of {path / '0.tar'} has a caption at json.recapton "
        "(did you mean json.recaption?); there are: json.recaption, txt"
    ]


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "image_tables", "datacomp"])
def test_a_table_that_lacks_a_place_has_the_captions_of_the_others(tmp_path, kind):
    """The first table has only `alt`, the second only `more`, the third neither."""
    (tmp_path / "pool").mkdir()
    for number, columns in enumerate(({"alt": ["a", None]}, {"more": ["b", None]}, {})):
        frame = pl.DataFrame({"url": ["u1", "u2"], "uid": [uid(2 * number), uid(2 * number + 1)], **columns})
        if kind == "image_tables":
            frame = frame.with_columns(image=pl.Series([jpeg(0), jpeg(1)]))
        path = tmp_path / "pool" / f"{number}.{kind if kind in ('csv', 'jsonl') else 'parquet'}"
        write = {"csv": frame.write_csv, "jsonl": frame.write_ndjson}.get(kind, frame.write_parquet)
        write(path)
    more = {"kind": kind} if kind == "image_tables" else {}
    more = {"datacomp": str(tmp_path / "pool")} if kind == "datacomp" else more
    found = session(tmp_path / "pool", ["more", "alt"], **more)
    check_first(found.kind, found.shards)
    frames = [frame for shard in found.shards for frame, _ in found.kind.read(shard, 100, {})]
    assert [frame["captions"].to_list() for frame in frames] == [[["a"], []], [["b"], []], [[], []]]
    assert [frame["text"].to_list() for frame in frames] == [["a", None], ["b", None], [None, None]]
    if kind != "datacomp":  # it is its own table, which has no errors
        assert frames[2]["error"].to_list() == ["no caption: nothing at more, alt"] * 2


@pytest.mark.parametrize("kind", ["tables", "image_tables", "datacomp"])
def test_a_column_that_no_table_has_stops_before_the_start(tmp_path, kind):
    (tmp_path / "pool").mkdir()
    for number in range(2):
        frame = pl.DataFrame({"uid": [uid(number)], "url": ["u"], "alts": [["a"]]})
        if kind == "image_tables":
            frame = frame.with_columns(image=pl.Series([jpeg(0)]))
        frame.write_parquet(tmp_path / "pool" / f"{number}.parquet")
    more = {"datacomp": str(tmp_path / "pool")} if kind == "datacomp" else {"kind": kind}
    with pytest.raises(RecipeError) as error:
        opened(tmp_path / "pool", ["atls"], **more)
    listed = "alts, image, uid, url" if kind == "image_tables" else "alts, uid, url"
    assert "none of 2 samples, the first of 2 shards from" in str(error.value)
    assert str(error.value).endswith(f"(did you mean alts?); there are: {listed}")
