"""Number-free CLIP score: how well a caption matches its image once its numbers are taken out of it.

    clip:   {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    digits: {use: digits.NumberFreeScore, image_embedding: clip.image_embedding, plain: clip.score,
             model: ViT-L-14, pretrained: openai}
    keep:
      digits.score: {top: 0.4}

Columns
    score   Float32  by `combine`: the masked score, the smaller of plain and masked, or their mean; in
                     [-1, 1], higher is better aligned; null without a plain score
    masked  Float32  cosine of the image and the caption without its numbers, in [-1, 1]; the plain score, to
                     the bit, if there is no number or nothing else; null without a plain score
    delta   Float32  plain - masked, in [-2, 2]: above 0, the numbers inflate the plain score by as much;
                     below, they lower it; 0 if there is no number or nothing else; null without a plain score
    text    String   the caption without its numbers; null if it stands as it is
Errors: `no caption`, `empty caption`; those of the plain score.
Numbers: decimal digits of any script (3, full-width, Arabic-Indic), with
    - digits joined to them by . , : / + ~ x and dashes: 1,200.50 10:30 24/7 2019-05-14 1024x768
    - letters that touch them, of scripts that have capitals, and _: 1st 3D 4K 35mm DSC00123 IMG_2041
    - signs that touch them: currencies, % and the per mille, degrees, # and numero, + ~ < >, dashes, a slash
      before, 's behind: $19.99 50% 20°C #3904 -5 1990's
    - the ending of a picture's or film's file name: IMG_2041.JPG
    COVID-19 leaves COVID, 10-year-old year-old. Chinese, Thai or Arabic letters stay if they touch digits:
    they may be the whole sentence. Numbers in words (three, XII) stay, as do fractions, superscripts and
    circled digits by themselves. Punctuation that stood with a number and no word, as in `(2019),`, goes
    with it; then spaces collapse. HTML escapes are undone first, as in CLIP's cleaning (`&#39;` is not a
    number).
Source: Devil in the Number (arXiv 2309.13770): a text-masked CLIP score, by which the top 40 % are kept.
Differs: this is our reading. Which tokens are removed and how the two scores combine is not published. The
    plain score was taken before its embedding was rounded to float16, the masked one is taken after: the same
    caption would score up to 5e-4 apart (2^-11, for unit norm). `model` and `pretrained` must be those of the
    embedding; only its width is checked.
"""

import html
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.clip.model import ClipModel, unit
from operators.algorithms.embeddings.vectors import check_width
from operators.algorithms.reasons import caption_error
from operators.clip import ClipWeights
from pipeline.operator import Device, Embedding, Numbers, Operator, Score

DASH = r"\p{Pd}\x{2212}"
LETTER = r"(?:[\p{Lu}\p{Ll}]\p{M}*|_)"
WORD = rf"{LETTER}*\p{{Nd}}\p{{M}}*(?:{LETTER}|\p{{N}}\p{{M}}*)*"
JOINT = rf"[.,:/+~\x{{d7}}{DASH}]+"
BEFORE = rf"[\p{{Sc}}#\x{{2116}}\x{{b1}}+~\x{{2248}}<>/{DASH}]*"
DEGREES = r"\x{b0}(?:[CF]\b)?"
BEHIND = rf"(?:{DEGREES}|['\x{{2019}}]s\b|[\p{{Sc}}%\x{{2030}}\x{{ba}}\x{{aa}}\x{{2032}}\x{{2033}}+{DASH}])*"
ENDING = r"(?i:\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|heic|cr2|nef|raw|psd|pdf|mp4|mov|avi)\b)?"
NUMBER = f"{BEFORE}{WORD}(?:{JOINT}{WORD})*{ENDING}{BEHIND}"
RESIDUE = r"\A[\s\p{P}\p{Sm}\p{Sc}\p{Sk}\p{Cc}\p{Cf}]*\z"  # says nothing by itself
ESCAPE = r"&#?\w"

