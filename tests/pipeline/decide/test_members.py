"""The group that a sample is in, as `winnow explain` shows it."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.decide.members import SHOWN, members
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.command import winnow
from tests.support.paths import PLUGINS

TEXTS = ["a", "b", "a", None, "a", *["hot"] * 30]


def uid(number: int) -> str:
    return f"{number + 1:032x}"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Two shards; of each caption the lowest uid is kept."""
    frame = pl.DataFrame(
        {"uid": [uid(n) for n in range(len(TEXTS))], "text": TEXTS},
        schema={"uid": pl.String, "text": pl.String},
    )
    (tmp_path / "pool").mkdir()
    frame[:4].write_parquet(tmp_path / "pool" / "0.parquet")
    frame[4:].write_parquet(tmp_path / "pool" / "1.parquet")
    recipe: dict[str, Any] = {
        "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
        "plugins": [str(PLUGINS)],
        "compute": {
            "copies": {"use": "duplicates.Exact", "key": "text", "ranks": 2},
            "listed": {"use": "meeting.Words"},
            "shared": {"use": "meeting.Shared", "words": "listed.words"},
        },
        "keep": {"copies.rank": {"max": 1}},
    }
    (tmp_path / "recipe.yaml").write_text(repr(recipe))
    opened = Session.open(parse(recipe))
    compute(opened, LocalExecutor())
    opened = opened.refreshed()
    decide(opened)
    return opened


def test_the_members_of_a_group_the_one_that_is_kept_first(session):
    found = {e.uid: e.groups for e in explain(session, [uid(4), uid(3), uid(1)])}
    assert found[uid(3)] == {}  # no caption: in no group
    group = found[uid(4)]["copies"]
    assert (found[uid(1)]["copies"].rows, group.rows) == (1, 3)
    assert list(group.members) == [
        {"uid": uid(0), "keep": True, "size": 3, "rank": 1, "first": None},
        {"uid": uid(2), "keep": False, "size": 3, "rank": 2, "first": uid(0)},
        {"uid": uid(4), "keep": False, "size": 3, "rank": 3, "first": uid(0)},
    ]


def test_a_sample_that_is_not_there_is_in_no_group(session):
    assert members(session, []) == {}
    done = winnow("explain", str(session.recipe.pool.store).replace("store", "recipe.yaml"), "nothing")
    assert done.returncode == 2
    assert "no sample of the pool has the uid" in done.stderr
    assert "Traceback" not in done.stderr


def test_of_a_large_group_a_few_are_shown(session):
    (explained,) = explain(session, [uid(20)])
    group = explained.groups["copies"]
    assert (group.rows, len(group.members)) == (30, SHOWN)
    assert group.members[0]["uid"] == uid(5)


def test_the_command_names_the_copy_that_is_kept(session, tmp_path):
    done = winnow("explain", tmp_path / "recipe.yaml", uid(4))
    assert done.returncode == 0, done.stderr
    assert "copies: 3 rows of the pool have its key" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if uid(0) in line and "True" in line]
    assert line.split()[:4] == [uid(0), "True", "3", "1"]
