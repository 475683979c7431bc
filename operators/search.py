"""A concept as a column: the cosine between a stored embedding and given texts, pictures or vectors.

    clip: {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    cars: {use: search.Query, embedding: clip.image_embedding, texts: [a red car, ein rotes Auto],
           not_texts: [a toy car], model: ViT-B-32, pretrained: openai}
    keep:
      cars.cosine: {min: 0.27}

Columns
    cosine  Float32  the highest cosine with a query, in [-1, 1], higher is nearer; null without an embedding,
                     or if it is zero or not finite
    query   String   which query that is: its text, the picture's name or path, or `row N` of `vectors`; with
                     `mean`, `mean`; null as `cosine`
Errors: `embedding is zero or not finite`.
Source: zero-shot retrieval with CLIP (Radford et al. 2021, arXiv 2103.00020), as clip-retrieval does it.
Differs: users of clip-retrieval subtract one embedding from another; here half the direction of what is not
    wanted is taken away from a query, which leaves more of it (queries.py has the figures). `model` and
    `pretrained` must be those of the embedding; only its width is checked.
"""

import io
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import PrivateAttr, model_validator

from operators.algorithms.embeddings.queries import NONE, Asked, directions, load_for
from operators.algorithms.embeddings.vectors import Chunks, check_width, unit_column
from operators.algorithms.files.vector_files import read_vectors, why_not_vectors
from operators.algorithms.reasons import no_direction
from operators.clip import ClipWeights
from pipeline.assets import read_bytes
from pipeline.operator import Device, Embedding, File, Files, Score

ROWS = 1024  # rows of one product
MOST = 65_536  # vectors of a file; of more, `normsim.NormSim` takes the nearest, block by block
PICTURE = 256 << 20  # bytes of the file of a picture
MEAN = "mean"
WEIGHTS = ("model", "pretrained")


class Query(ClipWeights, Score):
    """How near a picture, or a caption, is to what you describe: by words, by example pictures or by vectors.

    Use it to keep, drop or balance a concept: `winnow search` shows what a query finds, and the same words
    here make a column of it.

    embedding    such as clip.image_embedding, or clip.text_embedding to ask among captions
    texts        each is a query
    images       a picture's file, or several by name; each is a query
    vectors      (m, d) embeddings by the same model: .npy, .npz, .parquet, .pt; each row is a query
    array        which array of an .npz, column of a .parquet or tensor of a .pt, if there are several
    not_texts    texts of what is not wanted: half the direction of the mean of all that is not wanted is
                 taken away from each query
    not_images   the same, pictures
    not_vectors  the same, embeddings
    mean         whether all queries are one, in the direction of their mean: a text in several languages,
                 several pictures of one thing
    model        of the embedding, as in clip.ClipScore; needed for texts and pictures
    pretrained   its weights

    Cost: very cheap; no image of the pool is read. Each worker loads the model once, and 2 d FLOP per row and
    query follow: 430,000 rows of 512 numbers per second on a CPU core with one query (measured).
    """

    model: File = ""
    embedding: Embedding
    texts: tuple[str, ...] = ()
    images: Files = ""
    vectors: File = ""
    array: str = ""
    not_texts: tuple[str, ...] = ()
    not_images: Files = ""
    not_vectors: File = ""
    mean: bool = False

    version = 2
    writes: ClassVar[Mapping[str, Any]] = {"cosine": pl.Float32, "query": pl.String}
    _queries: Any = PrivateAttr(None)
    _names: pl.Series = PrivateAttr(default_factory=pl.Series)
    _chunks: Any = PrivateAttr(None)
    _width: int = PrivateAttr(0)

    @model_validator(mode="after")
    def _weights(self) -> Self:
        """Refuse no query, an empty text, and texts or pictures without a model."""
        if not (self.texts or self.images or self.vectors):
            raise ValueError("needs something to ask for: `texts`, `images` or `vectors`")
        for field, texts in (("texts", self.texts), ("not_texts", self.not_texts)):
            if not all(text.strip() for text in texts):
                raise ValueError(f"must not have an empty text in `{field}`")
        if self.texts or self.images or self.not_texts or self.not_images:
            if not self.model:
                raise ValueError(
                    "needs `model` and `pretrained`, those of the embedding, for texts and pictures"
                )
            self.check_weights()
        return self

    def why_missing(self, field: str, value: str) -> str:
        """See Operator."""
        return super().why_missing(field, value) if field in WEIGHTS else f"there is no file {value}"

    def lacks(self) -> list[str]:
        """See Operator."""
        return [*super().lacks()] if self.model else []

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        if field in ("vectors", "not_vectors"):
            return why_not_vectors(value, self.array)
        return super().why_broken(field, value)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the model, and ask it for the queries."""
        images, unlike_images = _named(self.images), _named(self.not_images)
        rows = _rows(self.vectors, self.array)
        wanted = Asked(self.texts, [*map(_picture, images.values())], rows)
        unlike = Asked(
            self.not_texts, [*map(_picture, unlike_images.values())], _rows(self.not_vectors, self.array)
        )
        clip = load_for([wanted, unlike], self.model, self.pretrained, device, self.precision)
        self._chunks = Chunks(device, ROWS)
        queries = directions(wanted, unlike, self.mean, clip)
        self._width = queries.shape[1]
        self._queries = self._chunks.tensor(queries.T)
        names = [*self.texts, *images, *(f"row {row}" for row in range(len(rows)))]
        self._names = pl.Series([MEAN] if self.mean else names, dtype=pl.String)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) embeddings -> the columns above."""
        column = batch[self.embedding]
        hint = f": give `model` the model of {self.embedding}"
        check_width("embedding", column, self._width, "each query", hint)
        vectors, has_direction = unit_column(column)
        directed = pl.Series(has_direction, dtype=pl.Boolean)
        cosines, nearest = self._chunks(self._best, vectors).T
        return pl.select(
            cosine=pl.when(directed).then(pl.Series(cosines, dtype=pl.Float32)),
            query=pl.when(directed).then(self._names.gather(nearest.astype(np.int64))),
            error=no_direction({"": column}, {"": directed}).str.strip_chars(),
        )

    def _best(self, rows: Any) -> Any:
        """(r, d) unit vectors -> (r, 2): the highest cosine with a query, and the place of that query."""
        import torch

        cosines = rows @ self._queries
        return torch.stack((cosines.amax(1), cosines.argmax(1).float()), 1)


def _named(images: str | dict[str, str]) -> dict[str, str]:
    """Pictures' files by the names of their queries."""
    return images if isinstance(images, dict) else {images: images} if images else {}


def _rows(path: str, array: str) -> np.ndarray:
    """(n, d) of a file; none without one. Raises ValueError."""
    if not path:
        return NONE
    if len(found := read_vectors(path, array)) > MOST:
        raise ValueError(f"{path} has {len(found):,} rows, must have at most {MOST:,}: see normsim.NormSim")
    return found


def _picture(path: str) -> np.ndarray:
    """(h, w, 3) uint8 of a file. Raises ValueError."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read_bytes(path, PICTURE))) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a picture that can be read: {error}") from None
