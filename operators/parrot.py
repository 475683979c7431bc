"""Parrot captions: how much of a caption is written in its image, and how much of the CLIP score that text
makes.

    clip:    {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    text:    {use: text.TextBoxes}
    parrot:  {use: parrot.CoEmbeddedText, words: text.words}
    masked:  {use: text.MaskedClipScore, boxes: text.boxes, text_embedding: clip.text_embedding,
              plain: clip.score, model: ViT-B-32, pretrained: openai}
    figures: {use: parrot.TextFigures, words: text.words, rate: parrot.rate, fuzzy_rate: parrot.fuzzy_rate}
    effect:  {use: parrot.MaskEffect, plain: clip.score, all: masked.score}
    keep:
      parrot.rate: {max: 0.5}

Columns
    CoEmbeddedText  rate        Float32       in [0, 1], higher is more of a parrot: the share of the
                                              caption's distinct words that are spotted in the image; 0
                                              without either; null without a caption or a text result
                    fuzzy_rate  Float32       the same, with similar words counted too; >= rate; null as
                                              `rate`
                    words       List(String)  the co-embedded words, as the caption has them and in its order;
                                              null as `rate`
                    boxes       List          those of `boxes` whose line has a co-embedded word; null as
                                              `rate`, or if no `boxes` are given
    MaskEffect      rsa         Float32       in [-2, 2]: the score lost with all text of the image, higher
                                              leans more on it; null without both scores
                    rsc         Float32       in [-2, 2]: the score lost with the co-embedded text alone; null
                                              without both scores, or if `co_embedded` is not given
Errors: `no caption`; `empty caption` (its rates are 0 all the same); the text result's own reason.
Source: Parrot Captions Teach CLIP to Spot Text (arXiv 2312.14232): co-embedded text rate (CoTR) and its fuzzy
    form; embedded text rate (ETR); relative scores RSA and RSC. Words are parted by whitespace, with their
    case and punctuation, and count once each.
Differs: the similarity from which on two words count as the same is not published. Here it is 1 - edits /
    length of the longer, at least 0.75: one edit in four letters. Web captions against their own words with
    one slip in each are then found at 82 % (0.67: 93, 0.8: 67, 0.9: 15), and against the signs of a
    stranger's street photo 0.06 % of words are found wrongly (0.67: 0.21, 0.5: 1.35). The fuzzy rate keeps
    case as the exact one does: a sign in capitals does not repeat a caption in small letters.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.reasons import caption_error
from pipeline.operator import Column, Numbers, Operator, Score, Stat

ROUNDING = 1e-9  # 1 - 4/5 is a little less than 0.2
MILLION = 1_000_000
NO_BOXES = pl.List(pl.List(pl.Float32))
FOUND: Mapping[str, Any] = {
    "rate": pl.Float32,
    "fuzzy_rate": pl.Float32,
    "words": pl.List(pl.String),
    "lines": pl.List(pl.UInt32),  # those that have a co-embedded word
}
NOTHING: tuple[float, float, list[str], list[int]] = (0.0, 0.0, [], [])
FIGURES = (
    "images",
    "images with text",
    "pairs",  # the rate is known
    "pairs with text",
    "pairs with co-embedded text",
    "sum of rates, millionths",
    "sum of fuzzy rates, millionths",
)


def co_embedded(caption: Sequence[str], spotted: Sequence[str], similarity: float) -> tuple[list[str], int]:
    """The words of a caption that are spotted too; and how many are at least similar to a spotted one."""
    distinct = set(spotted)
    exact = [word for word in caption if word in distinct]
    rest = [word for word in caption if word not in distinct]
    if not rest or not distinct:
        return exact, len(exact)
    similarities = process.cdist(rest, spotted, scorer=Levenshtein.normalized_similarity, dtype=np.float64)
    return exact, len(exact) + int((similarities.max(axis=1) >= similarity - ROUNDING).sum())


class CoEmbeddedText(ReadsCaptions, Score):
    """How many of a caption's words are written in its image.

    Use it to drop captions that only read out the picture, from which a CLIP learns to read and not to see.

    words       lists of spotted text, such as text.words: words, or lines of several
    boxes       lists parallel to `words`, such as text.boxes
    similarity  words at least this similar count for the fuzzy rate

    Cost: cheap: set operations and edit distances on stored columns. The text must have been read before,
    which is expensive.
    """

    words: Column
    boxes: Column = ""
    similarity: float = Field(0.75, gt=0, le=1)

    writes: ClassVar[Mapping[str, Any]] = {
        "rate": pl.Float32,
        "fuzzy_rate": pl.Float32,
        "words": pl.List(pl.String),
        "boxes": pl.List,
    }

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) captions and lists of words -> the columns above."""
        text = batch[self.text]
        spotted = batch[self.words]
        has_both = text.is_not_null() & spotted.is_not_null()
        rows = has_both & (spotted.list.len() > 0)
        pairs = zip(text.filter(rows).to_list(), spotted.filter(rows).to_list(), strict=True)
        results = [self._row(caption, lines) for caption, lines in pairs]
        table = pl.DataFrame([*results, NOTHING], schema=FOUND, orient="row")
        place = (rows.cum_sum() - 1).zip_with(rows, pl.repeat(len(results), len(batch), eager=True))
        table = table[place].select(pl.when(has_both).then(pl.all()))
        lines = table["lines"]
        return table.drop("lines").with_columns(
            boxes=batch[self.boxes].list.gather(lines) if self.boxes else pl.lit(None, NO_BOXES),
            error=batch.select(caption_error(pl.col(self.text))).to_series(),
        )

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """`in_caption_and_image`: the co-embedded words."""
        return row.select(in_caption_and_image=pl.col(".words").explode()).drop_nulls()

    def _row(self, caption: str, lines: Sequence[str]) -> tuple[float, float, list[str], list[int]]:
        """rate, fuzzy_rate, words and lines of one sample."""
        words = list(dict.fromkeys(caption.split()))
        parts = [line.split() for line in lines]
        spotted = list(dict.fromkeys(chain.from_iterable(parts)))
        exact, similar = co_embedded(words, spotted, self.similarity)
        lines_with_one = [line for line, part in enumerate(parts) if not set(exact).isdisjoint(part)]
        total = max(1, len(words))
        return len(exact) / total, similar / total, exact, lines_with_one


