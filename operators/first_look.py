"""A first look: by a stored embedding, on which pictures an expensive operator will find something.

    clip:   {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    sample: {use: text.TextBoxes, share: 0.02}
    probe:  {use: first_look.Probe, embedding: clip.image_embedding, found: sample.characters, least: 3}
    look:   {use: first_look.Worthwhile, embedding: clip.image_embedding, probe: probe}
    text:   {use: text.TextBoxes, only: look.worthwhile}

Reading the text in pictures is by far the most expensive column, and most pictures have none. A CLIP's
embedding tells well whether a picture has text. So a share of the pool is read in full, a linear probe learns
from it which embeddings have text, and of the rest only the pictures that it points to are read. The bound
is set so that the probe keeps a wanted share of the pictures with text, `recall`; what it really keeps, and
what it saves, is measured on the same sample, each picture by a probe that has not seen it.

If fewer than 50 pictures of the sample have text, or fewer than 50 have none, the probe knows nothing, and
every picture is read. So choose `share` such that about 50 or more of the drawn pictures have text; at most
10,000 of them are used (`size`). `text` reads the pictures of the sample again where the probe points to
them.

Columns
    Worthwhile  probability  Float32  how likely the expensive operator finds something, in [0, 1], higher is
                                      likelier; null without an embedding, or if it is zero or not finite
                worthwhile   Boolean  whether that reaches the probe's bound; null with `probability`
Errors: `image embedding is zero or not finite`.
Source: linear probes as in CLIP (arXiv 2103.00020, section 3.2): logistic regression with an L2 penalty, here
    by scikit-learn. That CLIP's embeddings tell text: Parrot Captions (arXiv 2312.14232), section 3.
Differs: the penalty is chosen by a fifth of the sample that is held out, from five between 0.01 and 100. A
    first look is worth what the embeddings know: those of an earlier CLIP of the demo, which cannot read,
    spare 5 % of 2,000 pictures at a recall of 0.96, measured on 831 of which 79 have text. Larger models were
    not at hand.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr

from operators.algorithms.embeddings.clusters import least_draws
from operators.algorithms.embeddings.vectors import check_width, projected, unit_column
from operators.algorithms.reasons import no_direction
from operators.algorithms.tables import table_of
from operators.algorithms.threads import blas_threads
from pipeline.operator import Device, Embedding, Numbers, Operator, Score, Stat, Table
from pipeline.uids import draw

FOLDS = 5  # parts of the sample, each judged by a probe of the others
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # scikit-learn's C, the inverse of the L2 penalty
FEWEST = 50  # pictures with and without something that a probe takes
ALL = -np.inf  # the bound of a probe that knows nothing: every picture is worthwhile
ROUGH = 1000  # pictures of a sample below which recall is rough


class Probe(Stat):
    """A linear probe that learns from a sample, judged in full, where an operator finds something.

    Use it with `first_look.Worthwhile`. Its table says what the first look costs; `winnow explain` shows it
    for any sample.

    embedding  such as clip.image_embedding
    found      what the expensive operator found, such as characters of text; rows where it is null do not
               count
    least      a picture has something if `found` is this or more
    recall     share of the pictures with something that the first look must keep
    size       pictures in the sample, at most
    seed       of the sample

    With fewer than 50 pictures with or without something in the sample, every picture is worthwhile, and
    nothing is spared: let the sample hold more.

    Table: one row. `weight` Array(Float64, d) and `bias` of the probe; `bound`, the log-odds from which a
    picture is worthwhile, -inf if there are fewer than 50 pictures with or without something; `pictures` in
    the sample, `found` with something; `recall`, `skipped`: the share of these that the probe keeps, and the
    share of all pictures that it spares; `amount`: the share of the sum of `found`, such as of all
    characters, that it keeps.

    Cost: cheap; no image is read. 1,900,000 rows per second on a CPU core, of which 2 % are judged
    (measured); then the probe is fitted eleven times.
    """

    embedding: Embedding
    found: Numbers
    least: Annotated[float, Field(allow_inf_nan=False)] = 1
    recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    size: Annotated[int, Field(ge=2)] = 10_000
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    needs = ("uid", "shard", "row")

    def warnings(self) -> Sequence[str]:
        """A warning if the sample is small."""
        if self.size >= ROUGH:
            return ()
        return (f"size {self.size}: of so few pictures recall is rough; take size >= {ROUGH}",)

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> those that the sample may hold."""
        rows = batch.drop_nulls((self.embedding, self.found))
        vectors, directed = unit_column(rows[self.embedding])
        amount = rows[self.found].cast(pl.Float64)
        found = rows.select("uid", "shard", "row", amount=amount, vector=pl.Series(vectors))
        return self.merge(found.filter(pl.Series(directed) & amount.is_finite()))

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """The rows of all parts that the sample may hold."""
        return least_draws(parts, self.seed, self.size)

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The probe, and what it keeps."""
        rows, amount = merged["vector"].to_numpy().astype(np.float64), merged["amount"].to_numpy()
        positive = amount >= self.least
        if min(positive.sum(), (~positive).sum()) < FEWEST:
            probe, bound, kept = _Linear(np.zeros(rows.shape[1]), 0.0), ALL, np.ones(len(rows), bool)
        else:
            with blas_threads(1):
                probe, unseen = _judged(rows, positive, draw(self.seed + 1, merged["uid"]))
            bound = float(np.quantile(unseen[positive], 1 - self.recall, method="lower"))
            kept = unseen >= bound
        return pl.DataFrame(
            {
                "weight": pl.Series(probe.weight[None], dtype=pl.Array(pl.Float64, rows.shape[1])),
                "bias": [probe.bias],
                "bound": [bound],
                "pictures": [len(rows)],
                "found": [int(positive.sum())],
                "recall": [_share(kept & positive, positive)],
                "skipped": [float((~kept).sum() / max(1, len(kept)))],
                "amount": [_share(kept * amount.clip(0), amount.clip(0))],
            }
        )


class Worthwhile(Score):
    """Whether a picture is worth an expensive operator, by a probe of its embedding.

    Use it for the field `only` of `text.TextBoxes`, after `first_look.Probe`.

    embedding  of the model of the probe, such as clip.image_embedding
    probe      the table of a Probe

    Cost: very cheap; no image is read. 750,000 rows of 512 numbers per second on a CPU core (measured).
    """

    embedding: Embedding
    probe: Table

    writes: ClassVar[Mapping[str, Any]] = {"probability": pl.Float32, "worthwhile": pl.Boolean}
    _probe: Any = PrivateAttr(None)
    _bound: float = PrivateAttr(ALL)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Take the probe."""
        table = table_of(stats, "probe", self.probe, ("weight", "bias", "bound"))
        self._probe = _Linear(table["weight"].to_numpy()[0], table["bias"][0])
        self._bound = table["bound"][0]

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) embeddings -> (n,) the columns above."""
        column = batch[self.embedding]
        check_width("embedding", column, len(self._probe.weight), self.probe)
        odds, directed = projected(column, self._probe.weight)
        odds += self._probe.bias
        known = pl.Series(directed)
        return pl.select(
            pl.when(known).then(pl.Series(name, values, dtype=dtype)).alias(name)
            for (name, dtype), values in zip(
                self.writes.items(), (np.exp(-np.logaddexp(0, -odds)), odds >= self._bound), strict=True
            )
        ).with_columns(error=no_direction({"image": column}, {"image": known}))

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """What the probe keeps and spares, as it was measured."""
        return stats[self.probe].select("pictures", "found", "recall", "skipped", "amount")


class _Linear(NamedTuple):
    """(d,) weight and bias of the log-odds."""

    weight: np.ndarray
    bias: float

    def odds(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) rows -> (n,) log-odds."""
        found: np.ndarray = rows @ self.weight + self.bias
        return found


