"""Deciding on the shards that are complete, and why the others are pending."""

import pytest

from jobs import steps
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.executor import LocalExecutor


@pytest.fixture
def session(write_pool, tmp_path) -> Session:
    """Three shards of two samples each; captions of three words and more are kept."""
    for shard in ("a", "b", "c"):
        write_pool(["one two three", "one"], shard=shard)
    recipe = {
        "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
        "compute": {"caption": {"use": "caption.Caption"}},
        "keep": {"caption.words": {"min": 3}},
        "export": {"subset": f"{tmp_path}/subset.npy"},
    }
    return Session.open(parse(recipe))


def test_shards_that_are_not_complete_are_pending_with_the_reason(session):
    steps.compute_missing(session.over(session.shards[:1]), LocalExecutor())
    decided = steps.decide_complete(session.refreshed(), {"c": "FileNotFoundError"})
    assert [shard.name for shard in decided.session.shards] == ["a"]
    assert (decided.decision.samples, decided.decision.kept) == (2, 1)
    assert decided.pending == {
        "b": "not computed yet; `winnow compute` or `winnow run` does that",
        "c": "FileNotFoundError",
    }


def test_nothing_is_complete(session):
    with pytest.raises(
        RecipeError, match=r"^nothing to decide on: .* run `winnow compute` first \(`winnow plan`"
    ):
        steps.decide_complete(session)


def test_decide_and_export(session, tmp_path):
    log = steps.compute_missing(session, LocalExecutor())
    decided, written = steps.decide_and_export(log.session, LocalExecutor(), log.pending)
    assert (decided.session, decided.decision.kept, decided.pending) == (log.session, 3, {})
    assert list(written) == ["subset"]
    assert (tmp_path / "subset.npy").exists()