class MaskEffect(Score):
    """How much of the CLIP score comes from text in the image.

    Use it to see whether a model reads instead of looking: a high `rsa` means that the match rests on the
    text.

    plain        the score of the whole image, such as clip.score
    all          the score with all text removed, such as masked.score
    co_embedded  the score with the co-embedded text removed: a `text.MaskedClipScore` whose boxes are
                 parrot.boxes; empty: `rsc` is null

    Cost: very cheap: two subtractions. The masked scores it reads are expensive.
    """

    plain: Numbers
    all: Numbers
    co_embedded: Numbers = ""

    writes: ClassVar[Mapping[str, Any]] = {"rsa": pl.Float32, "rsc": pl.Float32}

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) scores -> the columns above."""
        plain = pl.col(self.plain).cast(pl.Float32)
        rest = pl.col(self.co_embedded) if self.co_embedded else pl.lit(None)
        return batch.select(rsa=plain - pl.col(self.all).cast(pl.Float32), rsc=plain - rest.cast(pl.Float32))


class TextFigures(Stat):
    """How much text and how many parrot captions a pool has.

    Use it with `winnow effects` to compare a pool with the figures of the paper, before and after a decision.

    words       lists of spotted text, such as text.words
    rate        of a CoEmbeddedText, such as parrot.rate
    fuzzy_rate  likewise, such as parrot.fuzzy_rate

    Table: `figure` String, `value` Int64. Rates are summed as whole millionths, so that sums are exact.

    Cost: very cheap: it sums stored columns.
    """

    words: Column
    rate: Numbers
    fuzzy_rate: Numbers

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> `figure`, `value`."""
        words = pl.col(self.words)
        rate = pl.col(self.rate)
        fuzzy = pl.col(self.fuzzy_rate)
        text = words.list.len() > 0
        pair = rate.is_not_null()
        values = (
            words.is_not_null().sum(),
            text.sum(),
            pair.sum(),
            (pair & text).sum(),
            (rate > 0).sum(),
            *((r.cast(pl.Float64) * MILLION).round().cast(pl.Int64).sum() for r in (rate, fuzzy)),
        )
        named = (value.cast(pl.Int64).alias(name) for name, value in zip(FIGURES, values, strict=True))
        return batch.select(named).unpivot(variable_name="figure", value_name="value")

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """Values add up."""
        return parts.group_by("figure").agg(pl.col("value").sum())

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """In the order of FIGURES."""
        return merged.sort(pl.col("figure").replace_strict(FIGURES, range(len(FIGURES))))

    def compare(
        self, before: pl.DataFrame, after: pl.DataFrame, sources: Mapping[str, Operator]
    ) -> Mapping[str, pl.DataFrame]:
        """`summary`: the paper's figures, of the pool and of the samples that are kept: figure, before,
        after."""
        old, new = _summary(before), _summary(after)
        schema = {"figure": pl.String, "before": pl.Float64, "after": pl.Float64}
        return {"summary": pl.DataFrame([list(old), list(old.values()), list(new.values())], schema=schema)}


def _summary(table: pl.DataFrame) -> dict[str, float | None]:
    """Shares and means of a TextFigures table; null if there is nothing to divide by."""
    value = dict(table.iter_rows())
    images, text, pairs, pairs_with_text, parrots, rate, fuzzy = (value[name] for name in FIGURES)

    def share(part: float, whole: int) -> float | None:
        return part / whole if whole else None

    return {
        "images": images,
        "images with text, share": share(text, images),
        "parrot captions, share": share(parrots, pairs),
        "mean rate": share(rate / MILLION, pairs),
        "mean rate, images with text": share(rate / MILLION, pairs_with_text),
        "mean fuzzy rate": share(fuzzy / MILLION, pairs),
        "mean fuzzy rate, images with text": share(fuzzy / MILLION, pairs_with_text),
    }
