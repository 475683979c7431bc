"""What a decision did to a Stat: the Stat again over the kept samples, and the tables made of both."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.decide.decide import decide
from pipeline.decide.effects import effects
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.store import Store

CAPTIONS = ["a dog", "a cat", "dog and cat", None, "a dog", "zzzz", "a b c d", "of a dog"]


@pytest.fixture
def session(write_pool: Any, tmp_path: Path) -> Session:
    """Two shards, decided: captions of at most ten characters stay."""
    write_pool(CAPTIONS[:5])
    write_pool(CAPTIONS[5:], shard="00001")
    (tmp_path / "entries.txt").write_text("a\ndog\ncat\nof\n")
    recipe = parse(
        {
            "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
            "compute": {
                "caption": {"use": "caption.Caption"},
                "entries": {"use": "metaclip.EntryMatch", "metadata": f"{tmp_path}/entries.txt"},
                "counts": {"use": "metaclip.EntryCount", "entries": "entries.ids"},
                "words": {"use": "wfpp.WordFrequency", "minimum_count": 1},
            },
            "keep": {"caption.words": {"max": 2}},
        }
    )
    opened = Session.open(recipe)
    session = compute(opened, LocalExecutor()).session
    decide(session)
    return session


def test_counts_before_and_after(session: Session) -> None:
    found = effects(session, LocalExecutor()).tables
    assert set(found) == {"counts", "words"}
    entries = found["counts"]["entries"]
    assert entries.select("text", "before", "after").rows() == [
        ("a", 5, 3),
        ("dog", 4, 2),
        ("cat", 2, 1),
        ("of", 1, 0),
    ]
    summary = {figure: pair for _, figure, *pair in found["counts"]["summary"].rows()}
    assert summary["captions"] == [7, 4]
    assert summary["captions that match no entry, share"] == [1 / 7, 1 / 4]
    words = {figure: pair for figure, *pair in found["words"]["summary"].rows()}
    assert words["words"] == [17, 7]


def test_tables_lie_in_the_store_and_are_made_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = effects(session, LocalExecutor())
    found = changes.tables
    assert changes.folder == session.decisions.replace("decisions/", "effects/")
    store = Store(session.recipe.pool.store)
    for stat, tables in found.items():
        for name, frame in tables.items():
            assert store.read(f"{changes.folder}/{stat}/{name}.parquet").equals(frame)

    def refuse(*_: object) -> pl.DataFrame:
        raise AssertionError("reduced again")

    monkeypatch.setattr("pipeline.decide.effects.reduced", refuse)
    again = effects(session, LocalExecutor()).tables
    assert all(again[stat][name].equals(frame) for stat in found for name, frame in found[stat].items())


def test_a_decision_that_keeps_nothing(session: Session) -> None:
    rules = {"caption.words": session.recipe.keep["caption.words"].model_copy(update={"max": -1.0})}
    none = Session.open(session.recipe.model_copy(update={"keep": rules}))
    decide(none)
    found = effects(none, LocalExecutor()).tables
    assert found["counts"]["entries"]["after"].sum() == 0
    assert {figure: pair for figure, *pair in found["words"]["summary"].rows()}["words"] == [17, 0]


def test_a_stat_that_is_not_computed(session: Session) -> None:
    session.store.root.fs.rm_file(session.store.root.path(f"stats/words-{session.keys['words']}.parquet"))
    with pytest.raises(RecipeError, match=r"^compute.words is not computed yet; run `winnow compute` first$"):
        effects(session, LocalExecutor())
