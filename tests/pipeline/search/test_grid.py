"""Hits as pictures, and why a hit has none."""

import io
import os
import re

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import RecipeError, ShardError
from pipeline.plan.session import Session
from pipeline.search.grid import check_grid, write_grid
from pipeline.search.hits import Found
from pipeline.search.index import SearchIndex
from pipeline.search.samples import pictures, reasons
from pipeline.view.pictures import Cost
from tests.pipeline.search.made_index import vector
from tests.support.decided_pool import jpeg, sample, uid, write_tar


@pytest.fixture
def found(session, out):
    return Found(["seven <b>"], SearchIndex.open(str(out)).search(vector(7)[None], 4))


def test_pictures_come_by_their_byte_ranges(session, found):
    cost = Cost()
    shown = pictures(session, found.hits.rows, 64, cost)
    assert shown.keys() == set(found.hits.rows.select("shard", "row").iter_rows())
    assert (cost.pictures, cost.requests) == (4, 4)
    assert cost.bytes < 20_000
    for uid_, shard, row in found.hits.rows.select("uid", "shard", "row").iter_rows():
        number = next(n for n in range(12) if uid(n) == uid_)
        there = np.asarray(Image.open(io.BytesIO(shown[(shard, row)].picture.data))).astype(int)
        original = np.asarray(Image.open(io.BytesIO(jpeg(number)))).astype(int)
        assert abs(there - original).max() < 16


def test_a_sheet_and_a_page(session, found, tmp_path):
    write_grid(session, found, str(tmp_path / "g.png"), Cost())
    with Image.open(tmp_path / "g.png") as image:
        assert image.format == "PNG"
        assert image.width > 4 * 208
    write_grid(session, found, str(tmp_path / "g.html"), Cost())
    page = (tmp_path / "g.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "seven &lt;b&gt; (4 found)" in page
    assert "caption number 7" in page
    assert "1.000" in page
    assert 'class=""' not in page


def test_of_several_queries_each_picture_says_which(session, out, tmp_path):
    hits = SearchIndex.open(str(out)).search(np.stack([vector(7), vector(3)]), 2)
    write_grid(session, Found(["seven", "three"], hits), str(tmp_path / "g.html"), Cost())
    page = (tmp_path / "g.html").read_text()
    assert "seven, three (4 found)" in page
    assert page.index("1.000  seven") < page.index("1.000  three")


def test_a_hit_without_a_picture_says_why(session, found, tmp_path):
    write_tar(tmp_path / "pool" / "00000.tar", [*sample(20), *sample(21)])
    reopened = Session.open(session.recipe)
    lost = {place for place in found.hits.rows.select("shard", "row").iter_rows() if place[0] == "00000"}
    why = reasons(reopened, found.hits.rows)
    assert why == dict.fromkeys(lost, "shard 00000 was not read, or changed; run `winnow run` again")
    write_grid(reopened, found, str(tmp_path / "g.html"), Cost())
    page = (tmp_path / "g.html").read_text()
    assert page.count("shard 00000 was not read, or changed") == len(lost)


def test_a_grid_without_any_picture_is_not_written(session, found, tmp_path):
    """As if the pool had been copied: every shard has another time."""
    for name in ("00000.tar", "00002.tar"):
        os.utime(tmp_path / "pool" / name, (1, 1))
    reopened = Session.open(session.recipe)
    with pytest.raises(ShardError) as error:
        write_grid(reopened, found, str(tmp_path / "g.html"), Cost())
    assert re.fullmatch(
        r"--grid: no picture of 4 samples: shard 0000\d was not read, or changed; run `winnow run` again",
        str(error.value),
    )
    assert not (tmp_path / "g.html").exists()


def test_rows_that_are_other_samples_now(session, found):
    import polars as pl

    moved = found.hits.rows.with_columns(row=pl.col("row") + 100)
    assert set(reasons(session, moved).values()) == {
        f"shard {shard} holds other samples than when the index was written; run `winnow run` again"
        for shard in set(moved["shard"])
    }
    elsewhere = found.hits.rows.with_columns(shard=pl.lit("00009"))
    assert set(reasons(session, elsewhere).values()) == {
        "the pool has no shard 00009; run `winnow run` again"
    }


def test_what_a_grid_cannot_be(session, tmp_path):
    for out, count, line in [
        ("g.gif", 4, "--grid: must end in .jpg, .jpeg, .png, .html, .htm, got "),
        (
            "g.png",
            121,
            "--grid: a .png holds at most 120 pictures, and --k asks for 121; a page (.html) holds 600",
        ),
        ("g.html", 601, "--grid: a .html holds at most 600 pictures, and --k asks for 601"),
    ]:
        with pytest.raises(RecipeError) as error:
            check_grid(session, str(tmp_path / out), count)
        assert str(error.value).startswith(line)
