"""Operators that read the table of a Stat, and are given that of another."""

import polars as pl
import pytest

from operators.clusters import Balance, Nearest
from operators.first_look import Worthwhile
from operators.hubs import Hubness
from operators.metaclip import BalanceProbability, BalanceThreshold
from operators.negcliploss import NegClipLoss
from operators.outliers import Dao
from operators.perceptual import Copies
from operators.softcap import Repeats
from operators.wfpp import WordFrequencyScore
from pipeline.operator import Device, Score


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Copies(hash="p.hash", leaders="words"), "leaders: words must be a table of uid, leader, distance"),
        (Nearest(embedding="e", centroids="words"), "centroids: words must be a table of vector"),
        (Balance(cluster="c", sizes="words", target=1), "sizes: words must be a table of cluster, count"),
        (Hubness(image_embedding="e", bank="words"), "bank: words must be a table of caption, image, text"),
        (Worthwhile(embedding="e", probe="words"), "probe: words must be a table of weight, bias, bound"),
        (Repeats(logit="s", scores="words", draws=1), "scores: words must be a table of bin, count"),
        (
            BalanceProbability(entries="m.ids", counts="words", t=1),
            "counts: words must be a table of language, entry, count",
        ),
        (
            BalanceThreshold(entries="m.ids", counts="words"),
            "counts: words must be a table of language, entry, count",
        ),
        (
            NegClipLoss(image_embedding="i", text_embedding="t", reference="words"),
            "reference: words must be a table of batch, uid, image_embedding, text_embedding",
        ),
        (
            Dao(embedding="e", reference="words"),
            "reference: words must be a table of draw, vector, k_distance, lid",
        ),
    ],
)
def test_the_table_of_another_stat(operator: Score, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}, got one of word, count"):
        operator.setup({"words": pl.DataFrame({"word": ["a"], "count": [1]})}, Device())


def test_words_from_another_stat() -> None:
    with pytest.raises(
        ValueError, match="frequency: sizes must be a table of word, count, got one of cluster"
    ):
        WordFrequencyScore(frequency="sizes").setup({"sizes": pl.DataFrame({"cluster": [1]})}, Device())
