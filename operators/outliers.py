"""Backdoor outliers: how sparse the neighbourhood of a sample's embedding is in a random sample of the pool.

    clip:      {use: clip.ClipScore, model: RN50, pretrained: trained_on_this_pool.pt}
    reference: {use: outliers.Reference, embedding: clip.image_embedding, norm: clip.image_norm,
                normalise: false}
    outlier:   {use: outliers.Dao, embedding: clip.image_embedding, norm: clip.image_norm,
                reference: reference}
    keep:
      outlier.score: {bottom: 0.9}

A few poisoned pairs plant a backdoor in a CLIP, and that CLIP puts them apart from everything else. So the
model must be one that was trained on this very pool. Each score is the mean over the reference's draws.
Scores that read one reference in one worker share one search.

The trap: a bigger reference is not a better one. Poisoned samples of one attack lie close together. Each is
far from everything only while fewer than k others are in the reference, so size times poison rate must stay
below k. With the whole pool as reference they are each other's neighbours, and denser than most.

Columns
    KDistance        score  Float64  a distance, >= 0, higher is more suspicious; null if the embedding is
                                     missing, not finite, or zero and to be normalised
    Slof             score  Float64  in [0.001, 1000], about 1 for ordinary samples, higher is more
                                     suspicious; null if the embedding is missing, not finite, or zero and to
                                     be normalised
    Lid              score  Float64  in (0, 1000], higher is more suspicious; null if the embedding is
                                     missing, not finite, or zero and to be normalised
    Dao              score  Float64  about 0 for ordinary samples, higher is more suspicious; null if the
                                     embedding is missing, not finite, or zero and to be normalised
    IsolationForest  score  Float64  in [0, 1], higher is more suspicious; null if the embedding is missing,
                                     not finite, or zero and to be normalised
Errors: `the embedding is not finite`; `a zero vector has no direction`; `the reference has too few samples`.
Source: Huang et al. 2025 (ICLR), Detecting Backdoor Samples in Contrastive Language Image Pretraining:
    k-distance, SLOF, DAO (k = 16), LID (k = 64), isolation forest; Euclidean distance of the model's own
    outputs, not normalised; the reference is a batch of 2,048, images or images and texts.
Differs: neighbours and their densities are those of the definitions; the released code mixes up indices
    (`algorithms.embeddings.outliers.published` computes its scores as it does). There a row is compared with
    the batch that it happened to be in, here with samples drawn by uid, several of them to average over. Ties
    and duplicates have finite scores, there 1000 or 0.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr, model_validator

from operators.algorithms.embeddings import reference as arithmetic
from operators.algorithms.embeddings.vectors import check_width, features
from operators.algorithms.tables import table_of
from pipeline.operator import Device, Embedding, Numbers, Operator, Score, Stat, Table
from pipeline.uids import draw

Natural = Annotated[int, Field(ge=1)]
SHOWN = 5  # neighbours that `winnow explain` names
TOO_FEW = "the reference has too few samples"


class Reference(Stat):
    """Random samples of the pool, each point with its density among the points of its sample.

    Use it before the five outlier scores, which read it.

    embedding       the images', such as clip.image_embedding
    normalise       true: unit length. false: as the column has them, times `norm`: the paper's way
    text_embedding  the captions', to have both among the points (the paper's image-text mode); a row is
                    compared with its image's all the same
    norm            the images' lengths, such as clip.image_norm, if embeddings are stored at unit length
    text_norm       the captions' lengths likewise, such as clip.text_norm
    size            samples in each draw; see the trap above
    k               neighbours that a density rests on; the paper has 16; 64 still finds the poison if
                    one sample in a hundred is poisoned, and costs little if fewer are
                    (jobs/poison_lab/POISON_LAB.md)
    draws           independent samples, of the seeds `seed`, `seed` + 1, ...; one if the pool has at most
                    `size`
    seed            of the first draw
    assumed_rate    share of the pool that one attack may have poisoned; `winnow plan` warns if k is too small

    Table: `draw`, `uid`, `modality` (image or text), `text` (the caption), `vector` Array(Float32, d), its
    `k_distance` and `lid` among the points of its draw, `k` (fewer than `k` if the pool is small),
    `normalised`, and `scaled`: whether `norm` is applied.

    Cost: cheap: it reads a stored embedding per row and keeps size x draws vectors.
    """

    embedding: Embedding
    normalise: bool
    text_embedding: Embedding = ""
    norm: Numbers = ""
    text_norm: Numbers = ""
    size: Natural = 2048
    k: Natural = 64
    draws: Natural = 8
    seed: Annotated[int, Field(ge=0, lt=2**62)] = 0
    assumed_rate: Annotated[float, Field(gt=0, lt=1)] = 0.003

    needs = ("uid", "shard", "row", "text")

    @model_validator(mode="after")
    def _norms_fit(self) -> Self:
        """Refuse lengths that would not be used, or would be used on one side only."""
        if self.normalise and (self.norm or self.text_norm):
            raise ValueError("must not have `norm` or `text_norm` if `normalise` is true")
        if self.text_norm and not self.text_embedding:
            raise ValueError("must have `text_embedding` if `text_norm` is given")
        if self.text_embedding and bool(self.norm) != bool(self.text_norm):
            raise ValueError("must have both `norm` and `text_norm`, or neither")
        return self

    def warnings(self) -> Sequence[str]:
        """A warning about the trap, if the recipe walks into it."""
        poisoned = self.size * self.assumed_rate
        if poisoned < self.k:
            return ()
        return (
            f"size {self.size:,} x assumed_rate {self.assumed_rate:g} = {poisoned:,.1f} poisoned samples in a "
            f"reference, k is {self.k}: they would be each other's neighbours and look ordinary; "
            f"take size < {self.k / self.assumed_rate:,.0f}, or a larger k",
        )

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> those that a draw may hold: `uid`, `shard`, `row`, `text`, `vector`, `text_vector`."""
        vectors, good, _ = features(*_columns(batch, self.embedding, self.norm), self.normalise)
        rows = batch.filter(good).select(self.needs).with_columns(vector=pl.Series(vectors))
        if self.text_embedding:
            columns = _columns(batch, self.text_embedding, self.text_norm)
            texts, present, _ = features(*columns, self.normalise)
            place = (present.cum_sum() - 1).zip_with(present, pl.repeat(None, len(present), eager=True))
            rows = rows.with_columns(text_vector=pl.Series(texts).gather(place.filter(good)))
        return self._drawn(rows)

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """The samples of all parts that a draw may hold."""
        return self._drawn(parts)

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The draws, each in the order of uids, images before texts."""
        if not self.normalise and arithmetic.of_unit_length(merged["vector"]):
            raise ValueError(
                f"normalise: false, but all of {self.embedding} has length 1, as clip.ClipScore stores it; give "
                "`norm` (such as clip.image_norm) for the model's own features, or normalise: true"
            )
        draws = self._places(merged["uid"]) if len(merged) > self.size else [np.arange(len(merged))]
        table = arithmetic.densities([arithmetic.points_of(merged[places]) for places in draws], self.k)
        return table.with_columns(normalised=pl.lit(self.normalise), scaled=pl.lit(bool(self.norm)))

    def _drawn(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The samples of all draws, in the order of uids. Of several with one uid, the first of the pool."""
        order = rows.select("uid", "shard", "row").with_row_index("at").sort("uid", "shard", "row")
        rows = rows[order.unique("uid", keep="first", maintain_order=True)["at"]]
        return rows[np.unique(np.concatenate(self._places(rows["uid"])))]

    def _places(self, uids: pl.Series) -> list[np.ndarray]:
        """Per draw, (at most size,) ascending indices of its samples among (n,) distinct uids: those with the
        least draws from (seed, uid)."""
        seeds = range(self.seed, self.seed + self.draws)
        return [np.sort(np.argsort(draw(seed, uids), kind="stable")[: self.size]) for seed in seeds]


