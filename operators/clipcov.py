"""CLIPCov: a small subset of a pool in which captions and pictures go together as in all of it.

    clip:  {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    class: {use: concepts.ZeroShot, model: ViT-B-32, pretrained: openai, names: imagenet_classes.txt,
            image_embedding: clip.image_embedding, text_embedding: clip.text_embedding}
    cover: {use: clipcov.Cover, image_embedding: clip.image_embedding,
            text_embedding: clip.text_embedding, label: class.label,
            label_similarity: class.caption_similarity}
    keep:
      cover.gain: {top: 0.1}

A CLIP learns from a pool how captions and pictures vary together. CLIPCov picks one sample after the other,
each time the one that adds most to that: one that resembles what is not yet covered, and whose own caption
fits. A sample's `gain` is its value at that moment. Values in a class depend on the picks of that class
alone, so the samples with the highest gains of all classes are the very picks of one greedy choice over the
whole pool, for any size of the subset: the rule decides.

Columns
    Cover  gain   Float64  value when picked, higher is picked earlier; null without a label or an embedding
           order  UInt32   1 for the first pick of its class; null with `gain`, and for what was not picked
                           within `share`
Errors: `the embedding is not finite`; `a zero vector has no direction`.
Measured: a tenth of 30,000 drawn scenes, a quarter of them with a defect, chosen by an earlier CLIP of the
    demo in 16 classes, beside subsets of equal size; five seeds, mean and standard deviation. The error is
    that of the cross-covariance of all samples; R@1 is of a small CLIP trained on the subset
    (bench_clipcov.py).
    - random: error .096 ± .007, R@1 .052 ± .029
    - highest CLIP scores: error .703 ± .010, R@1 .252 ± .031
    - Cover: error .708 ± .008, R@1 .230 ± .041
    - Cover, `released`: error .720 ± .006, R@1 .225 ± .038
    So here the picks teach far more than random samples and no more than the highest scores: both leave the
    defects out. Their cross-covariance is not near to the pool's, a random subset's is.
    The gains that the paper reports, of millions of photos and 1,000 classes, were not tried.
Source: CLIPCov (Joshi et al. 2024, arXiv 2403.12267), and its notebook clip_core.ipynb.
Differs: by default the value falls after each pick, and what a pick takes off its whole class is taken off
    once. The released notebook lets values fall after every 200 picks of a class, takes off again what
    earlier picks took off, and counts negative cosines as 0: `compat: released`. Equal values are told apart
    by uid. The scripts that made the notebook's inputs are not public; c is normalised by the size of the
    class.
"""

from collections.abc import Mapping
from math import ceil
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr, model_validator

from operators.algorithms.embeddings.cover import Class, Picks, Weights, exact, released
from operators.algorithms.embeddings.vectors import features
from operators.algorithms.groups import spans
from operators.algorithms.threads import blas_threads
from pipeline.operator import Column, Device, Embedding, Group, Numbers

Weight = Annotated[float, Field(allow_inf_nan=False)]
PERIOD = 200  # picks of a class, in the notebook


class Cover(Group):
    """What a sample adds to a subset at the moment at which a greedy choice picks it.

    Use it to train on a tenth of a pool: `cover.gain: {top: 0.1}`. For the same number of samples of every
    class, use a rule for `cover.order`.

    image_embedding   unit embeddings, such as clip.image_embedding
    text_embedding    of the same model, such as clip.text_embedding
    label             numbers of classes, such as class.label, or near.cluster of clusters.Nearest
    label_similarity  of caption and class name, such as class.caption_similarity; without it that term is 0
    pair_weight       of the cosine of a sample's own picture and caption
    label_weight      of `label_similarity`
    centre_weight     of the cosines with the class's mean picture and mean caption, which is subtracted
    share             of a class that is picked at most; the gain of the rest is what it was then, or less.
                      Take a few times the share that the rule keeps
    compat            `exact`, or `released`: as the notebook
    refresh           of `released`: picks of a class after which values fall; the notebook has 200
    limit             samples of a class; a larger one is split at random, by uid. A task takes 10 d `limit`
                      bytes of memory

    Cost: moderate; no image is read: 10,000 rows per second on a CPU core in classes of 4,200 samples of 512
    numbers, 63,000 with a `share` of 0.1, 8,700 with that and `compat: released`, which takes n d FLOP per
    row in a class of n (measured).
    """

    image_embedding: Embedding
    text_embedding: Embedding
    label: Column
    label_similarity: Numbers = ""
    pair_weight: Weight = 2.0
    label_weight: Weight = 0.5
    centre_weight: Weight = 1.0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    compat: Literal["exact", "released"] = "exact"
    refresh: Annotated[int, Field(ge=1)] = PERIOD
    limit: Annotated[int, Field(ge=2, le=10_000_000)] = 200_000

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"gain": pl.Float64, "order": pl.UInt32}
    _threads: int = PrivateAttr(1)

    @model_validator(mode="after")
    def _used(self) -> Self:
        """Refuse a period that nothing would read."""
        if self.refresh != PERIOD and self.compat != "released":
            raise ValueError("must not have `refresh` unless `compat` is released")
        return self

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Note the threads for matrix products."""
        self._threads = device.threads

    def keys(self) -> tuple[str, ...]:
        """See Group."""
        return (self.label,)

    def most_rows(self) -> int | None:
        """See Group."""
        return self.limit

    def group(self, rows: pl.DataFrame) -> pl.DataFrame:
        """(n,) embeddings of whole classes -> (n,) `gain`, `order`."""
        gain, order = np.full(len(rows), np.nan), np.zeros(len(rows), np.uint32)
        errors = [pl.Series([], dtype=pl.String)]
        for start, stop in spans(rows, self.keys()):
            own = rows[start:stop]
            samples, usable, error = self._samples(own)
            at = start + np.flatnonzero(usable)
            if len(at):
                gain[at], order[at] = self._picks(samples)
            errors.append(error)
        places = pl.Series(order)
        return pl.select(
            gain=pl.Series(gain).fill_nan(None),
            order=pl.when(places > 0).then(places),
            error=pl.concat(errors),
        )

    def _samples(self, rows: pl.DataFrame) -> tuple[Class, np.ndarray, pl.Series]:
        """The samples of a class that have all that it takes, (n,) which rows they are, (n,) why others have
        not."""
        (images, has_image, one), (texts, has_text, two) = (
            features(rows[column], None, True) for column in (self.image_embedding, self.text_embedding)
        )
        labels, has_label = np.zeros(len(rows)), np.ones(len(rows), bool)
        if self.label_similarity:
            column = rows[self.label_similarity].cast(pl.Float64).fill_nan(None)
            labels, has_label = column.fill_null(0).to_numpy(), column.is_not_null().to_numpy()
        first, second = has_image.to_numpy(), has_text.to_numpy()
        usable = first & second & has_label
        samples = Class(images[usable[first]], texts[usable[second]], labels[usable])
        return samples, usable, one.zip_with(one.is_not_null(), two)

    def _picks(self, samples: Class) -> Picks:
        """The picks of a class."""
        weights = Weights(self.pair_weight, self.label_weight, self.centre_weight)
        most = ceil(self.share * len(samples.images))
        with blas_threads(self._threads):
            if self.compat == "released":
                return released(samples, weights, most, self.refresh)
            return exact(samples, weights, most)
