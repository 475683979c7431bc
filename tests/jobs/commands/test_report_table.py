"""`winnow report --table`: a sample as a table, instead of the page."""

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
    assert (told["path"], told["rows"], told["embedding"]) == (str(path), 12, "vector.embedding")
    assert told["pictures"]["pictures"] == 12


def test_set_changes_the_verdicts(tmp_path):
    recipe, path = opened(tmp_path), tmp_path / "look.parquet"
    winnow("report", recipe, "--table", path, "--set", "keep.caption.characters.min=1")
    assert pl.read_parquet(path)["fate"].to_list() == ["kept"] * 12


def test_a_wrong_path_stops_before_any_work(tmp_path):
    done = winnow("report", opened(tmp_path), "--table", tmp_path / "look.csv")
    assert done.returncode == 2
    assert "--table must end in .parquet" in done.stderr
