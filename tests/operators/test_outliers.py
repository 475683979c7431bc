"""Backdoor outliers: golden values (GOLDENS.md), dense float64, duplicates, odd rows, the reference."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import outliers
from operators.algorithms.embeddings.neighbours import Points
from operators.algorithms.embeddings.outliers import SCORES, lid, published, scores
from operators.outliers import Reference
from pipeline.operator import Device
from pipeline.uids import draw
from tests.support.samples import samples

LINE = np.array([[0.0], [1], [2], [3], [10]])
CLASSES = (outliers.KDistance, outliers.Slof, outliers.Lid, outliers.Dao)


def frame(vectors: np.ndarray, **columns: object) -> pl.DataFrame:
    """Rows with these embeddings."""
    embedding = pl.Series(vectors) if len(vectors) else pl.Series([], dtype=pl.Array(pl.Float32, 2))
    return samples(len(vectors)).with_columns(pl.Series("e.v", embedding), **columns)


def table(rows: pl.DataFrame, **fields: object) -> pl.DataFrame:
    """The reference of rows, not normalised."""
    stat = Reference(**{"embedding": "e.v", "normalise": False, **fields})
    return stat.finish(stat.merge(stat.partial(rows)))


def scored(
    rows: pl.DataFrame, reference: pl.DataFrame, cls: type = outliers.Slof, **fields: object
) -> pl.DataFrame:
    made = cls(embedding="e.v", reference="r", **fields).model_copy()
    made.setup({"r": reference}, Device())
    return made.score(rows)


def all_four(rows: pl.DataFrame, reference: pl.DataFrame) -> dict[str, np.ndarray]:
    found = [scored(rows, reference, cls)["score"].to_numpy() for cls in CLASSES]
    return dict(zip(SCORES, found, strict=True))


def dense(queries: np.ndarray, points: np.ndarray, k: int, *, same: bool) -> dict[str, np.ndarray]:
    """The definitions of Huang et al. 2025 (see GOLDENS.md), word for word, all pairs in float64."""

    def nearest(x: np.ndarray, own: bool) -> tuple[np.ndarray, np.ndarray]:
        squared = (x**2).sum(1)[:, None] + (points**2).sum(1) - 2 * x @ points.T
        if own:
            np.fill_diagonal(squared, np.inf)
        ids = np.argsort(squared, axis=1)[:, :k]
        return np.sqrt(np.take_along_axis(squared, ids, 1)), ids

    def lids(r: np.ndarray) -> np.ndarray:
        return -1 / np.mean(np.log(r / r[:, -1:] + 1e-4), axis=1)

    queries, points = queries.astype(float), points.astype(float)
    theirs, own = nearest(points, True)
    r, ids = (theirs, own) if same else nearest(queries, False)
    ratios = r[:, -1:] / theirs[:, -1][ids]
    dao = np.mean(lids(theirs)[ids] * np.log(ratios), axis=1)
    return dict(zip(SCORES, (r[:, -1], ratios.mean(1), lids(r), dao), strict=True))


# --- golden values -----------------------------------------------------------------------------------


def test_golden_values_as_defined():
    """Points 0, 1, 2, 3, 10, k = 2: worked out in GOLDENS.md."""
    rows = frame(LINE)
    found = all_four(rows, table(rows, k=2))
    np.testing.assert_allclose(found["k_distance"], [2, 1, 1, 2, 8])
    np.testing.assert_allclose(found["slof"], [2, 0.75, 0.75, 2, 6])


def test_golden_values_as_published():
    found = published(LINE, 2)
    np.testing.assert_allclose(found["k_distance"], [3, 2, 2, 3, 9])
    np.testing.assert_allclose(found["slof"], [2.25, 1.5, 2, 3, 6.75])
    np.testing.assert_allclose(found["dao"], [0.160224, 0.075258, 0.150517, 0.238563, 0.39044], atol=1e-6)


def test_published_code_with_texts():
    """Images 0, 1, 3 and their texts 10, 11, 13, k = 1. Of row 0 both 0 and 10 are left out: 1 (at 1) and 3
    (at 3) are next, and its one neighbour is the first of the list without 0: taken for point 0, whose own is
    at 1."""
    found = published(np.array([[0.0], [1], [3]]), 1, np.array([[10.0], [11], [13]]))
    np.testing.assert_allclose(found["k_distance"], [3, 2, 3])
    np.testing.assert_allclose(found["slof"], [3, 2, 3])


def test_four_scores_equal_dense_float64_on_5000_points():
    points = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)
    found = all_four(frame(points), table(frame(points), size=5000))
    for name, expected in dense(points, points, 64, same=True).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


def test_rows_outside_the_reference_equal_dense_float64():
    rng = np.random.default_rng(1)
    points, others = rng.normal(size=(2, 300, 16)).astype(np.float32)
    rows = frame(others).with_columns(uid=pl.Series([f"{n:032x}" for n in range(300)]))
    found = all_four(rows, table(frame(points), k=5))
    for name, expected in dense(others, points, 5, same=False).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


def test_operators_of_a_worker_share_one_search(monkeypatch):
    calls = []
    nearest = Points.nearest
    monkeypatch.setattr(Points, "nearest", lambda *a: calls.append(1) or nearest(*a))
    rows = frame(np.random.default_rng(0).normal(size=(60, 4)))
    reference = table(rows, size=20, k=3, draws=2)
    made = [cls(embedding="e.v", reference="r").model_copy() for cls in CLASSES]
    for operator in made:
        operator.setup({"r": reference.clone()}, Device())
    calls.clear()
    for part in (rows[:30], rows[30:]):
        for operator in made:
            operator.score(part)
    assert len(calls) == 2 * 2  # batches times draws


# --- what is scored ------------------------------------------------------------------------------------


def test_duplicates_have_finite_scores():
    """Ten copies of one vector, k = 3: a copy is as dense as its neighbours; what is near them is at the
    cap."""
    rows = frame(np.array([[0.0, 0.0]] * 10 + [[0.0, 1.0], [5.0, 0.0]]))
    found = all_four(rows, table(rows, k=3))
    assert all(np.isfinite(values).all() for values in found.values())
    for name, expected in {"k_distance": 0, "slof": 1, "lid": -1 / np.log(1e-4), "dao": 0}.items():
        np.testing.assert_allclose(found[name][:10], expected)
    np.testing.assert_allclose(found["slof"][10:], 1000)
    np.testing.assert_allclose(found["lid"][10:], 1000)  # at three equal distances
    np.testing.assert_allclose(found["dao"][10:], np.log(1000) / -np.log(1e-4))


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=8), st.floats(0, 1e6), st.floats(0, 1000))
def test_scores_are_finite_and_within_their_bounds(distances, theirs, dimension):
    r = np.sort(np.array(distances))
    found = scores(r, np.full(len(r), theirs), np.full(len(r), dimension))
    assert 0 <= found["k_distance"] <= 1e6
    assert 1e-3 <= found["slof"] <= 1000
    assert 0 < found["lid"] <= 1000
    assert abs(found["dao"]) <= 1000 * np.log(1000)
    assert lid(r) == found["lid"]


@pytest.mark.parametrize("normalise", [True, False])
def test_rows_without_a_usable_vector(normalise):
    good = np.random.default_rng(0).normal(size=(20, 2))
    rows = frame(np.concatenate([good, [[np.nan, 1], [np.inf, 0], [0, 0]]])).with_columns(
        pl.when(pl.col("row") != 3).then(pl.col("e.v")).alias("e.v")
    )
    reference = table(rows, normalise=normalise, k=3)
    assert len(reference) == (19 if normalise else 20)
    found = scored(rows, reference)
    expected = ["the embedding is not finite"] * 2 + ["a zero vector has no direction" if normalise else None]
    assert found["error"].to_list() == [None] * 20 + expected
    missing = [3, 20, 21, *([22] if normalise else [])]
    assert found["score"].is_null().arg_true().to_list() == missing


@pytest.mark.parametrize(("rows", "k"), [(5, 4), (2, 1), (1, 0), (0, 0)])
def test_fewer_rows_than_k(rows, k):
    """As many neighbours as every point has; with none, no score and a reason."""
    pool = frame(np.random.default_rng(0).normal(size=(rows, 2)))
    reference = table(pool)
    assert reference["k"].to_list() == [k] * rows
    asked = frame(np.random.default_rng(1).normal(size=(6, 2)))
    found = scored(asked, reference)
    assert found["score"].null_count() == (0 if k else 6)
    assert found["error"].to_list() == [None if k else "the reference has too few samples"] * 6
    if k:
        expected = dense(asked["e.v"].to_numpy()[-1:], pool["e.v"].to_numpy(), k, same=False)["slof"]
        np.testing.assert_allclose(found["score"].to_numpy()[-1:], expected, rtol=1e-5)


def test_own_lengths_are_embedding_times_norm():
    rng = np.random.default_rng(0)
    units = rng.normal(size=(50, 8))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    norms = rng.uniform(5, 15, 50).astype(np.float32)
    stored = frame(units.astype(np.float32), **{"e.n": pl.Series(norms)})
    whole = frame(units.astype(np.float32) * norms[:, None])
    one = scored(stored, table(stored, norm="e.n", k=4), norm="e.n")
    assert one.equals(scored(whole, table(whole, k=4)))
    unit = scored(stored, table(stored, normalise=True, k=4))["score"].to_numpy()
    np.testing.assert_allclose(scored(whole, table(whole, normalise=True, k=4))["score"], unit, rtol=1e-4)
    assert np.abs(unit - one["score"].to_numpy()).max() > 0.1


def test_lengths_are_never_taken_silently():
    units = np.eye(8)[np.arange(40) % 8] + 1e-5
    with pytest.raises(ValueError, match=r"normalise: false, but all of e.v has length 1"):
        table(frame(units))
    with pytest.raises(ValueError, match="normalise"):
        Reference(embedding="e.v")
    stored = frame(units, **{"e.n": pl.Series(np.linspace(5, 9, 40))})
    with pytest.raises(ValueError, match=r"^must have `norm`, as it has \(reference: r\)"):
        scored(stored, table(stored, norm="e.n", k=3))
    with pytest.raises(ValueError, match=r"^must not have `norm`: it has none"):
        scored(stored, table(stored, normalise=True, k=3), norm="e.n")


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"normalise": True, "norm": "e.n"}, "must not have `norm`"),
        ({"text_norm": "e.m"}, "must have `text_embedding` if `text_norm` is given"),
        ({"norm": "e.n", "text_embedding": "t.v"}, "must have both"),
        ({"size": 0}, "greater than or equal to 1"),
        ({"assumed_rate": 0}, "greater than 0"),
    ],
)
def test_fields_that_do_not_fit(fields, part):
    with pytest.raises(ValueError, match=part):
        Reference(**{"embedding": "e.v", "normalise": False, **fields})


def test_another_width():
    rows = frame(np.random.default_rng(0).normal(size=(20, 3)))
    with pytest.raises(ValueError, match="has 3 numbers per row, r has 2"):
        scored(rows, table(frame(np.random.default_rng(0).normal(size=(20, 2))), k=2))


# --- the reference -------------------------------------------------------------------------------------


def test_draws_are_the_least_by_seed_and_uid():
    rows = frame(np.random.default_rng(0).normal(size=(500, 2)))
    reference = table(rows, size=50, draws=3, seed=7)
    assert reference.group_by("draw").len().sort("draw").rows() == [(0, 50), (1, 50), (2, 50)]
    for number, part in enumerate(reference.partition_by("draw", maintain_order=True)):
        chosen = np.argsort(draw(7 + number, rows["uid"]))[:50]
        assert part["uid"].to_list() == sorted(rows["uid"][chosen].to_list())
    assert not table(rows, size=50, draws=1, seed=10)["uid"].equals(reference["uid"][:50])


def test_a_score_is_the_mean_over_draws():
    rows = frame(np.random.default_rng(0).normal(size=(300, 2)))
    both = table(rows, size=40, k=4, draws=2)
    singles = [table(rows, size=40, k=4, draws=1, seed=seed) for seed in (0, 1)]
    each = [all_four(rows, single) for single in singles]
    for name, found in all_four(rows, both).items():
        np.testing.assert_allclose(found, (each[0][name] + each[1][name]) / 2, rtol=1e-12)


def test_a_uid_that_occurs_twice_counts_once_and_never_meets_itself():
    vectors = np.random.default_rng(0).normal(size=(30, 2))
    rows = frame(np.concatenate([vectors, vectors[:5]]))
    rows = rows.with_columns(uid=pl.concat([rows["uid"][:30], rows["uid"][:5]]))
    reference = table(rows, k=3)
    assert len(reference) == 30
    found = scored(rows, reference, outliers.KDistance)["score"]
    assert found[30:].equals(found[:5])
    assert (found > 0).all()


def test_images_and_texts():
    """A row's own text is left out, others' texts count; a sample without a text has one point."""
    image, text = np.array([[0.0], [10], [20], [30]]), np.array([[0.5], [11], [20], [np.nan]])
    rows = frame(image, **{"t.v": pl.Series(text)})
    reference = table(rows, text_embedding="t.v", k=2)
    assert reference.group_by("modality").len().sort("modality").rows() == [("image", 4), ("text", 3)]
    found = scored(rows, reference, outliers.KDistance)["score"].to_list()
    assert found == [11, 10, 10, 10]


def test_isolation_forest_is_scikit_learns():
    forest = pytest.importorskip("sklearn.ensemble").IsolationForest
    vectors = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    rows = frame(vectors)
    found = scored(rows, table(rows, k=3), outliers.IsolationForest, trees=30, seed=2)["score"].to_numpy()
    order = np.argsort(rows["uid"].to_numpy())
    expected = forest(n_estimators=30, random_state=2).fit(vectors[order]).score_samples(vectors)
    np.testing.assert_allclose(found, -expected)
    assert len(scored(rows.clear(), table(rows, k=3), outliers.IsolationForest)) == 0
