"""A first look: the probe finds what is planted, says what it costs, and spares the expensive operator."""

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from operators import text
from operators.first_look import Probe, Worthwhile
from operators.text import TextBoxes
from pipeline.operator import Device
from pipeline.plan.keys import cache_key, parameters
from pipeline.uids import draw

WIDTH = 16
BOX = np.array([[0, 0], [8, 0], [8, 8], [0, 8]], np.int32)
PROBE = {"embedding": "c.e", "found": "s.characters"}


def pool(count: int, seed: int = 0, noise: float = 0.1) -> pl.DataFrame:
    """Embeddings whose first number tells, but for noise, whether the picture has text: three in ten."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, WIDTH))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    has_text = rows[:, 0] + noise * rng.standard_normal(count) > 0.13
    return pl.DataFrame(
        {
            "uid": [f"{int(number):032x}" for number in rng.integers(2**62, size=count)],
            "shard": ["s"] * count,
            "row": pl.Series(range(count), dtype=pl.UInt32),
            "c.e": pl.Series(rows, dtype=pl.Array(pl.Float16, WIDTH)),
            "s.characters": pl.Series(np.where(has_text, rng.integers(1, 90, count), 0), dtype=pl.UInt32),
        }
    )


def probe_of(rows: pl.DataFrame, **fields) -> pl.DataFrame:
    made = Probe(**{**PROBE, **fields})
    return made.finish(made.merge(made.partial(rows)))


def looked(rows: pl.DataFrame, probe: pl.DataFrame) -> pl.DataFrame:
    made = Worthwhile(embedding="c.e", probe="probe").model_copy()
    made.setup({"probe": probe}, Device())
    return made.score(rows)


@pytest.mark.parametrize("recall", [0.8, 0.98])
def test_what_the_probe_says_of_itself_holds_for_pictures_it_has_not_seen(recall):
    """On 20,000 others: within three standard deviations of the share that it was to keep."""
    table = probe_of(pool(4000), recall=recall)
    others = pool(20_000, seed=1)
    found = looked(others, table)["worthwhile"].to_numpy()
    has_text = (others["s.characters"] > 0).to_numpy()
    kept = found[has_text].mean()
    spread = (recall * (1 - recall) / table["found"][0]) ** 0.5
    assert table["recall"][0] == pytest.approx(recall, abs=1e-3)
    assert abs(kept - recall) < 3 * spread
    assert abs((~found).mean() - table["skipped"][0]) < 0.03
    assert (~found).mean() > 0.3


def test_the_weights_are_those_of_scikit_learn():
    """At the penalty that the held-out fifth prefers, on the rows in the order of their uids."""
    from sklearn.linear_model import LogisticRegression

    rows = pool(3000, noise=0.3)
    table = probe_of(rows)
    ordered = rows.sort("uid")
    vectors = ordered["c.e"].to_numpy().astype(np.float32)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    fits = [
        LogisticRegression(C=c, solver="newton-cholesky").fit(vectors, ordered["s.characters"] > 0)
        for c in (0.01, 0.1, 1, 10, 100)
    ]
    nearest = min(np.abs(fit.coef_[0] - table["weight"].to_numpy()[0]).max() for fit in fits)
    assert nearest < 1e-4


def test_little_text_does_not_count_below_the_bound():
    rows = pool(3000)
    assert probe_of(rows, least=1000)["found"].to_list() == [0]
    some = probe_of(rows, least=45)["found"][0]
    assert some == (rows["s.characters"] >= 45).sum()


@pytest.mark.parametrize("characters", [0, 5])
def test_a_probe_that_has_nothing_to_learn_from_lets_everything_through(characters):
    rows = pool(500).with_columns(pl.lit(characters, pl.UInt32).alias("s.characters"))
    table = probe_of(rows)
    assert table["bound"].to_list() == [-np.inf]
    assert looked(rows, table)["worthwhile"].all()
    assert table["skipped"].to_list() == [0]


def test_rows_without_an_answer_or_an_embedding_are_not_in_the_sample():
    rows = pool(600).with_columns(
        pl.when(pl.col("row") % 3 > 0).then("s.characters").alias("s.characters"),
        pl.when(pl.col("row") % 5 > 0).then("c.e").alias("c.e"),
    )
    assert probe_of(rows)["pictures"].to_list() == [320]
    assert probe_of(rows, size=100)["pictures"].to_list() == [100]


def test_a_row_without_an_embedding_is_not_judged():
    rows = pool(600)
    table = probe_of(rows)
    zero = pl.Series([[0.0] * WIDTH, None], dtype=pl.Array(pl.Float16, WIDTH))
    found = looked(pl.DataFrame({"c.e": zero}), table)
    assert found["worthwhile"].to_list() == [None, None]
    assert found["error"].to_list() == ["image embedding is zero or not finite", None]
    with pytest.raises(ValueError, match=r"c\.e has 2 numbers per row, probe has 16"):
        looked(pl.DataFrame({"c.e": pl.Series([[1.0, 0]], dtype=pl.Array(pl.Float16, 2))}), table)


class Counting:
    """A reader that notes the pictures it is given, and reads one line in each."""

    def __init__(self, *settings: object) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, images):
        self.seen += images
        return [[text.Line(BOX, 0.9, False, "word", 0.9)] for _ in images]


def read(monkeypatch, rows: pl.DataFrame, images, **fields) -> tuple[pl.DataFrame, int]:
    monkeypatch.setattr(text, "TextReader", Counting)
    made = TextBoxes(**fields).model_copy()
    made.setup({}, Device())
    return made.score(rows, images), len(made._reader.seen)


def test_pictures_that_are_not_worthwhile_are_not_read_and_count_as_without_text(monkeypatch):
    images = [np.zeros((16, 16, 3), np.uint8)] * 3 + [None]
    rows = pl.DataFrame({"uid": ["0" * 32] * 4, "look.worthwhile": [True, False, None, False]})
    found, seen = read(monkeypatch, rows, images, only="look.worthwhile")
    assert seen == 1
    assert found["words"].to_list() == [["word"], [], None, None]
    assert found["boxes"].list.len().to_list() == [1, 0, None, None]
    assert found["characters"].to_list() == [4, 0, None, None]
    assert found["coverage"].to_list()[1:] == [0, None, None]


def test_a_share_of_the_pictures_is_read_by_uid_whatever_batch_they_are_in(monkeypatch):
    rows = pool(400)
    images = [np.zeros((16, 16, 3), np.uint8)] * 400
    found, seen = read(monkeypatch, rows, images, share=0.25, seed=3)
    drawn = draw(3, rows["uid"]) < 0.25
    assert found["words"].is_not_null().to_list() == drawn.tolist()
    assert seen == drawn.sum()
    assert 60 < seen < 140


def test_the_new_fields_leave_the_keys_of_stored_columns_alone():
    plain = cache_key("text.TextBoxes", TextBoxes(), {}, {})
    assert plain == cache_key("text.TextBoxes", TextBoxes(only="", share=1, seed=0), {}, {})
    assert plain != cache_key("text.TextBoxes", TextBoxes(share=0.5), {}, {})
    assert set(parameters(TextBoxes())) == {"side", "enlarge", "threshold", "recognise", "confidence"}


@pytest.mark.parametrize("least", [float("nan"), float("inf")])
def test_a_bound_that_no_number_reaches_is_refused(least):
    with pytest.raises(ValidationError, match="finite number"):
        Probe(**PROBE, least=least)
