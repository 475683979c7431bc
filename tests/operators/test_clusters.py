"""Clusters of embeddings, and balancing by their sizes."""

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.algorithms.embeddings.clusters import copies, factor, least_draws
from operators.clusters import Balance, Centroids, Nearest, Sizes
from pipeline.operator import Device
from pipeline.threads import faiss_threads
from pipeline.uids import draw
from tests.support.samples import samples


def frame(vectors) -> pl.DataFrame:
    return samples(len(vectors)).with_columns(pl.Series("c.e", np.asarray(vectors, np.float32)))


def around(centres, each: int, seed: int = 0) -> np.ndarray:
    """`each` vectors near every centre, one centre after the other."""
    noise = np.random.default_rng(seed).normal(0, 0.05, (len(centres) * each, len(centres[0])))
    return np.repeat(np.asarray(centres, float), each, 0) + noise


def table(rows: pl.DataFrame, **fields) -> pl.DataFrame:
    stat = Centroids(embedding="c.e", **fields)
    return stat.finish(stat.partial(rows))


def nearest(rows: pl.DataFrame, centres: pl.DataFrame) -> pl.DataFrame:
    operator = Nearest(embedding="c.e", centroids="t")
    operator.setup({"t": centres}, Device())
    return operator.score(rows)


# --- centres ---------------------------------------------------------------------------------------


def test_planted_clusters_are_found():
    rows = frame(around(5 * np.eye(4), 50))
    centres = table(rows, k=4, size=120)
    assert centres["samples"].sum() == 120
    vectors = centres["vector"].to_numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.sort(vectors.max(1)), 1, atol=1e-3)
    clusters = nearest(rows, centres)["cluster"].to_numpy().reshape(4, 50)
    assert (clusters == clusters[:, :1]).all()
    assert sorted(clusters[:, 0]) == [0, 1, 2, 3]


def test_threads_change_nothing():
    rows = frame(around(np.eye(24), 40))
    found = []
    for threads in (1, 3):
        with faiss_threads(threads):
            found.append(table(rows, k=40, size=900))
    assert found[0].equals(found[1])


def test_a_small_pool_has_fewer_clusters():
    assert table(frame(np.eye(3)), k=5)["samples"].to_list() == [1, 1, 1]
    empty = table(frame(np.eye(3)).clear(), k=5)
    assert len(empty) == 0
    found = nearest(frame(np.eye(3)), empty)
    assert found["cluster"].null_count() == 3


def test_the_sample_is_drawn_by_uid_and_each_uid_once():
    rows = samples(60)
    twice = pl.concat([rows, rows.with_columns(shard=pl.lit("a"))])
    drawn = least_draws(twice, 3, 20)
    assert drawn["shard"].to_list() == ["a"] * 20
    assert set(drawn["uid"]) == set(rows["uid"].gather(np.argsort(draw(3, rows["uid"]))[:20]))


def test_the_nearest_centre_and_its_cosine():
    centres = pl.DataFrame({"vector": pl.Series(np.eye(2, dtype=np.float32))})
    found = nearest(frame([[3, 4], [0, 0], [1, 0], [np.inf, 0], [-1, -2]]), centres)
    assert found["cluster"].to_list() == [1, None, 0, None, 0]
    assert found["similarity"].to_list() == pytest.approx([0.8, None, 1, None, -1 / 5**0.5])
    assert found["error"].to_list() == [
        None,
        "a zero vector has no direction",
        None,
        "the embedding is not finite",
        None,
    ]
    with pytest.raises(ValueError, match=r"^embedding: c\.e has 3 numbers per row, t has 2$"):
        nearest(frame(np.eye(3)), centres)


def test_a_sample_that_is_small_for_its_clusters_is_warned_of():
    assert Centroids(embedding="c.e", k=100, size=3900).warnings() == ()
    (text,) = Centroids(embedding="c.e", k=100, size=1000).warnings()
    assert text.startswith("size 1,000 are 10 samples per cluster, fewer than 39")


# --- balance ---------------------------------------------------------------------------------------

COUNTS = np.array([1000, 100, 10])


def test_balance_by_hand():
    """See GOLDENS.md."""
    assert factor(COUNTS, 0.5, 100, 300) == pytest.approx(6.698663, abs=1e-6)
    assert copies(COUNTS, 0.5, 100, 300) == pytest.approx([0.211830, 0.669866, 2.118303], abs=1e-6)
    assert copies(COUNTS, 0.5, 2, 300) == pytest.approx([0.212729, 0.672709, 2], abs=1e-6)


def test_alpha_0_takes_as_many_of_each_and_alpha_1_the_same_share():
    assert copies(COUNTS, 0, 1, 210) == pytest.approx([0.1, 1, 1])
    assert copies(COUNTS, 1, 1, 111) == pytest.approx([0.1, 0.1, 0.1])
    assert copies(COUNTS, 0.5, 2, 2220).tolist() == [2, 2, 2]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    st.floats(0, 1),
    st.integers(1, 5),
    st.floats(0.001, 1),
)
@example([1, 20682], 0.168, 1, 1 - 2**-53)  # rounding lifts the largest cluster over the cap
def test_the_target_is_met_and_the_order_of_clusters_kept(counts, alpha, cap, share):
    counts = np.sort(counts)
    target = share * cap * counts.sum()
    taken = copies(counts, alpha, cap, target)
    assert (counts * taken).sum() == pytest.approx(target, rel=1e-9)
    assert (taken <= cap).all()
    assert (np.diff(counts * taken) >= -1e-6 * target).all()
    assert (np.diff(taken[counts > 0]) <= 1e-9).all()


def test_draws_have_the_mean_and_depend_on_the_uid():
    rows = samples(20_000).with_columns(pl.Series("n.cluster", np.repeat([7, 3], [18_000, 2_000]), pl.Int32))
    stat = Sizes(cluster="n.cluster")
    counts = stat.finish(stat.merge(pl.concat([stat.partial(rows[:500]), stat.partial(rows[500:])])))
    assert counts.rows() == [(3, 2_000), (7, 18_000)]
    operator = Balance(cluster="n.cluster", sizes="s", target=9_000, alpha=0, cap=2)
    operator.setup({"s": counts}, Device())
    found = operator.score(rows)
    assert found["probability"].unique().sort().to_list() == pytest.approx([5_000 / 18_000, 1])
    assert found["repeats"][18_000:].unique().to_list() == [2]
    assert abs(found["repeats"][:18_000].sum() - 5_000) < 200
    assert found["repeats"][:18_000].max() == 1
    chosen = draw(0, rows["uid"][:18_000]) >= 1 - 5_000 / 18_000
    assert (found["repeats"][:18_000].to_numpy() == chosen).all()