COMBINED: Mapping[str, pl.Expr] = {
    "masked": pl.col("masked"),
    "min": pl.min_horizontal("plain", "masked"),
    "mean": (pl.col("plain") + pl.col("masked")) / 2,
}


def without_numbers(captions: pl.Expr) -> pl.Expr:
    """(n,) captions -> the same without numbers; null if they have none, or nothing else."""
    numbered = _if_numbered(captions)
    escaped = pl.when(numbered.str.contains(ESCAPE)).then(numbered)
    clean = pl.coalesce(escaped.map_elements(_unescaped, return_dtype=pl.String), numbered)
    words = _if_numbered(clean).str.extract_all(r"\S+").list.eval(_word().drop_nulls())
    rest = words.list.join(" ").str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(~rest.str.contains(RESIDUE)).then(rest)


def _if_numbered(text: pl.Expr) -> pl.Expr:
    """The texts that have a decimal digit; null for the others."""
    return pl.when(text.str.contains(r"\p{Nd}")).then(text)


def _word() -> pl.Expr:
    """The words of a list without their numbers; null for a word that leaves nothing but signs."""
    word = pl.element()
    rest = word.str.replace_all(NUMBER, " ")
    kept = pl.when(~rest.str.contains(RESIDUE)).then(rest)
    return pl.when(word.str.contains(r"\p{Nd}")).then(kept).otherwise(word)


def _unescaped(text: str) -> str:
    """A text without HTML escapes, undone twice, as in CLIP's cleaning."""
    with suppress(ValueError):  # raised for a number of more digits than Python converts
        return html.unescape(html.unescape(text))
    return text


class NumberFreeScore(ReadsCaptions, ClipWeights, Score):
    """The CLIP score of a caption without its numbers, from the image's stored embedding.

    Use it against captions that score well because they repeat a number that the picture shows, such as a
    price or a date: those have a high `delta`.

    image_embedding  (d,) per row, unit norm, such as clip.image_embedding
    plain            the score of the whole caption, such as clip.score
    combine          what `score` is: `masked`, `min` or `mean` of plain and masked

    Cost: moderate; no image is read and no image tower is kept. The text tower runs once for each caption
    that has numbers and something beside them; all other captions cost nothing.
    """

    image_embedding: Embedding
    plain: Numbers
    combine: Literal["masked", "min", "mean"] = "masked"

    version = 2
    writes: ClassVar[Mapping[str, Any]] = {
        "score": pl.Float32,
        "masked": pl.Float32,
        "delta": pl.Float32,
        "text": pl.String,
    }
    _clip: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the text tower."""
        self._clip = ClipModel(self.model, self.pretrained, device, self.precision, text_only=True)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> the columns above."""
        check_width("image_embedding", batch[self.image_embedding], self._clip.width, self.model)
        has_image = pl.col(self.image_embedding).is_not_null()
        plain = pl.when(has_image).then(pl.col(self.plain).cast(pl.Float32))
        text = without_numbers(pl.col(self.text))
        rows = batch.select(image=self.image_embedding, plain=plain, text=text)
        return rows.with_columns(masked=self._masked(rows)).select(
            "masked",
            "text",
            score=COMBINED[self.combine],
            delta=pl.col("plain") - pl.col("masked"),
            error=batch.select(caption_error(pl.col(self.text))).to_series(),
        )

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """`without_numbers`: the caption as it was scored, if it has numbers."""
        return row.select(without_numbers=".text", score=".masked").drop_nulls("without_numbers")

    def _masked(self, rows: pl.DataFrame) -> pl.Series:
        """(n,) the plain scores, computed again if a caption lost its numbers."""
        changed = rows["text"].is_not_null() & rows["plain"].is_not_null()
        again = rows.filter(changed)
        if again.is_empty():
            return rows["plain"]
        text = unit(self._clip.texts(again["text"].to_list())[0])
        image = again["image"].to_numpy().astype(np.float32)
        masked = rows["plain"].to_numpy().copy()
        masked[changed.to_numpy()] = (image * text).sum(1)
        return pl.Series(masked).fill_nan(None)
