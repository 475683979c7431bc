"""Other `limits`: what was read with the earlier ones is read again, as into a new store."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.decided_pool import sample, write_tar

WORDS = "word " * 20  # 100 bytes


def recipe(folder: Path, store: str, limits: dict[str, int], shards: str = "tars/*.tar") -> dict[str, Any]:
    return {
        "pool": {"shards": f"{folder}/{shards}", "store": f"{folder}/{store}"},
        "limits": limits,
        "compute": {
            "caption": {"use": "caption.Caption"},
            "words": {"use": "wfpp.WordFrequency", "minimum_count": 1},
        },
    }


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A tar and a table of a long and a short caption each."""
    write_tar(tmp_path / "tars" / "0.tar", [*sample(0, caption=WORDS), *sample(1, caption="two words")])
    rows = [{"caption": WORDS, "url": "http://a/b"}, {"caption": "two words", "url": "http://a/c"}]
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def words(session: Session) -> list[int | None]:
    """The words of each caption, by which a store is told from another; and the Stat over all of them."""
    column = session.columns.read(session.shards[0].name, ["caption.words"])["caption.words"]
    table = session.store.read(f"stats/words-{session.keys['words']}.parquet")
    return [*column.to_list(), table.height]


@pytest.mark.parametrize("shards", ["tars/*.tar", "tables/*.jsonl"])
def test_samples_are_those_of_the_limits_that_the_recipe_has(pool: Path, shards: str) -> None:
    for limits, expected in (({}, [20, 2]), ({"caption_bytes": 50}, [None, 2]), ({}, [20, 2])):
        done = compute(Session.open(parse(recipe(pool, "store", limits, shards))), LocalExecutor())
        fresh = compute(Session.open(parse(recipe(pool, f"new{expected}", limits, shards))), LocalExecutor())
        assert words(done.session)[:2] == expected
        assert words(done.session) == words(fresh.session)
        assert not any(shard.differs for shard in Session.open(done.session.recipe).shards)


def test_a_decision_waits_for_that(pool: Path) -> None:
    compute(Session.open(parse(recipe(pool, "store", {}))), LocalExecutor())
    (shard,) = Session.open(parse(recipe(pool, "store", {"sample_files": 100}))).shards
    assert (shard.content, shard.differs) == ("", "read with other `limits`")


def test_a_touched_file_is_known_with_the_limits_with_which_it_was_read(pool: Path) -> None:
    """`sources.json` says how it was read, too: its state says nothing of that."""
    narrow, usual = ({"caption_bytes": 50}, {})
    compute(Session.open(parse(recipe(pool, "store", narrow))), LocalExecutor())
    (pool / "tars" / "0.tar").touch()
    done = compute(Session.open(parse(recipe(pool, "store", narrow))), LocalExecutor())
    assert (done.touched, done.rewritten) == (1, {})
    (again,) = Session.open(parse(recipe(pool, "store", narrow))).shards
    assert again.content
    (other,) = Session.open(parse(recipe(pool, "store", usual))).shards
    assert (other.content, bool(other.differs)) == ("", True)


def test_limits_of_pictures_are_part_of_keys_instead(pool: Path) -> None:
    compute(Session.open(parse(recipe(pool, "store", {}))), LocalExecutor())
    (shard,) = Session.open(parse(recipe(pool, "store", {"image_pixels": 1000}))).shards
    assert shard.content
    with pytest.raises(RecipeError):
        parse(recipe(pool, "store", {"image_bytes": 1}))
