"""negCLIPLoss: a golden value in both forms (GOLDENS.md), what the reference is, and no number that
overflows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.negcliploss import NegClipLoss, Reference, neg_clip_loss
from pipeline.operator import Device
from tests.support.samples import uid

COLUMNS = {"image_embedding": "c.image", "text_embedding": "c.text"}
IMAGES, TEXTS = [[1, 0], [0, 1], [0.6, 0.8]], [[0.8, 0.6], [0, 1], [1, 0]]
GOLDEN = [-0.196667, -0.007258, -0.391229]


def frame(images, texts, dtype=np.float32) -> pl.DataFrame:
    images, texts = (np.asarray(v, dtype).reshape(len(v), -1) for v in (images, texts))
    return pl.DataFrame(
        {
            "shard": ["s"] * len(images),
            "row": pl.Series(range(len(images)), dtype=pl.UInt32),
            "uid": [uid("s", row) for row in range(len(images))],
            "c.image": images,
            "c.text": texts,
        }
    )


def drawn(rows: int, dimensions: int, seed: int = 0) -> pl.DataFrame:
    """Pairs that fit more or less, as CLIP's do."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((rows, dimensions))
    texts = images * rng.uniform(0, 1, (rows, 1)) + rng.standard_normal((rows, dimensions))
    return frame(*(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, texts)), np.float16)


def table(rows: pl.DataFrame, **parameters) -> pl.DataFrame:
    stat = Reference(**COLUMNS, **parameters)
    return stat.finish(stat.partial(rows))


def scores(
    rows: pl.DataFrame, reference: pl.DataFrame, temperature=0.01, threads=1, device="cpu"
) -> pl.DataFrame:
    operator = NegClipLoss(**COLUMNS, reference="r", temperature=temperature)
    operator.setup({"r": reference}, Device(device, threads))
    return operator.score(rows)


def test_golden_in_one_batch():
    np.testing.assert_allclose(neg_clip_loss(np.array(IMAGES), np.array(TEXTS), 0.1), GOLDEN, atol=5e-7)


def test_golden_with_the_whole_pool_as_reference():
    """A row counts once in its own sums: the two forms agree if the reference is the batch."""
    rows = frame(IMAGES, TEXTS)
    found = scores(rows, table(rows, batches=1, batch_size=3), 0.1)
    np.testing.assert_allclose(found["score"], GOLDEN, atol=1e-6)
    assert found["error"].null_count() == 3


@settings(max_examples=15)
@given(st.integers(2, 700), st.sampled_from([0.01, 0.07, 1.0]), st.integers(0, 9))
def test_the_two_forms_agree(rows, temperature, seed):
    pool = drawn(rows, 8, seed)
    images, texts = (pool[n].to_numpy().astype(np.float64) for n in ("c.image", "c.text"))
    images, texts = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, texts))
    found = scores(pool, table(pool, batches=1, batch_size=rows), temperature)["score"]
    np.testing.assert_allclose(found, neg_clip_loss(images, texts, temperature), atol=2e-6)


def test_the_average_over_batches():
    pool = drawn(60, 8)
    reference = table(pool, batches=4, batch_size=10)
    assert reference["batch"].to_list() == [b for b in range(4) for _ in range(10)]
    each = [scores(pool, reference.filter(pl.col("batch") == b))["score"] for b in range(4)]
    np.testing.assert_allclose(scores(pool, reference)["score"], np.mean(each, 0), atol=1e-6)


def test_it_is_the_released_score_on_average():
    """Ten drawn batches against ten times all samples dealt into batches of that size, as the released code
    does it: the two differ by no more than two such runs do."""
    pool, size = drawn(4000, 16), 500
    images, texts = (pool[n].to_numpy().astype(np.float64) for n in ("c.image", "c.text"))

    def released(seed: int) -> np.ndarray:
        rng, total = np.random.default_rng(seed), np.zeros(len(images))
        for _ in range(10):
            for rows in rng.permutation(len(images)).reshape(-1, size):
                total[rows] += neg_clip_loss(images[rows], texts[rows], 0.01)
        return total / 10

    one, two = released(0), released(1)
    ours = scores(pool, table(pool, batches=8, batch_size=size))["score"].to_numpy()
    apart = np.sqrt(np.mean((one - two) ** 2))
    assert np.sqrt(np.mean((ours - one) ** 2)) < 2 * apart
    assert abs(ours.mean() - one.mean()) < 0.1 * ours.std()
    assert np.corrcoef(ours, one)[0, 1] > 0.99


def test_over_blocks_that_do_not_fit(monkeypatch):
    """Two rows more than two blocks of the product; each row meets itself in the block that holds it."""
    monkeypatch.setattr("operators.negcliploss.BLOCK", 64)
    pool = drawn(140, 4)
    reference = table(pool, batches=1, batch_size=130)
    inside = pool.filter(pool["uid"].is_in(reference["uid"].implode()))
    images, texts = (inside[n].to_numpy().astype(np.float64) for n in ("c.image", "c.text"))
    images, texts = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, texts))
    found = scores(inside, reference)["score"]
    np.testing.assert_allclose(found, neg_clip_loss(images, texts, 0.01), atol=2e-6)