def _judged(rows: np.ndarray, positive: np.ndarray, lots: np.ndarray) -> tuple[_Linear, np.ndarray]:
    """(n, d) rows, (n,) whether each has something, (n,) draws in [0, 1) -> a probe of all rows, and (n,) the
    log-odds of each by a probe of the other folds."""
    fold = np.minimum((lots * FOLDS).astype(int), FOLDS - 1)
    held = fold == 0
    losses = [
        _loss(_fitted(rows[~held], positive[~held], c).odds(rows[held]), positive[held]) for c in PENALTIES
    ]
    penalty = PENALTIES[int(np.argmin(losses))]
    unseen = np.empty(len(rows))
    for number in range(FOLDS):
        others = fold != number
        unseen[~others] = _fitted(rows[others], positive[others], penalty).odds(rows[~others])
    return _fitted(rows, positive, penalty), unseen


def _fitted(rows: np.ndarray, positive: np.ndarray, penalty: float) -> _Linear:
    """Logistic regression."""
    from sklearn.linear_model import LogisticRegression

    if positive.all() or not positive.any():  # of a fold
        return _Linear(np.zeros(rows.shape[1]), 0.0)
    model = LogisticRegression(C=penalty, solver="newton-cholesky").fit(rows, positive)
    return _Linear(model.coef_[0], float(model.intercept_[0]))


def _loss(odds: np.ndarray, positive: np.ndarray) -> float:
    """The mean log loss."""
    return float(np.logaddexp(0, np.where(positive, -odds, odds)).mean())


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    """The sum of the part by that of the whole; None of nothing."""
    return float(part.sum() / whole.sum()) if whole.sum() > 0 else None
