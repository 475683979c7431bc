"""`winnow report --table`: a sample as a table."""

import json

import polars as pl

from tests.support.command import winnow
from tests.support.opened_pool import opened


def test_a_table_is_written_and_named_on_stdout(tmp_path):
    recipe, path = opened(tmp_path), tmp_path / "look.parquet"
    done = winnow("report", recipe, "--table", path, "--rows", 5)
    assert (done.returncode, done.stdout) == (0, f"{path}\n"), done.stderr
    assert "pictures: 5, " in done.stderr
    assert len(pl.read_parquet(path)) == 5
    assert list(tmp_path.glob("*.html")) == []


def test_json_tells_what_was_written(tmp_path):
    recipe, path = opened(tmp_path), tmp_path / "look.parquet"
    done = winnow("report", recipe, "--table", path, "--json")
    told = json.loads(done.stdout)
    assert told["table"] == {"path": str(path), "rows": 12, "embedding": "vector.embedding"}
    assert told["pictures"]["pictures"] == 12


def test_a_page_can_be_written_with_it(tmp_path):
    recipe, page, path = opened(tmp_path), tmp_path / "page.html", tmp_path / "look.parquet"
    done = winnow("report", recipe, "--out", page, "--table", path)
    assert (done.returncode, done.stdout) == (0, f"{page}\n{path}\n"), done.stderr
    assert page.is_file()
    assert path.is_file()


def test_rows_are_of_a_table(tmp_path):
    done = winnow("report", opened(tmp_path), "--rows", 5, "--out", tmp_path / "page.html")
    assert done.returncode == 2
    assert "--rows is of --table" in done.stderr


def test_set_changes_the_verdicts(tmp_path):
    recipe, path = opened(tmp_path), tmp_path / "look.parquet"
    winnow("report", recipe, "--table", path, "--set", "keep.caption.characters.min=1")
    assert pl.read_parquet(path)["fate"].to_list() == ["kept"] * 12


def test_a_wrong_path_stops_before_any_work(tmp_path):
    done = winnow("report", opened(tmp_path), "--table", tmp_path / "look.csv")
    assert done.returncode == 2
    assert "--table must end in .parquet" in done.stderr
