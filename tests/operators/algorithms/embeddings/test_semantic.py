"""SemDeDup: the released number, the paper's groups, and which sample is the best."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.algorithms.embeddings.semantic import joins_earlier, nearest_earlier
from operators.duplicates import Semantic
from pipeline.uids import draw
from tests.support.groups import run_group
from tests.support.samples import samples

GOLDEN = [(1, 0, 0), (0.999, 0.0447, 0), (0, 1, 0), (0.995, 0.0999, 0), (0, 0.98, 0.199)]
FIELDS = {"embedding": "c.e", "cluster": "n.cluster", "similarity": "n.similarity"}


def frame(vectors, cluster=0, similarity=None) -> pl.DataFrame:
    """Samples with ascending uids, the least similar to the centre first unless said otherwise."""
    count = len(vectors)
    return samples(count, uid=[f"{row:032x}" for row in range(count)]).with_columns(
        pl.Series("c.e", np.asarray(vectors, np.float32)),
        pl.Series("n.similarity", np.arange(count) / count if similarity is None else similarity, pl.Float32),
        pl.Series("n.cluster", np.broadcast_to(cluster, count), pl.Int32),
    )


def ran(rows: pl.DataFrame, **fields) -> pl.DataFrame:
    return run_group(Semantic(**{**FIELDS, **fields}), rows)


def unit(vectors) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_released_number():
    """See GOLDENS.md."""
    found = ran(frame(GOLDEN), compat="released")
    expected = [0, 0.999, 0.0447, 0.99847, 0.98]
    assert found["max_similarity"].to_list() == pytest.approx(expected, abs=2e-4)
    assert [None if uid is None else int(uid, 16) for uid in found["neighbour"]] == [None, 0, 1, 1, 2]
    assert (found["max_similarity"] > 1 - 0.01).arg_true().to_list() == [1, 3]
    assert (found["max_similarity"] > 1 - 0.05).arg_true().to_list() == [1, 3, 4]


def test_the_papers_groups():
    """As above, but the pair of 2 and 3, .0999, connects 2 with what comes before it."""
    found = ran(frame(GOLDEN))
    expected = [0, 0.999, 0.0999, 0.99847, 0.98]
    assert found["max_similarity"].to_list() == pytest.approx(expected, abs=2e-4)
    assert [None if uid is None else int(uid, 16) for uid in found["neighbour"]] == [None, 0, 0, 0, 2]


def test_what_a_later_sample_connects():
    """Angles 0, 20, 10: the third is like both others. The paper keeps one of the three, the released code
    two."""
    angles = np.radians([0, 20, 10])
    rows = frame(np.stack([np.cos(angles), np.sin(angles)], 1))
    assert (ran(rows)["max_similarity"] > 0.98).to_list() == [False, True, True]
    assert (ran(rows, compat="released")["max_similarity"] > 0.98).to_list() == [False, False, True]


def test_which_is_the_best():
    rows = frame([(1, 0), (1, 0.01), (1, 0.02)], similarity=[0.8, 0.9, 0.7])
    best = {
        keep: ran(rows, keep=keep)["max_similarity"].to_list().index(0) for keep in ("hard", "easy", "random")
    }
    assert best == {"hard": 2, "easy": 1, "random": int(np.argmin(draw(0, rows["uid"])))}
    equal = frame([(1, 0), (1, 0.01)], similarity=[0.5, 0.5])
    assert ran(equal)["neighbour"].to_list() == [None, equal["uid"][0]]


def test_clusters_are_apart_and_bad_rows_have_a_reason():
    rows = frame([(1, 0), (1, 0), (1, 0), (0, 0), (np.nan, 0), (1, 0)], cluster=[1, 2, 1, 1, 2, 2])
    rows = rows.with_columns(pl.when(pl.col("row") != 5).then(pl.col("n.cluster")).alias("n.cluster"))
    found = ran(rows)
    assert found["max_similarity"].to_list() == [0, 0, 1, None, None, None]
    alone = Semantic(**FIELDS).group(rows[3:5])
    assert alone["error"].to_list() == ["a zero vector has no direction", "the embedding is not finite"]


def test_a_cluster_beyond_the_limit_is_compared_in_parts():
    rows = frame(np.ones((400, 4)))
    found = ran(rows, limit=100)
    assert (found["max_similarity"] == 0).sum() == 4
    assert ran(rows, limit=400)["max_similarity"].to_list().count(0) == 1


def test_order_needs_a_similarity():
    with pytest.raises(ValidationError, match="must have `similarity` if `keep` is easy"):
        Semantic(embedding="c.e", cluster="n.cluster", keep="easy")
    assert Semantic(embedding="c.e", cluster="n.cluster", keep="random").inputs() == (
        "uid",
        "c.e",
        "n.cluster",
    )


def brute_components(cosines: np.ndarray, bound: float) -> list[int]:
    """The first of each sample's group, by spreading the lowest number until nothing changes."""
    first = np.arange(len(cosines))
    while True:
        spread = np.array(
            [first[(row > bound) | (np.arange(len(first)) == at)].min() for at, row in enumerate(cosines)]
        )
        if (spread == first).all():
            return first.tolist()
        first = spread


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 16]))
def test_both_rules_beside_their_definitions(count, seed, width):
    """At every bound, also between blocks: kept are the firsts of the connected components, or those without
    a more similar earlier sample."""
    vectors = unit(np.random.default_rng(seed).normal(size=(count, width)))
    cosines = vectors.astype(float) @ vectors.T.astype(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("operators.algorithms.embeddings.semantic.BLOCK", 7)
        groups, neighbours = joins_earlier(vectors)
        released, places = nearest_earlier(vectors)
    for bound in (0.01, 0.3, 0.7, 0.95):
        if np.abs(cosines - bound).min() > 1e-6:
            firsts = brute_components(cosines, bound)
            assert [at for at in range(count) if groups[at] <= bound] == sorted(set(firsts))
            for at in np.flatnonzero(groups > bound):
                assert firsts[neighbours[at]] == firsts[at]
    expected = np.maximum(np.tril(cosines, -1).max(1), 0)
    np.testing.assert_allclose(released, expected, atol=1e-6)
    assert all(places[at] < at for at in range(count))


@pytest.mark.parametrize(
    ("distance", "firsts"),
    [
        (0.043630, [0, 1, 2, 3, 4, 4, 6, 7]),  # 2.5 degrees
        (0.069799, [0, 0, 0, 0, 4, 4, 6, 7]),  # 4 degrees: a chain, though its ends are 9 apart
        (0.174311, [0, 0, 0, 0, 4, 4, 6, 7]),  # 10 degrees
    ],
)
def test_groups_are_what_near_pairs_connect(distance, firsts):
    """GOLDENS.md: groups of vectors at angles, by the length of the chord."""
    angles = np.radians([0, 3, 6, 9, 40, 42, 90, 150])
    highest, place = joins_earlier(np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32))
    bound = 1 - distance**2 / 2

    def first(at: int) -> int:
        return first(place[at]) if highest[at] > bound else at

    assert [first(at) for at in range(8)] == firsts
