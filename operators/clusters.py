"""Clusters of embeddings: which kind of picture a sample is, and how often to take samples of each kind.

    clip:      {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    centroids: {use: clusters.Centroids, embedding: clip.image_embedding, k: 1000}
    near:      {use: clusters.Nearest, embedding: clip.image_embedding, centroids: centroids}
    sizes:     {use: clusters.Sizes, cluster: near.cluster}
    balance:   {use: clusters.Balance, cluster: near.cluster, sizes: sizes, target: 40000000, alpha: 0.5}
    keep:
      balance.probability: {chance: true}

A web pool holds a few kinds of pictures very often (logos, product shots) and most kinds rarely. Balancing
takes less of the large clusters and all of the small ones, but keeps their order: what is frequent stays more
frequent. To take samples of small clusters several times, let `cap` be more than 1 and export with
`repeats: balance.repeats`. For a trainer that draws samples itself, `export.table` without the rule holds the
probability of every sample (README.md, "One table instead of tars").

Columns
    Nearest  cluster     Int32    the number of the nearest centre, from 0; null if the embedding is missing,
                                  not finite or zero
             similarity  Float32  cosine of the embedding and that centre, in [-1, 1], higher is more typical
                                  of the cluster; null with `cluster`
    Balance  probability  Float64  of taking the sample at all, in [0, 1], higher in smaller clusters: for a
                                   rule with `chance`; null without a cluster
             repeats      UInt32   how often to take the sample, 0 to `cap`; null without a cluster
Errors: `the embedding is not finite`; `a zero vector has no direction`.
Source: spherical k-means as before SemDeDup (arXiv 2303.09540); balancing by cluster size that keeps the
    order of sizes, as DynamiCS (arXiv 2604.27932) describes it. Inspired by the semantic balance of CLIP-CID
    (arXiv 2408.09441), whose algorithm is not public.
Differs: the formula is our own: a cluster of n samples gets C n^alpha of them, C such that all together are
    `target`. alpha 1 takes the same share of each, alpha 0 the same number. k-means sees a sample of the pool
    that is drawn by uid, where SemDeDup's sees all of it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr

from operators.algorithms.embeddings.clusters import copies, k_means, least_draws, sizes_compared
from operators.algorithms.embeddings.neighbours import Points
from operators.algorithms.embeddings.vectors import check_width, features
from operators.algorithms.tables import table_of
from operators.concepts import ZeroShot
from pipeline.operator import Device, Embedding, Operator, Score, Stat, Table, WholeNumbers
from pipeline.schema import owner
from pipeline.uids import draw

Natural = Annotated[int, Field(ge=1)]
Clusters = Annotated[int, Field(ge=1, lt=2**31)]
FEWEST = 39  # samples per cluster, below which FAISS warns that centroids say little


class Centroids(Stat):
    """The centres of k clusters of embeddings, by spherical k-means of a sample of the pool.

    Use it before `clusters.Nearest`. For `duplicates.Semantic` let k be so large that a cluster has some
    thousand samples: pairs are compared inside a cluster only.

    embedding  the images' or captions', such as clip.image_embedding; of any length, since only its
               direction counts
    k          clusters; as many as there are samples if they are fewer
    size       samples that k-means sees; `winnow plan` warns if they are fewer than 39 per cluster
    niter      steps of k-means
    seed       of the sample, and of the samples at which the centres begin
    gpu        true: on GPUs, if the machine that finishes this Stat has any. Sums are rounded differently
               there, so that centres may differ

    Table: `cluster` Int32, `vector` Array(Float32, d) of unit length, and `samples` UInt32, how many of the
    sample lie in the cluster.

    Cost: moderate; no image is read. It keeps `size` embeddings in memory, and k-means takes 2 d k `size`
    FLOP a step: 100,000 samples of 512 numbers and 1,000 clusters take 17 s on two CPU cores (measured).
    """

    embedding: Embedding
    k: Clusters = 1000
    size: Natural = 100_000
    niter: Natural = 25
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    gpu: bool = False

    needs = ("uid", "shard", "row")

    def warnings(self) -> Sequence[str]:
        """A warning if the sample is small for so many clusters."""
        if self.size >= FEWEST * self.k:
            return ()
        return (
            f"size {self.size:,} are {self.size / self.k:.3g} samples per cluster, fewer than {FEWEST}: centres "
            f"would be those of chance; take size >= {FEWEST * self.k:,}, or a smaller k",
        )

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> those that the sample may hold: `uid`, `shard`, `row`, `vector`."""
        vectors, good, _ = features(batch[self.embedding], None, True)
        rows = batch.filter(good).select(self.needs).with_columns(vector=pl.Series(vectors))
        return self.merge(rows)

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """The samples of all parts that the sample may hold."""
        return least_draws(parts, self.seed, self.size)

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The centres, in FAISS's order."""
        vectors = np.ascontiguousarray(merged["vector"].to_numpy(), np.float32)
        centres, samples = k_means(vectors, self.k, self.niter, self.seed, self.gpu)
        return pl.DataFrame(
            {
                "cluster": np.arange(len(centres), dtype=np.int32),
                "vector": pl.Series(centres, dtype=merged.schema["vector"]),
                "samples": samples.astype(np.uint32),
            }
        )


