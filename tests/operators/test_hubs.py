"""Hubs: values by hand, the own caption left out, simulated prints among real and made pictures."""

import hashlib

import numpy as np
import polars as pl
import pytest

from operators.hubs import Bank, Hubness
from pipeline.operator import Device
from pipeline.uids import draw
from tests.support.paths import DATA

COLUMNS = {"image_embedding": "c.image", "text_embedding": "c.text"}
AXES = np.eye(4)
PICTURES = np.array([[1, 0, 0, 0], [0.9, 0.1, 0.1, 0.1], [1, 1, 1, 1], [1, 1, 0, 0]])


def pairs(images: np.ndarray, texts: np.ndarray, captions: list[str | None] | None = None) -> pl.DataFrame:
    count = len(images)
    width = images.shape[1]
    return pl.DataFrame(
        {
            "shard": ["s"] * count,
            "row": pl.Series(range(count), dtype=pl.UInt32),
            "text": captions or [f"caption {number}" for number in range(count)],
            "c.image": pl.Series(images, dtype=pl.Array(pl.Float32, width)),
            "c.text": pl.Series(texts, dtype=pl.Array(pl.Float32, width)),
        }
    )


def bank_of(rows: pl.DataFrame, **fields) -> pl.DataFrame:
    made = Bank(**COLUMNS, **fields)
    return made.finish(made.merge(made.partial(rows)))


def scored(rows: pl.DataFrame, bank: pl.DataFrame, **fields) -> pl.DataFrame:
    made = Hubness(image_embedding="c.image", bank="bank", **fields).model_copy()
    made.setup({"bank": bank}, Device())
    return made.score(rows)


def test_values_by_hand():
    """The bank's own pictures, one per axis but with a little of the others, have a median and a spread of
    which z is made."""
    own = AXES + np.array([[0, 0.1, 0, 0], [0, 0, 0.2, 0], [0.3, 0, 0, 0], [0, 0, 0.4, 0]])
    bank = bank_of(pairs(own, AXES))
    rows = pairs(PICTURES, AXES, ["x"] * 4)
    found = scored(rows, bank, quantile=0)
    assert found["mean"].to_list() == pytest.approx([0.25, 0.327327, 0.5, 0.353553], abs=1e-6)
    assert found["low"].to_list() == pytest.approx([0, 0.109109, 0.5, 0], abs=1e-6)
    assert scored(rows, bank, quantile=1)["low"].to_list() == pytest.approx(
        (PICTURES / np.linalg.norm(PICTURES, axis=1, keepdims=True)).max(1).tolist()
    )
    means = np.array([x / (1 + x * x) ** 0.5 / 3 for x in (0.1, 0.2, 0.3, 0.4)])
    spread = 1.4826 * np.median(np.abs(means - np.median(means)))
    expected = (np.array([0.25, 0.327327, 0.5, 0.353553]) - np.median(means)) / spread
    assert found["z"].to_list() == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_own_caption_is_left_out():
    """(1, 1, 1, 1) with a caption of the bank: three captions remain, all at .5. e1 with caption 0: at 0."""
    bank = bank_of(pairs(PICTURES, AXES))
    rows = pairs(
        np.array([[1.0, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]]), AXES[:3], ["caption 2", "caption 0", "x"]
    )
    found = scored(rows, bank, quantile=1)
    assert found["mean"].to_list() == pytest.approx([0.5, 0, 0.25])
    assert found["low"].to_list() == pytest.approx([0.5, 0, 1])


def test_equal_captions_are_in_the_bank_once():
    rows = pairs(np.tile(PICTURES, (50, 1)), np.tile(AXES, (50, 1)), ["a", "b", "c", None] * 50)
    assert sorted(bank_of(rows)["caption"]) == ["a", "b", "c"]
    many = pairs(np.tile(PICTURES, (500, 1)), np.tile(AXES, (500, 1)))
    first, second = (bank_of(many, size=700, seed=seed)["caption"] for seed in (0, 1))
    assert len(first) == 700
    assert 200 < len(set(first) & set(second)) < 290  # of 2,000, twice 700: 245 meet


def test_the_bank_is_the_captions_with_the_least_draws_of_their_md5():
    """Restated row by row, for a whole pool and for one in parts of which some have null embeddings."""
    rng = np.random.default_rng(0)
    images, texts = rng.standard_normal((2, 400, 8)).astype(np.float32)
    captions = [f"é {number % 300}" for number in range(400)]
    rows = pairs(images, texts, captions).with_columns(
        pl.when(pl.col("row") % 7 > 0).then("c.image").alias("c.image")
    )
    first = {captions[row]: row for row in reversed(range(400)) if row % 7}
    uids = {text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in first}
    least = sorted(first, key=lambda text: draw(5, pl.Series([uids[text]]))[0])[:50]
    wanted = sorted(least, key=uids.__getitem__)
    at = [first[text] for text in wanted]
    made = Bank(**COLUMNS, size=50, seed=5)
    parts = made.merge(pl.concat([made.partial(part) for part in (rows[:90], rows[90:371], rows[371:])]))
    for bank in (bank_of(rows, size=50, seed=5), made.finish(parts)):
        assert bank["caption"].to_list() == wanted
        for column, vectors in (("image", images[at]), ("text", texts[at])):
            norms = np.sqrt((vectors.astype(np.float64) ** 2).sum(1)).astype(np.float32)
            assert (bank[column].to_numpy() == vectors / norms[:, None]).all()