def test_nothing_overflows():
    """Cosines of 1 over 0.01 are e^100, past float32; equal pairs all over score minus the log of their
    number."""
    rows = frame([[1, 0]] * 50, [[1, 0]] * 50)
    found = scores(rows, table(rows, batches=1, batch_size=50), 0.01)["score"]
    np.testing.assert_allclose(found, -0.01 * np.log(50), atol=1e-6)
    apart = frame([[1, 0]] * 50, [[-1, 0]] * 50)
    np.testing.assert_allclose(
        scores(apart, table(apart, batches=1, batch_size=50), 0.001)["score"], -0.001 * np.log(50), atol=1e-6
    )


def test_rows_without_a_direction():
    rows = drawn(6, 4).with_row_index("i")
    zero, nan = (
        pl.lit([0.0] * 4, pl.Array(pl.Float16, 4)),
        pl.lit([float("nan")] * 4, pl.Array(pl.Float16, 4)),
    )
    at = pl.col("i")
    broken = rows.with_columns(
        pl.when(at == 0).then(zero).when(at == 1).then(nan).when(at != 2).then("c.image").alias("c.image"),
        pl.when(at == 3).then(zero).otherwise("c.text").alias("c.text"),
    ).drop("i")
    reference = table(broken, batches=1, batch_size=6)
    assert len(reference) == 2
    assert set(reference["uid"]) == set(rows["uid"][4:])
    found = scores(broken, reference)
    assert found["score"].is_null().to_list() == [True] * 4 + [False] * 2
    image, text = (f"{side} embedding is zero or not finite" for side in ("image", "text"))
    assert found["error"].to_list() == [image, image, None, text, None, None]
    exact = scores(rows.drop("i")[4:], reference)
    assert found["score"][4:].to_list() == exact["score"].to_list()


def test_threads_and_sizes_change_nothing():
    pool = drawn(700, 16)
    reference = table(pool, batches=2, batch_size=100)
    whole = scores(pool, reference)
    assert scores(pool, reference, threads=3).equals(whole)
    assert scores(pool, reference, device="cpu:0").equals(whole)  # the way of a GPU: all at once, no threads
    parts = [scores(pool[a : a + 97], reference) for a in range(0, 700, 97)]
    assert pl.concat(parts).equals(whole)


def test_the_reference_is_the_lowest_draws_each_uid_once():
    from pipeline.uids import draw

    pool = drawn(40, 4)
    lowest = pool["uid"].gather(np.argsort(draw(5, pool["uid"]))).to_list()
    assert table(pool, batches=2, batch_size=7, seed=5)["uid"].to_list() == lowest[:14]
    assert (
        table(pl.concat([pool, pool.reverse()]), batches=2, batch_size=7, seed=5)["uid"].to_list()
        == lowest[:14]
    )
    more = table(pool, batches=3, batch_size=7, seed=5)
    assert more.filter(pl.col("batch") < 2).equals(table(pool, batches=2, batch_size=7, seed=5))


@pytest.mark.parametrize(("rows", "sizes"), [(20, [7, 7]), (6, [6]), (7, [7]), (0, [])])
def test_batches_are_of_one_size(rows, sizes):
    found = table(drawn(20, 4)[:rows], batches=5, batch_size=7)
    assert found.group_by("batch", maintain_order=True).len()["len"].to_list() == sizes


def test_without_a_reference_there_is_the_plain_score():
    pool = drawn(5, 4)
    found = scores(pool, table(pool[:0]))["score"]
    assert found.null_count() == 0


def test_of_two_widths():
    reference = table(drawn(9, 8), batches=1, batch_size=9)
    with pytest.raises(ValueError, match=r"must be of one width, got \[4, 8\]"):
        scores(drawn(9, 4), reference)


def test_a_generic_caption_scores_lower():
    """Two pairs of one cosine: the one whose caption fits every image as well goes first."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((200, 32)) + 1.5  # a cone, as CLIP's
    texts = images + rng.standard_normal((200, 32))
    images, texts = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, texts))
    mean = images.mean(0) / np.linalg.norm(images.mean(0))
    cosines = (images * texts).sum(1)
    generic = int(np.argmin(np.abs(images @ mean - np.median(cosines))))
    special = int(np.argmin(np.abs(np.delete(cosines, generic) - images[generic] @ mean)))
    special += special >= generic
    texts[generic] = mean
    found = neg_clip_loss(images, texts, 0.01)
    assert abs((images * texts).sum(1)[[generic, special]] @ [1, -1]) < 0.02
    assert found[special] - found[generic] > 0.02
