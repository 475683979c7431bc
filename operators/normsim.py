"""NormSim: how near an image lies to the images of a target, such as the training set of a task.

    clip: {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}
    norm: {use: normsim.NormSim, image_embedding: clip.image_embedding, proxy: imagenet.npy, p: inf}
    keep:
      norm.score: {top: 0.3}

Columns
    score  Float32  p inf: the highest cosine with an image of the target, in [-1, 1]; p 2: the root of the
                    sum of squared cosines, in [0, sqrt(m)]; higher is nearer; null without an embedding, or
                    if it is zero or not finite
Errors: `image embedding is zero or not finite`.
Source: Wang et al. 2024 (arXiv 2405.19547): the p-norm of G f, G (m, d) the target's embeddings and
    f the image's, both of unit norm.
Differs: with p inf the released code takes the largest absolute cosine; here it is the largest cosine, so
    that a picture opposite to a target is not near to it. For p 2 it is the root of f' (G'G) f, so that m
    costs nothing. The paper keeps the best of the samples that negCLIPLoss keeps; a rule here takes its share
    of the whole pool.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from operators.algorithms.embeddings.vectors import Chunks, check_width, unit, unit_column
from operators.algorithms.files.vector_files import read_vectors, why_not_vectors
from operators.algorithms.reasons import no_direction
from pipeline.operator import Device, Embedding, Files, Score

ROWS = 1024  # rows of one product
BLOCK = 4096  # proxies of one product: 16 MB


class NormSim(Score):
    """How similar an image is to the images of a target, by the p-norm of its cosines with them.

    Use it if you know what the model will be tested on and have its training images: a `top` rule keeps the
    samples that are nearest to them.

    image_embedding  such as clip.image_embedding
    proxy            (m, d) embeddings of the target's images by the same model: .npy, .npz, .parquet, .pt; or
                     several files by name
    array            which array of an .npz, column of a .parquet or tensor of a .pt, if there are several
    p                2, or `inf` for the nearest one alone

    Cost: no image is read. With p 2, one (d, d) product per row, however many proxies there are: cheap. With
    p inf, 2 m d FLOP per row: a GPU's work for a million proxies.
    """

    image_embedding: Embedding
    proxy: Files
    array: str = ""
    p: Literal[2, "inf"] = 2

    writes: ClassVar[Mapping[str, Any]] = {"score": pl.Float32}
    _proxies: Any = PrivateAttr(None)
    _chunks: Any = PrivateAttr(None)
    _width: int = PrivateAttr(0)

    def why_broken(self, field: str, value: str) -> str:
        """See Operator."""
        return why_not_vectors(value, self.array)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Check the proxies; for p 2, boil them down to (d, d)."""
        paths = self.proxy.values() if isinstance(self.proxy, dict) else [self.proxy]
        blocks = [b for path in paths for b in _blocks(path, read_vectors(path, self.array))]
        widths = {block.shape[1] for block in blocks}
        if len(widths) != 1:
            raise ValueError(f"proxy: files must be of one width, got {sorted(widths)}")
        self._width = widths.pop()
        self._chunks = Chunks(device, ROWS)
        if self.p == 2:
            self._proxies = self._chunks.tensor(_gram(blocks))
        elif device.name == "cpu":  # not copied: they may be a mapped file, whose pages all workers share
            self._proxies = [[block] for block in blocks]
        else:
            self._proxies = [[self._placed(block) for block in blocks]]

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n, d) image embeddings -> (n,) norms."""
        column = batch[self.image_embedding]
        check_width("image_embedding", column, self._width, "each proxy")
        image, has_direction = unit_column(column)
        norms = self._chunks(self._two, image) if self.p == 2 else self._most(image)
        return pl.select(
            score=pl.when(pl.Series(has_direction)).then(pl.Series(norms, dtype=pl.Float32)),
            error=no_direction({"image": column}, {"image": pl.Series(has_direction)}),
        )

    def _two(self, rows: Any) -> Any:
        """(r, d) -> (r,) root of f' (G'G) f."""
        rows = rows.double()
        return ((rows @ self._proxies) * rows).sum(1).clamp(min=0).sqrt()

    def _most(self, image: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) highest cosines. On a CPU block by block, on a GPU all blocks for each chunk of
        rows."""
        best = np.full(len(image), -np.inf, np.float32)
        for group in self._proxies:
            placed = [self._placed(block) if isinstance(block, np.ndarray) else block for block in group]
            best = np.maximum(best, self._chunks(partial(_highest, placed), image))
        return best

    def _placed(self, block: np.ndarray) -> Any:
        """(d, block) of unit norm, on the device."""
        return self._chunks.tensor(unit(block)[0].T)


def _highest(blocks: Sequence[Any], rows: Any) -> Any:
    """(r,) the highest cosine of each row over all blocks of proxies."""
    import torch

    return torch.stack([(rows @ block).amax(1) for block in blocks]).amax(0)


def _blocks(path: str, vectors: np.ndarray) -> list[np.ndarray]:
    """Views of BLOCK rows. Raises ValueError for a proxy that has no direction."""
    blocks = [vectors[start : start + BLOCK] for start in range(0, len(vectors), BLOCK)]
    for number, block in enumerate(blocks):
        if len(bad := np.flatnonzero(~unit(block)[1])):
            raise ValueError(
                f"proxy: {path} has a zero or a value that is not finite in row {number * BLOCK + bad[0]}"
            )
    return blocks


def _gram(blocks: list[np.ndarray]) -> np.ndarray:
    """(d, d) float64: the sum of outer products of the unit vectors."""
    gram = np.zeros((blocks[0].shape[1],) * 2)
    for block in blocks:
        rows = unit(block)[0].astype(np.float64)
        gram += rows.T @ rows
    return gram
