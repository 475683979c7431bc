"""The best of a sample's captions: of several, the one that a CLIP finds nearest to the image; and how well a
caption agrees with the image and with the other captions.

    clip:  {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    best:  {use: recaption.BestCaption, image_embedding: clip.image_embedding, model: ViT-L-14,
            pretrained: openai}
    agree: {use: recaption.RefClipScore, text: best.text, image_embedding: clip.image_embedding,
            model: ViT-L-14, pretrained: openai}
    facts: {use: caption.Caption, text: best.text}
    keep:
      best.score: {top: 0.3}
      agree.score: {min: 0.7, missing: keep}

The captions are those of `pool: {caption: [txt, json.recaption, json.captions]}`, and `export: {caption:
best.text}` writes the best as the caption of the exported samples.

Columns
    BestCaption   text            String              the best caption, the first of equals; null without one,
                                                      or without an image embedding
                  score           Float32             its cosine with the image, in [-1, 1], higher is better
                                                      aligned; null with `text`
                  index           UInt16              its place in `captions`, from 0; null with `text`
                  scores          List(Float32)       the cosine of each caption, in the order of `captions`;
                                                      null with `text`
                  text_embedding  Array(Float16, d)   of the best caption, unit norm; null with `text`
    RefClipScore  clip            Float32             CLIPScore: 2.5 times the cosine of caption and image,
                                                      in [0, 2.5], higher is better aligned; null without a
                                                      caption or an image embedding
                  reference       Float32             the highest cosine of the caption with another caption
                                                      of the sample, in [-1, 1], higher is more alike; null
                                                      with `clip`, or without another caption
                  score           Float32             RefCLIPScore: the harmonic mean of both, in [0, 1.43],
                                                      higher is better; null with `reference`
Errors: `no caption`; those of the image embedding.
Source: Radford et al. 2021 (arXiv 2103.00020) for the score; choosing among web and synthetic captions by it
    as in Nguyen et al. 2023 (arXiv 2307.10350); CLIPScore and RefCLIPScore: Hessel et al. 2021 (arXiv
    2104.08718), whose model is ViT-B-32 of OpenAI.
Differs: RefClipScore takes a negative cosine with a reference as 0, as the paper does and its code does not,
    and is 0 where both parts are. Nguyen et al. filter web and synthetic captions by the same score and mix
    them; here each image keeps one caption. The image's embedding comes from the store, where it is float16,
    so a score is up to 5e-4 from that of `clip.ClipScore`. `model` and `pretrained` must be those of the
    embedding; only its width is checked.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.clip.model import ClipModel, unit
from operators.algorithms.embeddings.vectors import check_width
from operators.algorithms.reasons import NO_CAPTION
from operators.clip import ClipWeights
from pipeline.operator import Device, Embedding, Operator, Score

AT_ONCE = 4096  # captions whose embeddings are held, more if one sample has more
PROMPT = "A photo depicts "  # before every caption, for RefClipScore
WEIGHT = 2.5  # of the cosine with the image


class BestCaption(ClipWeights, Score):
    """Which of a sample's captions fits its image best, and how well each of them does.

    Use it for sets that were captioned anew, or that keep several captions for each image: rules, other
    operators (`text: best.text`) and exports (`export.caption`) can take the caption that it chooses.

    image_embedding  (d,) per row, unit norm, such as clip.image_embedding

    Cost: moderate; no image is read and no image tower is kept. The text tower runs once for each caption.
    """

    image_embedding: Embedding

    needs = ("captions",)
    version = 2
    writes: ClassVar[Mapping[str, Any]] = {
        "text": pl.String,
        "score": pl.Float32,
        "index": pl.UInt16,
        "scores": pl.List(pl.Float32),
        "text_embedding": pl.Array,
    }
    _clip: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the text tower."""
        self._clip = ClipModel(self.model, self.pretrained, device, self.precision, text_only=True)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> the columns above."""
        check_width("image_embedding", batch[self.image_embedding], self._clip.width, self.model)
        captions = [found or [] for found in batch["captions"].to_list()]
        images = batch[self.image_embedding].to_list()
        found = [_NONE] * len(batch)
        counts = [0 if i is None else len(own) for i, own in zip(images, captions, strict=True)]
        for rows in _runs(counts):
            texts = unit(self._clip.texts([text for row in rows for text in captions[row]])[0])
            for row in rows:
                own, texts = np.split(texts, [len(captions[row])])
                found[row] = _Found.of(captions[row], own, np.array(images[row], np.float32))
        vectors = [np.zeros(self._clip.width) if of.vector is None else of.vector for of in found]
        frame = pl.DataFrame(
            {
                "text": pl.Series([of.text for of in found], dtype=pl.String),
                "score": pl.Series([of.score for of in found], dtype=pl.Float32),
                "index": pl.Series([of.place for of in found], dtype=pl.UInt16),
                "scores": pl.Series([of.scores for of in found], dtype=pl.List(pl.Float32)),
                "text_embedding": np.array(vectors, np.float16).reshape(len(batch), self._clip.width),
                "error": pl.Series([None if own else NO_CAPTION for own in captions], dtype=pl.String),
            }
        )
        return frame.with_columns(pl.when(pl.col("index").is_not_null()).then("text_embedding"))

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """`caption`, `cosine`: all candidates in order; a cosine is null where there is none."""
        captions = row["captions"].to_list()[0] or []
        cosines = row[".scores"].to_list()[0] or [None] * len(captions)
        return pl.DataFrame(
            {"caption": captions, "cosine": cosines}, {"caption": pl.String, "cosine": pl.Float32}
        )


class RefClipScore(ClipWeights, ReadsCaptions, Score):
    """How well a caption agrees with its image and with the sample's other captions: RefCLIPScore.

    Use it for sets that were captioned anew: a caption that a model made up agrees with neither. CLIPScore is
    a cosine of another prompt and scale, so the bounds of `clip.ClipScore` do not hold for it: .28 of a
    cosine is about .70.

    image_embedding  (d,) per row, unit norm, such as clip.image_embedding

    Cost: moderate; no image is read and no image tower is kept. The text tower runs once for each caption.
    """

    image_embedding: Embedding

    needs = ("captions",)
    version = 2
    writes: ClassVar[Mapping[str, Any]] = {"clip": pl.Float32, "reference": pl.Float32, "score": pl.Float32}
    _clip: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the text tower."""
        self._clip = ClipModel(self.model, self.pretrained, device, self.precision, text_only=True)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> the columns above."""
        check_width("image_embedding", batch[self.image_embedding], self._clip.width, self.model)
        images, texts = batch[self.image_embedding].to_list(), batch[self.text].to_list()
        all_captions = [found or [] for found in batch["captions"].to_list()]
        own = [
            [] if image is None or not text else [text, *(other for other in captions if other != text)]
            for image, text, captions in zip(images, texts, all_captions, strict=True)
        ]
        cosines, references = np.full((2, len(batch)), np.nan)
        for rows in _runs([len(captions) for captions in own]):
            found = unit(self._clip.texts([PROMPT + text for row in rows for text in own[row]])[0])
            for row in rows:
                (text, *others), found = np.split(found, [len(own[row])])
                cosines[row] = text @ np.array(images[row], np.float32)
                references[row] = max((text @ other for other in others), default=np.nan)
        clip, score = ref_clip_score(cosines, references)
        columns = {"clip": clip, "reference": references, "score": score}
        errors = pl.Series([None if text else NO_CAPTION for text in texts], dtype=pl.String)
        return pl.DataFrame(
            {name: pl.Series(values, dtype=pl.Float32).fill_nan(None) for name, values in columns.items()}
        ).with_columns(error=errors)


def ref_clip_score(cosines: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) cosines of captions and images, (n,) of captions and their nearest references -> (n,) CLIPScore
    and (n,) RefCLIPScore; NaN stays NaN."""
    clip, nearest = WEIGHT * np.maximum(cosines, 0), np.maximum(references, 0)
    both = clip + nearest
    return clip, 2 * clip * nearest / np.where(both == 0, 1, both)


class _Found(NamedTuple):
    """The columns of one row."""

    text: str | None = None
    score: float | None = None
    place: int | None = None
    scores: list[float | None] | None = None
    vector: np.ndarray | None = None

    @classmethod
    def of(cls, captions: Sequence[str], texts: np.ndarray, image: np.ndarray) -> Self:
        """Of (k,) captions, their (k, d) embeddings and the image's (d,)."""
        cosines = (texts * image).sum(1)
        scores = [float(cosine) if np.isfinite(cosine) else None for cosine in cosines]
        if not np.isfinite(cosines).any():
            return cls(scores=scores)
        best = int(np.where(np.isfinite(cosines), cosines, -np.inf).argmax())
        return cls(captions[best], scores[best], best, scores, texts[best])


_NONE = _Found()


def _runs(counts: Sequence[int]) -> Iterator[list[int]]:
    """The rows that have captions to embed, in runs of about AT_ONCE captions. `counts`: captions by row."""
    run: list[int] = []
    held = 0
    for row, count in enumerate(counts):
        if count:
            run.append(row)
            held += count
        if held >= AT_ONCE:
            yield run
            run, held = [], 0
    if run:
        yield run