class Nearest(Score):
    """The cluster whose centre is nearest to an embedding.

    Use it to know which kind of picture a sample is: for `clusters.Balance` and `duplicates.Semantic`, or to
    look at clusters with `winnow gallery --where "near.cluster == 7"`.

    embedding  the column that the centres were made of
    centroids  the table of a Centroids

    Cost: cheap; no image is read, but 2 d k FLOP per row: 23,000 rows per second on a CPU core against 1,000
    centres of 512 numbers (measured). With 50,000 or more, use `run: {<name>: {gpus: 1}}`.
    """

    embedding: Embedding
    centroids: Table

    writes: ClassVar[Mapping[str, Any]] = {"cluster": pl.Int32, "similarity": pl.Float32}
    _points: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Make the centres ready to be searched."""
        centres = table_of(stats, "centroids", self.centroids, ("vector",))["vector"].to_numpy()
        self._points = Points(centres, np.arange(len(centres)), device) if len(centres) else None

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) embeddings -> (n,) clusters and similarities."""
        vectors, good, error = features(batch[self.embedding], None, True)
        found = pl.DataFrame({"cluster": [], "similarity": []}, schema=dict(self.writes))
        if self._points is not None:
            check_width("embedding", batch[self.embedding], self._points.vectors.shape[1], self.centroids)
        if self._points is not None and len(vectors):
            distances, ids = self._points.nearest(vectors, np.full(len(vectors), -1), 1)
            cosines = 1 - np.square(distances[:, 0]) / 2  # of unit vectors
            found = pl.DataFrame(
                {"cluster": ids[:, 0], "similarity": cosines.clip(-1, 1)}, schema=dict(self.writes)
            )
        place = (good.cum_sum() - 1).zip_with(
            good & (len(found) > 0), pl.repeat(None, len(batch), eager=True)
        )
        return found.select(pl.all().gather(place)).with_columns(error.alias("error"))


class Sizes(Stat):
    """How many samples of the pool each cluster has.

    Use it before `clusters.Balance`. `winnow effects` says how many samples of each cluster a decision kept,
    and of the head, the torso and the tail: the most frequent clusters that have half of the samples, those
    that have the next four tenths, and the rest.

    cluster  numbers of clusters, such as near.cluster, or of any other groups: languages' numbers, classes

    Table: `cluster` Int64 and `count` UInt64.

    Cost: very cheap: it counts one column.
    """

    cluster: WholeNumbers

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Counts of one batch."""
        numbers = batch.select(cluster=pl.col(self.cluster).cast(pl.Int64)).drop_nulls()
        return numbers.group_by("cluster").agg(count=pl.len().cast(pl.UInt64))

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """Counts add up."""
        return parts.group_by("cluster").agg(pl.col("count").sum())

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """By cluster."""
        return merged.sort("cluster")

    def compare(
        self, before: pl.DataFrame, after: pl.DataFrame, sources: Mapping[str, Operator]
    ) -> Mapping[str, pl.DataFrame]:
        """The effect of a decision on the clusters: see `sizes_compared`. Classes have their names."""
        source = sources.get(owner(self.cluster) or "")
        return sizes_compared(before, after, source.class_names() if isinstance(source, ZeroShot) else [])


class Balance(Score):
    """How often to take a sample, by the size of its cluster: less often in a large cluster, and `target`
    samples in all.

    Use it to thin out the kinds of pictures that a pool has too often, or to repeat those that it has seldom.

    cluster  the column whose clusters were counted
    sizes    the table of a Sizes of that column
    target   samples to take of the whole pool, repeats among them; other rules drop some of these
    alpha    a cluster of n samples gets n^alpha parts of the target: 1 takes the same share of every cluster,
             0 the same number
    cap      times that a sample is taken at most; clusters that reach it leave their rest to the others
    seed     of the draw that rounds

    Cost: very cheap: a look-up and a draw per row.
    """

    cluster: WholeNumbers
    sizes: Table
    target: Natural
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    cap: Annotated[int, Field(ge=1, lt=2**31)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"probability": pl.Float64, "repeats": pl.UInt32}
    _copies: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Work out the copies of each cluster's samples."""
        table = table_of(stats, "sizes", self.sizes, ("cluster", "count"))
        taken = copies(table["count"].to_numpy(), self.alpha, self.cap, self.target)
        self._copies = table.select("cluster", copies=pl.Series(taken))

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) clusters -> (n,) probabilities and repeats."""
        clusters = batch.select(cluster=pl.col(self.cluster).cast(pl.Int64))
        taken = clusters.join(self._copies, on="cluster", how="left", maintain_order="left")["copies"]
        rounded = pl.Series(draw(self.seed, batch["uid"])) + taken
        return pl.select(probability=taken.clip(0, 1), repeats=rounded.floor().cast(pl.UInt32))
