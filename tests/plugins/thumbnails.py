"""An embedding without a model: `use: thumbnails.Thumbnail`."""

import numpy as np
import polars as pl

from pipeline.operator import ImageScore


class Thumbnail(ImageScore):
    """Four times four mean colours as a unit vector, and the mean luma."""

    writes = {"vector": pl.Array, "luma": pl.Float32}

    def score(self, batch, images):
        rows = np.full((len(images), 48), np.nan, np.float32)
        for row, image in enumerate(images):
            if image is not None:
                bands = np.array_split(image, 4)
                blocks = [block for band in bands for block in np.array_split(band, 4, 1)]
                means = [block.mean((0, 1)) for block in blocks if block.size]
                rows[row] = np.resize(np.concatenate(means), 48) / 255 + 0.01
        luma = pl.Series(rows.mean(1), dtype=pl.Float32).fill_nan(None)
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        frame = pl.DataFrame({"vector": pl.Series(units.astype(np.float16)), "luma": luma})
        return frame.with_columns(vector=pl.when(luma.is_not_null()).then(pl.col("vector")))
