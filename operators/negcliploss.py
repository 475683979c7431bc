"""negCLIPLoss: the CLIP score minus the similarity that image and caption also have to other samples.

    clip:      {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    reference: {use: negcliploss.Reference, image_embedding: clip.image_embedding,
                text_embedding: clip.text_embedding}
    ncl:       {use: negcliploss.NegClipLoss, image_embedding: clip.image_embedding,
                text_embedding: clip.text_embedding, reference: reference}
    keep:
      ncl.score: {top: 0.3}

A generic caption or image is near to many others: its cosine is high and says little. The released code takes
the others from batches that samples are dealt into. Here they are a seeded sample of the pool, the same for
every row, so that a score depends on its row and that sample alone.

Columns
    NegClipLoss  score  Float32  in about [-1, 0] at a temperature of 0.01 (it is minus the sample's own CLIP
                                 loss, in cosines); higher is better aligned; null without both embeddings, or
                                 if one is zero or not finite
Errors: `image embedding is zero or not finite`, `text embedding is zero or not finite`.
Source: Wang et al. 2024 (arXiv 2405.19547): s_ii - T/2 (log sum_j exp(s_ij / T) + log sum_j exp(s_ji / T))
    with batches of 32,768 and a temperature T of 0.01 (0.07 for the public DFN), averaged over at least five
    batches. A row counts once in its own sums, also if the sample holds it.
Differs: the others, see above: the released code draws them anew for each batch; here they are drawn once, at
    twice the arithmetic per row. Its last batch is smaller and so scored too high; batches here are of one
    size, and the rest stays out. Its exp overflows float32 for cosines over 88 T; sums here are in
    logarithms.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr

from operators.algorithms.embeddings.vectors import Chunks, directed, unit, unit_column
from operators.algorithms.reasons import no_direction
from operators.algorithms.tables import table_of
from pipeline.operator import Device, Embedding, Score, Stat, Table
from pipeline.uids import draw

ROWS = 256  # rows of one product
BLOCK = 4096  # others of one product: 4 MB of cosines, which stay in a core's cache
ORDER = ("draw", "uid", "shard", "row")


def neg_clip_loss(image: np.ndarray, text: np.ndarray, temperature: float) -> np.ndarray:
    """(n, d), (n, d) unit norm -> (n,) float64: the score with the n rows as the one batch, as in the
    paper."""
    cosines = image.astype(np.float64) @ text.astype(np.float64).T
    sums = _log_sum_exp(cosines / temperature, 1) + _log_sum_exp(cosines / temperature, 0)
    found: np.ndarray = cosines.diagonal() - temperature / 2 * sums
    return found


def _log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    """log of the sum of exp along an axis, without overflow."""
    most = values.max(axis, keepdims=True)
    found: np.ndarray = np.log(np.exp(values - most).sum(axis)) + most.squeeze(axis)
    return found


class Reference(Stat):
    """Batches of embeddings drawn from the pool, each uid once: the others that a pair is compared with.

    Use it before `negcliploss.NegClipLoss`, which reads it.

    image_embedding  such as clip.image_embedding
    text_embedding   such as clip.text_embedding
    batches          number of batches; fewer if the pool is smaller
    batch_size       samples in each batch; one batch of the whole pool if it has fewer samples
    seed             of the draw: the samples with the lowest draws from (seed, uid) are taken

    Table: `batch` UInt32, `uid`, `image_embedding`, `text_embedding`. 10 batches of 32,768 have 0.7 GB at 512
    dimensions, and twice that in each worker. So on CPUs use few workers with many `cpus` each.

    Cost: cheap in time: it reads two stored embeddings per row. It holds the batches in memory.
    """

    image_embedding: Embedding
    text_embedding: Embedding
    batches: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 32_768
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    needs = ("uid", "shard", "row")

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The lowest draws of one batch, among rows that have both embeddings."""
        names = {"image_embedding": self.image_embedding, "text_embedding": self.text_embedding}
        usable = np.logical_and(*(directed(batch[name]) for name in names.values()))
        drawn = pl.Series("draw", draw(self.seed, batch["uid"]), pl.Float64)
        return self.merge(batch.select(drawn, "uid", "shard", "row", **names).filter(usable))

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """The lowest draws of all."""
        order = (
            parts.select(ORDER)
            .with_row_index("at")
            .sort(ORDER)
            .unique("uid", keep="first", maintain_order=True)
        )
        return parts[order["at"].head(self.batches * self.batch_size)]

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """Whole batches, in the order of the draws."""
        table = self.merge(merged)
        whole = max(len(table) // self.batch_size * self.batch_size, min(len(table), self.batch_size))
        numbered = table.head(whole).with_row_index("batch").with_columns(pl.col("batch") // self.batch_size)
        return numbered.select("batch", "uid", "image_embedding", "text_embedding")


class NegClipLoss(Score):
    """How well a pair matches compared with how well its image and its caption match others.

    Use it instead of the plain CLIP score, or together with `normsim.NormSim`: it does not reward captions
    and images that fit everything.

    image_embedding  such as clip.image_embedding
    text_embedding   such as clip.text_embedding
    reference        the table of a Reference, drawn from embeddings of the same model
    temperature      the one that the model was trained with

    Cost: expensive, though no image is read: 4 d FLOP per row for each sample of the reference. With 10
    batches of 32,768 at 512 dimensions that is 0.7 GFLOP, about 90 rows per second on a CPU core: a GPU's
    work at scale.
    """

    image_embedding: Embedding
    text_embedding: Embedding
    reference: Table
    temperature: float = Field(0.01, gt=0, allow_inf_nan=False)

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float32}
    _places: Any = PrivateAttr(None)
    _batches: Any = PrivateAttr(None)
    _chunks: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Lay out the others, in blocks."""
        columns = ("batch", "uid", "image_embedding", "text_embedding")
        table = table_of(stats, "reference", self.reference, columns)
        self._chunks = Chunks(device, ROWS)
        self._places = table.select("uid").with_row_index("place").cast({"place": pl.Int64})
        ends = table["batch"].rle().struct.field("len").cum_sum().to_list()
        self._batches = [self._blocks(table, a, b) for a, b in pairwise([0, *ends])]

    def _blocks(self, table: pl.DataFrame, start: int, stop: int) -> list[tuple[int, Any, Any]]:
        """Of one batch: each block's first place, and its images and texts, (d, block)."""
        blocks = []
        for at in range(start, stop, BLOCK):
            part = table[at : min(at + BLOCK, stop)]
            sides = (unit(part[name].to_numpy())[0].T for name in ("image_embedding", "text_embedding"))
            blocks.append((at, *map(self._chunks.tensor, sides)))
        return blocks

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) image and text embeddings -> (n,) scores."""
        columns = {"image": batch[self.image_embedding], "text": batch[self.text_embedding]}
        vectors = {side: unit_column(column) for side, column in columns.items()}
        (image, has_image), (text, has_text) = vectors["image"], vectors["text"]
        self._check_width(image, text)
        own = batch.select("uid").join(self._places, on="uid", how="left", maintain_order="left")["place"]
        scores = self._chunks(self._score, image, text, own.fill_null(-1).to_numpy())
        directions = {side: pl.Series(present) for side, (_, present) in vectors.items()}
        return pl.select(
            score=pl.when(pl.Series(has_image & has_text)).then(pl.Series(scores, dtype=pl.Float32)),
            error=no_direction(columns, directions),
        )

    def _check_width(self, image: np.ndarray, text: np.ndarray) -> None:
        """Refuse embeddings and a reference of different widths."""
        others = {images.shape[0] for blocks in self._batches[:1] for _, images, _ in blocks}
        widths = {image.shape[1], text.shape[1], *others}
        if len(widths) > 1:
            raise ValueError(
                f"image_embedding, text_embedding and reference must be of one width, got {sorted(widths)}"
            )

    def _score(self, image: Any, text: Any, own: Any) -> Any:
        """(r, d), (r, d), (r,) places in the reference or -1 -> (r,)."""
        cosine = (image * text).sum(1)
        sums = cosine * 0
        for blocks in self._batches:
            sums += self._log_sum(image, cosine, own, [(at, texts) for at, _, texts in blocks])
            sums += self._log_sum(text, cosine, own, [(at, images) for at, images, _ in blocks])
        return cosine - self.temperature / 2 * sums / max(1, len(self._batches))

    def _log_sum(self, rows: Any, cosine: Any, own: Any, blocks: list[tuple[int, Any]]) -> Any:
        """log(exp(own cosine / T) + sum over the others' exp(cosine / T)), (r,)."""
        import torch

        scaled = rows / self.temperature
        parts = [cosine / self.temperature]
        for start, others in blocks:
            logits = scaled @ others
            here = ((own >= start) & (own < start + others.shape[1])).nonzero()[:, 0]
            logits[here, own[here] - start] = -torch.inf
            parts.append(logits.logsumexp(1))
        return torch.stack(parts, 1).logsumexp(1)