def _columns(batch: pl.DataFrame, embedding: str, norm: str) -> tuple[pl.Series, pl.Series | None]:
    """A batch's embeddings, and their lengths if a column is named."""
    return batch[embedding], batch[norm] if norm else None


class _Against(Operator):
    """Base of the scores against a reference.

    embedding  the images', as the reference has them
    reference  the table of a Reference
    norm       the images' lengths, if the reference has them
    """

    embedding: Embedding
    reference: Table
    norm: Numbers = ""

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float64}
    figure: ClassVar[str] = ""
    _table: Any = PrivateAttr(None)
    _ready: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Prepare the reference's draws."""
        self._table = table_of(stats, "reference", self.reference, ("draw", "vector", "k_distance", "lid"))
        if len(self._table) and self._table["scaled"][0] != bool(self.norm):
            must = "must not have `norm`: it has none" if self.norm else "must have `norm`, as it has"
            raise ValueError(f"{must} (reference: {self.reference})")
        self._ready = self._prepare(device)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) embeddings -> (n,) scores."""
        usable = len(self._table) > 0 and self._table["k"][0] > 0
        normalise = usable and self._table["normalised"][0]
        vectors, good, error = features(*_columns(batch, self.embedding, self.norm), normalise)
        scores = np.full(len(batch), np.nan)
        if usable:
            width = self._table["vector"].dtype.shape[0]
            check_width("embedding", batch[self.embedding], width, self.reference)
        if not usable:
            error = error.zip_with(~good, pl.repeat(TOO_FEW, len(batch), eager=True))
        elif len(vectors):
            scores[good.to_numpy()] = self._values(vectors, batch["uid"].filter(good))
        return pl.DataFrame({"score": pl.Series(scores).fill_nan(None), "error": error})

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """The nearest points of the reference: `uid`, `modality`, `distance`, `caption`."""
        table = stats[self.reference]
        normalise = len(table) > 0 and table["normalised"][0]
        vectors, _, _ = features(*_columns(row, self.embedding, self.norm), normalise)
        if not len(vectors) or table.is_empty():
            return pl.DataFrame()
        return arithmetic.nearest_points(table, vectors[0], row["uid"][0]).head(SHOWN)

    def _prepare(self, device: Device) -> Any:
        """The object that `_values` needs, made from the reference once per worker."""
        return arithmetic.search_of(self._table, device)

    def _values(self, vectors: np.ndarray, uids: pl.Series) -> np.ndarray:
        """(n, d) features and their uids -> (n,)."""
        found: np.ndarray = self._ready.scores(vectors, uids)[self.figure]
        return found


class KDistance(_Against, Score):
    """The distance to the kth nearest point of the reference.

    Use it as the simplest outlier score, and to check the others against.

    Cost: moderate; no image is read. The search takes nearly all of the time, and scores in one worker share
    it: like `outliers.Slof`.
    """

    figure = "k_distance"


class Slof(_Against, Score):
    """Simplified local outlier factor: a row's k-distance divided by those of its k nearest points, on
    average.

    Use it to find samples that are far from others compared with how far those are from each other, such as
    backdoor triggers, placeholder images and mismatched pairs.

    Cost: moderate; no image is read. 2,230 rows per second on a CPU core against 2,048 x 8 vectors of 512
    (measured).
    """

    figure = "slof"


class Lid(_Against, Score):
    """Local intrinsic dimensionality: how fast the number of points grows with distance.

    Use it beside the density scores: a sample that lies off the pool's manifold has a high dimensionality.

    Cost: moderate; no image is read: like `outliers.Slof`.
    """

    figure = "lid"


class Dao(_Against, Score):
    """Dimensionality-aware outlier score: SLOF's ratios as logarithms, each times its neighbour's LID.

    Use it as the paper does to remove backdoor samples: keep the bottom 90 %.

    Cost: moderate; no image is read: like `outliers.Slof`.
    """

    figure = "dao"


class IsolationForest(_Against, Score):
    """How few random cuts separate a row from the reference's points: the paper's baseline, by scikit-learn.

    Use it only to compare with that baseline. Another release of scikit-learn may cut otherwise.

    trees  in each draw's forest
    seed   of the cuts

    Cost: moderate; no image is read. A forest per draw, `trees` trees each.
    """

    trees: Natural = 100
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def _prepare(self, device: Device) -> Any:
        from sklearn.base import clone
        from sklearn.ensemble import IsolationForest as Forest

        forest = Forest(n_estimators=self.trees, random_state=self.seed)
        draws = self._table.partition_by("draw", maintain_order=True)
        return [clone(forest).fit(points["vector"].to_numpy()) for points in draws]

    def _values(self, vectors: np.ndarray, uids: pl.Series) -> np.ndarray:
        """(n, d) features -> (n,) mean over the forests."""
        found: np.ndarray = -np.mean([forest.score_samples(vectors) for forest in self._ready], axis=0)
        return found
