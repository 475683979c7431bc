"""Hubs: pictures that are near to nearly every caption, as pictures made to deceive a CLIP are.

    clip: {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    bank: {use: hubs.Bank, image_embedding: clip.image_embedding, text_embedding: clip.text_embedding}
    hub:  {use: hubs.Hubness, image_embedding: clip.image_embedding, bank: bank}
    keep:
      hub.z: {max: 6, missing: keep}

A picture can be found by gradient descent that a CLIP takes for many captions at once, a master print. Its
CLIP score is high whatever its caption says, so a rule for the CLIP score keeps it. But it is also too near
to captions of other pictures, and that can be seen: real pictures have nearly the same mean cosine with
captions that are not theirs.

Columns
    Hubness  mean  Float32  mean cosine with the captions of the bank, without the sample's own, in [-1, 1],
                            higher is more of a hub; null without an image embedding, or if it is zero or not
                            finite
             low   Float32  the cosine that the share `quantile` of those captions is below, in [-1, 1],
                            higher is more of a hub; null with `mean`
             z     Float32  how many spreads `mean` lies above the middle of the bank's own pictures, higher
                            is more of a hub; null with `mean`
Errors: `image embedding is zero or not finite`; `the bank says nothing: its pictures are too few or alike`.
Source: CLIPMasterPrints (Freiberger et al. 2023, arXiv 2307.03798), whose prints are mined by the worst
    cosine over their captions; hubs of nearest-neighbour search (Radovanovic et al. 2010). Middle and spread
    are the median and 1.4826 times the median absolute deviation.
Differs: the paper detects prints by an image classifier that was trained on prints; this is our own measure.
    Of 500 real pairs of ViT-B/16, pictures moved a fifth of the way to the mean caption all have z > 6, and
    no other picture has. Pictures of text, collages and blank pictures can be hubs, too: look at them before
    you drop them. The bank must be of the pool itself, since other captions have other cosines. Prints mined
    from pixels were tried with the demo's CLIP, whose captions point into all directions: each for 25
    captions, they reach a worst cosine of -.13 on average, and a z of 1.9 that says little, but `low` of
    prints is above that of every clean picture.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr

from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.embeddings.clusters import least_draws
from operators.algorithms.embeddings.vectors import Chunks, check_width, projected, unit_column
from operators.algorithms.reasons import no_direction
from operators.algorithms.tables import table_of
from pipeline.operator import Device, Embedding, Operator, Score, Stat, Table
from pipeline.uids import draw, text_uids

ROWS = 1024  # pictures of one product
TILE = 64  # captions are padded to a multiple: at an odd edge, sums depend on where in the product a row is
FEWEST = 500  # captions below which quantiles are rough
SHOWN = 10  # captions that `winnow explain` names
NORMAL = 1.4826  # median absolute deviations of a normal distribution to its standard deviation
NOTHING = "the bank says nothing: its pictures are too few or alike"


class Bank(ReadsCaptions, Stat):
    """A sample of the pool's captions, each distinct one as likely as any other, with their pictures.

    Use it before `hubs.Hubness`.

    image_embedding  such as clip.image_embedding
    text_embedding   of the same model, such as clip.text_embedding
    size             pairs in the sample
    seed             of the sample

    Table: `caption` String, `image` and `text` Array(Float32, d) of unit length, in an order that depends on
    the captions alone.

    Cost: cheap; no image is read. 440,000 rows per second on a CPU core (measured): every caption is hashed,
    embeddings are read of those that may be drawn.
    """

    image_embedding: Embedding
    text_embedding: Embedding
    size: Annotated[int, Field(ge=2)] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    needs = ("shard", "row")

    def warnings(self) -> Sequence[str]:
        """A warning if the sample is small."""
        if self.size >= FEWEST:
            return ()
        return (f"size {self.size}: of so few captions a quantile is rough; take size >= {FEWEST}",)

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) pairs -> those that the sample may hold. Embeddings are looked at in the order of the draws,
        until there are enough."""
        rows = batch.drop_nulls((self.text_embedding, self.image_embedding, self.text))
        rows = rows.with_columns(uid=text_uids(rows[self.text]))
        order, taken = np.argsort(draw(self.seed, rows["uid"]), kind="stable"), self.size
        while len(found := self.merge(self._whole(rows[order[:taken]]))) < self.size and taken < len(rows):
            taken *= 4
        return found

    def _whole(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those whose embeddings both have a direction: `uid`, `text`, `shard`, `row` and unit vectors."""
        (images, has_image), (texts, has_text) = (
            unit_column(rows[column]) for column in (self.image_embedding, self.text_embedding)
        )
        vectors = {"image_vector": pl.Series(images), "text_vector": pl.Series(texts)}
        whole = pl.Series(has_image & has_text)
        return rows.select("uid", "shard", "row", text=self.text).with_columns(**vectors).filter(whole)

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """The pairs of all parts that the sample may hold."""
        return least_draws(parts, self.seed, self.size)

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The sample."""
        return merged.select(caption="text", image="image_vector", text="text_vector")


class Hubness(ReadsCaptions, Score):
    """How near a picture is to captions that are not its own.

    Use it to find pictures that were made to deceive a CLIP, and pictures that say nothing, which fit every
    caption a little. `z` above 6 is suspicious; `low` tells a print, near to all captions, from a picture
    that is near to a few kinds of them.

    image_embedding  of the model of the bank, such as clip.image_embedding
    bank             the table of a Bank
    quantile         the share of captions that are below `low`

    Cost: cheap; no image is read, but 2 d FLOP per row and caption of the bank: 35,000 rows per second on a
    CPU core with 512 numbers and 1,000 captions (measured), nearly all of it for `low`.
    """

    image_embedding: Embedding
    bank: Table
    quantile: Annotated[float, Field(ge=0, le=1)] = 0.05

    writes: ClassVar[Mapping[str, Any]] = {"mean": pl.Float32, "low": pl.Float32, "z": pl.Float32}
    _bank: Any = PrivateAttr(None)
    _chunks: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Place the captions; measure the bank's own pictures."""
        self._chunks = Chunks(device, ROWS)
        table = table_of(stats, "bank", self.bank, ("caption", "image", "text"))
        self._bank = _Bank(table, self._chunks)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) pictures -> (n,) the columns above."""
        column, bank = batch[self.image_embedding], self._bank
        rows, directed = unit_column(column)
        if bank.size:
            check_width("image_embedding", column, bank.texts.shape[1], self.bank)
        known = pl.Series(directed & bank.tells)
        if not bank.tells:
            empty = {name: pl.repeat(None, len(batch), dtype=pl.Float32, eager=True) for name in self.writes}
            return pl.DataFrame(empty).with_columns(error=self._error(column, directed))
        own = bank.places(batch[self.text])
        mean = bank.means(column, own)
        low = self._chunks(self._low, rows, own)
        return pl.select(
            pl.when(known).then(pl.Series(name, values, dtype=pl.Float32)).alias(name)
            for name, values in (("mean", mean), ("low", low), ("z", (mean - bank.middle) / bank.spread))
        ).with_columns(error=self._error(column, directed))

    def _error(self, column: pl.Series, directed: np.ndarray) -> pl.Series:
        """(n,) why a row has no result."""
        known = pl.Series(directed)
        error = no_direction({"image": column}, {"image": known})
        if self._bank.tells:
            return error
        return error.zip_with(~known, pl.repeat(NOTHING, len(column), eager=True))

    def _low(self, rows: Any, own: Any) -> Any:
        """(r, d) pictures and (r,) the places of their own captions, -1 for none -> (r,) quantiles."""
        import torch

        cosines = (rows @ self._bank.placed)[:, : self._bank.size]
        has_own = own >= 0
        at = own.clamp(min=0).unsqueeze(1)
        cosines.scatter_(1, at, torch.where(has_own.unsqueeze(1), torch.inf, cosines.gather(1, at)))
        last = ((self._bank.size - 1 - has_own.long()) * self.quantile).floor().long()
        least = cosines.topk(int((self._bank.size - 1) * self.quantile) + 1, 1, largest=False).values
        return least.gather(1, last.unsqueeze(1)).squeeze(1)

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """`caption`, `cosine`: the captions of the bank that are nearest to the picture."""
        table = stats[self.bank]
        vector, directed = unit_column(row[self.image_embedding])
        if not directed[0] or not len(table):
            return pl.DataFrame()
        cosines = table["text"].to_numpy() @ vector[0]
        return table.select("caption", cosine=pl.Series(cosines)).sort("cosine", descending=True).head(SHOWN)


class _Bank:
    """The captions of a bank, and how near its own pictures are to them."""

    def __init__(self, table: pl.DataFrame, chunks: Chunks) -> None:
        self.size = len(table)
        self.texts = table["text"].to_numpy().astype(np.float64)
        padded = np.zeros((-(-self.size // TILE) * TILE, self.texts.shape[1]), np.float32)
        padded[: self.size] = table["text"].to_numpy()
        self.placed = chunks.tensor(padded.T)
        self._captions = table.select("caption").with_row_index("place")
        self.middle, self.spread = 0.0, 0.0
        if self.size > 1:
            self._sum = self.texts.sum(0)
            means = self.means(table["image"], np.arange(self.size))
            self.middle = float(np.median(means))
            self.spread = NORMAL * float(np.median(np.abs(means - self.middle)))
        self.tells = self.spread > 0

    def places(self, captions: pl.Series) -> np.ndarray:
        """(n,) where in the bank each caption is, -1 for nowhere."""
        rows = captions.to_frame("caption").join(
            self._captions, on="caption", how="left", maintain_order="left"
        )
        found: np.ndarray = rows["place"].cast(pl.Int64).fill_null(-1).to_numpy()
        return found

    def means(self, column: pl.Series, own: np.ndarray) -> np.ndarray:
        """(n,) mean cosine with all captions but the own one: one product gives the sum of the cosines."""
        total, _ = projected(column, self._sum)
        rows = np.flatnonzero(own >= 0)
        vectors = unit_column(column[rows])[0].astype(np.float64)
        total[rows] -= np.einsum("nd,nd->n", vectors, self.texts[own[rows]])
        found: np.ndarray = total / (self.size - (own >= 0))
        return found