def test_pairs_without_both_embeddings_are_not_in_the_bank():
    images, texts = PICTURES.copy(), AXES.copy()
    images[0], texts[1, 0] = 0, np.nan
    assert sorted(bank_of(pairs(images, texts))["caption"]) == ["caption 2", "caption 3"]


def test_rows_without_a_direction_and_banks_without_a_spread():
    bank = bank_of(pairs(PICTURES, AXES))
    rows = pl.DataFrame(
        {
            "text": ["x"] * 3,
            "c.image": pl.Series([None, [0] * 4, [np.inf] * 4], dtype=pl.Array(pl.Float32, 4)),
        }
    )
    found = scored(rows, bank)
    assert found["z"].to_list() == found["mean"].to_list() == [None] * 3
    assert found["error"].to_list() == [None, *["image embedding is zero or not finite"] * 2]
    for few in (bank_of(pairs(PICTURES, AXES).clear()), bank_of(pairs(PICTURES[:1], AXES[:1]))):
        found = scored(pairs(PICTURES, AXES), few)
        assert found["low"].null_count() == 4
        assert found["error"][0] == "the bank says nothing: its pictures are too few or alike"
    with pytest.raises(ValueError, match=r"c\.image has 3 numbers per row, bank has 4"):
        scored(pairs(np.eye(3), np.eye(3)), bank)


def auroc(values: pl.Series, planted: np.ndarray) -> float:
    ranks = values.rank().to_numpy()
    count = planted.sum()
    return float((ranks[planted].sum() - count * (count + 1) / 2) / (count * (~planted).sum()))


def planted(images: np.ndarray, texts: np.ndarray, share: float) -> tuple[pl.DataFrame, np.ndarray]:
    """Pairs, every fiftieth picture of which is moved towards the mean direction of the captions."""
    moved = np.arange(len(images)) % 50 == 0
    images, mean = images.copy(), texts.mean(0)
    images[moved] = (1 - share) * images[moved] + share * mean / np.linalg.norm(mean)
    return pairs(images, texts), moved


def test_planted_prints_rank_first():
    """Made pairs with the gap between pictures and captions that CLIPs have."""
    rng = np.random.default_rng(0)
    images, texts = rng.standard_normal((2, 1000, 64))
    texts = texts + images
    images[:, 0] += 8
    texts[:, 1] += 12
    images, texts = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, texts))
    rows, moved = planted(images, texts, 0.4)
    found = scored(rows, bank_of(rows))
    assert auroc(found["z"], moved) == 1
    assert auroc(found["low"], moved) > 0.99
    assert np.abs(found["z"].to_numpy()[~moved]).max() < 6


@pytest.mark.skipif(not (DATA / "embeddings").is_dir(), reason="needs real features in shared/data")
def test_simulated_prints_among_real_pictures():
    """METHODS: moved 20 % towards the mean caption, robust z is 9.3; the highest of real pictures is 2.7."""
    images, texts = np.load(DATA / "embeddings/coco500_clip_vit_b16.npy")
    clean = scored(pairs(images, texts), bank_of(pairs(images, texts)))
    assert clean["mean"].mean() == pytest.approx(0.1616, abs=1e-4)
    assert clean["z"].max() == pytest.approx(2.7, abs=0.15)
    rows, moved = planted(images, texts, 0.2)
    found = scored(rows, bank_of(rows))
    assert found["z"].to_numpy()[moved].min() > 6
    assert found["z"].to_numpy()[~moved].max() < 6
    assert auroc(found["z"], moved) == 1


def test_evidence_names_the_nearest_captions():
    bank = bank_of(pairs(PICTURES, AXES))
    made = Hubness(image_embedding="c.image", bank="bank")
    shown = made.evidence(pairs(PICTURES, AXES)[1:2], {"bank": bank}, {})
    assert shown["caption"][0] == "caption 0"
    assert shown["cosine"][0] == pytest.approx(0.981981, abs=1e-6)
    empty = pl.DataFrame({"c.image": pl.Series([None], dtype=pl.Array(pl.Float32, 4))})
    assert made.evidence(empty, {"bank": bank}, {}).is_empty()


def test_a_small_bank_is_warned_of():
    assert Bank(**COLUMNS).warnings() == ()
    assert "size 100" in Bank(**COLUMNS, size=100).warnings()[0]
